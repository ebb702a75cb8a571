//! From "there may be a rule" to "this happens": selection, decision, identity, record.

use crate::ahead;
use crate::effects::{self, Outcome};
use crate::fds;
use crate::guard::{self, Thread, Token};
use crate::learn;
use crate::log::Ticket;
use crate::moved;
use crate::paths;
use crate::resource::describe;
use crate::select::{Target, select};
use crate::session::{self, Session};
use crate::tree;
use crate::watch::{Bond, Met};
use crate::{census, clock, disk, log, memory, real, signs, watch};
use chaos_table::calls::{FaultKind, Op};
use chaos_table::decide::{self, Counters, Effect, Shot};
use chaos_table::record::{Record, kind, status};
use chaos_table::rule::{RULE_BITS, Rule, SIGN, WATCH, exhaust, flag, per};
use chaos_table::session::{ProcessCounters, ProcessSlot, ThreadSlot, TreeCounters};
use chaos_table::told::ends_process;
use std::cell::Cell;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

/// A rule has fired on a call, and the token is still held: which rule stands in the thread's own block, so that a
/// call that passes needs no memory for it. Only `deliver` ends this.
#[must_use]
pub struct First {
    op: Op,
}

impl First {
    /// The operation.
    pub const fn op(&self) -> Op {
        self.op
    }
}

/// The first rule that fired on a call; the rules behind it still have to advance.
///
/// Each word by itself, here as in [`Met`]: what is stored in pieces and loaded whole misses store forwarding, at 5 ns.
#[repr(C)]
pub struct FirstShot {
    index: Cell<usize>,
    draw: Cell<u64>,
    rest: Cell<u64>,
    nth: Cell<u64>,
    now: Cell<u64>,
}

impl FirstShot {
    #[inline(always)]
    fn set(&self, index: usize, shot: Shot, rest: u64, now: u64) {
        self.index.set(index);
        self.draw.set(shot.draw);
        self.nth.set(shot.nth);
        self.rest.set(rest);
        self.now.set(now);
    }

    #[inline(always)]
    fn shot(&self) -> Shot {
        Shot { draw: self.draw.get(), nth: self.nth.get() }
    }
}

/// What the quick look at the rules says of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Quick {
    /// It passes.
    Pass,
    /// A rule has fired, and the token is held: see [`First`].
    Fired,
    /// Nothing has been asked yet: the long way must be gone, by `judge`.
    Ask,
}

/// Asks rules that are a plain rate or counter, of descriptors that are known, by a thread that has its slot. It calls
/// nothing, so that a call that passes is a jump without a frame.
#[inline(always)]
pub fn quick(op: Op, target: Target) -> Quick {
    let word = real::word(op as usize);
    let me = tree::me();
    let wanted = word & me.rules();
    let thread = guard::thread();
    let session = session::armed();
    if word & me.strange() != 0 || thread.is_inside() || session.is_over() {
        return Quick::Ask;
    }
    let hit = match target {
        Target::Memory => {
            if !crate::init::may_fail_allocation(thread.caller.get()) {
                return Quick::Pass;
            }
            wanted
        }
        Target::Fd(fd) => {
            let wanted = if (0..3).contains(&fd) { wanted & session.std_fds() } else { wanted };
            let asking = wanted & session.needs_fd();
            if asking == 0 {
                wanted
            } else {
                let Some(standing) = fds::known(fd) else { return Quick::Ask };
                let (hit, protected) = standing.select(asking, session.only_files(op), session.only_sockets(op));
                if protected != 0 {
                    return Quick::Ask;
                }
                hit | (wanted ^ asking)
            }
        }
        Target::Nothing => wanted,
        Target::Path(..)
        | Target::Entry(..)
        | Target::Entries(..)
        | Target::Fds(..)
        | Target::Peer(..)
        | Target::Name(_)
        | Target::Program(_)
        | Target::Point(_)
        | Target::Wait(..) => return Quick::Ask,
    };
    // A thread that no rule has hit yet has no slot, and needs none.
    if hit == 0 {
        return Quick::Pass;
    }
    if hit & (session.complex() | thread.lead.rule.get()) != 0 || !tree::is_own_slot(thread) {
        return Quick::Ask;
    }
    let slot = thread.slot.get() as *mut ThreadSlot;
    if ahead::is_due(hit, session.counted(slot, hit.trailing_zeros() as usize).matched()) {
        return Quick::Ask;
    }
    let token = Token::enter_free(thread);
    let mut bits = hit;
    while bits != 0 {
        let index = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        let (mut nth, draw) = session.counted(slot, index).advance();
        if session.counting() & (1 << index) != 0 {
            let seen = session.process_counter(tree::me().slot(), index, offset_of!(ProcessCounters, seen));
            nth = seen.fetch_add(1, Ordering::Relaxed) + 1;
            if !session.rules().get(index).is_some_and(|rule| decide::chosen(rule, nth)) {
                continue;
            }
        }
        if draw < session.rate(index) {
            thread.first.set(index, Shot { draw, nth }, bits, 0);
            token.keep();
            return Quick::Fired;
        }
    }
    token.leave();
    Quick::Pass
}

impl Quick {
    /// Goes the long way where that is called for: the first rule that fired, if any.
    pub fn resolve(self, op: Op, target: Target, amount: u64) -> Option<First> {
        match self {
            Quick::Pass => None,
            Quick::Fired => Some(First { op }),
            Quick::Ask => judge(op, target, amount),
        }
    }
}

/// Asks the rules on an operation. `None`: the call passes. The word of the operation was not zero.
#[inline(always)]
pub fn judge(op: Op, target: Target, amount: u64) -> Option<First> {
    let word = real::word(op as usize);
    let word = if word & SIGN == 0 { word } else { after_sign(op, &target) };
    if word & tree::me().strange() & RULE_BITS != 0 {
        learn::take_up();
    }
    let wanted = word & RULE_BITS & tree::me().rules();
    if wanted != 0 {
        let token = Token::enter()?;
        if ask(&token, op, wanted, &target, amount) {
            token.keep();
            return Some(First { op });
        }
        token.leave();
    }
    if word & WATCH != 0 {
        watch::begin(op, &target, amount);
    }
    None
}

/// The word of an operation once the call has been looked at as a sign that a runtime has booted: it may arm us.
#[cold]
#[inline(never)]
fn after_sign(op: Op, target: &Target) -> u64 {
    signs::of_call(op, *target);
    real::word(op as usize)
}

/// Whether a rule fires: the long way, for calls that cost a microsecond and rules with windows, limits or `times`.
#[inline(always)]
fn ask(token: &Token, op: Op, wanted: u64, target: &Target, amount: u64) -> bool {
    // The words are those of a session, so there is one.
    let session = session::armed();
    if session.is_over() {
        real::disarm();
        return false;
    }
    // Below a filter the entries look at words of this process's own: the session's may have changed since.
    let wanted = if tree::me().supervised { wanted & session.word(op) } else { wanted };
    let (hit, protected) = select(session, op, wanted, target, amount);
    hit | protected != 0 && put_to_rules(token.thread, hit, protected, &Asked { op, target, amount })
}

#[inline(never)]
fn put_to_rules(thread: &Thread, hit: u64, protected: u64, asked: &Asked<'_>) -> bool {
    let session = session::armed();
    let Some(slot) = tree::thread_slot(session, thread) else { return false };
    count_protected(session, slot, protected);
    let now = if session.windowed() & hit == 0 { 0 } else { session.run_time(clock::coarse()) };
    if session.windowed() & hit != 0 && (now >= session.until_ns || now < session.arm_ns) {
        return false;
    }
    let is_used_up = ahead::close(thread, hit);
    let fires = Asking { session, slot, asked, now }.next(hit, false, &thread.first);
    if !fires && is_used_up {
        ahead::open(session, thread, asked.op, asked.target, hit);
    }
    fires
}

/// What a call asks for.
struct Asked<'a> {
    op: Op,
    target: &'a Target,
    amount: u64,
}

/// One call being put to its rules.
struct Asking<'a> {
    session: &'static Session,
    slot: *mut ThreadSlot,
    asked: &'a Asked<'a>,
    /// ns since the start of the run, when a rule asks for it.
    now: u64,
}

impl Asking<'_> {
    /// Whether one of these rules fires, and which; those before it have advanced. `decided`: none fires, all advance.
    fn next(&self, mut rest: u64, decided: bool, into: &FirstShot) -> bool {
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(shot) = self.rule(index, decided) {
                into.set(index, shot, rest, self.now);
                return true;
            }
        }
        false
    }

    /// Whether one rule fires.
    #[inline(always)]
    fn rule(&self, index: usize, decided: bool) -> Option<Shot> {
        let session = self.session;
        let rule = session.rules().get(index)?;
        if self.now < rule.from_ns || self.now >= rule.until_ns {
            return None;
        }
        if rule.has(flag::TIMED) {
            guard::thread().matched.set(true);
        }
        if rule.fault == FaultKind::Exhaust as u8 && !is_exhausted(session, index, rule, self.asked.amount) {
            return None;
        }
        if session.metered() & (1 << index) != 0 && !self.has_moved(rule, index) {
            return None;
        }
        let mut counters = InSession { session, slot: self.slot, rule, index, process: tree::me().slot() };
        decide::fires(rule, session.rate(index), decided, &mut counters)
    }

    /// Whether as many bytes have moved over the connection as the rule waits for.
    fn has_moved(&self, rule: &Rule, index: usize) -> bool {
        match *self.asked.target {
            Target::Fd(fd) | Target::Fds(fd, _) => moved::is_due(rule, index, self.asked.op, fd, self.asked.amount),
            _ => false,
        }
    }
}

/// Whether the caller now has a failure to get over that a later success of its call can prove to be over.
fn fails(effect: Effect, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Fail(..) => !matches!(effect, Effect::Torn(_)),
        Outcome::FailConnect(..) | Outcome::Cut(..) => true,
        // A wait that ended by its own patience has its answer.
        Outcome::End(_) => matches!(effect, Effect::End(_)),
        // The write that crosses the limit of the disk.
        Outcome::Part(..) => true,
        Outcome::Go
        | Outcome::Short(..)
        | Outcome::Corrupt(..)
        | Outcome::Drop(_)
        | Outcome::Torn(..)
        | Outcome::Return(..)
        | Outcome::Throttle(..) => false,
    }
}

#[cold]
fn count_protected(session: &Session, slot: *mut ThreadSlot, mut protected: u64) {
    while protected != 0 {
        let index = protected.trailing_zeros() as usize;
        protected &= protected - 1;
        // SAFETY: the slot is this thread's own.
        unsafe { (*session.thread_counters(slot, index)).protected += 1 };
    }
}

fn is_exhausted(session: &Session, index: usize, rule: &Rule, amount: u64) -> bool {
    match rule.what {
        exhaust::MEMORY if memory::is_mapping() => memory::is_exhausted(rule.limit),
        exhaust::MEMORY => {
            let live = session.live_bytes(tree::me().slot()).load(Ordering::Relaxed).max(0) as u64;
            live.saturating_add(amount) > rule.limit
        }
        exhaust::PROCESSES => census::processes(session) >= rule.limit,
        exhaust::THREADS => census::threads() >= rule.limit,
        exhaust::DISK => disk::is_exhausted(session, index, rule.limit),
        _ => crate::sys::lowest_free_fd().is_none_or(|fd| fd as u64 >= rule.limit),
    }
}

/// Counters of one rule where they live: in the session.
struct InSession<'a> {
    session: &'a Session,
    slot: *mut ThreadSlot,
    rule: &'a Rule,
    index: usize,
    process: *mut ProcessSlot,
}

impl Counters for InSession<'_> {
    #[inline(always)]
    fn count_match(&mut self) -> (u64, u64) {
        let (matched, draw) = self.session.counted(self.slot, self.index).advance();
        if !self.rule.has(flag::COUNTS) || self.rule.per == per::THREAD {
            return (matched, draw);
        }
        let seen = self.scope(offset_of!(ProcessCounters, seen), offset_of!(TreeCounters, seen));
        (seen.fetch_add(1, Ordering::Relaxed) + 1, draw)
    }

    fn take(&mut self, times: u64) -> bool {
        if self.rule.per == per::THREAD {
            // SAFETY: the slot is this thread's own.
            let fired = unsafe { &mut (*self.session.thread_counters(self.slot, self.index)).fired };
            let left = u64::from(*fired) < times;
            *fired = fired.saturating_add(u32::from(left));
            return left;
        }
        let fired = self.scope(offset_of!(ProcessCounters, fired), offset_of!(TreeCounters, fired));
        fired.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < times).then_some(n + 1)).is_ok()
    }
}

impl InSession<'_> {
    /// Undoes `take`.
    fn give_back(&self) {
        if self.rule.per == per::THREAD {
            // SAFETY: the slot is this thread's own.
            let fired = unsafe { &mut (*self.session.thread_counters(self.slot, self.index)).fired };
            *fired = fired.saturating_sub(1);
        } else {
            let fired = self.scope(offset_of!(ProcessCounters, fired), offset_of!(TreeCounters, fired));
            fired.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn scope(&self, in_process: usize, in_tree: usize) -> &std::sync::atomic::AtomicU64 {
        match self.rule.per {
            per::TREE => self.session.tree(self.index, in_tree),
            _ => self.session.process_counter(self.process, self.index, in_process),
        }
    }
}

/// Carries out what fired, but for the real call: waits, publishes the records, and says what is left to do.
///
/// `asked` is the number of bytes (or ns) that the call asks for, `flags` the MSG_ flags of a socket call.
#[cold]
#[inline(never)]
pub fn deliver(first: First, target: Target, asked: u64, flags: i32) -> Outcome {
    let session = session::armed();
    let mut token = Token::held();
    let thread = token.thread;
    loop {
        let (index, shot, rest, now) =
            (thread.first.index.get(), thread.first.shot(), thread.first.rest.get(), thread.first.now.get());
        let mut met = Met { op: first.op, bond: Bond::NONE, target: &target, asked, effect: Effect::Drop };
        let ticket = session.rules().get(index).and_then(|rule| {
            Subjected { session, op: first.op, target, asked, flags, index, rule, shot }.prepare(thread, &mut met)
        });
        // Inside only to decide and to write; never while waiting, so that signal handlers are seen meanwhile.
        token.leave();
        let (outcome, is_whole) = match ticket {
            Some(ticket) => {
                let ends = ends_process(met.effect);
                if ends {
                    watch::enter(session, &met, ticket);
                }
                let outcome = effects::carry_out(session, first.op, met.effect, ticket, target, shot.draw, flags);
                if fails(met.effect, outcome) {
                    watch::enter(session, &met, ticket);
                }
                (outcome, !ends)
            }
            None => (Outcome::Go, true),
        };
        let decided = !matches!(outcome, Outcome::Go);
        // A call that was only slow is watched as any other; one that met a signal is not the one that proves anything.
        if matches!(outcome, Outcome::Go | Outcome::Throttle(..)) && is_whole && watch::is_on(first.op) {
            watch::begin(first.op, &target, asked);
        } else if decided || !is_whole {
            watch::is_hit(thread);
        }
        if rest == 0 {
            return outcome;
        }
        let Some(again) = Token::enter() else { return outcome };
        token = again;
        // A signal handler may have drawn ahead for them meanwhile.
        ahead::close(thread, rest);
        // The rules behind one that fired advance as well, and the next of them may act unless the call is decided.
        let asked = Asked { op: first.op, target: &target, amount: asked };
        let fires = tree::thread_slot(session, thread)
            .is_some_and(|slot| Asking { session, slot, asked: &asked, now }.next(rest, decided, &thread.first));
        if !fires {
            token.leave();
            return outcome;
        }
    }
}

/// One injection on its way.
struct Subjected<'a> {
    session: &'static Session,
    op: Op,
    target: Target,
    asked: u64,
    flags: i32,
    index: usize,
    rule: &'a Rule,
    shot: Shot,
}

impl Subjected<'_> {
    /// Checks the identity, refuses what does not fit, and publishes the record: without one there is no fault.
    #[inline(always)]
    fn prepare(&self, thread: &Thread, met: &mut Met<'_>) -> Option<Ticket> {
        if self.session.needs_fd() & (1 << self.index) != 0 {
            let is_hit = match self.target {
                Target::Fd(fd) => self.still_matches(fd),
                Target::Fds(to, from) => self.still_matches(to) || self.still_matches(from),
                _ => true,
            };
            if !is_hit {
                self.give_back(thread);
                return None;
            }
        }
        let effect = match decide::effect(self.rule, self.op, self.shot.draw) {
            Effect::Disk(limit) => disk::crossing(self.session, self.index, limit),
            effect => effect,
        };
        let effect =
            match effects::fitting(self.op, effect, self.target, self.rule, self.shot.draw, self.asked, self.flags) {
                Ok(effect) => effect,
                Err(reason) => {
                    self.give_back(thread);
                    self.unsuitable(thread, reason);
                    return None;
                }
            };
        if !self.session.take_budget() {
            return None;
        }
        met.effect = effect;
        let mut record = self.record(kind::INJECTION);
        record.status = effects::status_of(effect);
        record.effect = effects::number_of(effect);
        record.requested = effects::requested(effect, self.asked);
        if matches!(self.target, Target::Memory | Target::Wait(..) | Target::Nothing) {
            met.bond = watch::bond(self.session, thread, self.op, self.target, effect, b"");
            return log::publish(self.session, thread, &mut record, &[]);
        }
        paths::with_desk(|desk| {
            describe(self.target, desk);
            met.bond = watch::bond(self.session, thread, self.op, self.target, effect, desk.path.bytes());
            log::publish(self.session, thread, &mut record, &[desk.path.bytes()])
        })
        .flatten()
    }

    /// Whether the rule matches what the kernel says that a descriptor is.
    #[inline(always)]
    fn still_matches(&self, fd: i32) -> bool {
        let standing = fds::refresh(self.session, fd);
        let (hit, _) =
            standing.select(1 << self.index, self.session.only_files(self.op), self.session.only_sockets(self.op));
        hit != 0
    }

    fn record(&self, kind: u8) -> Record {
        Record {
            kind,
            rule: self.index as u16,
            op: self.op as u16,
            fault: self.rule.fault,
            status: status::DELIVERED,
            nth: self.shot.nth,
            requested: self.asked,
            ..Record::default()
        }
    }

    /// What is not injected is none of the rule's `times`.
    fn give_back(&self, thread: &Thread) {
        let (session, rule, index) = (self.session, self.rule, self.index);
        if rule.times != 0
            && let Some(slot) = tree::thread_slot(session, thread)
        {
            InSession { session, slot, rule, index, process: tree::me().slot() }.give_back();
        }
    }

    /// Counts a fault that no kernel could produce here; the first of each rule is told in the log.
    fn unsuitable(&self, thread: &Thread, reason: &str) {
        let before =
            self.session.tree(self.index, offset_of!(TreeCounters, unsuitable)).fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            log::publish(self.session, thread, &mut self.record(kind::UNSUITABLE), &[reason.as_bytes()]);
        }
    }
}

//! The mapped session, as this process sees it: one shared mapping, no descriptor, plain loads and atomics.
//!
//! A target may scribble over all of it. Offsets and sizes are copied out and checked once, when attaching; whatever is
//! read later is an integer for which every value is handled.

use crate::counted::Counted;
use crate::sys;
use chaos_table::book::{self, Book};
use chaos_table::calls::Op;
use chaos_table::decide::Patterns;
use chaos_table::latency;
use chaos_table::live::Shared;
use chaos_table::programs::Programs;
use chaos_table::quota::Account;
use chaos_table::record::SLOT;
use chaos_table::rule::{Kinds, Matcher, PlanHeader, RULE_BITS, Rule, STAMP, Span, WATCH};
use chaos_table::session::{
    Header, Layout, Name, OWNER_DIED, PROGRAMS, ProcessCounters, ProcessSlot, ThreadCounters, ThreadSlot, TreeCounters,
};
use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, offset_of};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The session of this process; filled once, before `ATTACHED` is set.
struct Cell(UnsafeCell<Session>);

// SAFETY: written once by the constructor while `ATTACHED` is false, only read afterwards.
unsafe impl Sync for Cell {}

#[unsafe(link_section = ".data.chaos_start")]
static SESSION: Cell = Cell(UnsafeCell::new(Session {
    base: std::ptr::null_mut(),
    len: 0,
    layout: Layout {
        plan: 0,
        rules: 0,
        rule_room: 0,
        matchers: 0,
        matcher_room: 0,
        text: 0,
        text_room: 0,
        names: 0,
        name_room: 0,
        charges: 0,
        charge_room: 0,
        tree: 0,
        book: 0,
        processes: 0,
        process_room: 0,
        process_stride: 0,
        threads: 0,
        thread_room: 0,
        thread_stride: 0,
        ring: 0,
        ring_slots: 0,
    },
    start_ns: 0,
    start_wall_ns: 0,
    seed: 0,
    has_launcher: false,
    until_ns: u64::MAX,
    arm_ns: 0,
    kinds: 0,
    rates: 0,
    rules: AtomicUsize::new(0),
    matchers: AtomicUsize::new(0),
    text: AtomicUsize::new(0),
    limited: false,
    latencies: 0,
}));
#[unsafe(link_section = ".data.chaos_start")]
static ATTACHED: AtomicBool = AtomicBool::new(false);

/// A mapped session. What cannot change is copied; the rest is read in place.
pub struct Session {
    base: *mut u8,
    len: u64,
    layout: Layout,
    /// CLOCK_MONOTONIC of the start of the run.
    pub start_ns: u64,
    /// CLOCK_REALTIME of the start of the run.
    pub start_wall_ns: u64,
    /// The seed of every decision.
    pub seed: u64,
    /// Whether somebody drains the ring.
    pub has_launcher: bool,
    /// Injection ends so many ns after the start.
    pub until_ns: u64,
    /// Injection does not begin before.
    pub arm_ns: u64,
    /// Where [`Kinds`] is.
    kinds: usize,
    /// Where the rate of the first rule is.
    rates: usize,
    /// How many rules this process knows of: more may have been added since.
    rules: AtomicUsize,
    matchers: AtomicUsize,
    text: AtomicUsize,
    /// `--max-faults` was given.
    pub limited: bool,
    /// Where times of calls are counted; 0: they are not.
    latencies: usize,
}

/// The session, once attached.
#[inline(always)]
pub fn attached() -> Option<&'static Session> {
    if !ATTACHED.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: written before ATTACHED was set, never again.
    Some(unsafe { &*SESSION.0.get() })
}

/// The session of a process that is armed.
#[inline(always)]
pub fn armed() -> &'static Session {
    // SAFETY: written before the process could be armed, never again; unattached it is all zeros and asked nothing.
    unsafe { &*SESSION.0.get() }
}

/// Takes a mapping of `len` bytes as this process's session.
///
/// # Errors
/// One sentence on what is wrong with it.
///
/// # Safety
/// `base` must be a mapping of `len` bytes that stays for ever; called once, by the constructor.
pub unsafe fn adopt(base: *mut u8, len: u64) -> Result<&'static Session, String> {
    // SAFETY: the mapping is at least a header long (checked by the caller's size test below), Header is plain data.
    if len < 4096 {
        return Err("it is too short".into());
    }
    // SAFETY: as above. This process is about to write to this page: one that is first read is faulted in twice.
    let header: Header = unsafe {
        sys::touch(base);
        let mut copy = MaybeUninit::<Header>::uninit();
        std::ptr::copy_nonoverlapping(base, copy.as_mut_ptr().cast::<u8>(), size_of::<Header>());
        // What was checked is what is used, whatever the target writes meanwhile. (A volatile read would go byte by
        // byte.)
        std::hint::black_box(copy).assume_init()
    };
    header.check(len)?;
    let layout = header.layout;
    // SAFETY: `check` said that the area lies inside the mapping; plain data.
    let plan = unsafe { &*base.add(layout.plan as usize).cast::<PlanHeader>() };
    let session = Session {
        base,
        len,
        layout,
        start_ns: header.start_mono_ns,
        start_wall_ns: header.start_wall_ns,
        seed: plan.seed,
        has_launcher: header.has_launcher != 0,
        until_ns: plan.until_ns,
        arm_ns: plan.arm_ns,
        kinds: base as usize + layout.plan as usize + offset_of!(PlanHeader, kinds),
        rates: base as usize + layout.rules as usize + offset_of!(Rule, rate),
        rules: AtomicUsize::new(0),
        matchers: AtomicUsize::new(0),
        text: AtomicUsize::new(0),
        limited: plan.max_faults != u64::MAX,
        latencies: header.latencies as usize,
    };
    session.learn();
    // SAFETY: nobody reads it before ATTACHED.
    unsafe {
        *SESSION.0.get() = session;
        Ok(&*SESSION.0.get())
    }
}

/// Lets the rest of the shim see the session.
pub fn publish() {
    ATTACHED.store(true, Ordering::Release);
}

impl Session {
    /// Takes up the rules and patterns that are there now.
    pub fn learn(&self) {
        let now = |field: usize| self.atomic32(self.layout.plan as usize + field).load(Ordering::Acquire) as usize;
        let rules = now(offset_of!(PlanHeader, rule_count)).min(self.layout.rule_room as usize);
        let matchers = now(offset_of!(PlanHeader, matcher_count)).min(self.layout.matcher_room as usize);
        let text = now(offset_of!(PlanHeader, text_len)).min(self.layout.text_room as usize);
        self.text.store(text, Ordering::Relaxed);
        self.matchers.store(matchers, Ordering::Relaxed);
        self.rules.store(rules.min(chaos_table::rule::MAX_RULES), Ordering::Release);
    }

    /// Whether there are rules that this process does not know of.
    pub fn is_behind(&self) -> bool {
        let now = self.atomic32(self.layout.plan as usize + offset_of!(PlanHeader, rule_count)).load(Ordering::Acquire);
        (now as usize).min(self.rule_room()) > self.rule_count()
    }

    /// Rules of a kind; `field` is an offset in [`Kinds`].
    #[inline(always)]
    fn kind(&self, field: usize) -> u64 {
        // SAFETY: inside the mapping, aligned to 8, and only used atomically.
        unsafe { AtomicU64::from_ptr((self.kinds + field) as *mut u64) }.load(Ordering::Relaxed)
    }

    /// Rules for which the time matters.
    pub fn windowed(&self) -> u64 {
        self.kind(offset_of!(Kinds, windowed))
    }

    /// Rules that count the matches of the process.
    #[inline(always)]
    pub fn counting(&self) -> u64 {
        self.kind(offset_of!(Kinds, counting))
    }

    /// Rules that are more than a rate and such a counter: windows, other counters, limits.
    #[inline(always)]
    pub fn complex(&self) -> u64 {
        self.kind(offset_of!(Kinds, complex))
    }

    /// Rules that put clocks off, see `wall.rs`: no call is put to them.
    pub fn clocks(&self) -> u64 {
        self.kind(offset_of!(Kinds, clocks))
    }

    /// Rules that look at more of a call than its operation and what it acts on: the descriptor's number, sizes, callers,
    /// the thread.
    #[inline(always)]
    pub fn picky(&self) -> u64 {
        self.kind(offset_of!(Kinds, picky))
    }

    /// Rules that ask which module makes the call.
    pub fn asks_caller(&self) -> u64 {
        self.kind(offset_of!(Kinds, asks_caller))
    }

    /// Rules that cut a connection once some bytes have moved over it.
    #[inline(always)]
    pub fn metered(&self) -> u64 {
        self.kind(offset_of!(Kinds, metered))
    }

    /// Rules that keep a quota of disk.
    pub fn disk(&self) -> u64 {
        self.kind(offset_of!(Kinds, disk))
    }

    /// Rules of one thread.
    pub fn owned(&self) -> u64 {
        self.kind(offset_of!(Kinds, owned))
    }

    /// A pointer into the mapping.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> *mut T {
        // SAFETY: callers pass offsets of areas that `Layout::fits` has checked against the mapping's length.
        unsafe { self.base.add(offset).cast() }
    }

    #[inline(always)]
    fn atomic64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned to 8, and only used atomically.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    #[inline(always)]
    fn atomic32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned to 4, and only used atomically.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    /// Whether injection is over for everybody: switched off, or the launcher is gone.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        // Without a launcher the mutex word stays 0.
        let disarmed = self.atomic32(offset_of!(Header, disarmed)).load(Ordering::Relaxed);
        disarmed | (self.atomic32(offset_of!(Header, mutex)).load(Ordering::Relaxed) & OWNER_DIED) != 0
    }

    /// A 32-bit word of the header; `field` is an offset in [`Header`].
    pub fn header32(&self, field: usize) -> &AtomicU32 {
        self.atomic32(field.min(size_of::<Header>() - 4))
    }

    /// Counts the changes of the table; who waits on it as on a futex is woken by the next.
    pub fn changes(&self) -> &AtomicU32 {
        self.atomic32(offset_of!(Header, changes))
    }

    /// Whether the kernel keeps time by the TSC, see [`Header::clock`].
    pub fn clock(&self) -> &AtomicU32 {
        self.atomic32(offset_of!(Header, clock))
    }

    /// Whether injection is switched on and the rule not taken away: what waits by a rule's doing goes on when it is not.
    pub fn is_in_force(&self, rule: usize) -> bool {
        let enabled =
            self.atomic32(self.layout.plan as usize + offset_of!(PlanHeader, enabled)).load(Ordering::Relaxed);
        let rule = rule.min(self.rule_room() - 1);
        let kept = self.atomic32(self.layout.rules as usize + rule * size_of::<Rule>() + offset_of!(Rule, enabled));
        enabled != 0 && kept.load(Ordering::Relaxed) != 0
    }

    /// What the entries of a process compare that none of the first rules is about.
    pub fn added_words(&self) -> *mut AtomicU64 {
        self.at(self.layout.plan as usize + offset_of!(PlanHeader, added))
    }

    /// The words that the entries compare.
    pub fn words(&self) -> *mut AtomicU64 {
        self.at(self.layout.plan as usize + offset_of!(PlanHeader, ops))
    }

    fn plan_word(&self, field: usize) -> u64 {
        self.atomic64(self.layout.plan as usize + field).load(Ordering::Relaxed)
    }

    /// Rules on an operation that want a file behind the descriptor.
    #[inline(always)]
    pub fn only_files(&self, op: Op) -> u64 {
        self.plan_word(offset_of!(PlanHeader, only_files) + op as usize * 8)
    }

    /// Rules on an operation that want a socket behind the descriptor.
    #[inline(always)]
    pub fn only_sockets(&self, op: Op) -> u64 {
        self.plan_word(offset_of!(PlanHeader, only_sockets) + op as usize * 8)
    }

    /// Rules that may hit fds 0 to 2.
    #[inline(always)]
    pub fn std_fds(&self) -> u64 {
        self.plan_word(offset_of!(PlanHeader, std_fds))
    }

    /// Rules that ask what a descriptor is.
    #[inline(always)]
    pub fn needs_fd(&self) -> u64 {
        self.plan_word(offset_of!(PlanHeader, needs_fd))
    }

    /// Of these, the rules that ask for the path of a file.
    pub fn needs_path(&self) -> u64 {
        self.plan_word(offset_of!(PlanHeader, needs_path))
    }

    /// Rules about memory.
    pub fn memory_rules(&self) -> u64 {
        self.plan_word(offset_of!(PlanHeader, memory))
    }

    /// When injection begins, one of `rule::arm`.
    pub fn arm(&self) -> u32 {
        self.atomic32(self.layout.plan as usize + offset_of!(PlanHeader, arm)).load(Ordering::Relaxed)
    }

    /// ns since injection could begin: since the start of the run, or since the tree was armed by its sign.
    pub fn run_time(&self, now: u64) -> u64 {
        now.saturating_sub(self.start_ns).saturating_sub(self.armed_ns())
    }

    /// When the tree was armed by its sign, ns since the start of the run; 0 where none was waited for.
    #[inline(always)]
    pub fn armed_ns(&self) -> u64 {
        self.plan_word(offset_of!(PlanHeader, armed_ns))
    }

    /// Whether the whole tree waits for a sign.
    pub fn awaits_sign(&self) -> bool {
        self.atomic32(self.layout.plan as usize + offset_of!(PlanHeader, armed)).load(Ordering::Acquire) == 0
    }

    /// The paths whose opening is the sign.
    pub fn sign_paths(&self) -> Span {
        // SAFETY: inside the mapping; plain data.
        unsafe {
            let plan = self.at::<PlanHeader>(self.layout.plan as usize);
            (&raw const (*plan).arm_paths).read_volatile()
        }
    }

    /// Whether listening on this port is the sign.
    pub fn is_sign_port(&self, port: u16) -> bool {
        // SAFETY: inside the mapping; plain data.
        let (first, last) = unsafe {
            let plan = self.at::<PlanHeader>(self.layout.plan as usize);
            ((&raw const (*plan).arm_port_first).read_volatile(), (&raw const (*plan).arm_port_last).read_volatile())
        };
        (first..=last).contains(&u32::from(port))
    }

    /// The rules on an operation, whether they are in force yet or not.
    pub fn planned(&self, op: Op) -> u64 {
        self.plan_word(offset_of!(PlanHeader, planned) + op as usize * 8)
    }

    /// What moves on with each change of a rule.
    pub fn stamp(&self) -> u64 {
        self.atomic64(self.layout.plan as usize + offset_of!(PlanHeader, ops) + STAMP * 8).load(Ordering::Acquire)
    }

    /// The rules that are in force on an operation now.
    pub fn word(&self, op: Op) -> u64 {
        self.plan_word(offset_of!(PlanHeader, ops) + op as usize * 8)
    }

    /// Arms the tree: from now on every process sees the rules. Doing it twice changes nothing.
    pub fn arm_tree(&self, now: u64) {
        let plan = self.layout.plan as usize;
        self.atomic64(plan + offset_of!(PlanHeader, armed_ns))
            .store(now.saturating_sub(self.start_ns), Ordering::Relaxed);
        let enabled = self.atomic32(plan + offset_of!(PlanHeader, enabled)).load(Ordering::Relaxed) != 0;
        let in_force = if enabled { u64::MAX } else { !RULE_BITS };
        for op in 0..chaos_table::calls::OPS {
            let planned = self.plan_word(offset_of!(PlanHeader, planned) + op * 8) & in_force;
            self.atomic64(plan + offset_of!(PlanHeader, ops) + op * 8).fetch_or(planned, Ordering::Relaxed);
        }
        self.atomic32(plan + offset_of!(PlanHeader, armed)).store(1, Ordering::SeqCst);
        // A rule that was added meanwhile did not see that the tree is armed.
        for op in 0..chaos_table::calls::OPS {
            let planned = self.plan_word(offset_of!(PlanHeader, planned) + op * 8) & in_force;
            self.atomic64(plan + offset_of!(PlanHeader, ops) + op * 8).fetch_or(planned, Ordering::Relaxed);
        }
    }

    /// What is known of programs.
    pub fn programs(&self) -> &Programs {
        // SAFETY: inside the mapping, which is at least a page long; made of atomics alone, for which any bytes are valid.
        unsafe { &*self.at(PROGRAMS) }
    }

    /// The book of open episodes.
    pub fn book(&self) -> &Book {
        // SAFETY: inside the mapping, aligned to 64, and made of atomics alone, for which any bytes are valid.
        unsafe { &*self.at(self.layout.book as usize) }
    }

    /// Whether an operation is watched. Not the book is asked: its page is one that a process may never need.
    pub fn is_watched(&self, op: Op) -> bool {
        self.plan_word(offset_of!(PlanHeader, ops) + op as usize * 8) & WATCH != 0
    }

    /// Has an operation and its kin watched while they have open episodes.
    pub fn watch(&self, op: Op) {
        book::kin(op).iter().for_each(|op| self.watch_one(*op));
    }

    /// Looked at again once its bit is gone: another process may have opened an episode meanwhile.
    fn watch_one(&self, op: Op) {
        let word = self.atomic64(self.layout.plan as usize + offset_of!(PlanHeader, ops) + op as usize * 8);
        for _ in 0..2 {
            let watched = self.times(op) || self.book().watches(op);
            if watched == (word.load(Ordering::SeqCst) & WATCH != 0) {
                return;
            }
            if watched {
                word.fetch_or(WATCH, Ordering::SeqCst);
                return;
            }
            word.fetch_and(!WATCH, Ordering::SeqCst);
        }
    }

    /// Whether calls on this operation are timed where a rule matches.
    #[inline(always)]
    pub fn times(&self, op: Op) -> bool {
        self.latencies != 0 && self.planned(op) & WATCH != 0
    }

    /// A word of an operation's row of times, see `chaos_table::latency`; `None` where times are not counted.
    pub fn latency(&self, op: Op, word: usize) -> Option<&AtomicU64> {
        let at = (op as usize * latency::ROW + word) * 8;
        // The area was checked to lie inside the mapping.
        (self.latencies != 0 && at as u64 + 8 <= latency::AREA).then(|| self.atomic64(self.latencies + at))
    }

    /// The members of all roles.
    pub fn roles(&self) -> Span {
        // SAFETY: inside the mapping; plain data.
        unsafe {
            let plan = self.at::<PlanHeader>(self.layout.plan as usize);
            (&raw const (*plan).roles).read_volatile()
        }
    }

    /// A moment of CLOCK_MONOTONIC as ns since the start of the run.
    pub fn since_start(&self, now: u64) -> u64 {
        now.saturating_sub(self.start_ns)
    }

    /// The globs of `protect`, and the text of the user's working directory. Not the whole head: it is larger than
    /// some stacks have room for.
    pub fn protect(&self) -> (Span, Span) {
        // SAFETY: inside the mapping; plain data.
        unsafe {
            let plan = self.at::<PlanHeader>(self.layout.plan as usize);
            ((&raw const (*plan).protect).read_volatile(), (&raw const (*plan).work_dir).read_volatile())
        }
    }

    /// The rules of the whole table.
    #[inline(always)]
    pub fn rules(&self) -> &[Rule] {
        // SAFETY: inside the mapping; plain data that is never written once published, but for the live fields, which
        // are read through `rule_live`. A target that writes here spoils its own decisions only.
        unsafe { std::slice::from_raw_parts(self.at(self.layout.rules as usize), self.rule_count()) }
    }

    /// The rate of a rule as it is now.
    #[inline(always)]
    pub fn rate(&self, index: usize) -> u64 {
        // SAFETY: inside the mapping, since `tree::me().rules` has bits of rules that are there only; aligned to 8, and
        // only used atomically.
        unsafe { AtomicU64::from_ptr((self.rates + index * size_of::<Rule>()) as *mut u64) }.load(Ordering::Relaxed)
    }

    /// Patterns and their text.
    pub fn patterns(&self) -> Patterns<'_> {
        // SAFETY: inside the mapping; plain data, see `rules`.
        unsafe {
            Patterns {
                matchers: std::slice::from_raw_parts(
                    self.at::<Matcher>(self.layout.matchers as usize),
                    self.matchers.load(Ordering::Relaxed),
                ),
                text: std::slice::from_raw_parts(
                    self.at::<u8>(self.layout.text as usize),
                    self.text.load(Ordering::Relaxed),
                ),
            }
        }
    }

    /// The table of remembered addresses.
    pub fn names(&self) -> (*mut Name, usize) {
        (self.at(self.layout.names as usize), self.layout.name_room as usize)
    }

    /// What files have been charged.
    pub fn accounts(&self) -> &[Account] {
        let (at, room) = (self.at(self.layout.charges as usize), self.layout.charge_room as usize);
        // SAFETY: the layout was checked: inside the mapping, and aligned. Accounts are made of atomics alone, for which any
        // bytes are valid.
        unsafe { std::slice::from_raw_parts(at, room) }
    }

    /// A counter of a rule over the whole tree; `field` is an offset in [`TreeCounters`].
    #[inline(always)]
    pub fn tree(&self, rule: usize, field: usize) -> &AtomicU64 {
        self.atomic64(self.layout.tree as usize + (rule & 63) * size_of::<TreeCounters>() + field)
    }

    /// How many process slots there are.
    pub fn process_room(&self) -> usize {
        self.layout.process_room as usize
    }

    /// A process slot.
    pub fn process(&self, index: usize) -> *mut ProcessSlot {
        self.at(
            self.layout.processes as usize + index.min(self.process_room() - 1) * self.layout.process_stride as usize
        )
    }

    /// The index of a process slot.
    pub fn process_index(&self, slot: *mut ProcessSlot) -> usize {
        (slot as usize).wrapping_sub(self.base as usize + self.layout.processes as usize)
            / self.layout.process_stride as usize
    }

    /// A counter of a rule in a process.
    #[inline(always)]
    pub fn process_counter(&self, slot: *mut ProcessSlot, rule: usize, field: usize) -> &AtomicU64 {
        let rule = rule.min(self.layout.rule_room as usize - 1);
        // SAFETY: `slot` comes from `process`; its stride has room for the counters of every rule.
        unsafe { AtomicU64::from_ptr(slot.add(1).cast::<u8>().add(rule * size_of::<ProcessCounters>() + field).cast()) }
    }

    /// The net bytes that a process has allocated since it was armed.
    pub fn live_bytes(&self, slot: *mut ProcessSlot) -> &AtomicI64 {
        // SAFETY: `slot` comes from `process`.
        unsafe { AtomicI64::from_ptr(&raw mut (*slot).live_bytes) }
    }

    /// How many thread slots there are.
    pub fn thread_room(&self) -> usize {
        self.layout.thread_room as usize
    }

    /// A thread slot.
    pub fn thread(&self, index: usize) -> *mut ThreadSlot {
        self.at(self.layout.threads as usize + index.min(self.thread_room() - 1) * self.layout.thread_stride as usize)
    }

    /// The index of a thread slot.
    pub fn thread_index(&self, slot: *mut ThreadSlot) -> usize {
        (slot as usize).wrapping_sub(self.base as usize + self.layout.threads as usize)
            / self.layout.thread_stride as usize
    }

    /// Counters and stream of a rule in a thread.
    #[inline(always)]
    pub fn thread_counters(&self, slot: *mut ThreadSlot, rule: usize) -> *mut ThreadCounters {
        // SAFETY: `slot` comes from `thread`; its stride has room for the counters of every rule.
        unsafe { slot.add(1).cast::<ThreadCounters>().add(rule) }
    }

    /// The same, of the calling thread's own slot.
    #[inline(always)]
    pub fn counted(&self, slot: *mut ThreadSlot, rule: usize) -> Counted {
        // SAFETY: callers give the slot that the thread's own block names.
        unsafe { Counted::at(self.thread_counters(slot, rule)) }
    }

    /// How many rules this process knows of.
    #[inline(always)]
    pub fn rule_count(&self) -> usize {
        self.rules.load(Ordering::Relaxed)
    }

    /// Room for so many rules.
    pub fn rule_room(&self) -> usize {
        self.layout.rule_room as usize
    }

    /// Next slot to be claimed.
    #[inline(always)]
    pub fn head(&self) -> &AtomicU64 {
        self.atomic64(offset_of!(Header, head))
    }

    /// First slot that is not drained.
    #[inline(always)]
    pub fn tail(&self) -> &AtomicU64 {
        self.atomic64(offset_of!(Header, tail))
    }

    /// Slots in the ring, a power of two.
    #[inline(always)]
    pub fn ring_slots(&self) -> u64 {
        u64::from(self.layout.ring_slots)
    }

    /// A slot of the ring.
    #[inline(always)]
    pub fn ring(&self, index: u64) -> *mut u8 {
        let index = (index & (self.ring_slots() - 1)) as usize;
        self.at(self.layout.ring as usize + index * SLOT)
    }

    /// Takes one of the faults that `--max-faults` leaves; false when there is none left.
    pub fn take_budget(&self) -> bool {
        let budget = self.counter(offset_of!(Header, budget));
        !self.limited || budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// A counter of the header; `field` is an offset in [`Header`].
    pub fn counter(&self, field: usize) -> &AtomicU64 {
        self.atomic64(field.min(size_of::<Header>() - 8))
    }
}

impl Session {
    /// Bytes of the mapping.
    pub fn len(&self) -> u64 {
        self.len
    }

    fn place(&self, at: usize, len: usize) -> Option<*mut u8> {
        let end = at.checked_add(len)?;
        // SAFETY: the whole range lies inside the mapping.
        (end as u64 <= self.len).then(|| unsafe { self.base.add(at) })
    }
}

impl Shared for Session {
    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.place(at, into.len()) else { return false };
        // SAFETY: inside the mapping; whatever is read there is not believed.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        true
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        let Some(to) = self.place(at, bytes.len()) else { return false };
        // SAFETY: inside the mapping; nobody reads there before a word says so, see `chaos_table::live`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        true
    }

    fn word32(&self, at: usize) -> Option<&AtomicU32> {
        self.place(at, 4).filter(|_| at.is_multiple_of(4)).map(|_| self.atomic32(at))
    }

    fn word64(&self, at: usize) -> Option<&AtomicU64> {
        self.place(at, 8).filter(|_| at.is_multiple_of(8)).map(|_| self.atomic64(at))
    }

    fn wake(&self, word: &AtomicU32) {
        sys::wake(word);
    }
}

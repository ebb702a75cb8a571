//! One call being put to the rules: counting, decision, record.

use super::decode::{Call, Target};
use super::disk::Claim;
use super::job::{Common, Delay, Hang, Job, Then};
use super::kernel::{Asked, Listener};
use super::rules::Rules;
use super::select::{Found, Selecting};
use super::shared::{Shared, Ticket};
use super::there::{self, There};
use super::transfer::{self, How};
use super::tree::{Counts, Process, Thread};
use super::watch::{self, Caller, Watching};
use super::{connects, exhausted};
use chaos_table::book::Fault;
use chaos_table::calls::{FaultKind, Op};
use chaos_table::change::Change;
use chaos_table::decide::{self, Counters, Effect, Peer, Shot};
use chaos_table::fits::{self, Object};
use chaos_table::record::{Record, kind, status};
use chaos_table::rule::{Rule, bits, flag, per};
use chaos_table::session::{ProcessCounters, TreeCounters};
use chaos_table::told::{number_of, requested, status_of};
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One call being put to the rules.
pub struct Asking<'a> {
    /// What all jobs share.
    pub common: &'a Arc<Common>,
    /// Where it is answered.
    pub listener: &'a Arc<Listener>,
    /// The table.
    pub rules: &'a Rules,
    /// The call, as the kernel tells of it.
    pub asked: &'a Asked,
    /// The process that makes it.
    pub pid: u32,
    /// Which operation it is.
    pub op: Op,
    /// What it acts on.
    pub call: Call,
    /// How many processes live.
    pub processes: u64,
}

impl Asking<'_> {
    /// Who makes it.
    #[must_use]
    pub fn caller(&self, process: &Process) -> Caller {
        Caller { pid: self.pid, tid: self.asked.tid, image: process.image }
    }

    /// What hangs on how it ends.
    #[must_use]
    pub fn watching(&self, process: &Process) -> Option<Watching> {
        let there = There::new(self.pid, &process.pidfd);
        Watching::of(&Selecting { asking: self, there: &there, process, amount: self.amount() })
    }

    /// A connect of this descriptor has come about that nobody waited for.
    pub fn connected(&self, process: &Process, before: u64) {
        let there = There::new(self.pid, &process.pidfd);
        watch::connected(&Selecting { asking: self, there: &there, process, amount: 0 }, before);
    }

    /// Puts it to the rules in `wanted`; what happens to it, `None` when it passes.
    pub fn put(&self, wanted: u64, thread: &mut Thread, process: &mut Process) -> Option<Job> {
        let shared = &self.common.shared;
        let now = shared.now().saturating_sub(shared.armed_ns());
        let header = &self.rules.plan.header;
        if now >= header.until_ns || now < header.arm_ns {
            return None;
        }
        let pidfd = Arc::clone(&process.pidfd);
        let there = There::new(self.pid, &pidfd);
        let amount = self.amount();
        let selecting = Selecting { asking: self, there: &there, process, amount };
        let Found { hit, protected, resource } = selecting.find(wanted);
        if hit | protected == 0 {
            return None;
        }
        thread.begin_counting(self.asked.tid, process, shared, self.rules);
        for index in bits(protected) {
            thread.counts[index].protected += 1;
        }
        let quotas = hit & self.rules.plan.header.kinds.disk != 0;
        let claim = if quotas { Claim::of(self, &there, amount) } else { None };
        let mut fired = Fired { delays: Vec::new(), then: Then::Go, ticket: None, left: None, claim };
        for index in bits(hit) {
            let Some(rule) = self.rules.plan.rules.get(index) else { continue };
            if now < rule.from_ns
                || now >= rule.until_ns
                || !self.is_due((index, rule), process, &there, amount, &mut fired)
            {
                continue;
            }
            let decided = fired.then != Then::Go;
            let rate = shared.rate(index);
            let mut counters = InSession { shared, counts: &mut thread.counts[index], rule, index, process };
            if let Some(shot) = decide::fires(rule, rate, decided, &mut counters) {
                self.deliver(index, rule, shot, process, &there, amount, &resource, &mut fired);
            }
        }
        if let Some(place) = thread.place {
            for index in bits(hit | protected) {
                let counts = &thread.counts[index];
                shared.count_thread(place, index, counts.matched, counts.protected);
            }
        }
        if fired.delays.is_empty() && fired.ticket.is_none() {
            fired.claim.into_iter().for_each(Claim::passes);
            return None;
        }
        fired.delays.reverse();
        let on_descriptor =
            !matches!(fired.then, Then::Go | Then::Value(_) | Then::Signal(_) | Then::Freeze(_) | Then::Exit(_))
                && matches!(self.call.target, Target::Fd(_) | Target::Fds(..) | Target::Peer(..));
        Some(Job {
            listener: Arc::clone(self.listener),
            asked: *self.asked,
            pid: self.pid,
            pidfd: on_descriptor.then(|| Arc::clone(&process.pidfd)),
            op: self.op,
            call: self.call,
            delays: fired.delays,
            then: fired.then,
            ticket: fired.ticket,
            left: fired.left,
            claim: fired.claim,
            follow: None,
            common: Arc::clone(self.common),
        })
    }

    /// Bytes that the call asks for.
    fn amount(&self) -> u64 {
        match self.call.buffers {
            super::decode::Buffers::List(..) | super::decode::Buffers::Message(_) => {
                self.call.parts(self.asked.tid).iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len))
            }
            _ => self.call.amount,
        }
    }

    /// Whether what a rule waits for has run out, or has moved.
    fn is_due(
        &self,
        (index, rule): (usize, &Rule),
        process: &mut Process,
        there: &There<'_>,
        amount: u64,
        fired: &mut Fired,
    ) -> bool {
        if rule.fault == FaultKind::Exhaust as u8 {
            return exhausted::is_exhausted(self, (index, rule), process, amount, fired.claim.as_mut());
        }
        if rule.fault == FaultKind::Disconnect as u8 && rule.limit != 0 {
            let (Target::Fd(fd) | Target::Fds(fd, _)) = self.call.target else { return false };
            let has_moved = there.borrow(fd).and_then(|socket| connects::moved(&socket));
            return has_moved.is_some_and(|moved| moved >= rule.limit) && process.asked_once(index, there.inode(fd));
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "what fired, and what it is about")]
    fn deliver(
        &self,
        index: usize,
        rule: &Rule,
        shot: Shot,
        process: &Process,
        there: &There<'_>,
        amount: u64,
        resource: &[u8],
        fired: &mut Fired,
    ) {
        let shared = &self.common.shared;
        let effect = match (decide::effect(rule, self.op, shot.draw), &mut fired.claim) {
            (Effect::Disk(limit), Some(claim)) => claim.crossing(index, limit),
            (effect, _) => effect,
        };
        let record = Record {
            kind: kind::INJECTION,
            pid: self.pid,
            tid: self.asked.tid,
            process: process.image,
            // At most MAX_RULES, and fewer operations than that.
            rule: index as u16,
            op: self.op as u16,
            fault: rule.fault,
            nth: shot.nth,
            ..Record::default()
        };
        let effect = match self.fitting(effect, rule, shot.draw, there, amount) {
            Ok(effect) => effect,
            Err(reason) => {
                let before = shared.tree(index, offset_of!(TreeCounters, unsuitable)).fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    let record =
                        Record { kind: kind::UNSUITABLE, status: status::DELIVERED, requested: amount, ..record };
                    shared.publish(record, reason.as_bytes());
                }
                return;
            }
        };
        if !shared.take_budget() {
            return;
        }
        let record = Record {
            status: status_of(effect),
            effect: number_of(effect),
            requested: requested(effect, amount),
            ..record
        };
        let Some(ticket) = shared.publish(record, resource) else { return };
        let selecting = Selecting { asking: self, there, process, amount };
        let left = watch::left_by(&selecting, effect, record.rule, ticket, amount, resource);
        match self.then(effect, shot.draw, there) {
            Act::Delay(ns, hang) => fired.delays.push(Delay { ns, ticket, hang, left }),
            Act::Then(then) => {
                fired.then = then;
                fired.left = left;
                fired.ticket = Some((ticket, record.rule));
            }
        }
    }

    /// What a kernel could produce here, and the engine.
    fn fitting(
        &self,
        effect: Effect,
        rule: &Rule,
        draw: u64,
        there: &There<'_>,
        amount: u64,
    ) -> Result<Effect, &'static str> {
        let object = match self.call.target {
            Target::Fd(fd) => Object::Fd(fd),
            Target::Fds(to, from) => Object::Fds(to, from),
            Target::Path(name) => {
                Object::Path(name.at == 0 || fits::is_on_name(self.op) && is_empty(self.asked.tid, name.at))
            }
            Target::Peer(fd, ..) => Object::Peer(fd, Peer::Unknown),
            Target::Memory | Target::Program(_) | Target::Entries(..) | Target::Nothing => match self.patience() {
                Some(ns) => Object::Wait(ns),
                None => Object::Other,
            },
        };
        let effect = fits::fitting(there, self.op, effect, object, rule, draw, amount, self.call.flags)?;
        let serves =
            matches!(effect, Effect::Short(_) | Effect::Part(_) | Effect::Torn(_) | Effect::Throttle(_) | Effect::Drop)
                || Change::of(effect).is_some();
        let changes = !matches!(effect, Effect::Short(_) | Effect::Part(_));
        let moves = self.op.row().direction().is_some() || self.op == Op::Getrandom;
        if serves
            && moves
            && let Some(why) = transfer::out_of_reach(self.op, &self.call, self.asked.tid, there, changes)
        {
            return Err(why);
        }
        if self.op == Op::Close && matches!(effect, Effect::Error(_)) {
            return Err("a close that fails has closed all the same: only the shim can do both");
        }
        if self.op == Op::Getrandom && serves {
            return Err("only the shim can shorten random data");
        }
        Ok(effect)
    }

    /// For how many ns the call waits for readiness, if it does; `u64::MAX`: without end.
    fn patience(&self) -> Option<u64> {
        let [.., c, d, _, _] = self.asked.args;
        let millis = |value: u64| u64::try_from(value as i32).map_or(u64::MAX, |ms| ms * 1_000_000);
        match self.asked.nr {
            libc::SYS_poll => Some(millis(c)),
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => Some(millis(d)),
            libc::SYS_ppoll | libc::SYS_select | libc::SYS_pselect6 | libc::SYS_epoll_pwait2 => Some(u64::MAX),
            _ => None,
        }
    }

    fn then(&self, effect: Effect, draw: u64, there: &There<'_>) -> Act {
        let is_connect = self.op == Op::Connect;
        let fd = match self.call.target {
            Target::Fd(fd) | Target::Fds(fd, _) | Target::Peer(fd, ..) => fd,
            _ => -1,
        };
        let connect = |errno: i32, ns: u64| {
            let is_later = fits::comes_later(errno) && !fits::may_block(there, fd, 0);
            if is_connect && fits::is_tcp(there, fd) && (ns > 0 || is_later) {
                Then::FailConnect(errno, ns)
            } else {
                Then::Fail(errno)
            }
        };
        Act::Then(match effect {
            Effect::Latency(ns) => return Act::Delay(ns, None),
            Effect::Hang(ns) => {
                let timeout = fits::own_end(there, self.op, Object::Fd(fd), self.call.flags);
                let interruptible = fd < 0 || !fits::nature(there, fd).is_file();
                return Act::Delay(ns, Some(Hang { interruptible, timeout }));
            }
            // brk fails by saying where the heap ends, as it did before.
            Effect::Error(_) | Effect::Memory(_) if self.op == Op::Brk => {
                there::heap_end(self.pid).map_or(Then::Go, |end| Then::Value(end as i64))
            }
            Effect::Error(errno) if is_connect => connect(errno as i32, 0),
            Effect::Error(errno) => Then::Fail(errno as i32),
            Effect::Unreachable(what) => {
                let (errno, ns) = fits::unreachable(what);
                connect(errno, ns)
            }
            Effect::Memory(_) => Then::Fail(libc::ENOMEM),
            Effect::Files(_) => Then::Fail(libc::EMFILE),
            Effect::Disk(_) => Then::Fail(libc::ENOSPC),
            Effect::Short(ppm) => Then::Serve(How::Short(ppm as u32)),
            Effect::Part(bytes) => Then::Serve(How::Part(bytes)),
            Effect::Corrupt(_) | Effect::Zero(_) | Effect::Duplicate(_) | Effect::Truncate(_) => {
                Change::of(effect).map_or(Then::Go, |change| Then::Serve(How::Changed(change, draw)))
            }
            Effect::Drop if self.op.row().direction().is_some() => Then::Serve(How::Lost),
            Effect::Drop => Then::Value(0),
            Effect::Torn(both) => Then::Serve(How::Torn(both as u32, (both >> 32) as i32)),
            Effect::Throttle(bandwidth) => Then::Serve(How::Throttled(bandwidth)),
            Effect::Return(both) => match ((both >> 32) as i32, both as i32) {
                (0, value) => Then::Value(value.into()),
                (errno, _) => Then::Fail(errno),
            },
            Effect::Reset(_) => Then::Reset,
            Effect::End(_) => Then::End,
            Effect::Signal(signal) => Then::Signal(signal as i32),
            Effect::Exit(code) => Then::Exit(code as i32),
            Effect::Freeze(ns) => Then::Freeze(ns),
        })
    }
}

fn is_empty(tid: u32, at: u64) -> bool {
    super::places::string(tid, at).is_some_and(|path| path.is_empty())
}

/// What an effect means for a call.
enum Act {
    Delay(u64, Option<Hang>),
    Then(Then),
}

/// What has fired on a call so far.
struct Fired {
    delays: Vec<Delay>,
    then: Then,
    ticket: Option<(Ticket, u16)>,
    left: Option<Fault>,
    claim: Option<Claim>,
}

/// Counters of one rule where they live.
struct InSession<'a> {
    shared: &'a Shared,
    counts: &'a mut Counts,
    rule: &'a Rule,
    index: usize,
    process: &'a Process,
}

impl Counters for InSession<'_> {
    fn count_match(&mut self) -> (u64, u64) {
        self.counts.matched += 1;
        let draw = self.counts.stream.next();
        if !self.rule.has(flag::COUNTS) {
            return (self.counts.matched, draw);
        }
        let seen = match (self.rule.per, self.process.place) {
            (per::TREE, _) => self.shared.tree(self.index, offset_of!(TreeCounters, seen)),
            (per::PROCESS, Some(place)) => {
                self.shared.process_counter(place, self.index, offset_of!(ProcessCounters, seen))
            }
            _ => return (self.counts.matched, draw),
        };
        (seen.fetch_add(1, Ordering::Relaxed) + 1, draw)
    }

    fn take(&mut self, times: u64) -> bool {
        let fired = match (self.rule.per, self.process.place) {
            (per::TREE, _) => self.shared.tree(self.index, offset_of!(TreeCounters, fired)),
            (per::PROCESS, Some(place)) => {
                self.shared.process_counter(place, self.index, offset_of!(ProcessCounters, fired))
            }
            _ => {
                let left = self.counts.fired < times;
                self.counts.fired += u64::from(left);
                return left;
            }
        };
        fired.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < times).then_some(n + 1)).is_ok()
    }
}

//! Recoveries below a filter: what a fault leaves open in the book, and the calls that prove it over.
//!
//! It is the book of the shims, by the same keys: who fails under one engine may come good under the other. How a call
//! ends that the kernel makes is seen by [`super::result`].

use super::decode::Target;
use super::job::Common;
use super::peers;
use super::select::Selecting;
use super::shared::{Shared, Ticket};
use super::tree::Process;
use chaos_table::book::{self, Call, FOLLOWED_NS, Fault, Opened, Seen, flag};
use chaos_table::calls::{Failure, Op};
use chaos_table::decide::{Effect, Peer};
use chaos_table::record::{Record, kind};
use chaos_table::rule::bits;
use chaos_table::told::ends_process;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connects that nobody waits for and that were watched: where the ring stood before each, by process and descriptor.
#[derive(Debug, Default)]
pub struct Connecting(Mutex<HashMap<(u32, i32), u64>>);

impl Connecting {
    /// Where the ring stood before the connect of a descriptor; forgets it with `forget`.
    pub fn before(&self, whose: (u32, i32), forget: bool) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if forget { all.remove(&whose) } else { all.get(&whose).copied() }
    }
}

/// Who makes a call, as records tell it.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Number of the process image.
    pub image: u32,
}

/// What an injection leaves open when its caller has met it; `None` for what is no failure, or is proved by checks alone.
pub fn left_by(
    selecting: &Selecting<'_>,
    effect: Effect,
    rule: u16,
    ticket: Ticket,
    amount: u64,
    resource: &[u8],
) -> Option<Fault> {
    let ends = ends_process(effect);
    let fails = match effect {
        Effect::Error(_)
        | Effect::Memory(_)
        | Effect::Files(_)
        | Effect::Disk(_)
        | Effect::Unreachable(_)
        | Effect::Reset(_)
        | Effect::End(_)
        | Effect::Hang(_) => true,
        Effect::Latency(_)
        | Effect::Short(_)
        | Effect::Part(_)
        | Effect::Corrupt(_)
        | Effect::Zero(_)
        | Effect::Duplicate(_)
        | Effect::Truncate(_)
        | Effect::Drop
        | Effect::Torn(_)
        | Effect::Return(_)
        | Effect::Throttle(_)
        | Effect::Signal(_)
        | Effect::Exit(_)
        | Effect::Freeze(_) => false,
    };
    if !fails && !ends {
        return None;
    }
    let (asking, process) = (selecting.asking, selecting.process);
    let program = book::program(&process.executable);
    let owner = if ends { program } else { process.image.into() };
    Some(Fault {
        key: book::key(asking.op, resource, owner),
        index: ticket.index(),
        op: asking.op,
        rule,
        flags: if ends { flag::RETURNS } else { 0 },
        amount: if asking.call.target == Target::Memory { amount } else { 0 },
        roles: roles(selecting),
        image: process.image,
        last_image: asking.common.shared.last_image(),
        program: if ends { program } else { 0 },
    })
}

/// Enters a fault in the book, and has its operation watched. It comes before the caller goes on, and tries again.
pub fn enter(shared: &Shared, fault: &Fault) {
    let unseen: Option<&[u8]> = if !book::is_visible(fault.op) || fault.op == Op::Close {
        Some(b"how such calls end is not seen")
    } else if shared.book().open(fault) == Opened::Full {
        Some(b"too many episodes were open")
    } else {
        None
    };
    match unseen {
        None => shared.watch(fault.op),
        Some(why) => tell_unwatched(shared, fault.op, fault.rule, fault.index, why),
    }
}

fn tell_unwatched(shared: &Shared, op: Op, rule: u16, index: u64, why: &[u8]) {
    let record = Record { kind: kind::UNWATCHED, op: op as u16, rule, nth: index, ..Record::default() };
    shared.publish(record, why);
}

/// A call that may prove something, and that no fault spoils.
#[derive(Debug)]
pub struct Watching {
    /// Places of the book that its success would close, or that follow it.
    pub places: u64,
    /// Where the ring stood before it: a success proves nothing about later faults.
    before: u64,
    op: Op,
    resource: Vec<u8>,
    /// What it acts on has a path, where 0 bytes are the end of a file and not of a connection.
    has_path: bool,
    /// The socket that it connects.
    connects: Option<i32>,
    /// Of brk: the end that is asked for.
    heap_end: u64,
    caller: Caller,
    common: Arc<Common>,
}

impl Watching {
    /// The call that is being put to the rules, if the book has something that it is about.
    pub fn of(selecting: &Selecting<'_>) -> Option<Watching> {
        let (asking, process) = (selecting.asking, selecting.process);
        let (shared, op) = (&asking.common.shared, asking.op);
        // How an exec went, the next image tells.
        if matches!(asking.call.target, Target::Program(_)) {
            return None;
        }
        let before = shared.head();
        if !shared.book().watches(op) {
            shared.watch(op);
            return None;
        }
        let resource = selecting.resource();
        let amount = if asking.call.target == Target::Memory { selecting.amount } else { 0 };
        let call = call_of(shared, process, op, &resource, amount, roles(selecting));
        let places = shared.book().matching(&call);
        let (Target::Fd(fd) | Target::Fds(_, fd) | Target::Peer(fd, ..)) = asking.call.target else {
            return (places != 0).then(|| Watching::new(selecting, places, before, resource, true, None));
        };
        let has_path = resource.first() == Some(&b'/')
            && process.dir(asking.pid).mode(fd).is_none_or(|mode| mode & libc::S_IFMT != libc::S_IFIFO);
        let connects = (op == Op::Connect).then_some(fd);
        (places != 0).then(|| Watching::new(selecting, places, before, resource, has_path, connects))
    }

    fn new(
        selecting: &Selecting<'_>,
        places: u64,
        before: u64,
        resource: Vec<u8>,
        has_path: bool,
        connects: Option<i32>,
    ) -> Watching {
        let asking = selecting.asking;
        Watching {
            places,
            before,
            op: asking.op,
            resource,
            has_path,
            connects,
            heap_end: asking.asked.args[0],
            caller: asking.caller(selecting.process),
            common: Arc::clone(asking.common),
        }
    }

    /// It has ended with this result, as the kernel gives it: an errno as a negative number.
    pub fn returned(&self, result: i64) {
        let book = self.common.shared.book();
        let errno = if (-4095..0).contains(&result) { -result as i32 } else { 0 };
        let goes_on = self.op == Op::Connect && matches!(errno, libc::EINPROGRESS | libc::EINTR | libc::EALREADY);
        for at in bits(self.places) {
            if self.succeeded(result, errno) {
                recovered(&self.common.shared, self.caller, self.op, at, self.before, false, &self.resource);
                continue;
            }
            attempted(&self.common.shared, self.caller, self.op, at, self.before, errno, false);
            if goes_on && let Some(fd) = self.connects {
                let mut connecting = self.common.connecting.0.lock().unwrap_or_else(PoisonError::into_inner);
                connecting.insert((self.caller.pid, fd), self.before);
                book.connecting(at);
            }
        }
        self.common.shared.watch(self.op);
    }

    /// Whether a result says that it succeeded.
    fn succeeded(&self, result: i64, errno: i32) -> bool {
        match self.op.row().fails {
            _ if errno != 0 => false,
            // It answers where the heap ends, moved or not.
            _ if self.op == Op::Brk => result as u64 >= self.heap_end,
            Failure::Errno => book::succeeded(self.op, result, self.has_path),
            // What libc makes of a number is not the kernel's affair.
            Failure::Null | Failure::Count | Failure::Code | Failure::Eai | Failure::Never => true,
        }
    }

    /// Nobody can see how it ends: those that it is about are unwatched.
    pub fn unseen(&self) {
        for at in bits(self.places) {
            if let Some(seen) = self.common.shared.book().give_up(at) {
                let why = b"its process could not be traced, so that nobody saw how its calls ended";
                tell_unwatched(&self.common.shared, self.op, seen.rule, seen.index, why);
            }
        }
        self.common.shared.watch(self.op);
    }
}

/// A connect that nobody waited for has come about, as the kernel says at this call.
pub fn connected(selecting: &Selecting<'_>, before: u64) {
    let (asking, process) = (selecting.asking, selecting.process);
    let shared = &asking.common.shared;
    let resource = selecting.resource();
    let call = call_of(shared, process, Op::Connect, &resource, 0, roles(selecting));
    for at in bits(shared.book().matching(&call)) {
        recovered(shared, asking.caller(process), Op::Connect, at, before, true, &resource);
    }
    shared.watch(Op::Connect);
}

/// An exec has succeeded; `before` is the number of the image that made it.
pub fn executed(shared: &Shared, caller: Caller, before: u32, program: &[u8]) {
    if !shared.is_watched(Op::Exec) {
        return;
    }
    let key = book::key(Op::Exec, b"", before.into());
    let now = shared.now();
    let call = Call { op: Op::Exec, key, return_key: 0, amount: 0, roles: 0, image: before, program: 0, now };
    let head = shared.head();
    for at in bits(shared.book().matching(&call)) {
        recovered(shared, caller, Op::Exec, at, head, false, program);
    }
    shared.watch(Op::Exec);
}

fn call_of(shared: &Shared, process: &Process, op: Op, resource: &[u8], amount: u64, roles: u64) -> Call {
    let program = book::program(&process.executable);
    Call {
        op,
        key: book::key(op, resource, process.image.into()),
        return_key: book::key(op, resource, program),
        amount,
        roles,
        image: process.image,
        program,
        now: shared.now(),
    }
}

/// The roles that a call's peer is a member of.
fn roles(selecting: &Selecting<'_>) -> u64 {
    let span = selecting.asking.rules.plan.header.roles;
    if span.count == 0 {
        return 0;
    }
    let address = match selecting.asking.call.target {
        Target::Peer(_, at, len) => peers::Address::given(selecting.asking.asked.tid, at, len),
        Target::Fd(fd) => selecting.peer_of(fd),
        _ => return 0,
    };
    match address.peer() {
        Peer::Unknown => 0,
        peer => selecting.asking.rules.patterns().peer_roles(
            span,
            peer,
            peers::hosts_of(&address, &selecting.asking.common.shared),
        ),
    }
}

/// Closes an episode, or notes that a call came after its recovery.
fn recovered(shared: &Shared, caller: Caller, op: Op, at: usize, before: u64, counted: bool, resource: &[u8]) {
    let until = shared.now().saturating_add(FOLLOWED_NS);
    let Some(seen) = shared.book().close(at, before, until, counted) else {
        if !counted {
            attempted(shared, caller, op, at, before, 0, true);
        }
        return;
    };
    if shared.publish(record(kind::RECOVERY, caller, op, &seen), resource).is_none() {
        shared.book().reopen(at, &seen);
    }
}

fn attempted(shared: &Shared, caller: Caller, op: Op, at: usize, before: u64, errno: i32, after: bool) {
    let book = shared.book();
    let seen = book.tried(at, before, after);
    let seen = if seen.is_none() && !after { book.tried(at, before, true) } else { seen };
    if let Some(seen) = seen.filter(|seen| seen.told) {
        shared.publish(Record { effect: errno, ..record(kind::ATTEMPT, caller, op, &seen) }, &[]);
    }
}

fn record(kind: u8, caller: Caller, op: Op, seen: &Seen) -> Record {
    let Caller { pid, tid, image } = caller;
    let (op, rule) = (op as u16, seen.rule);
    Record { kind, op, rule, pid, tid, process: image, nth: seen.index, requested: seen.tries, ..Record::default() }
}

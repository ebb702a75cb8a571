//! Recoveries: the later success of a call that was made to fail.
//!
//! A fault that its caller has seen is entered in the book of the session (`chaos_table::book`), and the word of its
//! operation gets the bit WATCH. From then on the entry of every call on that operation, in the whole tree, leads by way
//! of [`around`]: the call is told by its key before it is made, and when it has succeeded on the same resource, or on
//! another member of the role, the episode is closed and a RECOVERY published. With the last episode the bit goes.

use crate::fds::{self, PeerBuffer};
use crate::guard::{Thread, Token, thread};
use crate::log::{self, Ticket};
use crate::paths;
use crate::real::{self, errno};
use crate::resource::describe;
use crate::select::{Target, lower_case};
use crate::session::{self, Session};
use crate::{clock, sys, timing, tree};
use chaos_table::book::{self, Call, FOLLOWED_NS, Fault, Opened, Seen, flag};
use chaos_table::calls::Op;
use chaos_table::decide::{Effect, Peer};
use chaos_table::record::{Record, kind};
use chaos_table::rule::{WATCH, bits};
use chaos_table::session::Header;
use chaos_table::told::ends_process;
use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A watched call that is being made.
#[derive(Clone, Copy)]
pub struct Watching {
    /// Where the ring stood before it: a success proves nothing about later faults.
    before: u64,
    /// What it acts on.
    target: Target,
    /// It may tell how a connect of this descriptor went.
    ends_connect: bool,
}

impl Watching {
    /// No call.
    pub const NONE: Watching = Watching { before: 0, target: Target::Nothing, ends_connect: false };
}

/// Whether calls on this operation are watched.
#[inline(always)]
pub fn is_on(op: Op) -> bool {
    real::word(op as usize) & WATCH != 0
}

/// What a call returns, as a number: pointers by their address, errors sign-extended.
pub trait Told {
    /// That number.
    fn told(&self) -> i64;
}

macro_rules! told {
    ($($type:ty: $by:ty),*) => {$(
        impl Told for $type {
            fn told(&self) -> i64 {
                *self as $by as i64
            }
        }
    )*};
}

told! { i32: i32, u32: i32, i64: i64, u64: i64, isize: i64, usize: i64 }

impl<T> Told for *mut T {
    fn told(&self) -> i64 {
        self.addr() as i64
    }
}

impl Told for () {
    fn told(&self) -> i64 {
        0
    }
}

/// Makes a call on an operation that is watched. Nothing lives across it that would need dropping.
#[inline(always)]
pub fn around<R: Told>(op: Op, call: impl FnOnce() -> R) -> R {
    let thread = thread();
    let outer = (thread.watched.replace(0), thread.watching.replace(Watching::NONE));
    let timing = timing::begin(op);
    let result = call();
    timing::end(timing, op, result.told());
    leave(op, outer, result.told());
    result
}

/// As [`around`], where the entry has not asked.
#[inline(always)]
pub fn if_on<R: Told>(op: Op, call: impl FnOnce() -> R) -> R {
    if is_on(op) { around(op, call) } else { call() }
}

/// A watched call is about to be made, and no fault spoils it: which episodes is it about?
#[cold]
#[inline(never)]
pub fn begin(op: Op, target: &Target, amount: u64) {
    let (session, thread) = (session::armed(), thread());
    let before = session.head().load(Ordering::Relaxed);
    let ends_connect = matches!(*target, Target::Fd(fd) | Target::Peer(fd, ..) if is_connecting(fd));
    let Some(token) = Token::enter() else { return };
    let places = find(session, thread, op, *target, amount);
    token.leave();
    thread.watched.set(places);
    thread.watching.set(Watching { before, target: *target, ends_connect });
}

/// The call was hit by a fault: whatever it returns is no clean success, nor an attempt of its own.
pub fn is_hit(thread: &Thread) {
    thread.watched.set(0);
}

/// The places of the book that a call is about.
fn find(session: &Session, thread: &Thread, op: Op, target: Target, amount: u64) -> u64 {
    let book = session.book();
    if !book.watches(op) {
        session.watch(op);
        return 0;
    }
    let image = tree::who(thread).2;
    let program = book::program(tree::me().executable.bytes());
    let mut call = Call {
        op,
        key: 0,
        return_key: 0,
        amount: if matches!(target, Target::Memory) { amount } else { 0 },
        roles: roles(session, target),
        image,
        program,
        now: session.since_start(clock::coarse()),
    };
    named(target, |name| {
        call.key = book::key(op, name, image.into());
        call.return_key = book::key(op, name, program);
    });
    book.matching(&call)
}

/// Calls `body` with the name of what a call acts on, as the log has it.
fn named<R>(target: Target, body: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if matches!(target, Target::Memory | Target::Wait(..) | Target::Nothing) {
        return Some(body(b""));
    }
    paths::with_desk(|desk| {
        describe(target, desk);
        body(desk.path.bytes())
    })
}

/// The roles that a call's peer or name is a member of.
fn roles(session: &Session, target: Target) -> u64 {
    let span = session.roles();
    if span.count == 0 {
        return 0;
    }
    let mut buffer = PeerBuffer::new();
    let peer = match target {
        // SAFETY: the program's own arguments of a call that is being made.
        Target::Peer(_, address, len) => unsafe { buffer.given(address, len) },
        Target::Fd(fd) => buffer.of_socket(fd),
        Target::Name(name) if !name.is_null() => {
            // SAFETY: the program's own argument, a C string.
            let name = lower_case(unsafe { CStr::from_ptr(name) }.to_bytes());
            return session.patterns().host_roles(span, name.bytes());
        }
        _ => Peer::Unknown,
    };
    let hosts = peer.address().map_or(0, |address| fds::hosts_of(session, &address));
    session.patterns().peer_roles(span, peer, hosts)
}

/// What holds a fault and its recovery together: looked at before the fault is carried out, since that may close the
/// connection.
#[derive(Clone, Copy)]
pub struct Bond {
    key: u64,
    roles: u64,
}

impl Bond {
    /// That of no call.
    pub const NONE: Bond = Bond { key: 0, roles: 0 };
}

/// The bond of a call that is about to be hit. `name` is the name of its resource as the log has it.
pub fn bond(session: &Session, thread: &Thread, op: Op, target: Target, effect: Effect, name: &[u8]) -> Bond {
    let owner =
        if ends_process(effect) { book::program(tree::me().executable.bytes()) } else { tree::who(thread).2.into() };
    Bond { key: book::key(op, name, owner), roles: roles(session, target) }
}

/// What was done to a call.
pub struct Met<'a> {
    /// The operation.
    pub op: Op,
    /// See [`bond`].
    pub bond: Bond,
    /// What it acts on.
    pub target: &'a Target,
    /// What it asked for.
    pub asked: u64,
    /// What was done.
    pub effect: Effect,
}

/// Enters a fault in the book, and has its operation watched.
#[cold]
#[inline(never)]
pub fn enter(session: &Session, met: &Met<'_>, ticket: Ticket) {
    let Some(token) = Token::enter() else { return };
    let thread = token.thread;
    let fault = Fault {
        key: met.bond.key,
        index: ticket.index(),
        op: met.op,
        rule: ticket.rule() as u16,
        flags: if ends_process(met.effect) { flag::RETURNS } else { 0 },
        amount: if matches!(met.target, Target::Memory) { met.asked } else { 0 },
        roles: met.bond.roles,
        image: tree::who(thread).2,
        last_image: session.counter(offset_of!(Header, last_process)).load(Ordering::Relaxed) as u32,
        program: if ends_process(met.effect) { book::program(tree::me().executable.bytes()) } else { 0 },
    };
    let unseen: Option<&[u8]> = if !book::is_visible(met.op) {
        Some(b"how such calls end is not seen")
    } else if session.book().open(&fault) == Opened::Full {
        Some(b"too many episodes were open")
    } else {
        None
    };
    match unseen {
        None if session.is_watched(met.op) => {}
        None => session.watch(met.op),
        Some(why) => {
            let (op, rule) = (met.op as u16, fault.rule);
            let mut record = Record { kind: kind::UNWATCHED, op, rule, nth: fault.index, ..Record::default() };
            log::publish(session, thread, &mut record, &[why]);
        }
    }
    token.leave();
}

/// A watched call has returned.
#[cold]
#[inline(never)]
fn leave(op: Op, outer: (u64, Watching), result: i64) {
    let me = thread();
    let places = me.watched.replace(outer.0);
    let watching = me.watching.replace(outer.1);
    if places == 0 && !watching.ends_connect {
        return;
    }
    let Some(token) = Token::enter() else { return };
    let saved = errno();
    let session = session::armed();
    if watching.ends_connect {
        connect_ended(session, token.thread, watching);
    }
    // A connect that was called again has told how the first went; it is no other attempt.
    if places != 0 && !(watching.ends_connect && op == Op::Connect) {
        let watching = Watching { ends_connect: false, ..watching };
        returned(session, token.thread, op, (places, watching), result, saved);
    }
    real::set_errno(saved);
    token.leave();
}

fn returned(session: &Session, thread: &Thread, op: Op, (places, watching): (u64, Watching), result: i64, errno: i32) {
    let has_path = matches!(watching.target, Target::Fd(fd) | Target::Fds(_, fd) if !is_stream(fd));
    let succeeded = book::succeeded(op, result, has_path);
    let book = session.book();
    // The child of a fork sees the same call: its parent tells.
    if op == Op::Fork && result == 0 {
        return;
    }
    let goes_on = op == Op::Connect && matches!(errno, libc::EINPROGRESS | libc::EINTR | libc::EALREADY);
    for at in bits(places) {
        if succeeded {
            recovered(session, thread, op, watching, at);
            continue;
        }
        attempted(session, thread, op, watching, at, errno, false);
        if goes_on && let Target::Peer(fd, ..) = watching.target {
            connecting(fd, watching.before);
            book.connecting(at);
            book::CONNECT_ENDS.into_iter().for_each(|op| session.watch(op));
        }
    }
    session.watch(op);
}

/// Closes an episode, or notes that a call came after its recovery.
fn recovered(session: &Session, thread: &Thread, op: Op, watching: Watching, at: usize) {
    let now = session.since_start(clock::stamp(thread));
    let book = session.book();
    let counted = watching.ends_connect;
    let Some(seen) = book.close(at, watching.before, now.saturating_add(FOLLOWED_NS), counted) else {
        if !counted {
            attempted(session, thread, op, watching, at, 0, true);
        }
        return;
    };
    let mut record = record(kind::RECOVERY, op, &seen);
    // A descriptor that was closed has no name any more.
    let target = if matches!(op, Op::Close | Op::Fclose) { Target::Nothing } else { watching.target };
    let published = named(target, |name| log::publish(session, thread, &mut record, &[name])).flatten();
    if published.is_none() {
        book.reopen(at, &seen);
    }
}

fn attempted(session: &Session, thread: &Thread, op: Op, watching: Watching, at: usize, errno: i32, after: bool) {
    let seen = session.book().tried(at, watching.before, after);
    let seen = if seen.is_none() && !after { session.book().tried(at, watching.before, true) } else { seen };
    if let Some(seen) = seen.filter(|seen| seen.told) {
        let mut record = Record { effect: errno, ..record(kind::ATTEMPT, op, &seen) };
        log::publish(session, thread, &mut record, &[]);
    }
}

fn record(kind: u8, op: Op, seen: &Seen) -> Record {
    Record { kind, op: op as u16, rule: seen.rule, nth: seen.index, requested: seen.tries, ..Record::default() }
}

/// Whether the end of what is read here is that of a connection or pipe, not of a file.
fn is_stream(fd: i32) -> bool {
    sys::fstat(fd).is_none_or(|stat| matches!(stat.st_mode & libc::S_IFMT, libc::S_IFSOCK | libc::S_IFIFO))
}

// Connects that nobody waited for.

/// Descriptors above are not remembered.
const REMEMBERED: usize = 4096;
/// Where the ring stood before the connect, plus one; 0: none is under way.
static CONNECTING: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];
static ANY: AtomicBool = AtomicBool::new(false);

fn slot(fd: i32) -> Option<&'static AtomicU64> {
    usize::try_from(fd).ok().and_then(|fd| CONNECTING.get(fd))
}

fn is_connecting(fd: i32) -> bool {
    ANY.load(Ordering::Relaxed) && slot(fd).is_some_and(|slot| slot.load(Ordering::Relaxed) != 0)
}

fn connecting(fd: i32, before: u64) {
    if let Some(slot) = slot(fd) {
        slot.store(before + 1, Ordering::Relaxed);
        ANY.store(true, Ordering::Relaxed);
    }
}

/// The descriptor was closed, or is another thing now.
#[inline]
pub fn forget(fd: i32) {
    if is_connecting(fd)
        && let Some(slot) = slot(fd)
    {
        slot.store(0, Ordering::Relaxed);
    }
}

/// The program has made a call that tells how its connect went: the kernel knows.
fn connect_ended(session: &Session, thread: &Thread, watching: Watching) {
    let (Target::Fd(fd) | Target::Peer(fd, ..)) = watching.target else { return };
    let Some(slot) = slot(fd) else { return };
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut address = unsafe { std::mem::zeroed() };
    let before = slot.load(Ordering::Relaxed);
    if before == 0 || sys::socket_name(fd, false, &mut address).is_none() {
        return;
    }
    slot.store(0, Ordering::Relaxed);
    let watching = Watching { before: before - 1, target: Target::Fd(fd), ..watching };
    for at in bits(find(session, thread, Op::Connect, Target::Fd(fd), 0)) {
        recovered(session, thread, Op::Connect, watching, at);
    }
    book::CONNECT_ENDS.into_iter().for_each(|op| session.watch(op));
}

// Calls that do not return to us.

/// A vfork has succeeded: its child is about to exec.
pub fn vforked() {
    if is_on(Op::Vfork) && tree::in_vfork_child(thread()) {
        around(Op::Vfork, || {
            begin(Op::Vfork, &Target::Nothing, 0);
            sys::getpid()
        });
    }
}

/// An exec has succeeded: this is its image. `before` is the number of the image that made it.
pub fn executed(session: &Session, before: u32) {
    if !session.is_watched(Op::Exec) {
        return;
    }
    let book = session.book();
    let key = book::key(Op::Exec, b"", before.into());
    let now = session.since_start(clock::coarse());
    let call = Call { op: Op::Exec, key, return_key: 0, amount: 0, roles: 0, image: before, program: 0, now };
    let watching = Watching { before: session.head().load(Ordering::Relaxed), ..Watching::NONE };
    for at in bits(book.matching(&call)) {
        recovered(session, thread(), Op::Exec, watching, at);
    }
    session.watch(Op::Exec);
}

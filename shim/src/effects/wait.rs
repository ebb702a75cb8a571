//! Faults that take time: delays and hangs.

use super::place::{may_block, nature, own_end};
use super::{Outcome, delivered, is_tcp};
use crate::elf::Name;
use crate::log::Ticket;
use crate::select::Target;
use crate::session::Session;
use crate::{clock, connects, edges, loaded, sys};
use chaos_table::calls::{Failure, Family, Op, Subject};
use chaos_table::fits::Nature;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How long the kernel tries to connect by default, in ns.
const PATIENCE: u64 = 127_000_000_000;
/// A hang looks after its end at least so often, in ns.
const HANG_STEP: u64 = 20_000_000;

/// When the next byte may move, for each rule that throttles: ns of CLOCK_MONOTONIC. Of this process; a child goes on
/// from its parent's.
static NEXT_BYTE: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// A throttled transfer on a non-blocking descriptor holds its event loop up for no longer than this, in ns.
const LOOP_PATIENCE: u64 = 50_000_000;

/// How much of a transfer is made at once: all of it where the call may block; on a non-blocking stream, what takes 50 ms.
pub fn throttled_part(fd: i32, flags: i32, bandwidth: u64, len: usize) -> usize {
    let part = u128::from(bandwidth) * u128::from(LOOP_PATIENCE) / 1_000_000_000;
    let part = usize::try_from(part).unwrap_or(usize::MAX).max(1);
    let is_whole =
        part >= len || flags & libc::MSG_WAITALL != 0 || may_block(fd, flags) || nature(fd) != Nature::Stream;
    if is_whole || !edges::rearm(fd) { len } else { part }
}

/// Waits until so many bytes, behind what moved before them, have had their time.
pub fn throttled(session: &Session, op: Op, ticket: &Ticket, bandwidth: u64, bytes: u64) {
    let Some(next) = NEXT_BYTE.get(ticket.rule()) else { return };
    let cost = u128::from(bytes) * 1_000_000_000 / u128::from(bandwidth.max(1));
    let cost = u64::try_from(cost).unwrap_or(u64::MAX);
    let now = clock::exact();
    let mut at = next.load(Ordering::Relaxed);
    let until = loop {
        let until = at.max(now).saturating_add(cost);
        match next.compare_exchange_weak(at, until, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => break until,
            Err(other) => at = other,
        }
    };
    while !session.is_over() && session.is_in_force(ticket.rule()) {
        let now = clock::exact();
        if now >= until {
            return;
        }
        sys::sleep((until - now).min(HANG_STEP));
        cancel_here(op);
    }
}

/// Waits the whole time, in a call that is a cancellation point by itself.
pub fn wait_for(ns: u64) {
    if ns != 0 {
        wait_unless(Op::Connect, ns, None, |_| false);
    }
}

/// Waits the whole time, whatever handlers run meanwhile; not once the rule is no longer in force.
pub(super) fn wait(session: &Session, op: Op, ns: u64, ticket: &Ticket) {
    wait_unless(op, ns, Some(session.changes()), |now| is_released(session, now, ticket));
}

#[inline(always)]
fn wait_unless(op: Op, ns: u64, changes: Option<&AtomicU32>, released: impl Fn(u64) -> bool) {
    let until = clock::exact().saturating_add(ns);
    loop {
        // Before it is asked whether the wait is over: a change after that wakes it.
        let changes = changes.map(|word| (word, word.load(Ordering::SeqCst)));
        let now = clock::exact();
        if now >= until || released(now) {
            return;
        }
        match changes.filter(|_| until - now > HANG_STEP) {
            Some((word, value)) => _ = sys::block_until(now + HANG_STEP, word, value),
            // The last bit is exact, and nobody needs to end it early.
            None if sys::sleep((until - now).min(HANG_STEP)) && until - now <= HANG_STEP => return,
            None => {}
        }
        cancel_here(op);
    }
}

/// A thread that waits by our doing can be cancelled where it could be in the call itself. No token is held, and
/// nothing lives that would need dropping.
pub fn cancel_here(op: Op) {
    let is_cancellation_point = match op.row().subject {
        // The first two are made below a frame that cannot be unwound (`hooks/formatted.rs`).
        Subject::Fd => !matches!(op, Op::Fprintf | Op::Fscanf | Op::Fdopen) && !is_no_cancellation_point(op),
        Subject::Peer => op == Op::Connect,
        Subject::Path => op == Op::Open,
        Subject::Nothing => matches!(
            op,
            Op::Wait
                | Op::Msync
                | Op::Poll
                | Op::Select
                | Op::EpollWait
                | Op::Nanosleep
                | Op::Sleep
                | Op::ClockNanosleep
                | Op::SemTimedwait
                | Op::MqTimed
        ),
        Subject::Name | Subject::Memory | Subject::Program | Subject::Point => false,
    };
    // Before glibc 2.34 it lives in libpthread, without which there is nobody to cancel.
    if is_cancellation_point && let Some(test) = loaded::next(const { Name::new(c"pthread_testcancel") }) {
        // SAFETY: the signature of libc's function; unwinding passes through frames of ours as it does when the real
        // call is cancelled.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(test)() };
    }
}

/// Calls on descriptors at which no libc cancels a thread.
const fn is_no_cancellation_point(op: Op) -> bool {
    matches!(
        op,
        Op::Lseek
            | Op::Flock
            | Op::Ioctl
            | Op::Syncfs
            | Op::Ftruncate
            | Op::Sendfile
            | Op::Readdir
            | Op::ReaddirR
            | Op::Getdents
            | Op::Fchdir
            | Op::Fdopendir
            | Op::Fstat
            | Op::Fstatfs
            | Op::Fchmod
            | Op::Fchown
            | Op::Futimens
            | Op::Fgetxattr
            | Op::Fsetxattr
            | Op::Flistxattr
            | Op::Fremovexattr
            | Op::Shutdown
            | Op::Setsockopt
            | Op::Getsockopt
            | Op::Getsockname
            | Op::Getpeername
    )
}

/// Whether a signal handler ends the wait: never on the disk, but on a lock.
fn is_interruptible(op: Op, target: Target) -> bool {
    match target {
        Target::Fd(fd) => matches!(op, Op::Flock | Op::Lockf) || !nature(fd).is_file(),
        Target::Fds(to, from) => !nature(to).is_file() || !nature(from).is_file(),
        Target::Entry(..) | Target::Entries(..) => false,
        Target::Path(..) => !op.row().is_in(Family::Disk) || op == Op::Open,
        Target::Nothing => !matches!(op, Op::Msync | Op::Sync),
        Target::Peer(..)
        | Target::Name(_)
        | Target::Memory
        | Target::Program(_)
        | Target::Point(_)
        | Target::Wait(..) => true,
    }
}

/// Blocks until the time is up, the socket's own timeout, or the end of injection; a signal handler ends it with EINTR
/// where the kernel could.
pub(super) fn hang(session: &Session, op: Op, ns: u64, ticket: Ticket, target: Target, flags: i32) -> Outcome {
    if let Target::Wait(patience, mask) = target {
        return hang_unready(session, op, ns, ticket, patience, mask);
    }
    if let Target::Peer(fd, ..) = target
        && op == Op::Connect
        && is_tcp(fd)
        && sys::socket_timeout(fd, libc::SO_SNDTIMEO).is_some()
    {
        // The socket's own timeout ends the call and not the connect: that is the kernel's to say.
        let ns = if ns == 0 { PATIENCE } else { ns.max(connects::SHORTEST) };
        return Outcome::FailConnect(libc::ETIMEDOUT, ns, ticket);
    }
    let mut until = if ns == 0 { u64::MAX } else { clock::exact().saturating_add(ns) };
    let mut times_out = false;
    let interruptible = is_interruptible(op, target);
    if let Target::Fd(fd) = target
        && let Some(timeout) = own_end(op, fd, flags)
    {
        let timeout = clock::exact().saturating_add(timeout);
        times_out = timeout < until;
        until = until.min(timeout);
    }
    loop {
        // Before it is asked whether the wait is over: a change after that wakes it.
        let changes = session.changes().load(Ordering::SeqCst);
        let now = clock::exact();
        let over = is_released(session, now, &ticket);
        if over {
            times_out = false;
        }
        if now >= until || over {
            break;
        }
        let step = now.saturating_add((until - now).min(HANG_STEP));
        if !sys::block_until(step, session.changes(), changes)
            && interruptible
            && matches!(op.row().fails, Failure::Errno | Failure::Null | Failure::Count)
        {
            return Outcome::Fail(libc::EINTR, ticket);
        }
        cancel_here(op);
    }
    if times_out {
        return Outcome::Fail(libc::EAGAIN, ticket);
    }
    if op.row().fails == Failure::Eai {
        return Outcome::Fail(libc::EAI_AGAIN, ticket);
    }
    delivered(session, &ticket, 0);
    Outcome::Go
}

/// Whether what waits by a rule's doing goes on: injection is over or switched off, or the rule was taken away.
fn is_released(session: &Session, now: u64, ticket: &Ticket) -> bool {
    session.run_time(now) >= session.until_ns || session.is_over() || !session.is_in_force(ticket.rule())
}

/// Nothing becomes ready: blocks for `ns` (0: without end), or for as long as the call itself waits, or until a handler
/// runs under the call's own signal mask, which ends these calls whatever its SA_RESTART.
fn hang_unready(
    session: &Session,
    op: Op,
    ns: u64,
    ticket: Ticket,
    patience: u64,
    mask: *const libc::sigset_t,
) -> Outcome {
    let start = clock::exact();
    let own_end = start.saturating_add(patience);
    let until = if ns == 0 { own_end } else { start.saturating_add(ns).min(own_end) };
    loop {
        // Before it is asked whether the wait is over: a change after that wakes it.
        let changes = session.changes().load(Ordering::SeqCst);
        let now = clock::exact();
        if now >= until || is_released(session, now, &ticket) {
            break;
        }
        let step = (until - now).min(HANG_STEP);
        let is_interrupted = if mask.is_null() {
            !sys::wait_until(now + step, session.changes(), changes)
        } else {
            !sys::poll_nothing(step, mask)
        };
        cancel_here(op);
        if is_interrupted {
            return Outcome::Fail(libc::EINTR, ticket);
        }
    }
    if clock::exact() >= own_end {
        return Outcome::End(ticket);
    }
    delivered(session, &ticket, 0);
    Outcome::Go
}

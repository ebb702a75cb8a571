//! Faults that take time: delays and hangs.

use super::suits::{is_write, nature};
use super::{Outcome, delivered};
use crate::log::Ticket;
use crate::select::Target;
use crate::session::Session;
use crate::{clock, sys};
use chaos_table::calls::{Failure, Family, Op, Subject};

/// A hang looks after its end at least so often, in ns.
const HANG_STEP: u64 = 20_000_000;

/// Waits the whole time, whatever handlers run meanwhile.
pub(super) fn wait(op: Op, ns: u64) {
    let until = clock::exact().saturating_add(ns);
    loop {
        let now = clock::exact();
        if now >= until || (sys::sleep((until - now).min(HANG_STEP)) && until - now <= HANG_STEP) {
            return;
        }
        cancel_here(op);
    }
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
}

/// A thread that waits by our doing can be cancelled where it could be in the call itself. No token is held, and
/// nothing lives that would need dropping.
fn cancel_here(op: Op) {
    let is_cancellation_point = match op.row().subject {
        // The first two are made below a frame that cannot be unwound (`hooks/formatted.rs`).
        Subject::Fd => !matches!(op, Op::Fprintf | Op::Fscanf | Op::Fdopen) && !is_no_cancellation_point(op),
        Subject::Peer => true,
        Subject::Path => op == Op::Open,
        Subject::Nothing => matches!(op, Op::Wait | Op::Msync),
        Subject::Name | Subject::Memory | Subject::Program => false,
    };
    if is_cancellation_point {
        // SAFETY: unwinding passes through frames of ours as it does when the real call is cancelled.
        unsafe { pthread_testcancel() };
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
        Target::Peer(..) | Target::Name(_) | Target::Memory | Target::Program(_) => true,
    }
}

/// Blocks until the time is up, the socket's own timeout, or the end of injection; a signal handler ends it with EINTR
/// where the kernel could.
pub(super) fn hang(session: &Session, op: Op, ns: u64, ticket: Ticket, target: Target) -> Outcome {
    let mut until = if ns == 0 { u64::MAX } else { clock::exact().saturating_add(ns) };
    let mut times_out = false;
    let interruptible = is_interruptible(op, target);
    if let Target::Fd(fd) = target {
        let nature = nature(fd);
        let option = if is_write(op) { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO };
        if nature.is_socket()
            && let Some(timeout) = sys::socket_timeout(fd, option)
        {
            let timeout = clock::exact().saturating_add(timeout);
            times_out = timeout < until;
            until = until.min(timeout);
        }
    }
    loop {
        let now = clock::exact();
        let over = session.run_time(now) >= session.until_ns || session.is_over();
        if now >= until || over {
            break;
        }
        let step = now.saturating_add((until - now).min(HANG_STEP));
        if !sys::block_until(step)
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
    if op.row().subject == Subject::Name {
        return Outcome::Fail(libc::EAI_AGAIN, ticket);
    }
    delivered(session, &ticket, 0);
    Outcome::Go
}

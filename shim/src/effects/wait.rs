//! Faults that take time: delays and hangs.

use super::suits::{is_write, nature};
use super::{Outcome, delivered};
use crate::log::Ticket;
use crate::select::Target;
use crate::session::Session;
use crate::{clock, real, sys};
use chaos_table::calls::{Failure, Op, Subject};
use std::ffi::c_void;

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

// Before glibc 2.34 it lives in libpthread, without which there is nobody to cancel.
real::empty_slots! { pthread_testcancel }

/// A thread that waits by our doing can be cancelled where it could be in the call itself. No token is held, and
/// nothing lives that would need dropping.
fn cancel_here(op: Op) {
    let is_cancellation_point = match op.row().subject {
        Subject::Fd | Subject::Peer => true,
        Subject::Path => op == Op::Open,
        Subject::Nothing => op == Op::Wait,
        Subject::Name | Subject::Memory | Subject::Program => false,
    };
    if is_cancellation_point && let Some(test) = real::resolved(c"pthread_testcancel") {
        // SAFETY: the signature of libc's function; unwinding passes through frames of ours as it does when the real
        // call is cancelled.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(test)() };
    }
}

/// Blocks until the time is up, the socket's own timeout, or the end of injection; a signal handler ends it with EINTR
/// where the kernel could.
pub(super) fn hang(session: &Session, op: Op, ns: u64, ticket: Ticket, target: Target) -> Outcome {
    let mut until = if ns == 0 { u64::MAX } else { clock::exact().saturating_add(ns) };
    let mut times_out = false;
    let mut interruptible = true;
    if let Target::Fd(fd) = target {
        let nature = nature(fd);
        interruptible = !nature.is_file();
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
        if !sys::block_until(step) && interruptible && op.row().fails == Failure::Errno {
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

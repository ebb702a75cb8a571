//! What a verdict does to a call: whether it fits, what is recorded of it, and the effect itself.

mod bytes;
mod place;
mod wait;

pub use bytes::Bytes;
pub use chaos_table::change::{Change, shortened};
pub use chaos_table::told::{number_of, requested, status_of};
pub use place::{can_lose_datagrams, fitting, is_file, is_tcp};
pub use wait::{cancel_here, throttled, throttled_part, wait_for};

use crate::fds::PeerBuffer;
use crate::guard::{Token, thread};
use crate::log::Ticket;
use crate::real::set_errno;
use crate::select::Target;
use crate::session::Session;
use crate::{connects, fds, moved, sys};
use chaos_table::calls::Op;
use chaos_table::decide::{Effect, Peer};
use chaos_table::fits::{comes_later, is_write, unreachable};
use place::{is_connection, may_block};

/// What is left for the hook to do.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// Make the real call.
    Go,
    /// Fail with this errno (or EAI code) without a real call.
    Fail(i32, Ticket),
    /// The data ends: return 0 without a real call.
    End(Ticket),
    /// Make the real call for so many parts per million of what was asked for.
    Short(u32, Ticket),
    /// Make the real call for only so many bytes.
    Part(u64, Ticket),
    /// Make the real call and change the data, by the draw.
    Corrupt(Change, u64, Ticket),
    /// Say success without a real call.
    Drop(Ticket),
    /// Write so many parts per million, then fail with this errno; 0: kill the process.
    Torn(u32, i32, Ticket),
    /// Return this value without a real call, and set errno unless it is 0.
    Return(i32, i32, Ticket),
    /// Make the real call for so many bytes, which are some, then reset the connection (or end it: true).
    Cut(usize, bool, Ticket),
    /// Make the real call, and wait for as long as what it moved takes at so many bytes a second.
    Throttle(u64, Ticket),
    /// Make the connect fail with this errno, after so many ns, by way of the kernel.
    FailConnect(i32, u64, Ticket),
}

/// Does what can be done before the real call. No token is held.
#[inline(always)]
pub fn carry_out(
    session: &Session,
    op: Op,
    effect: Effect,
    ticket: Ticket,
    target: Target,
    draw: u64,
    flags: i32,
) -> Outcome {
    match effect {
        Effect::Latency(ns) => {
            wait::wait(session, op, ns, &ticket);
            delivered(session, &ticket, 0);
            Outcome::Go
        }
        Effect::Hang(ns) => wait::hang(session, op, ns, ticket, target, flags),
        Effect::Error(errno) => {
            let errno = errno as i32;
            match target {
                Target::Fd(fd) => Outcome::Fail(errno, make_lasting(session, op, errno, fd, flags, ticket)),
                Target::Fds(to, _) => Outcome::Fail(errno, make_lasting(session, op, errno, to, 0, ticket)),
                Target::Peer(fd, ..) if op == Op::Connect => fail_connect(fd, errno, 0, ticket),
                _ => Outcome::Fail(errno, ticket),
            }
        }
        Effect::Memory(_) => Outcome::Fail(libc::ENOMEM, ticket),
        Effect::Files(_) => Outcome::Fail(libc::EMFILE, ticket),
        Effect::Disk(_) => Outcome::Fail(libc::ENOSPC, ticket),
        Effect::Short(ppm) => Outcome::Short(ppm as u32, ticket),
        Effect::Part(bytes) => Outcome::Part(bytes, ticket),
        Effect::Corrupt(both) => Outcome::Corrupt(Change::Flip((both >> 32) as u32, both as u32), draw, ticket),
        Effect::Zero(both) => Outcome::Corrupt(Change::Zero((both >> 32) as u32, both as u32), draw, ticket),
        Effect::Duplicate(ppm) => Outcome::Corrupt(Change::Duplicate(ppm as u32), draw, ticket),
        Effect::Truncate(ppm) => Outcome::Corrupt(Change::Truncate(ppm as u32), draw, ticket),
        Effect::Drop => Outcome::Drop(ticket),
        Effect::Torn(both) => Outcome::Torn(both as u32, (both >> 32) as i32, ticket),
        Effect::Return(both) => Outcome::Return(both as i32, (both >> 32) as i32, ticket),
        Effect::Unreachable(what) => match (target, unreachable(what)) {
            (Target::Peer(fd, ..), (errno, ns)) if op == Op::Connect => fail_connect(fd, errno, ns, ticket),
            (_, (errno, _)) => Outcome::Fail(errno, ticket),
        },
        Effect::Throttle(bandwidth) => Outcome::Throttle(bandwidth, ticket),
        Effect::Reset(limit) => {
            let (Target::Fd(fd) | Target::Fds(fd, _)) = target else { return Outcome::Fail(libc::ECONNRESET, ticket) };
            match before_cut(op, fd, limit, flags) {
                0 => Outcome::Fail(libc::ECONNRESET, make_lasting(session, op, libc::ECONNRESET, fd, flags, ticket)),
                part => Outcome::Cut(part, false, ticket),
            }
        }
        Effect::End(limit) => {
            if let Target::Fd(fd) | Target::Fds(fd, _) = target {
                match before_cut(op, fd, limit, flags) {
                    0 => sys::cut(fd),
                    part => return Outcome::Cut(part, true, ticket),
                }
            }
            if is_write(op) {
                return Outcome::Fail(libc::EPIPE, make_lasting(session, op, libc::EPIPE, -1, flags, ticket));
            }
            Outcome::End(ticket)
        }
        Effect::Signal(signal) => {
            let signal = signal as i32;
            if signal == libc::SIGKILL || signal == libc::SIGSTOP {
                sys::kill(sys::getpid(), signal);
            } else {
                sys::tgkill(sys::getpid(), sys::gettid(), signal);
            }
            Outcome::Go
        }
        Effect::Exit(code) => sys::exit(code as i32),
        Effect::Freeze(ns) => {
            if sys::freeze(ns) {
                delivered(session, &ticket, 0);
            }
            Outcome::Go
        }
    }
}

/// How a connect fails: TCP that nobody waits for, or that is given up after a while, by way of the kernel.
fn fail_connect(fd: i32, errno: i32, ns: u64, ticket: Ticket) -> Outcome {
    if is_tcp(fd) && (ns >= connects::SHORTEST || (comes_later(errno) && !may_block(fd, 0))) {
        return Outcome::FailConnect(errno, ns, ticket);
    }
    wait::wait_for(ns);
    Outcome::Fail(errno, ticket)
}

/// What a write that goes beyond the limit of a rule may still move: the connection is cut in its midst.
fn before_cut(op: Op, fd: i32, limit: u64, flags: i32) -> usize {
    if limit == 0 || !moved::is_blocking_write(op, fd, flags) {
        return 0;
    }
    usize::try_from(moved::left(fd, limit)).unwrap_or(0)
}

/// Cuts a connection after a part of a write has been made.
pub fn cut(fd: i32, ends: bool) {
    if ends { sys::cut(fd) } else { sys::reset(fd) }
}

/// What comes with an error besides the errno: SIGPIPE, or a connection that stays reset.
///
/// The signal may end the process or leave the call for good: the log is told before.
fn make_lasting(session: &Session, op: Op, errno: i32, fd: i32, flags: i32, ticket: Ticket) -> Ticket {
    let is_lost = matches!(errno, libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT | libc::ENOTCONN);
    if is_lost && fd >= 0 && is_connection(fd) {
        sys::reset(fd);
        // This call finds the error that the kernel keeps for the next; ENOTCONN leaves it there.
        if errno != libc::ENOTCONN {
            sys::socket_option(fd, libc::SO_ERROR);
        }
    }
    if errno == libc::EPIPE && is_write(op) && flags & libc::MSG_NOSIGNAL == 0 {
        delivered(session, &ticket, -1);
        sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGPIPE);
        return ticket.told();
    }
    ticket
}

/// Tells the log that the caller now sees the effect.
pub fn delivered(session: &Session, ticket: &Ticket, result: i64) {
    let token = Token::enter();
    ticket.delivered(session, thread(), result);
    if let Some(token) = token {
        token.leave();
    }
}

/// As [`delivered`], for a hook that has no session at hand.
pub fn tell(ticket: &Ticket, result: i64) {
    if let Some(session) = crate::session::attached() {
        delivered(session, ticket, result);
    }
}

/// Ends a call with a value of the user's, and errno unless it is 0.
pub fn give(value: i32, errno: i32, ticket: &Ticket) -> i64 {
    tell(ticket, value.into());
    if errno != 0 {
        set_errno(errno);
    }
    value.into()
}

/// Ends a call with -1 and errno.
pub fn fail(errno: i32, ticket: &Ticket) -> isize {
    tell(ticket, -1);
    set_errno(errno);
    -1
}

/// The peer of a socket is a name that rules may know: what getaddrinfo gave.
pub fn remember_answers(session: &Session, name: &[u8], answers: *const libc::addrinfo) {
    crate::learn::take_up_patterns(session);
    let hosts = session.patterns().host_bits(crate::select::lower_case(name).bytes());
    let mut at = answers;
    while hosts != 0 && !at.is_null() {
        let mut buffer = PeerBuffer::new();
        // SAFETY: the list that getaddrinfo has just made.
        let (peer, next) = unsafe { (buffer.given((*at).ai_addr, (*at).ai_addrlen), (*at).ai_next) };
        if !matches!(peer, Peer::Unknown)
            && let Some(address) = peer.address()
        {
            fds::remember(session, &address, hosts);
        }
        at = next;
    }
}

//! What a verdict does to a call: whether it fits, what is recorded of it, and the effect itself.

use crate::fds::PeerBuffer;
use crate::guard::{Token, thread};
use crate::log::Ticket;
use crate::real::set_errno;
use crate::select::Target;
use crate::session::Session;
use crate::{clock, fds, sys};
use chaos_table::calls::{Failure, Op, Subject};
use chaos_table::decide::{Derived, Effect, Peer};
use chaos_table::record::status;
use chaos_table::rule::Rule;

/// Writes up to this size into a pipe are atomic (POSIX; PIPE_BUF on Linux).
const PIPE_BUF: u64 = 4096;
/// Why data that is there cannot be withheld from an edge-triggered epoll.
const EDGE: &str = "an edge-triggered epoll would lose its wake-up";
/// A hang looks after its end at least so often, in ns.
const HANG_STEP: u64 = 20_000_000;

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
    /// Make the real call and flip bits: so many in each so many bytes, chosen by the draw.
    Corrupt(u32, u32, u64, Ticket),
}

/// What a descriptor is, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    Regular,
    Directory,
    Block,
    Stream,
    Datagram,
    Listener,
    Pipe,
    Character,
    Closed,
    Other,
}

fn nature(fd: i32) -> Nature {
    let Some(stat) = sys::fstat(fd) else { return Nature::Closed };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Nature::Regular,
        libc::S_IFDIR => Nature::Directory,
        libc::S_IFBLK => Nature::Block,
        libc::S_IFIFO => Nature::Pipe,
        libc::S_IFCHR => Nature::Character,
        libc::S_IFSOCK if sys::socket_option(fd, libc::SO_ACCEPTCONN) == Some(1) => Nature::Listener,
        libc::S_IFSOCK if sys::socket_option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM) => Nature::Stream,
        libc::S_IFSOCK => Nature::Datagram,
        _ => Nature::Other,
    }
}

impl Nature {
    const fn is_file(self) -> bool {
        matches!(self, Nature::Regular | Nature::Directory | Nature::Block)
    }

    const fn is_socket(self) -> bool {
        matches!(self, Nature::Stream | Nature::Datagram | Nature::Listener)
    }
}

const fn is_write(op: Op) -> bool {
    matches!(op, Op::Write | Op::Writev | Op::Pwrite | Op::Pwritev | Op::Send | Op::Sendto | Op::Sendmsg | Op::Sendmmsg)
}

/// The effect that a kernel could produce here, or why none could.
#[inline(always)]
pub fn fitting(
    op: Op,
    effect: Effect,
    target: Target,
    rule: &Rule,
    draw: u64,
    asked: u64,
    flags: i32,
) -> Result<Effect, &'static str> {
    match effect {
        Effect::Error(errno) => {
            if rule.errno_count != 0 || rule.fault != chaos_table::calls::FaultKind::Error as u8 {
                return suits(op, errno as i32, target, flags).map(|()| effect);
            }
            choose_usual(op, target, draw, flags)
        }
        Effect::Short(_) => short_fits(op, target, asked, flags).map(|()| effect),
        Effect::Corrupt(_) if asked == 0 => Err("no data to corrupt"),
        Effect::Reset | Effect::End => match target {
            Target::Fd(fd) if nature(fd) == Nature::Stream => Ok(effect),
            _ => Err("only a connected stream can be cut"),
        },
        Effect::Hang(_) => match target {
            Target::Fd(fd) if !may_block(fd, flags) => Err("a non-blocking descriptor does not hang"),
            Target::Peer(fd, ..) if !may_block(fd, 0) => Err("a non-blocking connect does not hang"),
            Target::Nothing if op == Op::Wait && flags & libc::WNOHANG != 0 => Err("WNOHANG does not wait"),
            _ => Ok(effect),
        },
        Effect::Corrupt(_)
        | Effect::Latency(_)
        | Effect::Memory(_)
        | Effect::Files(_)
        | Effect::Signal(_)
        | Effect::Exit(_) => Ok(effect),
    }
}

fn may_block(fd: i32, flags: i32) -> bool {
    flags & libc::MSG_DONTWAIT == 0 && sys::status_flags(fd) & libc::O_NONBLOCK == 0
}

/// A choice among the usual errnos of a call that fit this descriptor.
fn choose_usual(op: Op, target: Target, draw: u64, flags: i32) -> Result<Effect, &'static str> {
    let usual = op.row().usual;
    let fits = |errno: &&i32| suits(op, **errno, target, flags).is_ok();
    let count = usual.iter().filter(fits).count() as u64;
    if count == 0 {
        return Err("none of the usual errors of this call can happen here");
    }
    let pick = (Derived(draw).next() % count) as usize;
    usual.iter().filter(fits).nth(pick).map(|errno| Effect::Error((*errno).into())).ok_or("no error to choose")
}

/// Whether a kernel could fail this call with this errno at this descriptor, at this moment.
fn suits(op: Op, errno: i32, target: Target, flags: i32) -> Result<(), &'static str> {
    if let Target::Peer(fd, ..) = target {
        return match errno {
            libc::ECONNREFUSED | libc::ETIMEDOUT | libc::ECONNRESET if nature(fd) == Nature::Datagram => {
                Err("connecting a datagram socket asks nobody")
            }
            _ => Ok(()),
        };
    }
    match op {
        // For these `flags` are the command and the options.
        Op::Fcntl => return fcntl_suits(errno, flags),
        Op::Wait if errno == libc::EINTR && flags & libc::WNOHANG != 0 => return Err("WNOHANG does not wait"),
        _ => {}
    }
    let Target::Fd(fd) = target else { return Ok(()) };
    if op == Op::Accept {
        return match errno {
            libc::EAGAIN if may_block(fd, flags) && sys::socket_timeout(fd, libc::SO_RCVTIMEO).is_none() => {
                Err("EAGAIN on a blocking socket")
            }
            _ => Ok(()),
        };
    }
    let nature = nature(fd);
    match errno {
        _ if nature == Nature::Closed => Err("the descriptor is not open"),
        libc::EAGAIN if fds::is_watched_by_edges(fd) => Err(EDGE),
        libc::EAGAIN if nature.is_file() => Err("EAGAIN on a file"),
        libc::EAGAIN if may_block(fd, flags) && !has_timeout(op, fd, nature) => Err("EAGAIN on a blocking descriptor"),
        libc::EINTR if nature.is_file() && op != Op::Close => Err("EINTR on a file"),
        libc::EPIPE if nature.is_file() || nature == Nature::Datagram => Err("EPIPE on what is no pipe or stream"),
        libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOBUFS | libc::ENOTCONN if !nature.is_socket() => {
            Err("a socket's error on what is no socket")
        }
        libc::ECONNRESET if nature != Nature::Stream => Err("a datagram socket has no connection to lose"),
        libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EFBIG if !nature.is_file() => {
            Err("a file system's error on what is no file")
        }
        libc::EIO if nature.is_socket() => Err("EIO on a socket"),
        libc::EIO if nature == Nature::Pipe => Err("EIO on a pipe"),
        _ => Ok(()),
    }
}

/// Whether this command of fcntl can fail with this errno.
fn fcntl_suits(errno: i32, command: i32) -> Result<(), &'static str> {
    let (duplicates, locks, waits) = (
        matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC),
        matches!(command, libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_SETLK | libc::F_OFD_SETLKW),
        matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW),
    );
    match errno {
        libc::EMFILE if !duplicates => Err("this fcntl makes no descriptor"),
        libc::EAGAIN | libc::EACCES if !locks || waits => Err("this fcntl tries no lock"),
        libc::ENOLCK if !locks => Err("this fcntl sets no lock"),
        libc::EINTR if !waits => Err("this fcntl waits for no lock"),
        _ => Ok(()),
    }
}

fn has_timeout(op: Op, fd: i32, nature: Nature) -> bool {
    let option = if is_write(op) { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO };
    nature.is_socket() && sys::socket_timeout(fd, option).is_some()
}

fn short_fits(op: Op, target: Target, asked: u64, flags: i32) -> Result<(), &'static str> {
    let Target::Fd(fd) = target else { return Err("no data to shorten") };
    if asked < 2 {
        return Err("a request of one byte cannot be shortened");
    }
    if flags & libc::MSG_WAITALL != 0 {
        return Err("MSG_WAITALL asks for all");
    }
    if fds::is_watched_by_edges(fd) {
        return Err(EDGE);
    }
    let open = sys::status_flags(fd);
    match nature(fd) {
        Nature::Regular if open & libc::O_DIRECT != 0 => Err("O_DIRECT takes whole blocks"),
        Nature::Regular if is_write(op) && open & libc::O_APPEND != 0 => {
            Err("a record appended with O_APPEND is whole")
        }
        Nature::Regular | Nature::Stream => Ok(()),
        Nature::Pipe if is_write(op) && asked <= PIPE_BUF => Err("a pipe takes up to PIPE_BUF bytes whole"),
        Nature::Pipe => Ok(()),
        Nature::Character if !is_write(op) => Ok(()),
        _ => Err("a short transfer would lose data here"),
    }
}

/// How far a record is when it is published: what ends its process is delivered by that, what waits is pending.
pub fn status_of(effect: Effect) -> u8 {
    match effect {
        Effect::Signal(_) | Effect::Exit(_) => status::DELIVERED,
        Effect::Error(_) | Effect::Memory(_) | Effect::Files(_) => status::FIRED,
        Effect::Latency(_) | Effect::Hang(_) | Effect::Short(_) | Effect::Corrupt(_) | Effect::Reset | Effect::End => {
            status::PENDING
        }
    }
}

/// The number that a record names as the effect.
pub fn number_of(effect: Effect) -> i32 {
    match effect {
        Effect::Error(code) | Effect::Signal(code) | Effect::Exit(code) => code as i32,
        Effect::Memory(_) => libc::ENOMEM,
        Effect::Files(_) => libc::EMFILE,
        Effect::Reset => libc::ECONNRESET,
        Effect::Latency(_) | Effect::Hang(_) | Effect::Short(_) | Effect::Corrupt(_) | Effect::End => 0,
    }
}

/// What a record names as requested: ns for waits, else the bytes of the call.
pub fn requested(effect: Effect, asked: u64) -> u64 {
    match effect {
        Effect::Latency(ns) | Effect::Hang(ns) => ns,
        Effect::Error(_)
        | Effect::Memory(_)
        | Effect::Files(_)
        | Effect::Short(_)
        | Effect::Corrupt(_)
        | Effect::Reset
        | Effect::End
        | Effect::Signal(_)
        | Effect::Exit(_) => asked,
    }
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
            wait(op, ns);
            delivered(session, &ticket, 0);
            Outcome::Go
        }
        Effect::Hang(ns) => hang(session, op, ns, ticket, target),
        Effect::Error(errno) => {
            let errno = errno as i32;
            let ticket =
                if let Target::Fd(fd) = target { make_lasting(session, op, errno, fd, flags, ticket) } else { ticket };
            Outcome::Fail(errno, ticket)
        }
        Effect::Memory(_) => Outcome::Fail(libc::ENOMEM, ticket),
        Effect::Files(_) => Outcome::Fail(libc::EMFILE, ticket),
        Effect::Short(ppm) => Outcome::Short(ppm as u32, ticket),
        Effect::Corrupt(density) => Outcome::Corrupt((density >> 32) as u32, density as u32, draw, ticket),
        Effect::Reset => {
            if let Target::Fd(fd) = target {
                sys::cut(fd);
            }
            Outcome::Fail(libc::ECONNRESET, ticket)
        }
        Effect::End => {
            if let Target::Fd(fd) = target {
                sys::cut(fd);
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
    }
}

/// What comes with an error besides the errno: SIGPIPE, or a connection that stays reset.
///
/// The signal may end the process or leave the call for good: the log is told before.
fn make_lasting(session: &Session, op: Op, errno: i32, fd: i32, flags: i32, ticket: Ticket) -> Ticket {
    if matches!(errno, libc::ECONNRESET | libc::EPIPE) && fd >= 0 && nature(fd) == Nature::Stream {
        sys::cut(fd);
    }
    if errno == libc::EPIPE && is_write(op) && flags & libc::MSG_NOSIGNAL == 0 {
        delivered(session, &ticket, -1);
        sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGPIPE);
        return ticket.told();
    }
    ticket
}

/// Waits the whole time, whatever handlers run meanwhile.
fn wait(op: Op, ns: u64) {
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
        Subject::Fd | Subject::Peer => true,
        Subject::Path => op == Op::Open,
        Subject::Nothing => op == Op::Wait,
        Subject::Name | Subject::Memory | Subject::Program => false,
    };
    if is_cancellation_point {
        // SAFETY: unwinding passes through frames of ours as it does when the real call is cancelled.
        unsafe { pthread_testcancel() };
    }
}

/// Blocks until the time is up, the socket's own timeout, or the end of injection; a signal handler ends it with EINTR
/// where the kernel could.
fn hang(session: &Session, op: Op, ns: u64, ticket: Ticket, target: Target) -> Outcome {
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
        let over = now.saturating_sub(session.start_ns) >= session.until_ns || session.is_over();
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

/// Ends a call with -1 and errno.
pub fn fail(errno: i32, ticket: &Ticket) -> isize {
    tell(ticket, -1);
    set_errno(errno);
    -1
}

/// Flips bits in `len` bytes that `at` finds: `bits` in every `per` bytes begun (0: in all of them).
pub fn flip(len: usize, bits: u32, per: u32, draw: u64, mut at: impl FnMut(usize) -> Option<*mut u8>) {
    let mut derived = Derived(draw ^ 0x666c_6970);
    let step = if per == 0 { len } else { (per as usize).min(len) }.max(1);
    let mut start = 0;
    while start < len {
        let size = step.min(len - start);
        for_distinct_bits(size, bits, &mut derived, |bit| {
            if let Some(byte) = at(start + bit / 8) {
                // SAFETY: `at` gives bytes of the caller's buffer that the real call has filled, or of our copy.
                unsafe { *byte ^= 1 << (bit % 8) };
            }
        });
        start += step;
    }
}

/// Calls `flip` for `bits` different bit positions in `size` bytes: one in each of as many equal strips.
fn for_distinct_bits(size: usize, bits: u32, derived: &mut Derived, mut flip: impl FnMut(usize)) {
    let total = size * 8;
    let bits = (bits as usize).min(total);
    for strip in 0..bits {
        let (first, end) = (strip * total / bits, (strip + 1) * total / bits);
        flip(first + (derived.next() % (end - first).max(1) as u64) as usize);
    }
}

/// How many bytes a shortened request asks for: at least one, less than all.
pub fn shortened(asked: usize, ppm: u32) -> usize {
    let kept = (asked as u128 * u128::from(ppm) / 1_000_000) as usize;
    kept.clamp(1, asked.saturating_sub(1).max(1))
}

/// The peer of a socket is a name that rules may know: what getaddrinfo gave.
pub fn remember_answers(session: &Session, name: &[u8], answers: *const libc::addrinfo) {
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

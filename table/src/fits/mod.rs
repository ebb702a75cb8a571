//! Which faults a kernel could produce at a place: what a descriptor is, and what can happen to it.
//!
//! Both engines ask here; each says by [`Kernel`] how it asks the kernel about a descriptor of the program's.

#![expect(clippy::match_same_arms, reason = "a line for each kind of descriptor reads better than one for each answer")]

mod files;
mod sockets;

pub use files::is_on_name;
pub use sockets::{comes_later, is_connection, is_tcp, unreachable};

use crate::calls::{Direction, Family, FaultKind, Op};
use crate::decide::{Derived, Effect, Peer};
use crate::rule::Rule;

/// What the kernel says of a descriptor of the program's.
pub trait Kernel {
    /// Mode of what is open there (`st_mode`); `None` when nothing is.
    fn mode(&self, fd: i32) -> Option<u32>;
    /// The flags that it was opened with; 0 when it is not open.
    fn status_flags(&self, fd: i32) -> i32;
    /// The first 32 bits of a socket's option.
    fn option(&self, fd: i32, level: i32, name: i32) -> Option<i32>;
    /// A socket's timeout in ns, `SO_RCVTIMEO` or `SO_SNDTIMEO`; `None` for none.
    fn timeout(&self, fd: i32, name: i32) -> Option<u64>;
    /// Whether a socket has a peer.
    fn has_peer(&self, fd: i32) -> bool;
    /// Whether the other end of a stream or pipe is closed.
    fn hung_up(&self, fd: i32) -> bool;
    /// Bytes that were written to a pipe or a unix socket and that nobody has read; `None` where the kernel does not tell.
    fn unread(&self, fd: i32, is_socket: bool) -> Option<i32>;
    /// Arms an edge-triggered epoll again that watches the descriptor; false when that cannot be done.
    fn rearm(&self, fd: i32) -> bool;
    /// Whether another process has locked any part of the file.
    fn is_locked_by_another(&self, fd: i32) -> bool;
}

/// What a call acts on, as far as it decides what can fail.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A descriptor.
    Fd(i32),
    /// Two descriptors that data moves between, where it goes first.
    Fds(i32, i32),
    /// A path; whether it is an empty one, which names the descriptor itself.
    Path(bool),
    /// A peer, or the own address that a socket is to have: the socket, and the address.
    Peer(i32, Peer<'a>),
    /// A host name; whether it is an address or nothing, so that no name server is asked.
    Name(bool),
    /// A wait for readiness, for so many ns.
    Wait(u64),
    /// Anything else.
    Other,
}

/// What a stream's state allows: bits that stand in for a call's flags.
pub mod condition {
    /// The end has been read: no call asks the kernel any more.
    pub const AT_END: i32 = 1;
    /// Bytes wait to be written.
    pub const PENDING: i32 = 2;
    /// This libc keeps its error flag where we do not know it.
    pub const UNKNOWN: i32 = 4;
    /// The buffer takes what the call gives: no call asks the kernel.
    pub const TAKEN: i32 = 8;
}

/// Writes up to this size into a pipe are atomic (POSIX; PIPE_BUF on Linux).
const PIPE_BUF: u64 = 4096;
/// Flag of getrandom(2): the libc crate has it for some libcs only.
const GRND_NONBLOCK: i32 = 1;
/// Clocks up to here are as old as clock_gettime itself.
const LAST_OLD_CLOCK: i32 = libc::CLOCK_THREAD_CPUTIME_ID;
/// Receiving so leaves the data where it is, or takes it without giving it.
const UNTAKEN: i32 = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_ERRQUEUE;
/// Why EINTR cannot be.
const NO_WAIT: &str = "a call that does not wait is not interrupted";
/// Why a look-up asks nobody.
const ADDRESS: &str = "an address needs no look-up";
/// Why data that is there cannot be withheld from an edge-triggered epoll.
const EDGE: &str = "an edge-triggered epoll would lose its wake-up";
/// What a descriptor is, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the kinds that stat and socket(2) know")]
pub enum Nature {
    Regular,
    Directory,
    Block,
    Stream,
    /// A connection that keeps records (SOCK_SEQPACKET).
    Packets,
    Datagram,
    Listener,
    Pipe,
    Character,
    Closed,
    Other,
}

/// What a descriptor is.
pub fn nature(k: &impl Kernel, fd: i32) -> Nature {
    let Some(mode) = k.mode(fd) else { return Nature::Closed };
    let option = |name| k.option(fd, libc::SOL_SOCKET, name);
    match mode & libc::S_IFMT {
        libc::S_IFREG => Nature::Regular,
        libc::S_IFDIR => Nature::Directory,
        libc::S_IFBLK => Nature::Block,
        libc::S_IFIFO => Nature::Pipe,
        libc::S_IFCHR => Nature::Character,
        libc::S_IFSOCK if option(libc::SO_ACCEPTCONN) == Some(1) => Nature::Listener,
        libc::S_IFSOCK if option(libc::SO_TYPE) == Some(libc::SOCK_STREAM) => Nature::Stream,
        libc::S_IFSOCK if option(libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET) => Nature::Packets,
        libc::S_IFSOCK => Nature::Datagram,
        _ => Nature::Other,
    }
}

impl Nature {
    /// Whether it lies in a file system.
    #[must_use]
    pub const fn is_file(self) -> bool {
        matches!(self, Nature::Regular | Nature::Directory | Nature::Block)
    }

    /// Whether it is a socket.
    #[must_use]
    pub const fn is_socket(self) -> bool {
        matches!(self, Nature::Stream | Nature::Packets | Nature::Datagram | Nature::Listener)
    }
}

/// Whether the call writes.
#[must_use]
pub const fn is_write(op: Op) -> bool {
    // What waits to be written is written by the last two as well.
    matches!(op.row().direction(), Some(Direction::Out)) || matches!(op, Op::Fclose | Op::Fseek)
}

/// The effect that a kernel could produce here, or why none could.
#[expect(clippy::too_many_arguments, reason = "all that a call is")]
#[inline(always)]
pub fn fitting(
    k: &impl Kernel,
    op: Op,
    effect: Effect,
    target: Object<'_>,
    rule: &Rule,
    draw: u64,
    asked: u64,
    flags: i32,
) -> Result<Effect, &'static str> {
    match effect {
        Effect::Error(errno) => {
            if rule.errno_count != 0 || rule.fault != FaultKind::Error as u8 {
                return suits(k, op, errno as i32, target, asked, flags).map(|()| effect);
            }
            choose_usual(k, op, target, draw, asked, flags)
        }
        Effect::Short(_) if op == Op::Getrandom => random_suits(libc::EINTR, asked, flags).map(|()| effect),
        Effect::Short(_) => short_fits(k, op, target, asked, flags).map(|()| effect),
        // A line has no size before it is read.
        Effect::Corrupt(_) | Effect::Zero(_) if asked == 0 && op != Op::Getline => Err("no data to corrupt"),
        Effect::Duplicate(_) | Effect::Truncate(_) if asked < 2 && op != Op::Getline => {
            Err("too little data to corrupt so")
        }
        Effect::Corrupt(_) | Effect::Zero(_) | Effect::Duplicate(_) | Effect::Truncate(_)
            if !is_write(op) && message_flags(op, flags) & UNTAKEN != 0 =>
        {
            Err("what is only looked at comes again as it was")
        }
        Effect::Corrupt(_) | Effect::Zero(_) | Effect::Duplicate(_) | Effect::Truncate(_) if matches!(target, Object::Fd(fd) if nature(k, fd) == Nature::Other) => {
            Err("what the kernel itself counts and tells is never changed")
        }
        Effect::Truncate(_) => truncate_fits(k, op, target).map(|()| effect),
        Effect::Drop => drop_fits(k, op, target, asked, flags).map(|()| effect),
        Effect::Torn(both) => torn_fits(k, target, asked, both >> 32 == 0).map(|()| effect),
        Effect::Return(both) if carries_data(op) && both as i32 > 0 && u64::from(both as u32) > asked => {
            Err("more bytes than were asked for")
        }
        Effect::Reset(_) | Effect::End(_) => match target {
            Object::Fd(fd) | Object::Fds(fd, _)
                if is_connection(k, fd) && message_flags(op, flags) & libc::MSG_ERRQUEUE == 0 =>
            {
                Ok(effect)
            }
            _ => Err("only a connected stream can be cut"),
        },
        Effect::Unreachable(what) => sockets::unreachable_fits(k, op, target, what),
        Effect::Throttle(_) if message_flags(op, flags) & libc::MSG_ERRQUEUE != 0 => {
            Err("the error queue is no transfer")
        }
        Effect::Hang(_) => match target {
            _ if files::waits(op) => files::may_hang(k, op, target, flags).map(|()| effect),
            Object::Fd(fd) if !may_block(k, fd, flags) => Err("a non-blocking descriptor does not hang"),
            Object::Fd(_) if op.row().is_in(Family::Stdio) => stream_suits(op, None, flags).map(|()| effect),
            Object::Peer(fd, ..) if op == Op::Connect && !may_block(k, fd, 0) => {
                Err("a non-blocking connect does not hang: `unreachable` makes it wait")
            }
            Object::Wait(0) => Err("a call that does not wait does not hang"),
            Object::Name(true) => Err(ADDRESS),
            Object::Other if op == Op::Wait && flags & libc::WNOHANG != 0 => Err("WNOHANG does not wait"),
            Object::Other if op == Op::Getrandom && flags & GRND_NONBLOCK != 0 => Err("GRND_NONBLOCK does not wait"),
            _ => Ok(effect),
        },
        // As with a slow peer: the caller's own patience ends first.
        Effect::Latency(ns) if own_end(k, op, target, flags).is_some_and(|end| end < ns) => Ok(Effect::Hang(ns)),
        Effect::Files(_) if op == Op::Signalfd && flags != -1 => Err("this signalfd makes no descriptor"),
        Effect::Corrupt(_)
        | Effect::Zero(_)
        | Effect::Duplicate(_)
        | Effect::Part(_)
        | Effect::Return(_)
        | Effect::Throttle(_)
        | Effect::Latency(_)
        | Effect::Memory(_)
        | Effect::Files(_)
        | Effect::Disk(_)
        | Effect::Signal(_)
        | Effect::Exit(_)
        | Effect::Freeze(_) => Ok(effect),
    }
}

/// The MSG_ flags of a call on a socket; the flags of other calls mean other things.
fn message_flags(op: Op, flags: i32) -> i32 {
    match op {
        Op::Send | Op::Sendto | Op::Sendmsg | Op::Sendmmsg | Op::Recv | Op::Recvfrom | Op::Recvmsg | Op::Recvmmsg => {
            flags
        }
        _ => 0,
    }
}

/// Whether a call with these MSG_ flags waits on a descriptor.
pub fn may_block(k: &impl Kernel, fd: i32, flags: i32) -> bool {
    flags & libc::MSG_DONTWAIT == 0 && k.status_flags(fd) & libc::O_NONBLOCK == 0
}

/// A choice among the usual errnos of a call that fit this descriptor.
fn choose_usual(
    k: &impl Kernel,
    op: Op,
    target: Object<'_>,
    draw: u64,
    asked: u64,
    flags: i32,
) -> Result<Effect, &'static str> {
    let usual = op.row().usual();
    let fits = |errno: &&i32| suits(k, op, **errno, target, asked, flags).is_ok();
    let count = usual.iter().filter(fits).count() as u64;
    if count == 0 {
        return Err("none of the usual errors of this call can happen here");
    }
    let pick = (Derived(draw).next() % count) as usize;
    usual.iter().filter(fits).nth(pick).map(|errno| Effect::Error((*errno).into())).ok_or("no error to choose")
}

/// Whether a kernel could fail this call with this errno at this descriptor, at this moment.
fn suits(k: &impl Kernel, op: Op, errno: i32, target: Object<'_>, asked: u64, flags: i32) -> Result<(), &'static str> {
    if let Some(verdict) = files::suits(k, op, errno, target, flags) {
        return verdict;
    }
    match target {
        Object::Peer(fd, ..) if op == Op::Connect => return sockets::connect_suits(k, fd, errno),
        Object::Peer(_, own) if op == Op::Bind => return sockets::bind_suits(own, errno),
        Object::Wait(0) if errno == libc::EINTR => return Err(NO_WAIT),
        Object::Name(true) if errno != libc::EAI_MEMORY && errno != libc::EAI_SYSTEM => {
            return Err(ADDRESS);
        }
        _ => {}
    }
    match op {
        // For these `flags` are the command, the options, the clock, or whether every kernel has the option.
        Op::Setsockopt | Op::Getsockopt if errno == libc::ENOPROTOOPT && flags != 0 => {
            return Err("every kernel has this option");
        }
        Op::EpollCtl if matches!(flags, libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL) => {
            return Err("only EPOLL_CTL_ADD takes memory");
        }
        Op::Fcntl => return fcntl_suits(errno, flags),
        Op::Getrandom => return random_suits(errno, asked, flags),
        Op::ClockGettime | Op::ClockGetres if errno == libc::EINVAL && (0..=LAST_OLD_CLOCK).contains(&flags) => {
            return Err("every kernel has this clock");
        }
        Op::Wait if errno == libc::EINTR && flags & libc::WNOHANG != 0 => return Err("WNOHANG does not wait"),
        _ => {}
    }
    let Object::Fd(fd) = target else { return Ok(()) };
    if op == Op::Accept {
        return match errno {
            libc::EINTR if !may_block(k, fd, flags) => Err(NO_WAIT),
            libc::EAGAIN if !k.rearm(fd) => Err(EDGE),
            libc::EAGAIN if may_block(k, fd, flags) && k.timeout(fd, libc::SO_RCVTIMEO).is_none() => {
                Err("EAGAIN on a blocking socket")
            }
            _ => Ok(()),
        };
    }
    if op.row().is_in(Family::Stdio) {
        stream_suits(op, Some(errno), flags)?;
    }
    let nature = nature(k, fd);
    match errno {
        _ if nature == Nature::Closed => Err("the descriptor is not open"),
        libc::EAGAIN if nature.is_file() => Err("EAGAIN on a file"),
        libc::EAGAIN if may_block(k, fd, flags) && !has_timeout(k, op, fd, nature) => {
            Err("EAGAIN on a blocking descriptor")
        }
        libc::EAGAIN if is_write(op) && is_empty(k, fd, nature) => Err("EAGAIN where nothing waits to be read"),
        libc::EAGAIN if !k.rearm(fd) => Err(EDGE),
        _ if message_flags(op, flags) & libc::MSG_ERRQUEUE != 0 && nature.is_socket() && errno != libc::EAGAIN => {
            Err("the error queue neither waits nor has a connection to lose")
        }
        libc::EINTR if op != Op::Close && !may_block(k, fd, flags) => Err(NO_WAIT),
        libc::EINTR if nature.is_file() && op != Op::Close => Err("EINTR on a file"),
        libc::EPIPE if op.row().direction() == Some(Direction::In) => Err("EPIPE where nothing is written"),
        libc::EPIPE if !matches!(nature, Nature::Pipe | Nature::Stream | Nature::Packets | Nature::Listener) => {
            Err("EPIPE on what is no pipe or stream")
        }
        libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOBUFS | libc::ENOTCONN if !nature.is_socket() => {
            Err("a socket's error on what is no socket")
        }
        libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN => sockets::loss_suits(k, fd, errno),
        libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EFBIG if !nature.is_file() => {
            Err("a file system's error on what is no file")
        }
        libc::EIO if nature.is_socket() => Err("EIO on a socket"),
        libc::EIO if nature == Nature::Pipe => Err("EIO on a pipe"),
        // eventfd, timerfd, signalfd, inotify, epoll: libuv, which knows this, aborts.
        libc::EIO if nature == Nature::Other => Err("EIO on what has no device below it"),
        _ => Ok(()),
    }
}

/// Whether there is room for any write, of descriptors that programs wake themselves up by: who is told EAGAIN there counts
/// on what waits to be read already.
fn is_empty(k: &impl Kernel, fd: i32, nature: Nature) -> bool {
    let is_unix = || k.option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) == Some(libc::AF_UNIX);
    match nature {
        Nature::Other => true,
        Nature::Pipe => k.unread(fd, false) == Some(0),
        Nature::Stream | Nature::Packets | Nature::Datagram => is_unix() && k.unread(fd, true) == Some(0),
        Nature::Regular | Nature::Directory | Nature::Block | Nature::Listener | Nature::Character | Nature::Closed => {
            false
        }
    }
}

/// Whether getrandom can meet this for so many bytes: up to 256 come whole and at once when the pool is ready.
fn random_suits(errno: i32, asked: u64, flags: i32) -> Result<(), &'static str> {
    match errno {
        libc::EAGAIN if flags & GRND_NONBLOCK == 0 => Err("EAGAIN without GRND_NONBLOCK"),
        libc::EINTR if asked <= 256 => Err("up to 256 random bytes are never interrupted"),
        _ => Ok(()),
    }
}

/// Whether a call on a stream in this condition (bits of [`condition`]) asks the kernel at all, and for what.
fn stream_suits(op: Op, errno: Option<i32>, has: i32) -> Result<(), &'static str> {
    let is_pending = has & condition::PENDING != 0;
    match (op, errno) {
        (_, Some(_)) if has & condition::UNKNOWN != 0 => Err("this libc keeps the error flag of streams elsewhere"),
        (Op::Fread | Op::Fgets | Op::Getc | Op::Getline | Op::Fscanf, _) if has & condition::AT_END != 0 => {
            Err("the stream is at its end")
        }
        (Op::Fwrite | Op::Fputs | Op::Putc | Op::Fprintf, _) if has & condition::TAKEN != 0 => Err(
            "the stream's buffer takes it; what asks the kernel is fflush, fclose, or the call that fills the buffer",
        ),
        (Op::Fflush, _) if !is_pending => Err("nothing waits to be written"),
        (Op::Fseek, Some(errno)) if !is_pending && errno != libc::EIO => Err("nothing waits to be written"),
        (Op::Fclose, Some(libc::EAGAIN | libc::EPIPE | libc::ECONNRESET)) if !is_pending => {
            Err("nothing waits to be written")
        }
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

fn has_timeout(k: &impl Kernel, op: Op, fd: i32, nature: Nature) -> bool {
    nature.is_socket() && timeout(k, op, fd).is_some()
}

fn timeout(k: &impl Kernel, op: Op, fd: i32) -> Option<u64> {
    k.timeout(fd, if is_write(op) { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO })
}

/// After how many ns a socket's own timeout ends this call with EAGAIN, if one does.
pub fn own_end(k: &impl Kernel, op: Op, target: Object<'_>, flags: i32) -> Option<u64> {
    let Object::Fd(fd) = target else { return None };
    let waits = op.row().direction().is_some() || op == Op::Accept;
    let asks = message_flags(op, flags) & libc::MSG_ERRQUEUE == 0;
    if !waits || !asks || !may_block(k, fd, flags) || !nature(k, fd).is_socket() {
        return None;
    }
    timeout(k, op, fd)
}

/// Whether the result of a call is a number of bytes.
const fn carries_data(op: Op) -> bool {
    op.row().allows(FaultKind::Short) || matches!(op, Op::Sendmsg | Op::Recvmsg)
}

/// Whether a descriptor is a file with contents.
pub fn is_file(k: &impl Kernel, fd: i32) -> bool {
    matches!(nature(k, fd), Nature::Regular | Nature::Block)
}

/// Whether datagrams of this socket may get lost. Those between processes of one machine over AF_UNIX never do.
pub fn can_lose_datagrams(k: &impl Kernel, fd: i32) -> bool {
    let inet = [Some(libc::AF_INET), Some(libc::AF_INET6)].contains(&k.option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN));
    inet && k.option(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Some(libc::SOCK_DGRAM)
}

fn drop_fits(k: &impl Kernel, op: Op, target: Object<'_>, asked: u64, flags: i32) -> Result<(), &'static str> {
    let Object::Fd(fd) = target else { return Ok(()) };
    if !carries_data(op) && op != Op::Sendmmsg {
        // A call that carries no data: fsync and its kin.
        return if nature(k, fd).is_file() { Ok(()) } else { Err("only what is done to a file can be lost") };
    }
    if is_file(k, fd) {
        let access = k.status_flags(fd) & libc::O_ACCMODE;
        return match access {
            _ if !is_write(op) => Err("a read of a file cannot be lost"),
            libc::O_RDONLY => Err("the descriptor cannot be written"),
            _ if asked == 0 => Err("no data to lose"),
            _ => Ok(()),
        };
    }
    match nature(k, fd) {
        Nature::Datagram if !can_lose_datagrams(k, fd) => Err("only datagrams of the network get lost"),
        Nature::Datagram if flags & libc::MSG_ERRQUEUE != 0 => Err("the error queue holds no datagrams"),
        Nature::Datagram => Ok(()),
        _ => Err("bytes of a stream or pipe do not get lost"),
    }
}

fn torn_fits(k: &impl Kernel, target: Object<'_>, asked: u64, kills: bool) -> Result<(), &'static str> {
    let Object::Fd(fd) = target else { return Err("no data to tear") };
    if asked < 2 {
        return Err("one byte cannot be torn");
    }
    let open = k.status_flags(fd);
    match nature(k, fd) {
        Nature::Regular | Nature::Block if open & libc::O_ACCMODE == libc::O_RDONLY => {
            Err("the descriptor cannot be written")
        }
        Nature::Regular | Nature::Block if open & libc::O_DIRECT != 0 => Err("O_DIRECT takes whole blocks"),
        Nature::Regular | Nature::Block => Ok(()),
        Nature::Pipe if asked <= PIPE_BUF => Err("a pipe takes up to PIPE_BUF bytes whole"),
        Nature::Pipe if !kills => Err("a pipe tells how much it took"),
        Nature::Pipe => Ok(()),
        _ => Err("only writes to files and pipes are torn"),
    }
}

fn truncate_fits(k: &impl Kernel, op: Op, target: Object<'_>) -> Result<(), &'static str> {
    let Object::Fd(fd) = target else { return Err("no data to cut off") };
    if !is_write(op) && !k.rearm(fd) {
        return Err(EDGE);
    }
    match nature(k, fd) {
        Nature::Closed | Nature::Listener | Nature::Directory => Err("what is read here has one size"),
        _ => Ok(()),
    }
}

fn short_fits(k: &impl Kernel, op: Op, target: Object<'_>, asked: u64, flags: i32) -> Result<(), &'static str> {
    if let Object::Fds(to, from) = target {
        return match asked {
            0 | 1 => Err("a request of one byte cannot be shortened"),
            _ => files::short_copy(k, op, to, from),
        };
    }
    let Object::Fd(fd) = target else { return Err("no data to shorten") };
    if asked < 2 {
        return Err("a request of one byte cannot be shortened");
    }
    if flags & libc::MSG_WAITALL != 0 {
        return Err("MSG_WAITALL asks for all");
    }
    if message_flags(op, flags) & libc::MSG_ERRQUEUE != 0 {
        return Err("a message of the error queue is whole");
    }
    if !k.rearm(fd) {
        return Err(EDGE);
    }
    let open = k.status_flags(fd);
    match nature(k, fd) {
        Nature::Regular if open & libc::O_DIRECT != 0 => Err("O_DIRECT takes whole blocks"),
        Nature::Regular if is_write(op) && open & libc::O_APPEND != 0 => {
            Err("a record appended with O_APPEND is whole")
        }
        // libuv takes a short read after a hang-up for the end, and it is: the kernel gives what is left whole.
        Nature::Stream | Nature::Pipe if !is_write(op) && k.hung_up(fd) => {
            Err("the other end is closed: what is left comes whole")
        }
        Nature::Regular | Nature::Stream => Ok(()),
        Nature::Pipe if is_write(op) && asked <= PIPE_BUF => Err("a pipe takes up to PIPE_BUF bytes whole"),
        Nature::Pipe => Ok(()),
        Nature::Character if !is_write(op) => Ok(()),
        _ => Err("a short transfer would lose data here"),
    }
}

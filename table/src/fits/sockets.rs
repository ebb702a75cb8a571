//! What a kernel can answer at a socket: its kind, whether it is connected, and what a connect or bind can meet.

use super::{Kernel, Object};
use super::{Nature, may_block, nature};
use crate::calls::Op;
use crate::decide::{Effect, Peer, UNREACHABLE_NS, UNREACHABLE_NS_BITS};

type Suits = Result<(), &'static str>;

/// State of a TCP socket that is neither connected nor connecting, as TCP_INFO begins with.
const TCP_CLOSE: i32 = 7;

/// Whether a socket speaks TCP (or MPTCP, which answers the same questions).
pub fn is_tcp(k: &impl Kernel, fd: i32) -> bool {
    tcp_state(k, fd).is_some()
}

fn tcp_state(k: &impl Kernel, fd: i32) -> Option<i32> {
    k.option(fd, libc::IPPROTO_TCP, libc::TCP_INFO).map(|info| info & 0xff)
}

/// Whether it is a connection: a stream, or packets in order, that has a peer.
pub fn is_connection(k: &impl Kernel, fd: i32) -> bool {
    matches!(nature(k, fd), Nature::Stream | Nature::Packets) && k.has_peer(fd)
}

/// Whether an established connection can be found lost so.
pub(super) fn loss_suits(k: &impl Kernel, fd: i32, errno: i32) -> Suits {
    match nature(k, fd) {
        Nature::Datagram => Err("a datagram socket has no connection to lose"),
        _ if !is_connection(k, fd) => Err("there is no connection to lose"),
        _ if errno != libc::ECONNRESET && !is_tcp(k, fd) => Err("only TCP loses a connection so"),
        _ => Ok(()),
    }
}

/// Whether a connect can fail so.
pub(super) fn connect_suits(k: &impl Kernel, fd: i32, errno: i32) -> Suits {
    if let Some(state) = tcp_state(k, fd) {
        return match errno {
            _ if state != TCP_CLOSE => Err("the socket is connected, or connecting, already"),
            libc::EINTR if !may_block(k, fd, 0) => Err("a non-blocking connect is not interrupted"),
            _ => Ok(()),
        };
    }
    let domain = k.option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN);
    let is_unix = domain == Some(libc::AF_UNIX);
    match errno {
        libc::ETIMEDOUT | libc::ECONNRESET | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL
            if is_unix =>
        {
            Err("a unix socket has no network in between")
        }
        libc::EINTR if is_unix && !may_block(k, fd, 0) => Err("a non-blocking connect is not interrupted"),
        libc::EAGAIN if is_unix && may_block(k, fd, 0) => Err("a blocking connect waits for its turn"),
        libc::ECONNREFUSED | libc::ETIMEDOUT | libc::ECONNRESET | libc::EINTR
            if nature(k, fd) == Nature::Datagram && !is_unix =>
        {
            Err("connecting a datagram socket asks nobody")
        }
        _ => Ok(()),
    }
}

/// Whether the error of a TCP connect comes later when nobody waits for it.
#[must_use]
pub fn comes_later(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::ETIMEDOUT | libc::ECONNRESET | libc::EHOSTUNREACH)
}

/// Whether a bind to this address can fail so.
pub(super) fn bind_suits(own: Peer<'_>, errno: i32) -> Suits {
    let (is_any, port) = match own {
        Peer::V4(address, port) => (address == [0; 4], Some(port)),
        Peer::V6(address, port) => (address == [0; 16], Some(port)),
        Peer::Unix(_) | Peer::Unknown => (true, None),
    };
    match errno {
        libc::EADDRNOTAVAIL if is_any => Err("this address is there on every machine"),
        libc::EACCES if port.is_some_and(|port| !(1..1024).contains(&port)) => {
            Err("only ports below 1024 are not for everybody")
        }
        _ => Ok(()),
    }
}

/// What `unreachable` does here: on TCP connects any of its errnos, on datagrams what needs no answer.
pub(super) fn unreachable_fits(k: &impl Kernel, op: Op, target: Object<'_>, what: u64) -> Result<Effect, &'static str> {
    let (errno, ns) = unreachable(what);
    let with = |errno: i32| Effect::Unreachable((errno as u64) << UNREACHABLE_NS_BITS | ns);
    match target {
        Object::Peer(fd, ..) if op == Op::Connect && is_tcp(k, fd) => {
            let errno = if errno == 0 { libc::ETIMEDOUT } else { errno };
            connect_suits(k, fd, errno).map(|()| with(errno))
        }
        Object::Peer(fd, ..) | Object::Fd(fd)
            if nature(k, fd) == Nature::Datagram
                && k.option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) != Some(libc::AF_UNIX) =>
        {
            match errno {
                libc::ETIMEDOUT => Err("nobody waits for the answer to a datagram"),
                0 => Ok(with(libc::EHOSTUNREACH)),
                errno => Ok(with(errno)),
            }
        }
        Object::Peer(..) => Err("there is no network in between"),
        _ => Err("an established connection, or a socket that is local, is not unreachable"),
    }
}

/// The errno and the ns of [`Effect::Unreachable`].
#[must_use]
pub const fn unreachable(what: u64) -> (i32, u64) {
    ((what >> UNREACHABLE_NS_BITS) as i32, what & UNREACHABLE_NS)
}

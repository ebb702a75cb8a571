//! What a kernel can answer at a socket: its kind, whether it is connected, and what a connect or bind can meet.

use super::suits::{Nature, may_block, nature};
use crate::fds::PeerBuffer;
use crate::select::Target;
use crate::sys;
use chaos_table::calls::Op;
use chaos_table::decide::{Effect, Peer, UNREACHABLE_NS, UNREACHABLE_NS_BITS};

type Suits = Result<(), &'static str>;

/// State of a TCP socket that is neither connected nor connecting, as TCP_INFO begins with.
const TCP_CLOSE: i32 = 7;

/// Whether a socket speaks TCP (or MPTCP, which answers the same questions).
pub fn is_tcp(fd: i32) -> bool {
    tcp_state(fd).is_some()
}

fn tcp_state(fd: i32) -> Option<i32> {
    sys::option_at(fd, libc::IPPROTO_TCP, libc::TCP_INFO).map(|info| info & 0xff)
}

/// Whether it is a connection: a stream, or packets in order, that has a peer.
pub(super) fn is_connection(fd: i32) -> bool {
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    matches!(nature(fd), Nature::Stream | Nature::Packets) && sys::socket_name(fd, false, &mut address).is_some()
}

/// Whether an established connection can be found lost so.
pub(super) fn loss_suits(fd: i32, errno: i32) -> Suits {
    match nature(fd) {
        Nature::Datagram => Err("a datagram socket has no connection to lose"),
        _ if !is_connection(fd) => Err("there is no connection to lose"),
        _ if errno != libc::ECONNRESET && !is_tcp(fd) => Err("only TCP loses a connection so"),
        _ => Ok(()),
    }
}

/// Whether a connect can fail so.
pub(super) fn connect_suits(fd: i32, errno: i32) -> Suits {
    if let Some(state) = tcp_state(fd) {
        return match errno {
            _ if state != TCP_CLOSE => Err("the socket is connected, or connecting, already"),
            libc::EINTR if !may_block(fd, 0) => Err("a non-blocking connect is not interrupted"),
            _ => Ok(()),
        };
    }
    let domain = sys::socket_option(fd, libc::SO_DOMAIN);
    let is_unix = domain == Some(libc::AF_UNIX);
    match errno {
        libc::ETIMEDOUT | libc::ECONNRESET | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL
            if is_unix =>
        {
            Err("a unix socket has no network in between")
        }
        libc::EINTR if is_unix && !may_block(fd, 0) => Err("a non-blocking connect is not interrupted"),
        libc::EAGAIN if is_unix && may_block(fd, 0) => Err("a blocking connect waits for its turn"),
        libc::ECONNREFUSED | libc::ETIMEDOUT | libc::ECONNRESET | libc::EINTR
            if nature(fd) == Nature::Datagram && !is_unix =>
        {
            Err("connecting a datagram socket asks nobody")
        }
        _ => Ok(()),
    }
}

/// Whether the error of a TCP connect comes later when nobody waits for it.
pub(super) fn comes_later(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::ETIMEDOUT | libc::ECONNRESET | libc::EHOSTUNREACH)
}

/// Whether a bind to this address can fail so.
pub(super) fn bind_suits(address: *const libc::sockaddr, len: u32, errno: i32) -> Suits {
    let mut buffer = PeerBuffer::new();
    // SAFETY: the program's own arguments of bind.
    let own = unsafe { buffer.given(address, len) };
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
pub(super) fn unreachable_fits(op: Op, target: Target, what: u64) -> Result<Effect, &'static str> {
    let (errno, ns) = unreachable(what);
    let with = |errno: i32| Effect::Unreachable((errno as u64) << UNREACHABLE_NS_BITS | ns);
    match target {
        Target::Peer(fd, ..) if op == Op::Connect && is_tcp(fd) => {
            let errno = if errno == 0 { libc::ETIMEDOUT } else { errno };
            connect_suits(fd, errno).map(|()| with(errno))
        }
        Target::Peer(fd, ..) | Target::Fd(fd)
            if nature(fd) == Nature::Datagram && sys::socket_option(fd, libc::SO_DOMAIN) != Some(libc::AF_UNIX) =>
        {
            match errno {
                libc::ETIMEDOUT => Err("nobody waits for the answer to a datagram"),
                0 => Ok(with(libc::EHOSTUNREACH)),
                errno => Ok(with(errno)),
            }
        }
        Target::Peer(..) => Err("there is no network in between"),
        _ => Err("an established connection, or a socket that is local, is not unreachable"),
    }
}

/// The errno and the ns of [`Effect::Unreachable`].
pub(super) const fn unreachable(what: u64) -> (i32, u64) {
    ((what >> UNREACHABLE_NS_BITS) as i32, what & UNREACHABLE_NS)
}

/// Whether what is looked up is an address, or nothing: no name server is asked for it.
pub(super) fn is_address(name: *const std::ffi::c_char) -> bool {
    if name.is_null() {
        return true;
    }
    // SAFETY: the program's own argument, a C string.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes();
    let address = name.split(|byte| *byte == b'%').next().unwrap_or(name);
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok())
}

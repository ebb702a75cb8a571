//! What the kernel says of this process's descriptors, for what can fail there.

use crate::fds::PeerBuffer;
use crate::select::Target;
use crate::{edges, sys};
use chaos_table::calls::Op;
use chaos_table::decide::{Effect, Peer};
use chaos_table::fits::{self, Kernel, Nature, Object};
use chaos_table::rule::Rule;
use std::ffi::{CStr, c_char};

/// This process's own kernel.
struct Here;

impl Kernel for Here {
    fn mode(&self, fd: i32) -> Option<u32> {
        sys::fstat(fd).map(|stat| stat.st_mode)
    }

    fn status_flags(&self, fd: i32) -> i32 {
        sys::status_flags(fd)
    }

    fn option(&self, fd: i32, level: i32, name: i32) -> Option<i32> {
        sys::option_at(fd, level, name)
    }

    fn timeout(&self, fd: i32, name: i32) -> Option<u64> {
        sys::socket_timeout(fd, name)
    }

    fn has_peer(&self, fd: i32) -> bool {
        // SAFETY: an all-zero sockaddr_storage is valid.
        let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        sys::socket_name(fd, false, &mut address).is_some()
    }

    fn hung_up(&self, fd: i32) -> bool {
        sys::hung_up(fd)
    }

    fn unread(&self, fd: i32, is_socket: bool) -> Option<i32> {
        sys::told_by_ioctl(fd, if is_socket { libc::TIOCOUTQ } else { libc::FIONREAD })
    }

    fn rearm(&self, fd: i32) -> bool {
        edges::rearm(fd)
    }

    fn is_locked_by_another(&self, fd: i32) -> bool {
        sys::is_locked_by_another(fd)
    }
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
    let fitting = |object: Object<'_>| fits::fitting(&Here, op, effect, object, rule, draw, asked, flags);
    match target {
        Target::Fd(fd) => fitting(Object::Fd(fd)),
        Target::Fds(to, from) => fitting(Object::Fds(to, from)),
        Target::Path(_, path) | Target::Entry(_, path) => fitting(Object::Path(fits::is_on_name(op) && is_empty(path))),
        Target::Peer(fd, address, len) if op == Op::Bind => {
            let mut buffer = PeerBuffer::new();
            // SAFETY: the program's own arguments of bind.
            fitting(Object::Peer(fd, unsafe { buffer.given(address, len) }))
        }
        Target::Peer(fd, ..) => fitting(Object::Peer(fd, Peer::Unknown)),
        Target::Name(name) => fitting(Object::Name(is_address(name))),
        Target::Wait(ns, _) => fitting(Object::Wait(ns)),
        Target::Entries(..) | Target::Memory | Target::Program(_) | Target::Point(_) | Target::Nothing => {
            fitting(Object::Other)
        }
    }
}

fn is_empty(path: *const c_char) -> bool {
    // SAFETY: the program's own argument of a call that is being made.
    unsafe { sys::string(path) }.is_some_and(|path| path.is_empty())
}

/// Whether what is looked up is an address, or nothing: no name server is asked for it.
fn is_address(name: *const c_char) -> bool {
    if name.is_null() {
        return true;
    }
    // SAFETY: the program's own argument, a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let address = name.split(|byte| *byte == b'%').next().unwrap_or(name);
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok())
}

/// What a descriptor is.
pub(super) fn nature(fd: i32) -> Nature {
    fits::nature(&Here, fd)
}

/// Whether a call with these MSG_ flags waits on a descriptor.
pub(super) fn may_block(fd: i32, flags: i32) -> bool {
    fits::may_block(&Here, fd, flags)
}

/// After how many ns a socket's own timeout ends this call, if one does.
pub(super) fn own_end(op: Op, fd: i32, flags: i32) -> Option<u64> {
    fits::own_end(&Here, op, Object::Fd(fd), flags)
}

/// Whether a socket is a connection that has a peer.
pub(super) fn is_connection(fd: i32) -> bool {
    fits::is_connection(&Here, fd)
}

/// Whether a socket speaks TCP.
pub fn is_tcp(fd: i32) -> bool {
    fits::is_tcp(&Here, fd)
}

/// Whether a descriptor is a file with contents.
pub fn is_file(fd: i32) -> bool {
    fits::is_file(&Here, fd)
}

/// Whether datagrams of this socket may get lost.
pub fn can_lose_datagrams(fd: i32) -> bool {
    fits::can_lose_datagrams(&Here, fd)
}

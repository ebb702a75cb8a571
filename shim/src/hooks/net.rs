//! Sockets and names.

use super::data::{Memory, message, transfer};
use super::file::making;
use super::{declared, minus_one, simple, tracked};
use crate::real::{hooks, word};
use crate::select::Target;
use crate::session::attached;
use crate::{effects, fds, init};
use chaos_table::calls::Op;
use libc::{addrinfo, c_char, c_int, c_uint, c_void, epoll_event, mmsghdr, msghdr, sockaddr, socklen_t, timespec};
use std::ffi::CStr;

/// A connect; the descriptor has another peer afterwards.
pub(super) fn connecting(fd: c_int, address: *const sockaddr, len: socklen_t, real: impl FnOnce() -> c_int) -> c_int {
    if init::is_waiting() {
        init::sign();
    }
    let result = simple(Op::Connect, Target::Peer(fd, address, len), real, minus_one);
    fds::changed(fd);
    result
}

/// An accept on a listening socket.
pub(super) fn accepting(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let new = simple(Op::Accept, Target::Fd(fd), real, minus_one);
    fds::forget(new);
    new
}

/// Descriptors that came with a message are new ones.
///
/// # Safety
/// `header` must be a message that recvmsg has filled.
unsafe fn forget_received(header: *const msghdr) {
    // SAFETY: the macros walk the control data that the kernel has written.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*control).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let fds = libc::CMSG_DATA(control).cast::<c_int>();
                for index in 0..bytes / size_of::<c_int>() {
                    fds::forget(fds.add(index).read_unaligned());
                }
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// A name look-up; the addresses of names that rules know are remembered.
///
/// # Safety
/// The arguments of getaddrinfo.
unsafe fn looking_up(node: *const c_char, result: *mut *mut addrinfo, real: impl FnOnce() -> c_int) -> c_int {
    let code = simple(Op::Getaddrinfo, Target::Name(node), real, |code| {
        if code == libc::EAI_SYSTEM {
            crate::real::set_errno(libc::EIO);
        }
        code
    });
    if code == 0
        && tracked(Op::Getaddrinfo)
        && !node.is_null()
        && let Some(session) = attached()
    {
        // SAFETY: getaddrinfo has succeeded: node is a C string and the result a list.
        unsafe { effects::remember_answers(session, CStr::from_ptr(node).to_bytes(), *result) };
    }
    code
}

hooks! {
    Connect, connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, real =>
        connecting(fd, address, len, || real(fd, address, len));
    Accept, accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, real =>
        accepting(fd, || real(fd, address, len));
    Accept, accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, real =>
        accepting(fd, || real(fd, address, len, flags));
    Send, send(fd: c_int, buffer: *const c_void, len: usize, flags: c_int) -> isize, real =>
        transfer(Op::Send, fd, len, flags, Memory::From(buffer), |from, len| real(fd, from, len, flags));
    Sendto, sendto(fd: c_int, buffer: *const c_void, len: usize, flags: c_int, to: *const sockaddr, size: socklen_t) -> isize,
        real => transfer(Op::Sendto, fd, len, flags, Memory::From(buffer), |from, len| real(fd, from, len, flags, to, size));
    Sendmsg, sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> isize, real =>
        message(Op::Sendmsg, fd, flags, || real(fd, header, flags));
    Sendmmsg, sendmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int, real =>
        message(Op::Sendmmsg, fd, flags, || real(fd, list, count, flags) as isize) as c_int;
    Recv, recv(fd: c_int, buffer: *mut c_void, len: usize, flags: c_int) -> isize, real =>
        transfer(Op::Recv, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, flags));
    Recv, __recv_chk(fd: c_int, buffer: *mut c_void, len: usize, room: usize, flags: c_int) -> isize, real =>
        transfer(Op::Recv, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, room, flags));
    Recvfrom, recvfrom(fd: c_int, buffer: *mut c_void, len: usize, flags: c_int, from: *mut sockaddr, size: *mut socklen_t) -> isize,
        real => transfer(Op::Recvfrom, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, flags, from, size));
    Recvfrom, __recvfrom_chk(fd: c_int, buffer: *mut c_void, len: usize, room: usize, flags: c_int, from: *mut sockaddr, size: *mut socklen_t) -> isize,
        real => transfer(Op::Recvfrom, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, room, flags, from, size));
    Recvmsg, recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> isize, real => {
        let n = message(Op::Recvmsg, fd, flags, || real(fd, header, flags));
        if n >= 0 && tracked(Op::Recvmsg) {
            forget_received(header);
        }
        n
    };
    Recvmmsg, recvmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int, time: *mut timespec) -> c_int, real => {
        let n = message(Op::Recvmmsg, fd, flags, || real(fd, list, count, flags, time) as isize) as c_int;
        if tracked(Op::Recvmmsg) {
            for index in 0..n.max(0) as usize {
                forget_received(&raw const (*list.add(index)).msg_hdr);
            }
        }
        n
    };
    Getaddrinfo, getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, result: *mut *mut addrinfo) -> c_int,
        real => looking_up(node, result, || real(node, service, hints, result));
}

// Calls that cost a microsecond, are no cancellation points, and exist in every libc: redhook declares them.

redhook::hook! {
    unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int => made_socket {
        // SAFETY: the program's own arguments.
        let real = || unsafe { redhook::real!(socket)(domain, kind, protocol) };
        if word(Op::Socket as usize) == 0 { real() } else { making(Op::Socket, real) }
    }
}

redhook::hook! {
    unsafe fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int => made_socketpair {
        // SAFETY: the program's own arguments.
        unsafe { pairing(Op::Socket, pair, || redhook::real!(socketpair)(domain, kind, protocol, pair)) }
    }
}

redhook::hook! {
    unsafe fn pipe(pair: *mut c_int) -> c_int => made_pipe {
        // SAFETY: the program's own argument.
        unsafe { pairing(Op::Pipe, pair, || redhook::real!(pipe)(pair)) }
    }
}

redhook::hook! {
    unsafe fn pipe2(pair: *mut c_int, flags: c_int) -> c_int => made_pipe2 {
        // SAFETY: the program's own arguments.
        unsafe { pairing(Op::Pipe, pair, || redhook::real!(pipe2)(pair, flags)) }
    }
}

redhook::hook! {
    unsafe fn listen(fd: c_int, backlog: c_int) -> c_int => made_listener {
        // SAFETY: the program's own arguments.
        listening(fd, || unsafe { redhook::real!(listen)(fd, backlog) })
    }
}

redhook::hook! {
    unsafe fn epoll_ctl(epoll: c_int, command: c_int, fd: c_int, event: *mut epoll_event) -> c_int => changed_watch {
        // SAFETY: the program's own arguments.
        unsafe { watching(command, fd, event, || redhook::real!(epoll_ctl)(epoll, command, fd, event)) }
    }
}

declared! { socket socketpair pipe pipe2 listen epoll_ctl }

/// A change of what an epoll watches.
///
/// # Safety
/// `event` must be NULL or an event.
pub(super) unsafe fn watching(
    command: c_int,
    fd: c_int,
    event: *const epoll_event,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let result = simple(Op::EpollCtl, Target::Nothing, real, minus_one);
    if result == 0 {
        // What comes with EPOLL_CTL_DEL is not looked at by the kernel: it may be anything.
        let is_read = command != libc::EPOLL_CTL_DEL;
        // SAFETY: the call has read it.
        let events = if is_read { unsafe { (&raw const (*event).events).read_unaligned() } } else { 0 };
        fds::watched(fd, events & (libc::EPOLLET | libc::EPOLLONESHOT) as u32 != 0);
    }
    result
}

/// A listen: a server is at work.
pub(super) fn listening(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if init::is_waiting() {
        init::sign();
    }
    let result = simple(Op::Listen, Target::Nothing, real, minus_one);
    if result == 0 && init::awaits_sign() {
        init::sign_of_listening(fd);
    }
    result
}

/// A call that makes two descriptors.
///
/// # Safety
/// `pair` must be what the call has filled when it succeeds.
pub(super) unsafe fn pairing(op: Op, pair: *mut c_int, real: impl FnOnce() -> c_int) -> c_int {
    if word(op as usize) == 0 {
        return real();
    }
    let result = simple(op, Target::Nothing, real, minus_one);
    if result == 0 && !pair.is_null() {
        // SAFETY: the call has succeeded and filled both.
        unsafe {
            fds::forget(*pair);
            fds::forget(*pair.add(1));
        }
    }
    result
}

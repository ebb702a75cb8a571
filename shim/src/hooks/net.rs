//! Sockets.

use super::data::{Memory, message, messages, transfer};
use super::file::making;
use super::{minus_one, simple, tracked, with_flags};
use crate::call::{self, First};
use crate::connects::{self, Failing};
use crate::effects::{self, Outcome};
use crate::real::{errno, hooks, word};
use crate::select::Target;
use crate::{fds, init};
use chaos_table::calls::Op;
use libc::{c_int, c_uint, c_void, mmsghdr, msghdr, sockaddr, socklen_t, timespec};

/// A connect; the descriptor has another peer afterwards.
pub(super) fn connecting(
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
    real: impl Fn(*const sockaddr, socklen_t) -> c_int,
) -> c_int {
    if init::is_waiting() {
        init::sign();
    }
    if connects::is_pending(fd) {
        return connects::go_on(fd, || real(address, len));
    }
    let target = Target::Peer(fd, address, len);
    let result = match call::judge(Op::Connect, target, 0) {
        None => real(address, len),
        Some(first) => connecting_hit(first, fd, address, len, real),
    };
    fds::changed(fd);
    result
}

#[cold]
#[inline(never)]
fn connecting_hit(
    first: First,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
    real: impl Fn(*const sockaddr, socklen_t) -> c_int,
) -> c_int {
    match call::deliver(first, Target::Peer(fd, address, len), 0, 0) {
        // An interrupted TCP connect goes on; here it has succeeded by the time that the caller is told.
        Outcome::Fail(libc::EINTR, ticket) if effects::is_tcp(fd) => match real(address, len) {
            0 => effects::fail(libc::EINTR, &ticket) as c_int,
            failed => failed,
        },
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket) as c_int,
        Outcome::FailConnect(code, ns, ticket) => match connects::fail(fd, (address, len), code, ns, real) {
            Failing::Begun => effects::fail(errno(), &ticket) as c_int,
            Failing::Over(code) => effects::fail(code, &ticket) as c_int,
            Failing::Other(result) => result,
        },

        _ => real(address, len),
    }
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

/// Waits for a datagram as a receiving call does, and leaves it there: not negative when there is one. `flags` may hold
/// MSG_DONTWAIT.
pub(super) fn await_datagram(fd: c_int, flags: c_int) -> isize {
    type Real = unsafe extern "C-unwind" fn(c_int, *mut c_void, usize, c_int) -> isize;
    // SAFETY: the slot holds libc's recv.
    let real: Real = unsafe { std::mem::transmute(recv::SLOT.target.load(std::sync::atomic::Ordering::Relaxed)) };
    let mut nothing = 0u8;
    // SAFETY: one byte may be written.
    unsafe { real(fd, (&raw mut nothing).cast(), 1, flags | libc::MSG_PEEK) }
}

/// An option of a socket; those of the sockets' own level are in every kernel.
pub(super) fn with_option(op: Op, fd: c_int, level: c_int, real: impl FnOnce() -> c_int) -> c_int {
    with_flags(op, Target::Fd(fd), c_int::from(level == libc::SOL_SOCKET), real, minus_one)
}

/// An option that is asked for. SO_ERROR tells how a connect went that was made to fail.
///
/// # Safety
/// The arguments of getsockopt.
pub(super) unsafe fn asking_option(
    fd: c_int,
    (level, name): (c_int, c_int),
    value: *mut c_void,
    size: *const socklen_t,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let result = with_option(Op::Getsockopt, fd, level, real);
    if result == 0 && level == libc::SOL_SOCKET && name == libc::SO_ERROR && connects::is_pending(fd) {
        // SAFETY: the call has filled both.
        unsafe {
            if *size as usize >= size_of::<c_int>() {
                let mut error = value.cast::<c_int>().read_unaligned();
                connects::tell(fd, &mut error);
                value.cast::<c_int>().write_unaligned(error);
            }
        }
    }
    result
}

hooks! {
    Connect, connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, real =>
        connecting(fd, address, len, |address, len| real(fd, address, len));
    Accept, accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, real =>
        accepting(fd, || real(fd, address, len));
    Accept, accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, real =>
        accepting(fd, || real(fd, address, len, flags));
    [ahead fd] Send, send(fd: c_int, buffer: *const c_void, len: usize, flags: c_int) -> isize, real =>
        transfer(Op::Send, fd, len, flags, Memory::From(buffer), |from, len| real(fd, from, len, flags));
    [ahead fd] Sendto, sendto(fd: c_int, buffer: *const c_void, len: usize, flags: c_int, to: *const sockaddr, size: socklen_t) -> isize,
        real => transfer(Op::Sendto, fd, len, flags, Memory::From(buffer), |from, len| real(fd, from, len, flags, to, size));
    Sendmsg, sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> isize, real =>
        message(Op::Sendmsg, fd, flags, header, |header| real(fd, header, flags));
    Sendmmsg, sendmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int, real =>
        messages(Op::Sendmmsg, fd, flags, (list, count), || real(fd, list, count, flags) as isize) as c_int;
    [ahead fd] Recv, recv(fd: c_int, buffer: *mut c_void, len: usize, flags: c_int) -> isize, real =>
        transfer(Op::Recv, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, flags));
    Recv, __recv_chk(fd: c_int, buffer: *mut c_void, len: usize, room: usize, flags: c_int) -> isize, real =>
        transfer(Op::Recv, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, room, flags));
    [ahead fd] Recvfrom, recvfrom(fd: c_int, buffer: *mut c_void, len: usize, flags: c_int, from: *mut sockaddr, size: *mut socklen_t) -> isize,
        real => transfer(Op::Recvfrom, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, flags, from, size));
    Recvfrom, __recvfrom_chk(fd: c_int, buffer: *mut c_void, len: usize, room: usize, flags: c_int, from: *mut sockaddr, size: *mut socklen_t) -> isize,
        real => transfer(Op::Recvfrom, fd, len, flags, Memory::Into(buffer), |to, len| real(fd, to, len, room, flags, from, size));
    Recvmsg, recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> isize, real => {
        let n = message(Op::Recvmsg, fd, flags, header, |header| real(fd, header.cast_mut(), flags));
        if n >= 0 && tracked(Op::Recvmsg) {
            forget_received(header);
        }
        n
    };
    Recvmmsg, recvmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int, time: *mut timespec) -> c_int, real => {
        let n = messages(Op::Recvmmsg, fd, flags, (list, count), || real(fd, list, count, flags, time) as isize) as c_int;
        if tracked(Op::Recvmmsg) {
            for index in 0..n.max(0) as usize {
                forget_received(&raw const (*list.add(index)).msg_hdr);
            }
        }
        n
    };
    Bind, bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, real =>
        simple(Op::Bind, Target::Peer(fd, address, len), || real(fd, address, len), minus_one);
    Shutdown, shutdown(fd: c_int, how: c_int) -> c_int, real =>
        simple(Op::Shutdown, Target::Fd(fd), || real(fd, how), minus_one);
    Socket, socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int, real => making(Op::Socket, || real(domain, kind, protocol));
    Socket, socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int, real =>
        pairing(Op::Socket, pair, || real(domain, kind, protocol, pair));
    [always] Listen, listen(fd: c_int, backlog: c_int) -> c_int, real => listening(fd, || real(fd, backlog));
    Pipe, pipe(pair: *mut c_int) -> c_int, real => pairing(Op::Pipe, pair, || real(pair));
    Pipe, pipe2(pair: *mut c_int, flags: c_int) -> c_int, real => pairing(Op::Pipe, pair, || real(pair, flags));
    Setsockopt, setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, size: socklen_t) -> c_int, real =>
        with_option(Op::Setsockopt, fd, level, || real(fd, level, name, value, size));
    Getsockopt, getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, size: *mut socklen_t) -> c_int, real =>
        asking_option(fd, (level, name), value, size, || real(fd, level, name, value, size));
    Getsockname, getsockname(fd: c_int, address: *mut sockaddr, size: *mut socklen_t) -> c_int, real =>
        simple(Op::Getsockname, Target::Fd(fd), || real(fd, address, size), minus_one);
    Getpeername, getpeername(fd: c_int, address: *mut sockaddr, size: *mut socklen_t) -> c_int, real =>
        simple(Op::Getpeername, Target::Fd(fd), || real(fd, address, size), minus_one);
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

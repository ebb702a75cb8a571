//! TCP connects that fail as the kernel fails them: not by the return value alone, but later, by readiness and SO_ERROR.
//!
//! The socket is really connected, to where it surely fails: port 0 of this machine, which answers every SYN with a RST,
//! so the kernel says ECONNREFUSED. With a filter that lets nothing in, the answer is lost, and the kernel gives up by
//! its own timers with ETIMEDOUT. Readiness, EALREADY and EINTR are then the kernel's; only where another errno is
//! wanted is what SO_ERROR or a repeated connect says replaced. No packet leaves the machine.

use crate::real::{errno, set_errno};
use crate::sys;
use libc::{c_int, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors above fail at once.
const REMEMBERED: usize = 4096;
/// The kernel gives up no sooner, in ns: its first SYN has a second to be answered.
pub const SHORTEST: u64 = 1_000_000_000;
const SO_ATTACH_FILTER: i32 = 26;
const SO_DETACH_FILTER: i32 = 27;
/// Bits of a pending word. The errno to tell stands in the lowest 16, the socket's own TCP_USER_TIMEOUT in the upper 32.
const PENDING: u64 = 1 << 16;
const FILTERED: u64 = 1 << 17;

/// Connects that were made to fail and whose socket has not been told so, or not been connected again.
static PENDINGS: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];

fn of(fd: i32) -> Option<&'static AtomicU64> {
    usize::try_from(fd).ok().and_then(|fd| PENDINGS.get(fd))
}

/// Whether a connect of this socket was made to fail, so that the next connect asks for its outcome.
pub fn is_pending(fd: i32) -> bool {
    of(fd).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
}

/// The descriptor was closed, or is another thing now.
#[inline]
pub fn forget(fd: i32) {
    if let Some(word) = of(fd)
        && word.load(Ordering::Relaxed) != 0
    {
        word.store(0, Ordering::Relaxed);
    }
}

/// What the program is told for an error of the kernel's.
fn shown(word: u64, error: i32) -> i32 {
    match error {
        libc::ECONNREFUSED | libc::ETIMEDOUT => (word & 0xffff) as i32,
        other => other,
    }
}

/// SO_ERROR was asked for: puts the error that was meant in the place of the kernel's.
pub fn tell(fd: i32, value: &mut c_int) {
    if let Some(word) = of(fd).map(|word| word.load(Ordering::Relaxed)).filter(|word| *word != 0) {
        *value = shown(word, *value);
    }
}

/// Connect was called once more on a socket that was made to fail: it asks how that went.
pub fn go_on(fd: i32, real: impl FnOnce() -> c_int) -> c_int {
    let Some(slot) = of(fd) else { return real() };
    let word = slot.load(Ordering::Relaxed);
    let result = real();
    match errno() {
        libc::EALREADY | libc::EINPROGRESS | libc::EINTR if result < 0 => result,
        error => {
            settle(fd, word);
            if result < 0 {
                set_errno(shown(word, error));
            }
            result
        }
    }
}

/// The attempt is over; the socket can be connected again, and is as it was.
fn settle(fd: i32, word: u64) {
    forget(fd);
    if word & FILTERED != 0 {
        sys::set_option(fd, libc::SOL_SOCKET, SO_DETACH_FILTER, &0i32);
        sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &((word >> 32) as u32));
    }
}

/// How a connect that is to fail went.
pub enum Failing {
    /// The program sees what the kernel says (-1 and its errno): the connect is under way, or was interrupted.
    Begun,
    /// It is over: the errno that the program sees.
    Over(i32),
    /// The socket had something else to say, by the result and errno of the call; nothing was injected.
    Other(c_int),
}

/// Makes a connect that fails with `code`, after `ns` by the kernel's timers (0: at once). `real` is the connect itself.
pub fn fail(
    fd: i32,
    address: (*const sockaddr, socklen_t),
    code: i32,
    ns: u64,
    real: impl Fn(*const sockaddr, socklen_t) -> c_int,
) -> Failing {
    let Some(slot) = of(fd) else { return Failing::Over(code) };
    // Bound to a device, what is for this machine could leave it.
    if sys::is_bound_to_device(fd) {
        return Failing::Over(code);
    }
    let mut word = PENDING | u64::from(code as u16);
    if ns >= SHORTEST {
        match filter(fd, ns) {
            Some(timeout) => word |= FILTERED | u64::from(timeout) << 32,
            None => crate::effects::wait_for(ns),
        }
    }
    slot.store(word, Ordering::Relaxed);
    let mut result = nowhere(fd, address, &real);
    if result < 0 && matches!(errno(), libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH) {
        // Without IPv6 on this machine, by IPv4.
        result = connect_v4_mapped(&real);
    }
    match errno() {
        libc::EINPROGRESS | libc::EINTR if result < 0 => Failing::Begun,
        libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ECONNREFUSED | libc::ETIMEDOUT
            if result < 0 =>
        {
            settle(fd, word);
            Failing::Over(code)
        }
        error => {
            settle(fd, word);
            set_errno(error);
            Failing::Other(result)
        }
    }
}

/// Lets nothing in and sets when the kernel gives up; the TCP_USER_TIMEOUT that the socket had, in ms.
fn filter(fd: i32, ns: u64) -> Option<u32> {
    let mut drop_all = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut drop_all };
    let before = sys::option_at(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT)?;
    // A filter of the program's own has to stay.
    if sys::filter_length(fd) != Some(0) || !sys::set_option(fd, libc::SOL_SOCKET, SO_ATTACH_FILTER, &program) {
        return None;
    }
    let patience = i32::try_from(ns / 1_000_000).unwrap_or(i32::MAX);
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &patience);
    Some(before as u32)
}

const LOOPBACK: u32 = u32::from_be_bytes([127, 0, 0, 1]).to_be();

/// Connects to port 0 of this machine, in the family that the program named.
fn nowhere(
    fd: i32,
    (address, len): (*const sockaddr, socklen_t),
    real: &impl Fn(*const sockaddr, socklen_t) -> c_int,
) -> c_int {
    if sys::socket_option(fd, libc::SO_DOMAIN) == Some(libc::AF_INET) {
        let v4 = sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: LOOPBACK },
            sin_zero: [0; 8],
        };
        return real((&raw const v4).cast(), size_of::<sockaddr_in>() as u32);
    }
    let mut buffer = crate::fds::PeerBuffer::new();
    // SAFETY: the program's own arguments of connect.
    let peer = unsafe { buffer.given(address, len) };
    if matches!(peer, chaos_table::decide::Peer::V4(..)) {
        return connect_v4_mapped(real);
    }
    connect_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], real)
}

fn connect_v4_mapped(real: &impl Fn(*const sockaddr, socklen_t) -> c_int) -> c_int {
    connect_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], real)
}

fn connect_v6(s6_addr: [u8; 16], real: &impl Fn(*const sockaddr, socklen_t) -> c_int) -> c_int {
    let v6 = sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr },
        sin6_scope_id: 0,
    };
    real((&raw const v6).cast(), size_of::<sockaddr_in6>() as u32)
}

//! Connections that are made to fail: at once, later by readiness and SO_ERROR as the kernel fails them, or for good.
//!
//! A TCP connect that nobody waits for is really made, to where it surely fails: port 0 of this machine, which answers
//! every SYN with a RST. Readiness is then the kernel's; only where another errno is wanted is what SO_ERROR says replaced.

use super::kernel;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// Connects that were made to fail and whose socket has not been told so: the errno, by process and descriptor.
#[derive(Debug, Default)]
pub struct Pending(Mutex<HashMap<(u32, i32), i32>>);

impl Pending {
    /// Makes a connect that fails with `errno`: what its call returns now. `None` when the socket had something else to
    /// say, so that nothing was injected.
    pub fn fail(&self, whose: (u32, i32), socket: &OwnedFd, errno: i32) -> Option<i32> {
        let address = nowhere(socket)?;
        match kernel::connect(socket, &address).err()?.raw_os_error()? {
            libc::EINPROGRESS => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(whose, errno);
                Some(libc::EINPROGRESS)
            }
            libc::ECONNREFUSED | libc::EADDRNOTAVAIL | libc::ENETUNREACH => Some(errno),
            _ => None,
        }
    }

    /// What SO_ERROR of a socket shall say in the place of the kernel's answer; forgets it.
    pub fn tell(&self, whose: (u32, i32), kernels: i32) -> Option<i32> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let errno = *pending.get(&whose)?;
        if kernels == 0 {
            return None;
        }
        pending.remove(&whose);
        Some(errno)
    }

    /// Whether this connect waits to be told.
    #[must_use]
    pub fn has(&self, whose: (u32, i32)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&whose)
    }

    /// Whether any connect waits to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Port 0 of this machine, in the socket's family.
fn nowhere(socket: &OwnedFd) -> Option<Vec<u8>> {
    let family = kernel::option_at(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    let mut address = (family as u16).to_ne_bytes().to_vec();
    match family {
        libc::AF_INET => address.extend([0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        libc::AF_INET6 => {
            address.extend([0; 2 + 4 + 15]);
            address.extend([1, 0, 0, 0, 0]);
        }
        _ => return None,
    }
    Some(address)
}

/// Resets a TCP connection: the peer gets a RST, and the error is left for the next call on this side to find. Anything
/// else is [`cut`].
pub fn reset(socket: &OwnedFd) {
    let nobody = [(libc::AF_UNSPEC as u16).to_ne_bytes().as_slice(), &[0; 14]].concat();
    let is_tcp = kernel::option_at(socket, libc::IPPROTO_TCP, libc::TCP_INFO).is_some();
    if is_tcp && kernel::connect(socket, &nobody).is_ok() {
        // As the kernel does on a RST that comes from the peer; it says ENOTCONN, and shuts down all the same.
        kernel::shut_down(socket);
    } else {
        cut(socket);
    }
}

/// Ends a connection for both sides; what had arrived and was not read is lost, as with a reset.
pub fn cut(socket: &OwnedFd) {
    kernel::shut_down(socket);
    // Nothing new can arrive, so this ends.
    while kernel::take(socket, &mut [0; 512], kernel::Through::Socket(0, &[])).is_ok_and(|(n, _)| n > 0) {}
}

/// How many bytes have moved over a TCP connection: what its program has read and written. `None` for another socket.
#[must_use]
pub fn moved(socket: &OwnedFd) -> Option<u64> {
    // Offsets of `struct tcp_info` in words: tcpi_bytes_acked at 120, tcpi_bytes_received at 128.
    const BYTES_ACKED: usize = 120 / 8;
    const BYTES_RECEIVED: usize = 128 / 8;
    let info = kernel::tcp_info(socket)?;
    let unread = kernel::queued(socket, libc::FIONREAD);
    let unsent = kernel::queued(socket, libc::TIOCOUTQ);
    // The SYN counts as an acknowledged byte.
    let acked = info[BYTES_ACKED].saturating_sub(1);
    Some(info[BYTES_RECEIVED].saturating_sub(unread) + acked + unsent)
}

//! Moving data: what read, write, send, recv and their kin have in common.

use crate::call::{self, Quick};
use crate::effects::{self, Outcome};
use crate::real::{errno, set_errno};
use crate::select::Target;
use crate::{edges, moved, session, sys};
use chaos_table::calls::Op;
use std::ffi::c_void;

/// The program's memory that the data goes to or comes from.
#[derive(Clone, Copy)]
pub enum Memory {
    /// One buffer that is filled.
    Into(*mut c_void),
    /// One buffer that is sent.
    From(*const c_void),
}

/// A transfer of `len` bytes in one buffer. `real` makes the call with a buffer and a length.
#[inline(always)]
pub fn transfer(
    op: Op,
    fd: i32,
    len: usize,
    flags: i32,
    memory: Memory,
    real: impl Fn(*mut c_void, usize) -> isize,
) -> isize {
    match call::quick(op, Target::Fd(fd)) {
        Quick::Pass => real(memory.pointer(), len),
        quick => transfer_hit(quick, op, fd, len, flags, memory, real),
    }
}

impl Memory {
    const fn pointer(self) -> *mut c_void {
        match self {
            Memory::Into(pointer) => pointer,
            Memory::From(pointer) => pointer.cast_mut(),
        }
    }
}

#[cold]
#[inline(never)]
fn transfer_hit(
    quick: Quick,
    op: Op,
    fd: i32,
    len: usize,
    flags: i32,
    memory: Memory,
    real: impl Fn(*mut c_void, usize) -> isize,
) -> isize {
    let pointer = memory.pointer();
    let meter = Meter::of(op, fd, || len, flags);
    let len = len.min(meter.allowed);
    let real = |at, len| meter.count(real(at, len));
    let Some(first) = quick.resolve(op, Target::Fd(fd), len as u64) else { return real(pointer, len) };
    match call::deliver(first, Target::Fd(fd), len as u64, flags) {
        Outcome::Go => real(pointer, len),
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        Outcome::Short(ppm, ticket) => {
            let wanted = effects::shortened(len, ppm);
            told_if_whole(fd, real(pointer, wanted), wanted, &ticket)
        }
        Outcome::Cut(part, ends, ticket) => {
            let n = real(pointer, part.min(len));
            effects::cut(fd, ends);
            told(n, &ticket)
        }
        Outcome::Throttle(bandwidth, ticket) => {
            let most = effects::throttled_part(fd, flags, bandwidth, len);
            throttled(op, fd, real(pointer, most), bandwidth, most < len, &ticket)
        }
        Outcome::FailConnect(..) => real(pointer, len),
        Outcome::Corrupt(bits, per, draw, ticket) => match memory {
            Memory::Into(_) => {
                let n = real(pointer, len);
                let filled = usize::try_from(n).unwrap_or(0).min(len);
                // SAFETY: the real call has filled so many bytes of the program's buffer.
                effects::flip(filled, bits, per, draw, |at| Some(unsafe { pointer.cast::<u8>().add(at) }));
                told_if_any(n, &ticket)
            }
            Memory::From(source) => {
                let Some(copy) = sys::mmap(len.max(1), -1) else { return real(pointer, len) };
                // SAFETY: the program's buffer has `len` bytes, the copy as many; it is unmapped once written.
                let n = unsafe {
                    std::ptr::copy_nonoverlapping(source.cast::<u8>(), copy, len);
                    effects::flip(len, bits, per, draw, |at| Some(copy.add(at)));
                    let n = real(copy.cast(), len);
                    sys::munmap(copy, len.max(1));
                    n
                };
                told_if_any(n, &ticket)
            }
        },
    }
}

/// As [`told`], for a shortened request: one that would have got no more anyway was not hit.
pub(super) fn told_if_whole(fd: i32, result: isize, wanted: usize, ticket: &crate::log::Ticket) -> isize {
    if result == wanted as isize {
        edges::rearm(fd);
        told(result, ticket)
    } else {
        result
    }
}

/// Waits for what was moved, and tells; where nothing was moved, nothing was hit.
fn throttled(op: Op, fd: i32, moved: isize, bandwidth: u64, is_part: bool, ticket: &crate::log::Ticket) -> isize {
    let Some(bytes) = u64::try_from(moved).ok().filter(|bytes| *bytes != 0) else { return moved };
    let saved = errno();
    effects::throttled(session::armed(), op, ticket, bandwidth, bytes);
    if is_part {
        edges::rearm(fd);
    }
    set_errno(saved);
    told(moved, ticket)
}

/// Counts what moves over a connection, for rules that cut it after some bytes.
pub(super) struct Meter {
    fd: i32,
    is_counting: bool,
    /// How much of the request may move now.
    pub allowed: usize,
    is_part: bool,
}

impl Meter {
    pub fn of(op: Op, fd: i32, len: impl FnOnce() -> usize, flags: i32) -> Meter {
        let session = session::armed();
        if flags & libc::MSG_PEEK != 0 || !moved::is_counted(session, op) {
            return Meter { fd, is_counting: false, allowed: usize::MAX, is_part: false };
        }
        let len = len();
        let allowed = moved::allowed(session, op, fd, len, flags);
        Meter { fd, is_counting: true, allowed, is_part: allowed < len }
    }

    pub fn count(&self, result: isize) -> isize {
        if self.is_counting {
            moved::add(self.fd, result);
        }
        if self.is_part {
            edges::rearm(self.fd);
        }
        result
    }
}

/// As [`told`], for data that was changed: where there was none, nothing was hit.
pub(super) fn told_if_any(result: isize, ticket: &crate::log::Ticket) -> isize {
    if result > 0 { told(result, ticket) } else { result }
}

/// Tells what the caller gets, with errno as the real call left it.
pub(super) fn told(result: isize, ticket: &crate::log::Ticket) -> isize {
    let saved = errno();
    effects::tell(ticket, result as i64);
    set_errno(saved);
    result
}

/// The program's list of buffers.
#[derive(Clone, Copy)]
pub struct Vector {
    /// The list.
    pub list: *const libc::iovec,
    /// How many.
    pub count: i32,
    /// Data comes from it (a write), or goes into it.
    pub is_source: bool,
}

impl Vector {
    fn iter(self) -> impl Iterator<Item = libc::iovec> {
        let count = self.count.clamp(0, 1024);
        let count =
            if sys::is_readable(self.list.cast(), count as usize * size_of::<libc::iovec>()) { count } else { 0 };
        // SAFETY: the program's own list of `count` buffers, which can be read.
        (0..count).map(move |index| unsafe { *self.list.add(index as usize) })
    }

    fn total(self) -> usize {
        self.iter().fold(0usize, |sum, part| sum.saturating_add(part.iov_len))
    }

    /// Makes the call for the first bytes, and says for how many: at most so many, and some.
    fn first(self, wanted: usize, real: impl Fn(*const libc::iovec, i32) -> isize) -> (isize, usize) {
        let (mut whole, mut kept) = (0, 0usize);
        for part in self.iter() {
            if kept.saturating_add(part.iov_len) > wanted {
                break;
            }
            (whole, kept) = (whole + 1, kept + part.iov_len);
        }
        // Whole buffers, or a part of the first that is not empty: nothing of the program's list has to be copied.
        match self.iter().nth(whole as usize) {
            Some(part) if kept == 0 => (real(&libc::iovec { iov_len: wanted, ..part }, 1), wanted),
            _ => (real(self.list, whole), kept),
        }
    }

    /// The address of a byte of the whole.
    fn byte(self, mut at: usize) -> Option<*mut u8> {
        for part in self.iter() {
            if at < part.iov_len {
                // SAFETY: inside the program's buffer.
                return Some(unsafe { part.iov_base.cast::<u8>().add(at) });
            }
            at -= part.iov_len;
        }
        None
    }
}

/// A transfer in several buffers. `real` makes the call with a list and its length.
#[inline(always)]
pub fn transfer_vector(op: Op, fd: i32, vector: Vector, real: impl Fn(*const libc::iovec, i32) -> isize) -> isize {
    match call::quick(op, Target::Fd(fd)) {
        Quick::Pass => real(vector.list, vector.count),
        quick => vector_hit(quick, op, fd, vector, real),
    }
}

#[cold]
#[inline(never)]
fn vector_hit(quick: Quick, op: Op, fd: i32, vector: Vector, real: impl Fn(*const libc::iovec, i32) -> isize) -> isize {
    let meter = Meter::of(op, fd, || vector.total(), 0);
    let real = |list, count| meter.count(real(list, count));
    let whole = || if meter.is_part { vector.first(meter.allowed, real).0 } else { real(vector.list, vector.count) };
    let Some(first) = quick.resolve(op, Target::Fd(fd), 0) else { return whole() };
    let total = vector.total().min(meter.allowed);
    match call::deliver(first, Target::Fd(fd), total as u64, 0) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        Outcome::Short(ppm, ticket) => {
            let (n, wanted) = vector.first(effects::shortened(total, ppm), real);
            told_if_whole(fd, n, wanted, &ticket)
        }
        Outcome::Cut(part, ends, ticket) => {
            let (n, _) = vector.first(part, real);
            effects::cut(fd, ends);
            told(n, &ticket)
        }
        Outcome::Throttle(bandwidth, ticket) => {
            let most = effects::throttled_part(fd, 0, bandwidth, total);
            let n = if most < total { vector.first(most, real).0 } else { whole() };
            throttled(op, fd, n, bandwidth, most < total, &ticket)
        }
        Outcome::Corrupt(bits, per, draw, ticket) if !vector.is_source => {
            let n = real(vector.list, vector.count);
            let filled = usize::try_from(n).unwrap_or(0).min(total);
            effects::flip(filled, bits, per, draw, |at| vector.byte(at));
            told_if_any(n, &ticket)
        }
        Outcome::Corrupt(bits, per, draw, ticket) => {
            let Some(copy) = sys::mmap(total.max(1), -1) else { return real(vector.list, vector.count) };
            let mut at = copy;
            // SAFETY: the copy has room for all buffers; it is unmapped once written.
            let n = unsafe {
                for part in vector.iter() {
                    std::ptr::copy_nonoverlapping(part.iov_base.cast::<u8>(), at, part.iov_len);
                    at = at.add(part.iov_len);
                }
                effects::flip(total, bits, per, draw, |at| Some(copy.add(at)));
                let n = real(&libc::iovec { iov_base: copy.cast(), iov_len: total }, 1);
                sys::munmap(copy, total.max(1));
                n
            };
            told_if_any(n, &ticket)
        }
        _ => whole(),
    }
}

/// A transfer of messages, which is not cut or changed.
#[inline(always)]
pub fn message(op: Op, fd: i32, flags: i32, real: impl FnOnce() -> isize) -> isize {
    let is_counting = matches!(op, Op::Sendmsg | Op::Recvmsg) && moved::is_counted(session::armed(), op);
    let real = || {
        let n = real();
        if is_counting { moved::add(fd, n) } else { n }
    };
    let Some(first) = call::judge(op, Target::Fd(fd), 0) else { return real() };
    match call::deliver(first, Target::Fd(fd), 0, flags) {
        Outcome::Throttle(bandwidth, ticket) => throttled(op, fd, real(), bandwidth, false, &ticket),
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        _ => real(),
    }
}

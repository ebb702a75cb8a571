//! Moving data: what read, write, send, recv and their kin have in common.

use crate::call::{self, Quick};
use crate::effects::{self, Outcome};
use crate::real::{errno, set_errno};
use crate::select::Target;
use crate::sys;
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
            told_if_whole(real(pointer, wanted), wanted, &ticket)
        }
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
pub(super) fn told_if_whole(result: isize, wanted: usize, ticket: &crate::log::Ticket) -> isize {
    if result == wanted as isize { told(result, ticket) } else { result }
}

/// As [`told`], for data that was changed: where there was none, nothing was hit.
pub(super) fn told_if_any(result: isize, ticket: &crate::log::Ticket) -> isize {
    if result > 0 { told(result, ticket) } else { result }
}

/// Tells what the caller gets, with errno as the real call left it.
fn told(result: isize, ticket: &crate::log::Ticket) -> isize {
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
    let Some(first) = quick.resolve(op, Target::Fd(fd), 0) else { return real(vector.list, vector.count) };
    let total = vector.total();
    match call::deliver(first, Target::Fd(fd), total as u64, 0) {
        Outcome::Go => real(vector.list, vector.count),
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        Outcome::Short(ppm, ticket) => {
            let wanted = effects::shortened(total, ppm);
            let (mut whole, mut kept) = (0, 0usize);
            for part in vector.iter() {
                if kept.saturating_add(part.iov_len) > wanted {
                    break;
                }
                (whole, kept) = (whole + 1, kept + part.iov_len);
            }
            // Whole buffers, or a part of the first that is not empty: nothing of the program's list has to be copied.
            match vector.iter().nth(whole as usize) {
                Some(part) if kept == 0 => {
                    told_if_whole(real(&libc::iovec { iov_len: wanted, ..part }, 1), wanted, &ticket)
                }
                _ => told_if_whole(real(vector.list, whole), kept, &ticket),
            }
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
    }
}

/// A transfer of messages, which is not cut or changed.
#[inline(always)]
pub fn message(op: Op, fd: i32, flags: i32, real: impl FnOnce() -> isize) -> isize {
    let Some(first) = call::judge(op, Target::Fd(fd), 0) else { return real() };
    match call::deliver(first, Target::Fd(fd), 0, flags) {
        Outcome::Go | Outcome::Short(..) | Outcome::Corrupt(..) => real(),
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
    }
}

//! The allocator.

use super::tracked;
use crate::call::{self, First, Quick};
use crate::effects::{self, Outcome};
use crate::real::{hooks, set_errno};
use crate::select::Target;
use crate::session::attached;
use crate::{memory, sys, tree};
use chaos_table::calls::{Failure, Op};
use libc::off_t;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;

/// Whether this allocation fails, and with what.
#[cold]
#[inline(never)]
fn refused(first: First, size: usize) -> Option<i32> {
    let result = if first.op().row().fails == Failure::Errno { -1 } else { 0 };
    match call::deliver(first, Target::Memory, size as u64, 0) {
        Outcome::Fail(errno, ticket) => {
            effects::tell(&ticket, result);
            Some(errno)
        }
        Outcome::Return(value, errno, ticket) => {
            effects::tell(&ticket, value.into());
            Some(if errno != 0 { errno } else { value })
        }

        _ => None,
    }
}

/// An allocation that tells its failure by NULL. What passes is one jump; the rest is elsewhere.
#[inline(always)]
fn allocating(op: Op, size: usize, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    match call::quick(op, Target::Memory) {
        Quick::Pass => real(),
        quick => allocating_hit(quick, op, size, real),
    }
}

#[cold]
#[inline(never)]
fn allocating_hit(quick: Quick, op: Op, size: usize, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let first = quick.resolve(op, Target::Memory, size as u64);
    if let Some(errno) = first.and_then(|first| refused(first, size)) {
        set_errno(errno);
        return std::ptr::null_mut();
    }
    let memory = real();
    if tracked(op) {
        account(usable(memory) as i64);
    }
    memory
}

fn usable(memory: *mut c_void) -> usize {
    // SAFETY: a block of the allocator, or NULL, for which it is 0.
    unsafe { libc::malloc_usable_size(memory) }
}

/// Adds to the bytes that this process holds, for `exhaust`.
fn account(change: i64) {
    let slot = tree::here().slot();
    if let Some(session) = attached()
        && change != 0
        && !slot.is_null()
    {
        session.live_bytes(slot).fetch_add(change, Ordering::Relaxed);
    }
}

/// A reallocation; the old block stays when it fails.
#[inline(always)]
fn resizing(memory: *mut c_void, size: usize, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    match call::quick(Op::Realloc, Target::Memory) {
        Quick::Pass => real(),
        quick => resizing_hit(quick, memory, size, real),
    }
}

#[cold]
#[inline(never)]
fn resizing_hit(quick: Quick, memory: *mut c_void, size: usize, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let first = quick.resolve(Op::Realloc, Target::Memory, size as u64);
    if let Some(errno) = first.and_then(|first| refused(first, size)) {
        // realloc(p, 0) frees; it cannot fail.
        if size != 0 {
            set_errno(errno);
            return std::ptr::null_mut();
        }
    }
    if !tracked(Op::Realloc) {
        return real();
    }
    let before = usable(memory) as i64;
    let moved = real();
    if !moved.is_null() {
        account(usable(moved) as i64 - before);
    } else if size == 0 {
        account(-before);
    }
    moved
}

/// A call that changes mappings. `growth` is what it adds to the private writable memory of the process.
#[inline(always)]
pub(super) fn mapping(op: Op, len: usize, growth: usize, real: impl FnOnce() -> isize) -> isize {
    match call::quick(op, Target::Memory) {
        Quick::Pass => real(),
        quick => mapping_hit(quick, op, len, growth, real),
    }
}

#[cold]
#[inline(never)]
fn mapping_hit(quick: Quick, op: Op, len: usize, growth: usize, real: impl FnOnce() -> isize) -> isize {
    let refusal = || quick.resolve(op, Target::Memory, len as u64).and_then(|first| refused(first, len));
    match memory::during(growth, refusal) {
        None => real(),
        Some(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// What a mapping adds to the private writable memory.
pub(super) const fn mapped(len: usize, protection: c_int, flags: c_int) -> usize {
    let is_data = protection & libc::PROT_WRITE != 0 && flags & libc::MAP_PRIVATE != 0;
    if is_data { len } else { 0 }
}

/// What a change of protection may add.
pub(super) const fn made_writable(len: usize, protection: c_int) -> usize {
    if protection & libc::PROT_WRITE != 0 { len } else { 0 }
}

/// The break that a program sets in place of the one that is.
fn above_break(address: *mut c_void) -> usize {
    (address as usize).saturating_sub(sys::program_break())
}

/// A copy of a string.
fn copying(text: *const c_char, most: usize, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    match call::quick(Op::Strdup, Target::Memory) {
        Quick::Pass => real(),
        quick => {
            // SAFETY: the program's own argument, which the call reads as well.
            let size = unsafe { libc::strnlen(text, most) } + 1;
            let first = quick.resolve(Op::Strdup, Target::Memory, size as u64);
            match first.and_then(|first| refused(first, size)) {
                None => real(),
                Some(errno) => {
                    set_errno(errno);
                    std::ptr::null_mut()
                }
            }
        }
    }
}

hooks! {
    // libc's inner malloc is libc's own, so it is spared: the copy itself fails.
    Strdup, strdup(text: *const c_char) -> *mut c_void, real => copying(text, usize::MAX, || real(text));
    Strdup, __strdup or strdup(text: *const c_char) -> *mut c_void, real => copying(text, usize::MAX, || real(text));
    Strdup, strndup(text: *const c_char, most: usize) -> *mut c_void, real => copying(text, most, || real(text, most));
    Strdup, __strndup or strndup(text: *const c_char, most: usize) -> *mut c_void, real =>
        copying(text, most, || real(text, most));
    Mmap, mmap(at: *mut c_void, len: usize, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> isize, real =>
        mapping(Op::Mmap, len, mapped(len, protection, flags), || real(at, len, protection, flags, fd, offset));
    Mmap, mmap64 or mmap(at: *mut c_void, len: usize, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> isize,
        real => mapping(Op::Mmap, len, mapped(len, protection, flags), || real(at, len, protection, flags, fd, offset));
    // The fifth argument is always passed on, asked for or not.
    Mremap, mremap(at: *mut c_void, old: usize, new: usize, flags: c_int, to: *mut c_void) -> isize, real =>
        mapping(Op::Mremap, new, new.saturating_sub(old), || real(at, old, new, flags, to));
    Mprotect, mprotect(at: *mut c_void, len: usize, protection: c_int) -> c_int, real =>
        mapping(Op::Mprotect, len, made_writable(len, protection), || real(at, len, protection) as isize) as c_int;
    Brk, brk(address: *mut c_void) -> c_int, real =>
        mapping(Op::Brk, 0, above_break(address), || real(address) as isize) as c_int;
    Brk, sbrk(more: isize) -> isize, real => {
        let growth = usize::try_from(more).unwrap_or(0);
        mapping(Op::Brk, growth, growth, || real(more))
    };
    Munmap, munmap(at: *mut c_void, len: usize) -> c_int, real =>
        mapping(Op::Munmap, len, 0, || real(at, len) as isize) as c_int;
    Madvise, madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int, real =>
        mapping(Op::Madvise, len, 0, || real(at, len, advice) as isize) as c_int;
    Mlock, mlock(at: *const c_void, len: usize) -> c_int, real =>
        mapping(Op::Mlock, len, 0, || real(at, len) as isize) as c_int;
    Mlock, mlock2(at: *const c_void, len: usize, flags: c_int) -> c_int, real =>
        mapping(Op::Mlock, len, 0, || real(at, len, flags) as isize) as c_int;
    Mlock, mlockall(flags: c_int) -> c_int, real => mapping(Op::Mlock, 0, 0, || real(flags) as isize) as c_int;
    [ahead memory] Malloc, malloc(size: usize) -> *mut c_void, real =>
        allocating(Op::Malloc, size, || real(size));
    [ahead memory] Calloc, calloc(count: usize, size: usize) -> *mut c_void, real =>
        allocating(Op::Calloc, count.saturating_mul(size), || real(count, size));
    [ahead memory] Realloc, realloc(memory: *mut c_void, size: usize) -> *mut c_void, real =>
        resizing(memory, size, || real(memory, size));
    [ahead memory] Realloc, reallocarray(memory: *mut c_void, count: usize, size: usize) -> *mut c_void, real =>
        resizing(memory, count.saturating_mul(size), || real(memory, count, size));
    Memalign, memalign(alignment: usize, size: usize) -> *mut c_void, real =>
        allocating(Op::Memalign, size, || real(alignment, size));
    Memalign, aligned_alloc or memalign(alignment: usize, size: usize) -> *mut c_void, real =>
        allocating(Op::Memalign, size, || real(alignment, size));
    Memalign, valloc(size: usize) -> *mut c_void, real =>
        allocating(Op::Memalign, size, || real(size));
    Memalign, pvalloc(size: usize) -> *mut c_void, real =>
        allocating(Op::Memalign, size, || real(size));
    PosixMemalign, posix_memalign(place: *mut *mut c_void, alignment: usize, size: usize) -> c_int, real => {
        let first = call::judge(Op::PosixMemalign, Target::Memory, size as u64);
        if let Some(code) = first.and_then(|first| refused(first, size)) {
            return code;
        }
        let code = real(place, alignment, size);
        if code == 0 && tracked(Op::PosixMemalign) {
            account(usable(*place) as i64);
        }
        code
    };
    Free, free(memory: *mut c_void) -> (), real => {
        account(-(usable(memory) as i64));
        real(memory);
    };
}

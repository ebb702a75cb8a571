//! The allocator.

use super::tracked;
use crate::call::{self, First, Quick};
use crate::effects::{self, Outcome};
use crate::real::{hooks, set_errno};
use crate::select::Target;
use crate::session::attached;
use crate::tree;
use chaos_table::calls::Op;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;

/// Whether this allocation fails, and with what.
#[cold]
#[inline(never)]
fn refused(first: First, size: usize) -> Option<i32> {
    match call::deliver(first, Target::Memory, size as u64, 0) {
        Outcome::Fail(errno, ticket) => {
            effects::tell(&ticket, 0);
            Some(errno)
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
    let slot = tree::me().slot;
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

hooks! {
    Malloc, malloc(size: usize) -> *mut c_void, real =>
        allocating(Op::Malloc, size, || real(size));
    Calloc, calloc(count: usize, size: usize) -> *mut c_void, real =>
        allocating(Op::Calloc, count.saturating_mul(size), || real(count, size));
    Realloc, realloc(memory: *mut c_void, size: usize) -> *mut c_void, real =>
        resizing(memory, size, || real(memory, size));
    Realloc, reallocarray(memory: *mut c_void, count: usize, size: usize) -> *mut c_void, real =>
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

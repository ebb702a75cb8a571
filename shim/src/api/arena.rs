//! Memory for what a program asks of us itself: reading a spec takes some, and the heap is the program's.
//!
//! A thread that is about to read one gets a fresh mapping, from which all is taken until it is done, and nothing given
//! back: then the whole goes. Without one the allocator is libc's, as it is while the process starts.

use crate::{guard, sys};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Only pages that are touched cost anything.
const ROOM: usize = 4 << 20;

/// A mapping that is being used up.
pub struct Arena {
    base: usize,
    used: Cell<usize>,
}

impl Arena {
    fn holds(&self, at: usize) -> bool {
        at.wrapping_sub(self.base) < ROOM
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let start = (self.base + self.used.get()).checked_next_multiple_of(layout.align())?;
        let end = start.checked_add(layout.size()).filter(|end| *end <= self.base + ROOM)?;
        self.used.set(end - self.base);
        Some(start as *mut u8)
    }
}

/// Runs `body`, which takes its memory from a mapping of its own; `None` when there is no room for that. What it gives
/// back must own no memory.
pub fn within<R: Copy>(body: impl FnOnce() -> R) -> Option<R> {
    let base = sys::mmap(ROOM, -1)?;
    let arena = Arena { base: base as usize, used: Cell::new(0) };
    let thread = guard::thread();
    thread.arena.set(&raw const arena);
    let result = body();
    thread.arena.set(std::ptr::null());
    // SAFETY: our own mapping; what lay in it has been dropped with `body`.
    unsafe { sys::munmap(base, ROOM) };
    Some(result)
}

fn current() -> Option<&'static Arena> {
    // SAFETY: null, or the arena of a frame of this thread that still stands.
    unsafe { guard::thread().arena.get().as_ref() }
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: blocks of an arena are aligned and disjoint; all others are the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        current().and_then(|arena| arena.take(layout)).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !current().is_some_and(|arena| arena.holds(block as usize)) {
            // SAFETY: as the caller says.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !current().is_some_and(|arena| arena.holds(block as usize)) {
            // SAFETY: as the caller says.
            return unsafe { System.realloc(block, layout, size) };
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        // SAFETY: both blocks are valid for the smaller of the sizes.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
            }
            moved
        }
    }
}

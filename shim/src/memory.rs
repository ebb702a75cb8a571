//! `exhaust` of memory that is mapped: what is private and writable, as the kernel counts it for `ulimit -d`.
//!
//! What the allocator gives out is counted apart, in `hooks/memory.rs`: it lies in mappings that are counted here, so a
//! sum would count it twice. Either alone reaches the limit.

use crate::guard::thread;
use crate::sys;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = 4096;

/// What the process had when it was armed, in bytes.
static AT_FIRST: AtomicU64 = AtomicU64::new(0);

/// The process is armed: what it has by now is not counted.
pub fn start() {
    AT_FIRST.store(private_writable().unwrap_or(0), Ordering::Relaxed);
}

/// Bytes of private writable mappings and stacks; `None` where /proc cannot be read.
fn private_writable() -> Option<u64> {
    let fd = sys::open(c"/proc/self/statm", libc::O_RDONLY, 0).ok()?;
    let mut text = [0u8; 128];
    let n = sys::pread(fd, &mut text, 0);
    sys::close(fd);
    let field = text.get(..n)?.split(|byte| *byte == b' ').nth(5)?;
    std::str::from_utf8(field).ok()?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

/// Makes known to the rules by how much a mapping grows what is private and writable, while `body` runs.
pub fn during<R>(growth: usize, body: impl FnOnce() -> R) -> R {
    let thread = thread();
    let outer = thread.growth.replace((growth as u64).saturating_add(1));
    let result = body();
    thread.growth.set(outer);
    result
}

/// Whether the rules are being asked about a mapping.
pub fn is_mapping() -> bool {
    thread().growth.get() != 0
}

/// Whether the mapping at hand would take the process over the limit. What adds nothing never does: a reservation.
pub fn is_exhausted(limit: u64) -> bool {
    let growth = thread().growth.get().saturating_sub(1);
    growth != 0
        && private_writable()
            .is_some_and(|now| now.saturating_sub(AT_FIRST.load(Ordering::Relaxed)).saturating_add(growth) > limit)
}

//! Time on CLOCK_MONOTONIC, cheap enough for every injection.
//!
//! The vDSO costs 21 ns. In a burst of injections the time-stamp counter is enough: each thread keeps an anchor (TSC,
//! ns) not older than a millisecond and the rate since the run's first look at the clock, which the session keeps.

use crate::guard::Thread;
use crate::session::Session;
use crate::sys;
use chaos_table::session::{Header, tsc};
use std::arch::x86_64::_rdtsc;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed};

/// Whether the kernel itself trusts the TSC, so that its rate is constant and equal on all cores.
#[unsafe(link_section = ".data.chaos_start")]
static TSC_IS_CLOCK: AtomicBool = AtomicBool::new(false);
/// First pair of (TSC, ns) of the run; a long base makes the measured rate exact.
#[unsafe(link_section = ".data.chaos_start")]
static FIRST_TSC: AtomicU64 = AtomicU64::new(0);
#[unsafe(link_section = ".data.chaos_start")]
static FIRST_NS: AtomicU64 = AtomicU64::new(0);

/// An anchor is good for so many ticks, below a millisecond on any processor of today.
const ANCHOR_TICKS: u64 = 1 << 20;
/// The rate is trusted once it was measured over so many ns.
const BASE_NS: u64 = 2_000_000;

/// CLOCK_MONOTONIC in ns, from the kernel.
pub fn exact() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_MONOTONIC in ns, up to a tick of the kernel late (4 ms), and several times cheaper.
pub fn coarse() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// As [`exact`], for a process that has not looked at a clock yet and may never do so.
pub fn first_look() -> u64 {
    in_ns(sys::time(libc::CLOCK_MONOTONIC))
}

/// CLOCK_REALTIME in ns.
pub fn wall() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// A clock in ns, as the kernel has it: our own hooks are not asked.
pub fn read(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    crate::hooks::time::true_clock(clock, &mut time);
    in_ns(time)
}

fn in_ns(time: libc::timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 has rdtsc. A process that forbids it to itself (PR_SET_TSC) loses the vDSO's clock as well.
    unsafe { _rdtsc() }
}

/// Learns whether the TSC is the kernel's clock, and the first pair: from the session, or for it.
pub fn start(session: &Session) {
    let state = session.clock();
    let (at_tsc, at_ns) = (session.counter(offset_of!(Header, tsc)), session.counter(offset_of!(Header, tsc_ns)));
    let (is_clock, pair) = match state.load(Ordering::Acquire) {
        tsc::IS_CLOCK => (true, (at_tsc.load(Relaxed), at_ns.load(Relaxed))),
        tsc::IS_NOT => (false, (0, 0)),
        _ => {
            let is_clock = kernel_uses_tsc();
            let pair = (ticks(), exact());
            if state.compare_exchange(tsc::UNKNOWN, tsc::BUSY, Relaxed, Relaxed).is_ok() {
                at_tsc.store(pair.0, Relaxed);
                at_ns.store(pair.1, Relaxed);
                state.store(if is_clock { tsc::IS_CLOCK } else { tsc::IS_NOT }, Ordering::Release);
            }
            (is_clock, pair)
        }
    };
    FIRST_TSC.store(pair.0, Relaxed);
    FIRST_NS.store(pair.1, Relaxed);
    TSC_IS_CLOCK.store(is_clock, Relaxed);
}

fn kernel_uses_tsc() -> bool {
    let path = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let Ok(fd) = sys::open(path, libc::O_RDONLY, 0) else { return false };
    let mut name = [0u8; 16];
    let n = sys::pread(fd, &mut name, 0);
    sys::close(fd);
    name.get(..n).is_some_and(|name| name.starts_with(b"tsc"))
}

/// CLOCK_MONOTONIC in ns, within some tens of ns.
pub fn stamp(thread: &Thread) -> u64 {
    if !TSC_IS_CLOCK.load(Relaxed) {
        return exact();
    }
    let now = ticks();
    let passed = now.wrapping_sub(thread.anchor_tsc.get());
    if passed < ANCHOR_TICKS && thread.ns_per_tick.get() != 0 {
        return thread.anchor_ns.get().wrapping_add(passed.wrapping_mul(thread.ns_per_tick.get()) >> 32);
    }
    anchor(thread)
}

#[cold]
#[unsafe(link_section = ".text.chaos_start")]
fn anchor(thread: &Thread) -> u64 {
    let (tsc, ns) = (ticks(), exact());
    let base_ns = ns.saturating_sub(FIRST_NS.load(Relaxed));
    let base_ticks = tsc.saturating_sub(FIRST_TSC.load(Relaxed));
    // In 64 bits: those of the ns beyond 32 are worth less than the clock's own error.
    let excess = (u64::BITS - base_ns.leading_zeros()).saturating_sub(32);
    let (short_ns, short_ticks) = (base_ns >> excess, base_ticks >> excess);
    if base_ns >= BASE_NS && short_ticks > 0 {
        thread.ns_per_tick.set((short_ns << 32) / short_ticks);
        thread.anchor_tsc.set(tsc);
        thread.anchor_ns.set(ns);
    }
    ns
}

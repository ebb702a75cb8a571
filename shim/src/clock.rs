//! Time on CLOCK_MONOTONIC, cheap enough for every injection.
//!
//! The vDSO costs 21 ns. In a burst of injections the time-stamp counter is enough: each thread keeps an anchor (TSC,
//! ns) not older than a millisecond and the rate that it measured since its first look at the clock.

use crate::guard::Thread;
use std::arch::x86_64::_rdtsc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Whether the kernel itself trusts the TSC, so that its rate is constant and equal on all cores.
#[unsafe(link_section = ".data.chaos_start")]
pub static TSC_IS_CLOCK: AtomicBool = AtomicBool::new(false);
/// First pair of (TSC, ns) of this process; a long base makes the measured rate exact.
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

/// CLOCK_REALTIME in ns.
pub fn wall() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// A clock in ns, as the kernel has it: our own hooks are not asked.
pub fn read(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    crate::hooks::time::true_clock(clock, &mut time);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 has rdtsc. A process that forbids it to itself (PR_SET_TSC) loses the vDSO's clock as well.
    unsafe { _rdtsc() }
}

/// Remembers the first pair of this process.
pub fn start() {
    if TSC_IS_CLOCK.load(Relaxed) {
        FIRST_TSC.store(ticks(), Relaxed);
        FIRST_NS.store(exact(), Relaxed);
    }
}

/// CLOCK_MONOTONIC in ns, within some tens of ns.
pub fn stamp(thread: &Thread) -> u64 {
    if !TSC_IS_CLOCK.load(Relaxed) {
        return exact();
    }
    let now = ticks();
    let passed = now.wrapping_sub(thread.anchor_tsc.get());
    if passed < ANCHOR_TICKS && thread.ns_per_tick.get() != 0 {
        return thread.anchor_ns.get() + ((passed * thread.ns_per_tick.get()) >> 32);
    }
    anchor(thread)
}

#[cold]
fn anchor(thread: &Thread) -> u64 {
    let (tsc, ns) = (ticks(), exact());
    let base_ns = ns.saturating_sub(FIRST_NS.load(Relaxed));
    let base_ticks = tsc.saturating_sub(FIRST_TSC.load(Relaxed));
    if base_ns >= BASE_NS && base_ticks > 0 {
        let rate = (u128::from(base_ns) << 32) / u128::from(base_ticks);
        thread.ns_per_tick.set(u64::try_from(rate).unwrap_or(0));
        thread.anchor_tsc.set(tsc);
        thread.anchor_ns.set(ns);
    }
    ns
}

//! Deciding: (call, counters, compiled rules) -> what happens. Pure, safe, and without allocation.
//!
//! A match is: the call and its selectors, enabled, armed, inside the window, not protected. Then, in this order,
//! `after`, `nth` or `every`, `rate`, `times`. Every matching rule advances its counters and takes exactly one draw,
//! even when an earlier rule has fired; latencies add up; the first other fault wins.

mod patterns;

use crate::calls::{Failure, FaultKind, Op};
use crate::rule::{ALWAYS, Delay, Rule, change, exhaust, flag, shape};

pub use patterns::{Patterns, Peer, is_below, last_component};

/// What an injection does to its call. Closed: the shim matches it without a wildcard.
///
/// Every payload is one 64-bit number, so that the whole travels in two registers and never through memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Fail with this errno, or EAI code for getaddrinfo.
    Error(i64),
    /// Wait so many ns, then go on.
    Latency(u64),
    /// Block for so many ns (0: until released), then go on.
    Hang(u64),
    /// Ask for only so many parts per million of the bytes.
    Short(u64),
    /// Flip so many bits (upper half) in each so many bytes (lower half; 0: in the whole).
    Corrupt(u64),
    /// Zero so many bytes (upper half) in each so many bytes (lower half; 0: in the whole).
    Zero(u64),
    /// Let so many parts per million of the data come twice.
    Duplicate(u64),
    /// Cut off so many parts per million of the data.
    Truncate(u64),
    /// Say success and do nothing.
    Drop,
    /// Write so many parts per million (lower half), then fail with an errno (upper half; 0: kill the process).
    Torn(u64),
    /// Return a value (lower half) and set errno (upper half, unless 0).
    Return(u64),
    /// Ask for only so many bytes.
    Part(u64),
    /// Reset the connection, once so many bytes have moved over it.
    Reset(u64),
    /// End the connection silently, once so many bytes have moved over it.
    End(u64),
    /// Nobody answers: the errno (0: by the kind of socket) in the upper 16 bits, how many ns that takes in the others.
    Unreachable(u64),
    /// Move so many bytes a second at most.
    Throttle(u64),
    /// The limit of allocated bytes.
    Memory(u64),
    /// The limit of descriptors.
    Files(u64),
    /// The limit of bytes in files.
    Disk(u64),
    /// Send this signal to the caller.
    Signal(i64),
    /// End the process with this code.
    Exit(i64),
    /// Stop the process for so many ns.
    Freeze(u64),
}

/// Where the errno begins in [`Effect::Unreachable`].
pub const UNREACHABLE_NS_BITS: u32 = 48;
/// The ns in [`Effect::Unreachable`]: three days at most.
pub const UNREACHABLE_NS: u64 = (1 << UNREACHABLE_NS_BITS) - 1;

/// Where counters live is the caller's business; this is what deciding needs of them, for one rule.
pub trait Counters {
    /// Counts a match in the rule's scope: its number, from 1, and one draw from the (rule, thread) stream.
    fn count_match(&mut self) -> (u64, u64);
    /// Takes one of the `times` injections; false when they are used up.
    fn take(&mut self, times: u64) -> bool;
}

/// A rule that fired: the draw that everything else derives from, and the number of the match.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shot {
    /// The draw of this match.
    pub draw: u64,
    /// The number of the match in the rule's scope, from 1.
    pub nth: u64,
}

/// Whether a match fires. `winner_taken`: an earlier rule has already decided the call, so this one only advances.
#[inline(always)]
pub fn fires(rule: &Rule, rate: u64, winner_taken: bool, counters: &mut impl Counters) -> Option<Shot> {
    let (nth, draw) = counters.count_match();
    if rule.has(flag::COUNTS) && !chosen(rule, nth) {
        return None;
    }
    if rate != ALWAYS && draw >= rate {
        return None;
    }
    if winner_taken || (rule.times != 0 && !counters.take(rule.times)) {
        return None;
    }
    Some(Shot { draw, nth })
}

/// `after`, then `nth` or `every`, for the match with this number.
#[inline(always)]
pub fn chosen(rule: &Rule, nth: u64) -> bool {
    if nth <= rule.after {
        return false;
    }
    let index = nth - rule.after;
    if rule.nth_first != 0 {
        return index >= rule.nth_first
            && index <= rule.nth_last
            && (index - rule.nth_first).is_multiple_of(rule.nth_step.max(1));
    }
    rule.every == 0 || index.is_multiple_of(rule.every)
}

/// What a shot does to the call.
#[inline(always)]
#[must_use]
pub fn effect(rule: &Rule, op: Op, draw: u64) -> Effect {
    let mut derived = Derived(draw);
    match FaultKind::from_number(rule.fault) {
        Some(FaultKind::Error) => Effect::Error(choose_errno(rule, op, derived.next()).into()),
        Some(FaultKind::Latency) => Effect::Latency(delay_ns(&rule.delay, &mut derived)),
        Some(FaultKind::Hang) => Effect::Hang(rule.delay.base_ns),
        Some(FaultKind::Short) => Effect::Short(rule.keep_ppm.into()),
        Some(FaultKind::Corrupt) => match rule.change {
            change::ZERO => Effect::Zero(halves(rule.flip_bits, rule.flip_per)),
            change::DUPLICATE => Effect::Duplicate(rule.keep_ppm.into()),
            change::TRUNCATE => Effect::Truncate(rule.keep_ppm.into()),
            _ => Effect::Corrupt(halves(rule.flip_bits, rule.flip_per)),
        },
        Some(FaultKind::Drop) => Effect::Drop,
        Some(FaultKind::Torn) if rule.has(flag::KILLS) => Effect::Torn(rule.keep_ppm.into()),
        Some(FaultKind::Torn) => {
            let errno = if rule.errno_count == 0 { libc::EIO } else { choose_errno(rule, op, derived.next()) };
            Effect::Torn(halves(errno as u32, rule.keep_ppm))
        }
        Some(FaultKind::Return) => {
            let fails = rule.value == -1 || op.row().fails == Failure::Null;
            let errno = if fails { choose_errno(rule, op, derived.next()) } else { 0 };
            Effect::Return(halves(errno as u32, rule.value as u32))
        }
        Some(FaultKind::Refuse) => Effect::Error(libc::ECONNREFUSED.into()),
        Some(FaultKind::Disconnect) if rule.has(flag::SILENT) => Effect::End(rule.limit),
        Some(FaultKind::Disconnect) => Effect::Reset(rule.limit),
        Some(FaultKind::Unreachable) => {
            Effect::Unreachable((rule.code as u64) << UNREACHABLE_NS_BITS | rule.delay.base_ns.min(UNREACHABLE_NS))
        }
        Some(FaultKind::Throttle) => Effect::Throttle(rule.limit),
        Some(FaultKind::Dns) if rule.code == 0 => Effect::Hang(rule.delay.base_ns),
        Some(FaultKind::Dns) => Effect::Error(rule.code.into()),
        Some(FaultKind::Exhaust) if rule.what == exhaust::MEMORY => Effect::Memory(rule.limit),
        Some(FaultKind::Exhaust) if matches!(rule.what, exhaust::PROCESSES | exhaust::THREADS) => {
            Effect::Error(libc::EAGAIN.into())
        }
        Some(FaultKind::Exhaust) if rule.what == exhaust::DISK => Effect::Disk(rule.limit),
        Some(FaultKind::Exhaust) => Effect::Files(rule.limit),
        Some(FaultKind::Signal) => Effect::Signal(rule.code.into()),
        Some(FaultKind::Exit) => Effect::Exit(rule.code.into()),
        Some(FaultKind::Freeze) => Effect::Freeze(rule.delay.base_ns),
        // A clock is off between calls, see `wall.rs`; no call is asked about it. Nor about a number that no build has
        // written: a spoiled session. Let the call pass.
        Some(FaultKind::Clock) | None => Effect::Latency(0),
    }
}

const fn halves(upper: u32, lower: u32) -> u64 {
    (upper as u64) << 32 | lower as u64
}

fn choose_errno(rule: &Rule, op: Op, draw: u64) -> i32 {
    let used = rule.errnos.get(..rule.errno_count as usize).unwrap_or(&[]);
    if let [only] = used {
        return only.code;
    }
    if let Some(last) = used.last() {
        let pick = if last.cumulative == 0 { 0 } else { (draw % u64::from(last.cumulative)) as u32 };
        return used.iter().find(|w| pick < w.cumulative).unwrap_or(last).code;
    }
    let usual = op.row().usual();
    if usual.is_empty() {
        return libc::EIO;
    }
    usual.get((draw % usual.len() as u64) as usize).copied().unwrap_or(libc::EIO)
}

fn delay_ns(delay: &Delay, derived: &mut Derived) -> u64 {
    let base = delay.base_ns;
    let spread = delay.spread_ns;
    match delay.shape {
        shape::UNIFORM if spread > 0 => {
            let width = spread.saturating_mul(2).saturating_add(1);
            base.saturating_sub(spread).saturating_add(derived.next() % width)
        }
        shape::NORMAL if spread > 0 => {
            // The sum of twelve uniform numbers has mean 6 and variance 1 (Irwin-Hall), and needs no libm.
            let mut sum = 0f64;
            for _ in 0..12 {
                sum += (derived.next() >> 11) as f64 / (1u64 << 53) as f64;
            }
            let value = base as f64 + (sum - 6.0) * spread as f64;
            if value <= 0.0 { 0 } else { value as u64 }
        }
        shape::PARETO if spread > 0 => {
            // The inverse of its distribution function: a square root, which needs no libm either.
            let left = 1.0 - (derived.next() >> 11) as f64 / (1u64 << 53) as f64;
            base.saturating_add((spread as f64 * (1.0 / left.sqrt() - 1.0)) as u64)
        }
        _ => base,
    }
}

/// Numbers derived from one draw.
#[derive(Debug)]
pub struct Derived(pub u64);

impl Derived {
    /// The next number (splitmix64).
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }
}

/// Finaliser of splitmix64: spreads every input bit over the output.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Combines two hashes, order-sensitively.
#[must_use]
pub const fn combine(left: u64, right: u64) -> u64 {
    mix(left.rotate_left(23) ^ mix(right.wrapping_add(0x9E37_79B9_7F4A_7C15)))
}

/// Where [`hash_on`] begins.
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on with the hash of some bytes: FNV-1a of 64 bits (Fowler, Noll, Vo). std's hashes would draw random numbers.
#[must_use]
pub fn hash_on(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Seed of the (rule, thread) stream, `key` being the thread's hash of (seed, lineage, ordinal).
#[must_use]
pub fn stream_seed(key: u64, rule: usize) -> [u8; 16] {
    let mut derived = Derived(combine(key, rule as u64));
    let mut seed = [0u8; 16];
    seed[..8].copy_from_slice(&derived.next().to_le_bytes());
    seed[8..].copy_from_slice(&derived.next().to_le_bytes());
    seed
}

/// The 64-bit threshold of a rate in 0..=1.
#[must_use]
pub fn rate_threshold(rate: f64) -> u64 {
    if rate >= 1.0 {
        return ALWAYS;
    }
    // 2^64 is exactly representable; the product is below it for every rate below 1.
    (rate * 18_446_744_073_709_551_616.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    struct Plain {
        matched: u64,
        fired: u64,
        draw: u64,
    }

    impl Counters for Plain {
        fn count_match(&mut self) -> (u64, u64) {
            self.matched += 1;
            (self.matched, self.draw)
        }
        fn take(&mut self, times: u64) -> bool {
            self.fired += 1;
            self.fired <= times
        }
    }

    fn firing(edit: impl Fn(&mut Rule), matches: u64) -> Vec<u64> {
        let mut rule = Rule::zeroed();
        rule.rate = ALWAYS;
        rule.flags = flag::COUNTS;
        edit(&mut rule);
        let mut counters = Plain { matched: 0, fired: 0, draw: 0 };
        (0..matches).filter_map(|_| fires(&rule, rule.rate, false, &mut counters)).map(|shot| shot.nth).collect()
    }

    #[test]
    fn when_is_after_then_nth_then_times() {
        assert_eq!(firing(|_| (), 3), [1, 2, 3]);
        assert_eq!(firing(|r| r.after = 2, 4), [3, 4]);
        assert_eq!(firing(|r| r.every = 3, 9), [3, 6, 9]);
        assert_eq!(firing(|r| (r.after, r.every) = (1, 3), 9), [4, 7]);
        let nth = |first, last, step| move |r: &mut Rule| (r.nth_first, r.nth_last, r.nth_step) = (first, last, step);
        assert_eq!(firing(nth(3, 3, 1), 9), [3]);
        assert_eq!(firing(nth(3, 5, 1), 9), [3, 4, 5]);
        assert_eq!(firing(nth(2, u64::MAX, 3), 9), [2, 5, 8]);
        assert_eq!(firing(|r| r.times = 2, 9), [1, 2]);
        assert_eq!(firing(|r| (r.after, r.times) = (3, 2), 9), [4, 5]);
    }

    #[test]
    fn a_rule_that_lost_the_call_advances_but_keeps_its_times() {
        let mut rule = Rule::zeroed();
        (rule.rate, rule.times) = (ALWAYS, 1);
        let mut counters = Plain { matched: 0, fired: 0, draw: 0 };
        assert_eq!(fires(&rule, ALWAYS, true, &mut counters), None);
        assert_eq!(fires(&rule, ALWAYS, false, &mut counters), Some(Shot { draw: 0, nth: 2 }));
        assert_eq!(fires(&rule, ALWAYS, false, &mut counters), None);
    }

    #[test]
    fn rates_are_exact_at_their_ends() {
        assert_eq!(rate_threshold(0.0), 0);
        assert_eq!(rate_threshold(1.0), ALWAYS);
        assert_eq!(rate_threshold(0.5), 1 << 63);
    }

    #[test]
    fn delays_stay_in_their_range_and_normal_has_its_mean() {
        let delay = |shape, base_ns, spread_ns| Delay { shape, reserved: 0, base_ns, spread_ns };
        let draws = |d: Delay| (0..20_000u64).map(move |n| delay_ns(&d, &mut Derived(mix(n))));
        assert!(draws(delay(shape::FIXED, 7, 3)).all(|ns| ns == 7));
        assert!(draws(delay(shape::UNIFORM, 100, 20)).all(|ns| (80..=120).contains(&ns)));
        let normal: Vec<u64> = draws(delay(shape::NORMAL, 1_000_000, 100_000)).collect();
        let mean = normal.iter().sum::<u64>() as f64 / normal.len() as f64;
        assert!((mean - 1e6).abs() < 3_000.0, "{mean}");
        let within = normal.iter().filter(|ns| (900_000..=1_100_000).contains(*ns)).count() as f64 / 20_000.0;
        assert!((0.66..0.71).contains(&within), "{within}");
        let mut pareto: Vec<u64> = draws(delay(shape::PARETO, 1_000_000, 100_000)).collect();
        pareto.sort_unstable();
        assert!(pareto[0] >= 1_000_000, "the delay is the least");
        // A Lomax distribution of shape 2: the median lies at sqrt(2) - 1, 99 of 100 below 9, its mean is 1.
        let beyond = |rank: usize| (pareto[rank] - 1_000_000) as f64 / 100_000.0;
        assert!((beyond(10_000) - 0.414).abs() < 0.03, "{}", beyond(10_000));
        assert!((beyond(19_800) - 9.0).abs() < 1.0, "{}", beyond(19_800));
        let mean = pareto.iter().map(|ns| (ns - 1_000_000) as f64).sum::<f64>() / 20_000.0;
        assert!((80_000.0..120_000.0).contains(&mean), "{mean}");
    }
}

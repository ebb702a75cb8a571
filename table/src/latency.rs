//! How long calls took, counted in the session: one row of buckets for each operation, behind everything else in the file
//! and only when somebody asks for it.
//!
//! A bucket is a sixteenth of a power of two wide, so a time that is read from it is at most 1/16 too long. Below
//! [`FINEST_NS`] nothing is told apart, as reading the clock twice takes as long.

use crate::calls::OPS;
use crate::rule::{Plan, RULE_BITS, WATCH, flag};
use crate::session::Header;
use crate::{calls::FaultKind, kinds::Kinds};
use std::mem::offset_of;

/// Times below are one.
pub const FINEST_NS: u64 = 128;
/// Buckets of a row: one below [`FINEST_NS`], 16 for each of 31 powers of two, one for 275 s and longer.
pub const BUCKETS: usize = 2 + 31 * 16;
/// Words of a row: buckets, the longest time and the sum of all, in ns.
pub const ROW: usize = 512;
/// Which word of a row is the longest time.
pub const LONGEST: usize = BUCKETS;
/// Which word of a row is the sum.
pub const SUM: usize = BUCKETS + 1;
/// Bytes of all rows.
pub const AREA: u64 = (OPS * ROW * 8) as u64;

const _: () = assert!(SUM < ROW);

/// The bucket of a time in ns.
#[inline]
#[must_use]
pub fn bucket(ns: u64) -> usize {
    let Some(power) = ns.checked_ilog2().filter(|_| ns >= FINEST_NS) else { return 0 };
    let sixteenth = (ns >> (power - 4)) & 15;
    let at = (power - FINEST_NS.ilog2()) as usize * 16 + sixteenth as usize + 1;
    at.min(BUCKETS - 1)
}

/// The longest time of a bucket in ns; that of the last is not known.
#[must_use]
pub fn longest_of(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS {
        return u64::MAX;
    }
    let Some(at) = bucket.checked_sub(1) else { return FINEST_NS - 1 };
    let power = FINEST_NS.ilog2() as usize + at / 16;
    ((17 + at as u64 % 16) << (power - 4)) - 1
}

/// Has every call that a rule of this plan matches timed.
pub fn time_calls(plan: &mut Plan) {
    plan.rules.iter_mut().for_each(|rule| rule.flags |= flag::TIMED);
    plan.header.kinds = Kinds::of(&plan.header, &plan.rules);
    // No call is put to a rule about a clock.
    let asked = RULE_BITS & !plan.header.kinds.clocks;
    // Until the tree is armed by its sign there is nothing to be timed; then the planned words say it.
    let armed = plan.header.armed != 0;
    for (planned, now) in plan.header.planned.iter_mut().zip(&mut plan.header.ops) {
        if *planned & asked != 0 {
            *planned |= WATCH;
            *now |= if armed { WATCH } else { 0 };
        }
    }
}

/// Lets no rule of this plan fire: calls are matched and counted, and none is hit.
pub fn mute(plan: &mut Plan) {
    for rule in &mut plan.rules {
        rule.rate = 0;
        // Those that no call triggers: the launcher's, and clocks.
        if rule.has(flag::LAUNCHER) || rule.fault == FaultKind::Clock as u8 {
            rule.until_ns = 0;
        }
    }
    plan.header.kinds = Kinds::of(&plan.header, &plan.rules);
}

/// Says in the first bytes of a session file of `file_len` bytes that calls are timed; gives the length it then has.
#[must_use]
pub fn append(image: &mut [u8], file_len: u64) -> u64 {
    let at = file_len.next_multiple_of(4096);
    let whole = at + AREA;
    // Below SIZE_MAX and 1 MB more.
    let place = u32::try_from(at).unwrap_or(0);
    let mut put = |field: usize, bytes: &[u8]| {
        if let Some(to) = image.get_mut(field..field + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    put(offset_of!(Header, file_len), &whole.to_ne_bytes());
    put(offset_of!(Header, latencies), &place.to_ne_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_in_its_bucket_and_a_sixteenth_below_its_end_at_most() {
        let mut last = 0;
        for power in 0..38 {
            for part in 0..64u64 {
                let ns = (1u64 << power) + (part << power) / 64;
                let bucket = bucket(ns);
                assert!(bucket >= last, "{ns}");
                last = bucket;
                let end = longest_of(bucket);
                assert!(end >= ns, "{ns} {bucket} {end}");
                assert!(ns < FINEST_NS || (end - ns) * 16 <= ns, "{ns} {bucket} {end}");
                assert!(bucket == 0 || longest_of(bucket - 1) < ns, "{ns} {bucket}");
            }
        }
        assert_eq!((bucket(0), bucket(127), bucket(128)), (0, 0, 1));
        assert_eq!((bucket((1 << 38) - 1), bucket(1 << 38), bucket(u64::MAX)), (BUCKETS - 2, BUCKETS - 1, BUCKETS - 1));
    }
}

//! Faults that change data: bits flipped, requests shortened.

use chaos_table::decide::Derived;

/// Flips bits in `len` bytes that `at` finds: `bits` in every `per` bytes begun (0: in all of them).
pub fn flip(len: usize, bits: u32, per: u32, draw: u64, mut at: impl FnMut(usize) -> Option<*mut u8>) {
    let mut derived = Derived(draw ^ 0x666c_6970);
    let step = if per == 0 { len } else { (per as usize).min(len) }.max(1);
    let mut start = 0;
    while start < len {
        let size = step.min(len - start);
        for_distinct_bits(size, bits, &mut derived, |bit| {
            if let Some(byte) = at(start + bit / 8) {
                // SAFETY: `at` gives bytes of the caller's buffer that the real call has filled, or of our copy.
                unsafe { *byte ^= 1 << (bit % 8) };
            }
        });
        start += step;
    }
}

/// Calls `flip` for `bits` different bit positions in `size` bytes: one in each of as many equal strips.
fn for_distinct_bits(size: usize, bits: u32, derived: &mut Derived, mut flip: impl FnMut(usize)) {
    let total = size * 8;
    let bits = (bits as usize).min(total);
    for strip in 0..bits {
        let (first, end) = (strip * total / bits, (strip + 1) * total / bits);
        flip(first + (derived.next() % (end - first).max(1) as u64) as usize);
    }
}

/// How many bytes a shortened request asks for: at least one, less than all.
pub fn shortened(asked: usize, ppm: u32) -> usize {
    let kept = (asked as u128 * u128::from(ppm) / 1_000_000) as usize;
    kept.clamp(1, asked.saturating_sub(1).max(1))
}

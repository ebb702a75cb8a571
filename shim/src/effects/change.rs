//! Faults that change data: bits flipped, ranges zeroed, parts repeated or cut off, requests shortened.

use chaos_table::decide::Derived;
use chaos_table::quantities::Repeat;

/// What is done to data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So many bits are flipped in each so many bytes begun (0: in all of them).
    Flip(u32, u32),
    /// So many bytes are zeroed in each so many bytes begun (0: in all of them).
    Zero(u32, u32),
    /// So many parts per million come twice: over what follows them, or, when it is all, as a second write.
    Duplicate(u32),
    /// So many parts per million are cut off at the end.
    Truncate(u32),
}

impl Change {
    /// Whether so many bytes are enough for it.
    pub const fn can_hit(self, len: usize) -> bool {
        match self {
            Change::Flip(..) | Change::Zero(..) => len > 0,
            Change::Duplicate(_) | Change::Truncate(_) => len > 1,
        }
    }

    /// Whether all of the data is written a second time.
    pub const fn is_second_write(self) -> bool {
        matches!(self, Change::Duplicate(Repeat::WHOLE))
    }

    /// Changes `len` bytes that `at` finds, in place; how many of them are left.
    pub fn apply(self, len: usize, draw: u64, at: &dyn Fn(usize) -> Option<*mut u8>) -> usize {
        let mut derived = Derived(draw ^ 0x666c_6970);
        match self {
            Change::Flip(bits, per) => in_steps(len, per, |start, size| {
                for_distinct_bits(size, bits, &mut derived, |bit| {
                    if let Some(byte) = at(start + bit / 8) {
                        // SAFETY: `at` gives bytes of the caller's buffer that the real call has filled, or of our copy.
                        unsafe { *byte ^= 1 << (bit % 8) };
                    }
                });
            }),
            Change::Zero(bytes, per) => in_steps(len, per, |start, size| {
                let zeroed = (bytes as usize).min(size);
                let first = start + place(size - zeroed, &mut derived);
                for byte in (first..first + zeroed).filter_map(at) {
                    // SAFETY: as above.
                    unsafe { *byte = 0 };
                }
            }),
            Change::Duplicate(_) if self.is_second_write() || !self.can_hit(len) => {}
            Change::Duplicate(ppm) => {
                let size = part(len, ppm).clamp(1, len / 2);
                let first = place(len - 2 * size, &mut derived);
                for index in first..first + size {
                    if let (Some(from), Some(to)) = (at(index), at(index + size)) {
                        // SAFETY: as above.
                        unsafe { *to = *from };
                    }
                }
            }
            Change::Truncate(_) if !self.can_hit(len) => {}
            Change::Truncate(ppm) => return len - part(len, ppm).clamp(1, len - 1),
        }
        len
    }
}

fn part(len: usize, ppm: u32) -> usize {
    (len as u128 * u128::from(ppm) / 1_000_000) as usize
}

/// A place from 0 to `last`.
fn place(last: usize, derived: &mut Derived) -> usize {
    (derived.next() % (last as u64 + 1)) as usize
}

/// Calls `step` for each `per` bytes begun (0: for all of them).
fn in_steps(len: usize, per: u32, mut step: impl FnMut(usize, usize)) {
    let each = if per == 0 { len } else { (per as usize).min(len) }.max(1);
    let mut start = 0;
    while start < len {
        let size = each.min(len - start);
        step(start, size);
        start += each;
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
    part(asked, ppm).clamp(1, asked.saturating_sub(1).max(1))
}

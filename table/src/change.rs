//! Faults that change data: bits flipped, ranges zeroed, parts repeated or cut off, requests shortened.

use crate::decide::{Derived, Effect};
use crate::quantities::Repeat;

/// Data of a call, wherever it lies.
pub trait Data {
    /// A byte; `None` beyond the end.
    fn get(&self, at: usize) -> Option<u8>;
    /// Puts a byte.
    fn set(&mut self, at: usize, byte: u8);
}

impl Data for [u8] {
    fn get(&self, at: usize) -> Option<u8> {
        <[u8]>::get(self, at).copied()
    }

    fn set(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.get_mut(at) {
            *place = byte;
        }
    }
}

/// What is done to data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    #[must_use]
    pub const fn can_hit(self, len: usize) -> bool {
        match self {
            Change::Flip(..) | Change::Zero(..) => len > 0,
            Change::Duplicate(_) | Change::Truncate(_) => len > 1,
        }
    }

    /// Whether all of the data is written a second time.
    #[must_use]
    pub const fn is_second_write(self) -> bool {
        matches!(self, Change::Duplicate(Repeat::WHOLE))
    }

    /// Changes the first `len` bytes, in place; how many of them are left.
    pub fn apply(self, len: usize, draw: u64, data: &mut (impl Data + ?Sized)) -> usize {
        let mut derived = Derived(draw ^ 0x666c_6970);
        match self {
            Change::Flip(bits, per) => in_steps(len, per, |start, size| {
                for_distinct_bits(size, bits, &mut derived, |bit| {
                    let at = start + bit / 8;
                    if let Some(byte) = data.get(at) {
                        data.set(at, byte ^ (1 << (bit % 8)));
                    }
                });
            }),
            Change::Zero(bytes, per) => in_steps(len, per, |start, size| {
                let zeroed = (bytes as usize).min(size);
                let first = start + place(size - zeroed, &mut derived);
                for at in first..first + zeroed {
                    data.set(at, 0);
                }
            }),
            Change::Duplicate(_) if self.is_second_write() || !self.can_hit(len) => {}
            Change::Duplicate(ppm) => {
                let size = part(len, ppm).clamp(1, len / 2);
                let first = place(len - 2 * size, &mut derived);
                for index in first..first + size {
                    if let Some(byte) = data.get(index) {
                        data.set(index + size, byte);
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

impl Change {
    /// What an effect that changes data does to it; `None` for any other.
    #[must_use]
    pub const fn of(effect: Effect) -> Option<Change> {
        Some(match effect {
            Effect::Corrupt(both) => Change::Flip((both >> 32) as u32, both as u32),
            Effect::Zero(both) => Change::Zero((both >> 32) as u32, both as u32),
            Effect::Duplicate(ppm) => Change::Duplicate(ppm as u32),
            Effect::Truncate(ppm) => Change::Truncate(ppm as u32),
            _ => return None,
        })
    }
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
#[must_use]
pub fn shortened(asked: usize, ppm: u32) -> usize {
    part(asked, ppm).clamp(1, asked.saturating_sub(1).max(1))
}

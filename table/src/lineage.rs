//! What decisions hang on: the place of a process in its tree, and of a thread in its process, as hashes.
//!
//! Both engines take them from here, so that a program has the same faults under either.

use crate::decide::{combine, mix};

/// Longest lineage that is kept as text; deeper ones end in `+`, their hash stays exact.
pub const TEXT: usize = 120;
/// Longest text of a thread's ordinal, such as `1-3-2`.
pub const ORDINAL_TEXT: usize = 40;
/// Salt of the hash of an image after exec.
const EXEC: u64 = 0x6578_6563;

/// The first process of a run.
#[must_use]
pub const fn root(seed: u64) -> u64 {
    mix(seed)
}

/// The `count`th child that the thread with this ordinal makes.
#[must_use]
pub const fn child(parent: u64, ordinal: u64, count: u32) -> u64 {
    combine(parent, combine(ordinal, count as u64))
}

/// The next image in the same place.
#[must_use]
pub const fn after_exec(place: u64) -> u64 {
    combine(place, EXEC)
}

/// The ordinal of the `count`th thread that the thread with this ordinal makes. The main thread has 0.
#[must_use]
pub const fn thread(creator: u64, count: u32) -> u64 {
    combine(creator.wrapping_add(1), count as u64)
}

/// What the streams of a thread hang on.
#[must_use]
pub const fn key(place: u64, ordinal: u64) -> u64 {
    combine(place, ordinal)
}

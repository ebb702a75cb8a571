//! The random numbers of one rule in one thread.

use crate::decide::stream_seed;
use rand_core::{Rng, SeedableRng};
use rand_xorshift::XorShiftRng;

/// A stream of draws, one for each match.
#[derive(Clone, Debug)]
pub struct Stream(XorShiftRng);

impl Stream {
    /// The stream of a rule in the thread with this key, see [`crate::lineage::key`].
    #[must_use]
    pub fn new(key: u64, rule: usize) -> Stream {
        Stream(XorShiftRng::from_seed(stream_seed(key, rule)))
    }

    /// The next draw: 32 bits, in the upper half, so that it lies below a rate of 100 % whatever it is.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        u64::from(self.0.next_u32()) << 32
    }
}

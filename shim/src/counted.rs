//! The counters of one rule in one thread, and its stream of draws: plain loads and stores, since that thread alone
//! writes them.

use chaos_table::session::ThreadCounters;
use rand_core::Rng;
use rand_xorshift::XorShiftRng;
use std::mem::offset_of;

/// A stream of draws, apart from where it is kept.
pub struct Draws(XorShiftRng);

impl Draws {
    /// The next draw. It has 32 bits, in the upper half: below `ALWAYS` whatever it is.
    #[inline(always)]
    pub fn draw(&mut self) -> u64 {
        u64::from(self.0.next_u32()) << 32
    }

    /// What the draws to come follow from.
    #[inline(always)]
    pub fn state(&self) -> [u32; 4] {
        // SAFETY: the generator is 16 bytes without padding.
        unsafe { std::mem::transmute::<XorShiftRng, [u32; 4]>(self.0.clone()) }
    }
}

/// Where the counters are.
#[derive(Clone, Copy)]
pub struct Counted(*mut ThreadCounters);

// The entries count by this address.
const _: () = assert!(offset_of!(ThreadCounters, matched) == 0);

impl Counted {
    /// The counters at this address.
    ///
    /// # Safety
    /// They must be those of the calling thread's own slot, in the mapping that stays.
    #[inline(always)]
    pub const unsafe fn at(counters: *mut ThreadCounters) -> Counted {
        Counted(counters)
    }

    /// Their address.
    pub const fn address(self) -> *mut ThreadCounters {
        self.0
    }

    /// Matches so far.
    #[inline(always)]
    pub fn matched(self) -> u64 {
        // SAFETY: the promise made to `at`.
        unsafe { (*self.0).matched }
    }

    /// Counts a match: its number, from 1, and its draw.
    #[inline(always)]
    pub fn advance(self) -> (u64, u64) {
        let matched = self.matched().wrapping_add(1);
        // SAFETY: the promise made to `at`.
        unsafe { (*self.0).matched = matched };
        let mut draws = self.draws();
        let draw = draws.draw();
        self.set_state(draws.state());
        (matched, draw)
    }

    /// The stream from its next draw on.
    #[inline(always)]
    pub fn draws(self) -> Draws {
        let state = self.state();
        // Word by word, loads as wide as the stores before: what is stored in pieces and loaded whole, or the other
        // way round, misses store forwarding, at 5 ns.
        // SAFETY: the promise made to `at`; any 16 bytes are a state of the generator.
        unsafe {
            let words = [0, 1, 2, 3].map(|at| state.add(at).read_volatile());
            Draws(std::mem::transmute::<[u32; 4], XorShiftRng>(words))
        }
    }

    /// Goes on from another place of the stream.
    #[inline(always)]
    pub fn set_state(self, words: [u32; 4]) {
        let state = self.state();
        for (at, word) in words.into_iter().enumerate() {
            // SAFETY: the promise made to `at`.
            unsafe { state.add(at).write_volatile(word) };
        }
    }

    #[inline(always)]
    fn state(self) -> *mut u32 {
        // SAFETY: inside the counters.
        unsafe { (&raw mut (*self.0).stream).cast::<u32>() }
    }
}

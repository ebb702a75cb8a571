//! Quotas of disk: which file takes how many blocks of which rule's limit, as a small file system would count.
//!
//! The accounts lie in the session, one for each (file, rule), written without locks by shims and by the supervisor. One
//! that finds no room is charged to the quota and never given back: a quota that is too strict, rather than none.

use crate::decide::combine;
use crate::rule::bits;
use crate::session::BLOCK;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What one file has been charged to one rule.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Account {
    /// 0 free, 1 being written, 2 ready.
    state: AtomicU32,
    rule: AtomicU32,
    dev: AtomicU64,
    ino: AtomicU64,
    blocks: AtomicU64,
    keeper: AtomicU32,
    reserved: AtomicU32,
}

const FREE: u32 = 0;
const WRITING: u32 = 1;
const READY: u32 = 2;
/// So many places are looked at for an account.
const STEPS: usize = 64;

impl Account {
    /// Blocks that the file takes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// The rule that it is charged to.
    #[must_use]
    pub fn rule(&self) -> usize {
        self.rule.load(Ordering::Relaxed) as usize & 63
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> File {
        File { dev: self.dev.load(Ordering::Relaxed), ino: self.ino.load(Ordering::Relaxed) }
    }

    /// The process that has the file open after its last name was removed; 0: it has a name.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.keeper.load(Ordering::Relaxed)
    }

    /// Says who has the nameless file open.
    pub fn keep(&self, pid: u32) {
        self.keeper.store(pid, Ordering::Relaxed);
    }

    fn is(&self, file: File, rule: usize) -> bool {
        self.state.load(Ordering::Acquire) == READY && self.file() == file && self.rule() == rule
    }

    fn begin(&self, from: u32) -> bool {
        // One without blocks is nobody's.
        (from == FREE || self.blocks() == 0)
            && self.state.compare_exchange(from, WRITING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// A file, as the accounts know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// Its device ...
    pub dev: u64,
    /// ... and number there.
    pub ino: u64,
}

/// Where the accounts are kept.
pub trait Ledger {
    /// All of them: a power of two, or none.
    fn accounts(&self) -> &[Account];

    /// Rules that keep a quota, as bits.
    fn quotas(&self) -> u64;

    /// The blocks that a rule's files take.
    fn used(&self, rule: usize) -> &AtomicU64;

    /// The account of a file with a rule; made when `make` and there is room.
    fn account(&self, file: File, rule: usize, make: bool) -> Option<&Account> {
        let all = self.accounts();
        let hash = combine(file.dev, file.ino ^ (rule as u64) << 56) as usize;
        let places = || {
            let steps = 0..STEPS.min(all.len());
            steps.filter_map(|step| all.get(hash.wrapping_add(step) & (all.len() - 1)))
        };
        let found =
            places().take_while(|place| place.state.load(Ordering::Acquire) != FREE).find(|place| place.is(file, rule));
        if found.is_some() || !make {
            return found;
        }
        let place = places().find(|place| place.begin(FREE)).or_else(|| places().find(|place| place.begin(READY)))?;
        place.rule.store(rule as u32, Ordering::Relaxed);
        place.dev.store(file.dev, Ordering::Relaxed);
        place.ino.store(file.ino, Ordering::Relaxed);
        place.blocks.store(0, Ordering::Relaxed);
        place.keep(0);
        place.state.store(READY, Ordering::Release);
        Some(place)
    }

    /// The accounts of a file.
    fn accounts_of(&self, file: File) -> impl Iterator<Item = &Account> {
        bits(self.quotas()).filter_map(move |rule| self.account(file, rule, false))
    }

    /// Charges a file; `keeper`: the process that has it open without a name.
    fn charge(&self, file: File, rule: usize, added: u64, keeper: Option<u32>) {
        if added != 0
            && let Some(place) = self.account(file, rule, true)
        {
            if keeper.is_none() && place.keeper() != 0 {
                // The nameless file is gone, and its number another's.
                place.keep(0);
                self.give_back(place, u64::MAX);
            }
            place.blocks.fetch_add(added, Ordering::Relaxed);
            keeper.into_iter().for_each(|pid| place.keep(pid));
        }
    }

    /// Gives back up to `most` blocks of one account.
    fn give_back(&self, place: &Account, most: u64) {
        let less = |blocks: u64| Some(blocks.saturating_sub(most));
        let before = place.blocks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or(0);
        let freed = |used: u64| Some(used.saturating_sub(before.min(most)));
        let _ = self.used(place.rule()).fetch_update(Ordering::Relaxed, Ordering::Relaxed, freed);
    }

    /// Gives back up to `most` blocks of each account of a file.
    fn credit(&self, file: File, most: u64) {
        self.accounts_of(file).for_each(|place| self.give_back(place, most));
    }

    /// A file has lost its last name: all of it is given back, unless a process has it open: then when that ends.
    fn lost_name(&self, file: File, keeper: Option<u32>) {
        for place in self.accounts_of(file) {
            if place.keeper() != 0 {
                // Of another file, nameless and gone, whose number this one has got: nothing was charged to it under its name.
                self.give_back(place, u64::MAX);
            }
            place.keep(keeper.unwrap_or(0));
            if keeper.is_none() {
                self.give_back(place, u64::MAX);
            }
        }
    }

    /// Before a quota is called exhausted: nameless files that `is_over` says nobody has open any more are given back.
    fn sweep(&self, is_over: impl Fn(u32, File) -> bool) {
        for place in self.accounts() {
            if place.keeper() != 0 && is_over(place.keeper(), place.file()) {
                place.keep(0);
                self.give_back(place, u64::MAX);
            }
        }
    }

    /// Takes up to `wanted` blocks of a limit in bytes, or all or none of them; how many.
    fn take(&self, rule: usize, limit: u64, wanted: u64, all: bool) -> u64 {
        let limit = limit.div_ceil(BLOCK);
        let mut taken = 0;
        let _ = self.used(rule).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let left = limit.saturating_sub(used);
            taken = if left >= wanted {
                wanted
            } else if all {
                0
            } else {
                left
            };
            Some(used + taken)
        });
        taken
    }
}

/// A write to a regular file, as it was before.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Its size.
    pub size: u64,
    /// Some of the file is not backed by blocks.
    pub is_sparse: bool,
    /// Where the write begins.
    pub start: u64,
    /// Bytes that it asks for.
    pub len: u64,
}

impl Write {
    /// Blocks that the bytes from `from` to `to` of the write add. `missing`: how many blocks of a range the file system
    /// has not given out.
    pub fn added(&self, from: u64, to: u64, missing: impl Fn(u64, u64) -> u64) -> u64 {
        let (first, end) = (self.start.saturating_add(from), self.start.saturating_add(to));
        if first >= end {
            return 0;
        }
        // A block that an earlier part of the write has begun is counted there.
        let first = if from == 0 { first / BLOCK } else { first.div_ceil(BLOCK) };
        let (end, known) = (end.div_ceil(BLOCK), self.size.div_ceil(BLOCK));
        let beyond = end.saturating_sub(first.max(known));
        let inside = if self.is_sparse { missing(first, end.min(known)) } else { 0 };
        beyond + inside
    }

    /// How many bytes can be written with so many new blocks.
    pub fn bytes_within(&self, blocks: u64, missing: impl Fn(u64, u64) -> u64) -> u64 {
        if self.added(0, self.len, &missing) <= blocks {
            return self.len;
        }
        let (mut fits, mut too_long) = (0, self.len);
        // Bisection over the ends of blocks: `fits` does, `too_long` does not.
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            let end = (self.start + middle) / BLOCK * BLOCK;
            let aligned = end.saturating_sub(self.start);
            let middle = if aligned > fits { aligned } else { middle };
            if self.added(0, middle, &missing) <= blocks { fits = middle } else { too_long = middle }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Book {
        accounts: Vec<Account>,
        used: [AtomicU64; 2],
    }

    impl Ledger for Book {
        fn accounts(&self) -> &[Account] {
            &self.accounts
        }

        fn quotas(&self) -> u64 {
            0b11
        }

        fn used(&self, rule: usize) -> &AtomicU64 {
            &self.used[rule & 1]
        }
    }

    fn book(room: usize) -> Book {
        Book { accounts: (0..room).map(|_| Account::default()).collect(), ..Book::default() }
    }

    const A: File = File { dev: 1, ino: 10 };
    const B: File = File { dev: 1, ino: 11 };

    #[test]
    fn what_is_charged_is_given_back_and_never_more() {
        let book = book(4);
        assert_eq!(book.take(0, 10 * BLOCK, 6, true), 6);
        book.charge(A, 0, 6, None);
        assert_eq!(book.take(0, 10 * BLOCK, 6, true), 0);
        assert_eq!(book.take(0, 10 * BLOCK, 6, false), 4);
        book.charge(B, 0, 4, Some(7));
        book.credit(A, 100);
        assert_eq!((book.used(0).load(Ordering::Relaxed), book.account(A, 0, false).unwrap().blocks()), (4, 0));
        book.sweep(|pid, _| pid == 8);
        assert_eq!(book.used(0).load(Ordering::Relaxed), 4);
        book.sweep(|pid, file| pid == 7 && file == B);
        assert_eq!(book.used(0).load(Ordering::Relaxed), 0);
        book.sweep(|_, _| panic!("nobody keeps it any more"));
        // One that had a name until now, with the number of one that was nameless.
        assert_eq!(book.take(0, 10 * BLOCK, 3, true), 3);
        book.charge(B, 0, 3, Some(7));
        book.lost_name(B, Some(7));
        assert_eq!(book.used(0).load(Ordering::Relaxed), 0);
        // A new file with the number of one that was nameless.
        for keeper in [Some(7), None] {
            assert_eq!(book.take(0, 10 * BLOCK, 3, true), 3);
            book.charge(A, 0, 3, keeper);
        }
        assert_eq!((book.used(0).load(Ordering::Relaxed), book.account(A, 0, false).unwrap().blocks()), (3, 3));
    }

    #[test]
    fn an_account_without_room_is_none_and_one_without_blocks_is_used_again() {
        let book = book(2);
        for (ino, rule) in [(1, 0), (2, 1)] {
            book.charge(File { dev: 5, ino }, rule, 3, None);
        }
        assert!(book.account(A, 0, true).is_none());
        book.credit(File { dev: 5, ino: 1 }, 3);
        book.charge(A, 0, 2, None);
        assert_eq!(book.account(A, 0, false).map(Account::blocks), Some(2));
        assert_eq!(book.accounts_of(File { dev: 5, ino: 1 }).count(), 0);
        assert!(Book::default().account(A, 0, true).is_none());
    }

    #[test]
    fn a_write_adds_the_blocks_that_it_begins() {
        let none = |_, _| 0;
        let write = Write { size: 5000, is_sparse: false, start: 5000, len: 10_000 };
        assert_eq!(write.added(0, 10_000, none), 2);
        assert_eq!(write.bytes_within(1, none), 3 * BLOCK - 5000);
        assert_eq!(write.bytes_within(0, none), 2 * BLOCK - 5000);
        assert_eq!(Write { size: 0, start: 0, ..write }.bytes_within(0, none), 0);
        let sparse = Write { size: 10 * BLOCK, is_sparse: true, start: 0, len: 3 * BLOCK };
        assert_eq!(sparse.added(0, sparse.len, |first, end| end - first), 3);
        assert_eq!(sparse.bytes_within(2, |first, end| end - first), 2 * BLOCK);
    }
}

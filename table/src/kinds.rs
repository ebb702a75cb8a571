//! Which rules are what, as bits: what the shim looks at before it looks at a rule itself.

use crate::calls::FaultKind;
use crate::rule::{PlanHeader, Rule, clocks, exhaust, flag, per};
use bytemuck::{Pod, Zeroable};

/// Which rules are what. Whoever changes a rule keeps this up.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Rules that are more than a rate and a counter of the process: windows, other counters, limits.
    pub complex: u64,
    /// Rules that count the matches of the process.
    pub counting: u64,
    /// Rules for which the time matters.
    pub windowed: u64,
    /// Rules that put clocks off: no call is put to them.
    pub clocks: u64,
    /// Of those, the ones about the monotonic clock, which never goes back.
    pub steady: u64,
    /// Rules that look at more of a call than its operation and what it acts on: the descriptor's number, sizes, callers,
    /// the thread.
    pub picky: u64,
    /// Rules that ask which module makes the call.
    pub asks_caller: u64,
    /// Rules that cut a connection once some bytes have moved over it.
    pub metered: u64,
    /// Rules that keep a quota of disk.
    pub disk: u64,
    /// Rules of one thread.
    pub owned: u64,
    /// Room for what comes.
    pub room: [u64; 6],
}

impl Kinds {
    /// What these rules of a table are.
    #[must_use]
    pub fn of(header: &PlanHeader, rules: &[Rule]) -> Kinds {
        let mut kinds = Kinds::default();
        for (index, rule) in rules.iter().enumerate() {
            kinds.add(header.until_ns != u64::MAX || header.arm_ns != 0, index, rule);
        }
        kinds
    }

    /// Says what one rule is, whatever it was before. `limited`: the whole table has a window.
    pub fn set(&mut self, limited: bool, index: usize, rule: &Rule) {
        let keep = !(1u64 << (index & 63));
        for word in bytemuck::cast_slice_mut::<Kinds, u64>(std::slice::from_mut(self)) {
            *word &= keep;
        }
        self.add(limited, index, rule);
    }

    fn add(&mut self, limited: bool, index: usize, rule: &Rule) {
        let mut set = |word: fn(&mut Kinds) -> &mut u64, is: bool| *word(self) |= u64::from(is) << (index & 63);
        let is = |kind: FaultKind| rule.fault == kind as u8;
        let windowed = limited || rule.from_ns != 0 || rule.until_ns != u64::MAX;
        let asks_caller = rule.has(flag::CALLER) || rule.except.callers.count != 0;
        let spares = rule.has(flag::EXCEPT)
            && (rule.except.callers.count != 0
                || rule.except.fd_first <= rule.except.fd_last
                || rule.except.size_first <= rule.except.size_last);
        let picky = rule.flags & (flag::FD | flag::SIZE | flag::CALLER) != 0 || spares || rule.owner != 0;
        let metered = is(FaultKind::Disconnect) && rule.limit != 0;
        let counts = rule.has(flag::COUNTS);
        let limits = rule.times != 0 || is(FaultKind::Exhaust) || (counts && rule.per != per::PROCESS);
        let timed = rule.has(flag::TIMED);
        set(|kinds| &mut kinds.complex, windowed || picky || metered || limits || timed);
        set(|kinds| &mut kinds.counting, counts && rule.per == per::PROCESS);
        set(|kinds| &mut kinds.windowed, windowed);
        set(|kinds| &mut kinds.clocks, is(FaultKind::Clock));
        set(|kinds| &mut kinds.steady, is(FaultKind::Clock) && rule.clocks & clocks::MONOTONIC != 0);
        set(|kinds| &mut kinds.picky, picky);
        set(|kinds| &mut kinds.asks_caller, asks_caller);
        set(|kinds| &mut kinds.metered, metered);
        set(|kinds| &mut kinds.disk, rule.what == exhaust::DISK);
        set(|kinds| &mut kinds.owned, rule.owner != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_changes_is_no_more_what_it_was() {
        let mut rule = Rule::zeroed();
        rule.until_ns = u64::MAX;
        rule.times = 3;
        let mut kinds = Kinds::of(&PlanHeader::zeroed(), &[]);
        kinds.set(false, 5, &rule);
        assert_eq!((kinds.complex, kinds.counting), (1 << 5, 0));
        rule.times = 0;
        rule.flags = flag::COUNTS;
        kinds.set(false, 5, &rule);
        assert_eq!((kinds.complex, kinds.counting), (0, 1 << 5));
        kinds.set(true, 5, &rule);
        assert_eq!(kinds.windowed, 1 << 5);
    }
}

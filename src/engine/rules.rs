//! The compiled table, as the engine asks it.

use super::ops::Ops;
use chaos_table::calls::{FaultKind, OPS, Op};
use chaos_table::decide::Patterns;
use chaos_table::rule::{Plan, RULE_BITS, Rule, flag};

/// The compiled table and what follows from it.
#[derive(Debug)]
pub struct Rules {
    /// The table.
    pub plan: Plan,
    /// Operations by system call.
    pub ops: Ops,
    /// Rules that put clocks off: no call is put to them.
    clocks: u64,
    /// Rules that name callers, which only a shim can tell.
    callers: u64,
}

impl Rules {
    /// A plan that is to be asked.
    #[must_use]
    pub fn new(plan: Plan) -> Rules {
        let find = |which: &dyn Fn(&Rule) -> bool| {
            plan.rules.iter().enumerate().fold(0, |bits, (index, rule)| bits | u64::from(which(rule)) << index)
        };
        let clocks = find(&|rule| rule.fault == FaultKind::Clock as u8);
        let callers = find(&|rule| rule.has(flag::CALLER) || rule.except.callers.count != 0);
        Rules { ops: Ops::new(), clocks, callers, plan }
    }

    /// Patterns and their text.
    #[must_use]
    pub fn patterns(&self) -> Patterns<'_> {
        Patterns { matchers: &self.plan.matchers, text: &self.plan.text }
    }

    /// Rules that the engine cannot ask: about clocks, and about callers inside a program.
    #[must_use]
    pub const fn out_of_reach(&self) -> u64 {
        self.clocks | self.callers
    }

    /// Whether rules name hosts.
    #[must_use]
    pub fn has_names(&self) -> bool {
        super::names::matter(&self.plan.header)
    }

    /// Whether there are rules on an operation, in force or not.
    #[must_use]
    pub fn are_on(&self, op: Op) -> bool {
        self.plan.header.planned.get(op as usize).is_some_and(|word| word & RULE_BITS != 0)
    }

    /// Whether a rule of the plan wants a descriptor of this kind for an operation.
    #[must_use]
    pub fn only(&self, op: Op) -> (u64, u64) {
        let of = |words: &[u64]| words.get(op as usize).copied().unwrap_or(0);
        (of(&self.plan.header.only_files), of(&self.plan.header.only_sockets))
    }

    /// What is in force once the tree is armed.
    #[must_use]
    pub fn planned(&self) -> &[u64] {
        &self.plan.header.planned[..OPS]
    }
}

//! What of a table the engine cannot carry out, and why: said before a run, and never passed over.

use super::ops;
use chaos_table::calls::{CALLS, Family, FaultKind, Op};
use chaos_table::rule::{Plan, flag};

/// A rule, or a part of one, that the engine cannot carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Which rule.
    pub rule: usize,
    /// Whether nothing of the rule is left.
    pub whole: bool,
    /// Why: a clause that says what is missing.
    pub why: String,
}

/// What of a plan the engine cannot carry out in a program that it reaches.
#[must_use]
pub fn unreachable(plan: &Plan) -> Vec<Unreachable> {
    let mut found = Vec::new();
    for (index, rule) in plan.rules.iter().enumerate().filter(|(_, rule)| !rule.has(flag::LAUNCHER)) {
        let mut add = |whole: bool, why: &str| found.push(Unreachable { rule: index, whole, why: why.to_owned() });
        let fault = FaultKind::from_number(rule.fault);
        if fault == Some(FaultKind::Clock) {
            add(true, "programs read clocks from the vDSO, without a system call");
            continue;
        }
        if rule.has(flag::CALLER) || rule.except.callers.count != 0 {
            add(true, "which module makes a system call is not seen from outside");
            continue;
        }
        let calls: Vec<Op> = CALLS.iter().map(|call| call.op).filter(|op| is_on(plan, index, *op)).collect();
        let (reached, lost): (Vec<Op>, Vec<Op>) = calls.into_iter().partition(|op| ops::syscalls(*op).next().is_some());
        if reached == [Op::Close] && fault == Some(FaultKind::Error) {
            add(true, "a close that fails has closed all the same: only the shim can do both");
        } else if !lost.is_empty() {
            let (whole, why) = (reached.is_empty(), why_lost(&lost));
            add(whole, &why);
        }
    }
    found
}

fn is_on(plan: &Plan, rule: usize, op: Op) -> bool {
    plan.header.planned.get(op as usize).is_some_and(|word| word & (1 << rule) != 0)
}

fn why_lost(lost: &[Op]) -> String {
    let names: Vec<&str> = lost.iter().map(|op| op.row().name()).collect();
    let (verb, some) = if names.len() == 1 { ("is", names.join("")) } else { ("are", names.join(", ")) };
    let inner = if lost.iter().all(|op| op.row().is_in(Family::Memory)) {
        "; mmap, mremap and brk are reached"
    } else if lost.iter().all(|op| op.row().is_in(Family::Stdio)) {
        "; the reads and writes below them are reached"
    } else {
        ""
    };
    format!("{some} {verb} code of the program's own, no system call{inner}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_table::compile::{Context, compile};
    use chaos_table::schema::Table;
    use chaos_table::spec::parse_spec;
    use std::path::Path;

    fn of(spec: &str) -> Vec<(bool, String)> {
        let fault = parse_spec(spec, "test").unwrap();
        let table = Table { faults: vec![fault], ..Table::default() };
        let plan = compile(&table, &Context { work_dir: Path::new("/w"), seed: 1 }).unwrap().plan;
        unreachable(&plan).into_iter().map(|found| (found.whole, found.why)).collect()
    }

    #[test]
    fn what_is_no_system_call_is_said_and_what_is_one_is_not() {
        for reached in
            ["read=EIO", "connect=ECONNREFUSED", "mmap=ENOMEM", "recv=ECONNRESET", "brk=ENOMEM", "fork=EAGAIN"]
        {
            assert_eq!(of(reached), [], "{reached}");
        }
        for (lost, word) in [
            ("malloc=ENOMEM", "malloc is code"),
            ("fread=EIO", "below them"),
            ("dns", "getaddrinfo"),
            ("clock offset=1h", "vDSO"),
            ("error calls=read caller=libfoo* errno=EIO", "module"),
            ("close=EIO", "closed all the same"),
        ] {
            let found = of(lost);
            assert!(found.iter().any(|(whole, why)| *whole && why.contains(word)), "{lost}: {found:?}");
        }
        assert!(of("read,fread=EIO").iter().any(|(whole, why)| !whole && why.contains("fread")));
    }
}

//! How often the calls that the rules fail do fail without us: counted as system calls of the whole tree, in a run
//! without faults that is traced and so slow. `--rate 2x` is a multiple of it.

use chaos_table::calls::{FaultKind, Op};
use chaos_table::rule::{Plan, Rule};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What is counted, and what has been.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Numbers of system calls, with the errnos that rules would fail them with.
    wanted: HashMap<i64, HashSet<i32>>,
    found: Surveyed,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// System calls of a kind that a rule fails.
    pub calls: u64,
    /// Those of them that failed as a rule would fail them.
    pub failed: u64,
}

impl Survey {
    /// For the rules of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Survey {
        let mut survey = Survey::default();
        for (number, rules) in (0..).zip(plan.header.planned) {
            let Some(op) = Op::from_number(number) else { continue };
            for (_, rule) in plan.rules.iter().enumerate().filter(|(at, _)| rules >> at & 1 == 1) {
                let errnos = errnos_of(rule, op);
                if !errnos.is_empty() {
                    let calls = op.row().syscalls();
                    calls.iter().for_each(|call| survey.wanted.entry(*call).or_default().extend(&errnos));
                }
            }
        }
        survey
    }

    /// Counts a call that has come back.
    pub fn count(&mut self, call: i64, result: i64) {
        let Some(errnos) = self.wanted.get(&call) else { return };
        self.found.calls += 1;
        let errno = result.checked_neg().and_then(|errno| i32::try_from(errno).ok());
        self.found.failed += u64::from(errno.is_some_and(|errno| errnos.contains(&errno)));
    }

    /// What has been counted.
    #[must_use]
    pub fn found(&self) -> Surveyed {
        self.found
    }
}

impl Surveyed {
    /// The part that failed; `None` when there was no call.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        // Counts far below 2^52.
        (self.calls > 0).then(|| self.failed as f64 / self.calls as f64)
    }
}

/// What a rule fails a call with; nothing when it does something else to it.
fn errnos_of(rule: &Rule, op: Op) -> Vec<i32> {
    match FaultKind::from_number(rule.fault) {
        Some(FaultKind::Error | FaultKind::Torn) if rule.errno_count > 0 => {
            rule.errnos.iter().take(rule.errno_count as usize).map(|choice| choice.code).collect()
        }
        Some(FaultKind::Error) => op.row().usual().to_vec(),
        Some(FaultKind::Refuse) => vec![libc::ECONNREFUSED],
        Some(FaultKind::Unreachable) => vec![libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH],
        Some(FaultKind::Disconnect) => vec![libc::ECONNRESET, libc::EPIPE],
        Some(FaultKind::Exhaust) => vec![libc::ENOMEM, libc::EMFILE, libc::EAGAIN, libc::ENOSPC],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_table::compile::{Context, compile};
    use chaos_table::schema::Table;
    use std::path::Path;

    #[test]
    fn calls_count_that_rules_fail_as_they_would_fail_them() {
        let table = r#"{"enabled": false, "faults": [
            {"fault": "error", "calls": "open", "errno": ["EIO", "EMFILE"]},
            {"fault": "latency", "calls": "read"},
            {"fault": "refuse"}
        ]}"#;
        let table = Table::from_json(table, "test").unwrap();
        let plan = compile(&table, &Context { work_dir: Path::new("/"), seed: 1 }).unwrap().plan;
        let mut survey = Survey::of(&plan);
        for (call, result) in [
            (libc::SYS_openat, 3),
            (libc::SYS_openat, -i64::from(libc::EMFILE)),
            (libc::SYS_openat, -i64::from(libc::ENOENT)),
            (libc::SYS_read, -i64::from(libc::EIO)),
            (libc::SYS_connect, -i64::from(libc::ECONNREFUSED)),
            (libc::SYS_connect, i64::MIN),
        ] {
            survey.count(call, result);
        }
        assert_eq!(survey.found(), Surveyed { calls: 5, failed: 2 });
        assert_eq!(survey.found().rate(), Some(0.4));
        assert_eq!(Surveyed::default().rate(), None);
    }
}

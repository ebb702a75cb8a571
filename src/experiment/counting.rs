//! Rules that never fire: they count calls, for checks and for phases that begin by a number of calls.

use super::file::Counting;
use crate::error::{Failure, Result};
use chaos_table::checks::{Check, CheckKind, Text};
use chaos_table::rule::Plan;
use chaos_table::schema::{Fault, Table};
use serde_json::{Map, Value, json};

/// What the names of these rules begin with.
const COUNTER: &str = "counter-";

/// Whether a rule of this name only counts.
#[must_use]
pub fn only_counts(rule: &str) -> bool {
    rule.starts_with(COUNTER)
}

/// Whether a table injects nothing at all.
#[must_use]
pub fn is_harmless(plan: &Plan) -> bool {
    (0..plan.rules.len()).all(|at| only_counts(plan.rule_name(at)))
}

/// Name of the rule that counts for a phase.
#[must_use]
pub fn of_phase(phase: &str) -> String {
    format!("{COUNTER}of-{phase}")
}

/// A rule that counts these calls.
///
/// # Errors
/// When there are no such calls.
pub fn counter(name: &str, counting: &Counting) -> Result<Fault> {
    let mut rule = counting.selectors.clone();
    rule.insert("name".into(), json!(name));
    rule.insert("fault".into(), json!("error"));
    rule.insert("rate".into(), json!(0));
    let mut table = Table::from_json(&json!({"faults": [rule]}).to_string(), "calls").map_err(|mut error| {
        // Line and column of the text that was made here would mean nothing.
        error.place = None;
        Failure::from(error)
    })?;
    table.faults.pop().ok_or_else(|| Failure::new("nothing says which calls are counted"))
}

/// A rule for each check that counts calls, with the phase that it counts in.
///
/// # Errors
/// When a check names calls that there are not.
pub fn counters(checks: &[Check]) -> Result<Vec<(Fault, Option<&str>)>> {
    let counting = checks.iter().enumerate().filter(|(_, check)| check.check == Some(CheckKind::Calls));
    counting.map(|(at, check)| Ok((of_check(at, check)?, phase_of(check)))).collect()
}

fn phase_of(check: &Check) -> Option<&str> {
    check.phase.as_ref().map(|Text(phase)| phase.as_str())
}

fn of_check(at: usize, check: &Check) -> Result<Fault> {
    let mut selectors = Map::new();
    for (key, texts) in [("calls", &check.calls), ("process", &check.process)] {
        if let Some(texts) = texts {
            selectors.insert(key.into(), texts.iter().map(|Text(text)| json!(text)).collect::<Value>());
        }
    }
    if let Some(Text(path)) = &check.path {
        selectors.insert("path".into(), json!(path));
    }
    counter(&name_of(at), &Counting { count: 0, selectors })
        .map_err(|why| Failure { message: format!("check `{check}`: {}", why.message), ..why })
}

/// Name of the rule that counts for a check, by its place among them.
fn name_of(at: usize) -> String {
    format!("{COUNTER}{}", at + 1)
}

/// How many calls the rule of a check has counted, of these rules and their counts.
#[must_use]
pub fn counted(at: usize, rules: &[(String, u64)]) -> Option<u64> {
    let name = name_of(at);
    let own: Vec<u64> = rules.iter().filter(|(rule, _)| is_or_in_phase(rule, &name)).map(|(_, count)| *count).collect();
    (!own.is_empty()).then(|| own.iter().sum())
}

/// Whether a rule is the one of this name, or that in a phase.
#[must_use]
pub fn is_or_in_phase(rule: &str, name: &str) -> bool {
    rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

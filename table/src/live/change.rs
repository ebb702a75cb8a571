//! Changing what a rule that is in use does: `rate=10%`, `times=3`.

use crate::calls::FaultKind;
use crate::check::for_bounds_block;
use crate::compile::{delay, set_errnos};
use crate::decide::rate_threshold;
use crate::error::{Problem, TableError, nearest, quoted};
use crate::fault::Fault;
use crate::rule::{ALWAYS, Rule, flag, shape};
use crate::spec::words_of;
use crate::value::{Keys, Word};
use crate::words::Distribution;

/// What can be changed of any rule that calls are put to.
const WHEN: [&str; 7] = ["rate", "every", "nth", "after", "times", "from", "for"];

/// Changes a rule as a text such as `rate=10% times=3` says. `now`: ns that rules count from; `from` and `for` begin there.
///
/// # Errors
/// What is wrong with the text, or what cannot be changed while the program runs; the rule is as it was then.
pub fn change(rule: &mut Rule, text: &str, now: u64) -> Result<(), TableError> {
    try_change(rule, text, now).map_err(|problem| problem.at(None))
}

fn try_change(rule: &mut Rule, text: &str, now: u64) -> Result<(), Problem> {
    let kind = FaultKind::from_number(rule.fault);
    let such = "such as rate=10%, times=3 or delay=200ms";
    if rule.has(flag::LAUNCHER) {
        return Err(Problem::new("the launcher does what this rule says, by the table that it was started with")
            .help("`rm` ends it"));
    }
    if kind == Some(FaultKind::Clock) {
        return Err(Problem::new("a clock that changes its error would jump, or go back")
            .help("`rm` the rule and `add` another"));
    }
    let mut given = Fault { fault: kind, ..Fault::default() };
    let mut keys = Vec::new();
    for (key, value) in words_of(text)? {
        keys.push(set_word(&mut given, kind, key.as_ref(), &value)?);
    }
    if keys.is_empty() {
        return Err(Problem::new("nothing is said to be changed").help(such));
    }
    if given.nth.is_some() && given.every.is_some() {
        return Err(Problem::new("`nth` and `every` both say which matches fire").help("give one of them"));
    }
    if given.jitter.is_none()
        && given.distribution.is_some_and(|one| one != Distribution::Fixed)
        && rule.delay.spread_ns == 0
    {
        return Err(Problem::new("the distribution has no width").help("give `jitter` with it, such as jitter=20ms"));
    }
    let mut changed = *rule;
    keys.iter().for_each(|key| apply(&mut changed, &given, key, now));
    *rule = changed;
    Ok(())
}

/// Reads one `key=value`; the key in its first spelling.
fn set_word(given: &mut Fault, kind: Option<FaultKind>, key: Option<&Word>, value: &Word) -> Result<String, Problem> {
    let Some(key) = key.map(|key| key.whole.as_str()) else {
        return Err(Problem::new(format!("{} has no `=`", quoted(&value.whole))).help("such as rate=10%"));
    };
    if value.whole.is_empty() {
        return Err(Problem::new(format!("`{key}=` has no value")).help("such as rate=10%"));
    }
    let of_kind: &[&str] = match kind {
        Some(FaultKind::Error | FaultKind::Return) => &["errno"],
        Some(FaultKind::Latency) => &["delay", "jitter", "distribution"],
        Some(FaultKind::Short) => &["keep"],
        Some(FaultKind::Torn) => &["keep", "errno"],
        Some(FaultKind::Throttle) => &["bandwidth"],
        Some(FaultKind::Exhaust) => &["limit"],
        _ => &[],
    };
    let can = || WHEN.iter().chain(of_kind).copied();
    let canonical = match Fault::key(key) {
        Ok(canonical) => canonical,
        Err(problem) => {
            let near = nearest(key, can()).map(|near| format!("did you mean `{near}`?"));
            return Err(match near {
                Some(near) => problem.help(near),
                None => problem,
            });
        }
    };
    let canonical = first_spelling(&canonical).to_owned();
    if !can().any(|one| one == canonical) {
        let kind = kind.map_or("such a", FaultKind::name);
        let problem = Problem::new(format!("{} of a rule cannot be changed while the program runs", quoted(key)));
        let all: Vec<&str> = can().collect();
        return Err(problem
            .help(format!("of `{kind}` these can: {}; for the rest `rm` the rule and `add` another", all.join(", "))));
    }
    given.set_word(key, value)?;
    Ok(canonical)
}

fn first_spelling(key: &str) -> &str {
    match key {
        "probability" | "failure_rate" | "error_rate" | "prob" => "rate",
        "skip" => "after",
        "max_times" => "times",
        "duration" | "duration_seconds" => "for",
        "errnos" => "errno",
        "delay_ms" | "duration_ms" | "latency_ms" => "delay",
        "jitter_ms" => "jitter",
        key => key,
    }
}

fn apply(rule: &mut Rule, given: &Fault, key: &str, now: u64) {
    match key {
        "rate" => rule.rate = given.rate.map_or(ALWAYS, |rate| rate_threshold(rate.0)),
        "every" => {
            rule.every = given.every.map_or(0, |every| every.0);
            (rule.nth_first, rule.nth_last, rule.nth_step) = (0, 0, 0);
        }
        "nth" => {
            rule.every = 0;
            if let Some(nth) = given.nth {
                (rule.nth_first, rule.nth_last, rule.nth_step) = (nth.first, nth.last, nth.step);
            }
        }
        "after" => rule.after = given.after.map_or(0, |after| after.0),
        "times" => rule.times = given.times.map_or(0, |times| times.0),
        "for" if blocks(rule) => rule.delay.base_ns = given.r#for.map_or(0, |longest| longest.0.0),
        "from" | "for" => {
            rule.from_ns = given.from.map_or(rule.from_ns, |from| now.saturating_add(from.0));
            let begin = if given.from.is_some() { rule.from_ns } else { now };
            rule.until_ns = given.r#for.map_or(rule.until_ns, |lasting| begin.saturating_add(lasting.0.0));
        }
        "errno" => set_errnos(rule, given),
        "delay" | "jitter" | "distribution" => {
            let new = delay(given);
            if given.delay.is_some() {
                rule.delay.base_ns = new.base_ns;
            }
            if given.jitter.is_some() {
                rule.delay.spread_ns = new.spread_ns;
            }
            if given.distribution.is_some() || (given.jitter.is_some() && rule.delay.shape == shape::FIXED) {
                rule.delay.shape = new.shape;
            }
        }
        "keep" => rule.keep_ppm = given.keep.map_or(rule.keep_ppm, |keep| keep.0),
        "bandwidth" => rule.limit = given.bandwidth.map_or(rule.limit, |bandwidth| bandwidth.0),
        "limit" => rule.limit = given.limit.map_or(rule.limit, |limit| limit.amount),
        _ => {}
    }
    let counts = rule.after != 0 || rule.every != 0 || rule.nth_first != 0;
    rule.flags = if counts { rule.flags | flag::COUNTS } else { rule.flags & !flag::COUNTS };
}

/// Whether `for` is how long the fault blocks, rather than a window.
fn blocks(rule: &Rule) -> bool {
    let mut fault = Fault { fault: FaultKind::from_number(rule.fault), ..Fault::default() };
    if fault.fault == Some(FaultKind::Dns) && rule.code == 0 {
        fault.answer = Some(crate::words::Answer::Hang);
    }
    for_bounds_block(&fault)
}

//! Gates: what the figures of a run must be for a build to ship. Parsed before the program starts. Pure.

use crate::error::{Failure, Result};
use crate::figures::{Figures, SMALL, Spread};
use crate::latency::Pick;
use crate::metrics::Condition;
use crate::recoveries::NOT_WATCHED;
use crate::traits::TraitFigures;
use chaos_table::nearest;
use chaos_table::quantities::{Rate, Time};
use std::fmt;
use std::time::Duration;

/// Gates with a name.
pub const NAMED: [(&str, &str); 2] =
    [("production", "recovery>=80%,crashes=0"), ("mars-rover", "recovery>=90%,rate>=30%,crashes=0,files.broken=0")];

/// What a figure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Part,
    Count,
    Time,
    Factor,
}

/// A figure: its name, its unit, and how it is got.
type Row = (&'static str, Unit, fn(&Judgement) -> Option<f64>);

/// What a gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    /// The figures of all runs together.
    pub figures: &'a Figures,
    /// Those of the controls, when there were some.
    pub controls: Option<&'a Figures>,
    /// How often faults were to fire, as the table says it.
    pub rate: Option<f64>,
    /// Median duration of the runs over that of the controls.
    pub slowdown: Option<f64>,
    /// What was spoiled of a session, so that no figure of it can be trusted to be whole.
    pub damaged: Option<&'a str>,
}

/// Every figure that a gate can name.
const FIGURES: &[Row] = &[
    ("recovery", Unit::Part, |on| on.figures.recovery_rate()),
    ("survival", Unit::Part, |on| on.figures.survival_low()),
    ("survival.high", Unit::Part, |on| on.figures.survival_high()),
    ("completion", Unit::Part, |on| on.figures.completion()),
    ("rate", Unit::Part, |on| on.rate),
    ("injections", Unit::Count, |on| count(on.figures.delivered)),
    ("fired", Unit::Count, |on| count(on.figures.fired)),
    ("episodes", Unit::Count, |on| count(on.figures.episodes())),
    ("recovered", Unit::Count, |on| on.figures.recovered().measured().and_then(count)),
    ("tolerated", Unit::Count, |on| count(on.figures.tolerated)),
    ("failed", Unit::Count, |on| count(on.figures.failed())),
    ("unknown", Unit::Count, |on| count(on.figures.unknown)),
    ("crashes", Unit::Count, |on| count(on.figures.crashes)),
    ("checks.failed", Unit::Count, |on| checks(on.figures, on.figures.checks_failed)),
    ("checks.passed", Unit::Count, |on| checks(on.figures, on.figures.checks_passed)),
    ("files.broken", Unit::Count, |on| on.figures.files_broken.and_then(count)),
    ("escapes", Unit::Count, |on| count(on.figures.escapes)),
    ("suppressed", Unit::Count, |on| count(on.figures.suppressed)),
    ("runs", Unit::Count, |on| count(on.figures.runs)),
    ("controls.failed", Unit::Count, |on| on.controls.and_then(|on| count(on.ended_runs - on.completed))),
    ("mttr", Unit::Time, |on| mttr(on, |spread| spread.mean)),
    ("mttr.mean", Unit::Time, |on| mttr(on, |spread| spread.mean)),
    ("mttr.p50", Unit::Time, |on| mttr(on, |spread| spread.p50)),
    ("mttr.p95", Unit::Time, |on| mttr(on, |spread| spread.p95)),
    ("mttr.p99", Unit::Time, |on| mttr(on, |spread| spread.p99)),
    ("mttr.max", Unit::Time, |on| mttr(on, |spread| spread.max)),
    ("slowdown", Unit::Factor, |on| on.slowdown),
    ("latency.p50", Unit::Time, |on| latency(on, |spread| spread.p50)),
    ("latency.p95", Unit::Time, |on| latency(on, |spread| spread.p95)),
    ("latency.p99", Unit::Time, |on| latency(on, |spread| spread.p99)),
    ("latency.max", Unit::Time, |on| latency(on, |spread| spread.max)),
    ("traits.attempts", Unit::Count, |on| traits(on, |traits| traits.attempts)),
    ("traits.rate", Unit::Count, |on| traits(on, |traits| traits.calls_per_second)),
    ("traits.waited", Unit::Time, |on| traits(on, |traits| traits.waited_ns)),
    ("traits.unpaced", Unit::Count, |on| traits(on, |traits| traits.unpaced)),
    ("traits.constant", Unit::Count, |on| traits(on, |traits| traits.constant)),
    ("traits.growing", Unit::Count, |on| traits(on, |traits| traits.growing)),
    ("traits.gave_up", Unit::Count, |on| traits(on, |traits| traits.gave_up)),
    ("traits.hung", Unit::Count, |on| traits(on, |traits| traits.hung)),
    ("traits.breakers", Unit::Count, |on| traits(on, |traits| traits.breakers)),
];

/// Figures that need somebody to watch recoveries; so do those of the time to recovery.
const WATCHED: [&str; 3] = ["recovery", "recovered", "survival"];

/// Figures that say something also when no fault was delivered.
const WITHOUT_FAULTS: [&str; 4] = ["crashes", "completion", "checks.failed", "controls.failed"];

fn count(count: u64) -> Option<f64> {
    // Far below 2^52.
    Some(count as f64)
}

fn checks(figures: &Figures, value: u64) -> Option<f64> {
    (figures.checks_passed + figures.checks_failed > 0).then_some(value as f64)
}

fn traits(on: &Judgement, pick: fn(&TraitFigures) -> u64) -> Option<f64> {
    (on.figures.traits.episodes > 0).then(|| pick(&on.figures.traits) as f64)
}

fn mttr(on: &Judgement, pick: fn(&Spread) -> u64) -> Option<f64> {
    on.figures.mttr().map(|spread| pick(&spread) as f64)
}

/// Of the call for which it is longest.
fn latency(on: &Judgement, pick: Pick) -> Option<f64> {
    on.figures.latencies.as_ref().filter(|_| on.figures.untimed == 0)?.longest(pick).map(|ns| ns as f64)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    Unequal,
    Below,
    Above,
}

/// The longer ones first, as `>=` begins with `>`.
const COMPARISONS: [(&str, Comparison); 7] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("=", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// One condition.
#[derive(Clone, Copy)]
struct Clause {
    figure: &'static Row,
    comparison: Comparison,
    bound: f64,
}

/// What must hold, all of it.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    clauses: Vec<Clause>,
    metrics: Vec<Condition>,
}

/// What a gate says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// All of it holds.
    Passed(String),
    /// Some of it does not.
    Failed(String),
    /// What it asks for is not known.
    Inconclusive(String),
}

impl Ruling {
    /// In one line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Ruling::Passed(why) => format!("gate passed: {why}"),
            Ruling::Failed(why) => format!("gate failed: {why}"),
            Ruling::Inconclusive(why) => format!("gate inconclusive: {why}"),
        }
    }

    /// As one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Ruling::Passed(_) => "passed",
            Ruling::Failed(_) => "failed",
            Ruling::Inconclusive(_) => "inconclusive",
        }
    }
}

impl Gate {
    /// Reads gates; `None` when there are none.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(texts: &[String]) -> Result<Option<Gate>> {
        let (mut clauses, mut metrics) = (Vec::new(), Vec::new());
        for clause in texts.iter().flat_map(|text| text.split(',')) {
            let clause = clause.trim();
            if let Some(condition) = Condition::parse(clause)? {
                metrics.push(condition);
                continue;
            }
            match NAMED.iter().find(|(name, _)| *name == clause) {
                Some((_, named)) => clauses.extend(named.split(',').map(parse_clause).collect::<Result<Vec<_>>>()?),
                None => clauses.push(parse_clause(clause)?),
            }
        }
        Ok((!clauses.is_empty() || !metrics.is_empty()).then_some(Gate { clauses, metrics }))
    }

    /// Whether it asks what the run left in its working directory.
    #[must_use]
    pub fn asks_for_files(&self) -> bool {
        self.clauses.iter().any(|clause| clause.figure.0.starts_with("files."))
    }

    /// Whether it asks how long calls took.
    #[must_use]
    pub fn asks_for_latency(&self) -> bool {
        self.clauses.iter().any(Clause::is_latency)
    }

    /// Judges.
    #[must_use]
    pub fn rule(&self, on: &Judgement) -> Ruling {
        let nothing = on.figures.delivered == 0;
        let unwatched = on.figures.unwatched > 0;
        let (mut failed, mut open, mut held, mut unmeasured) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for clause in &self.clauses {
            match clause.figure.2(on) {
                None if on.figures.untimed > 0 && clause.is_latency() => {
                    let count = on.figures.untimed;
                    open.push(format!("{} not measured in {count} processes under the supervisor", clause.figure.0));
                }
                None if unwatched && clause.needs_watching() => unmeasured.push(clause.figure.0),
                None => open.push(format!("there is no figure for {}", clause.figure.0)),
                Some(_) if nothing && !WITHOUT_FAULTS.contains(&clause.figure.0) => {}
                Some(value) if clause.holds(value) => held.push(clause.said(value, on)),
                Some(value) => failed.push(format!("{}, wanted {clause}", clause.said(value, on))),
            }
        }
        for condition in &self.metrics {
            match condition.judge(&on.figures.metrics) {
                None => open.push(format!("the program said no figure metric.{}", condition.key())),
                Some((true, said)) => held.push(said),
                Some((false, said)) => failed.push(said),
            }
        }
        if !failed.is_empty() {
            return Ruling::Failed(failed.join("; "));
        }
        if nothing {
            return Ruling::Inconclusive("no fault was delivered, so nothing was tested".into());
        }
        if on.figures.ended_runs < on.figures.runs {
            let unseen = on.figures.runs - on.figures.ended_runs;
            return Ruling::Inconclusive(format!("the end of {unseen} of {} runs was not seen", on.figures.runs));
        }
        if let Some(damaged) = on.damaged {
            return Ruling::Inconclusive(damaged.to_owned());
        }
        if !unmeasured.is_empty() {
            open.push(format!("{} not measured: {NOT_WATCHED}", unmeasured.join(", ")));
        }
        if open.is_empty() { Ruling::Passed(held.join(", ")) } else { Ruling::Inconclusive(open.join("; ")) }
    }
}

impl Clause {
    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Equal => value == self.bound,
            Comparison::Unequal => value != self.bound,
            Comparison::Below => value < self.bound,
            Comparison::Above => value > self.bound,
        }
    }

    fn needs_watching(&self) -> bool {
        WATCHED.contains(&self.figure.0) || self.figure.0.starts_with("mttr")
    }

    fn is_latency(&self) -> bool {
        self.figure.0.starts_with("latency.")
    }

    fn said(&self, value: f64, on: &Judgement) -> String {
        let (name, unit, _) = self.figure;
        let recoveries = on.figures.ttr_ns.len();
        let few = if *unit == Unit::Time && name.starts_with("mttr") && recoveries < SMALL {
            format!(" (n={recoveries})")
        } else {
            String::new()
        };
        format!("{name} {}{few}", shown(value, *unit))
    }
}

impl fmt::Debug for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().rev().find(|(_, comparison)| *comparison == self.comparison);
        write!(f, "{}{}", sign.map_or("?", |(sign, _)| sign), shown(self.bound, self.figure.1))
    }
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Part => percent(value),
        Unit::Count => format!("{value}"),
        // Not negative, and below 2^64.
        Unit::Time => duration(value as u64),
        Unit::Factor => format!("{value:.2}"),
    }
}

/// A part in percent, rounded down so that 89.96 % never looks like 90 %.
#[must_use]
pub fn percent(part: f64) -> String {
    let tenths = (part * 1000.0 + 1e-9).floor() / 10.0;
    format!("{tenths}%")
}

/// A duration for reading: three digits and a unit.
#[must_use]
pub fn duration(ns: u64) -> String {
    let units = [(60_000_000_000, "min"), (1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us")];
    match units.into_iter().find(|(unit, _)| ns >= *unit) {
        None => format!("{ns} ns"),
        Some((60_000_000_000, _)) => {
            let whole = Duration::from_secs(ns / 1_000_000_000);
            humantime::format_duration(whole).to_string()
        }
        Some((unit, name)) => {
            // Far below 2^52 in the units that are left.
            let value = ns as f64 / unit as f64;
            let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            format!("{value:.digits$} {name}")
        }
    }
}

fn parse_clause(text: &str) -> Result<Clause> {
    let wrong = |message: String, help: String| Failure::new(format!("--gate: {message}")).help(help);
    let example = "such as recovery>=90%, crashes=0, mttr.p95<2s, injections>=1, production or mars-rover";
    if text.is_empty() {
        return Err(wrong("a condition is empty".into(), example.into()));
    }
    let at = text.find(['<', '>', '=', '!']).unwrap_or(text.len());
    let (name, rest) = (text[..at].trim_end(), &text[at..]);
    let Some(figure) = FIGURES.iter().find(|(known, _, _)| *known == name) else {
        if NAMED.iter().any(|(known, _)| *known == name) {
            let help = format!("give `{name}` alone, or the conditions that it stands for");
            return Err(wrong(format!("`{text}`: {name} is a gate of its own and no figure"), help));
        }
        // Without a comparison it may have been meant for a gate with a name.
        let (what, named) = if rest.is_empty() { ("figure or gate", &NAMED[..]) } else { ("figure", &[][..]) };
        let known = FIGURES.iter().map(|(known, _, _)| *known).chain(named.iter().map(|(name, _)| *name));
        let near = nearest(name, known.clone());
        let all = || format!("one of {}", known.collect::<Vec<_>>().join(", "));
        let help = near.map_or_else(all, |near| format!("did you mean `{near}`?"));
        return Err(wrong(format!("unknown {what} `{name}`"), help));
    };
    let Some((sign, comparison)) = COMPARISONS.iter().find(|(sign, _)| rest.starts_with(sign)) else {
        return Err(wrong(format!("`{text}` compares with nothing"), example.into()));
    };
    let value = rest[sign.len()..].trim();
    if value.is_empty() {
        return Err(wrong(format!("`{text}` has no value"), example.into()));
    }
    if value.starts_with(['<', '>', '=', '!']) {
        let signs = COMPARISONS.map(|(sign, _)| sign).join(" ");
        return Err(wrong(format!("`{text}` compares twice"), format!("one of {signs}")));
    }
    let bound = bound(figure.1, value).map_err(|(why, help)| wrong(format!("`{text}`: {why}"), help))?;
    Ok(Clause { figure, comparison: *comparison, bound })
}

fn bound(unit: Unit, text: &str) -> std::result::Result<f64, (String, String)> {
    let table = |error: chaos_table::TableError| (error.message, error.help.unwrap_or_default());
    match unit {
        Unit::Part => text.parse::<Rate>().map(|rate| rate.0).map_err(table),
        Unit::Time => text.parse::<Time>().map(|time| time.0 as f64).map_err(table),
        Unit::Count => {
            let count = text.parse::<u64>().map(|count| count as f64);
            count.map_err(|_| (format!("`{text}` is no count"), "a whole number, not negative".into()))
        }
        Unit::Factor => {
            let factor = text.trim_end_matches('x').parse::<f64>().ok().filter(|factor| factor.is_finite());
            factor.filter(|factor| *factor >= 0.0).ok_or_else(|| {
                (format!("`{text}` is no factor"), "such as slowdown<1.5: the runs take half as long again".into())
            })
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

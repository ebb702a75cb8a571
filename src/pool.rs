//! Runs put together: what a report and a gate speak of. One run is a pool of one. Pure.

use crate::coverage::Coverage;
use crate::episode::Episode;
use crate::facts::{Checked, Facts, Sight};
use crate::figures::{Figures, Spread};
use crate::gate::Judgement;
use crate::judge::{FamilyFigures, Judged, RuleFigures, family, hint};
use crate::outcome::{Crash, Failing, Outcome};
use crate::recoveries::Recoveries;
use crate::survey::Surveyed;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Runs whose episodes and injections are kept for the report.
pub const DETAILED: usize = 10;
/// Lines of a list that grows with the number of runs.
const LISTED: usize = 1000;

/// Runs, added up.
#[derive(Debug, Default)]
pub struct Pool {
    /// Every run with faults.
    pub runs: Vec<RunRow>,
    /// Every run without.
    pub controls: Vec<RunRow>,
    /// The figures of the runs with faults.
    pub figures: Figures,
    /// Those of the runs without.
    pub control_figures: Figures,
    /// What the rules did.
    pub rules: Vec<RuleFigures>,
    /// What happened to each family of calls.
    pub families: BTreeMap<String, FamilyFigures>,
    /// What to look at next, the commonest first.
    pub next: Vec<Group>,
    /// Who crashed in which run.
    pub crashes: Vec<(String, Crash)>,
    /// Checks of the runs with faults, with how often each passed and failed.
    pub checks: Vec<CheckRow>,
    /// Which engine had the processes.
    pub coverage: Coverage,
    /// What could not be followed, and how often.
    pub escapes: BTreeMap<String, u64>,
    /// Faults that fired where no kernel could produce them, and calls that were protected.
    pub left_alone: (u64, u64),
    /// What makes the verdict doubtful.
    pub trouble: BTreeSet<String>,
    /// What of that means that a session was spoiled.
    pub damaged: Option<String>,
    /// The first runs in full.
    pub details: Vec<Judged>,
    /// System calls that were counted without faults.
    pub survey: Option<Surveyed>,
    /// How far deaths could be seen, at worst.
    pub sight: Option<Sight>,
}

/// One run in a line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunRow {
    /// The session.
    pub session: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// How it ended.
    pub ended: String,
    /// Whether it ended as expected with every check passed; unknown when its end was not seen.
    pub completed: Option<bool>,
    /// Why not.
    pub why: Option<String>,
    /// Until its end, or the last that is known of it.
    pub duration_ns: u64,
    /// Faults that reached the program.
    pub delivered: u64,
    /// Episodes.
    pub episodes: u64,
    /// Those that recovered.
    pub recovered: Recoveries,
    /// Those that were tolerated.
    pub tolerated: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those of which nothing is known.
    pub unknown: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// The command that repeats it.
    pub repeat: Option<String>,
}

/// A check over all runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckRow {
    /// The check.
    pub check: String,
    /// Runs in which it passed.
    pub passed: u64,
    /// Runs in which it failed.
    pub failed: u64,
    /// Why it failed the first time.
    pub why: Option<String>,
}

/// Episodes of one sort that were not got over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What became of them.
    pub outcome: String,
    /// The family of the call.
    pub family: String,
    /// The call.
    pub call: String,
    /// The error or effect.
    pub error: String,
    /// How many there are.
    pub count: u64,
    /// The resource of the first.
    pub example: Option<String>,
    /// The session of the first.
    pub session: String,
    /// What to look at.
    pub advice: String,
}

impl Pool {
    /// Of these runs.
    #[must_use]
    pub fn of(runs: impl IntoIterator<Item = Judged>) -> Pool {
        let mut pool = Pool::default();
        runs.into_iter().for_each(|run| pool.add(run));
        pool.conclude();
        pool
    }

    /// Adds a run.
    pub fn add(&mut self, run: Judged) {
        let row = row_of(&run);
        let facts = run.facts.as_ref();
        self.trouble.extend(run.trouble.iter().take(LISTED.saturating_sub(self.trouble.len())).cloned());
        self.damaged = self.damaged.take().or(run.damaged.clone());
        if let Some(survey) = facts.and_then(|facts| facts.survey) {
            self.survey = Some(survey);
            return;
        }
        if facts.is_some_and(|facts| facts.control) {
            self.control_figures.add(&run.figures);
            self.controls.push(row);
            return;
        }
        self.sight = match (self.sight, facts.map(|facts| facts.sight)) {
            (Some(Sight::Zombies), _) | (_, Some(Sight::Zombies)) => Some(Sight::Zombies),
            (one, other) => one.or(other),
        };
        self.figures.add(&run.figures);
        let room = LISTED.saturating_sub(self.crashes.len());
        self.crashes.extend(run.crashes.iter().take(room).map(|crash| (run.name.clone(), crash.clone())));
        facts.iter().flat_map(|facts| &facts.checks).for_each(|check| self.check(check));
        run.rules.iter().for_each(|rule| self.rule(rule));
        for (name, more) in &run.families {
            let sum = self.families.entry(name.clone()).or_default();
            sum.delivered += more.delivered;
            sum.episodes += more.episodes;
            sum.recovered += more.recovered;
            sum.failed += more.failed;
        }
        self.coverage.add(&run.coverage);
        for escape in &run.escapes {
            let what = format!("{} ({})", escape.program, escape.reason);
            if self.escapes.len() < LISTED || self.escapes.contains_key(&what) {
                *self.escapes.entry(what).or_default() += 1;
            }
        }
        run.episodes.iter().for_each(|(episode, outcome)| self.group(&run, episode, outcome));
        self.runs.push(row);
        if self.details.len() < DETAILED {
            self.details.push(run);
        }
    }

    fn check(&mut self, check: &Checked) {
        let at = self.checks.iter().position(|row| row.check == check.check).unwrap_or_else(|| {
            self.checks.push(CheckRow { check: check.check.clone(), ..CheckRow::default() });
            self.checks.len() - 1
        });
        let Some(row) = self.checks.get_mut(at) else { return };
        if check.passed {
            row.passed += 1;
        } else {
            row.failed += 1;
            row.why.get_or_insert_with(|| check.why.clone());
        }
    }

    fn rule(&mut self, more: &RuleFigures) {
        let Some(sum) = self.rules.iter_mut().find(|rule| rule.name == more.name && rule.fault == more.fault) else {
            self.rules.push(more.clone());
            return;
        };
        sum.matched += more.matched;
        sum.fired += more.fired;
        sum.delivered += more.delivered;
        sum.protected += more.protected;
        sum.unsuitable += more.unsuitable;
        sum.episodes += more.episodes;
        sum.recovered += more.recovered;
        sum.failed += more.failed;
        sum.waited_ns.extend(&more.waited_ns);
    }

    fn group(&mut self, run: &Judged, episode: &Episode, outcome: &Outcome) {
        if matches!(outcome, Outcome::Recovered { .. } | Outcome::Tolerated) {
            return;
        }
        let (words, family) = (outcome.words(), family(&episode.call, episode.resource.as_deref()));
        let same = |group: &&mut Group| {
            group.outcome == words
                && group.call == episode.call
                && group.error == episode.error
                && group.family == family
        };
        if let Some(group) = self.next.iter_mut().find(same) {
            group.count += 1;
        } else if self.next.len() < LISTED {
            self.next.push(Group {
                outcome: words,
                family: family.to_owned(),
                call: episode.call.clone(),
                error: episode.error.clone(),
                count: 1,
                example: episode.resource.clone(),
                session: run.name.clone(),
                advice: advice(episode, outcome),
            });
        }
    }

    /// Puts what was added in order.
    pub fn conclude(&mut self) {
        // Failures before what is unknown, then the commonest.
        self.next.sort_by_key(|group| (!group.outcome.starts_with("failed"), std::cmp::Reverse(group.count)));
        for rule in &mut self.rules {
            let counted =
                crate::facts::Counted { matched: rule.matched, protected: rule.protected, unsuitable: rule.unsuitable };
            rule.hint = rule.hint.and(hint(counted, rule.fired, rule.by_launcher));
            self.left_alone.0 += rule.unsuitable;
            self.left_alone.1 += rule.protected;
        }
    }

    /// What a gate looks at.
    #[must_use]
    pub fn judgement(&self) -> Judgement<'_> {
        Judgement {
            figures: &self.figures,
            controls: (!self.controls.is_empty()).then_some(&self.control_figures),
            rate: self.rate(),
            slowdown: self.slowdown(),
            damaged: self.damaged.as_deref(),
        }
    }

    /// The smallest rate at which a table of these runs lets faults fire; `None` where a table does not say one.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let tables = self.details.iter().filter_map(|run| run.meta.as_ref()).map(|meta| rate_of(&meta.table));
        tables.reduce(|one, other| Some(one?.min(other?))).flatten()
    }

    /// How long the runs took.
    #[must_use]
    pub fn run_time(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|row| row.duration_ns).collect())
    }

    /// How long the controls took.
    #[must_use]
    pub fn control_time(&self) -> Option<Spread> {
        Spread::of(self.controls.iter().map(|row| row.duration_ns).collect())
    }

    /// Median duration of the runs over that of the controls; `None` without controls.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        let (runs, controls) = (self.run_time()?, self.control_time()?);
        // Durations far below 2^52 ns, and never zero for a program that was started.
        (controls.p50 > 0).then(|| runs.p50 as f64 / controls.p50 as f64)
    }

    /// How many of the controls did not do their task.
    #[must_use]
    pub fn failed_controls(&self) -> u64 {
        self.control_figures.ended_runs - self.control_figures.completed
    }

    /// What was run; the same for all runs of a pool.
    #[must_use]
    pub fn command(&self) -> String {
        let meta = self.details.iter().find_map(|run| run.meta.as_ref());
        meta.map_or_else(|| "a program without the launcher".into(), |meta| meta.command.join(" "))
    }
}

/// The rate that a table says for all of its faults: its own, or the least of those of the faults.
fn rate_of(table: &serde_json::Value) -> Option<f64> {
    let number = |value: &serde_json::Value| match value {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) => text.parse::<chaos_table::quantities::Rate>().ok().map(|rate| rate.0),
        _ => None,
    };
    let named = table["intensity"].as_str().and_then(|name| name.parse::<chaos_table::words::Intensity>().ok());
    let whole = number(&table["rate"]).or(named.map(chaos_table::words::Intensity::rate));
    let faults = table["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_fault = |fault: &serde_json::Value| {
        let counted = ["every", "nth", "after", "times"].iter().any(|key| !fault[key].is_null());
        match number(&fault["rate"]) {
            Some(rate) => Some(rate),
            // How many of the calls these hit is known only after the run.
            None if counted => None,
            None => Some(whole.unwrap_or(1.0)),
        }
    };
    let presets = table["chaos"].as_array().is_some_and(|presets| !presets.is_empty());
    let all = faults.iter().map(of_fault).chain(presets.then(|| Some(whole.unwrap_or(0.3))));
    all.reduce(|one, other| Some(one?.min(other?))).flatten()
}

fn row_of(run: &Judged) -> RunRow {
    let figures = &run.figures;
    let seen = figures.ended_runs == 1;
    RunRow {
        session: run.name.clone(),
        seed: run.seed(),
        ended: run.ended(),
        completed: seen.then_some(figures.completed == 1),
        why: run.failing.as_ref().map(|(_, why)| why.clone()),
        duration_ns: run.last_ns,
        delivered: figures.delivered,
        episodes: figures.episodes(),
        recovered: figures.recovered(),
        tolerated: figures.tolerated,
        failed: figures.failed(),
        unknown: figures.unknown,
        crashes: figures.crashes,
        repeat: run.facts.as_ref().map(|Facts { repeat, .. }| repeat.clone()).filter(|repeat| !repeat.is_empty()),
    }
}

/// What to look at for an episode that was not got over.
fn advice(episode: &Episode, outcome: &Outcome) -> String {
    let Episode { call, error, .. } = episode;
    match outcome {
        Outcome::Failed { kind: Failing::Crash, .. } => {
            format!("after {call} met {error} the process crashed: look at what it does with the failed result")
        }
        Outcome::Failed { kind: Failing::Hang, .. } => {
            format!("after {call} met {error} it never came to an end: give the wait a deadline")
        }
        Outcome::Failed { kind: Failing::Exit, .. } => {
            format!("after {call} met {error} it was not brought back: have a supervisor restart it")
        }
        Outcome::Failed { kind: Failing::Gracefully, .. } => {
            format!("after {call} met {error} it gave up and said so: try again, or use something else, if it may")
        }
        Outcome::Failed { kind: Failing::Wrong, .. } => {
            format!("after {call} met {error} it went on with a wrong result: verify what was read or written")
        }
        Outcome::Unknown if episode.unwatched => {
            format!("nobody could see whether it got over {error} of {call}: add a check")
        }
        Outcome::Recovered { .. } | Outcome::Tolerated | Outcome::Unknown => {
            format!("no success of {call} was seen after {error}, and nothing says whether that matters: add a check")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_says_its_rate_or_does_not() {
        assert_eq!(rate_of(&json!({"chaos": ["disk"], "rate": "40%"})), Some(0.4));
        assert_eq!(rate_of(&json!({"chaos": ["disk"], "intensity": "stress"})), Some(0.5));
        assert_eq!(rate_of(&json!({"chaos": ["disk"]})), Some(0.3));
        assert_eq!(rate_of(&json!({"faults": [{"rate": "30%"}, {"rate": 0.1}]})), Some(0.1));
        assert_eq!(rate_of(&json!({"faults": [{"fault": "error"}]})), Some(1.0));
        assert_eq!(rate_of(&json!({"faults": [{"rate": "30%"}, {"nth": 3}]})), None);
        assert_eq!(rate_of(&json!({})), None);
    }

    #[test]
    fn the_pool_of_a_thousand_runs_is_the_sum_of_them() {
        let run = |seed: u64| {
            let mut run = Judged { name: format!("run-{seed}"), last_ns: seed, ..Judged::default() };
            run.figures = Figures { runs: 1, ended_runs: 1, completed: seed % 2, delivered: 2, ..Figures::default() };
            run.figures.count(&Outcome::Recovered { how: crate::episode::How::Retry, ttr_ns: seed });
            run.figures.count(&Outcome::Unknown);
            run.rules = vec![RuleFigures { name: "r".into(), fired: 2, matched: 9, ..RuleFigures::default() }];
            run
        };
        let pool = Pool::of((1..=1000).map(run));
        assert_eq!((pool.runs.len(), pool.details.len(), pool.rules.len()), (1000, DETAILED, 1));
        assert_eq!((pool.rules[0].fired, pool.rules[0].matched), (2000, 9000));
        assert_eq!((pool.figures.recovery_rate(), pool.figures.completion()), (Some(0.5), Some(0.5)));
        let spread = pool.figures.mttr().unwrap();
        assert_eq!((spread.n, spread.p50, spread.p95, spread.p99, spread.max), (1000, 500, 950, 990, 1000));
    }
}

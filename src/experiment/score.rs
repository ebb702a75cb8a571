//! What came of many runs of an experiment, with how far the numbers can be trusted. Pure.

use super::shard::Shard;
use crate::exit_code::Exit;
use crate::facts::{Ended, Facts};
use crate::figures::Spread;
use crate::gate::Ruling;
use crate::judge::Judged;
use crate::outcome::Failing;
use crate::pool::Pool;
use serde::{Deserialize, Serialize};

/// Runs whose seeds and reasons are kept.
const LISTED: usize = 1000;

/// A part of a whole, with the interval that holds the true one with 95 % (Wilson).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Part {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// The part.
    pub part: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Part {
    /// `None` when there is nothing to take a part of.
    #[must_use]
    pub fn new(count: u64, of: u64) -> Option<Part> {
        const Z: f64 = 1.959_964;
        if of == 0 {
            return None;
        }
        // Counts far below 2^52.
        let (n, part) = (of as f64, count as f64 / of as f64);
        let middle = part + Z * Z / (2.0 * n);
        let spread = Z * (part * (1.0 - part) / n + Z * Z / (4.0 * n * n)).sqrt();
        let whole = 1.0 + Z * Z / n;
        // Rounding must not keep the ends from where they are.
        let low = if count == 0 { 0.0 } else { (middle - spread) / whole };
        let high = if count == of { 1.0 } else { (middle + spread) / whole };
        Some(Part { count, of, part, low, high })
    }

    /// In words: `48 of 50 (96 %, 87 % to 99 %)`.
    #[must_use]
    pub fn words(&self) -> String {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        format!(
            "{} of {} ({}, {} to {})",
            self.count,
            self.of,
            percent(self.part),
            percent(self.low),
            percent(self.high)
        )
    }
}

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It did its task under faults.
    Passed,
    /// It did not.
    Failed,
    /// Nothing can be said: no fault was delivered, or it could not be set up.
    Inconclusive,
}

/// A run that did not pass.
#[derive(Clone, Debug, Serialize)]
pub struct Odd {
    /// Its session.
    pub session: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Its seed.
    pub seed: u64,
    /// Why.
    pub why: String,
    /// The command that repeats it.
    pub repeat: String,
}

/// What a fault of a named component did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// The session.
    pub session: String,
    /// When, in ns since the start of the run.
    pub at_ns: u64,
    /// The component that its rule names.
    pub component: String,
    /// What its rule says, or what was done.
    pub message: String,
}

/// How an experiment ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It still runs, or was killed.
    #[default]
    Running,
    /// All its runs were made.
    Completed,
    /// Somebody ended it.
    Aborted,
    /// It could not be run.
    Failed,
}

/// What was run, so that results can be put together, compared and told of later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of chaos-exec.
    pub version: String,
    /// Hash of the experiment's text and of the command.
    pub digest: String,
    /// What it simulates, why that matters, what failing means.
    pub description: Option<String>,
    /// Whether it injects anything.
    pub injects: bool,
    /// What must be true of a run.
    pub checks: Vec<String>,
    /// What must hold of all runs.
    pub gate: Vec<String>,
    /// The limit on its targets, and whether it could be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Whether all runs together were asked to be stable.
    pub wants_stability: bool,
    /// Runs of all shards.
    pub runs: u64,
    /// Which part of them this is.
    pub shard: Option<Shard>,
    /// The command that runs all of it again.
    pub verify: String,
    /// When it began.
    pub started: String,
}

/// Whether the runs end alike, and which do not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stability {
    /// The part of the runs that must pass.
    pub wanted: f64,
    /// Whether so many did; `None` when too many runs say nothing.
    pub stable: Option<bool>,
    /// Whether some passed and some failed.
    pub flaky: bool,
    /// The seeds that failed.
    pub failed_seeds: Vec<u64>,
}

/// Runs that a look at stability makes, and the part of them that must pass.
pub const STABLE: (u64, f64) = (50, 0.98);

/// What came of all runs.
#[derive(Debug, Default, Serialize)]
pub struct Score {
    /// Its id.
    pub id: String,
    /// What was run.
    pub about: About,
    /// Its name for people.
    pub name: Option<String>,
    /// How it ended.
    pub status: Status,
    /// The seed that all others are derived from.
    pub seed: u64,
    /// Runs that were wanted.
    pub wanted: u64,
    /// Runs that passed.
    pub passed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs of which nothing can be said.
    pub inconclusive: u64,
    /// Why no run was made, though nothing went wrong.
    pub untested: Option<String>,
    /// Passed among those that passed or failed.
    pub success_rate: Option<Part>,
    /// Recovered episodes; `None` when that was not measured.
    pub recovery_rate: Option<Part>,
    /// Times to recovery in ns of those recoveries that were seen.
    pub mttr: Option<Spread>,
    /// Processes that crashed.
    pub crashes: u64,
    /// Targets that were started again.
    pub restarts: u64,
    /// Faults that reached the programs.
    pub total_faults_fired: u64,
    /// The first faults of rules that name a component.
    pub observations: Vec<Observation>,
    /// The first runs that did not pass.
    pub odd: Vec<Odd>,
    /// Whether the runs end alike, where that was asked.
    pub stability: Option<Stability>,
    /// What the gate says.
    pub gate: Option<String>,
    /// Where the results are.
    pub results: String,
}

impl Score {
    /// Counts a run. `harmless`: the experiment injects nothing at all, so nothing need be delivered.
    pub fn add(&mut self, run: &Judged, harmless: bool) -> Verdict {
        let figures = &run.figures;
        let setup = run.facts.as_ref().and_then(|facts| facts.setup.clone());
        let unseen = "its end was not seen";
        let ended_well = run.facts.as_ref().is_some_and(|facts| facts.root == Ended::Exit(0));
        let (verdict, why) = match (&setup, &run.failing) {
            (Some(why), _) => (Verdict::Inconclusive, why.clone()),
            // It was to say that something is wrong, and nothing was.
            (None, Some((Failing::Exit, _))) if ended_well && figures.delivered == 0 && !harmless => {
                (Verdict::Inconclusive, "no fault was delivered".into())
            }
            (None, Some((kind, why))) => (Verdict::Failed, format!("{}: {why}", kind.words())),
            (None, None) if figures.ended_runs == 0 => (Verdict::Inconclusive, unseen.into()),
            (None, None) if figures.crashes > 0 => (
                Verdict::Failed,
                run.crashes.first().map(|crash| format!("crash of {}", crash.words())).unwrap_or_default(),
            ),
            (None, None) if figures.delivered == 0 && !harmless => {
                (Verdict::Inconclusive, "no fault was delivered".into())
            }
            (None, None) => (Verdict::Passed, String::new()),
        };
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Inconclusive => self.inconclusive += 1,
        }
        let room = LISTED.saturating_sub(self.observations.len());
        let named = run.injections.iter().filter_map(|injection| Some((injection, injection.component.clone()?)));
        self.observations.extend(named.take(room).map(|(injection, component)| {
            let did = || format!("{} {}", injection.call, injection.errno.as_deref().unwrap_or(&injection.fault));
            let message = injection.message.clone().unwrap_or_else(did);
            Observation { session: run.name.clone(), at_ns: injection.at_ns, component, message }
        }));
        self.restarts += run.facts.as_ref().map_or(0, |facts| facts.restarts.len() as u64);
        if verdict != Verdict::Passed && self.odd.len() < LISTED {
            let repeat = run.facts.as_ref().map(|Facts { repeat, .. }| repeat.clone()).unwrap_or_default();
            let (session, seed) = (run.name.clone(), run.seed().unwrap_or(0));
            self.odd.push(Odd { session, verdict, seed, why, repeat });
        }
        verdict
    }

    /// Takes the figures of all runs.
    pub fn conclude(&mut self, pool: &Pool) {
        let figures = &pool.figures;
        self.success_rate = Part::new(self.passed, self.passed + self.failed);
        self.recovery_rate = figures.recovered().measured().and_then(|seen| Part::new(seen, figures.episodes()));
        self.mttr = figures.seen_mttr();
        self.crashes = figures.crashes;
        self.total_faults_fired = figures.delivered;
        self.stability = self.about.wants_stability.then(|| self.stability());
    }

    fn stability(&self) -> Stability {
        // Counts far below 2^52.
        let (made, part) = (self.made() as f64, STABLE.1);
        let stable = if self.failed as f64 > made * (1.0 - part) + 1e-9 {
            Some(false)
        } else if made > 0.0 && self.passed as f64 >= made * part - 1e-9 && self.made() == self.wanted {
            Some(true)
        } else {
            None
        };
        let failed = self.odd.iter().filter(|odd| odd.verdict == Verdict::Failed);
        let flaky = self.failed > 0 && self.passed > 0;
        Stability { wanted: part, stable, flaky, failed_seeds: failed.map(|odd| odd.seed).collect() }
    }

    /// What a command ends with that was to make these runs.
    #[must_use]
    pub fn exit(&self, ruling: Option<&Ruling>) -> Exit {
        let stable = self.stability.as_ref().map(|stability| stability.stable);
        match (ruling, stable) {
            (Some(Ruling::Failed(_)), _) | (_, Some(Some(false))) => Exit::GateFailed,
            (Some(Ruling::Inconclusive(_)), _) | (_, Some(None)) => Exit::Inconclusive,
            (None, None) if self.failed > 0 => Exit::GateFailed,
            (None, None) if self.passed == 0 => Exit::Inconclusive,
            _ => Exit::Target(0),
        }
    }

    /// Runs that were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.passed + self.failed + self.inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    #[test]
    fn intervals_are_wide_when_the_numbers_are_small() {
        let all = Part::new(50, 50).unwrap();
        assert!(all.part == 1.0 && all.high == 1.0 && (0.92..0.94).contains(&all.low), "{all:?}");
        let one = Part::new(1, 1).unwrap();
        assert!((0.20..0.21).contains(&one.low), "{one:?}");
        let half = Part::new(50, 100).unwrap();
        assert!((0.40..0.41).contains(&half.low) && (0.59..0.60).contains(&half.high), "{half:?}");
        let none = Part::new(0, 50).unwrap();
        assert!(none.low == 0.0 && none.high > 0.05, "{none:?}");
        assert_eq!(Part::new(0, 0), None);
        assert_eq!(all.words(), "50 of 50 (100 %, 93 % to 100 %)");
    }

    #[test]
    fn stable_are_those_of_which_nearly_all_pass() {
        let score = |passed, failed, inconclusive| {
            let score = Score { passed, failed, inconclusive, wanted: 50, ..Score::default() };
            score.stability()
        };
        assert_eq!((score(50, 0, 0).stable, score(50, 0, 0).flaky), (Some(true), false));
        assert_eq!((score(49, 1, 0).stable, score(49, 1, 0).flaky), (Some(true), true));
        assert_eq!((score(48, 2, 0).stable, score(0, 50, 0).flaky), (Some(false), false));
        assert_eq!(score(48, 0, 2).stable, None, "what was not hit is no pass");
        assert_eq!((score(20, 0, 0).stable, score(0, 0, 0).stable), (None, None), "it was cut short");
    }

    #[test]
    fn what_was_not_hit_has_not_passed() {
        let run = |figures: Figures| Judged { figures, ..Judged::default() };
        let ended = Figures { runs: 1, ended_runs: 1, completed: 1, delivered: 1, ..Figures::default() };
        let mut score = Score::default();
        assert_eq!(score.add(&run(ended.clone()), false), Verdict::Passed);
        assert_eq!(score.add(&run(Figures { delivered: 0, ..ended.clone() }), false), Verdict::Inconclusive);
        assert_eq!(score.add(&run(Figures { delivered: 0, ..ended.clone() }), true), Verdict::Passed);
        assert_eq!(score.add(&run(Figures { ended_runs: 0, ..ended.clone() }), false), Verdict::Inconclusive);
        assert_eq!(score.add(&run(Figures { crashes: 1, ..ended.clone() }), false), Verdict::Failed);
        let failing = Some((Failing::Wrong, "check failed".to_owned()));
        assert_eq!(score.add(&Judged { failing, ..run(ended.clone()) }, false), Verdict::Failed);
        // That an error was to be told says nothing when there was none.
        let facts = || Some(Facts { root: Ended::Exit(0), ..Facts::default() });
        let failing = || Some((Failing::Exit, "exit 0 was not expected".to_owned()));
        let unhit = Figures { delivered: 0, ..ended.clone() };
        let mut other = Score::default();
        let mut add = |figures: &Figures| {
            other.add(&Judged { failing: failing(), facts: facts(), ..run(figures.clone()) }, false)
        };
        assert_eq!((add(&ended), add(&unhit)), (Verdict::Failed, Verdict::Inconclusive));
        let facts = Some(Facts { setup: Some("db was not ready".into()), ..Facts::default() });
        assert_eq!(score.add(&Judged { facts, ..run(ended) }, false), Verdict::Inconclusive);
        assert_eq!((score.passed, score.failed, score.inconclusive, score.odd.len()), (2, 2, 3, 5));
    }
}

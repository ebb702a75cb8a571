//! The figures of one run, or of many together. Pure.
//!
//! Percentiles are nearest-rank: P95 of n times is the ceil(0.95 n)-th smallest, so always one that was measured.

use crate::episode::How;
use crate::latency::Latencies;
use crate::metrics::Metrics;
use crate::outcome::{Failing, Outcome};
use crate::recoveries::Recoveries;
use crate::traits::TraitFigures;
use serde::Serialize;

/// Fewer recoveries than these make a percentile a guess.
pub const SMALL: usize = 20;

/// What can be counted of runs; adding up those of several runs gives those of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Runs.
    pub runs: u64,
    /// Runs whose end was seen.
    pub ended_runs: u64,
    /// Those whose first process ended as expected, with every check passed.
    pub completed: u64,
    /// Runs in which no fault was delivered.
    pub undelivered_runs: u64,
    /// Runs whose log reached its limit, after which nothing was injected.
    pub limited_runs: u64,
    /// Faults that fired.
    pub fired: u64,
    /// Faults that reached the program.
    pub delivered: u64,
    /// Faults that did not happen because the log was full.
    pub suppressed: u64,
    /// Children that could not be followed.
    pub escapes: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// Checks that passed.
    pub checks_passed: u64,
    /// Checks that failed.
    pub checks_failed: u64,
    /// Files that runs left behind and that are not whole; `None` when nobody looked.
    pub files_broken: Option<u64>,
    /// Episodes that may have recovered with nobody watching.
    pub unwatched: u64,
    /// Recovered by a retry.
    pub retried: u64,
    /// Recovered by another member of the role.
    pub rerouted: u64,
    /// Recovered by a restart.
    pub restarted: u64,
    /// Tolerated.
    pub tolerated: u64,
    /// Failed, in the order of [`Failing::ALL`].
    pub failed_by_kind: [u64; 5],
    /// Unknown.
    pub unknown: u64,
    /// How the program behaved.
    pub traits: TraitFigures,
    /// How long the calls took that rules match; `None` when that was not asked for.
    #[serde(skip)]
    pub latencies: Option<Latencies>,
    /// Processes under the supervisor, whose calls were not timed though it was asked for.
    #[serde(skip)]
    pub untimed: u64,
    /// Times to recovery in ns.
    #[serde(skip)]
    pub ttr_ns: Vec<u64>,
    /// What the program said of itself.
    #[serde(skip)]
    pub metrics: Metrics,
}

impl Figures {
    /// Counts an episode.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Recovered { how, ttr_ns } => {
                *match how {
                    How::Retry => &mut self.retried,
                    How::Rerouted => &mut self.rerouted,
                    How::Restarted => &mut self.restarted,
                } += 1;
                self.ttr_ns.push(*ttr_ns);
            }
            Outcome::Tolerated => self.tolerated += 1,
            Outcome::Failed { kind, .. } => {
                let at = Failing::ALL.iter().position(|known| known == kind);
                if let Some(count) = at.and_then(|at| self.failed_by_kind.get_mut(at)) {
                    *count += 1;
                }
            }
            Outcome::Unknown => self.unknown += 1,
        }
    }

    /// Adds those of other runs.
    pub fn add(&mut self, other: &Figures) {
        self.runs += other.runs;
        self.ended_runs += other.ended_runs;
        self.completed += other.completed;
        self.undelivered_runs += other.undelivered_runs;
        self.limited_runs += other.limited_runs;
        self.fired += other.fired;
        self.delivered += other.delivered;
        self.suppressed += other.suppressed;
        self.escapes += other.escapes;
        self.crashes += other.crashes;
        self.checks_passed += other.checks_passed;
        self.checks_failed += other.checks_failed;
        self.files_broken = match (self.files_broken, other.files_broken) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
        };
        self.unwatched += other.unwatched;
        self.retried += other.retried;
        self.rerouted += other.rerouted;
        self.restarted += other.restarted;
        self.tolerated += other.tolerated;
        self.failed_by_kind.iter_mut().zip(other.failed_by_kind).for_each(|(sum, more)| *sum += more);
        self.unknown += other.unknown;
        self.traits.add(&other.traits);
        self.ttr_ns.extend(&other.ttr_ns);
        self.untimed += other.untimed;
        if let Some(more) = &other.latencies {
            self.latencies.get_or_insert_default().add(more);
        }
        self.metrics.merge(&other.metrics);
    }

    /// Episodes that recovered.
    #[must_use]
    pub fn recovered(&self) -> Recoveries {
        Recoveries { seen: self.retried + self.rerouted + self.restarted, unwatched: self.unwatched }
    }

    /// Episodes that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed_by_kind.iter().sum()
    }

    /// Episodes in all.
    #[must_use]
    pub fn episodes(&self) -> u64 {
        self.recovered().seen + self.tolerated + self.failed() + self.unknown
    }

    /// R/N; `None` when there was nothing to recover from, or nobody watched.
    #[must_use]
    pub fn recovery_rate(&self) -> Option<f64> {
        part(self.recovered().measured()?, self.episodes())
    }

    /// (R+T)/N; `None` when there was nothing to survive, or nobody watched.
    #[must_use]
    pub fn survival_low(&self) -> Option<f64> {
        part(self.recovered().measured()? + self.tolerated, self.episodes())
    }

    /// (R+T+U)/N; `None` when there was nothing to survive.
    #[must_use]
    pub fn survival_high(&self) -> Option<f64> {
        part(self.recovered().seen + self.tolerated + self.unknown, self.episodes())
    }

    /// The part of the runs that did their task; `None` when no end was seen.
    #[must_use]
    pub fn completion(&self) -> Option<f64> {
        part(self.completed, self.ended_runs)
    }

    /// The times to recovery; `None` when nothing recovered, or nobody watched.
    #[must_use]
    pub fn mttr(&self) -> Option<Spread> {
        self.recovered().measured().and(self.seen_mttr())
    }

    /// The times of those recoveries that were seen, be they all or not.
    #[must_use]
    pub fn seen_mttr(&self) -> Option<Spread> {
        Spread::of(self.ttr_ns.clone())
    }
}

/// `of / all`; `None` when there is nothing to take a part of.
fn part(of: u64, all: u64) -> Option<f64> {
    // Counts far below 2^52.
    (all > 0).then(|| of as f64 / all as f64)
}

/// How measured times are spread, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub n: usize,
    /// Their mean.
    pub mean: u64,
    /// Their median.
    pub p50: u64,
    /// 95 of 100 are not longer.
    pub p95: u64,
    /// 99 of 100 are not longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Spread {
    /// Of these times; `None` when there are none.
    #[must_use]
    pub fn of(mut times: Vec<u64>) -> Option<Spread> {
        times.sort_unstable();
        let sum: u128 = times.iter().map(|time| u128::from(*time)).sum();
        let mean = u64::try_from(sum.checked_div(times.len() as u128)?).ok()?;
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Spread { n: times.len(), mean, p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: *times.last()? })
    }
}

/// What a recovery rate is worth.
#[must_use]
pub fn grade(rate: f64) -> &'static str {
    match rate {
        rate if rate > 0.95 => "excellent",
        rate if rate >= 0.80 => "good",
        _ => "needs work",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times() {
        let spread = Spread::of((1..=100).rev().collect()).unwrap();
        assert_eq!((spread.p50, spread.p95, spread.p99, spread.max, spread.mean), (50, 95, 99, 100, 50));
        let one = Spread::of(vec![7]).unwrap();
        assert_eq!((one.n, one.p50, one.p95, one.p99, one.mean), (1, 7, 7, 7, 7));
        let two = Spread::of(vec![10, 20]).unwrap();
        assert_eq!((two.p50, two.p95), (10, 20));
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![u64::MAX; 3]).unwrap().mean, u64::MAX);
    }

    #[test]
    fn nothing_is_no_number() {
        let none = Figures::default();
        assert_eq!((none.recovery_rate(), none.mttr(), none.completion()), (None, None, None));
        assert_eq!((none.survival_low(), none.survival_high()), (None, None));
    }

    #[test]
    fn what_nobody_watched_is_no_number_either() {
        let mut some = Figures { unwatched: 3, ..Figures::default() };
        some.count(&Outcome::Recovered { how: How::Restarted, ttr_ns: 5 });
        some.count(&Outcome::Tolerated);
        some.count(&Outcome::Unknown);
        some.count(&Outcome::Failed { kind: Failing::Hang, why: String::new() });
        assert_eq!((some.recovery_rate(), some.mttr(), some.survival_low()), (None, None, None));
        assert_eq!((some.survival_high(), some.seen_mttr().unwrap().n), (Some(0.75), 1));
        let mut pool = Figures { retried: 9, ..Figures::default() };
        pool.add(&some);
        assert_eq!((pool.recovery_rate(), pool.recovered().seen), (None, 10), "one such run is enough");
    }

    #[test]
    fn rates_and_sums() {
        let mut one = Figures { runs: 1, ended_runs: 1, ..Figures::default() };
        one.count(&Outcome::Recovered { how: How::Retry, ttr_ns: 5 });
        one.count(&Outcome::Tolerated);
        one.count(&Outcome::Unknown);
        one.count(&Outcome::Failed { kind: Failing::Wrong, why: String::new() });
        assert_eq!(one.recovery_rate(), Some(0.25));
        assert_eq!((one.survival_low(), one.survival_high()), (Some(0.5), Some(0.75)));
        let mut all = Figures { completed: 1, ..one.clone() };
        all.add(&one);
        assert_eq!((all.episodes(), all.runs, all.failed(), all.mttr().unwrap().n), (8, 2, 2, 2));
        assert_eq!(all.completion(), Some(0.5));
    }

    #[test]
    fn grades_have_their_bounds() {
        let grades = [0.0, 0.7999, 0.80, 0.95, 0.9501, 1.0].map(grade);
        assert_eq!(grades, ["needs work", "needs work", "good", "good", "excellent", "excellent"]);
    }
}

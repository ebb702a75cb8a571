//! How long the calls took that rules match, as the program saw them: faults, waits and all. Counted by the shim in buckets
//! a sixteenth wide, so a percentile is at most 1/16 too long. Pure, but for reading the session.

use crate::figures::Spread;
use crate::pool::Pool;
use crate::recoveries::NOT_MEASURED;
use crate::session_file::SessionFile;
use chaos_table::calls::Op;
use chaos_table::latency::{BUCKETS, LONGEST, SUM, longest_of};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The times of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How many calls took how long, by the number of the bucket.
    buckets: BTreeMap<usize, u64>,
    /// The longest, in ns.
    longest_ns: u64,
    /// All together, in ns.
    sum_ns: u64,
}

/// The times of each call that a rule matched, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies(BTreeMap<String, Times>);

/// One of the percentiles of a spread.
pub type Pick = fn(&Spread) -> u64;

impl Times {
    /// From a row of the session, which a target may have spoiled.
    fn of_row(row: &[u64]) -> Times {
        let (buckets, rest) = row.split_at(BUCKETS.min(row.len()));
        let word = |at: usize| rest.get(at - BUCKETS).copied().unwrap_or(0);
        let buckets = buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        Times { buckets: buckets.collect(), longest_ns: word(LONGEST), sum_ns: word(SUM) }
    }

    fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn add(&mut self, more: &Times) {
        for (bucket, count) in &more.buckets {
            let sum = self.buckets.entry(*bucket).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.longest_ns = self.longest_ns.max(more.longest_ns);
        self.sum_ns = self.sum_ns.saturating_add(more.sum_ns);
    }

    /// The end of the bucket with the `rank`-th shortest.
    fn ranked(&self, rank: u64) -> u64 {
        let mut left = rank;
        for (bucket, count) in &self.buckets {
            if left <= *count {
                return longest_of(*bucket).min(self.longest_ns);
            }
            left -= count;
        }
        self.longest_ns
    }

    /// How they are spread; `None` when there are none.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        let all = self.count();
        let part = |percent: u64| self.ranked(all.saturating_mul(percent).div_ceil(100).max(1));
        Some(Spread {
            n: usize::try_from(all).ok()?,
            mean: self.sum_ns.checked_div(all)?,
            p50: part(50),
            p95: part(95),
            p99: part(99),
            max: self.longest_ns,
        })
    }
}

impl Latencies {
    /// What a session has counted; `None` when it does not.
    #[must_use]
    pub fn of(session: &SessionFile) -> Option<Latencies> {
        let mut latencies = Latencies::default();
        for op in (0..).map_while(Op::from_number) {
            let times = Times::of_row(&session.latencies(op).ok()??);
            if times.count() > 0 {
                latencies.0.insert(op.row().name().to_owned(), times);
            }
        }
        Some(latencies)
    }

    /// Adds those of another run.
    pub fn add(&mut self, more: &Latencies) {
        more.0.iter().for_each(|(call, times)| self.0.entry(call.clone()).or_default().add(times));
    }

    /// Each call and its times.
    pub fn spreads(&self) -> impl Iterator<Item = (&str, Spread)> {
        self.0.iter().filter_map(|(call, times)| Some((call.as_str(), times.spread()?)))
    }

    /// The times of one call.
    #[must_use]
    pub fn spread(&self, call: &str) -> Option<Spread> {
        self.0.get(call)?.spread()
    }

    /// A percentile of the call for which it is longest.
    #[must_use]
    pub fn longest(&self, pick: Pick) -> Option<u64> {
        self.spreads().map(|(_, spread)| pick(&spread)).max()
    }
}

/// The times of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The call.
    pub call: String,
    /// Under faults.
    pub runs_ns: Option<Spread>,
    /// Without any.
    pub controls_ns: Option<Spread>,
}

/// Each call that was timed, under faults and without any.
#[must_use]
pub fn rows(pool: &Pool) -> Vec<Row> {
    let (runs, controls) = (pool.figures.latencies.as_ref(), pool.control_figures.latencies.as_ref());
    let calls: BTreeSet<&String> = runs.into_iter().chain(controls).flat_map(|one| one.0.keys()).collect();
    let row = |call: &String| Row {
        call: call.clone(),
        runs_ns: runs.and_then(|one| one.spread(call)),
        controls_ns: controls.and_then(|one| one.spread(call)),
    };
    calls.into_iter().map(row).collect()
}

/// What is said of the calls that were not timed; nothing where all were, or none was to be.
#[must_use]
pub fn untimed(pool: &Pool) -> Option<String> {
    let count = pool.figures.untimed.max(pool.control_figures.untimed);
    (count > 0).then(|| format!("call latency: {NOT_MEASURED} in {count} processes that were under the supervisor"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_table::latency::{ROW, bucket};

    fn row(times: &[u64]) -> Times {
        let mut row = vec![0; ROW];
        for time in times {
            row[bucket(*time)] += 1;
            row[LONGEST] = row[LONGEST].max(*time);
            row[SUM] += *time;
        }
        Times::of_row(&row)
    }

    #[test]
    fn percentiles_are_of_all_and_a_sixteenth_too_long_at_most() {
        assert_eq!(Times::default().spread(), None);
        let one = row(&[1_000_000]).spread().unwrap();
        assert_eq!((one.n, one.mean, one.p50, one.p99, one.max), (1, 1_000_000, 1_000_000, 1_000_000, 1_000_000));
        let many: Vec<u64> = (1..=1000).map(|n| n * 1000).collect();
        let many = row(&many).spread().unwrap();
        assert_eq!((many.n, many.mean, many.max), (1000, 500_500, 1_000_000));
        for (found, true_time) in [(many.p50, 500_000), (many.p95, 950_000), (many.p99, 990_000)] {
            assert!((true_time..=true_time + true_time / 16).contains(&found), "{found} {true_time}");
        }
        // Beyond the last bucket the longest is what is known.
        assert_eq!(row(&[1 << 40]).spread().unwrap().p50, 1 << 40);
    }

    #[test]
    fn runs_add_up_by_call_and_the_slowest_call_counts() {
        let of = |call: &str, times: &[u64]| Latencies(BTreeMap::from([(call.to_owned(), row(times))]));
        let mut all = of("read", &[1000, 1000]);
        all.add(&of("read", &[9000]));
        all.add(&of("connect", &[5000]));
        assert_eq!(all.spread("read").map(|spread| (spread.n, spread.max)), Some((3, 9000)));
        assert_eq!((all.longest(|spread| spread.p50), all.longest(|spread| spread.max)), (Some(5000), Some(9000)));
        assert_eq!((all.spread("write"), Latencies::default().longest(|spread| spread.max)), (None, None));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Latencies>(&text).unwrap(), all);
    }
}

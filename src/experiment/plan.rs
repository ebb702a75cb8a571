//! How often an experiment is run, and how: the file's word, and over it that of the command line.

use super::args::HowArgs;
use super::deck::Deck;
use super::score::STABLE;
use super::shard::Shard;
use crate::error::{Failure, Result};
use crate::gate::Gate;
use crate::options::{duration, random_seed};
use std::time::Duration;

/// What of an experiment the command line may change.
pub struct Plan {
    /// How often it is run.
    pub runs: u64,
    /// How many at once.
    pub jobs: usize,
    /// Between two runs.
    pub delay: Duration,
    /// The seed of all.
    pub seed: u64,
    /// What must hold.
    pub gate: Option<Gate>,
    /// The part of the runs to make, and who says so.
    pub shard: Option<(Shard, String)>,
}

impl Plan {
    /// What the file says, and over it the options.
    ///
    /// # Errors
    /// The first option that is wrong.
    pub fn of(deck: &Deck, how: &HowArgs) -> Result<Plan> {
        let number = |text: &Option<String>, own: Option<u64>, option: &str, most: u64| match text {
            None => Ok(own.unwrap_or(1)),
            Some(text) => text.trim().parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
                Failure::new(format!("{option}: '{text}' is no number of runs")).help(format!("1 to {most}"))
            }),
        };
        let own_delay = deck.experiment.delay_between.map_or(Duration::ZERO, |delay| Duration::from_nanos(delay.0.0));
        let delay = match &how.delay_between {
            Some(text) => duration(text, "--delay-between")?,
            None => own_delay,
        };
        let seed = match (&how.seed, deck.experiment.seed) {
            (Some(text), _) => text
                .trim()
                .parse()
                .map_err(|_| Failure::new(format!("--seed: '{text}' is no seed")).help("a whole number"))?,
            (None, Some(seed)) => seed,
            (None, None) => random_seed()?,
        };
        let gate = if how.results.gates.is_empty() { deck.gate.clone() } else { Gate::parse(&how.results.gates)? };
        let own_runs = if how.stability { Some(STABLE.0) } else { deck.experiment.runs };
        let runs = number(&how.runs, own_runs, "--runs", 100_000)?;
        let shard = Shard::find(how.shard.as_deref(), &|name| std::env::var(name).ok())?;
        if let Some((shard, by)) = &shard {
            if how.seed.is_none() && deck.experiment.seed.is_none() {
                return Err(Failure::new(format!(
                    "{by}: {}: all shards need the same seed, and none is given",
                    deck.id
                ))
                .help("--seed NUMBER, or `seed` in the file; --shard 1/1 makes all runs here"));
            }
            if shard.of > runs {
                return Err(Failure::new(format!(
                    "{by}: {} runs of {} cannot be shared by {}",
                    runs, deck.id, shard.of
                ))
                .help("more --runs, or fewer shards"));
            }
        }
        let jobs = number(&how.jobs, deck.experiment.jobs, "--jobs", 256)?;
        if jobs > 1 && !deck.experiment.ports.is_empty() {
            return Err(
                Failure::new("several runs at once cannot share a fixed port").help("leave `ports` out, or --jobs")
            );
        }
        Ok(Plan { runs, jobs: usize::try_from(jobs).unwrap_or(1), delay, seed, gate, shard })
    }
}

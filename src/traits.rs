//! How a program behaves towards a resource that fails: what tells a retry, a back-off, a timeout, a circuit breaker and
//! a rate limiter from outside. Pure: it reads the moments of an episode's calls.

use crate::gate::duration;
use serde::Serialize;

/// Moments that are kept of an episode; of more only their number is known.
const KEPT: usize = 1000;
/// Pauses below this are none: a program does not wait so little on purpose.
const NO_PAUSE: u64 = 5_000_000;
/// A silence of a breaker is so much longer than the pauses before it ...
const SILENCE: u64 = 5;
/// ... and at least so long, in ns.
const SHORTEST_SILENCE: u64 = 50_000_000;
const SECOND: u64 = 1_000_000_000;

/// The calls on a resource from its first fault on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// (begin, end) of those until the recovery, in ns since the start of the run; not all, when there were very many.
    moments: Vec<(u64, u64)>,
    /// How many there were.
    count: u64,
    /// Of these, into how many no fault was injected.
    own: u64,
    /// The first calls after the recovery.
    after: Vec<u64>,
}

impl Calls {
    /// A call that a fault was injected into; `end`: when its caller went on.
    pub fn injected(&mut self, at: u64, end: u64) {
        self.count = self.count.saturating_add(1);
        self.keep(at, end.max(at));
    }

    /// A call that failed by itself, the `number`th of these.
    pub fn failed(&mut self, at: u64, number: u64) {
        self.count_own(number);
        self.keep(at, at);
    }

    /// The recovery; `number`: as of [`Calls::failed`].
    pub fn recovered(&mut self, at: u64, number: u64) {
        // A connect that nobody waits for: its begin is there already, and this is its end.
        let is_end = number > 0 && number == self.own;
        self.count_own(number);
        if !is_end {
            self.keep(at, at);
        }
    }

    /// A call after the recovery.
    pub fn after(&mut self, at: u64) {
        self.after.push(at);
    }

    fn count_own(&mut self, number: u64) {
        // A damaged log may say anything.
        let more = number.saturating_sub(self.own);
        self.count = self.count.saturating_add(more);
        self.own += more;
    }

    fn keep(&mut self, at: u64, end: u64) {
        if self.moments.len() < KEPT {
            self.moments.push((at, end));
        }
    }
}

/// How a program paces its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// At once, each time.
    None,
    /// After pauses that are alike.
    Constant,
    /// After ever longer pauses.
    Growing,
    /// After pauses of all lengths.
    Uneven,
}

impl Backoff {
    const fn words(self) -> &'static str {
        match self {
            Backoff::None => "no pause",
            Backoff::Constant => "constant pauses",
            Backoff::Growing => "growing pauses",
            Backoff::Uneven => "uneven pauses",
        }
    }
}

/// How a program behaved in one episode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traits {
    /// Calls on the resource, from the first that was hit to the one that succeeded.
    pub attempts: u64,
    /// How it paced them; unknown of fewer than three.
    pub backoff: Option<Backoff>,
    /// The longest pause between two attempts, in ns.
    pub longest_pause_ns: Option<u64>,
    /// Most attempts within one second.
    pub calls_per_second: u64,
    /// How long a fault that blocks was waited for at most, in ns, until the program's own patience ended.
    pub waited_ns: Option<u64>,
    /// It stopped trying without success.
    pub gave_up: bool,
    /// It is still waiting, or never came to an end.
    pub hung: bool,
    /// A circuit breaker: failures, a silence, one probe, and either silence again or calls as before.
    pub breaker: bool,
}

/// How an episode ended, as far as traits depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It recovered.
    Recovered,
    /// The process was still blocked, or never came to an end.
    Hung,
    /// The process died.
    Died,
    /// The program went on, or ended, without success.
    GaveUp,
    /// Nobody saw the end.
    Unseen,
}

impl Traits {
    /// Of these calls.
    #[must_use]
    pub fn of(calls: &Calls, ending: Ending) -> Traits {
        let pauses: Vec<u64> = calls.moments.windows(2).map(|two| two[1].0.saturating_sub(two[0].1)).collect();
        let starts: Vec<u64> = calls.moments.iter().map(|(at, _)| *at).collect();
        let waits = calls.moments.iter().map(|(at, end)| end - at).filter(|wait| *wait >= NO_PAUSE);
        let recovered = (ending == Ending::Recovered).then_some(&*calls.after);
        Traits {
            attempts: calls.count,
            backoff: backoff(&pauses),
            longest_pause_ns: pauses.iter().max().copied(),
            calls_per_second: busiest_second(&starts),
            waited_ns: waits.max(),
            gave_up: ending == Ending::GaveUp,
            hung: ending == Ending::Hung,
            breaker: is_breaker(&starts, &pauses, recovered),
        }
    }

    /// In words, beside an outcome.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words =
            vec![if self.attempts == 1 { "1 attempt".into() } else { format!("{} attempts", self.attempts) }];
        words.extend(self.backoff.filter(|_| !self.breaker).map(|backoff| backoff.words().into()));
        words.extend(self.breaker.then(|| "circuit breaker".into()));
        words.extend((self.attempts > 1).then(|| format!("at most {} a second", self.calls_per_second)));
        words.extend(self.waited_ns.map(|ns| format!("waited {}", duration(ns))));
        words.extend(self.gave_up.then(|| "gave up".into()));
        words.extend(self.hung.then(|| "hung".into()));
        words.join(", ")
    }
}

fn backoff(pauses: &[u64]) -> Option<Backoff> {
    if pauses.len() < 2 {
        return None;
    }
    let (least, most) = (pauses.iter().min()?, pauses.iter().max()?);
    if *most < NO_PAUSE {
        return Some(Backoff::None);
    }
    if *most <= least.saturating_mul(3) / 2 || most - least < NO_PAUSE {
        return Some(Backoff::Constant);
    }
    // What does not shrink, but for a tenth of jitter; a cap on the pauses is no end of growth.
    let kept_up = pauses.windows(2).filter(|two| two[1] >= two[0] - two[0] / 10).count();
    let (first, last) = pauses.split_at(pauses.len() / 2);
    let grows = median(last) >= median(first).saturating_mul(3) / 2 && kept_up * 3 >= (pauses.len() - 1) * 2;
    Some(if grows { Backoff::Growing } else { Backoff::Uneven })
}

fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn busiest_second(starts: &[u64]) -> u64 {
    let mut sorted = starts.to_vec();
    sorted.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (at, start) in sorted.iter().enumerate() {
        while sorted.get(first).is_some_and(|begin| start - begin >= SECOND) {
            first += 1;
        }
        most = most.max(at + 1 - first);
    }
    most as u64
}

/// Three failures or more at one pace, then silence, then one call at a time with silence between them, until one
/// succeeds and calls come as before. `after`: the calls after the recovery, if there was one.
fn is_breaker(starts: &[u64], pauses: &[u64], after: Option<&[u64]>) -> bool {
    let is_silence = |at: usize| {
        let before = pauses.get(..at).and_then(|before| Some((before.iter().min()?, before.iter().max()?)));
        // What grew already is a back-off.
        let even = before.filter(|(least, most)| **most < NO_PAUSE.max(least.saturating_mul(3)));
        even.is_some_and(|(_, most)| pauses[at] >= SHORTEST_SILENCE.max(most.saturating_mul(SILENCE)))
    };
    let Some(opened) = (2..pauses.len()).find(|at| is_silence(*at)) else { return false };
    let silence = pauses[opened];
    let probes = &pauses[opened..];
    // Each probe is alone; what follows one that succeeded is told by the calls after the recovery.
    if probes.iter().any(|pause| *pause < silence / 2) {
        return false;
    }
    let resumed = after.and_then(|after| Some(after.first()?.saturating_sub(*starts.last()?) < silence / 2));
    resumed.unwrap_or(probes.len() >= 2)
}

/// The traits of many episodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TraitFigures {
    /// Episodes that have traits.
    pub episodes: u64,
    /// Most attempts in one.
    pub attempts: u64,
    /// Most attempts within one second.
    pub calls_per_second: u64,
    /// The longest wait for a fault that blocks, in ns.
    pub waited_ns: u64,
    /// Those whose attempts came without pause.
    pub unpaced: u64,
    /// Those whose pauses were alike.
    pub constant: u64,
    /// Those whose pauses grew.
    pub growing: u64,
    /// Those that were given up.
    pub gave_up: u64,
    /// Those that hung.
    pub hung: u64,
    /// Those in which a circuit breaker was seen.
    pub breakers: u64,
}

impl TraitFigures {
    /// Counts those of an episode.
    pub fn count(&mut self, traits: &Traits) {
        let paced = |backoff| u64::from(traits.backoff == Some(backoff) && !traits.breaker);
        self.add(&TraitFigures {
            episodes: 1,
            attempts: traits.attempts,
            calls_per_second: traits.calls_per_second,
            waited_ns: traits.waited_ns.unwrap_or(0),
            unpaced: paced(Backoff::None),
            constant: paced(Backoff::Constant),
            growing: paced(Backoff::Growing),
            gave_up: traits.gave_up.into(),
            hung: traits.hung.into(),
            breakers: traits.breaker.into(),
        });
    }

    /// Adds those of other episodes.
    pub fn add(&mut self, other: &TraitFigures) {
        self.episodes += other.episodes;
        self.attempts = self.attempts.max(other.attempts);
        self.calls_per_second = self.calls_per_second.max(other.calls_per_second);
        self.waited_ns = self.waited_ns.max(other.waited_ns);
        self.unpaced += other.unpaced;
        self.constant += other.constant;
        self.growing += other.growing;
        self.gave_up += other.gave_up;
        self.hung += other.hung;
        self.breakers += other.breakers;
    }
}

#[cfg(test)]
#[path = "traits_tests.rs"]
mod tests;

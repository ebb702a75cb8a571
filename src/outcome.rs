//! What became of each episode, and of the run: the words of the design, derived from episodes and facts. Pure.

use crate::episode::{Episode, How, Proof};
use crate::facts::{Ended, Facts, Restarted, Streak};
use chaos_table::errno::signal_name;
use serde::Serialize;

/// Probes in a row that must pass before a service counts as restarted.
pub const PASSES: u64 = 3;
/// Signals that a program dies of by its own fault.
pub const CRASHES: [i32; 5] = [libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// What became of an episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The program got over it.
    Recovered {
        /// In which way.
        how: How,
        /// Time to recovery in ns.
        ttr_ns: u64,
    },
    /// No recovery was seen, and every check passes.
    Tolerated,
    /// It was too much for the program.
    Failed {
        /// In which way.
        kind: Failing,
        /// In words.
        why: String,
    },
    /// No recovery was seen, the exit was as expected, and there is no check.
    Unknown,
}

/// In which way a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Failing {
    /// A process of the tree crashed.
    Crash,
    /// It did not come to an end by itself.
    Hang,
    /// Its end was not the expected one.
    Exit,
    /// It said so by an exit code: `failed gracefully`.
    Gracefully,
    /// It ended well, and a check says otherwise: silently wrong.
    Wrong,
}

impl Failing {
    /// Each of them.
    pub const ALL: [Failing; 5] = [Failing::Crash, Failing::Hang, Failing::Exit, Failing::Gracefully, Failing::Wrong];

    /// As reports say it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Failing::Crash => "failed: crash",
            Failing::Hang => "failed: hang",
            Failing::Exit => "failed: unexpected end",
            Failing::Gracefully => "failed gracefully",
            Failing::Wrong => "failed: silently wrong",
        }
    }
}

impl Outcome {
    /// As reports say it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Outcome::Recovered { how, .. } => format!("recovered ({})", how.word()),
            Outcome::Tolerated => "tolerated".into(),
            Outcome::Failed { kind, .. } => kind.words().into(),
            Outcome::Unknown => "unknown".into(),
        }
    }
}

/// A process that died by its own fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// ns since the start of the run; when the launcher learnt of it.
    pub at_ns: u64,
    /// The process.
    pub pid: u32,
    /// Its program's name, where it is known.
    pub process: Option<String>,
    /// The signal's number.
    pub signal: i32,
    /// What it was: a signal's name, or that memory ran out.
    pub cause: String,
}

impl Crash {
    /// In words: `worker (pid 7) by SIGSEGV`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} (pid {}) by {}", self.process.as_deref().unwrap_or("a process"), self.pid, self.cause)
    }
}

/// A signal that a fault sent, or an exit that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// ns since the start of the run.
    pub at_ns: u64,
    /// The process.
    pub pid: u32,
    /// The signal; 0 for an exit.
    pub signal: i32,
}

/// The name of a signal.
#[must_use]
pub fn signal_words(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// The crashes among the deaths: by signals of this kind or for want of memory, and not by a signal that was sent.
#[must_use]
pub fn crashes(facts: &Facts, kills: &[Kill]) -> Vec<Crash> {
    let sent = |pid: u32, signal: i32, at_ns: u64| {
        kills.iter().any(|kill| kill.pid == pid && kill.signal == signal && kill.at_ns <= at_ns)
    };
    let own = facts.deaths.iter().filter(|death| !death.ours && !sent(death.pid, death.signal, death.at_ns));
    own.filter(|death| death.oom || CRASHES.contains(&death.signal))
        .map(|death| Crash {
            at_ns: death.at_ns,
            pid: death.pid,
            process: death.process.clone(),
            signal: death.signal,
            cause: if death.oom { "the OOM killer".into() } else { signal_words(death.signal) },
        })
        .collect()
}

/// Why the run as a whole failed; `None` when its end is the expected one and every check passes.
#[must_use]
pub fn failing(facts: &Facts, crashes: &[Crash], root_pid: Option<u32>) -> Option<(Failing, String)> {
    let said = |why: String| match &facts.last_words {
        Some(words) => format!("{why}: {words}"),
        None => why,
    };
    match facts.root {
        Ended::Timeout => return Some((Failing::Hang, "it still ran when its time was up".into())),
        Ended::Signal(signal) => {
            let crash = crashes.iter().find(|crash| Some(crash.pid) == root_pid && crash.signal == signal);
            return Some(match crash {
                Some(crash) => (Failing::Crash, format!("crash of {}", crash.words())),
                None => (Failing::Exit, said(format!("ended by {}", signal_words(signal)))),
            });
        }
        Ended::Exit(code) if !facts.expected.contains(&code) => {
            return Some(match code {
                0 => (Failing::Exit, said("exit 0 was not expected".into())),
                code => (Failing::Gracefully, said(format!("exit {code}"))),
            });
        }
        Ended::Exit(_) | Ended::Unseen => {}
    }
    let failed = facts.checks.iter().find(|check| !check.passed)?;
    Some((Failing::Wrong, format!("check failed: {}: {}", failed.check, failed.why)))
}

/// What became of the episodes, in their order.
///
/// A failure of the whole run falls to the episodes that were still open at its end; when none was, nothing tells
/// which of them is to blame, and it falls to all.
#[must_use]
pub fn classify(episodes: &mut [Episode], facts: Option<&Facts>, kills: &[Kill], root: Option<u32>) -> Vec<Outcome> {
    let Some(facts) = facts else {
        // Nobody saw the end: what recovered did, and nothing is known of the rest.
        return episodes.iter().map(|episode| settled(episode).unwrap_or(Outcome::Unknown)).collect();
    };
    for episode in episodes.iter_mut().filter(|episode| episode.proof == Proof::Return) {
        let back = restored(&facts.health, episode.last_ns).or_else(|| started_again(&facts.restarts, episode));
        let back = back.filter(|_| episode.recovered.is_none());
        episode.recovered = episode.recovered.or(back.map(|at| (at, How::Restarted)));
    }
    let crashes = crashes(facts, kills);
    let failing = failing(facts, &crashes, root);
    let nothing_open = episodes.iter().all(|episode| episode.recovered.is_some());
    let checked = !facts.checks.is_empty() && facts.checks.iter().all(|check| check.passed);
    let judge = |episode: &Episode| {
        let before = |crash: &&Crash| {
            let open = episode.recovered.is_none_or(|(at, _)| at > crash.at_ns);
            open && episode.pids.contains(&crash.pid) && episode.opened_ns <= crash.at_ns
        };
        if let Some(crash) = crashes.iter().find(before) {
            return Outcome::Failed { kind: Failing::Crash, why: format!("crash of {}", crash.words()) };
        }
        match (&failing, settled(episode)) {
            (Some((kind, why)), None) => Outcome::Failed { kind: *kind, why: why.clone() },
            (Some((kind, why)), Some(_)) if nothing_open => Outcome::Failed { kind: *kind, why: why.clone() },
            (_, Some(recovered)) => recovered,
            (None, None) if checked => Outcome::Tolerated,
            (None, None) => Outcome::Unknown,
        }
    };
    episodes.iter().map(judge).collect()
}

fn settled(episode: &Episode) -> Option<Outcome> {
    let (_, how) = episode.recovered?;
    Some(Outcome::Recovered { how, ttr_ns: episode.ttr_ns()? })
}

/// When the targets that an episode ended were back: the last of them; `None` when one is not.
fn started_again(restarts: &[Restarted], episode: &Episode) -> Option<u64> {
    let hit = |back: &&Restarted| episode.pids.contains(&back.pid) && back.died_ns >= episode.opened_ns;
    let all: Option<Vec<u64>> = restarts.iter().filter(hit).map(|back| back.back_ns).collect();
    all?.into_iter().max()
}

/// When the service was back after it was killed: the first of so many probes in a row that passed.
fn restored(health: &[Streak], killed_ns: u64) -> Option<u64> {
    health.iter().filter(|streak| streak.up).find_map(|streak| {
        if streak.from_ns >= killed_ns {
            return (streak.count >= PASSES).then_some(streak.from_ns);
        }
        // No probe failed: the service stayed up, or was back between two probes.
        let every = streak.to_ns.saturating_sub(streak.from_ns) / streak.count.saturating_sub(1).max(1);
        let after = streak.to_ns.checked_sub(killed_ns)?;
        (every > 0 && after / every >= PASSES).then(|| killed_ns + every.min(after))
    })
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;

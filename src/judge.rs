//! Judges a session: reads its log and its facts, and derives episodes, outcomes and figures. As often as somebody asks.

use crate::coverage::{Census, Coverage};
use crate::episode::{Episode, Episodes, Proof};
use crate::error::Result;
use crate::experiment::only_counts;
use crate::facts::{Counted, Ended, Facts, LimitReached, never_armed};
use crate::figures::Figures;
use crate::log_events::{Escape, Event, Events, Injection, Mark, Process};
use crate::log_reader::Source;
use crate::metrics::Metrics;
use crate::outcome::{Crash, Failing, Kill, Outcome, classify, crashes, failing};
use crate::recoveries::{NOT_WATCHED, Recoveries};
use crate::session::Meta;
use crate::session_file::RuleLabel;
use crate::traits::{Ending, Traits};
use crate::waits::Waits;
use chaos_table::calls::{Family, Op};
use chaos_table::errno::signal_by_name;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};

/// Lines of each sort that a report keeps of one run; `chaos-exec log` has them all.
const KEPT: usize = 5000;

/// Injections before the end that are kept as evidence.
const LATEST: usize = 200;

/// A session that has been judged.
#[derive(Debug, Default)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// What was run; a run without a launcher has none.
    pub meta: Option<Meta>,
    /// What the launcher saw; `None` while it runs, and when the launcher was killed.
    pub facts: Option<Facts>,
    /// Its figures.
    pub figures: Figures,
    /// Its rules.
    pub rules: Vec<RuleFigures>,
    /// What happened to each family of calls.
    pub families: BTreeMap<String, FamilyFigures>,
    /// What had to be got over, and what became of it.
    pub episodes: Vec<(Episode, Outcome)>,
    /// Who crashed.
    pub crashes: Vec<Crash>,
    /// Why the run as a whole failed.
    pub failing: Option<(Failing, String)>,
    /// The first of its processes.
    pub processes: Vec<Process>,
    /// The first of its injections.
    pub injections: Vec<Injection>,
    /// The last of its injections.
    pub latest: VecDeque<Injection>,
    /// Where the evidence of its failure is, and the files there.
    pub evidence: Option<(PathBuf, Vec<String>)>,
    /// Which engine had its processes.
    pub coverage: Coverage,
    /// The first of its escapes.
    pub escapes: Vec<Escape>,
    /// The first of its marks.
    pub marks: Vec<Mark>,
    /// The last moment of the log, in ns since the start.
    pub last_ns: u64,
    /// What could not be read, and what else makes the verdict doubtful.
    pub trouble: Vec<String>,
    /// What of that means that the session was spoiled.
    pub damaged: Option<String>,
}

/// What a rule did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RuleFigures {
    /// Its name.
    pub name: String,
    /// What it does.
    pub fault: String,
    /// Matches.
    pub matched: u64,
    /// Injections recorded.
    pub fired: u64,
    /// Injections that the program saw.
    pub delivered: u64,
    /// Matches that `protect` kept away.
    pub protected: u64,
    /// Fired where no kernel could produce the fault.
    pub unsuitable: u64,
    /// Episodes that it began.
    pub episodes: u64,
    /// Those that recovered.
    pub recovered: Recoveries,
    /// Those that failed.
    pub failed: u64,
    /// How long its waits took their callers.
    pub waited_ns: Waits,
    /// Whether no call triggers it: the launcher does it.
    #[serde(skip)]
    pub by_launcher: bool,
    /// What is to be done about a rule that did nothing.
    pub hint: Option<&'static str>,
}

/// What happened to a family of calls.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FamilyFigures {
    /// Injections that the program saw.
    pub delivered: u64,
    /// Episodes.
    pub episodes: u64,
    /// Those that recovered.
    pub recovered: Recoveries,
    /// Those that failed.
    pub failed: u64,
}

/// Why a rule did nothing, and what to do about it.
#[must_use]
pub fn hint(counted: Counted, fired: u64, by_launcher: bool) -> Option<&'static str> {
    match (counted.matched.max(fired), fired) {
        (0, _) if counted.protected > 0 => {
            Some("only protected places were touched: name them with `path`, or `protect: none`")
        }
        (0, _) if by_launcher => Some("no process matched in its time: check `process`, `from` and `for`"),
        (0, _) => Some("no call matched: check `calls`, `path`, `to`, `process` and when it is armed"),
        (_, 0) if counted.unsuitable > 0 => Some("where it was due, no kernel could have produced this fault"),
        (_, 0) => Some("it matched and never fired: check `rate`, `nth`, `after`, `every`"),
        _ => None,
    }
}

/// How an episode ended, for its traits.
fn ending(episode: &Episode, outcome: &Outcome, end_was_seen: bool) -> Ending {
    match outcome {
        _ if episode.recovered.is_some() => Ending::Recovered,
        Outcome::Failed { kind: Failing::Crash, .. } => Ending::Died,
        Outcome::Failed { kind: Failing::Hang, .. } => Ending::Hung,
        _ if episode.blocked => Ending::Hung,
        _ if !end_was_seen || episode.unwatched => Ending::Unseen,
        Outcome::Recovered { .. } | Outcome::Tolerated | Outcome::Failed { .. } | Outcome::Unknown => Ending::GaveUp,
    }
}

/// The family of a call on this resource, by its name.
#[must_use]
pub fn family(call: &str, resource: Option<&str>) -> &'static str {
    let Some(row) = Op::by_name(call).map(Op::row) else { return "other" };
    if row.works_on_any_fd() {
        let file = resource.is_some_and(|resource| resource.starts_with('/'));
        return if file { Family::Disk.name() } else { Family::Network.name() };
    }
    let named = Family::ALL.iter().find(|(_, family)| row.is_in(*family));
    named.map_or("other", |(name, _)| name)
}

/// Judges a session.
///
/// # Errors
/// When a file of it is gone or of another version.
pub fn judge(source: &Source) -> Result<Judged> {
    let facts = match source.dir() {
        Some(dir) => Facts::read(dir)?,
        None => None,
    };
    let mut gathering = Gathering::new(source);
    let mut events = Events::of(source)?;
    for event in events.by_ref() {
        gathering.take(event);
    }
    if let Some(dir) = source.dir() {
        gathering.judged.figures.metrics.merge(&Metrics::of_session(dir));
    }
    let mut judged = gathering.conclude(facts);
    let spoiled = judged.facts.as_ref().and_then(|facts| facts.spoiled.clone());
    judged.damaged = source.trouble.clone().or(spoiled).or_else(|| match events.damaged() {
        0 => None,
        count => Some(format!("{count} places of its log are damaged and were left out")),
    });
    // A log that was cut between two records looks whole by itself.
    let logged = judged.figures.fired;
    let end = source.meta.as_ref().and_then(|meta| meta.end.as_ref());
    if let Some(end) = end.filter(|end| end.fired > logged) {
        let gone = format!("its log has {logged} injections, and the run had {}", end.fired);
        judged.damaged.get_or_insert(gone);
    }
    judged.trouble.extend(judged.damaged.clone());
    judged.find_evidence(source.dir());
    Ok(judged)
}

/// What is put together while the events pass by.
struct Gathering {
    judged: Judged,
    labels: Vec<RuleLabel>,
    counted: Vec<Counted>,
    by_rule: HashMap<String, usize>,
    episodes: Episodes,
    kills: Vec<Kill>,
    census: Census,
}

impl Gathering {
    fn new(source: &Source) -> Gathering {
        let meta = source.meta.clone();
        let name = meta.as_ref().map_or_else(|| "session".into(), |meta| meta.id.clone());
        let rule = |label: &RuleLabel| RuleFigures {
            name: label.name.clone(),
            fault: label.fault.clone(),
            by_launcher: label.by_launcher,
            ..RuleFigures::default()
        };
        Gathering {
            judged: Judged { name, meta, rules: source.labels.iter().map(rule).collect(), ..Judged::default() },
            labels: source.labels.clone(),
            counted: source.counted(),
            by_rule: source.labels.iter().enumerate().map(|(at, label)| (label.name.clone(), at)).collect(),
            episodes: Episodes::default(),
            kills: Vec::new(),
            census: Census::default(),
        }
    }

    fn take(&mut self, event: Event) {
        fn keep<T>(list: &mut Vec<T>, item: T) {
            if list.len() < KEPT {
                list.push(item);
            }
        }
        let judged = &mut self.judged;
        match event {
            Event::Told(told) => match (told.value, &told.name) {
                (Some(value), Some(name)) => judged.figures.metrics.told(name, value),
                _ => keep(&mut judged.marks, told.into()),
            },
            Event::Start(_) => {}
            Event::Remark(remark) => {
                if let Some(of) = remark.of {
                    self.episodes.unwatched(of);
                }
            }
            Event::Attempt(attempt) => {
                judged.last_ns = judged.last_ns.max(attempt.at_ns);
                self.episodes.attempted(&attempt);
            }
            Event::Process(process) => {
                self.census.came(process.pid, process.image, process.parent.unwrap_or(0), process.engine_number);
                judged.last_ns = judged.last_ns.max(process.at_ns);
                keep(&mut judged.processes, process);
            }
            Event::Injection(injection) => self.injected(*injection),
            Event::Recovery(recovery) => {
                judged.last_ns = judged.last_ns.max(recovery.at_ns);
                self.episodes.recovered(&recovery);
            }
            Event::Escape(escape) => {
                self.census.escaped(escape.pid, escape.what, &escape.reason);
                judged.figures.escapes += 1;
                keep(&mut judged.escapes, escape);
            }
            Event::Mark(mark) => keep(&mut judged.marks, mark),
            Event::End(end) => {
                judged.last_ns = judged.last_ns.max(end.at_ns);
                judged.figures.suppressed = end.suppressed;
            }
        }
    }

    fn injected(&mut self, injection: Injection) {
        let Judged { figures, rules, families, last_ns, .. } = &mut self.judged;
        *last_ns = (*last_ns).max(injection.at_ns);
        figures.fired += 1;
        let rule = self.by_rule.get(&injection.rule).and_then(|at| rules.get_mut(*at));
        let seen = u64::from(injection.delivered);
        figures.delivered += seen;
        if let Some(rule) = rule {
            rule.fired += 1;
            rule.delivered += seen;
            rule.waited_ns.add(&injection.fault, injection.at_ns, injection.ended_ns);
        }
        let family = family(&injection.call, injection.resource.as_deref());
        families.entry(family.to_owned()).or_default().delivered += seen;
        // What a signal's effect says is its name; an exit sends none.
        let signal = injection.effect.as_deref().filter(|_| ["signal", "torn"].contains(&injection.fault.as_str()));
        if let Some(signal) = signal.and_then(|name| signal_by_name(name.trim_start_matches("signal "))) {
            self.kills.push(Kill { at_ns: injection.at_ns, pid: injection.pid, signal });
        }
        self.episodes.injected(&injection);
        if self.judged.latest.len() == LATEST {
            self.judged.latest.pop_front();
        }
        self.judged.latest.push_back(injection.clone());
        if self.judged.injections.len() < KEPT {
            self.judged.injections.push(injection);
        }
    }

    fn conclude(self, facts: Option<Facts>) -> Judged {
        let Gathering { mut judged, labels, counted, by_rule, episodes, kills, census, .. } = self;
        judged.coverage = census.coverage();
        let root = judged.meta.as_ref().and_then(|meta| u32::try_from(meta.root_pid?).ok());
        let mut episodes = episodes.finish();
        let outcomes = classify(&mut episodes, facts.as_ref(), &kills, root);
        for (episode, outcome) in episodes.iter_mut().zip(&outcomes) {
            judged.figures.count(outcome);
            let calls = std::mem::take(&mut episode.calls);
            if episode.proof == Proof::Success {
                let traits = Traits::of(&calls, ending(episode, outcome, facts.is_some()));
                judged.figures.traits.count(&traits);
                episode.traits = Some(traits);
            }
            let rule = by_rule.get(&episode.rule).and_then(|at| judged.rules.get_mut(*at));
            let family = family(&episode.call, episode.resource.as_deref());
            let family = judged.families.entry(family.to_owned()).or_default();
            let recovered = Recoveries {
                seen: u64::from(matches!(outcome, Outcome::Recovered { .. })),
                unwatched: u64::from(episode.unwatched && episode.recovered.is_none()),
            };
            let failed = u64::from(matches!(outcome, Outcome::Failed { .. }));
            judged.figures.unwatched += recovered.unwatched;
            (family.episodes, family.failed) = (family.episodes + 1, family.failed + failed);
            family.recovered += recovered;
            if let Some(rule) = rule {
                (rule.episodes, rule.failed) = (rule.episodes + 1, rule.failed + failed);
                rule.recovered += recovered;
            }
        }
        judged.episodes = episodes.into_iter().zip(outcomes).collect();
        let became = |(episode, outcome): &'_ (Episode, Outcome)| {
            (episode.resource.clone(), matches!(outcome, Outcome::Recovered { .. }))
        };
        let became: Vec<(Option<String>, bool)> = judged.episodes.iter().map(became).collect();
        judged
            .figures
            .metrics
            .settle(&became.iter().map(|(of, recovered)| (of.as_deref(), *recovered)).collect::<Vec<_>>());
        judged.trouble.extend(judged.figures.metrics.trouble());
        let counted = facts.as_ref().map_or(counted, |facts| facts.rules.clone());
        let off = judged.meta.as_ref().is_some_and(|meta| meta.table["enabled"] == false);
        for (at, rule) in judged.rules.iter_mut().enumerate().take(labels.len()) {
            let counted = counted.get(at).copied().unwrap_or_default();
            // A process that was killed may not have counted its last match.
            rule.matched = counted.matched.max(rule.fired);
            (rule.protected, rule.unsuitable) = (counted.protected, counted.unsuitable);
            rule.hint = hint(counted, rule.fired, rule.by_launcher).filter(|_| !off && !only_counts(&rule.name));
        }
        judged.verdict(facts, &kills, root);
        judged
    }
}

impl Judged {
    /// Adds what the facts say about the run as a whole.
    fn verdict(&mut self, facts: Option<Facts>, kills: &[Kill], root: Option<u32>) {
        let figures = &mut self.figures;
        figures.runs = 1;
        figures.undelivered_runs = u64::from(figures.delivered == 0);
        if let Some(facts) = &facts {
            self.crashes = crashes(facts, kills);
            self.failing = failing(facts, &self.crashes, root);
            figures.crashes = self.crashes.len() as u64;
            figures.ended_runs = u64::from(facts.root != Ended::Unseen);
            figures.completed = u64::from(self.failing.is_none() && facts.root != Ended::Unseen);
            figures.checks_passed = facts.checks.iter().filter(|check| check.passed).count() as u64;
            figures.checks_failed = facts.checks.len() as u64 - figures.checks_passed;
            if facts.unmapped > 0 {
                let count = facts.unmapped;
                self.trouble.push(format!("{count} programs had no address space for the session and met no fault"));
            }
            if facts.booting > 0 && figures.delivered == 0 {
                self.trouble.push(never_armed(facts.booting));
            }
            if facts.lost_threads > 0 {
                let count = facts.lost_threads;
                self.trouble.push(format!("{count} threads found no room in the session and met no fault"));
            }
            self.trouble.extend(facts.log_limit.map(LimitReached::words));
            figures.limited_runs = u64::from(facts.log_limit.is_some());
            figures.latencies = facts.latencies.clone();
            let filtered = self.coverage.seccomp + self.coverage.both;
            figures.untimed = if facts.latencies.is_some() { filtered } else { 0 };
            figures.files_broken = facts.files.as_ref().map(crate::inventory::Changes::broken);
        } else {
            self.trouble
                .push("nobody saw how it ended: it still runs, or its launcher was killed, or it had none".to_owned());
        }
        if figures.unwatched > 0 {
            self.trouble.push(format!("{NOT_WATCHED}: {} of {}", figures.unwatched, figures.episodes()));
        }
        if figures.suppressed > 0 {
            self.trouble.push(format!("{} faults did not happen because the log was full", figures.suppressed));
        }
        self.facts = facts;
    }

    /// Looks for the evidence of its failure: where the facts say, else in the session directory.
    pub fn find_evidence(&mut self, session: Option<&Path>) {
        let elsewhere = self.facts.as_ref().and_then(|facts| facts.evidence.as_ref()).map(PathBuf::from);
        let Some(dir) = elsewhere.or_else(|| Some(session?.join(crate::evidence::DIR))) else { return };
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        self.evidence = (!names.is_empty()).then_some((dir, names));
    }

    /// The seed, where it is known.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.meta.as_ref().map(|meta| meta.seed)
    }

    /// How it ended, in words.
    #[must_use]
    pub fn ended(&self) -> String {
        match self.facts.as_ref().map_or(Ended::Unseen, |facts| facts.root) {
            Ended::Unseen => "its end was not seen".into(),
            Ended::Exit(code) => format!("exit {code}"),
            Ended::Signal(signal) => format!("killed by {}", crate::outcome::signal_words(signal)),
            Ended::Timeout => "ended by --timeout".into(),
        }
    }
}

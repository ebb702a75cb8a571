//! What a run says on stderr when it is over.

use crate::console::{Console, Level, Tone};
use crate::experiment::only_counts;
use crate::facts::{Counted, LimitReached, never_armed};
use crate::figures::{Figures, Spread};
use crate::gate::{Ruling, duration, percent};
use crate::judge::{Judged, hint};
use crate::latency;
use crate::log_events::{Event, Events};
use crate::log_format::{is_for_reading, text};
use crate::log_reader::Source;
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::process::Survivor;
use crate::recoveries::{NOT_MEASURED, NOT_WATCHED};
use crate::session_file::{RuleCounters, RuleLabel};
use crate::tally::Tally;
use std::path::Path;

/// Lines that `-v` prints at most; the log has them all.
const MAX_LINES: usize = 200;

/// Everything that the summary speaks of.
pub struct Summary<'a> {
    /// The rules.
    pub labels: &'a [RuleLabel],
    /// What the tree counted.
    pub counters: &'a [RuleCounters],
    /// What was collected.
    pub tally: &'a Tally,
    /// Faults that did not happen because the log was full.
    pub suppressed: u64,
    /// Programs that had no address space for the session.
    pub unmapped: u64,
    /// Programs of runtimes that showed nothing of their own.
    pub booting: u64,
    /// How often the table was changed while it ran.
    pub changes: u32,
    /// Threads for which the session had no room.
    pub lost_threads: u64,
    /// What outlived the root process.
    pub survivors: &'a [Survivor],
    /// The outcome in words.
    pub outcome: String,
    /// Whether the shim came up in the target.
    pub attached: bool,
    /// What is wrong with the session, or with its log.
    pub trouble: Option<&'a str>,
    /// The session directory.
    pub dir: &'a Path,
    /// The JSON Lines file.
    pub log: Option<&'a Path>,
    /// The seed.
    pub seed: u64,
    /// Whether it was random.
    pub seed_is_random: bool,
    /// Whether the table, or a variable, switched injection off.
    pub disabled: bool,
    /// The limit of the log, when it was reached.
    pub log_limit: Option<LimitReached>,
    /// The command that repeats the run.
    pub repeat: &'a str,
    /// The judged run.
    pub pool: Option<&'a Pool>,
    /// What the gate says.
    pub ruling: Option<&'a Ruling>,
}

impl Summary<'_> {
    /// Says it all.
    pub fn print(&self, console: Console) {
        let (fired, delivered) = (self.tally.all_fired(), self.tally.all_delivered());
        let plural = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let processes = plural(self.tally.processes.len() as u64, "process", "processes");
        console.say(Tone::Plain, &format!("{}; {processes}, {fired} fired, {delivered} delivered", self.outcome));
        let width = self.labels.iter().map(|label| label.name.len()).max().unwrap_or(0);
        for (index, label) in self.labels.iter().enumerate() {
            let counters = self.counters.get(index).copied().unwrap_or_default();
            let (tone, line) = self.rule(index, label, counters, width);
            console.say(tone, &line);
        }
        if let Some(pool) = self.pool {
            verdict(console, pool);
        }
        self.warn(console, fired);
        if let Some(ruling) = self.ruling {
            say_ruling(console, ruling);
        }
        let log = self.log.map(|log| format!(" and {}", log.display())).unwrap_or_default();
        let show = if self.log.is_none() { " (chaos-exec log)" } else { "" };
        console.say(Tone::Faint, &format!("log: {}{log}{show}", self.dir.display()));
        let seed = if self.seed_is_random { format!(" (seed {} was random)", self.seed) } else { String::new() };
        let steered = match self.changes {
            0 => String::new(),
            1 => " (but for the change that was made while it ran)".into(),
            count => format!(" (but for the {count} changes that were made while it ran)"),
        };
        console.say(Tone::Faint, &format!("again{seed}: {}{steered}", self.repeat));
    }

    fn rule(&self, index: usize, label: &RuleLabel, counters: RuleCounters, width: usize) -> (Tone, String) {
        let fired = self.tally.fired.get(index).copied().unwrap_or(0);
        let delivered = self.tally.delivered.get(index).copied().unwrap_or(0);
        // A process that was killed may not have counted its last match.
        let matched = counters.matched.max(fired);
        let mut line = format!("  {:width$}  {matched} matched, {fired} fired, {delivered} delivered", label.name);
        for (count, what) in [(counters.protected, "protected"), (counters.unsuitable, "unsuitable")] {
            if count > 0 {
                line += &format!(", {count} {what}");
            }
        }
        let wanted = !self.disabled && !only_counts(&label.name);
        match hint(Counted::from(counters), fired, label.by_launcher).filter(|_| wanted) {
            Some(hint) => (Tone::Loud, format!("{line} - {hint}")),
            None => (Tone::Plain, line),
        }
    }

    fn warn(&self, console: Console, fired: u64) {
        let harmless = self.labels.iter().all(|label| only_counts(&label.name));
        if !self.attached {
            console.say(Tone::Loud, "THE SHIM NEVER CAME UP in the target, so nothing could be injected");
        } else if self.disabled {
            console.say(Tone::Loud, "injection was switched off: `enabled: false` or CHAOS_ENABLED");
        } else if fired == 0 && !harmless {
            console.say(Tone::Loud, "NOTHING FIRED: this run says nothing about how the program copes with faults");
            if self.booting > 0 {
                console.say(Tone::Loud, &never_armed(self.booting));
            }
        } else if harmless {
            console.say(Tone::Loud, "the fault table is empty: nothing was to be injected");
        }
        let coverage = self.tally.census.coverage();
        let tone = if coverage.escaped.is_empty() { Tone::Plain } else { Tone::Loud };
        console.say(tone, &format!("coverage: {}", coverage.words()));
        coverage.caveats().iter().for_each(|line| console.say(Tone::Loud, line));
        for ((reason, program), count) in &self.tally.escapes {
            console.say(Tone::Loud, &format!("escaped: {program} ({reason}), {count} times"));
        }
        if let Some(reached) = self.log_limit {
            console.say(Tone::Loud, &reached.words());
        }
        for (count, what) in [
            (self.suppressed, "faults did not happen because the log was full: try a larger --log-size"),
            (
                self.lost_threads,
                "times a thread found no room in the session and went without: try a larger --log-size",
            ),
            (
                self.unmapped,
                "times a program went without faults: no address space was left for the session (ulimit -v)",
            ),
        ] {
            if count > 0 {
                console.say(Tone::Loud, &format!("{count} {what}"));
            }
        }
        for Survivor { pid, name } in self.survivors {
            console.say(Tone::Loud, &format!("still running, disarmed: {name} (pid {pid})"));
        }
        if let Some(trouble) = self.trouble {
            console.say(Tone::Loud, trouble);
        }
    }
}

/// What became of the faults, in a few lines.
pub fn verdict(console: Console, pool: &Pool) {
    let figures = &pool.figures;
    for (session, crash) in &pool.crashes {
        let place = if pool.runs.len() > 1 { format!(" in {session}") } else { String::new() };
        console.say(Tone::Loud, &printable(&format!("crash: {}{place}", crash.words())));
    }
    for check in pool.checks.iter().filter(|check| check.failed > 0) {
        let why = check.why.as_deref().unwrap_or_default();
        console.say(Tone::Loud, &printable(&format!("check failed: {}: {why}", check.check)));
    }
    episodes(console, figures);
    for row in latency::rows(pool) {
        let words = |times: Spread| {
            let [p50, p95, p99] = [times.p50, times.p95, times.p99].map(duration);
            format!("P50 {p50}, P95 {p95}, P99 {p99} (n={})", times.n)
        };
        let runs = row.runs_ns.map_or_else(|| "was not called".into(), |times| format!("took {}", words(times)));
        let controls = row.controls_ns.map(|times| format!("; in controls {}", words(times))).unwrap_or_default();
        console.say(Tone::Plain, &format!("  {} {runs}{controls}", row.call));
    }
    latency::untimed(pool).iter().for_each(|untimed| console.say(Tone::Loud, untimed));
    if console.level() >= Level::Verbose {
        pool.details.iter().for_each(|run| behaviour(console, run));
    }
    for (dir, _) in pool.details.iter().filter_map(|run| run.evidence.as_ref()).take(3) {
        console.say(Tone::Faint, &printable(&format!("evidence: {}", dir.display())));
    }
}

fn episodes(console: Console, figures: &Figures) {
    if figures.episodes() == 0 {
        return;
    }
    let counts = [
        (figures.retried, "recovered by retry"),
        (figures.rerouted, "rerouted"),
        (figures.restarted, "restarted"),
        (figures.tolerated, "tolerated"),
        (figures.failed(), "failed"),
        (figures.unknown, "unknown"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let tone = if figures.failed() > 0 { Tone::Loud } else { Tone::Plain };
    let episodes = if figures.episodes() == 1 { "episode" } else { "episodes" };
    let survival = figures.survival_low().zip(figures.survival_high()).filter(|_| figures.unknown > 0);
    let survival = survival.map(|(low, high)| format!(", survival {} to {}", percent(low), percent(high)));
    let rates = match figures.recovery_rate() {
        Some(rate) => format!("recovery {}{}", percent(rate), survival.unwrap_or_default()),
        None => format!("recovery {NOT_MEASURED}: {NOT_WATCHED}"),
    };
    console.say(tone, &format!("{} {episodes}: {}; {rates}", figures.episodes(), counts.join(", ")));
    if let Some(spread) = figures.seen_mttr() {
        let of = if figures.unwatched > 0 { " of what a probe saw" } else { "" };
        let (mean, p95) = (duration(spread.mean), duration(spread.p95));
        console.say(Tone::Plain, &format!("time to recovery{of}: mean {mean}, P95 {p95}, n={}", spread.n));
    }
}

/// Each episode of a run, what became of it, and how the program behaved.
fn behaviour(console: Console, run: &Judged) {
    for (episode, outcome) in run.episodes.iter().take(MAX_LINES) {
        let resource = episode.resource.as_deref().unwrap_or_default();
        let traits = episode.traits.as_ref().map(|traits| format!("; {}", traits.words())).unwrap_or_default();
        let ttr = match outcome {
            Outcome::Recovered { ttr_ns, .. } => format!(" after {}", duration(*ttr_ns)),
            Outcome::Tolerated | Outcome::Failed { .. } | Outcome::Unknown => String::new(),
        };
        let line = format!("  {}({resource}) {}: {}{ttr}{traits}", episode.call, episode.error, outcome.words());
        console.say(Tone::Plain, &printable(&line));
    }
    if let Some(more) = run.episodes.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        console.say(Tone::Faint, &format!("  ... and {more} more episodes: chaos-exec report -o FILE.episodes.csv"));
    }
}

/// What the gate says, in one line.
pub fn say_ruling(console: Console, ruling: &Ruling) {
    let tone = if matches!(ruling, Ruling::Passed(_)) { Tone::Plain } else { Tone::Loud };
    console.say(tone, &printable(&ruling.words()));
}

/// Without what a terminal would take for more than text.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// With -v: a line for each process and injection, up to a limit.
pub fn print_events(console: Console, dir: &Path) {
    if console.level() < Level::Verbose {
        return;
    }
    let Ok(events) = Source::find(Some(dir)).and_then(|source| Events::of(&source)) else { return };
    let mut lines = events.filter(|event| is_for_reading(event) && !matches!(event, Event::Start(_) | Event::End(_)));
    for event in lines.by_ref().take(MAX_LINES) {
        console.say(Tone::Plain, &text(&event));
    }
    let more = lines.count();
    if more > 0 {
        console.say(Tone::Faint, &format!("... and {more} more: chaos-exec log {}", dir.display()));
    }
}

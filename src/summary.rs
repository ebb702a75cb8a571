//! What a run says on stderr when it is over.

use crate::console::{Console, Level, Tone};
use crate::log_events::{Event, Events};
use crate::log_format::text;
use crate::log_reader::Source;
use crate::process::Survivor;
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
    pub log_limit: Option<u64>,
    /// The command that repeats the run.
    pub repeat: &'a str,
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
        self.warn(console, fired);
        let log = self.log.map(|log| format!(" and {}", log.display())).unwrap_or_default();
        let show = if self.log.is_none() { " (chaos-exec log)" } else { "" };
        console.say(Tone::Faint, &format!("log: {}{log}{show}", self.dir.display()));
        let seed = if self.seed_is_random { format!(" (seed {} was random)", self.seed) } else { String::new() };
        console.say(Tone::Faint, &format!("again{seed}: {}", self.repeat));
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
        let hint = match (matched, fired) {
            (_, 0) if self.disabled => return (Tone::Plain, line),
            (0, _) if counters.protected > 0 => {
                "only protected places were touched: name them with `path`, or `protect: none`"
            }
            (0, _) if label.by_launcher => "no process matched in its time: check `process`, `from` and `for`",
            (0, _) => "no call matched: check `calls`, `path`, `to`, `process` and when it is armed",
            (_, 0) if counters.unsuitable > 0 => "where it was due, no kernel could have produced this fault",
            (_, 0) => "it matched and never fired: check `rate`, `nth`, `after`, `every`",
            _ => return (Tone::Plain, line),
        };
        (Tone::Loud, format!("{line} - {hint}"))
    }

    fn warn(&self, console: Console, fired: u64) {
        if !self.attached {
            console.say(Tone::Loud, "THE SHIM NEVER CAME UP in the target, so nothing could be injected");
        } else if self.disabled {
            console.say(Tone::Loud, "injection was switched off: `enabled: false` or CHAOS_ENABLED");
        } else if fired == 0 && !self.labels.is_empty() {
            console.say(Tone::Loud, "NOTHING FIRED: this run says nothing about how the program copes with faults");
        } else if self.labels.is_empty() {
            console.say(Tone::Loud, "the fault table is empty: nothing was to be injected");
        }
        for ((reason, program), count) in &self.tally.escapes {
            console.say(Tone::Loud, &format!("escaped: {program} ({reason}), {count} times"));
        }
        if let Some(limit) = self.log_limit {
            let end = "nothing was injected from then on: lower the rate, or see --log-limit";
            console.say(Tone::Loud, &format!("the log reached {limit} bytes, and {end}"));
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

/// With -v: a line for each process and injection, up to a limit.
pub fn print_events(console: Console, dir: &Path) {
    if console.level() < Level::Verbose {
        return;
    }
    let Ok(events) = Source::find(Some(dir)).and_then(|source| Events::of(&source)) else { return };
    let mut lines = events.filter(|event| !matches!(event, Event::Start(_) | Event::End(_)));
    for event in lines.by_ref().take(MAX_LINES) {
        console.say(Tone::Plain, &text(&event));
    }
    let more = lines.count();
    if more > 0 {
        console.say(Tone::Faint, &format!("... and {more} more: chaos-exec log {}", dir.display()));
    }
}

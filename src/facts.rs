//! What only the launcher saw of a run: how it ended, who died, what the checks found. Written to the session
//! directory as it is; every verdict is derived from it and from the log, as often as somebody asks.

use crate::error::{Context, Failure, Result, plain};
use crate::latency::Latencies;
use crate::session::write_atomically;
use crate::survey::Surveyed;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Name of the file in a session directory.
pub const FACTS: &str = "facts.json";
/// Version of its layout; another one is not read.
const VERSION: u32 = 2;

/// What only the launcher saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of this description.
    pub version: u32,
    /// How the first process ended.
    pub root: Ended,
    /// Exit codes that count as success.
    pub expected: Vec<u8>,
    /// Whether no faults were to be injected.
    pub control: bool,
    /// Processes that a signal ended, or that had no memory left.
    pub deaths: Vec<Death>,
    /// How far the launcher can see the death of processes that have a parent of their own.
    pub sight: Sight,
    /// What the user's checks found, in their order.
    pub checks: Vec<Checked>,
    /// When the health probes passed and failed.
    pub health: Vec<Streak>,
    /// System calls that were counted, in a run that is there for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<Surveyed>,
    /// What the tree counted for each rule, in the order of the rules.
    pub rules: Vec<Counted>,
    /// What the run changed in its working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<crate::inventory::Changes>,
    /// How long the calls took that rules match, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies: Option<Latencies>,
    /// What is wrong with the session, when the target has spoiled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoiled: Option<String>,
    /// Processes that had no address space for the session.
    #[serde(default)]
    pub unmapped: u64,
    /// Programs of runtimes that showed nothing of their own, and so met no fault.
    #[serde(default)]
    pub booting: u64,
    /// Threads for which the session had no room.
    #[serde(default)]
    pub lost_threads: u64,
    /// When the log on disk reached its limit, after which nothing was injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<LimitReached>,
    /// Where the evidence goes when it is not the session directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The one command that repeats the run.
    pub repeat: String,
    /// Why a run of an experiment did not come about; nothing can be said of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// The last line that a target of an experiment wrote to stderr before the run ended as it should not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// Targets of an experiment that were started again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<Restarted>,
}

/// A target that ended and was started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// Its name.
    pub target: String,
    /// The process that ended.
    pub pid: u32,
    /// When, in ns since the start of the run.
    pub died_ns: u64,
    /// When its successor was ready, or had been started when nothing tells that it is.
    pub back_ns: Option<u64>,
}

/// The log on disk reached its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReached {
    /// The limit.
    pub bytes: u64,
    /// When, in ns since the start of the run: that of the last record before injection ended.
    pub at_ns: u64,
}

impl LimitReached {
    /// What that means for the run.
    #[must_use]
    pub fn words(self) -> String {
        let (bytes, at) = (self.bytes, crate::gate::duration(self.at_ns));
        format!(
            "the log reached {bytes} bytes after {at}, and nothing was injected from then on: lower the rate, or see \
             --log-limit"
        )
    }
}

/// How the first process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Nobody saw it.
    #[default]
    Unseen,
    /// By itself, with this code.
    Exit(u8),
    /// By this signal.
    Signal(i32),
    /// The launcher's `--timeout` passed.
    Timeout,
}

/// A process that a signal ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// ns since the start of the run; when the launcher learnt of it.
    pub at_ns: u64,
    /// The process.
    pub pid: u32,
    /// Its program's name, where it is known.
    pub process: Option<String>,
    /// The signal.
    pub signal: i32,
    /// Whether the kernel killed it for want of memory.
    pub oom: bool,
    /// Whether the launcher sent the signal, at its timeout.
    pub ours: bool,
}

/// How deaths of processes that are reaped by a parent of their own were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    /// The kernel tells what became of a process after it was reaped (Linux 6.15 and later).
    Full,
    /// Only what stays a zombie for a moment can be seen.
    #[default]
    Zombies,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The check, in the words of the table.
    pub check: String,
    /// Whether it holds.
    pub passed: bool,
    /// Why not, or what was seen.
    pub why: String,
}

/// Probes of the health checks that followed each other with the same result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// Which check.
    pub check: usize,
    /// Whether they passed.
    pub up: bool,
    /// The first, in ns since the start of the run.
    pub from_ns: u64,
    /// The last.
    pub to_ns: u64,
    /// How many.
    pub count: u64,
}

/// What the tree counted for a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Matches.
    pub matched: u64,
    /// Matches that `protect` kept away.
    pub protected: u64,
    /// Fired where no kernel could produce the fault.
    pub unsuitable: u64,
}

impl Facts {
    /// Writes them into a session directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, dir: &Path) -> Result<()> {
        self.version = VERSION;
        let path = dir.join(FACTS);
        let mut text = serde_json::to_vec_pretty(self).cannot("describe the run")?;
        text.push(b'\n');
        write_atomically(&path, &text, 0o600).cannot(format_args!("write {}", path.display()))
    }

    /// Reads those of a session directory; `None` while the run goes on, or when its launcher was killed.
    ///
    /// # Errors
    /// When they are damaged, or of another version.
    pub fn read(dir: &Path) -> Result<Option<Facts>> {
        let path = dir.join(FACTS);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("cannot read {}: {}", path.display(), plain(&error)))),
        };
        let damaged = |why: &dyn std::fmt::Display| {
            Failure::new(format!("{} is damaged: {why}", path.display()))
                .help("the log can still be read: chaos-exec log DIR")
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                return Err(Failure::new(format!("{} is of version {version}, not {VERSION}", path.display()))
                    .help("read it with the chaos-exec that wrote it"));
            }
            None => return Err(damaged(&"it has no version")),
        }
        serde_json::from_value(value).map(Some).map_err(|error| damaged(&error))
    }
}
/// Why programs met no fault that a runtime ran.
pub fn never_armed(count: u64) -> String {
    format!(
        "{count} {} of a language runtime showed nothing of its own (a file, a connection, output) and was never armed: \
         `arm: exec` begins at once",
        if count == 1 { "program" } else { "programs" }
    )
}

//! Evidence of a failure, beside its log: what was done last, the ends of the outputs, the state of what still lives,
//! the table, and the command that repeats it. Bounded in time and size; what cannot be had is left out.

use crate::core_file;
use crate::error::{Context, Failure, Result, plain};
use crate::facts::Facts;
use crate::judge::Judged;
use crate::log_events::{Event, Events};
use crate::log_format::text;
use crate::log_reader::Source;
use crate::scene::{LAST_CALLS, Scene};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the directory in a session.
pub const DIR: &str = "evidence";
/// Bytes of the log that are copied; the session has all of it.
const MAX_LOG: usize = 64 << 20;
/// How long the user's own command may take.
const COMMAND: Duration = Duration::from_secs(30);

/// Makes sure that evidence can be written, before the program starts.
///
/// # Errors
/// When it cannot.
pub fn refuse_bad_place(dir: Option<&Path>) -> Result<()> {
    let Some(dir) = dir else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let tried = made.and_then(|()| tempfile::tempfile_in(dir));
    tried.map(drop).map_err(|error| {
        Failure::new(format!("--evidence: cannot write to {}: {}", dir.display(), plain(&error)))
            .help("name a directory that can be written")
    })
}

/// Writes the evidence of a run that failed, and runs the user's own command for more of it.
///
/// # Errors
/// When the directory cannot be written.
pub fn keep(run: &mut Judged, session: &Path, scene: &Scene, command: Option<&str>) -> Result<()> {
    if run.failing.is_none() && run.crashes.is_empty() && run.figures.failed() == 0 {
        return Ok(());
    }
    let elsewhere = run.facts.as_ref().and_then(|facts| facts.evidence.as_ref()).map(PathBuf::from);
    let dir = elsewhere.unwrap_or_else(|| session.join(DIR));
    let doing = format!("write the evidence to {}", dir.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).cannot(&doing)?;
    let create = |name: &str| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(dir.join(name)).cannot(&doing)
    };
    let put = |name: &str, bytes: &[u8]| create(name)?.write_all(bytes).cannot(&doing);
    put("summary.txt", summary(run).as_bytes())?;
    put("last-injections.txt", last(run).as_bytes())?;
    if let Some(meta) = &run.meta {
        put("table.json", &serde_json::to_vec_pretty(&meta.table).cannot(&doing)?)?;
    }
    if let Some(files) = run.facts.as_ref().and_then(|facts| facts.files.as_ref()) {
        put("files.json", &serde_json::to_vec_pretty(files).cannot(&doing)?)?;
    }
    for (name, bytes) in &scene.files {
        match name.ends_with(LAST_CALLS) {
            true => put(name, with_injections(run, name, bytes).as_bytes())?,
            false => put(name, bytes)?,
        }
    }
    whole_log(session, &mut create("log.jsonl")?)?;
    for crash in &run.crashes {
        let traced = format!("crash-{}-backtrace", crash.pid);
        if scene.files.iter().all(|(name, _)| *name != traced) {
            put(&traced, core_file::backtrace(run, crash).as_bytes())?;
        }
    }
    if let Some(command) = command {
        let output = create("command.txt")?;
        if let Err(why) = crate::verify::shell(command, &output, COMMAND) {
            put("command-failed.txt", format!("{command}: {why}\n").as_bytes())?;
        }
    }
    run.find_evidence(Some(session));
    Ok(())
}

/// The log from its start, as far as it is of a size to be kept twice.
fn whole_log(session: &Path, file: &mut File) -> Result<()> {
    let doing = "copy the log to the evidence";
    let mut out = BufWriter::new(file);
    let mut written = 0;
    for event in Events::of(&Source::find(Some(session))?)? {
        let line = serde_json::to_string(&event).cannot(doing)? + "\n";
        written += line.len();
        if written > MAX_LOG {
            break;
        }
        out.write_all(line.as_bytes()).cannot(doing)?;
    }
    out.flush().cannot(doing)
}

/// Why it is kept, and how to see it again.
fn summary(run: &Judged) -> String {
    let mut lines = vec![format!("{}: {}", run.name, run.ended())];
    lines.extend(run.failing.iter().map(|(kind, why)| format!("{}: {why}", kind.words())));
    lines.extend(run.crashes.iter().map(|crash| format!("crash of {}", crash.words())));
    lines.extend(run.facts.iter().flat_map(|facts: &Facts| &facts.checks).map(|check| {
        let word = if check.passed { "passed" } else { "failed" };
        format!("check {word}: {}: {}", check.check, check.why)
    }));
    if let Some(meta) = &run.meta {
        lines.push(format!("seed {}, in {}", meta.seed, meta.cwd));
    }
    let repeat = run.facts.as_ref().map(|facts| facts.repeat.clone()).unwrap_or_default();
    lines.push(format!("again: {repeat}"));
    lines.join("\n") + "\n"
}

/// The last calls with the injections among them: the shim fails a call in the kernel's place, which sees none then.
fn with_injections(run: &Judged, name: &str, calls: &[u8]) -> String {
    let calls = String::from_utf8_lossy(calls);
    let is_meant = |pid: u32| name == LAST_CALLS || name.starts_with(&format!("crash-{pid}-"));
    let injected = run.latest.iter().filter(|injection| is_meant(injection.pid));
    let injected = injected.map(|injection| text(&Event::Injection(Box::new(injection.clone()))));
    let mut lines: Vec<String> = calls.lines().map(str::to_owned).chain(injected).collect();
    // Both begin with the seconds since the start.
    let at = |line: &String| line.split_whitespace().next().and_then(|at| at.parse().ok()).unwrap_or(0.0);
    lines.sort_by(|one: &String, other| f64::total_cmp(&at(one), &at(other)));
    lines.join("\n") + "\n"
}

/// The injections before the end, as `chaos-exec log` prints them.
fn last(run: &Judged) -> String {
    let lines = run.latest.iter().map(|injection| text(&Event::Injection(Box::new(injection.clone()))) + "\n");
    lines.collect()
}

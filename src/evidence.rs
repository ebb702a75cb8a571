//! Evidence of a failure, beside its log: what was done last, the ends of the outputs, the state of what still lives,
//! the table, and the command that repeats it. Bounded in time and size; what cannot be had is left out.

use crate::error::{Context, Failure, Result, plain};
use crate::facts::Facts;
use crate::judge::Judged;
use crate::log_events::Event;
use crate::log_format::text;
use crate::process::descendants;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the directory in a session.
pub const DIR: &str = "evidence";
/// Processes that still live and are looked at.
const MAX_LIVING: usize = 20;
/// Bytes of one file of /proc.
const MAX_BYTES: usize = 1 << 20;
/// How long the user's own command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// Bytes of the end of an output.
const TAIL: usize = 64 << 10;

/// What is gathered while the tree may still live, before it is known whether the run failed.
#[derive(Debug, Default)]
pub struct Scene {
    /// Name of a file and its content.
    files: Vec<(String, Vec<u8>)>,
}

impl Scene {
    /// Looks at what still lives of the tree, and at the locks of the machine.
    #[must_use]
    pub fn of_the_living() -> Scene {
        let mut scene = Scene::default();
        scene.take("locks".into(), Path::new("/proc/locks"));
        for process in descendants().into_iter().take(MAX_LIVING) {
            let proc = PathBuf::from(format!("/proc/{}", process.pid));
            for name in ["maps", "status", "wchan", "stack"] {
                scene.take(format!("{}-{name}", process.pid), &proc.join(name));
            }
            scene.files.push((format!("{}-fds", process.pid), fds(&proc).into_bytes()));
        }
        scene
    }

    /// Adds the end of an output.
    pub fn output(&mut self, name: &str, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(TAIL);
        self.files.push((format!("{name}-tail"), bytes.get(from..).unwrap_or_default().to_vec()));
    }

    fn take(&mut self, name: String, path: &Path) {
        if let Ok(mut bytes) = fs::read(path) {
            bytes.truncate(MAX_BYTES);
            if !bytes.is_empty() {
                self.files.push((name, bytes));
            }
        }
    }
}

/// The open descriptors of a process, one a line.
fn fds(proc: &Path) -> String {
    let mut all: Vec<(u32, String)> = fs::read_dir(proc.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
        })
        .collect();
    all.sort_unstable();
    all.iter().map(|(number, target)| format!("{number} -> {target}\n")).collect()
}

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
    scene.files.iter().try_for_each(|(name, bytes)| put(name, bytes))?;
    if let Some(command) = command {
        let output = create("command.txt")?;
        if let Err(why) = crate::verify::shell(command, &output, COMMAND) {
            put("command-failed.txt", format!("{command}: {why}\n").as_bytes())?;
        }
    }
    run.find_evidence(Some(session));
    Ok(())
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

/// The injections before the end, as `chaos-exec log` prints them.
fn last(run: &Judged) -> String {
    let lines = run.latest.iter().map(|injection| text(&Event::Injection(Box::new(injection.clone()))) + "\n");
    lines.collect()
}

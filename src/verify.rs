//! Looks whether what the user says is true of a run is true. Done once the run is over; health probes go on
//! meanwhile. A check may be given time: it is then tried again until it holds.

use crate::capture::{Captured, Stream};
use crate::error::{Failure, Result, plain};
use crate::facts::{Checked, Ended, Streak};
use crate::inventory::{Form, parses};
use crate::probe;
use chaos_table::checks::{Check, CheckKind, FileIs, HowMany, Text};
use regex::bytes::{Regex, RegexBuilder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a command may take when its check does not say.
const COMMAND: Duration = Duration::from_secs(60);
/// Entries that a glob looks at.
const MAX_ENTRIES: usize = 100_000;
/// Name of what a control leaves for the check `control`, in its session directory.
pub const KEPT: &str = "kept";

/// What a run left, for the checks.
pub struct Left<'a> {
    /// How the first process ended.
    pub root: Ended,
    /// Exit codes that count as success.
    pub expected: &'a [u8],
    /// How long it ran, in ns.
    pub end_ns: u64,
    /// The working directory.
    pub work_dir: &'a Path,
    /// What came through stdout.
    pub stdout: Option<&'a Captured>,
    /// What came through stderr.
    pub stderr: Option<&'a Captured>,
    /// What the health probes found.
    pub health: &'a [Streak],
    /// Session of the control that outputs are compared with.
    pub control: Option<&'a Path>,
    /// Its own session, when it is a control itself.
    pub as_control: Option<&'a Path>,
    /// The rules, and how many calls each has matched.
    pub counted: &'a [(String, u64)],
}

impl<'a> Left<'a> {
    /// What there is while nothing has ended yet.
    #[must_use]
    pub fn before(work_dir: &'a Path, stdout: &'a Captured) -> Left<'a> {
        Left {
            root: Ended::Unseen,
            expected: &[0],
            end_ns: 0,
            work_dir,
            stdout: Some(stdout),
            stderr: None,
            health: &[],
            control: None,
            as_control: None,
            counted: &[],
        }
    }
}

/// Makes sure that regular expressions are some, before the program starts.
///
/// # Errors
/// The first that is none.
pub fn refuse_bad_patterns(checks: &[Check]) -> Result<()> {
    for check in checks {
        for pattern in [&check.matches, &check.lacks].into_iter().flatten() {
            regex(pattern).map_err(|why| {
                Failure::new(format!("check `{check}`: '{}' is no regular expression: {why}", pattern.0))
                    .help("a backslash before a character takes its meaning away, such as \\.")
            })?;
        }
    }
    Ok(())
}

fn regex(pattern: &Text) -> std::result::Result<Regex, String> {
    RegexBuilder::new(&pattern.0).multi_line(true).size_limit(1 << 20).build().map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// Which outputs must be captured for these checks.
#[must_use]
pub fn captures(checks: &[Check]) -> Vec<Stream> {
    let any = |wanted: fn(&Check) -> bool| checks.iter().any(wanted);
    let stdout = any(|check| match check.check {
        Some(CheckKind::Stdout) => true,
        Some(CheckKind::Control) => check.path.is_none(),
        _ => false,
    });
    let stderr = any(|check| check.check == Some(CheckKind::Stderr));
    let both = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)];
    both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, stream)| stream).collect()
}

/// The exit codes that count as success.
#[must_use]
pub fn expected(checks: &[Check]) -> Vec<u8> {
    let codes = checks.iter().filter_map(|check| check.codes.as_ref());
    let mut codes: Vec<u8> = codes.flat_map(|codes| codes.iter().map(|code| code.0)).collect();
    if codes.is_empty() {
        codes.push(0);
    }
    codes
}

/// What the checks find.
#[must_use]
pub fn verify(checks: &[Check], left: &Left) -> Vec<Checked> {
    let judge = |(at, check): (usize, &Check)| {
        let found = patiently(check, || look(at, check, left));
        let (passed, why) = match found {
            Ok(seen) => (true, seen),
            Err(why) => (false, why),
        };
        Checked { check: check.to_string(), passed, why }
    };
    checks.iter().enumerate().map(judge).collect()
}

type Found = std::result::Result<String, String>;

/// Looks again until it holds or its time has passed.
fn patiently(check: &Check, look: impl Fn() -> Found) -> Found {
    // What is over does not change any more.
    let settled = matches!(
        check.check,
        Some(
            CheckKind::Exit
                | CheckKind::Stdout
                | CheckKind::Stderr
                | CheckKind::Http
                | CheckKind::Tcp
                | CheckKind::Calls
        )
    );
    let within = check.within.map(|within| Duration::from_nanos(within.0.0)).filter(|_| !settled);
    let start = Instant::now();
    loop {
        let found = look();
        let Some(within) = within else { return found };
        if found.is_ok() || start.elapsed() >= within {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

fn look(at: usize, check: &Check, left: &Left) -> Found {
    let path = || check.path.as_ref().map(|path| left.work_dir.join(&path.0)).unwrap_or_default();
    match check.check {
        Some(CheckKind::Exit) => in_time(check, left).and_then(|()| exit(left)),
        Some(CheckKind::Stdout) => in_time(check, left).and_then(|()| output(check, left.stdout)),
        Some(CheckKind::Stderr) => in_time(check, left).and_then(|()| output(check, left.stderr)),
        Some(CheckKind::File) => file(&path(), check.is.unwrap_or(FileIs::Exists)),
        Some(CheckKind::Json) => json(&path(), check),
        Some(CheckKind::Glob) => glob(left.work_dir, check),
        Some(CheckKind::Control) => control(at, check, &path(), left),
        Some(CheckKind::Command) => command(check),
        Some(CheckKind::Http | CheckKind::Tcp) => {
            let streaks: Vec<Streak> = left.health.iter().filter(|streak| streak.check == at).copied().collect();
            let away = check.within.map_or(probe::AWAY, |within| Duration::from_nanos(within.0.0));
            probe::judge(&streaks, away, left.end_ns)
        }
        Some(CheckKind::Calls) => calls(at, check, left.counted),
        None => Err("it says not what it looks at".into()),
    }
}

fn calls(at: usize, check: &Check, counted: &[(String, u64)]) -> Found {
    let (Some(HowMany { first, last }), Some(count)) = (check.how_many(), crate::experiment::counted(at, counted))
    else {
        return Err("nobody counted them".into());
    };
    let seen = if count == 1 { "1 call".to_owned() } else { format!("{count} calls") };
    if (first..=last).contains(&count) { Ok(seen) } else { Err(format!("there were {seen}")) }
}

/// What does not change after the end had to be true by then.
fn in_time(check: &Check, left: &Left) -> std::result::Result<(), String> {
    match check.within {
        Some(within) if left.end_ns > within.0.0 => {
            Err(format!("the run took {}, longer than {within}", crate::gate::duration(left.end_ns)))
        }
        _ => Ok(()),
    }
}

fn exit(left: &Left) -> Found {
    match left.root {
        Ended::Exit(code) if left.expected.contains(&code) => Ok(format!("exit {code}")),
        Ended::Exit(code) => Err(format!("exit {code}")),
        Ended::Signal(signal) => Err(format!("ended by {}", crate::outcome::signal_words(signal))),
        Ended::Timeout => Err("it still ran when its time was up".into()),
        Ended::Unseen => Err("nobody saw how it ended".into()),
    }
}

fn output(check: &Check, captured: Option<&Captured>) -> Found {
    let Some(captured) = captured else { return Err("it was not captured".into()) };
    let bytes = captured.bytes();
    if let Some(pattern) = &check.matches
        && !regex(pattern)?.is_match(&bytes)
    {
        return Err(format!("'{}' is not found in its {} bytes", pattern.0, bytes.len()));
    }
    if let Some(pattern) = &check.lacks
        && let Some(found) = regex(pattern)?.find(&bytes)
    {
        let line = line_around(&bytes, found.start());
        return Err(format!("'{}' is found: {line}", pattern.0));
    }
    match captured.left_out() {
        0 => Ok("as wanted".into()),
        // What was not kept might have it.
        left_out if check.lacks.is_some() => Err(format!("{left_out} bytes of it were not kept, so nobody knows")),
        _ => Ok("as wanted".into()),
    }
}

fn line_around(bytes: &[u8], at: usize) -> String {
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = after.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline);
    String::from_utf8_lossy(&bytes[start..end.min(start + 200)]).into_owned()
}

fn file(path: &Path, is: FileIs) -> Found {
    let there = fs::metadata(path);
    match (is, there) {
        (FileIs::Absent, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok("it is not there".into()),
        (FileIs::Absent, Ok(_)) => Err("it is there".into()),
        (_, Err(error)) => Err(plain(&error)),
        (FileIs::Exists, Ok(meta)) => Ok(format!("{} bytes", meta.len())),
        (FileIs::Json, Ok(_)) => parses(path, Form::Json).map(|()| "it is JSON".into()),
        (FileIs::Yaml, Ok(_)) => parses(path, Form::Yaml).map(|()| "it is YAML".into()),
        (FileIs::Csv, Ok(_)) => parses(path, Form::Csv).map(|()| "it is CSV".into()),
    }
}

fn json(path: &Path, check: &Check) -> Found {
    let text = fs::read(path).map_err(|error| plain(&error))?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| format!("it is no JSON: {error}"))?;
    let pointer = check.pointer.as_ref().map_or("", |pointer| &pointer.0);
    let Some(found) = value.pointer(pointer) else { return Err(format!("there is nothing at {pointer}")) };
    let Some(Text(wanted)) = &check.equals else { return Ok("it is there".into()) };
    // A text may be written without its quotes.
    let same = found.as_str() == Some(wanted)
        || serde_json::from_str::<serde_json::Value>(wanted).is_ok_and(|wanted| wanted == *found);
    let shown: String = found.to_string().chars().take(200).collect();
    if same { Ok(shown) } else { Err(format!("{shown} stands at {pointer}")) }
}

fn glob(work_dir: &Path, check: &Check) -> Found {
    let (Some(Text(pattern)), Some(HowMany { first, last })) = (&check.path, check.count) else {
        return Err("it says not what it looks for".into());
    };
    let pattern = work_dir.join(pattern).display().to_string();
    // What stands before the first special character is a directory that must be there.
    let fixed = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let base = PathBuf::from(&pattern[..pattern[..fixed].rfind('/').map_or(0, |slash| slash + 1)]);
    let (mut dirs, mut seen, mut count) = (vec![base], 0, 0u64);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(format!("there are more than {MAX_ENTRIES} files to look at"));
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            } else if fast_glob::glob_match(pattern.as_bytes(), path.as_os_str().as_encoded_bytes()) {
                count += 1;
            }
        }
    }
    if (first..=last).contains(&count) { Ok(format!("{count} files")) } else { Err(format!("there are {count} files")) }
}

/// A control keeps what is to be compared; a run compares it.
fn control(at: usize, check: &Check, path: &Path, left: &Left) -> Found {
    let now = match &check.path {
        Some(_) => fs::read(path).map_err(|error| format!("{}: {}", path.display(), plain(&error)))?,
        None => left.stdout.map(Captured::bytes).ok_or("it was not captured")?,
    };
    if let Some(own) = left.as_control {
        let kept = own.join(format!("{KEPT}-{at}"));
        return fs::write(&kept, &now).map(|()| "kept".into()).map_err(|error| plain(&error));
    }
    let Some(control) = left.control else { return Err("there was no control: run it with --controls 1".into()) };
    let then = fs::read(control.join(format!("{KEPT}-{at}"))).map_err(|_| "the control left nothing to compare")?;
    if now == then {
        return Ok("as the control left it".into());
    }
    let differs = now.iter().zip(&then).position(|(one, other)| one != other).unwrap_or(now.len().min(then.len()));
    Err(format!("{} bytes where the control has {}; they differ from byte {differs} on", now.len(), then.len()))
}

fn command(check: &Check) -> Found {
    let Some(Text(script)) = &check.run else { return Err("it says not what to run".into()) };
    let output = tempfile::tempfile().map_err(|error| plain(&error))?;
    let longest = check.within.map_or(COMMAND, |within| Duration::from_nanos(within.0.0));
    match shell(script, &output, longest) {
        Ok(()) => Ok("it passed".into()),
        Err(why) => {
            let said = last_line(&output);
            Err(if said.is_empty() { why } else { format!("{why}: {said}") })
        }
    }
}

/// Runs a command of the user's in the working directory; what it prints goes to a file.
///
/// # Errors
/// When it does not end with 0 in time.
pub fn shell(script: &str, output: &fs::File, longest: Duration) -> std::result::Result<(), String> {
    let outputs = output.try_clone().and_then(|out| Ok((out, output.try_clone()?)));
    let (out, err) = outputs.map_err(|error| plain(&error))?;
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().map_err(|error| plain(&error))?;
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(|error| plain(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(status.to_string()),
            None if start.elapsed() > longest => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it still ran after {}", humantime::format_duration(longest)));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn last_line(output: &fs::File) -> String {
    use std::os::unix::fs::FileExt;
    let len = output.metadata().map_or(0, |meta| meta.len());
    let mut bytes = vec![0; usize::try_from(len.min(4096)).unwrap_or(0)];
    let _ = output.read_at(&mut bytes, len.saturating_sub(4096));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

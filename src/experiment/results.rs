//! The directory of an experiment's results: a session for each run, their list, and what came of all.

use super::place::copy_tree;
use super::score::{About, Score, Status};
use crate::error::{Context, Failure, Result, plain};
use crate::judge::judge;
use crate::log_reader::Source;
use crate::pool::Pool;
use crate::session::{RUNS, link_latest, new_dir, runs_of, state_dir, write_atomically};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What came of all runs.
pub const RESULTS: &str = "experiment.json";
/// Held by the runner, with its pid inside: who finds it free knows that nobody runs.
pub const LOCK: &str = "runner.lock";
/// Between two writings of the list while runs go on.
const OFTEN: Duration = Duration::from_secs(1);

/// The results of an experiment.
pub struct Results {
    dir: PathBuf,
    names: Vec<String>,
    listed: Option<Instant>,
    _lock: Flock<File>,
}

impl Results {
    /// Makes the directory.
    ///
    /// # Errors
    /// When it holds something already, or cannot be written.
    pub fn create(out: Option<&Path>, id: &str) -> Result<Results> {
        let dir = new_dir(out)?;
        let doing = format!("write to {}", dir.display());
        let file = File::create_new(dir.join(LOCK)).cannot(&doing)?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| Failure::new(format!("cannot {doing}: {error}")))?;
        writeln!(lock, "{} {id}", std::process::id()).cannot(&doing)?;
        let mut results = Results { dir, names: Vec::new(), listed: None, _lock: lock };
        results.list()?;
        link_latest(&results.dir);
        Ok(results)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs that were made elsewhere are among them, in this order.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub fn take_all(&mut self, sessions: &[PathBuf]) -> Result<()> {
        for session in sessions {
            let name = session.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            copy_tree(session, &self.dir.join(&name))?;
            self.names.push(name);
        }
        Ok(())
    }

    /// A run is among them.
    pub fn add(&mut self, name: &str) {
        self.names.push(name.to_owned());
        if self.listed.is_none_or(|listed| listed.elapsed() > OFTEN) {
            // The end writes it again, and says when it cannot.
            let _ = self.list();
        }
    }

    /// A run that was cut short is none.
    pub fn forget(&self, name: &str) {
        let _ = std::fs::remove_dir_all(self.dir.join(name));
    }

    /// The session of the first run without faults.
    #[must_use]
    pub fn first_control(&self) -> Option<PathBuf> {
        let mut controls = self.names.iter().filter(|name| name.starts_with("control-"));
        controls.next().map(|name| self.dir.join(name))
    }

    /// The sessions of the runs.
    #[must_use]
    pub fn sessions(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| self.dir.join(name)).collect()
    }

    fn list(&mut self) -> Result<()> {
        self.names.sort();
        self.listed = Some(Instant::now());
        let text = serde_json::to_vec(&self.names).cannot("list the runs")?;
        write_atomically(&self.dir.join(RUNS), &text, 0o600).cannot(format_args!("write to {}", self.dir.display()))
    }

    /// Writes what came of it, and the list.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&mut self, score: &Score) -> Result<()> {
        self.list()?;
        let mut text = serde_json::to_vec_pretty(score).cannot("describe the results")?;
        text.push(b'\n');
        write_atomically(&self.dir.join(RESULTS), &text, 0o600).cannot(format_args!("write to {}", self.dir.display()))
    }
}

/// What is to be said of results that are not whole: they were cut short, somebody still makes them, or there was
/// nothing to hit.
#[must_use]
pub fn cut_short(dir: &Path) -> Option<String> {
    let text = std::fs::read(dir.join(RESULTS)).ok()?;
    let Saved { id, status, wanted, untested, .. } = serde_json::from_slice(&text).ok()?;
    if let Some(why) = untested {
        return Some(format!("{id} is inconclusive, and no run was made: {why}"));
    }
    let runs = runs_of(dir).ok()??;
    let made =
        runs.iter().filter(|run| run.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("control")));
    let word = match status {
        Status::Completed => return None,
        Status::Aborted => "was aborted",
        Status::Failed => "could not be run to its end",
        Status::Running => "goes on, or its runner was killed",
    };
    Some(format!("{id} {word}: {} of {wanted} runs were made, and the figures are of these", made.count()))
}

/// The results of the latest experiment with this id.
///
/// # Errors
/// When there is none.
pub fn find(id: &str) -> Result<PathBuf> {
    let state = state_dir()?;
    let entries = std::fs::read_dir(&state).into_iter().flatten().flatten();
    let of = |dir: &PathBuf| {
        let text = std::fs::read(dir.join(RESULTS)).ok()?;
        Some(serde_json::from_slice::<serde_json::Value>(&text).ok()?["id"].as_str()?.to_owned())
    };
    // The names begin with the time; the link to the latest session is one of them again.
    let all = entries.map(|entry| entry.path()).filter_map(|dir| Some((of(&dir)?, dir)));
    let all: Vec<(String, PathBuf)> = all.filter(|(_, dir)| !dir.is_symlink()).collect();
    let found = all.iter().filter(|(own, _)| own == id).map(|(_, dir)| dir.clone()).max();
    found.ok_or_else(|| {
        let near = chaos_table::nearest(id, all.iter().map(|(own, _)| own.as_str()));
        let near = near.map_or_else(
            || "`chaos-exec report DIR` takes the directory of its results".into(),
            |near| format!("did you mean '{near}'?"),
        );
        Failure::new(format!("there are no results of an experiment '{id}' in {}", state.display())).help(near)
    })
}

/// Results that are there.
#[derive(Debug)]
pub struct Loaded {
    /// Where.
    pub dir: PathBuf,
    /// What was said of them.
    pub saved: Saved,
    /// The sessions, controls first.
    pub sessions: Vec<PathBuf>,
}

/// What is needed of what [`Score`] has written.
#[derive(Clone, Debug, Deserialize)]
pub struct Saved {
    /// The experiment's id.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// What was run.
    pub about: About,
    /// How it ended.
    pub status: Status,
    /// The seed of all runs.
    pub seed: u64,
    /// Runs that were wanted of it.
    pub wanted: u64,
    /// Why none was made.
    pub untested: Option<String>,
}

impl Loaded {
    /// The results in a directory: one experiment's, or those of several in directories of their own.
    ///
    /// # Errors
    /// When there are none, or they are damaged or cut short.
    pub fn all_in(dir: &Path) -> Result<Vec<Loaded>> {
        if !dir.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", dir.display()))
                .help("name the directory that `experiment run --out` has written"));
        }
        if dir.join(RESULTS).exists() || dir.join(LOCK).exists() {
            return Ok(vec![Loaded::of(dir)?]);
        }
        let entries = std::fs::read_dir(dir).cannot(format_args!("read {}", dir.display()))?;
        let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        below.retain(|path| path.join(RESULTS).exists());
        below.sort();
        if below.is_empty() {
            return Err(Failure::new(format!("{} holds no results of an experiment", dir.display()))
                .help("name the directory that `experiment run --out` has written"));
        }
        below.iter().map(|dir| Loaded::of(dir)).collect()
    }

    fn of(dir: &Path) -> Result<Loaded> {
        let path = dir.join(RESULTS);
        let damaged = |why: &dyn std::fmt::Display| {
            Failure::new(format!("{} is damaged: {why}", path.display())).help("run that part again")
        };
        let text = std::fs::read(&path).map_err(|error| damaged(&plain(&error)))?;
        let saved: Saved = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        let sessions = runs_of(dir)?.ok_or_else(|| damaged(&"the list of its runs is gone"))?;
        if let Some(gone) = sessions.iter().find(|session| !crate::session::has_begun(session)) {
            return Err(damaged(&format!("its run {} is gone", gone.display())));
        }
        Ok(Loaded { dir: dir.to_owned(), saved, sessions })
    }

    /// The verdicts and figures of its runs, made again from what the sessions hold.
    ///
    /// # Errors
    /// When a session is damaged.
    pub fn judged(&self, results: &Path) -> Result<(Score, Pool)> {
        let Saved { id, name, about, status, seed, wanted, untested } = self.saved.clone();
        let results = results.display().to_string();
        let harmless = !about.injects;
        let mut score = Score { id, name, about, status, seed, wanted, untested, results, ..Score::default() };
        let mut pool = Pool::default();
        for session in &self.sessions {
            let run = judge(&Source::find(Some(session))?)?;
            if run.facts.as_ref().is_none_or(|facts| !facts.control) {
                score.add(&run, harmless);
            }
            pool.add(run);
        }
        pool.conclude();
        score.conclude(&pool);
        Ok((score, pool))
    }
}

/// `experiment abort`: asks the runner to end, and waits until it has.
///
/// # Errors
/// When there is no such experiment, or it does not run.
pub fn abort(id: Option<&Path>) -> Result<()> {
    let dir = Source::place(id)?;
    let path = dir.join(LOCK);
    let none =
        || Failure::new(format!("{} holds no experiment", dir.display())).help("name the directory of its results");
    let mut file = OpenOptions::new().read(true).open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => none(),
        _ => Failure::new(format!("cannot read {}: {}", path.display(), plain(&error))),
    })?;
    let mut text = String::new();
    file.read_to_string(&mut text).cannot(format_args!("read {}", path.display()))?;
    file.rewind().cannot(format_args!("read {}", path.display()))?;
    let pid = text.split(' ').next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 1).ok_or_else(none)?;
    let mut file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => return Err(Failure::new("the experiment is over").help("`chaos-exec report` shows what it did")),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, error)) => return Err(Failure::new(format!("cannot lock {}: {error}", path.display()))),
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM).cannot("end the experiment")?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => return Ok(()),
            Err((file, _)) => file,
        };
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::new(format!("the experiment still ends its targets (pid {pid})")))
}

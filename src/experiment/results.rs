//! The directory of an experiment's results: a session for each run, their list, and what came of all.

use super::score::Score;
use crate::error::{Context, Failure, Result, plain};
use crate::log_reader::Source;
use crate::session::{RUNS, link_latest, new_dir, state_dir, write_atomically};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What came of all runs.
const RESULTS: &str = "experiment.json";
/// Held by the runner, with its pid inside: who finds it free knows that nobody runs.
const LOCK: &str = "runner.lock";
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

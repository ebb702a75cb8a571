//! A limit on what the targets of a run have together: a cgroup (version 2) for each run, where one is allowed. It is gone
//! with the run; that of a runner that was killed the next one takes away.

use super::limit::Limit;
use crate::error::plain;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid, eaccess};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that a process is put into a cgroup by.
pub const MEMBERS: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
/// What the names of ours begin with.
const PREFIX: &str = "chaos-exec.";
/// Of `cpu.max`, in microseconds: the kernel's own default, and the least that it takes.
const PERIOD: f64 = 100_000.0;
const LEAST_QUOTA: f64 = 1000.0;
/// Processes that were killed may sit in the kernel for a while.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Where the cgroups of the runs are made, and what is written into each.
#[derive(Debug)]
pub struct Confines {
    parent: PathBuf,
    settings: Vec<Setting>,
}

/// A line for one of a cgroup's files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    line: String,
}

impl Confines {
    /// Looks for a place where a cgroup with this limit can be made, by making one. `files`: where the targets write.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn find(limit: &Limit, files: &Path) -> Result<Confines, String> {
        let settings = settings(limit, files)?;
        Confines::among(&places()?, &settings)
    }

    /// The first of these places that will do, else why the last one does not that has the controllers.
    fn among(places: &[PathBuf], settings: &[Setting]) -> Result<Confines, String> {
        let mut why = None;
        for parent in places {
            let confines = Confines { parent: parent.clone(), settings: settings.to_vec() };
            match confines.try_out() {
                Ok(()) => return Ok(confines),
                Err(Refusal::NoController(names)) => {
                    let none = || format!("cgroup v2 has no controller {names} here (cgroup v1 may have it)");
                    why = why.or_else(|| Some(none()));
                }
                Err(Refusal::Other(other)) => why = Some(other),
            }
        }
        Err(why.unwrap_or_else(|| "there is no cgroup v2 here".into()))
    }

    fn try_out(&self) -> Result<(), Refusal> {
        let has = |file: &str| {
            let text = fs::read_to_string(self.parent.join(file)).unwrap_or_default();
            self.settings
                .iter()
                .map(|own| own.controller)
                .filter(|own| !text.split_whitespace().any(|one| one == *own))
                .collect()
        };
        let missing: Vec<&str> = has("cgroup.controllers");
        if !missing.is_empty() {
            return Err(Refusal::NoController(missing.join(", ")));
        }
        let place = self.parent.display();
        // Who moves a process needs the right to do so in what both places have in common, which is this one.
        eaccess(&self.parent.join(MEMBERS), AccessFlags::W_OK)
            .map_err(|errno| Refusal::Other(format!("cannot write to {place}: {}", plain(&errno.into()))))?;
        // Others of ours may rely on it then, so it stays.
        for controller in has("cgroup.subtree_control") {
            write(&self.parent.join("cgroup.subtree_control"), &format!("+{controller}")).map_err(|error| {
                let busy = error.raw_os_error() == Some(libc::EBUSY);
                let why = if busy { "there are processes in it itself".into() } else { plain(&error) };
                Refusal::Other(format!("{place} hands no {controller} down: {why}"))
            })?;
        }
        let trial = self.make("trial");
        trial.map(drop).map_err(|error| Refusal::Other(format!("no cgroup can be made in {place}: {}", plain(&error))))
    }

    /// Makes the cgroup of one run.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make(&self, run: &str) -> io::Result<Cgroup> {
        let path = self.parent.join(format!("{PREFIX}{}.{run}", std::process::id()));
        // One of a runner that had our pid and was killed.
        if path.exists() {
            remove_if_dead(&path);
        }
        fs::create_dir(&path)?;
        let made = File::open(&path).and_then(|dir| {
            let lock = Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
            Ok(Cgroup { path: path.clone(), maker: std::process::id(), _lock: lock })
        });
        let group = made.inspect_err(|_| remove(&path))?;
        self.settings.iter().try_for_each(|own| write(&path.join(own.file), &own.line))?;
        Ok(group)
    }
}

enum Refusal {
    /// These are not there.
    NoController(String),
    /// Anything else, in words.
    Other(String),
}

/// The cgroup of a run. Whatever is still in it ends with it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Copies of the runner have it, too, and must leave it alone.
    maker: u32,
    /// Held by the runner and the launcher of the run: where it is free nobody lives.
    _lock: Flock<File>,
}

impl Cgroup {
    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if std::process::id() == self.maker {
            remove(&self.path);
        }
    }
}

/// Takes away the cgroups of this user's runners that were killed, with what lives in them.
pub fn remove_dead() {
    let own = nix::unistd::geteuid().as_raw();
    for place in places().unwrap_or_default() {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if is_ours && entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == own) {
                remove_if_dead(&entry.path());
            }
        }
    }
}

fn remove_if_dead(path: &Path) {
    let Ok(dir) = File::open(path) else { return };
    if let Ok(_held) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
        remove(path);
    }
}

/// Kills what is in it and below, and takes it away.
fn remove(path: &Path) {
    let start = Instant::now();
    loop {
        // One that is empty already is gone by this.
        if remove_tree(path).is_ok() || !path.exists() || start.elapsed() > LAST_WAIT {
            return;
        }
        if write(&path.join(KILL), "1").is_err() {
            // Kernels before 5.14.
            let members = fs::read_to_string(path.join(MEMBERS)).unwrap_or_default();
            members.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0).for_each(|pid| {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A target may have made cgroups of its own below. Their files go with them.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = remove_tree(&entry.path());
        }
    }
    fs::remove_dir(path)
}

/// Neither makes the file nor cuts it: it is the kernel's.
fn write(path: &Path, line: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(path)?, line.as_bytes())
}

/// The cgroup that this process is in, and those around it, the nearest first.
fn places() -> Result<Vec<PathBuf>, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {}", plain(&error)));
    places_of(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

fn places_of(cgroup: &str, mountinfo: &str) -> Result<Vec<PathBuf>, String> {
    let none = || "there is no cgroup v2 here".to_owned();
    let own = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(none)?);
    // ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS... - TYPE SOURCE OPTIONS
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        after.starts_with("cgroup2 ").then(|| (root, PathBuf::from(at.replace("\\040", " "))))
    });
    // The last mount hides those before it.
    let mounts: Vec<_> = mounts.collect();
    if mounts.is_empty() {
        return Err(none());
    }
    let found = mounts.iter().rev().find_map(|(root, at)| Some((at, own.strip_prefix(root).ok()?)));
    let (at, within) = found
        .filter(|(_, within)| within.components().all(|part| matches!(part, std::path::Component::Normal(_))))
        .ok_or_else(|| format!("the cgroup {} of this process is mounted nowhere", own.display()))?;
    Ok(at.join(within).ancestors().take_while(|place| place.starts_with(at)).map(Path::to_path_buf).collect())
}

fn settings(limit: &Limit, files: &Path) -> Result<Vec<Setting>, String> {
    let mut all = Vec::new();
    if let Some(memory) = limit.memory {
        all.push(Setting { controller: "memory", file: "memory.max", line: memory.0.to_string() });
    }
    if let Some(part) = limit.cpu {
        // Counts of processors are far below 2^52.
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let quota = (part.0 * processors * PERIOD).max(LEAST_QUOTA);
        all.push(Setting { controller: "cpu", file: "cpu.max", line: format!("{quota:.0} {PERIOD:.0}") });
    }
    if let Some(pace) = limit.disk {
        let device = device(files)?;
        let line = format!("{device} rbps={0} wbps={0}", pace.0);
        all.push(Setting { controller: "io", file: "io.max", line });
    }
    Ok(all)
}

/// The whole disk, as `MAJOR:MINOR`, that a file is on: the kernel limits no partition.
fn device(file: &Path) -> Result<String, String> {
    let none = || format!("{} is on no disk of its own", file.display());
    let device = fs::metadata(file).map_err(|_| none())?.dev();
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let known = fs::canonicalize(format!("/sys/dev/block/{number}")).map_err(|_| none())?;
    if !known.join("partition").exists() {
        return Ok(number);
    }
    let whole = known.parent().and_then(|disk| fs::read_to_string(disk.join("dev")).ok());
    whole.map(|number| number.trim().to_owned()).ok_or_else(none)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;

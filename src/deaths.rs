//! Who died, anywhere in the tree.
//!
//! The launcher reaps its child and every orphan, and is told how they ended. A process that is reaped by a parent of
//! its own is watched through a pidfd, opened when its first record is drained; since Linux 6.15 that tells the exit
//! status even after the process was reaped, before that only a zombie that its parent has not fetched yet can be
//! read. What lives shorter than the drain's pause (10 ms) and has a parent that reaps it is not seen: the wait hooks
//! of the shim could report it.

use crate::exit_code::Exit;
use crate::facts::{Death, Sight};
use crate::sys::{self, Gone};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processes that are watched at once: each takes a descriptor.
const MAX_WATCHED: usize = 400;
/// Deaths that are kept.
const MAX_DEATHS: usize = 10_000;
/// Between two looks for processes that no record tells of.
const SWEEP: Duration = Duration::from_secs(1);

/// Watches a tree for deaths.
pub struct Deaths {
    start: Instant,
    watched: HashMap<u32, (OwnedFd, Option<String>)>,
    found: Vec<Death>,
    /// Their deaths are none of the program.
    loads: HashSet<u32>,
    sight: Sight,
    /// Where its own memory is counted.
    group: Option<PathBuf>,
    oom_kills: Option<u64>,
    swept: Instant,
    /// The launcher kills now, so what dies of it is no death of its own.
    ending: bool,
    /// Every process of the tree is waited for.
    told: bool,
}

impl Deaths {
    /// Begins to watch. `since_start` is how long ago the run started; `group` is the cgroup of the tree, when it has one
    /// of its own.
    #[must_use]
    pub fn new(since_start: Duration, group: Option<PathBuf>) -> Deaths {
        let now = Instant::now();
        Deaths {
            start: now.checked_sub(since_start).unwrap_or(now),
            watched: HashMap::new(),
            found: Vec::new(),
            loads: HashSet::new(),
            sight: Sight::Zombies,
            oom_kills: oom_kills(group.as_deref()),
            group,
            swept: now,
            ending: false,
            told: false,
        }
    }

    /// A load beside the program: when memory runs out it is the one to go, and that is no crash.
    pub fn is_load(&mut self, pid: u32) {
        self.loads.insert(pid);
    }

    /// The launcher traces the tree, and so is told of every death.
    pub fn all_are_told(&mut self) {
        (self.told, self.sight) = (true, Sight::Full);
    }

    /// Watches a process of the tree, if it is one.
    pub fn watch(&mut self, pid: u32, name: Option<String>) {
        if let Some((_, known)) = self.watched.get_mut(&pid) {
            *known = name.or(known.take());
            return;
        }
        if self.watched.len() >= MAX_WATCHED || !is_ours(pid) {
            return;
        }
        if let Ok(fd) = sys::pidfd(pid) {
            self.watched.insert(pid, (fd, name));
        }
    }

    /// From now on the launcher ends the tree itself.
    pub fn ending(&mut self) {
        self.look();
        self.ending = true;
    }

    /// Whether it is time to look for processes that no record tells of.
    pub fn sweep_is_due(&mut self) -> bool {
        let due = self.swept.elapsed() >= SWEEP;
        if due {
            self.swept = Instant::now();
        }
        due
    }

    /// Looks which of the watched have died.
    pub fn look(&mut self) {
        if self.told {
            return;
        }
        let pids: Vec<u32> = self.watched.keys().copied().collect();
        let ready: Vec<u32> = {
            let fds = pids.iter().filter_map(|pid| self.watched.get(pid));
            let mut fds: Vec<PollFd> = fds.map(|(fd, _)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) <= 0 {
                return;
            }
            let died = |fd: &PollFd| fd.any() == Some(true);
            pids.iter().zip(&fds).filter(|(_, fd)| died(fd)).map(|(pid, _)| *pid).collect()
        };
        for pid in ready {
            let Some((fd, name)) = self.watched.remove(&pid) else { continue };
            match sys::how_it_ended(&fd).map_or_else(|| zombie(pid), Zombie::Readable) {
                Zombie::Readable(Gone { signal: Some(signal) }) => self.add(pid, name, signal),
                Zombie::Readable(Gone { signal: None }) | Zombie::None => {}
                // The launcher will be told when it reaps it.
                Zombie::Ours => {
                    self.watched.insert(pid, (fd, name));
                }
            }
        }
    }

    /// The launcher has reaped a child.
    pub fn reaped(&mut self, pid: i32, exit: Exit) {
        let Ok(pid) = u32::try_from(pid) else { return };
        let watched = self.watched.remove(&pid);
        if watched.as_ref().is_some_and(|(fd, _)| sys::how_it_ended(fd).is_some()) {
            // It has been reaped, and the kernel tells all the same: so it does for the children of others.
            self.sight = Sight::Full;
        }
        let name = watched.and_then(|(_, name)| name);
        if let Exit::Signal(signal) = exit {
            self.add(pid, name, signal);
        }
    }

    fn add(&mut self, pid: u32, process: Option<String>, signal: i32) {
        if self.found.len() >= MAX_DEATHS {
            return;
        }
        let ours = self.ending && [libc::SIGTERM, libc::SIGKILL].contains(&signal);
        let oom = signal == libc::SIGKILL && !ours && {
            let now = oom_kills(self.group.as_deref());
            std::mem::replace(&mut self.oom_kills, now) < now
        };
        if self.loads.contains(&pid) {
            return;
        }
        let at_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.found.push(Death { at_ns, pid, process, signal, oom, ours });
    }

    /// What was seen, and how far.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Death>, Sight) {
        self.look();
        (self.found, self.sight)
    }
}

/// Whether a process is below the launcher. Records say pids as their processes see them, which in a container of its
/// own is somebody else's pid here.
fn is_ours(pid: u32) -> bool {
    let mut pid = pid;
    for _ in 0..256 {
        if pid == std::process::id() {
            return true;
        }
        match fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// What follows the name in `/proc/PID/stat`: state, parent, ...
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    Some(stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// A process that nobody has reaped yet.
enum Zombie {
    /// It is a child of the launcher.
    Ours,
    /// How it ended.
    Readable(Gone),
    /// There is none.
    None,
}

fn zombie(pid: u32) -> Zombie {
    // The exit code is the 52nd field; two stand before the state.
    const EXIT_CODE: usize = 52 - 3;
    let Some(fields) = fields(pid) else { return Zombie::None };
    let field = |at: usize| fields.get(at).map_or("", String::as_str);
    if field(1) == std::process::id().to_string() {
        return Zombie::Ours;
    }
    match (field(0), field(EXIT_CODE).parse()) {
        ("Z", Ok(status)) => Zombie::Readable(Gone::from_status(status)),
        _ => Zombie::None,
    }
}

/// How often the kernel has killed for want of memory: in this cgroup, in the launcher's own, else on the machine.
fn oom_kills(group: Option<&Path>) -> Option<u64> {
    let count = |text: &str| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    let own = || {
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(PathBuf::from(format!("/sys/fs/cgroup{own}")))
    };
    let here = group.map(Path::to_path_buf).into_iter().chain(own());
    let here =
        here.filter_map(|group| fs::read_to_string(group.join("memory.events")).ok()).find_map(|text| count(&text));
    here.or_else(|| count(&fs::read_to_string("/proc/vmstat").ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_death_of_a_grandchild_is_seen_after_its_parent_reaped_it() {
        let mut deaths = Deaths::new(Duration::ZERO, None);
        let mut child = Command::new("true").spawn().unwrap();
        let fd = sys::pidfd(child.id()).unwrap();
        let _ = child.wait();
        if sys::how_it_ended(&fd).is_none() {
            eprintln!("not tested: this kernel forgets how a process ended once it was reaped");
            return;
        }
        let script = "sh -c 'echo $$; read go; kill -SEGV $$' & wait $!; echo reaped";
        let mut shell = Command::new("sh")
            .args(["-c", &format!("exec 3<&0; {}", script.replace("read go", "read go <&3"))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        deaths.watch(pid, Some("worker".into()));
        // A process that is none of ours is not watched.
        deaths.watch(1, None);
        assert_eq!(deaths.watched.len(), 1);
        drop(shell.stdin.take());
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert!(line.ends_with("reaped\n"));
        let (found, _) = deaths.finish();
        let _ = shell.wait();
        let seen: Vec<_> = found.iter().map(|death| (death.pid, death.signal, death.process.as_deref())).collect();
        assert_eq!(seen, [(pid, libc::SIGSEGV, Some("worker"))]);
    }

    #[test]
    fn a_status_tells_signal_from_exit() {
        assert_eq!(Gone::from_status(libc::SIGSEGV | 0x80).signal, Some(libc::SIGSEGV));
        assert_eq!(Gone::from_status(3 << 8).signal, None);
    }
}

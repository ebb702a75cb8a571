//! What a run has left behind whose launcher was killed: it has come to the runner, which ends it.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// A killed process may sit in the kernel for a while.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Lets go of what runs have left and what has ended by now, and of no run itself.
pub fn reap_orphans(runs: &[i32]) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) = waitid(Id::All, look) {
        if runs.contains(&pid.as_raw()) || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

/// Kills every child of this process but `runs`, and what comes to it then.
pub fn end_orphans(runs: &[i32]) {
    let start = Instant::now();
    loop {
        // Without any child there is no need to ask of all the processes of the machine.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::All, look) == Err(Errno::ECHILD) {
            return;
        }
        let orphans: Vec<Pid> = children().into_iter().filter(|pid| !runs.contains(pid)).map(Pid::from_raw).collect();
        if orphans.is_empty() || start.elapsed() > LAST_WAIT {
            return;
        }
        for orphan in orphans {
            let _ = kill(orphan, Signal::SIGKILL);
            let _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The direct children of this process, zombies too.
fn children() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let parent = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse::<i32>().ok()
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| parent(pid) == Some(own)).collect()
}

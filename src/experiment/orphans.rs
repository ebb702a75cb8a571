//! What a run has left behind whose launcher was killed: it has come to the runner, which ends it.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// A killed process may sit in the kernel for a while.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Kills every child of this process but `runs`, and what comes to it then.
pub fn end_orphans(runs: &[u32]) {
    let start = Instant::now();
    loop {
        let orphans: Vec<Pid> = children()
            .into_iter()
            .filter(|pid| !runs.contains(pid))
            .filter_map(|pid| Some(Pid::from_raw(i32::try_from(pid).ok()?)))
            .collect();
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
fn children() -> Vec<u32> {
    let own = std::process::id();
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| parent(pid) == Some(own)).collect()
}

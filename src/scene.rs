//! What is gathered of a tree while it still lives, before it is known whether the run failed: the state of what hangs,
//! of what is about to crash, and of what is left at the end. Bounded in time and size.

use crate::backtrace::frames;
use crate::outcome::signal_words;
use crate::process::descendants;
use crate::sys::ptrace;
use crate::tracer::PATIENCE;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processes that are looked at, and crashes.
const MAX_PROCESSES: usize = 20;
/// Threads of a process whose frames are taken.
const MAX_THREADS: usize = 32;
/// How long all frames of a tree that hangs may take.
const FRAMES: Duration = Duration::from_secs(5);
/// Bytes of one file of /proc.
const MAX_BYTES: usize = 1 << 20;
/// Bytes of the end of an output.
pub const TAIL: usize = 64 << 10;

/// Name of the evidence that has the last calls of the whole tree; that of a process ends so.
pub const LAST_CALLS: &str = "last-calls";

/// Files of evidence that may be written.
#[derive(Debug, Default)]
pub struct Scene {
    /// Name of a file and its content.
    pub files: Vec<(String, Vec<u8>)>,
    crashes: usize,
}

impl Scene {
    /// Looks at what still lives of the tree, and at the locks of the machine. Nothing notices.
    pub fn look(&mut self) {
        let alive = descendants();
        if alive.is_empty() {
            // To list the locks takes the kernel 10 ms, and nobody holds or waits for one.
            return;
        }
        self.take("locks".into(), Path::new("/proc/locks"));
        for process in alive.into_iter().take(MAX_PROCESSES) {
            self.process(&process.pid.to_string(), process.pid);
        }
    }

    /// The same for a tree that is about to be ended, with the frames of each thread: so each has to stand still for a
    /// moment.
    pub fn look_at_what_hangs(&mut self) {
        self.look();
        let start = Instant::now();
        for process in descendants().into_iter().take(MAX_PROCESSES) {
            let mut text = String::new();
            for tid in threads(process.pid).into_iter().take(MAX_THREADS) {
                if start.elapsed() < FRAMES {
                    text += &format!("{} (pid {}, thread {tid})\n", process.name, process.pid);
                    text += &frames_of(process.pid, tid);
                }
            }
            self.files.push((format!("{}-backtrace", process.pid), text.into_bytes()));
        }
    }

    /// A thread stands still before a signal that will end its process by its own fault.
    pub fn crash(&mut self, pid: i32, tid: i32, signal: i32) {
        self.crashes += 1;
        if self.crashes > MAX_PROCESSES {
            return;
        }
        let lead = format!("crash-{pid}");
        let name = fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
        let address = ptrace::fault_address(tid).map(|address| format!(" at address {address:#x}")).unwrap_or_default();
        let mut text = format!("{} (pid {pid}, thread {tid}) by {}{address}\n", name.trim(), signal_words(signal));
        text += &ptrace::registers(tid).map_or_else(|| "its registers cannot be read\n".into(), |all| frames(pid, all));
        self.files.push((format!("{lead}-backtrace"), text.into_bytes()));
        self.take(format!("{lead}-locks"), Path::new("/proc/locks"));
        self.process(&lead, pid);
    }

    /// Adds the last calls of a process or of the tree, unless they are there already, or nobody asked for them.
    pub fn last_calls(&mut self, name: &str, calls: Option<String>) {
        if let Some(calls) = calls.filter(|_| self.files.iter().all(|(known, _)| known != name)) {
            self.files.push((name.to_owned(), calls.into_bytes()));
        }
    }

    /// Adds the end of an output.
    pub fn output(&mut self, name: &str, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(TAIL);
        self.files.push((format!("{name}-tail"), bytes.get(from..).unwrap_or_default().to_vec()));
    }

    fn process(&mut self, lead: &str, pid: i32) {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        for name in ["maps", "status", "limits", "syscall", "wchan", "stack"] {
            self.take(format!("{lead}-{name}"), &proc.join(name));
        }
        self.files.push((format!("{lead}-fds"), fds(&proc).into_bytes()));
    }

    fn take(&mut self, name: String, path: &Path) {
        if let Ok(mut bytes) = fs::read(path) {
            bytes.truncate(MAX_BYTES);
            // No lock at all is worth knowing too.
            if !bytes.is_empty() || name.ends_with("locks") {
                self.files.push((name, bytes));
            }
        }
    }
}

fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut all: Vec<i32> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all
}

/// Stops a thread, takes its frames, and lets it go on.
fn frames_of(pid: i32, tid: i32) -> String {
    // One that the tracer follows is ours already.
    let seized = ptrace::seize(tid, false);
    if let Err(error) = ptrace::interrupt(tid) {
        let why = seized.err().unwrap_or(error);
        return format!("no frames: {}\n", crate::error::plain(&why));
    }
    let Some(stop) = ptrace::wait_for_stop(tid, PATIENCE) else { return "no frames: it does not stop\n".into() };
    let text = ptrace::registers(tid).map_or_else(|| "its registers cannot be read\n".into(), |all| frames(pid, all));
    if seized.is_ok() {
        ptrace::detach(tid, stop.pending());
    } else {
        ptrace::resume(tid, stop.pending());
    }
    text
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

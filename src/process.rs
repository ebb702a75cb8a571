//! The target while it runs: its start, its signals, its end, and the end of its whole tree.

use crate::actor::Actor;
use crate::cli::Wait;
use crate::collect::{Collector, Tree};
use crate::command::{Command, exec_failed};
use crate::deaths::Deaths;
use crate::engine::{Engine, Filtered};
use crate::error::{Context, Result, plain};
use crate::exit_code::Exit;
use crate::experiment::{Crew, Ground, Newcomer, Stage};
use crate::facts::{Death, Ended, Sight};
use crate::scene::{LAST_CALLS, Scene};
use crate::survey::Surveyed;
use crate::sys::{self, Change, Setting};
use crate::tracer::{Trace, Tracer};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// A killed process may sit in the kernel for a while; nobody can do more about it.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Signals that the launcher takes for its target.
const TAKEN: [Signal; 13] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGURG,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// A process of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its pid.
    pub pid: i32,
    /// Its name, as the kernel has it.
    pub name: String,
}

/// How the run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the launcher exits with.
    pub exit: Exit,
    /// What still ran then.
    pub survivors: Vec<Survivor>,
    /// How the first process ended.
    pub root: Ended,
    /// Who died of a signal, anywhere in the tree.
    pub deaths: Vec<Death>,
    /// How far that could be seen.
    pub sight: Sight,
    /// What lived at the end, or when the launcher began to end it; and what was about to crash.
    pub scene: Scene,
    /// The processes of an experiment.
    pub crew: Option<Crew>,
    /// System calls that were counted.
    pub surveyed: Option<Surveyed>,
}

/// The running target.
pub struct Target {
    root: Pid,
    signals: SignalFd,
    status: Option<Exit>,
    deaths: Deaths,
    crew: Option<Crew>,
    scene: Scene,
    tracer: Option<Tracer>,
    /// What the user should know about tracing that did not work.
    pub untraced: Option<String>,
}

impl Target {
    /// Starts the command in this process group, with the standard fds and everything else that the launcher has, but
    /// for the outputs that are given. With `trace`, it and all that it makes is followed by ptrace.
    ///
    /// # Errors
    /// Exit 126 or 127 when exec fails; nothing runs then.
    pub fn start(
        command: &Command,
        environment: &[CString],
        outputs: [Option<&OwnedFd>; 2],
        filtered: Option<&Filtered>,
        mut deaths: Deaths,
        trace: Trace,
    ) -> Result<Target> {
        let (signals, mask) = take_signals()?;
        let (program, arguments) = command.c_strings()?;
        let mut tracer = None;
        let is_traced = !matches!(trace, Trace::Nothing);
        let mut trace = Some(trace);
        let mut follow = |pid| tracer = Some(Tracer::of(pid, trace.take().unwrap_or(Trace::Crashes)));
        let first = is_traced.then_some(&mut follow as &mut dyn FnMut(i32));
        let setting = Setting { outputs, ..Setting::default() };
        let pid = sys::spawn(&program, &arguments, environment, &mask, &setting, filtered, first)
            .map_err(|error| exec_failed(&command.path, &error))?;
        let (tracer, untraced) = match tracer {
            Some(Ok(tracer)) => (Some(tracer), None),
            Some(Err(error)) => (None, Some(format!("it cannot be traced: {}", plain(&error)))),
            None => (None, None),
        };
        if tracer.is_some() {
            deaths.all_are_told();
        }
        let name = command.path.file_name().map(|name| name.to_string_lossy().into_owned());
        deaths.watch(u32::try_from(pid).unwrap_or(0), name);
        Ok(Target { tracer, untraced, ..Target::of(pid, signals, deaths, None) })
    }

    /// Prepares to start the targets of an experiment, each when its time comes.
    ///
    /// # Errors
    /// When signals cannot be taken.
    pub fn stage(stage: Stage, ground: Ground, deaths: Deaths) -> Result<Target> {
        let (signals, mask) = take_signals()?;
        Ok(Target::of(0, signals, deaths, Some(Crew::new(stage, ground, mask))))
    }

    fn of(pid: i32, signals: SignalFd, deaths: Deaths, crew: Option<Crew>) -> Target {
        let root = Pid::from_raw(pid);
        Target { root, signals, status: None, deaths, crew, scene: Scene::default(), tracer: None, untraced: None }
    }

    /// Pid of the first process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.root.as_raw()
    }

    /// Follows the tree to its end, draining the log all the while.
    ///
    /// `actor` does what the table asks of the launcher itself; whatever it has stopped goes on at the end. `engine` takes
    /// in who is handed over.
    pub fn follow(
        mut self,
        collector: &mut Collector,
        actor: &mut Actor,
        engine: Option<&Engine>,
        timeout: Option<Duration>,
        wait: Wait,
    ) -> Outcome {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let exit = loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                actor.release();
                break self.end_tree(collector, engine);
            }
            if let Some(crew) = &mut self.crew {
                let over = crew.tick(collector);
                self.root = Pid::from_raw(crew.pid());
                for Newcomer { pid, name, is_load } in crew.newcomers() {
                    let pid = u32::try_from(pid).unwrap_or(0);
                    if is_load {
                        self.deaths.is_load(pid);
                    }
                    self.deaths.watch(pid, Some(name));
                }
                if let Some(exit) = over {
                    break exit;
                }
            }
            // Of an experiment others go on, or the first is started again.
            if self.status.is_none() || self.crew.is_some() || wait == Wait::Tree {
                actor.act(collector, self.pid());
            }
            if let Some(engine) = engine {
                engine.look();
            }
            let next = [left, actor.next()].into_iter().flatten().min();
            let children = self.step(collector, next);
            match (self.status.filter(|_| self.crew.is_none()), wait) {
                (Some(status), Wait::Root) => break status,
                (Some(status), Wait::Tree) if !children => break status,
                _ => {}
            }
        };
        actor.release();
        let root = match exit {
            Exit::Timeout => Ended::Timeout,
            _ if self.crew.as_ref().is_some_and(|crew| crew.setup().is_some()) => Ended::Unseen,
            Exit::Target(code) => Ended::Exit(code),
            Exit::Signal(signal) => Ended::Signal(signal),
            _ => Ended::Unseen,
        };
        self.watch(collector);
        if let Some(tracer) = &mut self.tracer {
            self.scene.last_calls(LAST_CALLS, tracer.last_calls());
            tracer.release();
        }
        let (deaths, sight) = self.deaths.finish();
        let survivors = descendants();
        if exit != Exit::Timeout {
            self.scene.look();
        }
        let surveyed = self.tracer.and_then(|tracer| tracer.surveyed());
        Outcome { exit, survivors, root, deaths, sight, scene: self.scene, surveyed, crew: self.crew }
    }

    /// Waits for a signal or the collector's pause, then reaps, forwards and drains. Whether there are children left.
    fn step(&mut self, collector: &mut Collector, left: Option<Duration>) -> bool {
        let pause = left.map_or(collector.pause(), |left| left.min(collector.pause()));
        let millis = u16::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, PollTimeout::from(millis));
        while let Ok(Some(info)) = self.signals.read_signal() {
            self.forward(info.ssi_signo, info.ssi_code, info.ssi_pid);
        }
        self.deaths.look();
        let children = self.reap();
        collector.drain(Tree::Alive);
        self.watch(collector);
        children
    }

    /// Watches those that came since the last time.
    fn watch(&mut self, collector: &mut Collector) {
        for (pid, name) in collector.newcomers() {
            self.deaths.watch(pid, Some(name));
        }
        if self.deaths.sweep_is_due() {
            for Survivor { pid, name } in descendants() {
                self.deaths.watch(u32::try_from(pid).unwrap_or(0), Some(name));
            }
        }
    }

    /// Hands on what a process sent to the launcher. What the kernel sent - a terminal's Ctrl-C, SIGWINCH, SIGHUP -
    /// reaches the target by itself, and so does what the tree sends to its own process group.
    fn forward(&mut self, signal: u32, code: i32, sender: u32) {
        let from_process = code <= 0;
        let Some(signal) = i32::try_from(signal).ok().and_then(|signal| Signal::try_from(signal).ok()) else { return };
        if let Some(crew) = &mut self.crew {
            return crew.abort(signal);
        }
        if signal == Signal::SIGCHLD || !from_process || self.status.is_some() {
            return;
        }
        if descendants().iter().any(|process| u32::try_from(process.pid) == Ok(sender)) {
            return;
        }
        // The root has not been reaped, so the pid is still its own.
        let _ = kill(self.root, signal);
    }

    /// Reaps every child that has ended; false when there is none left at all.
    fn reap(&mut self) -> bool {
        loop {
            match sys::wait_any(self.tracer.is_some()) {
                Ok(Some((tid, Change::Stopped(stop)))) => {
                    if let Some(tracer) = &mut self.tracer {
                        tracer.stopped(tid, stop, &mut self.scene);
                    }
                }
                Ok(Some((pid, Change::Ended(status)))) => {
                    if self.tracer.as_mut().is_none_or(|tracer| tracer.ended(pid)) {
                        self.deaths.reaped(pid, status);
                        self.crew.iter_mut().for_each(|crew| crew.reaped(pid, status));
                    }
                    if pid == self.root.as_raw() {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// TERM to the whole tree, some grace, then KILL until nothing is left.
    fn end_tree(&mut self, collector: &mut Collector, engine: Option<&Engine>) -> Exit {
        // Before it is told to end, which makes it call more.
        self.scene.last_calls(LAST_CALLS, self.tracer.as_ref().and_then(Tracer::last_calls));
        self.scene.look_at_what_hangs();
        self.deaths.ending();
        for process in descendants() {
            let pid = Pid::from_raw(process.pid);
            let _ = kill(pid, Signal::SIGTERM);
            // One that is stopped would not see it.
            let _ = kill(pid, Signal::SIGCONT);
        }
        let start = Instant::now();
        while start.elapsed() < GRACE + LAST_WAIT {
            let left = descendants();
            if left.is_empty() {
                self.reap();
                break;
            }
            if start.elapsed() >= GRACE {
                for process in left {
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
                }
            }
            engine.into_iter().for_each(Engine::look);
            self.step(collector, Some(Duration::from_millis(20)));
        }
        Exit::Timeout
    }
}

/// Orphans become children of the launcher, which can then wait for them, and signals come to it. Gives the mask that
/// was there before, too.
fn take_signals() -> Result<(SignalFd, SigSet)> {
    set_child_subreaper(true).cannot("become the reaper of the target's tree")?;
    sys::expect_children();
    let taken: SigSet = TAKEN.into_iter().collect();
    let mask = SigSet::thread_get_mask().cannot("read the signal mask")?;
    taken.thread_block().cannot("block signals")?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&taken, flags).cannot("wait for signals")?;
    Ok((signals, mask))
}

/// Every process below the launcher that has not ended. As it is a subreaper, none can leave.
#[must_use]
pub fn descendants() -> Vec<Survivor> {
    // Most runs leave nothing: without a child of its own there is nothing below the launcher, and no need to ask of all
    // the processes of the machine.
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if waitid(Id::All, look) == Err(Errno::ECHILD) {
        return Vec::new();
    }
    let mut children: HashMap<i32, Vec<Survivor>> = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((name, parent)) = parse_stat(&String::from_utf8_lossy(&stat)) {
            children.entry(parent).or_default().push(Survivor { pid, name });
        }
    }
    let mut found = Vec::new();
    let mut below = vec![i32::try_from(std::process::id()).unwrap_or(i32::MAX)];
    while let Some(parent) = below.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if sys::orphan::is(child.pid) {
                continue;
            }
            below.push(child.pid);
            found.push(child);
        }
    }
    found.sort_by_key(|process| process.pid);
    found
}

/// Name and parent from `/proc/PID/stat`; `None` for a process that has ended.
fn parse_stat(stat: &str) -> Option<(String, i32)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(start + 1..end)?.to_owned();
    let fields: Vec<&str> = stat[end + 1..].split_ascii_whitespace().collect();
    let (state, parent, threads) = (fields.first()?, fields.get(1)?.parse().ok()?, fields.get(17));
    // A process whose first thread has ended looks like a zombie, but its other threads go on.
    let others = threads.and_then(|count| count.parse().ok()).is_some_and(|count: u32| count > 1);
    let ended = *state == "X" || (*state == "Z" && !others);
    (!ended).then_some((name, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_parsed() {
        assert_eq!(parse_stat("12 (a) b) (c) S 7 12 0"), Some(("a) b) (c".into(), 7)));
        assert_eq!(parse_stat("12 (gone) Z 7 12 0"), None);
        let rest = "0 ".repeat(15);
        assert_eq!(parse_stat(&format!("12 (t) Z 7 {rest}3 0")), Some(("t".into(), 7)));
        assert_eq!(parse_stat(&format!("12 (t) Z 7 {rest}1 0")), None);
        assert_eq!(parse_stat(""), None);
    }
}

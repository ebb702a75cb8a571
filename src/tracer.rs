//! Follows a tree by ptrace, where the user asks for it: a process that is about to die of its own fault is looked at
//! before it does, or system calls are counted. Every process and thread that it makes is followed from its birth, and goes on by itself when the
//! launcher ends.

use crate::last_calls::LastCalls;
use crate::outcome::CRASHES;
use crate::scene::{LAST_CALLS, Scene};
use crate::survey::{Survey, Surveyed};
use crate::sys::ptrace::{self, AT_CALL, AtCall, EVENT_EXEC, EVENT_STOP, Stop};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

/// How long a thread may take to stand still.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Stops that a whole process makes, and that last.
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// What a tree is traced for.
#[derive(Debug)]
pub enum Trace {
    /// It is not.
    Nothing,
    /// To look at crashes.
    Crashes,
    /// To count system calls as well.
    Calls(Survey),
    /// To know the last system calls as well.
    LastCalls(LastCalls),
}

/// The traced tree.
#[derive(Debug, Default)]
pub struct Tracer {
    /// Each thread and its process.
    threads: HashMap<i32, i32>,
    /// Processes that have been looked at.
    seen: HashSet<i32>,
    survey: Option<Survey>,
    last: Option<LastCalls>,
}

impl Tracer {
    /// Begins with a process that is there and has done nothing yet.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn of(pid: i32, what: Trace) -> std::io::Result<Tracer> {
        // Its first stop is when it becomes the program: from there on it may stop at every call.
        ptrace::seize(pid, true)?;
        let (survey, last) = match what {
            Trace::Calls(survey) => (Some(survey), None),
            Trace::LastCalls(last) => (None, Some(last)),
            Trace::Nothing | Trace::Crashes => (None, None),
        };
        Ok(Tracer { threads: HashMap::from([(pid, pid)]), seen: HashSet::new(), survey, last })
    }

    /// The last calls of the tree, a line each; `None` when they are not asked for.
    #[must_use]
    pub fn last_calls(&self) -> Option<String> {
        self.last.as_ref().map(|last| last.text(None))
    }

    /// What has been counted.
    #[must_use]
    pub fn surveyed(&self) -> Option<Surveyed> {
        self.survey.as_ref().map(Survey::found)
    }

    fn resume(&self, tid: i32, signal: i32) {
        if self.survey.is_some() || self.last.is_some() {
            ptrace::resume_to_call(tid, signal);
        } else {
            ptrace::resume(tid, signal);
        }
    }

    /// A thread stands still: looks why, and lets it go on.
    pub fn stopped(&mut self, tid: i32, stop: Stop, scene: &mut Scene) {
        let pid = *self.threads.entry(tid).or_insert_with(|| process_of(tid).unwrap_or(tid));
        match stop.event {
            0 if stop.signal == AT_CALL => {
                match (ptrace::at_call(tid), &mut self.survey, &mut self.last) {
                    (Some(AtCall::Over(result)), Some(survey), _) => {
                        survey.count(ptrace::registers(tid).map_or(-1, |all| all.call), result);
                    }
                    (Some(AtCall::Over(result)), _, Some(last)) => last.came_back(tid, result),
                    (Some(AtCall::Begins(number, args)), _, Some(last)) => last.began(pid, tid, number, args),
                    _ => {}
                }
                self.resume(tid, 0);
            }
            0 => {
                if CRASHES.contains(&stop.signal) && is_deadly(tid, stop.signal) && self.seen.insert(pid) {
                    scene.crash(pid, tid, stop.signal);
                    let calls = self.last.as_ref().map(|last| last.text(Some(pid)));
                    scene.last_calls(&format!("crash-{pid}-{LAST_CALLS}"), calls);
                }
                self.resume(tid, stop.signal);
            }
            EVENT_STOP if STOPS.contains(&stop.signal) => ptrace::listen(tid),
            EVENT_EXEC => {
                // The thread that became another program has the number of the process now.
                if let Some(former) = ptrace::message(tid).filter(|former| *former != tid) {
                    self.threads.remove(&former);
                }
                self.resume(tid, 0);
            }
            _ => self.resume(tid, 0),
        }
    }

    /// A thread, or a child, has ended: whether a process has, that was not known to have ended.
    pub fn ended(&mut self, tid: i32) -> bool {
        // The launcher hears twice of one whose parent ended without waiting for it.
        self.seen.remove(&tid);
        if let Some(last) = &mut self.last {
            last.ended(tid);
        }
        self.threads.remove(&tid) == Some(tid)
    }

    /// Lets all that is left go on by itself.
    pub fn release(&mut self) {
        for (tid, _) in self.threads.drain() {
            if ptrace::interrupt(tid).is_err() {
                continue;
            }
            if let Some(stop) = ptrace::wait_for_stop(tid, PATIENCE) {
                ptrace::detach(tid, stop.pending());
            }
        }
    }
}

/// The process that a thread belongs to.
fn process_of(tid: i32) -> Option<i32> {
    status_field(tid, "Tgid:")?.parse().ok()
}

/// Whether a process neither catches nor ignores a signal.
fn is_deadly(tid: i32, signal: i32) -> bool {
    let has = |name: &str| {
        let mask = status_field(tid, name).and_then(|mask| u64::from_str_radix(&mask, 16).ok()).unwrap_or(0);
        mask >> (signal - 1) & 1 == 1
    };
    !has("SigCgt:") && !has("SigIgn:")
}

fn status_field(tid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

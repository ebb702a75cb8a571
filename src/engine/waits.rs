//! Calls that wait for their time: one thread for all of them, so that a delay holds up nobody else.

use super::job::{Delay, Hang, Job};
use super::kernel::Answer;
use super::proc::Status;
use super::shared::Shared;
use super::watch;
use crate::sys;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Those that wait are looked after so often: callers die, signals come, injection ends.
const STEP: Duration = Duration::from_millis(20);
/// So many of them at a time.
const LOOKS: usize = 256;

/// Calls that wait.
#[derive(Debug, Default)]
pub struct Waits {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<(Instant, Job)>,
    frozen: Vec<(Instant, u32)>,
    looked: usize,
}

impl Waits {
    /// Lets a call wait for its next delay.
    pub fn add(&self, job: Job) {
        let ns = job.delays.last().map_or(0, |delay| match (delay.ns, delay.hang) {
            (0, Some(Hang { timeout: Some(ns), .. })) => ns,
            // Without end: it is looked after all the same.
            (0, Some(_)) => u64::MAX / 4,
            (ns, Some(Hang { timeout: Some(timeout), .. })) => ns.min(timeout),
            (ns, _) => ns,
        });
        let due = Instant::now() + Duration::from_nanos(ns.min(u64::MAX / 4));
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).jobs.push((due, job));
        self.changed.notify_one();
    }

    /// Lets a process that was stopped go on after so many ns.
    pub fn thaw(&self, pid: u32, ns: u64) {
        let due = Instant::now() + Duration::from_nanos(ns);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).frozen.push((due, pid));
        self.changed.notify_one();
    }

    /// Looks after them, for as long as the launcher lives.
    pub fn keep(&self, shared: &Arc<Shared>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            let mut ready: Vec<(Job, End)> = Vec::new();
            while let Some(at) = waiting.jobs.iter().position(|(due, _)| *due <= now) {
                ready.push((waiting.jobs.swap_remove(at).1, End::Due));
            }
            ready.extend(waiting.look_after(shared));
            waiting.frozen.retain(|(due, pid)| {
                if *due <= now {
                    sys::kill(*pid as i32, libc::SIGCONT);
                }
                *due > now
            });
            if !ready.is_empty() {
                drop(waiting);
                for (job, end) in ready {
                    go_on(job, end);
                }
                waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let dues = waiting.jobs.iter().map(|(due, _)| *due).chain(waiting.frozen.iter().map(|(due, _)| *due));
            let next = dues.min().map_or(Duration::MAX, |due| due.saturating_duration_since(now));
            let wait = if waiting.jobs.is_empty() { next } else { next.min(STEP) };
            waiting = if wait == Duration::MAX {
                self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

/// How a delay ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its time is over.
    Due,
    /// Injection has ended.
    Over,
    /// A signal has come.
    Signal,
    /// The caller is gone.
    Gone,
}

impl Waiting {
    /// Some of those that wait: whose delay has ended before its time.
    fn look_after(&mut self, shared: &Shared) -> Vec<(Job, End)> {
        let over = shared.is_over();
        let mut ended = Vec::new();
        for _ in 0..self.jobs.len().min(LOOKS) {
            self.looked = if self.looked + 1 < self.jobs.len() { self.looked + 1 } else { 0 };
            let Some((_, job)) = self.jobs.get(self.looked) else { break };
            let hang = job.delays.last().and_then(|delay| delay.hang);
            let end = if !job.listener.is_waiting(job.asked.id) {
                Some(End::Gone)
            } else if over && hang.is_some() {
                Some(End::Over)
            } else if hang.is_some_and(|hang| hang.interruptible) {
                let status = Status::of(job.asked.tid);
                status.filter(|status| status.is_interrupted(job.asked.tid)).map(|_| End::Signal)
            } else {
                None
            };
            if let Some(end) = end {
                ended.push((self.jobs.swap_remove(self.looked).1, end));
            }
        }
        ended
    }
}

/// A delay has ended: the next one, or what comes after them.
fn go_on(mut job: Job, end: End) {
    let Some(Delay { ns, ticket, hang, left }) = job.delays.pop() else { return };
    let fail = |job: &mut Job, errno| {
        job.claim = None;
        if let Some(left) = &left {
            watch::enter(&job.common.shared, left);
        }
        if job.listener.answer(job.asked.id, Answer::Errno(errno)) {
            job.common.shared.delivered(ticket, -1);
        }
    };
    let timed_out = hang.and_then(|hang| hang.timeout).is_some_and(|timeout| ns == 0 || timeout < ns);
    match end {
        End::Gone => {}
        End::Signal => fail(&mut job, libc::EINTR),
        End::Due if timed_out => fail(&mut job, libc::EAGAIN),
        End::Due | End::Over => {
            job.common.shared.delivered(ticket, 0);
            job.start();
        }
    }
}

//! How a call ends that the kernel makes: the engine is asked before a call and never after it, so the call is begun anew
//! under ptrace and followed to its end.
//!
//! Its caller is stopped behind an answer that makes the kernel restart the call, as it does for signals: the caller
//! cannot tell. Only calls on which something hangs are followed, since it costs some switches between processes. Should
//! the launcher end meanwhile, the kernel lets the caller go on.

use super::disk::Freed;
use super::kernel::{Answer, Asked, Listener};
use super::names::Lookup;
use super::shared::Shared;
use super::watch::Watching;
use crate::sys::ptrace::{self, AT_CALL, AtCall, EVENT_STOP};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel takes for "make this call again, whatever a handler did meanwhile"; no program ever sees it.
const ERESTARTNOINTR: i32 = 513;
/// Results that stand for a call that goes on after a signal.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
/// A handler's own calls may come before; one that never comes back is not waited for.
const OTHERS: usize = 200;
/// Stops that a whole process makes, and that last.
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// A call that is being followed: the filter asks about it a second time.
#[derive(Clone, Debug)]
pub struct Followed {
    asked: Asked,
    done: Arc<AtomicBool>,
}

impl Followed {
    /// Whether this is not over yet.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !self.done.load(Ordering::Acquire)
    }

    /// Whether this is what the filter asks about again.
    #[must_use]
    pub fn is(&self, asked: &Asked) -> bool {
        (self.asked.nr, self.asked.args, self.asked.ip) == (asked.nr, asked.args, asked.ip)
    }
}

/// A call that is to be followed, once nothing delays it any more.
#[derive(Debug)]
pub struct Follow {
    ends: Ends,
    done: Arc<AtomicBool>,
}

/// What hangs on how a call ends.
#[derive(Debug, Default)]
pub struct Ends {
    /// Episodes.
    pub watching: Option<Watching>,
    /// The answer to a look-up of a name.
    pub lookup: Option<Lookup>,
    /// What it gives back of a quota of disk, with the process and where it is told.
    pub freed: Option<(Freed, u32, Arc<Shared>)>,
}

impl Ends {
    /// The call has ended with this result, as the kernel gives it.
    fn returned(&self, result: i64) {
        if let Some(lookup) = &self.lookup {
            lookup.returned(result);
        }
        if let Some((freed, pid, shared)) = &self.freed {
            freed.returned(result, *pid, shared);
        }
        if let Some(watching) = &self.watching {
            watching.returned(result);
        }
    }

    fn unseen(&self) {
        if let Some(watching) = &self.watching {
            watching.unseen();
        }
    }
}

/// Prepares to follow a call: what has to be done, and what tells that it is being done.
#[must_use]
pub fn follow(asked: &Asked, ends: Ends) -> (Follow, Followed) {
    let done = Arc::new(AtomicBool::new(false));
    (Follow { ends, done: Arc::clone(&done) }, Followed { asked: *asked, done })
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
    }
}

impl Follow {
    /// Answers so that the call is made, and sees how it ends, in a thread of its own: it may take its time.
    pub fn start(self, listener: &Arc<Listener>, asked: &Asked) {
        let (theirs, asked) = (Arc::clone(listener), *asked);
        let thread = std::thread::Builder::new().name("watch".into()).stack_size(super::job::STACK);
        if thread.spawn(move || self.run(&theirs, &asked)).is_err() {
            listener.answer(asked.id, Answer::Go);
        }
    }

    /// The call was made in its caller's place.
    pub fn ended(&self, result: i64) {
        self.ends.returned(result);
    }

    fn run(&self, listener: &Listener, asked: &Asked) {
        // As the kernel numbers threads.
        let tid = asked.tid.cast_signed();
        if ptrace::seize_calls(tid).is_err() {
            self.ends.unseen();
            self.done.store(true, Ordering::Release);
            listener.answer(asked.id, Answer::Go);
            return;
        }
        // It takes effect when the call comes back.
        let _ = ptrace::interrupt(tid);
        listener.answer(asked.id, Answer::Errno(ERESTARTNOINTR));
        let mut is_ours = false;
        let mut others = 0;
        while let Some(stop) = ptrace::wait(tid) {
            if stop.event == EVENT_STOP && STOPS.contains(&stop.signal) {
                ptrace::listen(tid);
                continue;
            }
            if stop.event == 0 && stop.signal == AT_CALL {
                match ptrace::at_call(tid) {
                    Some(AtCall::Begins(nr, args)) => {
                        is_ours = (nr, args) == (asked.nr, asked.args);
                        others += usize::from(!is_ours);
                    }
                    Some(AtCall::Over(result)) if is_ours && !RESTARTS.contains(&result) => {
                        self.ends.returned(result);
                        self.release(tid, 0);
                        return;
                    }
                    Some(AtCall::Over(_)) | None => {}
                }
            }
            if others > OTHERS {
                self.release(tid, stop.pending());
                return;
            }
            ptrace::resume_to_call(tid, stop.pending());
        }
    }

    /// Lets the caller go. Its next call is one that nobody knows.
    fn release(&self, tid: i32, signal: i32) {
        self.done.store(true, Ordering::Release);
        ptrace::detach(tid, signal);
    }
}

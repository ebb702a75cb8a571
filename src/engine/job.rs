//! A call on which faults have fired: how it is delayed, and answered in the end.

use super::connects;
use super::decode::{Call, Target};
use super::disk::Claim;
use super::kernel::{self, Answer, Asked, Listener};
use super::result::Follow;
use super::shared::{Shared, Ticket};
use super::there::There;
use super::transfer::{Done, How, Transfer};
use super::waits::Waits;
use super::watch::{self, Connecting};
use crate::sys;
use chaos_table::book::Fault;
use chaos_table::calls::Op;
use chaos_table::fits;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Threads that make transfers need little: their data lies on the heap.
pub const STACK: usize = 128 << 10;

/// What all jobs share.
#[derive(Debug)]
pub struct Common {
    /// The session.
    pub shared: Arc<Shared>,
    /// Calls that wait for their time.
    pub waits: Arc<Waits>,
    /// When the next byte may move, for each rule that throttles, in each process.
    pub paces: Mutex<HashMap<(u32, u16), Instant>>,
    /// Connects that were made to fail.
    pub connects: connects::Pending,
    /// Connects that nobody waits for, of which something hangs.
    pub connecting: Connecting,
    /// Calls that are being answered: what became of them is told behind the answer, when the target may be gone.
    pub answering: AtomicUsize,
}

/// A call is being answered, as long as this lives.
struct Answering<'a>(&'a AtomicUsize);

impl<'a> Answering<'a> {
    fn new(common: &'a Common) -> Answering<'a> {
        common.answering.fetch_add(1, Ordering::SeqCst);
        Answering(&common.answering)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What happens to a call once its delays are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The kernel makes it.
    Go,
    /// It fails with this errno; what that means for its connection is done as well.
    Fail(i32),
    /// It returns this.
    Value(i64),
    /// A read gets the end of the data, a write fails.
    End,
    /// A transfer is made in its place.
    Serve(How),
    /// The connection is reset.
    Reset,
    /// A connect fails by way of the kernel, after so many ns.
    FailConnect(i32, u64),
    /// A signal comes first.
    Signal(i32),
    /// The process stands still for so many ns.
    Freeze(u64),
    /// The process ends with this code.
    Exit(i32),
}

/// A delay.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// How long; 0 for no end.
    pub ns: u64,
    /// Its record.
    pub ticket: Ticket,
    /// What it leaves open when the call fails with it.
    pub left: Option<Fault>,
    /// Of a hang: it ends with injection, by a signal where the kernel could, and by the socket's own timeout.
    pub hang: Option<Hang>,
}

/// How a hang ends before its time.
#[derive(Clone, Copy, Debug)]
pub struct Hang {
    /// A signal that waits for the caller ends it.
    pub interruptible: bool,
    /// The socket's own timeout, in ns.
    pub timeout: Option<u64>,
}

/// A call on which faults have fired.
#[derive(Debug)]
pub struct Job {
    /// Where it is answered.
    pub listener: Arc<Listener>,
    /// The call, as the kernel tells of it.
    pub asked: Asked,
    /// Its process.
    pub pid: u32,
    /// For the process's descriptors; none where none are needed.
    pub pidfd: Option<Arc<OwnedFd>>,
    /// Which operation it is.
    pub op: Op,
    /// What it acts on.
    pub call: Call,
    /// What comes first, the next one last.
    pub delays: Vec<Delay>,
    /// What comes then.
    pub then: Then,
    /// The record of that, and the rule.
    pub ticket: Option<(Ticket, u16)>,
    /// What that leaves open once the caller has met it.
    pub left: Option<Fault>,
    /// What it writes to a file of which a quota is kept.
    pub claim: Option<Claim>,
    /// Something hangs on how the call ends.
    pub follow: Option<Follow>,
    /// What all jobs share.
    pub common: Arc<Common>,
}

impl Job {
    /// Goes on: waits, acts, answers. Never waits itself.
    pub fn start(mut self) {
        if !self.delays.is_empty() {
            let waits = Arc::clone(&self.common.waits);
            waits.add(self);
            return;
        }
        if matches!(self.then, Then::Go | Then::Signal(_) | Then::Freeze(_)) {
            self.claim.take().into_iter().for_each(Claim::passes);
        }
        if self.then == Then::Go
            && let Some(follow) = self.follow.take()
        {
            follow.start(&self.listener, &self.asked);
            return;
        }
        match self.then {
            // None of these waits, and a user whose processes have run out has no thread for them.
            Then::Go | Then::Value(_) | Then::Signal(_) | Then::Freeze(_) | Then::Fail(_) | Then::Reset | Then::End => {
                self.act();
            }
            _ => {
                // Without a thread for it the call passes: its record says that nothing was delivered.
                let (listener, id) = (Arc::clone(&self.listener), self.asked.id);
                let thread = std::thread::Builder::new().name("fault".into()).stack_size(STACK);
                if thread.spawn(move || self.act()).is_err() {
                    listener.answer(id, Answer::Go);
                }
            }
        }
    }

    /// Tells that the effect is seen.
    pub fn delivered(&self, result: i64) {
        if let Some((ticket, _)) = self.ticket {
            self.common.shared.delivered(ticket, result);
        }
    }

    /// Answers, and tells of it when the caller gets the answer.
    pub fn answer(&self, answer: Answer, result: i64) {
        let _answering = Answering::new(&self.common);
        self.meet();
        if self.listener.answer(self.asked.id, answer) {
            self.delivered(result);
        }
    }

    /// The caller is about to meet its fault: what it does next may get over it.
    fn meet(&self) {
        if let Some(left) = &self.left {
            watch::enter(&self.common.shared, left);
        }
    }

    fn pass(&self) {
        self.listener.answer(self.asked.id, Answer::Go);
    }

    fn act(mut self) {
        let common = Arc::clone(&self.common);
        let _answering = Answering::new(&common);
        let tid = self.asked.tid;
        // What is not made gives back its claim before the caller goes on.
        let claim = self.claim.take().filter(|_| matches!(self.then, Then::Serve(_)));
        match self.then {
            Then::Go => self.pass(),
            Then::Value(value) => self.answer(Answer::Value(value), value),
            Then::Signal(signal) => {
                self.meet();
                if signal == libc::SIGKILL || signal == libc::SIGSTOP {
                    sys::kill(self.pid as i32, signal);
                } else {
                    kernel::signal_thread(self.pid, tid, signal);
                }
                self.pass();
            }
            Then::Freeze(ns) => {
                sys::kill(self.pid as i32, libc::SIGSTOP);
                self.common.waits.thaw(self.pid, ns);
                self.answer(Answer::Go, 0);
            }
            Then::Exit(code) => {
                self.meet();
                let (listener, id) = (Arc::clone(&self.listener), self.asked.id);
                kernel::make_exit(tid, code, self.asked.ip, || {
                    listener.answer(id, Answer::Errno(libc::EINTR));
                });
            }
            Then::Fail(errno) => match (&self.pidfd, self.connection()) {
                (Some(pidfd), Some(fd)) => self.lose(There::new(self.pid, pidfd), fd, errno),
                _ => self.answer(Answer::Errno(errno), -1),
            },
            Then::End | Then::Reset | Then::Serve(_) | Then::FailConnect(..) => {
                match (&self.pidfd, self.connection()) {
                    (Some(pidfd), Some(fd)) => self.act_on(There::new(self.pid, pidfd), fd, claim),
                    _ => self.pass(),
                }
            }
        }
    }

    /// The descriptor that it acts on.
    fn connection(&self) -> Option<i32> {
        match self.call.target {
            Target::Fd(fd) | Target::Fds(fd, _) | Target::Peer(fd, ..) => Some(fd),
            _ => None,
        }
    }

    /// What is borrowed is given back before the caller goes on: a file that it closes then must be closed.
    fn act_on(&self, there: There<'_>, fd: i32, claim: Option<Claim>) {
        match self.then {
            Then::Reset => self.lose(there, fd, libc::ECONNRESET),
            Then::End => {
                if let Some(fd) = there.borrow(fd) {
                    connects::cut(&fd);
                }
                if fits::is_write(self.op) {
                    self.lose(there, -1, libc::EPIPE);
                } else {
                    drop(there);
                    self.answer(Answer::Value(0), 0);
                }
            }
            Then::FailConnect(errno, ns) => self.fail_connect(there, fd, errno, ns),
            Then::Serve(how) => {
                let done = Transfer::of(self, &there, fd).map_or(Done::Untouched, |transfer| transfer.make(how));
                drop(there);
                match done {
                    Done::Answer(.., moved) => {
                        claim.into_iter().for_each(|claim| claim.settle(moved.max(0).cast_unsigned()));
                    }
                    Done::Untouched => claim.into_iter().for_each(Claim::passes),
                    Done::Gone => {}
                }
                match done {
                    Done::Answer(answer, true, result) => {
                        if let (How::Throttled(_), Some(follow)) = (how, &self.follow) {
                            follow.ended(result);
                        }
                        self.answer(answer, result);
                    }
                    Done::Answer(answer, false, _) => {
                        self.listener.answer(self.asked.id, answer);
                    }
                    Done::Untouched => self.pass(),
                    Done::Gone => {}
                }
            }
            _ => self.pass(),
        }
    }

    /// Fails with an errno that says that a connection is lost, and makes that last; SIGPIPE comes with EPIPE.
    fn lose(&self, there: There<'_>, fd: i32, errno: i32) {
        let is_lost = matches!(errno, libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT | libc::ENOTCONN);
        let is_connect = self.op == Op::Connect;
        if is_lost
            && !is_connect
            && fd >= 0
            && fits::is_connection(&there, fd)
            && let Some(fd) = there.borrow(fd)
        {
            connects::reset(&fd);
            // This call finds the error that the kernel keeps for the next; ENOTCONN leaves it there.
            if errno != libc::ENOTCONN {
                let _ = kernel::option_at(&fd, libc::SOL_SOCKET, libc::SO_ERROR);
            }
        }
        let is_send = matches!(self.op, Op::Send | Op::Sendto | Op::Sendmsg | Op::Sendmmsg);
        let is_quiet = is_send && self.call.flags & libc::MSG_NOSIGNAL != 0;
        if errno == libc::EPIPE && fits::is_write(self.op) && !is_quiet {
            kernel::signal_thread(self.pid, self.asked.tid, libc::SIGPIPE);
        }
        drop(there);
        self.answer(Answer::Errno(errno), -1);
    }

    fn fail_connect(&self, there: There<'_>, fd: i32, errno: i32, ns: u64) {
        let Some(socket) = there.borrow(fd) else { return self.pass() };
        if fits::may_block(&there, fd, 0) {
            drop((socket, there));
            // A call that waits is told when the time is over.
            let deadline = Instant::now() + Duration::from_nanos(ns);
            while Instant::now() < deadline && self.listener.is_waiting(self.asked.id) {
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
            }
            self.answer(Answer::Errno(errno), -1);
            return;
        }
        let shown = self.common.connects.fail((self.pid, fd), &socket, errno);
        drop((socket, there));
        match shown {
            Some(shown) => self.answer(Answer::Errno(shown), -1),
            None => self.pass(),
        }
    }

    /// Waits until so many bytes, behind what moved before them, have had their time.
    pub fn throttle(&self, begun: Instant, cost: Duration) {
        let Some((_, rule)) = self.ticket else { return };
        let until = {
            let mut paces = self.common.paces.lock().unwrap_or_else(PoisonError::into_inner);
            let next = paces.entry((self.pid, rule)).or_insert(begun);
            *next = (*next).max(begun) + cost;
            *next
        };
        while !self.common.shared.is_over() && self.listener.is_waiting(self.asked.id) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

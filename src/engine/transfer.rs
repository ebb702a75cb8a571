//! A transfer that the engine makes in the place of its caller: with the caller's own open file, into or out of its memory.
//!
//! The open file is the same one, so that its position, its locks and what arrives on it are the caller's. Nothing is
//! taken from it before the caller is known to wait still, and with the kernel's WAIT_KILLABLE only its death can come
//! between.

use super::decode::{Buffers, Call, Target, number_at};
use super::disk::Ends;
use super::job::Job;
use super::kernel::{self, Answer, Through};
use super::proc::Status;
use super::there::There;
use chaos_table::calls::Op;
use chaos_table::change::{Change, shortened};
use chaos_table::fits::{self, Kernel, Nature};
use nix::unistd::{Whence, lseek};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Linux moves at most so many bytes in one call.
const MAX_MOVED: u64 = 0x7fff_f000;
/// The engine moves at most so many at once: what is longer is made a short transfer, as a kernel may.
const MOST: u64 = 64 << 20;
/// A wait looks after its caller so often.
const STEP: Duration = Duration::from_millis(20);

/// What is done to a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// So many parts per million of it are made.
    Short(u32),
    /// So many bytes of it.
    Part(u64),
    /// Its data is changed, by the draw.
    Changed(Change, u64),
    /// It is said to have been made; what arrives is thrown away.
    Lost,
    /// So many parts per million are written, then it fails with an errno; 0: the process is killed.
    Torn(u32, i32),
    /// All of it, which takes as long as so many bytes a second do.
    Throttled(u64),
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The caller gets this; true: the fault was delivered, with this result.
    Answer(Answer, bool, i64),
    /// The kernel makes the call as it is.
    Untouched,
    /// The caller is gone.
    Gone,
}

/// Why a transfer cannot be made in the caller's place; `None` when it can. `changes`: its data, which a copy inside the
/// kernel does not show.
#[must_use]
pub fn out_of_reach(op: Op, call: &Call, tid: u32, there: &There<'_>, changes: bool) -> Option<&'static str> {
    let copies = matches!(op, Op::Sendfile | Op::CopyFileRange) && !changes;
    match call.buffers {
        // To a socket it may wait, and then nobody could look after the caller.
        Buffers::None if copies && matches!(call.target, Target::Fds(to, _) if fits::is_file(there, to)) => None,
        // `msg_control`: descriptors and credentials are the kernel's to hand over.
        Buffers::Message(at) if number_at(tid, at + 32) != 0 => {
            Some("a message with control data cannot be made in its caller's place")
        }
        Buffers::Message(at) if op == Op::Recvmsg && number_at(tid, at) != 0 => {
            Some("a message whose sender is asked for cannot be made in its caller's place")
        }
        Buffers::None if op.row().direction().is_some() => Some("this transfer cannot be made in its caller's place"),
        _ if is_refused(call, tid) => Some("the kernel does not make this call whole: its arguments are wrong"),
        _ => None,
    }
}

/// Whether sizes or addresses are such that the kernel refuses a transfer, or ends it early.
fn is_refused(call: &Call, tid: u32) -> bool {
    let parts = call.parts(tid);
    let total = parts.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len));
    let is_there = |at: u64| kernel::read_memory(tid, at, &mut [0]) == 1;
    let count = match call.buffers {
        Buffers::List(_, count) => count,
        Buffers::Message(at) if !is_there(at) => return true,
        Buffers::Message(at) => number_at(tid, at + 24),
        Buffers::None | Buffers::One(..) => parts.len() as u64,
    };
    count != parts.len() as u64
        || i64::try_from(total).is_err()
        || call.offset.is_some_and(|at| at < 0)
        || parts.iter().any(|(at, len)| *len > 0 && !(is_there(*at) && is_there(at.saturating_add(len - 1))))
}

/// A transfer that is being made.
pub struct Transfer<'a> {
    job: &'a Job,
    there: &'a There<'a>,
    fd: Rc<OwnedFd>,
    number: i32,
    parts: Vec<(u64, u64)>,
    total: u64,
    writes: bool,
    nature: Nature,
    may_block: bool,
    /// Where a datagram goes to.
    address: Vec<u8>,
}

impl<'a> Transfer<'a> {
    /// The transfer of a job; `None` when its descriptor is gone.
    #[must_use]
    pub fn of(job: &'a Job, there: &'a There<'a>, number: i32) -> Option<Transfer<'a>> {
        let fd = there.borrow(number)?;
        let parts = job.call.parts(job.asked.tid);
        let total = parts.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len)).min(MAX_MOVED);
        let message = matches!(job.call.buffers, Buffers::Message(_)) || job.asked.nr == libc::SYS_recvfrom;
        let flags = if message || job.asked.nr == libc::SYS_sendto { job.call.flags } else { 0 };
        let address = if job.asked.nr == libc::SYS_sendto && job.asked.args[4] != 0 {
            let mut bytes = vec![0; (job.asked.args[5] as usize).min(size_of::<libc::sockaddr_storage>())];
            let read = kernel::read_memory(job.asked.tid, job.asked.args[4], &mut bytes);
            bytes.truncate(read);
            bytes
        } else {
            Vec::new()
        };
        Some(Transfer {
            job,
            there,
            fd,
            number,
            parts,
            total,
            writes: fits::is_write(job.op),
            nature: fits::nature(there, number),
            may_block: fits::may_block(there, number, flags),
            address,
        })
    }

    /// Makes it.
    pub fn make(&self, how: How) -> Done {
        match how {
            How::Part(bytes) if self.copies() => self.told(self.copy(bytes), |n| n == bytes),
            How::Short(ppm) if self.copies() => {
                let wanted = shortened(self.job.call.amount as usize, ppm) as u64;
                self.told(self.copy(wanted), |n| n == wanted)
            }
            How::Short(ppm) => self.part(shortened(self.total as usize, ppm) as u64),
            How::Part(bytes) => self.part(bytes),
            How::Throttled(bandwidth) => self.slowly(bandwidth),
            How::Changed(change, draw) if self.writes => self.write_changed(change, draw),
            How::Changed(change, draw) => self.read_changed(change, draw),
            How::Lost if self.writes => self.lose(),
            How::Lost => self.lose_arrival(),
            How::Torn(ppm, errno) => self.tear(shortened(self.total as usize, ppm) as u64, errno),
        }
    }

    fn copies(&self) -> bool {
        matches!(self.job.call.target, Target::Fds(..))
    }

    /// Copies so many bytes between two files.
    fn copy(&self, wanted: u64) -> io::Result<u64> {
        let (asked, flags) = (&self.job.asked, self.job.call.flags);
        let from = match self.job.call.target {
            Target::Fds(_, from) => self.there.borrow(from),
            _ => None,
        };
        let from = from.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        let ends = Ends::of(asked);
        let offset = |at: Option<u64>| at.map(|at| number_at(asked.tid, at).cast_signed());
        let (mut from_at, mut to_at) = (offset(ends.from), offset(ends.to));
        let (from, to) = ((&*from, from_at.as_mut()), (&*self.fd, to_at.as_mut()));
        let copied = kernel::copy(asked.nr, from, to, wanted as usize, flags)?;
        for (at, offset) in [(ends.from, from_at), (ends.to, to_at)] {
            if let (Some(at), Some(offset)) = (at, offset) {
                kernel::write_memory(asked.tid, at, &offset.to_ne_bytes());
            }
        }
        Ok(copied as u64)
    }

    /// Moves only so many bytes. Where the whole request would have moved no more, nothing was hit.
    fn part(&self, wanted: u64) -> Done {
        let moved = if self.writes { self.write(&self.read_memory(wanted)) } else { self.fill(wanted) };
        self.told(moved, |n| n == wanted)
    }

    fn slowly(&self, bandwidth: u64) -> Done {
        let wanted = self.total.min(MOST);
        let begun = Instant::now();
        let moved = if self.writes { self.write(&self.read_memory(wanted)) } else { self.fill(wanted) };
        if let Ok(n @ 1..) = moved {
            let cost = u128::from(n) * 1_000_000_000 / u128::from(bandwidth.max(1));
            self.job.throttle(begun, Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX)));
        }
        self.told(moved, |n| n > 0)
    }

    fn read_changed(&self, change: Change, draw: u64) -> Done {
        let mut data = vec![0; self.total.min(MOST) as usize];
        let got = match self.take(&mut data) {
            Ok(got) => got,
            Err(error) => return self.told(Err(error), |_| false),
        };
        let is_hit = change.can_hit(got);
        let left = if is_hit { change.apply(got, draw, &mut data[..got]) } else { got };
        self.put(&data[..left]);
        self.told(Ok(left as u64), |_| is_hit)
    }

    fn write_changed(&self, change: Change, draw: u64) -> Done {
        let mut data = self.read_memory(self.total.min(MOST));
        let total = data.len();
        let left = change.apply(total, draw, data.as_mut_slice());
        let written = self.write(&data[..left]);
        let Ok(n) = written else { return self.told(written, |_| false) };
        if n == total as u64 && change.is_second_write() {
            let _ = self.write(&data[..left]);
        }
        if n == 0 || (left < total && n != left as u64) {
            return self.told(Ok(n), |_| false);
        }
        if left < total && self.has_position() && fits::is_file(self.there, self.number) {
            let _ = lseek(&*self.fd, (total - left) as i64, Whence::SeekCur);
        }
        self.told(Ok(if left < total { total as u64 } else { n }), |_| true)
    }

    /// Writes a prefix, then fails or kills. A write that fails leaves the position where it was.
    fn tear(&self, wanted: u64, errno: i32) -> Done {
        let before = self.has_position().then(|| lseek(&*self.fd, 0, Whence::SeekCur).ok()).flatten();
        match self.write(&self.read_memory(wanted)) {
            Ok(n @ 1..) => {
                if errno == 0 {
                    self.job.delivered(n as i64);
                    crate::sys::kill(self.job.pid as i32, libc::SIGKILL);
                    return Done::Gone;
                }
                if let Some(before) = before {
                    let _ = lseek(&*self.fd, before, Whence::SeekSet);
                }
                Done::Answer(Answer::Errno(errno), true, n as i64)
            }
            other => self.told(other, |_| false),
        }
    }

    /// Says that all was written, and writes nothing. The position moves on.
    fn lose(&self) -> Done {
        if self.has_position() && self.nature != Nature::Datagram {
            let appends = self.there.status_flags(self.number) & libc::O_APPEND != 0;
            let whence = if appends { Whence::SeekEnd } else { Whence::SeekCur };
            let _ = lseek(&*self.fd, self.total as i64, whence);
        }
        let total = self.total as i64;
        Done::Answer(Answer::Value(total), true, total)
    }

    /// Waits for a datagram and throws it away; the caller waits for the next.
    fn lose_arrival(&self) -> Done {
        match self.take(&mut [0; 1]) {
            Ok(_) => {
                self.job.delivered(0);
                Done::Untouched
            }
            Err(error) => self.told(Err(error), |_| false),
        }
    }

    fn has_position(&self) -> bool {
        self.writes && self.job.call.offset.is_none() && !self.nature.is_socket()
    }

    fn told(&self, moved: io::Result<u64>, is_hit: impl FnOnce(u64) -> bool) -> Done {
        match moved {
            Ok(n) => Done::Answer(Answer::Value(n as i64), is_hit(n), n as i64),
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH) => Done::Gone,
                Some(errno) => {
                    if errno == libc::EPIPE && self.job.call.flags & libc::MSG_NOSIGNAL == 0 {
                        kernel::signal_thread(self.job.pid, self.job.asked.tid, libc::SIGPIPE);
                    }
                    Done::Answer(Answer::Errno(errno), false, -1)
                }
                None => Done::Untouched,
            },
        }
    }

    fn through(&self) -> Through<'_> {
        match self.job.call.offset {
            Some(at) => Through::At(at),
            None if self.nature.is_socket() => {
                let is_read =
                    matches!(self.job.asked.nr, libc::SYS_read | libc::SYS_readv | libc::SYS_write | libc::SYS_writev);
                Through::Socket(if is_read { 0 } else { self.job.call.flags }, &self.address)
            }
            None => Through::Stream,
        }
    }

    /// Reads so many bytes into the caller's buffers.
    fn fill(&self, wanted: u64) -> io::Result<u64> {
        let mut data = vec![0; wanted.min(MOST) as usize];
        let got = self.take(&mut data)?;
        self.put(&data[..got]);
        Ok(got as u64)
    }

    fn take(&self, into: &mut [u8]) -> io::Result<usize> {
        let waits_for_files = matches!(self.through(), Through::Stream) && !self.nature.is_file();
        self.patiently(false, waits_for_files, || {
            let (got, from) = kernel::take(&self.fd, into, self.through())?;
            if self.job.asked.nr == libc::SYS_recvfrom && self.job.asked.args[4] != 0 {
                self.put_sender(&from);
            }
            Ok(got)
        })
    }

    /// Writes all of it, as a call that waits does; what is written by one that does not wait.
    fn write(&self, data: &[u8]) -> io::Result<u64> {
        let takes_all = self.may_block && matches!(self.nature, Nature::Stream | Nature::Pipe);
        let waits = matches!(self.through(), Through::Stream) && !self.nature.is_file();
        let mut written = 0;
        loop {
            match self.patiently(true, waits, || kernel::give(&self.fd, &data[written..], self.through())) {
                Ok(n) => written += n,
                Err(_) if written > 0 => return Ok(written as u64),
                Err(error) => return Err(error),
            }
            if !takes_all || written >= data.len() {
                return Ok(written as u64);
            }
        }
    }

    /// Tries until it works, where the caller would wait. ESRCH: the caller is gone; EINTR: a signal waits for it.
    fn patiently(
        &self,
        to_write: bool,
        first_ready: bool,
        mut attempt: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let option = if to_write { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO };
        let timeout = self.nature.is_socket().then(|| kernel::socket_timeout(&self.fd, option)).flatten();
        let deadline = timeout.and_then(|ns| Instant::now().checked_add(Duration::from_nanos(ns)));
        loop {
            if !self.job.listener.is_waiting(self.job.asked.id) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if first_ready {
                kernel::wait_ready(&self.fd, to_write, if self.may_block { STEP } else { Duration::ZERO });
            }
            match attempt() {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.may_block => {}
                other => return other,
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(io::Error::from_raw_os_error(libc::EAGAIN));
            }
            if Status::of(self.job.asked.tid).is_some_and(|status| status.is_interrupted(self.job.asked.tid)) {
                return Err(io::Error::from_raw_os_error(libc::EINTR));
            }
            kernel::wait_ready(&self.fd, to_write, STEP);
        }
    }

    /// Puts data into the caller's buffers.
    fn put(&self, mut data: &[u8]) {
        for (at, len) in &self.parts {
            let (part, rest) = data.split_at(data.len().min(usize::try_from(*len).unwrap_or(usize::MAX)));
            kernel::write_memory(self.job.asked.tid, *at, part);
            data = rest;
        }
    }

    fn put_sender(&self, from: &[u8]) {
        let [.., at, len_at] = self.job.asked.args;
        let mut room = [0; 4];
        if kernel::read_memory(self.job.asked.tid, len_at, &mut room) != 4 {
            return;
        }
        let room = u32::from_ne_bytes(room) as usize;
        kernel::write_memory(self.job.asked.tid, at, &from[..from.len().min(room)]);
        kernel::write_memory(self.job.asked.tid, len_at, &(from.len() as u32).to_ne_bytes());
    }

    /// The first bytes of what the caller writes.
    fn read_memory(&self, wanted: u64) -> Vec<u8> {
        let mut data = vec![0; wanted.min(MOST) as usize];
        let mut filled = 0;
        for (at, len) in &self.parts {
            let end = data.len().min(filled + usize::try_from(*len).unwrap_or(usize::MAX));
            filled += kernel::read_memory(self.job.asked.tid, *at, &mut data[filled..end]);
            if filled < end {
                break;
            }
        }
        data.truncate(filled);
        data
    }
}

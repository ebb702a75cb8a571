//! The last system calls of a tree, where the user asks for them: noted by the tracer as they begin and come back.

use crate::error::plain;
use chaos_table::calls::{CALLS, Subject};
use nix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{Error, IoSliceMut};
use std::time::Duration;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Calls that are kept of the whole tree.
const KEPT: usize = 1000;
/// Letters of a path that are shown.
const MAX_PATH: usize = 256;
/// Calls whose path is their second argument: the first is the directory that it begins in.
const AT: [i64; 17] = [
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_execveat,
];
/// What the kernel gives where a signal interrupted a call that goes on afterwards (ERESTARTSYS and its kin).
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// The last calls of a tree.
#[derive(Debug, Default)]
pub struct LastCalls {
    /// CLOCK_MONOTONIC when the run started, ns.
    start_ns: u64,
    under_way: HashMap<i32, Called>,
    /// Those that are over, the oldest first.
    over: VecDeque<Called>,
}

/// One call.
#[derive(Clone, Debug)]
struct Called {
    at_ns: u64,
    pid: i32,
    tid: i32,
    what: String,
    /// `None`: it has not come back.
    result: Option<i64>,
}

impl LastCalls {
    /// Of a run that started at this moment of CLOCK_MONOTONIC, in ns.
    #[must_use]
    pub fn since(start_ns: u64) -> LastCalls {
        LastCalls { start_ns, ..LastCalls::default() }
    }

    /// A thread that stands still is about to make a call.
    pub fn began(&mut self, pid: i32, tid: i32, number: i64, args: [u64; 6]) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let at_ns = u64::try_from(now.as_nanos()).unwrap_or(0).saturating_sub(self.start_ns);
        let called = Called { at_ns, pid, tid, what: words(tid, number, args), result: None };
        self.under_way.insert(tid, called);
    }

    /// It has come back.
    pub fn came_back(&mut self, tid: i32, result: i64) {
        if let Some(called) = self.under_way.remove(&tid) {
            self.keep(Called { result: Some(result), ..called });
        }
    }

    /// The thread has ended: in the middle of a call, if one was under way.
    pub fn ended(&mut self, tid: i32) {
        if let Some(called) = self.under_way.remove(&tid) {
            self.keep(called);
        }
    }

    fn keep(&mut self, called: Called) {
        if self.over.len() == KEPT {
            self.over.pop_front();
        }
        self.over.push_back(called);
    }

    /// One call a line, the latest last; of one process, or of all.
    #[must_use]
    pub fn text(&self, of: Option<i32>) -> String {
        let mut all: Vec<&Called> = self.over.iter().chain(self.under_way.values()).collect();
        all.retain(|called| of.is_none_or(|pid| called.pid == pid));
        all.sort_by_key(|called| called.at_ns);
        all.into_iter().map(Called::line).collect()
    }
}

impl Called {
    fn line(&self) -> String {
        let Called { at_ns, pid, tid, what, result } = self;
        let thread = if pid == tid { String::new() } else { format!(" thread {tid}") };
        let result = match result {
            None => "did not come back".into(),
            Some(result) if RESTARTS.contains(result) => "was interrupted".into(),
            Some(result @ -4095..=-1) => {
                let errno = i32::try_from(-result).unwrap_or(0);
                chaos_table::errno::errno_name(errno)
                    .map_or_else(|| plain(&Error::from_raw_os_error(errno)), |name| format!("-> {name}"))
            }
            Some(result) => format!("= {result}"),
        };
        let at = Duration::from_nanos(*at_ns).as_secs_f64();
        format!("{at:12.6}  pid {pid}{thread}  {what} {result}\n")
    }
}

/// A call and what it acts on: a path, what a descriptor is, else its first arguments.
fn words(tid: i32, number: i64, args: [u64; 6]) -> String {
    let [first, second, third, ..] = args;
    let row = CALLS.iter().find(|row| row.syscalls().contains(&number));
    let name = row.map_or_else(|| format!("syscall {number}"), |row| row.name().to_owned());
    let on = match row.map(|row| row.subject) {
        Some(Subject::Fd) => descriptor(tid, first),
        Some(Subject::Path | Subject::Program) if AT.contains(&number) => path(tid, second),
        Some(Subject::Path | Subject::Program) => path(tid, first),
        _ => None,
    };
    match on {
        Some(on) => format!("{name}({on})"),
        None => format!("{name}({first:#x}, {second:#x}, {third:#x})"),
    }
}

fn descriptor(tid: i32, fd: u64) -> Option<String> {
    // The kernel looks at the lower half alone.
    let fd = fd as u32;
    let target = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
    Some(format!("{fd} {}", target.display().to_string().escape_debug()))
}

/// The text at an address of a thread that stands still.
fn path(tid: i32, address: u64) -> Option<String> {
    let mut bytes = [0; MAX_PATH];
    let base = usize::try_from(address).ok()?;
    // Not beyond the page that it begins in, unless that one is there as well.
    let in_page = MAX_PATH.min(4096 - base % 4096);
    let mut read = |len: usize| {
        let from = [RemoteIoVec { base, len }];
        process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(bytes.get_mut(..len)?)], &from).ok()
    };
    let len = read(MAX_PATH).or_else(|| read(in_page))?;
    let text = bytes.get(..len)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_in_their_order_with_what_they_act_on() {
        let here = i32::try_from(std::process::id()).unwrap();
        let mut calls = LastCalls::since(0);
        let name = c"/etc/hosts";
        calls.began(here, here, libc::SYS_openat, [0, name.as_ptr() as u64, 0, 0, 0, 0]);
        calls.came_back(here, -i64::from(libc::ENOENT));
        calls.began(here, here, libc::SYS_open, [1, 0, 0, 0, 0, 0]);
        calls.came_back(here, 3);
        calls.began(here, 99, libc::SYS_getppid, [7, 0, 0, 0, 0, 0]);
        calls.came_back(99, -512);
        calls.began(98, 98, libc::SYS_getppid, [0; 6]);
        calls.ended(98);
        calls.came_back(98, 0);
        let text = calls.text(None);
        let ends = ["open(/etc/hosts) -> ENOENT", "open(0x1, 0x0, 0x0) = 3", "was interrupted", "did not come back"];
        assert_eq!(text.lines().count(), 4, "{text}");
        for (line, end) in text.lines().zip(ends) {
            assert!(line.ends_with(end), "{text}");
        }
        assert!(text.contains(" thread 99  syscall 110(0x7, 0x0, 0x0) "), "{text}");
        assert_eq!(calls.text(Some(98)).lines().count(), 1);
        for _ in 0..2 * KEPT {
            calls.began(1, 1, libc::SYS_getppid, [0; 6]);
            calls.came_back(1, 0);
        }
        assert_eq!(calls.text(None).lines().count(), KEPT);
    }
}

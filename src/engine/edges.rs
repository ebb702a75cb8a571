//! Epolls of other processes that watch by edges: armed again, where less is given than there is.
//!
//! Whoever takes less from such a descriptor than there is, or is told EAGAIN where there was something, waits for an edge
//! that will not come. Setting the same watch once more makes the kernel look again. An epoll knows what it watches by the
//! open file and its number there, so one thread has a table of descriptors of its own, where any number is free.

use super::kernel;
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

const EDGES: u32 = libc::EPOLLET as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;

/// How an epoll watches a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    epoll: i32,
    events: u32,
    data: u64,
}

/// One descriptor of a process, with those that watch it.
struct Request {
    pid: u32,
    fd: i32,
    watches: Vec<Watch>,
    done: Sender<bool>,
}

/// Makes the epolls of a process that watch a descriptor by edges look at it again. False: a wake-up could be lost.
pub fn rearm(pid: u32, fd: i32) -> bool {
    static HAND: OnceLock<Option<Sender<Request>>> = OnceLock::new();
    let watches = by_edges(pid, fd);
    if watches.is_empty() {
        return true;
    }
    let (done, heard) = channel();
    let request = Request { pid, fd, watches, done };
    let hand = HAND.get_or_init(start).as_ref();
    hand.is_some_and(|hand| hand.send(request).is_ok() && heard.recv().unwrap_or(false))
}

/// Starts the thread with a table of descriptors of its own; `None` where that cannot be.
fn start() -> Option<Sender<Request>> {
    let (hand, requests) = channel::<Request>();
    let (told, heard) = channel();
    let work = move || {
        let is_ready = have_own_descriptors().is_ok();
        let _ = told.send(is_ready);
        if is_ready {
            for request in requests {
                let _ = request.done.send(set_again(&request).is_ok());
            }
        }
    };
    std::thread::Builder::new().name("edges".into()).stack_size(super::job::STACK).spawn(work).ok()?;
    heard.recv().unwrap_or(false).then_some(hand)
}

/// Gives the calling thread an empty table of descriptors, which no other thread shares.
fn have_own_descriptors() -> io::Result<()> {
    // SAFETY: this thread uses no descriptor that it had before. Those of the other threads stay open.
    let done =
        unsafe { libc::unshare(libc::CLONE_FILES) == 0 && libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) == 0 };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only in the thread with a table of its own: there the descriptor gets the number that it has in its process.
fn set_again(request: &Request) -> io::Result<()> {
    let Request { pid, fd, .. } = *request;
    let process = sys::pidfd(pid)?;
    let there = |number| kernel::descriptor_of(&process, number);
    let mut epolls = request.watches.iter().map(|watch| there(watch.epoll)).collect::<io::Result<Vec<OwnedFd>>>()?;
    let socket = there(fd)?;
    drop(process);
    for epoll in epolls.iter_mut().filter(|epoll| epoll.as_raw_fd() == fd) {
        *epoll = epoll.try_clone()?;
    }
    let _socket = if socket.as_raw_fd() == fd { socket } else { numbered(&socket, fd)? };
    for (epoll, watch) in epolls.iter().zip(&request.watches) {
        let mut event = libc::epoll_event { events: watch.events, u64: watch.data };
        // SAFETY: the kernel reads the structure.
        if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, fd, &raw mut event) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The same open file by a number that is free.
fn numbered(file: &OwnedFd, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the number is free in this table, and the new descriptor has one owner.
    unsafe {
        match libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// The epolls of a process that watch a descriptor by edges, but for one-shot watches: those are set again anyway.
fn by_edges(pid: u32, fd: i32) -> Vec<Watch> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let epolls = entries
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:[eventpoll]"));
    let numbers = epolls.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let info = |epoll| fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
    let watches = |epoll| info(epoll).lines().filter_map(|line| watch_of(line, fd, epoll)).collect::<Vec<_>>();
    numbers.flat_map(watches).filter(|watch| watch.events & EDGES != 0 && watch.events & ONCE == 0).collect()
}

/// A line of an epoll's fdinfo, when it is about this descriptor: `tfd: 5 events: 8000201d data: 7f00 ...`.
fn watch_of(line: &str, fd: i32, epoll: i32) -> Option<Watch> {
    let mut words = line.split_ascii_whitespace();
    let mut after = |name| (words.next() == Some(name)).then(|| words.next()).flatten();
    let watched: i32 = after("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(after("events:")?, 16).ok()?;
    let data = u64::from_str_radix(after("data:")?, 16).ok()?;
    (watched == fd).then_some(Watch { epoll, events, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_read_as_the_kernel_writes_it() {
        let line = "tfd:        5 events: 8000201d data:     7f12aabbccdd  pos:0 ino:1a sdev:9";
        assert_eq!(watch_of(line, 5, 3), Some(Watch { epoll: 3, events: 0x8000_201d, data: 0x7f12_aabb_ccdd }));
        for other in ["pos:\t0", "tfd: 6 events: 1 data: 0", "tfd: 5 events: x data: 0", "tfd: 5", ""] {
            assert_eq!(watch_of(other, 5, 3), None, "{other}");
        }
    }
}

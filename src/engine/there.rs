//! Descriptors of another process, borrowed one by one to ask the kernel about them.

use super::{edges, kernel};
use chaos_table::fits::Kernel;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;
use std::cell::RefCell;
use std::fs;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The descriptors of a process that makes a call.
pub struct There<'a> {
    pid: u32,
    pidfd: &'a OwnedFd,
    known: RefCell<Vec<(i32, Option<Rc<OwnedFd>>)>>,
}

impl<'a> There<'a> {
    /// Nothing is borrowed yet.
    #[must_use]
    pub fn new(pid: u32, pidfd: &'a OwnedFd) -> There<'a> {
        There { pid, pidfd, known: RefCell::default() }
    }

    /// A descriptor of that process as one of ours: the same open file. `None` when it has none such.
    pub fn borrow(&self, fd: i32) -> Option<Rc<OwnedFd>> {
        let mut known = self.known.borrow_mut();
        if let Some((_, ours)) = known.iter().find(|(theirs, _)| *theirs == fd) {
            return ours.clone();
        }
        let ours = kernel::descriptor_of(self.pidfd, fd).ok().map(Rc::new);
        known.push((fd, ours.clone()));
        ours
    }
}

impl There<'_> {
    /// The inode behind a descriptor: of a socket, its name.
    #[must_use]
    pub fn inode(&self, fd: i32) -> u64 {
        self.borrow(fd).and_then(|fd| fstat(&*fd).ok()).map_or(0, |stat| stat.st_ino)
    }
}

impl Kernel for There<'_> {
    fn mode(&self, fd: i32) -> Option<u32> {
        fstat(&*self.borrow(fd)?).ok().map(|stat| stat.st_mode)
    }

    fn status_flags(&self, fd: i32) -> i32 {
        self.borrow(fd).and_then(|fd| fcntl(&*fd, FcntlArg::F_GETFL).ok()).unwrap_or(0)
    }

    fn option(&self, fd: i32, level: i32, name: i32) -> Option<i32> {
        kernel::option_at(&*self.borrow(fd)?, level, name)
    }

    fn timeout(&self, fd: i32, name: i32) -> Option<u64> {
        kernel::socket_timeout(&*self.borrow(fd)?, name)
    }

    fn has_peer(&self, fd: i32) -> bool {
        self.borrow(fd).is_some_and(|fd| kernel::socket_address(&fd, false).is_some())
    }

    fn hung_up(&self, fd: i32) -> bool {
        self.borrow(fd).is_some_and(|fd| kernel::hung_up(&fd))
    }

    fn unread(&self, fd: i32, is_socket: bool) -> Option<i32> {
        kernel::unread(&*self.borrow(fd)?, is_socket)
    }

    fn rearm(&self, fd: i32) -> bool {
        edges::rearm(self.pid, fd)
    }

    fn is_locked_by_another(&self, _: i32) -> bool {
        true
    }
}

/// The lowest descriptor that a process has free.
#[must_use]
pub fn lowest_free(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut open: Vec<u64> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    open.sort_unstable();
    (0..).zip(&open).find(|(number, fd)| number != *fd).map_or(open.len() as u64, |(number, _)| number)
}

/// Bytes of private writable mappings and stacks of a process.
#[must_use]
pub fn private_writable(pid: u32) -> u64 {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split_ascii_whitespace().nth(5).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// Where the heap of a process ends: what brk answers when it fails. `asked` is the last end that was asked for, of which
/// /proc tells the page only.
#[must_use]
pub fn heap_end(pid: u32) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let heap = maps.lines().find(|line| line.ends_with("[heap]"))?;
    u64::from_str_radix(heap.split(['-', ' ']).nth(1)?, 16).ok()
}

/// How many threads a process has.
#[must_use]
pub fn threads(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count() as u64)
}

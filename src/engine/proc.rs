//! What /proc tells of a process.

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{Mode, fstatat};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// What `/proc/TID/status` says of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its process.
    pub tgid: u32,
    /// The process's parent.
    pub parent: u32,
    /// Signals that wait for the thread and that it does not block or ignore.
    pub signals: u64,
    /// The same of those that wait for any thread of the process.
    pub shared_signals: u64,
}

impl Status {
    /// Of a thread; `None` when it is gone.
    #[must_use]
    pub fn of(tid: u32) -> Option<Status> {
        Status::parse(&fs::read_to_string(format!("/proc/{tid}/status")).ok()?)
    }

    /// Whether a signal waits for this thread: its own, or one of the process's, which go to the first thread that hears
    /// them.
    #[must_use]
    pub const fn is_interrupted(&self, tid: u32) -> bool {
        self.signals != 0 || (self.shared_signals != 0 && tid == self.tgid)
    }

    fn parse(text: &str) -> Option<Status> {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let number = |name: &str| field(name)?.parse().ok();
        let mask = |name: &str| field(name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        let heard = !(mask("SigBlk") | mask("SigIgn"));
        Some(Status {
            tgid: number("Tgid")?,
            parent: number("PPid")?,
            signals: mask("SigPnd") & heard,
            shared_signals: mask("ShdPnd") & heard,
        })
    }
}

/// The children that a thread has made, in the order in which it made them. Empty where the kernel does not tell.
#[must_use]
pub fn children(pid: u32, tid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The descriptors of a process, as /proc shows them: the directory stays open, since the way to it costs more than what
/// is asked there.
#[derive(Debug)]
pub struct Dir {
    /// `/proc/PID/fd`; none when there is no descriptor left for it, and every question then goes the long way.
    open: Option<OwnedFd>,
    path: String,
}

impl Dir {
    /// Of a process.
    #[must_use]
    pub fn of(pid: u32) -> Dir {
        let path = format!("/proc/{pid}/fd/");
        let open =
            nix::fcntl::open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        Dir { open: open.ok(), path }
    }

    /// Asks about a name below the directory.
    fn at<T>(&self, name: &str, ask: impl FnOnce(BorrowedFd<'_>, &str) -> nix::Result<T>) -> Option<T> {
        match &self.open {
            Some(open) => ask(open.as_fd(), name).ok(),
            None => ask(nix::fcntl::AT_FDCWD, &format!("{}{name}", self.path)).ok(),
        }
    }

    /// Where a descriptor leads; empty when it is not open.
    #[must_use]
    pub fn descriptor(&self, fd: i32) -> Vec<u8> {
        self.link(&fd.to_string())
    }

    /// The type and mode of what a descriptor leads to.
    #[must_use]
    pub fn mode(&self, fd: i32) -> Option<u32> {
        self.at(&fd.to_string(), |dir, name| fstatat(dir, name, AtFlags::empty())).map(|stat| stat.st_mode)
    }

    /// The working directory of one of its threads; empty when it cannot be told.
    #[must_use]
    pub fn work_dir(&self, pid: u32, tid: u32) -> Vec<u8> {
        if pid == tid { self.link("../cwd") } else { self.link(&format!("../task/{tid}/cwd")) }
    }

    /// Whether an absolute path exists in the file system that the process sees, and nothing on the way is a symbolic
    /// link; `whole`: nor is its end.
    #[must_use]
    pub fn is_plain(&self, path: &[u8], whole: bool) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let found = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root = self.at("../root", |dir, name| nix::fcntl::openat(dir, name, found, Mode::empty()));
        let Some(root) = root else { return false };
        let flags = if whole { found } else { found | OFlag::O_NOFOLLOW };
        // Within the root, so that no `..` leads out of it.
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(root, Path::new(std::ffi::OsStr::from_bytes(path)), how).is_ok()
    }

    fn link(&self, name: &str) -> Vec<u8> {
        self.at(name, |dir, name| readlinkat(dir, name)).map(OsStringExt::into_vec).unwrap_or_default()
    }
}

/// Where a link of /proc leads; empty when the kernel does not tell.
#[must_use]
pub fn link(path: &str) -> Vec<u8> {
    fs::read_link(path).map(|target| target.into_os_string().into_vec()).unwrap_or_default()
}

/// What tells one image of a process from the next: where exec has laid out code, stack and arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image(Vec<String>);

impl Image {
    /// The image that a process has now.
    #[must_use]
    pub fn of(pid: u32) -> Image {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rfind(')').map_or("", |end| &stat[end + 1..]).split_ascii_whitespace().collect();
        // Numbered as in proc(5), of which two stand before the state: startcode, startstack, and from start_data on.
        let picked = [26, 28, 45, 46, 47, 48, 49, 50, 51].into_iter().filter_map(|number| fields.get(number - 3));
        let exe = String::from_utf8_lossy(&link(&format!("/proc/{pid}/exe"))).into_owned();
        Image(picked.map(ToString::to_string).chain([exe]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_are_blocked_or_ignored_do_not_count() {
        let text = "Name:\ta\nTgid:\t12\nPPid:\t3\nSigPnd:\t0000000000000003\nShdPnd:\t0000000000000f00\n\
                    SigBlk:\t0000000000000001\nSigIgn:\t0000000000000100\n";
        let expected = Status { tgid: 12, parent: 3, signals: 2, shared_signals: 0xe00 };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse(""), None);
        let own = Status::of(std::process::id()).unwrap();
        assert_eq!(own.tgid, std::process::id());
    }
}

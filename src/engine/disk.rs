//! `exhaust` of disk: what the writes of another process take of a quota, and what it gives back.
//!
//! The accounts are those of the shims, see [`chaos_table::quota`]. A write that passes is taken to be made in full, as the
//! kernel does for files; what gives blocks back is followed to its end.

use super::decide::Asking;
use super::decode::{Call, Name, Target, number_at};
use super::kernel::{self, Asked};
use super::places;
use super::proc::Dir;
use super::shared::Shared;
use super::there::There;
use super::tree::Process;
use chaos_table::calls::Op;
use chaos_table::decide::Effect;
use chaos_table::fits::Kernel;
use chaos_table::quota::{File, Ledger, Write};
use chaos_table::rule::{PlanHeader, bits};
use chaos_table::session::BLOCK;
use nix::fcntl::{AtFlags, FallocateFlags};
use nix::sys::stat::{FileStat, fstat, fstatat};
use nix::unistd::{Whence, lseek};
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Of pwritev2: the write goes to the end.
const APPEND: i32 = libc::RWF_APPEND;

/// System calls that may give blocks back, whatever rules there are on them.
pub const FREEING: [i64; 12] = [
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_creat,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
];

/// Whether a table has quotas.
#[must_use]
pub const fn matter(header: &PlanHeader) -> bool {
    header.kinds.disk != 0
}

/// A write to a regular file that is being put to the rules.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    fd: OwnedFd,
    pid: u32,
    file: File,
    write: Write,
    /// Blocks that all of it would add.
    need: u64,
    /// It happens as a whole or not at all.
    is_whole: bool,
    /// The file has no name any more.
    is_nameless: bool,
    /// Rules whose quota it counts against.
    asked: u64,
    /// Those of them that had room for all of it.
    reserved: u64,
    /// The rule that had not, and the blocks that it gave.
    granted: (usize, u64),
}

impl Claim {
    /// The claim of a call; `None` when it writes to no regular file.
    pub fn of(asking: &Asking<'_>, there: &There<'_>, amount: u64) -> Option<Claim> {
        let (asked, call) = (asking.asked, &asking.call);
        let (fd, start, len) = match (asking.op, call.target) {
            (Op::Write | Op::Pwrite | Op::Writev | Op::Pwritev, Target::Fd(fd)) => (fd, call.offset, amount),
            (Op::Fallocate, Target::Fd(fd)) if asked.args[1] == 0 => (fd, Some(asked.args[2] as i64), asked.args[3]),
            (Op::Sendfile | Op::Splice | Op::CopyFileRange, Target::Fds(to, from)) => {
                let ends = Ends::of(asked);
                (
                    to,
                    ends.to.map(|at| number_at(asked.tid, at) as i64),
                    amount.min(available(there, from, ends.from, asked)),
                )
            }
            _ => return None,
        };
        let ours = there.borrow(fd)?;
        let stat = regular(fstat(&*ours).ok()?)?;
        // What the supervisor cannot make in its caller's place it cannot shorten either.
        let is_whole = matches!(asking.op, Op::Fallocate | Op::Splice);
        let appends = asking.op != Op::Fallocate
            && (there.status_flags(fd) & libc::O_APPEND != 0 || call.flags & APPEND != 0 && asking.op == Op::Pwritev);
        let size = stat.st_size as u64;
        let start = match start {
            // Linux appends even what names an offset.
            _ if appends => size,
            Some(at) => u64::try_from(at).ok()?,
            None => lseek(&*ours, 0, Whence::SeekCur).ok()? as u64,
        };
        let mut claim = Claim {
            shared: Arc::clone(&asking.common.shared),
            fd: ours.try_clone().ok()?,
            pid: asking.pid,
            file: file_of(&stat),
            write: Write { size, is_sparse: is_sparse(&stat), start, len },
            need: 0,
            is_whole,
            is_nameless: stat.st_nlink == 0,
            asked: 0,
            reserved: 0,
            granted: (0, 0),
        };
        claim.need = claim.added(0, len);
        Some(claim)
    }

    fn added(&self, from: u64, to: u64) -> u64 {
        self.write.added(from, to, |first, end| missing(&self.fd, first, end))
    }

    /// Whether it takes more than a rule has left; if not, it is reserved.
    pub fn is_exhausted(&mut self, rule: usize, limit: u64) -> bool {
        self.asked |= 1 << rule;
        if self.need == 0 {
            return false;
        }
        let has_room = || self.shared.take(rule, limit, self.need, true) == self.need;
        let is_reserved = has_room() || {
            self.shared.sweep(|pid, file| !has_open(pid, file));
            has_room()
        };
        self.reserved |= u64::from(is_reserved) << rule;
        !is_reserved
    }

    /// What a write that crosses the quota meets: it is shortened to what is left, or the disk is full.
    pub fn crossing(&mut self, rule: usize, limit: u64) -> Effect {
        let full = Effect::Error(libc::ENOSPC.into());
        if self.is_whole {
            return full;
        }
        let granted = self.shared.take(rule, limit, self.need, false);
        self.granted = (rule, granted);
        match self.write.bytes_within(granted, |first, end| missing(&self.fd, first, end)) {
            0 => full,
            bytes => Effect::Part(bytes),
        }
    }

    /// The call is made as it is.
    pub fn passes(self) {
        let len = self.write.len;
        self.settle(len);
    }

    /// Charges what is written and gives back what was reserved for more. Before it is written, of a file with holes all or
    /// nothing.
    pub fn settle(mut self, written: u64) {
        let written = written.min(self.write.len);
        let added = if written == self.write.len {
            self.need
        } else if self.write.is_sparse {
            self.need.saturating_sub(self.added(written, self.write.len))
        } else {
            self.added(0, written)
        };
        self.close(added);
    }

    fn close(&mut self, added: u64) {
        for rule in bits(std::mem::take(&mut self.asked)) {
            let (granting, granted) = self.granted;
            let held = match self.reserved & (1 << rule) {
                0 if granting == rule => granted,
                0 => 0,
                _ => self.need,
            };
            self.shared.used(rule).fetch_add(added.wrapping_sub(held), Ordering::Relaxed);
            self.shared.charge(self.file, rule, added, self.is_nameless.then_some(self.pid));
        }
    }
}

/// A call that is never made gives back what was reserved for it.
impl Drop for Claim {
    fn drop(&mut self) {
        self.close(0);
    }
}

/// Where a copy between descriptors finds its offsets, where it has some.
pub struct Ends {
    /// That of what it copies.
    pub from: Option<u64>,
    /// That of where it copies to.
    pub to: Option<u64>,
}

impl Ends {
    /// Of a call.
    #[must_use]
    pub fn of(asked: &Asked) -> Ends {
        let [_, b, c, d, ..] = asked.args;
        let given = |at: u64| Some(at).filter(|at| *at != 0);
        match asked.nr {
            libc::SYS_sendfile => Ends { from: given(c), to: None },
            _ => Ends { from: given(b), to: given(d) },
        }
    }
}

/// Bytes that a copy finds, where that can be told.
fn available(there: &There<'_>, from: i32, at: Option<u64>, asked: &Asked) -> u64 {
    let Some(fd) = there.borrow(from) else { return u64::MAX };
    let Some(stat) = fstat(&*fd).ok().and_then(regular) else { return u64::MAX };
    let at = at.map(|at| number_at(asked.tid, at) as i64).or_else(|| lseek(&*fd, 0, Whence::SeekCur).ok());
    at.map_or(u64::MAX, |at| stat.st_size.saturating_sub(at).max(0) as u64)
}

/// What a call gives back if it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// So many blocks of a file.
    Blocks(File, u64),
    /// All of a file, once nobody has it open.
    Name(File),
}

impl Freed {
    /// Of a call that is about to be made; `None` when it gives nothing back that was charged.
    pub fn by(asked: &Asked, pid: u32, process: &Process, shared: &Shared) -> Option<Freed> {
        if !FREEING.contains(&asked.nr) || shared.quotas() == 0 {
            return None;
        }
        let call = Call::of(asked, [libc::SYS_ftruncate, libc::SYS_fallocate].contains(&asked.nr));
        let there = There::new(pid, &process.pidfd);
        let [_, size, at, len, ..] = asked.args;
        let freed = match (asked.nr, call.target) {
            (libc::SYS_ftruncate, Target::Fd(fd)) => by_size(&*there.borrow(fd)?, size),
            (libc::SYS_fallocate, Target::Fd(fd)) => {
                let punches = size as i32 & FallocateFlags::FALLOC_FL_PUNCH_HOLE.bits() != 0;
                if punches { by_hole(&*there.borrow(fd)?, at, len) } else { None }
            }
            (libc::SYS_truncate, Target::Path(name)) => by_size(&open(process.dir(pid), pid, asked.tid, name)?, size),
            (libc::SYS_unlink | libc::SYS_unlinkat, Target::Path(name)) if call.flags & libc::AT_REMOVEDIR == 0 => {
                by_name(process.dir(pid), pid, asked.tid, name)
            }
            (_, Target::Entries(old, new)) if call.flags as u32 & libc::RENAME_EXCHANGE == 0 => {
                let find = |name| by_name(process.dir(pid), pid, asked.tid, name);
                find(new).filter(|freed| find(old) != Some(*freed))
            }
            (_, Target::Path(name)) if call.flags & libc::O_TRUNC != 0 => {
                let meta = fs::metadata(seen(process.dir(pid), pid, asked.tid, name)?).ok()?;
                meta.is_file().then(|| Freed::Blocks(File { dev: meta.dev(), ino: meta.ino() }, u64::MAX))
            }
            _ => None,
        }?;
        let (Freed::Blocks(file, _) | Freed::Name(file)) = freed;
        shared.accounts_of(file).next().is_some().then_some(freed)
    }

    /// The call has ended with this result, as the kernel gives it.
    pub fn returned(self, result: i64, pid: u32, shared: &Shared) {
        if result < 0 {
            return;
        }
        match self {
            Freed::Blocks(file, blocks) => shared.credit(file, blocks),
            Freed::Name(file) => shared.lost_name(file, has_open(pid, file).then_some(pid)),
        }
    }
}

fn by_size(fd: &OwnedFd, size: u64) -> Option<Freed> {
    let stat = regular(fstat(fd).ok()?)?;
    let (first, end) = (size.div_ceil(BLOCK), (stat.st_size as u64).div_ceil(BLOCK));
    let holes = if is_sparse(&stat) { missing(fd, first, end) } else { 0 };
    Some(Freed::Blocks(file_of(&stat), end.saturating_sub(first).saturating_sub(holes)))
}

fn by_hole(fd: &OwnedFd, at: u64, len: u64) -> Option<Freed> {
    let stat = regular(fstat(fd).ok()?)?;
    let end = (at.saturating_add(len) / BLOCK).min((stat.st_size as u64).div_ceil(BLOCK));
    let first = at.div_ceil(BLOCK);
    let held = end.saturating_sub(first).saturating_sub(missing(fd, first, end));
    Some(Freed::Blocks(file_of(&stat), held))
}

/// The removal of a name, or a rename over it.
fn by_name(dir: &Dir, pid: u32, tid: u32, name: Name) -> Option<Freed> {
    let path = seen(dir, pid, tid, Name { follow: false, ..name })?;
    let stat = fstatat(nix::fcntl::AT_FDCWD, &path, AtFlags::AT_SYMLINK_NOFOLLOW).ok().and_then(regular)?;
    (stat.st_nlink == 1).then(|| Freed::Name(file_of(&stat)))
}

/// Where a name of a process is found from here.
fn seen(dir: &Dir, pid: u32, tid: u32, name: Name) -> Option<PathBuf> {
    let path = places::path(dir, pid, tid, name)?;
    Some(OsString::from_vec([format!("/proc/{pid}/root").into_bytes(), path].concat()).into())
}

fn open(dir: &Dir, pid: u32, tid: u32, name: Name) -> Option<OwnedFd> {
    let path = seen(dir, pid, tid, name)?;
    // What is no file must not be opened: that may wait.
    fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    fs::File::open(path).ok().map(Into::into)
}

fn regular(stat: FileStat) -> Option<FileStat> {
    (stat.st_mode & libc::S_IFMT == libc::S_IFREG).then_some(stat)
}

fn file_of(stat: &FileStat) -> File {
    File { dev: stat.st_dev, ino: stat.st_ino }
}

fn is_sparse(stat: &FileStat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64
}

/// Whether a process has a file open that has no name; another file may have its number by now.
fn has_open(pid: u32, file: File) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .any(|meta| meta.nlink() == 0 && File { dev: meta.dev(), ino: meta.ino() } == file)
}

/// Blocks of a range that the file system has not given out.
fn missing(fd: &OwnedFd, first: u64, end: u64) -> u64 {
    if first >= end {
        return 0;
    }
    let mut given = 0;
    let known = kernel::extents(fd, first * BLOCK, end * BLOCK, |from, to| {
        given += (to.div_ceil(BLOCK).min(end)).saturating_sub((from / BLOCK).max(first));
    });
    if known { (end - first).saturating_sub(given) } else { holes(fd, first, end) }
}

/// The same where the file system has no map of extents. Looked up through a description of its own, so that no position
/// moves.
fn holes(fd: &OwnedFd, first: u64, end: u64) -> u64 {
    let Ok(file) = fs::File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { return 0 };
    let seek = |at: u64, whence| lseek(&file, at as i64, whence).ok().map(|found| found as u64);
    let (mut holes, mut at) = (0, first * BLOCK);
    let end = end * BLOCK;
    while at < end {
        // No data behind here: the rest is a hole.
        let data = seek(at, Whence::SeekData).map_or(end, |data| data.min(end));
        holes += data.saturating_sub(at) / BLOCK;
        if data >= end {
            break;
        }
        at = seek(data, Whence::SeekHole).unwrap_or(end).max(data + 1);
    }
    holes
}

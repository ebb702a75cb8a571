//! `exhaust` of disk: how much of a rule's quota each file takes, in blocks, as a small file system would count.
//!
//! A write is charged for the blocks that it adds: overwriting is free, and so are holes until they are filled. What is
//! truncated, or loses its last name, is given back. The accounts are those of [`chaos_table::quota`]: exact while one
//! thread at a time works on a file.

use crate::guard::thread;
use crate::session::{Session, attached};
use crate::sys;
use chaos_table::decide::Effect;
use chaos_table::quota::{Account, File, Ledger, Write};
use chaos_table::rule::bits;
use chaos_table::session::{BLOCK, TreeCounters};
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

impl Ledger for Session {
    fn accounts(&self) -> &[Account] {
        self.accounts()
    }

    fn quotas(&self) -> u64 {
        self.disk()
    }

    fn used(&self, rule: usize) -> &AtomicU64 {
        self.tree(rule, offset_of!(TreeCounters, used))
    }
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the descriptor's own position, which moves on.
    Cursor,
    /// To this offset.
    At(i64),
}

/// A write to a regular file, while it is being made. It lies in the hook's frame, where the thread's block points at it
/// so that the rules can be asked.
pub struct Claim {
    fd: i32,
    file: File,
    write: Write,
    /// Blocks that all of it would add.
    need: u64,
    /// It happens as a whole or not at all.
    is_whole: bool,
    /// The file has no name any more.
    is_nameless: bool,
    /// Rules whose quota it counts against.
    asked: Cell<u64>,
    /// Those of them that had room for all of it.
    reserved: Cell<u64>,
    /// The rule that had not, and the blocks that it gave.
    granted: Cell<(usize, u64)>,
}

impl Claim {
    /// The claim of a write; `None` when it is none to a regular file.
    pub fn of(fd: i32, place: Place, len: usize, is_whole: bool) -> Option<Claim> {
        let stat = sys::fstat(fd)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return None;
        }
        let size = stat.st_size as u64;
        let appends = !is_whole && sys::status_flags(fd) & libc::O_APPEND != 0;
        let start = match place {
            // Linux appends even what names an offset.
            _ if appends => size,
            Place::Cursor => sys::lseek(fd, 0, libc::SEEK_CUR)? as u64,
            Place::At(offset) => u64::try_from(offset).ok()?,
        };
        let mut claim = Claim {
            fd,
            file: file_of(&stat),
            write: Write { size, is_sparse: is_sparse(&stat), start, len: len as u64 },
            need: 0,
            is_whole,
            is_nameless: stat.st_nlink == 0,
            asked: Cell::new(0),
            reserved: Cell::new(0),
            granted: Cell::new((0, 0)),
        };
        claim.need = claim.added(0, claim.write.len);
        Some(claim)
    }

    /// Blocks that the bytes from `from` to `to` of the write add to the file as it is.
    fn added(&self, from: u64, to: u64) -> u64 {
        self.write.added(from, to, |first, end| missing(self.fd, first, end))
    }

    /// Makes the claim known to the rules while `body` runs.
    pub fn during<R>(&self, body: impl FnOnce() -> R) -> R {
        let thread = thread();
        let outer = thread.claim.replace(&raw const *self);
        let result = body();
        thread.claim.set(outer);
        result
    }

    /// Charges what was written and gives back what was reserved for more.
    pub fn settle(&self, written: u64) {
        let Some(session) = attached() else { return };
        let written = written.min(self.write.len);
        // Of a sparse file only what is still missing tells what was added.
        let added = if self.write.is_sparse {
            self.need.saturating_sub(self.added(written, self.write.len))
        } else {
            self.added(0, written)
        };
        for rule in bits(self.asked.get()) {
            let (granting, granted) = self.granted.get();
            let held = match self.reserved.get() & (1 << rule) {
                0 if granting == rule => granted,
                0 => 0,
                _ => self.need,
            };
            session.used(rule).fetch_add(added.wrapping_sub(held), Ordering::Relaxed);
            session.charge(self.file, rule, added, self.is_nameless.then(sys::getpid));
        }
    }
}

/// Blocks of a range that the file system has not given out.
fn missing(fd: i32, first: u64, end: u64) -> u64 {
    if first >= end {
        return 0;
    }
    let mut given = 0;
    let known = sys::extents(fd, first * BLOCK, end * BLOCK, |from, to| {
        given += (to.div_ceil(BLOCK).min(end)).saturating_sub((from / BLOCK).max(first));
    });
    if known { (end - first).saturating_sub(given) } else { holes(fd, first, end) }
}

/// The same where the file system has no map of extents. Looked up through a description of its own, so that no position
/// moves.
fn holes(fd: i32, first: u64, end: u64) -> u64 {
    let Some(fd) = sys::reopen(fd) else { return 0 };
    let (mut holes, mut at) = (0, first * BLOCK);
    let end = end * BLOCK;
    while at < end {
        // No data behind here: the rest is a hole.
        let data = sys::lseek(fd, at as i64, libc::SEEK_DATA).map_or(end, |data| (data as u64).min(end));
        holes += data.saturating_sub(at) / BLOCK;
        if data >= end {
            break;
        }
        at = sys::lseek(fd, data as i64, libc::SEEK_HOLE).map_or(end, |hole| hole as u64).max(data + 1);
    }
    sys::close(fd);
    holes
}

/// The claim of the write that the rules are being asked about.
fn current() -> Option<&'static Claim> {
    // SAFETY: `during` sets it to a claim that outlives the question, and takes it away again. Where an unwinding left it
    // behind, the next write has set it anew: only writes ask.
    unsafe { thread().claim.get().as_ref() }
}

/// Whether the write at hand takes more than a rule has left; if not, it is reserved.
pub fn is_exhausted(session: &Session, rule: usize, limit: u64) -> bool {
    let Some(claim) = current() else { return false };
    claim.asked.set(claim.asked.get() | 1 << rule);
    if claim.need == 0 {
        return false;
    }
    let has_room = || session.take(rule, limit, claim.need, true) == claim.need;
    let is_reserved = has_room() || {
        sweep(session);
        has_room()
    };
    claim.reserved.set(claim.reserved.get() | u64::from(is_reserved) << rule);
    !is_reserved
}

/// What a write that crosses the quota meets: it is shortened to what is left, or the disk is full.
pub fn crossing(session: &Session, rule: usize, limit: u64) -> Effect {
    let full = Effect::Error(libc::ENOSPC.into());
    let Some(claim) = current() else { return full };
    if claim.is_whole {
        return full;
    }
    let granted = session.take(rule, limit, claim.need, false);
    claim.granted.set((rule, granted));
    match claim.write.bytes_within(granted, |first, end| missing(claim.fd, first, end)) {
        0 => full,
        bytes => Effect::Part(bytes),
    }
}

/// Whether any quota is kept in this session.
fn session() -> Option<&'static Session> {
    attached().filter(|session| session.disk() != 0)
}

/// A file has been opened: what it has lost since it was charged is given back (O_TRUNC).
pub fn opened(fd: i32) {
    let Some(session) = session() else { return };
    let Some(stat) = sys::fstat(fd).filter(is_regular) else { return };
    let there = (stat.st_size as u64).div_ceil(BLOCK);
    for account in session.accounts_of(file_of(&stat)) {
        session.give_back(account, account.blocks().saturating_sub(there));
    }
}

fn is_regular(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn file_of(stat: &libc::stat) -> File {
    File { dev: stat.st_dev, ino: stat.st_ino }
}

fn is_sparse(stat: &libc::stat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64
}

/// What a call gives back if it succeeds.
#[derive(Clone, Copy, PartialEq)]
pub enum Freed {
    /// Nothing.
    Nothing,
    /// So many blocks of a file.
    Blocks(File, u64),
    /// All of a file, once nobody has it open.
    Name(File),
}

impl Freed {
    /// A change of a file's size.
    pub fn by_size(fd: i32, size: i64) -> Freed {
        let Some(stat) = session().and_then(|_| sys::fstat(fd)).filter(is_regular) else { return Freed::Nothing };
        let (kept, there) = (size.max(0) as u64, stat.st_size as u64);
        let (first, end) = (kept.div_ceil(BLOCK), there.div_ceil(BLOCK));
        let holes = if is_sparse(&stat) { missing(fd, first, end) } else { 0 };
        Freed::Blocks(file_of(&stat), end.saturating_sub(first).saturating_sub(holes))
    }

    /// The same by path.
    ///
    /// # Safety
    /// `path` must be NULL or a C string.
    pub unsafe fn by_path(path: *const c_char, size: i64) -> Freed {
        // SAFETY: the caller says so.
        let Some(path) = session().and_then(|_| unsafe { sys::string(path) }) else { return Freed::Nothing };
        let Ok(fd) = sys::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0) else { return Freed::Nothing };
        let freed = Freed::by_size(fd, size);
        sys::close(fd);
        freed
    }

    /// The removal of a name, or a rename over it.
    ///
    /// # Safety
    /// `path` must be NULL or a C string.
    pub unsafe fn by_name(dirfd: i32, path: *const c_char) -> Freed {
        // SAFETY: the caller says so.
        let path = session().and_then(|_| unsafe { sys::string(path) });
        let stat = path.and_then(|path: &CStr| sys::lstat_at(dirfd, path));
        match stat.filter(is_regular) {
            Some(stat) if stat.st_nlink == 1 => Freed::Name(file_of(&stat)),
            _ => Freed::Nothing,
        }
    }

    /// A close of what may have no name any more.
    pub fn by_close(fd: i32) -> Freed {
        match session().and_then(|_| sys::fstat(fd)).filter(is_regular) {
            Some(stat) if stat.st_nlink == 0 => Freed::Name(file_of(&stat)),
            _ => Freed::Nothing,
        }
    }

    /// A hole in a file.
    pub fn by_hole(fd: i32, at: i64, len: i64) -> Freed {
        let Some(stat) = session().and_then(|_| sys::fstat(fd)).filter(is_regular) else { return Freed::Nothing };
        let there = (stat.st_size as u64).div_ceil(BLOCK);
        let (first, end) = ((at.max(0) as u64).div_ceil(BLOCK), (at.saturating_add(len).max(0) as u64) / BLOCK);
        let end = end.min(there);
        let held = end.saturating_sub(first).saturating_sub(missing(fd, first, end));
        Freed::Blocks(file_of(&stat), held)
    }

    /// Makes the call, and gives back what it frees when it succeeds.
    pub fn after<R: PartialEq + Default>(self, call: impl FnOnce() -> R) -> R {
        let result = call();
        if result == R::default() {
            self.happened();
        }
        result
    }

    /// Whether both are about the same file.
    pub fn is(self, other: Freed) -> bool {
        self != Freed::Nothing && self == other
    }

    /// The call has succeeded.
    pub fn happened(self) {
        let Some(session) = session() else { return };
        match self {
            Freed::Nothing => {}
            Freed::Blocks(file, blocks) => session.credit(file, blocks),
            Freed::Name(file) => {
                if session.accounts_of(file).next().is_some() {
                    session.lost_name(file, is_open_here(file).then(sys::getpid));
                }
            }
        }
    }
}

/// Whether this process has a file open that has no name; another file may have its number by now.
fn is_open_here(file: File) -> bool {
    let is_it = |stat: libc::stat| stat.st_nlink == 0 && is_regular(&stat) && file_of(&stat) == file;
    sys::any_descriptor(|fd| sys::fstat(fd).is_some_and(is_it))
}

/// Gives back what processes kept that have ended, or have closed it unseen.
#[cold]
fn sweep(session: &Session) {
    session.sweep(|pid, file| match pid {
        _ if pid == sys::getpid() => !is_open_here(file),
        _ => sys::kill(pid, 0) == -libc::ESRCH as isize,
    });
}

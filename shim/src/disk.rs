//! `exhaust` of disk: how much of a rule's quota each file takes, in blocks, as a small file system would count.
//!
//! A write is charged for the blocks that it adds: overwriting is free, and so are holes until they are filled. What is
//! truncated, or loses its last name, is given back. The accounts lie in the session, one entry for each (file, rule),
//! written without locks: exact while one thread at a time works on a file. An entry that finds no room is charged to
//! the quota and never given back: a quota that is too strict, rather than one that is no limit.

mod accounts;

use crate::guard::thread;
use crate::session::{Session, attached};
use crate::sys;
use accounts::{accounts, blocks, charge, credit, give_back, keeper};
use chaos_table::decide::Effect;
use chaos_table::rule::bits;
use chaos_table::session::{BLOCK, TreeCounters};
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the descriptor's own position, which moves on.
    Cursor,
    /// To this offset.
    At(i64),
}

/// A file, as the accounts know it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    dev: u64,
    ino: u64,
}

/// A write to a regular file, while it is being made. It lies in the hook's frame, where the thread's block points at it
/// so that the rules can be asked.
pub struct Claim {
    fd: i32,
    file: File,
    size: u64,
    /// Some of the file is not backed by blocks.
    is_sparse: bool,
    start: u64,
    len: u64,
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
            file: File { dev: stat.st_dev, ino: stat.st_ino },
            size,
            is_sparse: (stat.st_blocks as u64).saturating_mul(512) < size,
            start,
            len: len as u64,
            need: 0,
            is_whole,
            is_nameless: stat.st_nlink == 0,
            asked: Cell::new(0),
            reserved: Cell::new(0),
            granted: Cell::new((0, 0)),
        };
        claim.need = claim.added(0, claim.len);
        Some(claim)
    }

    /// Blocks that the bytes from `from` to `to` of the write add to the file as it was.
    fn added(&self, from: u64, to: u64) -> u64 {
        let (first, end) = (self.start.saturating_add(from), self.start.saturating_add(to));
        if first >= end {
            return 0;
        }
        // A block that an earlier part of the write has begun is counted there.
        let first = if from == 0 { first / BLOCK } else { first.div_ceil(BLOCK) };
        let (end, known) = (end.div_ceil(BLOCK), self.size.div_ceil(BLOCK));
        let beyond = end.saturating_sub(first.max(known));
        let inside = if self.is_sparse { missing(self.fd, first, end.min(known)) } else { 0 };
        beyond + inside
    }

    /// How many bytes can be written with so many new blocks.
    fn bytes_within(&self, blocks: u64) -> u64 {
        if self.need <= blocks {
            return self.len;
        }
        let (mut fits, mut too_long) = (0, self.len);
        // Bisection over the ends of blocks: `fits` does, `too_long` does not.
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            let end = (self.start + middle) / BLOCK * BLOCK;
            let aligned = end.saturating_sub(self.start);
            let middle = if aligned > fits { aligned } else { middle };
            if self.added(0, middle) <= blocks { fits = middle } else { too_long = middle }
        }
        fits
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
        let written = written.min(self.len);
        // Of a sparse file only what is still missing tells what was added.
        let added = if self.is_sparse {
            self.need.saturating_sub(self.added(written, self.len))
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
            used(session, rule).fetch_add(added.wrapping_sub(held), Ordering::Relaxed);
            charge(session, self.file, rule, added, self.is_nameless);
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

fn used(session: &Session, rule: usize) -> &AtomicU64 {
    session.tree(rule, offset_of!(TreeCounters, used))
}

/// Takes up to `wanted` blocks, or all or none of them.
fn take(session: &Session, rule: usize, limit: u64, wanted: u64, all: bool) -> u64 {
    let limit = limit.div_ceil(BLOCK);
    let mut taken = 0;
    let _ = used(session, rule).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        let left = limit.saturating_sub(used);
        taken = if left >= wanted {
            wanted
        } else if all {
            0
        } else {
            left
        };
        Some(used + taken)
    });
    taken
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
    let has_room = || take(session, rule, limit, claim.need, true) == claim.need;
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
    let granted = take(session, rule, limit, claim.need, false);
    claim.granted.set((rule, granted));
    match claim.bytes_within(granted) {
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
    for (rule, place) in accounts(session, file_of(&stat)) {
        // SAFETY: an account of the session.
        let charged = unsafe { blocks(place) }.load(Ordering::Relaxed);
        give_back(session, rule, place, charged.saturating_sub(there));
    }
}

fn is_regular(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn file_of(stat: &libc::stat) -> File {
    File { dev: stat.st_dev, ino: stat.st_ino }
}

/// What a call gives back if it succeeds.
#[derive(Clone, Copy, PartialEq)]
pub enum Freed {
    /// Nothing.
    Nothing,
    /// So many blocks of a file.
    Blocks(u64, u64, u64),
    /// All of a file, once nobody has it open.
    Name(u64, u64),
}

impl Freed {
    /// A change of a file's size.
    pub fn by_size(fd: i32, size: i64) -> Freed {
        let Some(stat) = session().and_then(|_| sys::fstat(fd)).filter(is_regular) else { return Freed::Nothing };
        let (kept, there) = (size.max(0) as u64, stat.st_size as u64);
        let (first, end) = (kept.div_ceil(BLOCK), there.div_ceil(BLOCK));
        let is_sparse = (stat.st_blocks as u64).saturating_mul(512) < there;
        let holes = if is_sparse { missing(fd, first, end) } else { 0 };
        Freed::Blocks(stat.st_dev, stat.st_ino, end.saturating_sub(first).saturating_sub(holes))
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
            Some(stat) if stat.st_nlink == 1 => Freed::Name(stat.st_dev, stat.st_ino),
            _ => Freed::Nothing,
        }
    }

    /// A close of what may have no name any more.
    pub fn by_close(fd: i32) -> Freed {
        match session().and_then(|_| sys::fstat(fd)).filter(is_regular) {
            Some(stat) if stat.st_nlink == 0 => Freed::Name(stat.st_dev, stat.st_ino),
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
        Freed::Blocks(stat.st_dev, stat.st_ino, held)
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
            Freed::Blocks(dev, ino, blocks) => credit(session, File { dev, ino }, blocks),
            Freed::Name(dev, ino) => {
                let file = File { dev, ino };
                if accounts(session, file).next().is_some() {
                    lost_name(session, file);
                }
            }
        }
    }
}

/// Gives all of a nameless file back, unless this process has it open: then when that ends.
fn lost_name(session: &Session, file: File) {
    let is_open = is_open_here(file);
    for (rule, place) in accounts(session, file) {
        // SAFETY: an account of the session.
        unsafe { keeper(place) }.store(if is_open { sys::getpid() } else { 0 }, Ordering::Relaxed);
        if !is_open {
            give_back(session, rule, place, u64::MAX);
        }
    }
}

fn is_open_here(file: File) -> bool {
    sys::any_descriptor(|fd| sys::fstat(fd).is_some_and(|stat| is_regular(&stat) && file_of(&stat) == file))
}

/// Before a quota is called exhausted: nameless files whose process has ended, or has closed them unseen, are given back.
#[cold]
fn sweep(session: &Session) {
    let (charges, room) = session.charges();
    for index in 0..room {
        // SAFETY: the index is below the room; these words are only used atomically, the rest does not change.
        unsafe {
            let place = charges.add(index);
            let pid = keeper(place).load(Ordering::Relaxed);
            let file = File { dev: (*place).dev, ino: (*place).ino };
            let is_over = match pid {
                0 => false,
                _ if pid == sys::getpid() => !is_open_here(file),
                _ => sys::kill(pid, 0) == -libc::ESRCH as isize,
            };
            if is_over {
                keeper(place).store(0, Ordering::Relaxed);
                give_back(session, (*place).rule as usize & 63, place, u64::MAX);
            }
        }
    }
}

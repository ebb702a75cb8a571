//! Paths as the kernel would name them, without allocation, without a descriptor of our own, and without much stack.

use crate::text::Text;
use crate::{clock, sys};
use chaos_table::decide::{HASH_START, hash_on};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Longest path that is told apart, as the kernel has it.
pub const PATH_MAX: usize = 4096;
/// As many links are followed as the kernel follows.
const MAX_LINKS: u32 = 40;
/// So many threads can look at paths at a time without mapping memory for it.
const DESKS: usize = 32;

/// A path.
pub type PathBuffer = Text<PATH_MAX>;

/// Room to work on paths; three of them would not fit on the stack of every signal handler.
pub struct Desk {
    /// The result.
    pub path: PathBuffer,
    rest: PathBuffer,
    link: PathBuffer,
    known: KnownDirectory,
    /// A link was followed on the way to `path`.
    linked: bool,
}

/// Where a directory was found last: resolving each component again would cost a system call each.
struct KnownDirectory {
    /// As it was named, from the root, with its last slash.
    named: Text<512>,
    /// Where that leads.
    is: Text<512>,
    /// A link was followed on the way there.
    linked: bool,
    /// Until then, on the coarse monotonic clock. A link that is changed meanwhile is seen late, by a tenth of a second.
    until_ns: u64,
    /// And as long as this is the number of [`RENAMES`].
    renames: u64,
}

const KNOWN_FOR_NS: u64 = 100_000_000;

/// Directories that were found to be no links: to look at each component of each path again would cost a system call
/// each. An entry is the upper bits of the hash of a whole path, and when it was found, in steps of half of
/// [`KNOWN_FOR_NS`]: it holds in that step and the next.
static NO_LINKS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
const STEP_BITS: u32 = 24;
const STEP_MASK: u64 = (1 << STEP_BITS) - 1;

/// How often the program has renamed something or made a link: what was known of names before holds no more.
static RENAMES: AtomicU64 = AtomicU64::new(0);

/// Forgets where directories were.
pub fn renamed() {
    RENAMES.fetch_add(1, Ordering::Relaxed);
}

/// The hash of a whole path, as names are now.
fn hash_of(path: &[u8]) -> u64 {
    hash_on(HASH_START ^ RENAMES.load(Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15), path)
}

/// The place of a path in [`NO_LINKS`], and what stands there if it was found in this step.
fn no_link_place(hash: u64, step: u64) -> (Option<&'static AtomicU64>, u64) {
    // The multiplication leaves the low bits poor.
    let mixed = hash ^ hash >> 29;
    (NO_LINKS.get(mixed as usize % NO_LINKS.len()), (mixed & !STEP_MASK) | (step & STEP_MASK))
}

fn is_no_link(hash: u64, step: u64) -> bool {
    let (place, now) = no_link_place(hash, step);
    let (_, before) = no_link_place(hash, step.wrapping_sub(1));
    place.is_some_and(|place| {
        let found = place.load(Ordering::Relaxed);
        found == now || found == before
    })
}

struct Place(UnsafeCell<Desk>);

// SAFETY: a place belongs to the thread that has set its bit in TAKEN.
unsafe impl Sync for Place {}

static PLACES: [Place; DESKS] = [const {
    Place(UnsafeCell::new(Desk {
        path: Text::EMPTY,
        rest: Text::EMPTY,
        link: Text::EMPTY,
        known: KnownDirectory { named: Text::EMPTY, is: Text::EMPTY, linked: false, until_ns: 0, renames: 0 },
        linked: false,
    }))
}; DESKS];
// Read in every fork child: beside what it reads anyway.
#[unsafe(link_section = ".data.chaos_start")]
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Lends a desk to `body`, its path empty. `None` when there is no memory at all: then nothing can be told of a path.
pub fn with_desk<R>(body: impl FnOnce(&mut Desk) -> R) -> Option<R> {
    for (index, place) in PLACES.iter().enumerate() {
        let bit = 1 << index;
        if TAKEN.load(Ordering::Relaxed) & bit == 0 && TAKEN.fetch_or(bit, Ordering::Acquire) & bit == 0 {
            // SAFETY: we have set the bit, and clear it when done.
            let desk = unsafe { &mut *place.0.get() };
            desk.path.truncate(0);
            let result = body(desk);
            TAKEN.fetch_and(!bit, Ordering::Release);
            return Some(result);
        }
    }
    let memory = sys::mmap(size_of::<Desk>(), -1)?;
    // SAFETY: fresh zeroed memory is an empty desk; it is unmapped once nobody uses it.
    unsafe {
        let result = body(&mut *memory.cast::<Desk>());
        sys::munmap(memory, size_of::<Desk>());
        Some(result)
    }
}

/// In a fork child: desks of threads that are not here any more are free.
pub fn free_desks() {
    // Looked at first: a store would copy the page for every child.
    if TAKEN.load(Ordering::Relaxed) != 0 {
        TAKEN.store(0, Ordering::Relaxed);
    }
}

impl Desk {
    /// The mapping around an address, its path as the result; the program's own is told by its executable.
    pub fn mapping(&mut self, address: usize) -> Option<(usize, usize)> {
        let Desk { path, rest, .. } = self;
        let mut found = None;
        rest.fill(|room| {
            found = crate::modules::find_mapping(address, room, |name| {
                path.push(name);
            });
            Some(0)
        });
        found
    }

    /// Makes `path` what the kernel says that a descriptor is: an absolute path, `socket:[...]`, `pipe:[...]`,
    /// `anon_inode:...`. False when it does not say.
    pub fn descriptor(&mut self, fd: i32) -> bool {
        let mut name = Text::<40>::EMPTY;
        name.push(b"/proc/self/fd/");
        name.push_number(fd.max(0) as u64);
        name.push(b"\0");
        let Ok(name) = CStr::from_bytes_with_nul(name.bytes()) else { return false };
        let known = self.path.fill(|room| sys::readlink(name, room).ok());
        if let Some(live) = self.path.bytes().strip_suffix(b" (deleted)") {
            let len = live.len();
            self.path.truncate(len);
        }
        known
    }

    /// Makes `path` the absolute path that opening `path` would reach, links followed as far as they exist, the last one
    /// only if `follow`; an empty one names the descriptor itself. False when it cannot be told (no /proc, too long, no
    /// string).
    ///
    /// # Safety
    /// `path` must be an argument of the program's that stays unchanged during its call.
    pub unsafe fn absolute(&mut self, dirfd: i32, path: *const c_char, follow: bool) -> bool {
        // SAFETY: the program's own argument of a call that is being made.
        let Some(path) = (unsafe { sys::string(path) }) else { return false };
        let path = path.to_bytes();
        self.path.truncate(0);
        self.linked = false;
        if path.first() != Some(&b'/') {
            let based = if dirfd == libc::AT_FDCWD { self.path.fill(sys::getcwd) } else { self.descriptor(dirfd) };
            if !based {
                return false;
            }
        }
        let split = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, last) = path.split_at(split);
        // What is no name of an entry is a way like any other.
        let entry = !follow && !matches!(last, b"" | b"." | b"..");
        let found = self.enter(directory) && if entry { self.name(last) } else { self.follow(last, None) };
        found && (!self.path.bytes().is_empty() || self.path.push(b"/"))
    }

    /// Whether what is at `path` has this very name for the kernel: no link led there, and it is in no tree of the kernel's.
    pub fn is_own_name(&self) -> bool {
        !self.linked && self.path.bytes().first() == Some(&b'/') && !is_kernel_tree(self.path.bytes())
    }

    /// Goes on from `path` to an entry of that directory, whatever it is.
    fn name(&mut self, entry: &[u8]) -> bool {
        if self.path.bytes() == b"/" {
            self.path.truncate(0);
        }
        self.path.push(b"/") && self.path.push(entry)
    }

    /// Goes on from `path` to a directory, by memory when it was the last one asked for.
    fn enter(&mut self, directory: &[u8]) -> bool {
        let mut named = Text::<512>::EMPTY;
        let kept = named.push(self.path.bytes()) && named.push(b"/") && named.push(directory);
        let now = clock::coarse();
        let renames = RENAMES.load(Ordering::Relaxed);
        let holds = now < self.known.until_ns && renames == self.known.renames;
        if kept && holds && named.bytes() == self.known.named.bytes() {
            self.path.truncate(0);
            self.linked = self.known.linked;
            return self.path.push(self.known.is.bytes());
        }
        if !self.follow(directory, Some(now)) {
            return false;
        }
        (self.known.linked, self.known.renames) = (self.linked, renames);
        self.known.named = named;
        self.known.is.truncate(0);
        let fits = kept && self.known.is.push(self.path.bytes());
        self.known.until_ns = if fits { now.saturating_add(KNOWN_FOR_NS) } else { 0 };
        true
    }

    /// Goes on from `path` along a part of a path; `now` (coarse, ns): all of it are directories, of which may be
    /// remembered that they are no links.
    fn follow(&mut self, part: &[u8], now: Option<u64>) -> bool {
        self.rest.truncate(0);
        self.rest.push(part) && self.walk(now.map(|now| now / (KNOWN_FOR_NS / 2)))
    }

    /// Goes on from `path` along `rest`, resolving `.`, `..` and symbolic links.
    fn walk(&mut self, step: Option<u64>) -> bool {
        let mut links = 0;
        let mut at = 0;
        if self.path.bytes() == b"/" {
            self.path.truncate(0);
        }
        // Of `path` as it stands.
        let mut hash = hash_of(self.path.bytes());
        while let Some((start, end)) = next_part(self.rest.bytes(), at) {
            at = end;
            let part = self.rest.bytes().get(start..end).unwrap_or(&[]);
            match part {
                b"." => continue,
                b".." => {
                    let parent = self.path.bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    self.path.truncate(parent);
                    hash = hash_of(self.path.bytes());
                    continue;
                }
                _ => {}
            }
            let before = self.path.bytes().len();
            if !(self.path.push(b"/") && self.path.push(part)) {
                return false;
            }
            hash = hash_on(hash_on(hash, b"/"), part);
            let is_known = step.is_some_and(|step| is_no_link(hash, step));
            if is_known || is_kernel_tree(self.path.bytes()) {
                continue;
            }
            match self.read_link() {
                Ok(()) => {}
                Err(libc::EINVAL) => {
                    if let Some(step) = step
                        && let (Some(place), entry) = no_link_place(hash, step)
                    {
                        place.store(entry, Ordering::Relaxed);
                    }
                    continue;
                }
                Err(_) => continue,
            }
            self.linked = true;
            links += 1;
            // What is left of the way comes behind where the link leads.
            let tail = self.rest.bytes().get(end..).unwrap_or(&[]);
            if links > MAX_LINKS || !self.link.push(tail) {
                return false;
            }
            std::mem::swap(&mut self.link, &mut self.rest);
            self.path.truncate(if self.rest.bytes().first() == Some(&b'/') { 0 } else { before });
            hash = hash_of(self.path.bytes());
            at = 0;
        }
        true
    }

    /// Makes `link` where `path` leads, when that is a symbolic link; else an errno, EINVAL for anything that is no link.
    fn read_link(&mut self) -> Result<(), i32> {
        if !self.path.push(b"\0") {
            return Err(libc::ENAMETOOLONG);
        }
        let length = self.path.bytes().len() - 1;
        let mut found = Err(libc::ENOENT);
        if let Ok(name) = CStr::from_bytes_with_nul(self.path.bytes()) {
            self.link.fill(|room| {
                found = sys::readlink(name, room);
                found.ok()
            });
        }
        self.path.truncate(length);
        found.map(|_| ())
    }
}

/// The next component of a path from `at` on: its start and end.
fn next_part(path: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = path.get(at..)?;
    let skip = rest.iter().position(|byte| *byte != b'/')?;
    let part = rest.get(skip..)?;
    let len = part.iter().position(|byte| *byte == b'/').unwrap_or(part.len());
    Some((at + skip, at + skip + len))
}

/// /proc, /sys and /dev are told by their own names: `/dev/stdin` is not the file behind it. Shared memory is files like
/// any other.
fn is_kernel_tree(path: &[u8]) -> bool {
    [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|tree| path.starts_with(tree)) && !path.starts_with(b"/dev/shm/")
}

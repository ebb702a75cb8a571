//! Which module (the program or one of its libraries) an address belongs to, and which rules want or spare it.
//!
//! The kernel's list of mappings says so without the loader's lock. What it said is remembered by range; a library that
//! is loaded in the place of another that was unloaded may be taken for it.

use crate::paths;
use crate::session::Session;
use crate::sys;
use chaos_table::decide::last_component;
use chaos_table::rule::flag;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// So many ranges are remembered; calls from others ask each time.
const REMEMBERED: usize = 128;

/// What the rules say of a caller.
#[derive(Clone, Copy)]
pub struct Standing {
    /// Rules whose `caller` it is.
    pub wanted: u64,
    /// Rules whose `not` names it.
    pub spared: u64,
}

impl Standing {
    /// Of a caller that no rule asks for.
    pub const ANY: Standing = Standing { wanted: u64::MAX, spared: 0 };
    /// Of a caller that cannot be told.
    const UNKNOWN: Standing = Standing { wanted: 0, spared: 0 };
}

/// A range of addresses; published by its end, which is 0 until then.
struct Range {
    first: AtomicUsize,
    end: AtomicUsize,
    wanted: AtomicU64,
    spared: AtomicU64,
    /// Of which [`EPOCH`] it knows the rules.
    epoch: AtomicU64,
}

static RANGES: [Range; REMEMBERED] = [const {
    Range {
        first: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        wanted: AtomicU64::new(0),
        spared: AtomicU64::new(0),
        epoch: AtomicU64::new(0),
    }
}; REMEMBERED];
/// How often [`outdated`] was called.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// Ranges that were claimed.
static CLAIMED: AtomicUsize = AtomicUsize::new(0);

/// There are more rules now, of which what is remembered says nothing.
pub fn outdated() {
    EPOCH.fetch_add(1, Ordering::SeqCst);
    CLAIMED.store(0, Ordering::Relaxed);
}

/// What the rules say of the module that holds this address.
pub fn standing(session: &Session, address: usize) -> Standing {
    let epoch = EPOCH.load(Ordering::SeqCst);
    let known = RANGES.iter().take(CLAIMED.load(Ordering::Relaxed)).find(|range| {
        let end = range.end.load(Ordering::Acquire);
        address < end && address >= range.first.load(Ordering::Relaxed) && range.epoch.load(Ordering::Relaxed) == epoch
    });
    match known {
        Some(range) => {
            Standing { wanted: range.wanted.load(Ordering::Relaxed), spared: range.spared.load(Ordering::Relaxed) }
        }
        None => ask(session, address, epoch),
    }
}

/// Asks the kernel, and remembers the answer.
#[cold]
#[inline(never)]
fn ask(session: &Session, address: usize, epoch: u64) -> Standing {
    let found = paths::with_desk(|desk| {
        let (first, end) = desk.mapping(address)?;
        let path = desk.path.bytes();
        let names = [last_component(path), path];
        let patterns = session.patterns();
        let mut standing = Standing::UNKNOWN;
        for (index, rule) in session.rules().iter().enumerate() {
            let wanted = rule.has(flag::CALLER) && patterns.process(rule.callers, &names);
            standing.wanted |= u64::from(wanted) << index;
            standing.spared |= u64::from(patterns.process(rule.except.callers, &names)) << index;
        }
        Some((first, end, standing))
    });
    let Some((first, end, standing)) = found.flatten() else { return Standing::UNKNOWN };
    let place = CLAIMED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < REMEMBERED).then_some(n + 1));
    if let Some(range) = place.ok().and_then(|place| RANGES.get(place)) {
        range.first.store(first, Ordering::Relaxed);
        range.wanted.store(standing.wanted, Ordering::Relaxed);
        range.spared.store(standing.spared, Ordering::Relaxed);
        range.epoch.store(epoch, Ordering::Relaxed);
        range.end.store(end, Ordering::Release);
    }
    standing
}

/// Finds the mapping around an address in /proc/self/maps: its range, and the path behind it by `path`.
///
/// `room` must hold some lines; a line that is longer than it ends the search.
pub fn find_mapping(address: usize, room: &mut [u8], mut path: impl FnMut(&[u8])) -> Option<(usize, usize)> {
    let fd = sys::open(c"/proc/self/maps", libc::O_RDONLY, 0).ok()?;
    let (mut at, mut found) = (0u64, None);
    loop {
        let n = sys::pread(fd, room, at);
        let read = room.get(..n).unwrap_or(&[]);
        let Some(whole) = read.iter().rposition(|byte| *byte == b'\n') else { break };
        let lines = read.get(..whole).unwrap_or(&[]).split(|byte| *byte == b'\n');
        for line in lines {
            if let Some((first, end, name)) = mapping(line)
                && (first..end).contains(&address)
            {
                path(name);
                found = Some((first, end));
            }
        }
        if found.is_some() {
            break;
        }
        at += whole as u64 + 1;
    }
    sys::close(fd);
    found
}

/// One line: `first-end perms offset device inode   path`.
fn mapping(line: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let range = std::str::from_utf8(fields.next()?).ok()?;
    let (first, end) = range.split_once('-')?;
    let name = fields.nth(4).unwrap_or(&[]).trim_ascii_start();
    Some((usize::from_str_radix(first, 16).ok()?, usize::from_str_radix(end, 16).ok()?, name))
}

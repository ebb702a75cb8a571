//! What each descriptor is, and which rules can match it.
//!
//! libc closes and opens descriptors where no hook sees it, so what is remembered here may only keep a call away from
//! the rules; before a fault is applied the kernel is asked again (`call.rs`). One word says which rules match, one
//! which would but for `protect`.

use crate::paths;
use crate::session::Session;
use crate::text::Text;
use crate::{connects, edges, moved, sys, tree};
use chaos_table::decide::{Peer, is_below};
use chaos_table::rule::{MAX_RULES, RULE_BITS, Rule, bytes_of, flag};
use chaos_table::session::Name;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors above are asked for in the kernel each time.
const REMEMBERED: usize = 4096;
/// The words hold something.
const KNOWN: u64 = 1 << 63;
/// The descriptor is a file, directory or block device.
const FILE: u64 = 1 << 62;
/// The descriptor is a socket.
const SOCKET: u64 = 1 << 61;

/// Which rules match a descriptor.
#[derive(Clone, Copy)]
pub struct Standing {
    /// Rules that match, with the kind in the high bits.
    matching: u64,
    /// Rules that would match but for `protect`.
    protected: u64,
}

impl Standing {
    /// Of the rules in `wanted`: those that match, and those that only `protect` keeps away.
    #[inline(always)]
    pub fn select(self, wanted: u64, only_files: u64, only_sockets: u64) -> (u64, u64) {
        let mut wanted = wanted;
        if self.matching & FILE == 0 {
            wanted &= !only_files;
        }
        if self.matching & SOCKET == 0 {
            wanted &= !only_sockets;
        }
        (wanted & self.matching & RULE_BITS, wanted & self.protected)
    }
}

struct Entry {
    matching: AtomicU64,
    protected: AtomicU64,
}

static TABLE: [Entry; REMEMBERED] =
    [const { Entry { matching: AtomicU64::new(0), protected: AtomicU64::new(0) } }; REMEMBERED];

/// The descriptor has another peer now.
#[inline]
pub fn changed(fd: i32) {
    unknown(fd);
    if !tree::in_vfork_child(crate::guard::thread()) {
        moved::forget(fd);
    }
}

#[inline]
fn unknown(fd: i32) {
    if let Some(entry) = usize::try_from(fd).ok().and_then(|fd| TABLE.get(fd)) {
        entry.matching.store(0, Ordering::Relaxed);
    }
}

/// Forgets a descriptor: it was closed, or is another thing now.
#[inline]
pub fn forget(fd: i32) {
    unknown(fd);
    // What a vfork child closes stays open in its parent, whose memory this is.
    if !tree::in_vfork_child(crate::guard::thread()) {
        moved::forget(fd);
        edges::forget(fd);
        connects::forget(fd);
    }
}

/// A file has another name now: no descriptor's path is known any more.
pub fn renamed() {
    for entry in &TABLE {
        // Looked at first: a store would take the line from other threads.
        if entry.matching.load(Ordering::Relaxed) != 0 {
            entry.matching.store(0, Ordering::Relaxed);
        }
    }
}

/// Forgets every descriptor from `first` to `last`.
pub fn forget_range(first: u32, last: u32) {
    for fd in first..=last.min(REMEMBERED as u32 - 1) {
        forget(fd as i32);
    }
}

/// Which rules match a descriptor, when that is remembered.
#[inline(always)]
pub fn known(fd: i32) -> Option<Standing> {
    let entry = usize::try_from(fd).ok().and_then(|fd| TABLE.get(fd))?;
    let matching = entry.matching.load(Ordering::Relaxed);
    (matching & KNOWN != 0).then(|| Standing { matching, protected: entry.protected.load(Ordering::Relaxed) })
}

/// Which rules match a descriptor, as far as is remembered; asks the kernel for what is not.
#[inline(always)]
pub fn standing(session: &Session, fd: i32) -> Standing {
    known(fd).unwrap_or_else(|| refresh(session, fd))
}

/// Asks the kernel what a descriptor is now, and remembers it.
#[cold]
#[inline(never)]
pub fn refresh(session: &Session, fd: i32) -> Standing {
    let standing = examine(session, fd);
    // A vfork child shares our memory but has descriptors of its own.
    if !tree::in_vfork_child(crate::guard::thread())
        && let Some(entry) = usize::try_from(fd).ok().and_then(|fd| TABLE.get(fd))
    {
        entry.protected.store(standing.protected, Ordering::Relaxed);
        entry.matching.store(standing.matching, Ordering::Relaxed);
    }
    standing
}

fn examine(session: &Session, fd: i32) -> Standing {
    let Some(stat) = sys::fstat(fd) else {
        // Not open: no rule matches, the real call will say so.
        return Standing { matching: 0, protected: 0 };
    };
    let all = RULE_BITS;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => {
            let mut address = PeerBuffer::new();
            let peer = address.of_socket(fd);
            Standing { matching: KNOWN | SOCKET | matching_peer(session, peer, all), protected: 0 }
        }
        mode => {
            let kind = match mode {
                libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => KNOWN | FILE,
                _ => KNOWN,
            };
            let selected = paths::with_desk(|desk| {
                desk.descriptor(fd);
                matching_path(session, desk.path.bytes(), all)
            });
            let (matching, protected) = selected.unwrap_or((0, 0));
            Standing { matching: kind | matching, protected }
        }
    }
}

/// Of the rules in `wanted`: those whose path selector matches, and those that only `protect` keeps away.
pub fn matching_path(session: &Session, path: &[u8], wanted: u64) -> (u64, u64) {
    let patterns = session.patterns();
    let absolute = path.first() == Some(&b'/');
    let guarded = absolute && is_protected(session, path);
    let (mut matching, mut protected) = (0, 0);
    for (index, rule) in session.rules().iter().enumerate().take(MAX_RULES) {
        let bit = 1 << index;
        if wanted & bit == 0
            || rule.has(flag::PEER)
            || (rule.has(flag::PATH) && !(absolute && patterns.path(rule.paths, path)))
            || (absolute && patterns.path(rule.except.paths, path))
        {
            continue;
        }
        if guarded && rule.has(flag::PROTECTED) {
            protected |= bit;
        } else {
            matching |= bit;
        }
    }
    (matching, protected)
}

/// Of the rules in `wanted`: those whose `not` names this path.
pub fn spared_path(session: &Session, path: &[u8], wanted: u64) -> u64 {
    let patterns = session.patterns();
    spared_by(session, wanted, |rule| path.first() == Some(&b'/') && patterns.path(rule.except.paths, path))
}

/// Of the rules in `wanted`: those whose `not` names what this descriptor is.
pub fn spared(session: &Session, fd: i32, wanted: u64) -> u64 {
    if spared_by(session, wanted, |_| true) == 0 {
        return 0;
    }
    let mut address = PeerBuffer::new();
    let peer = address.of_socket(fd);
    if !matches!(peer, Peer::Unknown) {
        let hosts = peer.address().map_or(0, |address| hosts_of(session, &address));
        return spared_by(session, wanted, |rule| session.patterns().peer(rule.except.peers, peer, hosts));
    }
    let spared = paths::with_desk(|desk| {
        desk.descriptor(fd);
        spared_path(session, desk.path.bytes(), wanted)
    });
    spared.unwrap_or(0)
}

/// Of the rules in `wanted` that have a `not`: those for which `is_spared` holds.
fn spared_by(session: &Session, wanted: u64, is_spared: impl Fn(&Rule) -> bool) -> u64 {
    session.rules().iter().enumerate().take(MAX_RULES).fold(0, |bits, (index, rule)| {
        let spared = wanted & (1 << index) != 0 && rule.has(flag::EXCEPT) && is_spared(rule);
        bits | (u64::from(spared) << index)
    })
}

/// Whether `protect` leaves a path alone: by its globs, or because the executable is or owns it. The system's and the
/// runtimes' globs spare the user's working directory.
pub fn is_protected(session: &Session, path: &[u8]) -> bool {
    let (protect, work_dir) = session.protect();
    if protect.count == 0 {
        return false;
    }
    let patterns = session.patterns();
    if path == tree::me().executable.bytes() {
        return true;
    }
    let below_work = is_below(path, bytes_of(patterns.text, work_dir));
    let first = protect.first as usize;
    let globs = patterns.matchers.get(first..first.saturating_add(protect.count as usize)).unwrap_or(&[]);
    let by_glob = globs
        .iter()
        .any(|matcher| (!below_work || matcher.spares_work_dir == 0) && patterns.path_matcher(matcher, path));
    by_glob || (!below_work && in_installation(tree::me().executable.bytes(), path))
}

/// Whether a path is library code beside an executable: for /opt/x/bin/tool, /opt/x/lib, lib64 or share and what lies there.
fn in_installation(executable: &[u8], path: &[u8]) -> bool {
    let mut parts = executable.rsplitn(3, |byte| *byte == b'/');
    let (Some(_), Some(b"bin" | b"sbin"), Some(prefix)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if prefix.is_empty() {
        return false;
    }
    path.strip_prefix(prefix).is_some_and(|rest| {
        [&b"/lib"[..], b"/lib64", b"/share", b"/include"]
            .iter()
            .any(|dir| rest.strip_prefix(*dir).is_some_and(|below| matches!(below.first(), None | Some(b'/'))))
    })
}

/// Of the rules in `wanted`: those whose peer selector matches.
pub fn matching_peer(session: &Session, peer: Peer<'_>, wanted: u64) -> u64 {
    let patterns = session.patterns();
    let hosts = peer.address().map_or(0, |address| hosts_of(session, &address));
    let mut matching = 0;
    for (index, rule) in session.rules().iter().enumerate().take(MAX_RULES) {
        let bit = 1 << index;
        if wanted & bit != 0
            && !rule.has(flag::PATH)
            && (!rule.has(flag::PEER) || patterns.peer(rule.peers, peer, hosts))
            && !patterns.peer(rule.except.peers, peer, hosts)
        {
            matching |= bit;
        }
    }
    matching
}

/// A socket address and the text of a unix path.
pub struct PeerBuffer {
    address: libc::sockaddr_storage,
    unix: Text<112>,
}

impl PeerBuffer {
    /// An empty one.
    pub fn new() -> PeerBuffer {
        // SAFETY: an all-zero sockaddr_storage is valid (AF_UNSPEC).
        PeerBuffer { address: unsafe { std::mem::zeroed() }, unix: Text::EMPTY }
    }

    /// The peer of a socket; for one that has none (it listens), its own address.
    pub fn of_socket(&mut self, fd: i32) -> Peer<'_> {
        let Some(len) =
            sys::socket_name(fd, false, &mut self.address).or_else(|| sys::socket_name(fd, true, &mut self.address))
        else {
            return Peer::Unknown;
        };
        self.parse(len)
    }

    /// The peer that a program names.
    ///
    /// # Safety
    /// `address` must be an argument of the program's that stays as it is during its call.
    pub unsafe fn given(&mut self, address: *const libc::sockaddr, len: u32) -> Peer<'_> {
        let len = (len as usize).min(size_of::<libc::sockaddr_storage>());
        if !sys::is_readable(address.cast(), len) {
            return Peer::Unknown;
        }
        // SAFETY: both are valid for `len` bytes; the buffer is ours.
        unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut self.address).cast(), len) };
        self.parse(len)
    }

    fn parse(&mut self, len: usize) -> Peer<'_> {
        let at = &raw const self.address;
        // SAFETY: the storage is large and aligned enough for every family; only what `len` covers is looked at.
        unsafe {
            match i32::from(self.address.ss_family) {
                libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                    let v4 = &*at.cast::<libc::sockaddr_in>();
                    Peer::V4(v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port))
                }
                libc::AF_INET6 if len >= 24 => {
                    let v6 = &*at.cast::<libc::sockaddr_in6>();
                    Peer::v6(v6.sin6_addr.s6_addr, u16::from_be(v6.sin6_port))
                }
                libc::AF_UNIX if len > 2 => {
                    let bytes = std::slice::from_raw_parts(at.cast::<u8>().add(2), (len - 2).min(108));
                    match bytes.split_first() {
                        Some((0, name)) => {
                            self.unix.push(b"@");
                            self.unix.push(name);
                        }
                        _ => {
                            self.unix.push(bytes.split(|byte| *byte == 0).next().unwrap_or(&[]));
                        }
                    }
                    Peer::Unix(self.unix.bytes())
                }
                _ => Peer::Unknown,
            }
        }
    }
}

/// The bits of host patterns that were remembered for an address.
fn hosts_of(session: &Session, address: &[u8; 16]) -> u64 {
    find_name(session, address, |name, ready| {
        if ready {
            // SAFETY: inside the mapping; ready names are only changed atomically in `hosts`.
            unsafe { AtomicU64::from_ptr(&raw mut (*name).hosts) }.load(Ordering::Relaxed)
        } else {
            0
        }
    })
}

/// Remembers that a name which matched host patterns has this address.
pub fn remember(session: &Session, address: &[u8; 16], hosts: u64) {
    find_name(session, address, |name, ready| {
        // SAFETY: inside the mapping; a free place is claimed by its state word before it is written.
        unsafe {
            let state = AtomicU64::from_ptr(&raw mut (*name).state);
            if !ready {
                if state.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    return 0;
                }
                (*name).address = *address;
            }
            AtomicU64::from_ptr(&raw mut (*name).hosts).fetch_or(hosts, Ordering::Relaxed);
            state.store(2, Ordering::Release);
        }
        0
    });
}

/// Calls `found` with the place of an address (true), or the free place where it would go (false).
fn find_name(session: &Session, address: &[u8; 16], found: impl FnOnce(*mut Name, bool) -> u64) -> u64 {
    let (names, room) = session.names();
    let hash = address
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for step in 0..room.min(64) {
        // SAFETY: the index is below the room; the state is only used atomically, the address is read once ready.
        unsafe {
            let name = names.add((hash as usize).wrapping_add(step) & (room - 1));
            match AtomicU64::from_ptr(&raw mut (*name).state).load(Ordering::Acquire) {
                0 => return found(name, false),
                2 if (*name).address == *address => return found(name, true),
                _ => {}
            }
        }
    }
    0
}

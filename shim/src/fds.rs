//! What each descriptor is, and which rules can match it.
//!
//! libc closes and opens descriptors where no hook sees it, so what is remembered here may only keep a call away from
//! the rules; before a fault is applied the kernel is asked again (`call.rs`). One word says which rules match, one
//! which would but for `protect`.

use crate::guard::{self, Opening};
use crate::paths;
use crate::session::Session;
use crate::text::Text;
use crate::{connects, edges, init, moved, sys, tree, watch};
use chaos_table::decide::{HASH_START, Peer, hash_on};
use chaos_table::matching::Matching;
use chaos_table::rule::RULE_BITS;
use chaos_table::session::Name;
use std::ffi::c_char;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors above are asked for in the kernel each time.
pub const REMEMBERED: usize = 4096;
/// The first descriptor that is no standard stream.
pub const FIRST_PLAIN: usize = 3;
/// The words hold something.
const KNOWN: u64 = 1 << 63;
/// The descriptor is a file, directory or block device.
const FILE: u64 = 1 << 62;
/// The descriptor is a socket.
const SOCKET: u64 = 1 << 61;
/// There are rules that `protect` keeps away.
const SPARED: u64 = 1 << 60;
const _: () = assert!(SPARED & RULE_BITS == 0);

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

impl Entry {
    fn store(&self, standing: Standing) {
        self.protected.store(standing.protected, Ordering::Relaxed);
        let spared = if standing.protected == 0 { 0 } else { SPARED };
        self.matching.store(standing.matching | spared, Ordering::SeqCst);
    }
}

/// What is remembered of one descriptor; the entries look at its first word.
#[repr(C)]
pub struct Entry {
    matching: AtomicU64,
    protected: AtomicU64,
}

/// Bits of the size of an [`Entry`].
pub const ENTRY_BITS: u32 = 4;
const _: () = assert!(size_of::<Entry>() == 1 << ENTRY_BITS);

pub static TABLE: [Entry; REMEMBERED] =
    [const { Entry { matching: AtomicU64::new(0), protected: AtomicU64::new(0) } }; REMEMBERED];

/// How often [`outdated`] was called.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// The descriptor has another peer now.
#[inline]
pub fn changed(fd: i32) {
    unknown(fd);
    if !tree::in_vfork_child(guard::thread()) {
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
    if !tree::in_vfork_child(guard::thread()) {
        moved::forget(fd);
        edges::forget(fd);
        connects::forget(fd);
        watch::forget(fd);
    }
}

/// A file has just been opened under this name: what can match it follows from the name, which is cheaper than to ask
/// the kernel for the descriptor's own path. Where that could differ (links, the kernel's own trees, a file without a
/// name) nothing is remembered.
#[cold]
#[inline(never)]
pub fn opened(session: &Session, fd: i32, dirfd: i32, path: *const c_char) {
    let thread = guard::thread();
    let asked = thread.opening.take();
    let entry = usize::try_from(fd).ok().and_then(|fd| TABLE.get(fd));
    // While a runtime boots nobody is told of closes.
    let is_followed = session.needs_path() != 0 && !init::is_waiting() && !tree::in_vfork_child(thread);
    let Some(entry) = entry.filter(|_| is_followed) else { return };
    let is_plain = |stat: &libc::stat| {
        let kind = stat.st_mode & libc::S_IFMT;
        (kind == libc::S_IFREG || kind == libc::S_IFDIR) && stat.st_nlink > 0
    };
    // Also where no rule is about that name: an O_TMPFILE opens another file than it names.
    if !sys::fstat(fd).is_some_and(|stat| is_plain(&stat)) {
        return;
    }
    let is_asked = asked.is_known && asked.epoch == epoch();
    let named = if is_asked { asked } else { leading_to(session, dirfd, path) };
    if named.is_known {
        entry.store(Standing { matching: KNOWN | FILE | named.matching, protected: named.protected });
        forget_if_outdated(entry, named.epoch);
    }
}

/// Forgets what was found out while rules were added.
fn forget_if_outdated(entry: &Entry, epoch: u64) {
    if self::epoch() != epoch {
        entry.matching.store(0, Ordering::Relaxed);
    }
}

/// How often rules were added: what was found out before says nothing of them.
fn epoch() -> u64 {
    EPOCH.load(Ordering::SeqCst)
}

/// The rules on what opening a path leads to, and whether the descriptor will have that name.
pub fn leading_to(session: &Session, dirfd: i32, path: *const c_char) -> Opening {
    let epoch = epoch();
    let found = paths::with_desk(|desk| {
        // SAFETY: the program's own argument of an open.
        let known = unsafe { desk.absolute(dirfd, path, true) };
        let (matching, protected) = matching_path(session, if known { desk.path.bytes() } else { b"" }, RULE_BITS);
        Opening { is_known: known && desk.is_own_name(), matching, protected, epoch }
    });
    found.unwrap_or_default()
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

/// There are more rules now, of which what is remembered says nothing.
pub fn outdated() {
    EPOCH.fetch_add(1, Ordering::SeqCst);
    renamed();
}

/// Forgets every descriptor from `first` to `last`.
pub fn forget_range(first: u32, last: u32) {
    for fd in first..=last.min(REMEMBERED as u32 - 1) {
        forget(fd as i32);
    }
}

/// What is remembered of a descriptor on which rules of any kind act alike: no standard stream, and nothing of it is
/// protected. 0: nothing.
pub fn plainly(fd: i32) -> Option<u64> {
    let entry = usize::try_from(fd).ok().filter(|fd| *fd >= FIRST_PLAIN).and_then(|fd| TABLE.get(fd))?;
    let matching = entry.matching.load(Ordering::Relaxed);
    (matching & SPARED == 0).then_some(matching)
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
    let epoch = epoch();
    let standing = examine(session, fd);
    // A vfork child shares our memory but has descriptors of its own.
    if !tree::in_vfork_child(guard::thread())
        && let Some(entry) = usize::try_from(fd).ok().and_then(|fd| TABLE.get(fd))
    {
        entry.store(standing);
        forget_if_outdated(entry, epoch);
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
                if session.needs_path() != 0 {
                    desk.descriptor(fd);
                }
                matching_path(session, desk.path.bytes(), all)
            });
            let (matching, protected) = selected.unwrap_or((0, 0));
            Standing { matching: kind | matching, protected }
        }
    }
}

/// The rules as this process sees them.
fn matching(session: &Session) -> Matching<'_> {
    let (protect, work_dir) = session.protect();
    let executable = tree::me().executable.bytes();
    Matching { rules: session.rules(), patterns: session.patterns(), protect, work_dir, executable }
}

/// Of the rules in `wanted`: those whose path selector matches, and those that only `protect` keeps away.
pub fn matching_path(session: &Session, path: &[u8], wanted: u64) -> (u64, u64) {
    matching(session).path(path, wanted)
}

/// Of the rules in `wanted`: those whose `not` names this path.
pub fn spared_path(session: &Session, path: &[u8], wanted: u64) -> u64 {
    matching(session).spared_path(path, wanted)
}

/// Of the rules in `wanted`: those whose `not` names what this descriptor is.
pub fn spared(session: &Session, fd: i32, wanted: u64) -> u64 {
    let matching = matching(session);
    if matching.spared_by(wanted, |_| true) == 0 {
        return 0;
    }
    let mut address = PeerBuffer::new();
    let peer = address.of_socket(fd);
    if !matches!(peer, Peer::Unknown) {
        let hosts = peer.address().map_or(0, |address| hosts_of(session, &address));
        return matching.spared_by(wanted, |rule| matching.patterns.peer(rule.except.peers, peer, hosts));
    }
    let spared = paths::with_desk(|desk| {
        desk.descriptor(fd);
        matching.spared_path(desk.path.bytes(), wanted)
    });
    spared.unwrap_or(0)
}

/// Whether `protect` leaves a path alone.
pub fn is_protected(session: &Session, path: &[u8]) -> bool {
    matching(session).is_protected(path)
}

/// Of the rules in `wanted`: those whose peer selector matches.
pub fn matching_peer(session: &Session, peer: Peer<'_>, wanted: u64) -> u64 {
    let hosts = peer.address().map_or(0, |address| hosts_of(session, &address));
    matching(session).peer(peer, hosts, wanted)
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

    /// The end of a connection that tells it: the peer, or where a peer has called this end that.
    pub fn of_connection(&mut self, fd: i32) -> Peer<'_> {
        let own = sys::socket_name(fd, true, &mut self.address).map_or(0, |len| self.parse(len).port());
        if self.of_socket(fd).has_called(own)
            && let Some(len) = sys::socket_name(fd, true, &mut self.address)
        {
            return self.parse(len);
        }
        self.of_socket(fd)
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
        self.unix = Text::EMPTY;
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
pub fn hosts_of(session: &Session, address: &[u8; 16]) -> u64 {
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
    let hash = hash_on(HASH_START, address);
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

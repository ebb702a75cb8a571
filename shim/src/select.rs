//! Which rules match what a call acts on, and which only `protect` keeps away.

use crate::fds::{self, PeerBuffer};
use crate::guard;
use crate::modules;
use crate::paths;
use crate::session::Session;
use crate::text::Text;
use crate::tree;
use chaos_table::calls::Op;
use chaos_table::rule::flag;
use std::ffi::{CStr, c_char};

/// What a call acts on, as its hook knows it.
#[derive(Clone, Copy)]
pub enum Target {
    /// A descriptor.
    Fd(i32),
    /// Where a path leads, relative to a directory descriptor: a last link is followed.
    Path(i32, *const c_char),
    /// What stands under a path: a last link itself.
    Entry(i32, *const c_char),
    /// Two entries, the new one last: rename and link. Rules match either.
    Entries((i32, *const c_char), (i32, *const c_char)),
    /// Two descriptors that data moves between, where it goes first. Rules match either.
    Fds(i32, i32),
    /// A peer, for connect: socket, address, length.
    Peer(i32, *const libc::sockaddr, u32),
    /// A host name.
    Name(*const c_char),
    /// An allocation.
    Memory,
    /// A program to be started.
    Program(*const c_char),
    /// A failure point of the program's own.
    Point(*const c_char),
    /// A wait for readiness: for how many ns (`u64::MAX`: without end), under which signal mask (NULL: as it is).
    Wait(u64, *const libc::sigset_t),
    /// Nothing that a selector could name.
    Nothing,
}

/// Which of the wanted rules match what the call acts on, and which only `protect` keeps away. `amount` is the number of
/// bytes that the call asks for.
#[inline(always)]
pub fn select(session: &Session, op: Op, wanted: u64, target: &Target, amount: u64) -> (u64, u64) {
    let wanted = if wanted & session.picky() == 0 { wanted } else { pick(session, wanted, target, amount) };
    match *target {
        Target::Fd(fd) => select_fd(session, op, wanted, fd),
        Target::Fds(to, from) => select_ends(session, op, wanted, to, from),
        Target::Path(dirfd, path) if op == Op::Open => select_opened(session, wanted, (dirfd, path)),
        Target::Path(dirfd, path) => select_path(session, wanted, (dirfd, path), true),
        Target::Entry(dirfd, path) => select_path(session, wanted, (dirfd, path), false),
        Target::Entries(old, new) => select_entries(session, wanted, old, new),
        Target::Peer(_, address, len) => {
            let mut buffer = PeerBuffer::new();
            // SAFETY: the program's own arguments of connect; a bad pointer faults here as it would in the kernel's copy.
            let peer = unsafe { buffer.given(address, len) };
            (fds::matching_peer(session, peer, wanted), 0)
        }
        Target::Name(name) => (select_name(session, wanted, name), 0),
        Target::Memory => (if crate::init::may_fail_allocation(guard::thread().caller.get()) { wanted } else { 0 }, 0),
        Target::Point(name) => (select_point(session, wanted, name), 0),
        Target::Program(_) | Target::Wait(..) | Target::Nothing => (wanted, 0),
    }
}

#[cold]
#[inline(never)]
fn select_point(session: &Session, wanted: u64, name: *const c_char) -> u64 {
    // SAFETY: the program's own argument, a C string.
    let name = if name.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    let patterns = session.patterns();
    session.rules().iter().enumerate().fold(0, |bits, (index, rule)| {
        let matches = !rule.has(flag::POINT) || patterns.process(rule.points, &[name]);
        bits | wanted & (u64::from(matches) << index)
    })
}

/// What holds of a call that acts on two things: a rule that may hit one of them hits the call, unless its `not` names one
/// of them.
fn either(one: (u64, u64), other: (u64, u64), spared: u64) -> (u64, u64) {
    let hit = (one.0 | other.0) & !spared;
    (hit, (one.1 | other.1) & !hit & !spared)
}

#[cold]
#[inline(never)]
fn select_ends(session: &Session, op: Op, wanted: u64, to: i32, from: i32) -> (u64, u64) {
    let ends = [to, from].map(|fd| select_fd(session, op, wanted, fd));
    let [one, other] = ends;
    either(one, other, fds::spared(session, to, wanted) | fds::spared(session, from, wanted))
}

#[cold]
#[inline(never)]
fn select_entries(session: &Session, wanted: u64, old: (i32, *const c_char), new: (i32, *const c_char)) -> (u64, u64) {
    let spared = [old, new].map(|(dirfd, path)| {
        let spared = paths::with_desk(|desk| {
            // SAFETY: the program's own argument.
            let known = unsafe { desk.absolute(dirfd, path, false) };
            if known { fds::spared_path(session, desk.path.bytes(), wanted) } else { 0 }
        });
        spared.unwrap_or(0)
    });
    let [one, other] = spared;
    either(select_path(session, wanted, new, false), select_path(session, wanted, old, false), one | other)
}

#[inline(always)]
fn select_fd(session: &Session, op: Op, wanted: u64, fd: i32) -> (u64, u64) {
    let wanted = if (0..3).contains(&fd) { wanted & session.std_fds() } else { wanted };
    let asking = wanted & session.needs_fd();
    if asking == 0 {
        return (wanted, 0);
    }
    let standing = fds::standing(session, fd);
    let (hit, protected) = standing.select(asking, session.only_files(op), session.only_sockets(op));
    ((wanted ^ asking) | hit, protected)
}

/// Of the rules in `wanted`, those whose descriptors, sizes and callers do not speak against this call.
#[cold]
#[inline(never)]
fn pick(session: &Session, wanted: u64, target: &Target, amount: u64) -> u64 {
    let callers = if wanted & session.asks_caller() == 0 {
        modules::Standing::ANY
    } else {
        modules::standing(session, guard::thread().caller.get())
    };
    let fds = match *target {
        Target::Fd(fd) => [fd, fd],
        Target::Fds(to, from) => [to, from],
        _ => [-1, -1],
    };
    let own = if wanted & session.owned() == 0 { 0 } else { tree::owner(guard::thread()) };
    let any_in = |first, last| fds.iter().any(|fd| (first..=last).contains(fd));
    session.rules().iter().enumerate().fold(wanted, |bits, (index, rule)| {
        let (bit, except) = (1 << index, &rule.except);
        let is_own = rule.owner == 0 || (rule.owner == own && rule.enabled != 0);
        let fits = is_own
            && (!rule.has(flag::FD) || any_in(rule.fd_first, rule.fd_last))
            && (!rule.has(flag::SIZE) || (rule.size_first..=rule.size_last).contains(&amount))
            && (!rule.has(flag::CALLER) || callers.wanted & bit != 0);
        let spared = rule.has(flag::EXCEPT)
            && (any_in(except.fd_first, except.fd_last)
                || (except.size_first..=except.size_last).contains(&amount)
                || (except.callers.count != 0 && callers.spared & bit != 0));
        if fits && !spared { bits } else { bits & !bit }
    })
}

#[cold]
#[inline(never)]
fn select_path(session: &Session, wanted: u64, (dirfd, path): (i32, *const c_char), follow: bool) -> (u64, u64) {
    let selected = paths::with_desk(|desk| {
        // SAFETY: the program's own argument.
        let known = unsafe { desk.absolute(dirfd, path, follow) };
        fds::matching_path(session, if known { desk.path.bytes() } else { b"" }, wanted)
    });
    selected.unwrap_or((0, 0))
}

/// As [`select_path`]; what holds of the path will hold of the descriptor, see [`fds::opened`].
#[cold]
#[inline(never)]
fn select_opened(session: &Session, wanted: u64, (dirfd, path): (i32, *const c_char)) -> (u64, u64) {
    let found = fds::leading_to(session, dirfd, path);
    guard::thread().opening.set(found);
    (found.matching & wanted, found.protected & wanted)
}

#[cold]
#[inline(never)]
fn select_name(session: &Session, wanted: u64, name: *const c_char) -> u64 {
    let name = if name.is_null() {
        &b""[..]
    } else {
        // SAFETY: the program's own argument, a C string.
        unsafe { CStr::from_ptr(name) }.to_bytes()
    };
    let lower = lower_case(name);
    let (patterns, name) = (session.patterns(), lower.bytes());
    session.rules().iter().enumerate().fold(0, |bits, (index, rule)| {
        let matches = wanted & (1 << index) != 0
            && !name.is_empty()
            && (!rule.has(flag::PEER) || patterns.host(rule.peers, name))
            && !patterns.host(rule.except.peers, name);
        bits | (u64::from(matches) << index)
    })
}

/// A host name as patterns are written. Longer than a name can be: none.
pub fn lower_case(name: &[u8]) -> Text<256> {
    let mut lower = Text::EMPTY;
    for byte in name {
        if !lower.push(&[byte.to_ascii_lowercase()]) {
            return Text::EMPTY;
        }
    }
    lower
}

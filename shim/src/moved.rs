//! How many bytes have moved over each connection, for rules that cut one after so many.
//!
//! Counted in this process, by its descriptor, from the first call that such a rule is on. A rule is asked once for each
//! connection, when its bytes have moved; so its rate and counters are about connections.

use crate::session::Session;
use crate::{edges, fds, real, sys, tree};
use chaos_table::calls::Op;
use chaos_table::rule::{RULE_BITS, Rule};
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections with descriptors above are not counted, and so not cut.
const REMEMBERED: usize = 4096;

struct Connection {
    bytes: AtomicU64,
    /// Rules that have been asked, as bits.
    asked: AtomicU64,
}

static CONNECTIONS: [Connection; REMEMBERED] =
    [const { Connection { bytes: AtomicU64::new(0), asked: AtomicU64::new(0) } }; REMEMBERED];

fn of(fd: i32) -> Option<&'static Connection> {
    usize::try_from(fd).ok().and_then(|fd| CONNECTIONS.get(fd))
}

/// Forgets a connection: its descriptor was closed, or has another peer now.
#[inline]
pub fn forget(fd: i32) {
    if let Some(connection) = of(fd)
        && connection.bytes.load(Ordering::Relaxed) | connection.asked.load(Ordering::Relaxed) != 0
    {
        connection.bytes.store(0, Ordering::Relaxed);
        connection.asked.store(0, Ordering::Relaxed);
    }
}

/// Whether bytes are counted at this operation.
#[inline(always)]
pub fn is_counted(session: &Session, op: Op) -> bool {
    real::word(op as usize) & session.metered() & RULE_BITS & tree::me().rules() != 0
}

/// Adds what a call has moved, and gives it back.
pub fn add(fd: i32, moved: isize) -> isize {
    if let (Some(connection), Ok(moved)) = (of(fd), u64::try_from(moved)) {
        connection.bytes.fetch_add(moved, Ordering::Relaxed);
    }
    moved
}

/// Bytes that may still move over a connection before the limit.
pub fn left(fd: i32, limit: u64) -> u64 {
    of(fd).map_or(u64::MAX, |connection| limit.saturating_sub(connection.bytes.load(Ordering::Relaxed)))
}

/// Whether a rule's turn has come: its bytes have moved, or a call that moves all of its `amount` would pass them by. True
/// once for each connection.
pub fn is_due(rule: &Rule, index: usize, op: Op, fd: i32, amount: u64) -> bool {
    let Some(connection) = of(fd) else { return false };
    let left = left(fd, rule.limit);
    if left != 0 && (left >= amount || !is_blocking_write(op, fd, 0)) {
        return false;
    }
    connection.asked.fetch_or(1 << index, Ordering::Relaxed) & (1 << index) == 0
}

/// How much of a request may move now so that no rule's limit is passed by. What a blocking write passes by is cut in its
/// midst instead, since it takes all.
pub fn allowed(session: &Session, op: Op, fd: i32, len: usize, flags: i32) -> usize {
    let Some(connection) = of(fd) else { return len };
    let wanted = real::word(op as usize) & session.metered() & RULE_BITS & tree::me().rules();
    let wanted = wanted & !connection.asked.load(Ordering::Relaxed);
    let (wanted, _) = fds::standing(session, fd).select(wanted, session.only_files(op), session.only_sockets(op));
    let limits = session.rules().iter().enumerate().filter(|(index, _)| wanted & (1 << index) != 0);
    let nearest = limits.map(|(_, rule)| left(fd, rule.limit)).filter(|left| *left != 0).min().unwrap_or(u64::MAX);
    let takes_all = flags & libc::MSG_WAITALL != 0 || is_blocking_write(op, fd, flags);
    match usize::try_from(nearest) {
        Ok(nearest) if nearest < len && !takes_all && edges::rearm(fd) => nearest,
        _ => len,
    }
}

/// Whether a call moves all that it was given.
pub fn is_blocking_write(op: Op, fd: i32, flags: i32) -> bool {
    matches!(op, Op::Write | Op::Send | Op::Sendto)
        && flags & libc::MSG_DONTWAIT == 0
        && sys::status_flags(fd) & libc::O_NONBLOCK == 0
}

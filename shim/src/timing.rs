//! How long calls take, from where the program makes them until it has their result: of those that a rule matches, hit or
//! not, and only in a session that counts times. Only calls on operations that are watched come here.

use crate::clock;
use crate::guard::{Token, thread};
use crate::session;
use chaos_table::calls::Op;
use chaos_table::latency::{LONGEST, SUM, bucket};
use std::sync::atomic::Ordering::Relaxed;

/// A call that is being timed: when it began, in ns above the lowest bit, which says whether a rule had matched the call
/// around it. 0: it is not timed.
#[derive(Clone, Copy)]
pub struct Timing(u64);

/// A call on a watched operation begins.
#[inline(never)]
pub fn begin(op: Op) -> Timing {
    let session = session::armed();
    if !session.times(op) {
        return Timing(0);
    }
    let Some(token) = Token::enter() else { return Timing(0) };
    let outer = token.thread.matched.replace(false);
    let now = clock::stamp(token.thread);
    token.leave();
    Timing(now << 1 | u64::from(outer))
}

/// It has returned.
#[inline(never)]
pub fn end(timing: Timing, op: Op, result: i64) {
    let Timing(began @ 1..) = timing else { return };
    let matched = thread().matched.replace(began & 1 != 0);
    // The child of a fork returns from the same call: its parent counts it.
    if !matched || op == Op::Fork && result == 0 {
        return;
    }
    let Some(token) = Token::enter() else { return };
    let took = clock::stamp(token.thread).saturating_sub(began >> 1);
    let session = session::armed();
    let word = |word| session.latency(op, word);
    if let (Some(count), Some(longest), Some(sum)) = (word(bucket(took)), word(LONGEST), word(SUM)) {
        count.fetch_add(1, Relaxed);
        longest.fetch_max(took, Relaxed);
        sum.fetch_add(took, Relaxed);
    }
    token.leave();
}

//! The book of episodes: what the tree has met and not yet got over. It lies in the session, is shared by every process
//! of the tree and by both engines, and is read and written by atomics alone: no lock, no allocation, no unsafe code.
//!
//! A fault that a later success can prove to be over opens an episode; more faults with the same key go on with it. A
//! call on an operation with open episodes is watched: if it succeeds on the same resource, or on another member of the
//! role, whoever makes the compare-and-swap closes the episode and publishes a RECOVERY. What a program does next with
//! that resource is followed for a few calls, since that tells a circuit breaker that closes again.
//!
//! A place is FREE, CLAIMED by one writer, OPEN, or AFTER its recovery; its state names the injection that opened it, so
//! that a place that was used again is never taken for the old one. A process that is killed while it holds a place
//! leaves it CLAIMED: one episode fewer can be watched.

use crate::calls::{Failure, Op, Subject};
use crate::decide::{combine, mix};
use crate::record::MAX_TEXT;
use crate::rule::bits;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Episodes that can be open at a time; further ones are told as unwatched.
pub const EPISODES: usize = 64;
/// Calls on a resource that are followed after its recovery ...
pub const CALLS_AFTER: u64 = 4;
/// ... for so many ns at most.
pub const FOLLOWED_NS: u64 = 1_000_000_000;
/// Attempts of an episode that are told one by one; then every time that their number has doubled.
const TOLD: u64 = 64;

const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const OPEN: u64 = 2;
const AFTER: u64 = 3;
const STATE: u64 = 3;

/// Bits of [`Fault::flags`].
pub mod flag {
    /// The fault ends its process: another one of the same program has to come back.
    pub const RETURNS: u32 = 1;
    /// A connect is under way that nobody has waited for yet.
    pub const CONNECTING: u32 = 2;
}

/// One place of the book.
#[repr(C)]
#[derive(Debug, Default)]
struct Place {
    /// One of the states; above it the ring index of the injection that opened it, plus one.
    state: AtomicU64,
    /// Which operation on which resource, see [`key`].
    key: AtomicU64,
    /// Bytes that the failed call asked for: a success must be about at least as many.
    amount: AtomicU64,
    /// Roles that the resource is a member of, as bits.
    roles: AtomicU64,
    /// Operation (16 bits), rule (16 bits), flags (32 bits).
    what: AtomicU64,
    /// Number of the process image that was hit, and (upper half) of the last image when it was.
    who: AtomicU64,
    /// Its program, see [`program`].
    program: AtomicU64,
    /// Calls that no fault was injected into: before the recovery those that failed, then all.
    tries: AtomicU64,
    /// AFTER: until when calls are followed, in ns since the start of the run.
    until_ns: AtomicU64,
}

/// The book; zero bytes are an empty one.
#[repr(C)]
#[derive(Debug)]
pub struct Book {
    /// Places that are OPEN or AFTER: what to look at, not what to believe.
    used: AtomicU64,
    room: [u64; 7],
    places: [Place; EPISODES],
}

const _: () = assert!(size_of::<Place>() == 72 && size_of::<Book>() == 64 + 72 * EPISODES);

/// A fault that was delivered, or that is about to end its process.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// See [`key`].
    pub key: u64,
    /// Ring index of its record.
    pub index: u64,
    /// The operation.
    pub op: Op,
    /// Index of its rule.
    pub rule: u16,
    /// Bits of [`flag`].
    pub flags: u32,
    /// For memory: bytes that were asked for. Else 0.
    pub amount: u64,
    /// Roles that the resource is a member of, as bits.
    pub roles: u64,
    /// Number of the process image.
    pub image: u32,
    /// Number of the last image that there is.
    pub last_image: u32,
    /// See [`program`].
    pub program: u64,
}

/// What became of a fault in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// An episode began.
    Begun,
    /// It belongs to one that was open already.
    GoesOn,
    /// There is no place: nobody will see its recovery.
    Full,
}

/// A call that may prove something.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The operation.
    pub op: Op,
    /// Its key where the resource is the process's own image.
    pub key: u64,
    /// Its key where the process was ended: the resource is then the program's.
    pub return_key: u64,
    /// For memory: bytes that it asks for. Else 0.
    pub amount: u64,
    /// Roles that its resource is a member of, as bits.
    pub roles: u64,
    /// Number of the process image that makes it.
    pub image: u32,
    /// See [`program`].
    pub program: u64,
    /// When, in ns since the start of the run.
    pub now: u64,
}

/// An episode that a call closed, or an attempt at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Ring index of the injection that opened it.
    pub index: u64,
    /// Index of its rule.
    pub rule: u16,
    /// The how manieth call it is that no fault was injected into.
    pub tries: u64,
    /// Whether the log is to name this one, see `TOLD`.
    pub told: bool,
}

/// What holds faults and successes together: the operation and its resource, of which the log keeps so much. What a
/// process asks of the system for itself, and what has no name, is a resource of `owner`.
#[must_use]
pub fn key(op: Op, resource: &[u8], owner: u64) -> u64 {
    let own = matches!(op.row().subject, Subject::Memory | Subject::Program | Subject::Nothing);
    let head = head(op) as u64;
    // Owners are numbers, or hashes themselves.
    if own || resource.is_empty() { owner ^ (head + 1) << 48 } else { combine(head, hash(resource)) }
}

/// Calls that are one to a program: where one fails, another is as good.
const KIN: [&[Op]; 1] = [&[Op::Fork, Op::Vfork]];

/// The calls that a success of this one stands for, itself included.
#[must_use]
pub fn kin(op: Op) -> &'static [Op] {
    KIN.into_iter().find(|kin| kin.contains(&op)).unwrap_or_else(|| std::slice::from_ref(&op.row().op))
}

/// The first of a call's kin stands for them all.
fn head(op: Op) -> Op {
    kin(op).first().copied().unwrap_or(op)
}

/// What stands for a program: its executable's path.
#[must_use]
pub fn program(executable: &[u8]) -> u64 {
    hash(executable)
}

fn hash(bytes: &[u8]) -> u64 {
    let bytes = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    let (words, rest) = bytes.as_chunks::<8>();
    let last = rest.iter().fold(rest.len() as u64 + 1, |word, byte| word << 8 | u64::from(*byte));
    let whole = words.iter().fold(bytes.len() as u64, |sum, word| mix(sum ^ u64::from_le_bytes(*word)).rotate_left(5));
    mix(whole ^ last)
}

/// Whether a later success of the call can be seen at all: a formatted one is jumped to and never comes back to us.
#[must_use]
pub const fn is_visible(op: Op) -> bool {
    !matches!(op, Op::Fprintf | Op::Fscanf)
}

/// Calls at which a program learns how a connect went that it did not wait for.
pub const CONNECT_ENDS: [Op; 9] = [
    Op::Connect,
    Op::Getsockopt,
    Op::Getpeername,
    Op::Send,
    Op::Sendto,
    Op::Sendmsg,
    Op::Write,
    Op::Writev,
    Op::Setsockopt,
];

/// Whether a result says that the call succeeded: `result` is what it returned, a pointer's address or -1 sign-extended.
/// `has_path`: it acts on what has a path, where 0 bytes are the end of a file and not of a connection.
#[must_use]
pub fn succeeded(op: Op, result: i64, has_path: bool) -> bool {
    match op.row().fails {
        Failure::Errno if op == Op::Fork => result > 0,
        Failure::Errno if result == 0 && comes_in(op) => has_path,
        Failure::Errno => result != -1,
        Failure::Null => result != 0,
        Failure::Count => result > 0,
        // Those that answer by a pointer succeed with one.
        Failure::Eai if matches!(op, Op::Gethostbyname | Op::Gethostbyaddr) => !(0..=4096).contains(&result),
        Failure::Code | Failure::Eai => result == 0,
        Failure::Never => false,
    }
}

/// Calls that take data from a stream, whose end they tell by 0.
const fn comes_in(op: Op) -> bool {
    matches!(
        op,
        Op::Read | Op::Readv | Op::Recv | Op::Recvfrom | Op::Recvmsg | Op::Recvmmsg | Op::Splice | Op::Sendfile
    )
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new() -> Book {
        Book { used: AtomicU64::new(0), room: [0; 7], places: std::array::from_fn(|_| Place::default()) }
    }

    /// Enters a fault.
    pub fn open(&self, fault: &Fault) -> Opened {
        let mut after = 0;
        for (bit, place) in self.used() {
            let state = place.state.load(SeqCst);
            if place.key.load(SeqCst) != fault.key || place.returns() != (fault.flags & flag::RETURNS != 0) {
                after |= if state & STATE == AFTER { bit } else { 0 };
                continue;
            }
            match state & STATE {
                OPEN => {
                    if place.amount.load(SeqCst) < fault.amount {
                        place.amount.fetch_max(fault.amount, SeqCst);
                    }
                    return Opened::GoesOn;
                }
                // It begins anew.
                AFTER => self.free(bit, state),
                _ => {}
            }
        }
        let Some((bit, place)) = self.claim(after) else { return Opened::Full };
        place.key.store(fault.key, SeqCst);
        place.amount.store(fault.amount, SeqCst);
        place.roles.store(fault.roles, SeqCst);
        let what = head(fault.op) as u64 | u64::from(fault.rule) << 16 | u64::from(fault.flags) << 32;
        place.what.store(what, SeqCst);
        place.who.store(u64::from(fault.image) | u64::from(fault.last_image) << 32, SeqCst);
        place.program.store(fault.program, SeqCst);
        place.tries.store(0, SeqCst);
        place.state.store((fault.index + 1) << 2 | OPEN, SeqCst);
        self.used.fetch_or(bit, SeqCst);
        Opened::Begun
    }

    /// Whether calls on this operation have to be watched.
    #[must_use]
    pub fn watches(&self, op: Op) -> bool {
        self.used().any(|(_, place)| {
            place.op() == head(op) as u16 || (place.flags() & flag::CONNECTING != 0 && CONNECT_ENDS.contains(&op))
        })
    }

    /// The places of episodes that a success of this call would end, or that it follows, as bits.
    pub fn matching(&self, call: &Call) -> u64 {
        let mut found = 0;
        for (bit, place) in self.used().filter(|(_, place)| place.op() == head(call.op) as u16) {
            let state = place.state.load(SeqCst);
            if state & STATE == AFTER && place.until_ns.load(SeqCst) < call.now {
                self.free(bit, state);
                continue;
            }
            let is_hit = if place.returns() {
                let who = place.who.load(SeqCst);
                let (image, last) = (who as u32, (who >> 32) as u32);
                let is_back = call.image > last && place.program.load(SeqCst) == call.program;
                place.key.load(SeqCst) == call.return_key && (is_back || call.image == image)
            } else {
                let stands_in = state & STATE == OPEN && place.roles.load(SeqCst) & call.roles != 0;
                stands_in || (place.key.load(SeqCst) == call.key && call.amount >= place.amount.load(SeqCst))
            };
            found |= if is_hit { bit } else { 0 };
        }
        found
    }

    /// A call has succeeded that began when the ring was at `before`: closes the episode at a place, if that was open
    /// then. The place is followed until `until_ns`. `counted`: the call has been counted by [`Book::tried`], a connect.
    pub fn close(&self, at: usize, before: u64, until_ns: u64, counted: bool) -> Option<Seen> {
        let (place, state) = self.opened_before(at, before, OPEN)?;
        let seen = place.seen(state, place.tries.load(SeqCst) + u64::from(!counted));
        place.until_ns.store(until_ns, SeqCst);
        place.state.compare_exchange(state, state & !STATE | AFTER, SeqCst, SeqCst).ok()?;
        place.tries.store(0, SeqCst);
        Some(seen)
    }

    /// The record of a recovery found no room in the log: the episode is open as before.
    pub fn reopen(&self, at: usize, seen: &Seen) {
        if let Some(place) = self.places.get(at) {
            let open = (seen.index + 1) << 2 | OPEN;
            let _ = place.state.compare_exchange(open & !STATE | AFTER, open, SeqCst, SeqCst);
        }
    }

    /// Nobody can see how calls at a place end: gives up an open episode.
    pub fn give_up(&self, at: usize) -> Option<Seen> {
        let place = self.places.get(at)?;
        let state = place.state.load(SeqCst);
        let seen = place.seen(state, place.tries.load(SeqCst));
        (state & STATE == OPEN).then(|| self.free(1 << at, state))?;
        Some(seen)
    }

    /// As [`Book::close`], for a call that failed, or that came after the recovery.
    pub fn tried(&self, at: usize, before: u64, after_recovery: bool) -> Option<Seen> {
        let (place, state) = self.opened_before(at, before, if after_recovery { AFTER } else { OPEN })?;
        let seen = place.seen(state, place.tries.fetch_add(1, SeqCst) + 1);
        if after_recovery && seen.tries >= CALLS_AFTER {
            self.free(1 << at, state);
        }
        Some(seen)
    }

    /// A connect at a place is under way: other calls will tell how it went.
    pub fn connecting(&self, at: usize) {
        if let Some(place) = self.places.get(at) {
            place.what.fetch_or(u64::from(flag::CONNECTING) << 32, SeqCst);
        }
    }

    fn opened_before(&self, at: usize, before: u64, wanted: u64) -> Option<(&Place, u64)> {
        let place = self.places.get(at)?;
        let state = place.state.load(SeqCst);
        (state & STATE == wanted && state >> 2 <= before).then_some((place, state))
    }

    /// The places that are in use.
    fn used(&self) -> impl Iterator<Item = (u64, &Place)> {
        bits(self.used.load(SeqCst)).filter_map(|at| Some((1 << at, self.places.get(at)?)))
    }

    /// A place for a new episode: a free one, else one that is only followed.
    fn claim(&self, after: u64) -> Option<(u64, &Place)> {
        for (at, place) in self.places.iter().enumerate() {
            if place.state.compare_exchange(FREE, CLAIMED, SeqCst, SeqCst).is_ok() {
                return Some((1 << at, place));
            }
        }
        let mut left = after;
        while let Some(place) = self.places.get(left.trailing_zeros() as usize) {
            let bit = left & left.wrapping_neg();
            left &= left - 1;
            let state = place.state.load(SeqCst);
            if state & STATE == AFTER && place.state.compare_exchange(state, CLAIMED, SeqCst, SeqCst).is_ok() {
                return Some((bit, place));
            }
        }
        None
    }

    /// Gives a place back, unless it is another's by now.
    fn free(&self, bit: u64, state: u64) {
        let Some(place) = self.places.get(bit.trailing_zeros() as usize) else { return };
        if place.state.compare_exchange(state, CLAIMED, SeqCst, SeqCst).is_ok() {
            self.used.fetch_and(!bit, SeqCst);
            place.state.store(FREE, SeqCst);
        }
    }
}

impl Default for Book {
    fn default() -> Book {
        Book::new()
    }
}

impl Place {
    fn op(&self) -> u16 {
        self.what.load(SeqCst) as u16
    }

    fn rule(&self) -> u16 {
        (self.what.load(SeqCst) >> 16) as u16
    }

    fn flags(&self) -> u32 {
        (self.what.load(SeqCst) >> 32) as u32
    }

    fn returns(&self) -> bool {
        self.flags() & flag::RETURNS != 0
    }

    fn seen(&self, state: u64, tries: u64) -> Seen {
        Seen {
            index: (state >> 2).saturating_sub(1),
            rule: self.rule(),
            tries,
            told: tries <= TOLD || tries.is_power_of_two(),
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;

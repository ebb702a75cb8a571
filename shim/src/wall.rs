//! Clocks that are off: what a call shows in place of the true time, and when a deadline on such a clock truly is.
//!
//! `chaos_table::wall` says how far a clock is off at a moment. Here that is put upon what the kernel has answered. A
//! clock is read millions of times, so the log has one injection for each rule and process image: the first reading
//! that was off.

use crate::guard::{self, Token};
use crate::session::{self, Session};
use crate::{clock, learn, log, real, sys, tree};
use chaos_table::calls::{CALLS, FaultKind, Op};
use chaos_table::record::{Record, kind, status};
use chaos_table::rule::{RULE_BITS, Rule, clocks};
use chaos_table::session::ProcessCounters;
use chaos_table::wall::{Scope, Shift, shift, true_wait};
use libc::{c_int, timespec};
use std::mem::offset_of;
use std::sync::atomic::Ordering;

/// ns in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Seconds beyond this are no time of day: such deadlines mean never.
const NEVER: i64 = i64::MAX / SECOND - 1;
/// Values of [`ProcessCounters::fired`] of a rule that puts a clock off.
mod told {
    pub const NOT_YET: u64 = 0;
    pub const YES: u64 = 1;
    /// The log was full, or `max_faults` reached: the clock stays true in this process.
    pub const REFUSED: u64 = 2;
}

/// Whether any clock of this process may be off.
#[inline(always)]
pub fn is_off() -> bool {
    in_force() != 0
}

/// The rules that put clocks off and are in force: all calls about clocks have the same.
#[inline(always)]
fn in_force() -> u64 {
    let (me, word) = (tree::me(), real::word(Op::ClockGettime as usize));
    if word & me.strange() & RULE_BITS != 0 {
        learn::take_up();
    }
    me.clocks() & word
}

/// When a process is armed: a steady clock that has gone ahead stays ahead when injection is over.
pub fn prepare(session: &Session) {
    let steady = bits(session, tree::me().clocks(), |rule| rule.clocks & clocks::MONOTONIC != 0);
    if steady == 0 {
        return;
    }
    for row in CALLS {
        if let Some(kept) = real::STEADY.of(row.op as usize) {
            kept.store(session.planned(row.op) & steady, Ordering::Relaxed);
        }
    }
    real::AFTERWARDS.store(real::STEADY.pointer(), Ordering::Relaxed);
}

fn bits(session: &Session, of: u64, which: impl Fn(&Rule) -> bool) -> u64 {
    let kept = session.rules().iter().enumerate().filter(|(index, rule)| of & 1 << index != 0 && which(rule));
    kept.fold(0, |bits, (index, _)| bits | 1 << index)
}

/// A clock of the kernel's, as rules know it, and the clock by which rules take its time.
#[inline(always)]
fn kind_of(clock: c_int) -> Option<(u32, c_int)> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some((clocks::REALTIME, clock)),
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_TAI => Some((clocks::REALTIME, libc::CLOCK_REALTIME)),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE => Some((clocks::MONOTONIC, clock)),
        libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => {
            Some((clocks::MONOTONIC, libc::CLOCK_MONOTONIC))
        }
        // What counts the time of a processor, or a device.
        _ => None,
    }
}

/// What a clock shows to this process at a moment when it truly shows `now` ns.
#[inline(always)]
pub fn shown(op: Op, clock: c_int, now: i64) -> i64 {
    shift_of(clock, now, Some(op)).map_or(now, |shift| now.saturating_add(shift.ns).max(0))
}

#[inline(always)]
fn shift_of(clock: c_int, now: i64, reading: Option<Op>) -> Option<Shift> {
    let (kind, base) = kind_of(clock)?;
    Some(shift_at(kind, if base == clock { now } else { clock::read(base) as i64 }, reading))
}

/// Puts upon a time that the kernel has filled in what rules say of its clock.
///
/// # Safety
/// `time` must be what a successful call has filled.
#[inline(always)]
pub unsafe fn put_off(op: Op, clock: c_int, time: *mut timespec) {
    // SAFETY: the caller says so.
    unsafe {
        let now = (*time).tv_sec.saturating_mul(SECOND).saturating_add((*time).tv_nsec);
        let shown = shown(op, clock, now);
        if shown != now {
            *time = spec(shown);
        }
    }
}

/// When it truly is that a clock shows the moment `at`; `None` when that is no time of a clock that is off.
pub fn true_moment(clock: c_int, at: timespec) -> Option<timespec> {
    if !(0..SECOND).contains(&at.tv_nsec) || !(0..NEVER).contains(&at.tv_sec) {
        return None;
    }
    let now = clock::read(clock) as i64;
    let shift = shift_of(clock, now, None).filter(|shift| *shift != Shift::default())?;
    let ahead = (at.tv_sec * SECOND + at.tv_nsec).saturating_sub(now.saturating_add(shift.ns));
    Some(spec(now.saturating_add(true_wait(ahead, shift.ppm)).max(0)))
}

/// The deadline that the kernel is to be given for one of the program's; `room` holds it. One that the kernel would
/// refuse stays as it is.
///
/// # Safety
/// `deadline` must be the program's argument for a timespec.
pub unsafe fn true_deadline(clock: c_int, deadline: *const timespec, room: &mut timespec) -> *const timespec {
    if !is_off() || deadline.is_null() || !sys::is_readable(deadline.cast(), size_of::<timespec>()) {
        return deadline;
    }
    // SAFETY: it can be read.
    match true_moment(clock, unsafe { *deadline }) {
        None => deadline,
        Some(moment) => {
            *room = moment;
            room
        }
    }
}

/// The clock on which a condition variable's deadline is: the variable knows, and where depends on the libc. Times of
/// day and times since the start of the machine are decades apart.
///
/// # Safety
/// As for [`true_deadline`].
pub unsafe fn likely_clock(deadline: *const timespec) -> c_int {
    if !is_off() || deadline.is_null() || !sys::is_readable(deadline.cast(), size_of::<timespec>()) {
        return libc::CLOCK_REALTIME;
    }
    // SAFETY: it can be read.
    let seconds = unsafe { (*deadline).tv_sec };
    let far = |clock| {
        let now = clock::read(clock) as i64;
        let ahead = shift_of(clock, now, None).map_or(0, |shift| shift.ns);
        seconds.abs_diff(now.saturating_add(ahead) / SECOND)
    };
    if far(libc::CLOCK_MONOTONIC) < far(libc::CLOCK_REALTIME) { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME }
}

/// A time in ns as the kernel has it.
pub fn spec(ns: i64) -> timespec {
    timespec { tv_sec: ns.div_euclid(SECOND), tv_nsec: ns.rem_euclid(SECOND) }
}

/// How far the clocks of a kind are off when they truly show `now`. `reading`: the call that shows it, where the
/// program sees it; the rules count it then.
#[inline(always)]
fn shift_at(kind: u32, now: i64, reading: Option<Op>) -> Shift {
    let mut total = Shift::default();
    let mut rest = in_force();
    if rest == 0 {
        return total;
    }
    // Rules that put clocks off are those of a session.
    let session = session::armed();
    let steady = kind == clocks::MONOTONIC;
    let start = if steady { session.start_ns } else { session.start_wall_ns };
    let passed = u64::try_from(now).unwrap_or(0).saturating_sub(start).saturating_sub(session.armed_ns());
    let is_over = session.is_over();
    if is_over {
        real::disarm();
    }
    while rest != 0 {
        let index = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        let Some(rule) = session.rules().get(index) else { continue };
        // Switched off, a rule is still in force for the clock that never goes back.
        if rule.clocks & kind == 0 || ((is_over || !session.is_in_force(index)) && !steady) {
            continue;
        }
        if reading.is_some() {
            count(session, index);
        }
        let scope = Scope {
            seed: session.seed,
            index,
            from_ns: rule.from_ns.max(session.arm_ns),
            until_ns: rule.until_ns.min(session.until_ns),
            steady,
        };
        if let Some(shift) = shift(rule, &scope, passed)
            && is_told(session, index, shift.ns, reading)
        {
            total.ns = total.ns.saturating_add(shift.ns);
            total.ppm = total.ppm.saturating_add(shift.ppm);
        }
    }
    total
}

/// Counts a match in the thread's own slot.
#[inline(always)]
fn count(session: &Session, index: usize) {
    let thread = guard::thread();
    if !tree::is_own_slot(thread) {
        return first_of_thread(session, index);
    }
    // SAFETY: the slot is this thread's own.
    unsafe { (*session.thread_counters(thread.slot.get() as *mut _, index)).matched += 1 };
}

#[cold]
#[inline(never)]
fn first_of_thread(session: &Session, index: usize) {
    let Some(token) = Token::enter() else { return };
    if let Some(slot) = tree::thread_slot(session, token.thread) {
        // SAFETY: as above.
        unsafe { (*session.thread_counters(slot, index)).matched += 1 };
    }
    token.leave();
}

/// Whether the log knows of this rule in this process, so that its clock may be off. A deadline is translated before
/// any reading was logged: the program may have it from its parent.
#[inline(always)]
fn is_told(session: &Session, index: usize, ns: i64, reading: Option<Op>) -> bool {
    let slot = tree::here().slot();
    if slot.is_null() {
        return false;
    }
    let state = session.process_counter(slot, index, offset_of!(ProcessCounters, fired));
    match (state.load(Ordering::Relaxed), reading) {
        (told::YES, _) | (told::NOT_YET, None) => true,
        (told::NOT_YET, Some(op)) => tell(session, index, ns, op, state),
        _ => false,
    }
}

#[cold]
#[inline(never)]
fn tell(session: &Session, index: usize, ns: i64, op: Op, state: &std::sync::atomic::AtomicU64) -> bool {
    // A handler that interrupts our own code sees the true time this once.
    let Some(token) = Token::enter() else { return false };
    // Attaches the child of a fork that no hook saw: its slot is another one.
    let attached = tree::thread_slot(session, token.thread).is_some();
    let won =
        attached && state.compare_exchange(told::NOT_YET, told::YES, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if won {
        let mut record = Record {
            kind: kind::INJECTION,
            rule: index as u16,
            op: op as u16,
            fault: FaultKind::Clock as u8,
            status: status::DELIVERED,
            nth: 1,
            result: ns,
            ..Record::default()
        };
        if !session.take_budget() || log::publish(session, token.thread, &mut record, &[]).is_none() {
            state.store(told::REFUSED, Ordering::Relaxed);
        }
    }
    token.leave();
    state.load(Ordering::Relaxed) == told::YES
}

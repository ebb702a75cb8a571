//! Waiting for readiness: poll, select and epoll, and what epoll watches.

use super::file::making;
use super::{minus_one, with_flags};
use crate::call;
use crate::effects::{self, Outcome};
use crate::real::hooks;
use crate::select::Target;
use crate::{clock, edges, sys};
use chaos_table::calls::Op;
use libc::{c_int, c_ulong, epoll_event, fd_set, pollfd, sigset_t, timespec, timeval};

/// A call that waits for `patience` ns (`u64::MAX`: without end) under a signal mask.
///
/// `real` makes it, with the ns that are left of its patience when some have passed here; `nothing` clears what it would
/// have filled.
pub(super) fn waiting(
    op: Op,
    patience: u64,
    mask: *const sigset_t,
    real: impl FnOnce(Option<u64>) -> c_int,
    nothing: impl FnOnce(),
) -> c_int {
    let target = Target::Wait(patience, mask);
    let Some(first) = call::judge(op, target, 0) else { return real(None) };
    let start = clock::exact();
    match call::deliver(first, target, 0, 0) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket) as c_int,
        Outcome::End(ticket) => {
            nothing();
            effects::tell(&ticket, 0);
            0
        }

        _ => {
            let passed = clock::exact().saturating_sub(start);
            real((patience != u64::MAX).then(|| patience.saturating_sub(passed)))
        }
    }
}

/// ns of a timeout in ms; a negative one has no end.
pub(super) fn of_ms(ms: c_int) -> u64 {
    u64::try_from(ms).map_or(u64::MAX, |ms| ms * 1_000_000)
}

/// ms of what is left, rounded up so that no wait is shorter than it was asked to be.
pub(super) fn to_ms(ms: c_int, left: Option<u64>) -> c_int {
    left.map_or(ms, |ns| c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX))
}

/// ns of a timeout, `None` for one that the kernel refuses. NULL has no end.
pub(super) fn of_spec(time: *const timespec) -> Option<u64> {
    if time.is_null() {
        return Some(u64::MAX);
    }
    if !sys::is_readable(time.cast(), size_of::<timespec>()) {
        return None;
    }
    // SAFETY: the program's own argument, which can be read.
    let time = unsafe { time.read_unaligned() };
    let (seconds, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    (ns < 1_000_000_000).then(|| seconds.saturating_mul(1_000_000_000).saturating_add(ns))
}

/// The timeout for what is left.
fn spec_of(ns: u64) -> timespec {
    timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// A wait whose timeout is a timespec. `real` gets the pointer to pass on.
pub(super) fn waiting_spec(
    op: Op,
    time: *const timespec,
    mask: *const sigset_t,
    real: impl FnOnce(*const timespec) -> c_int,
    nothing: impl FnOnce(),
) -> c_int {
    let Some(patience) = of_spec(time) else { return real(time) };
    let real = |left: Option<u64>| {
        let rest = left.map(spec_of);
        real(rest.as_ref().map_or(time, |rest| &raw const *rest))
    };
    waiting(op, patience, mask, real, nothing)
}

/// A select, whose timeout the kernel overwrites with what is left of it.
pub(super) fn selecting(
    count: c_int,
    sets: [*mut fd_set; 3],
    time: *mut timeval,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let Some(patience) = of_val(time) else { return real() };
    let set_left = |ns: u64| {
        if !time.is_null() {
            let left = timeval { tv_sec: (ns / 1_000_000_000) as i64, tv_usec: (ns % 1_000_000_000 / 1000) as i64 };
            // SAFETY: the program's own argument; the kernel writes it as well.
            unsafe { time.write_unaligned(left) };
        }
    };
    let real = |left: Option<u64>| {
        left.into_iter().for_each(set_left);
        real()
    };
    let nothing = || {
        set_left(0);
        clear_sets(count, sets);
    };
    waiting(Op::Select, patience, std::ptr::null(), real, nothing)
}

/// ns of a timeout, `None` for one that the kernel refuses. NULL has no end.
fn of_val(time: *const timeval) -> Option<u64> {
    if time.is_null() {
        return Some(u64::MAX);
    }
    if !sys::is_readable(time.cast(), size_of::<timeval>()) {
        return None;
    }
    // SAFETY: the program's own argument, which can be read.
    let time = unsafe { time.read_unaligned() };
    let (seconds, micros) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_usec).ok()?);
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000)))
}

/// Nothing is ready: as the kernel leaves the sets then.
pub(super) fn clear_sets(count: c_int, sets: [*mut fd_set; 3]) {
    let words = usize::try_from(count).unwrap_or(0).min(libc::FD_SETSIZE).div_ceil(64);
    for set in sets.into_iter().filter(|set| !set.is_null()) {
        // SAFETY: the program's own sets, which have room for `count` descriptors.
        unsafe { std::ptr::write_bytes(set.cast::<u8>(), 0, words * 8) };
    }
}

/// Nothing is ready: as the kernel leaves what poll was given.
pub(super) fn clear_polled(list: *mut pollfd, count: c_ulong) {
    let size = (count as usize).saturating_mul(size_of::<pollfd>());
    if count == 0 || !sys::is_readable(list.cast(), size) {
        return;
    }
    for index in 0..count as usize {
        // SAFETY: the program's own list of `count` items, which poll fills.
        unsafe { (&raw mut (*list.add(index)).revents).write(0) };
    }
}

hooks! {
    Poll, poll(list: *mut pollfd, count: c_ulong, ms: c_int) -> c_int, real =>
        waiting(Op::Poll, of_ms(ms), std::ptr::null(), |left| real(list, count, to_ms(ms, left)), || clear_polled(list, count));
    Poll, __poll_chk or poll(list: *mut pollfd, count: c_ulong, ms: c_int, room: usize) -> c_int, real =>
        waiting(Op::Poll, of_ms(ms), std::ptr::null(), |left| real(list, count, to_ms(ms, left), room), || clear_polled(list, count));
    Poll, ppoll(list: *mut pollfd, count: c_ulong, time: *const timespec, mask: *const sigset_t) -> c_int, real =>
        waiting_spec(Op::Poll, time, mask, |time| real(list, count, time, mask), || clear_polled(list, count));
    Poll, __ppoll_chk or ppoll(list: *mut pollfd, count: c_ulong, time: *const timespec, mask: *const sigset_t, room: usize) -> c_int, real =>
        waiting_spec(Op::Poll, time, mask, |time| real(list, count, time, mask, room), || clear_polled(list, count));
    Select, select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, time: *mut timeval) -> c_int, real =>
        selecting(count, [read, write, except], time, || real(count, read, write, except, time));
    Select, pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, time: *const timespec, mask: *const sigset_t) -> c_int, real =>
        waiting_spec(Op::Select, time, mask, |time| real(count, read, write, except, time, mask),
            || clear_sets(count, [read, write, except]));
    EpollCreate, epoll_create(size: c_int) -> c_int, real => making(Op::EpollCreate, || real(size));
    EpollCreate, epoll_create1(flags: c_int) -> c_int, real => making(Op::EpollCreate, || real(flags));
    [always] EpollCtl, epoll_ctl(epoll: c_int, command: c_int, fd: c_int, event: *mut epoll_event) -> c_int, real =>
        watching(epoll, command, fd, event, || real(epoll, command, fd, event));
    EpollWait, epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, ms: c_int) -> c_int, real =>
        waiting(Op::EpollWait, of_ms(ms), std::ptr::null(), |left| real(epoll, events, most, to_ms(ms, left)), || ());
    EpollWait, epoll_pwait(epoll: c_int, events: *mut epoll_event, most: c_int, ms: c_int, mask: *const sigset_t) -> c_int, real =>
        waiting(Op::EpollWait, of_ms(ms), mask, |left| real(epoll, events, most, to_ms(ms, left), mask), || ());
    EpollWait, epoll_pwait2(epoll: c_int, events: *mut epoll_event, most: c_int, time: *const timespec, mask: *const sigset_t) -> c_int, real =>
        waiting_spec(Op::EpollWait, time, mask, |time| real(epoll, events, most, time, mask), || ());
}

/// A change of what an epoll watches.
///
/// # Safety
/// `event` must be NULL or an event.
pub(super) unsafe fn watching(
    epoll: c_int,
    command: c_int,
    fd: c_int,
    event: *const epoll_event,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let result = with_flags(Op::EpollCtl, Target::Nothing, command, real, minus_one);
    if result == 0 {
        // What comes with EPOLL_CTL_DEL is not looked at by the kernel: it may be anything.
        let is_read = command != libc::EPOLL_CTL_DEL;
        // SAFETY: the call has read it.
        edges::watched(epoll, fd, is_read.then(|| unsafe { event.read_unaligned() }));
    }
    result
}

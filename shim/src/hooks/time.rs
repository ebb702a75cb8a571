//! Clocks, sleeps and random numbers.

use super::{Answer, minus_one, minus_one_long, quickly, simple};
use crate::call;
use crate::effects::{self, Outcome};
use crate::portable::kernel_getrandom;
use crate::real::{Slot, errno, hooks};
use crate::select::Target;
use crate::wall::{self, SECOND};
use crate::{clock, sys};
use chaos_table::calls::Op;
use libc::{c_int, c_long, c_uint, c_void, itimerspec, sigevent, time_t, timespec, timeval};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What ftime(3) fills.
#[repr(C)]
pub struct Timeb {
    time: time_t,
    milliseconds: u16,
    zone: i16,
    daylight: i16,
}

/// Reads a clock of the kernel's; none of our hooks is asked.
pub fn true_clock(clock: c_int, time: &mut timespec) {
    type Real = unsafe extern "C" fn(c_int, *mut timespec) -> c_int;
    // SAFETY: the slot holds clock_gettime, and the timespec lives through the call.
    unsafe {
        let real: Real = std::mem::transmute(clock_gettime::SLOT.target.load(Ordering::Relaxed));
        real(clock, time);
    }
}

/// A call that reads a clock into a timespec.
///
/// # Safety
/// `time` must be what `real` fills when it returns 0.
#[inline(always)]
unsafe fn reading(clock: c_int, time: *mut timespec, real: impl FnOnce() -> c_int) -> c_int {
    let result = quickly(Op::ClockGettime, clock, real, minus_one);
    if wall::is_off() && result == 0 && !time.is_null() {
        // SAFETY: the call has filled it.
        unsafe { wall::put_off(Op::ClockGettime, clock, time) };
    }
    result
}

/// Seconds since 1970, for a call that truly gives `now`. The kernel's own `time` takes them from the coarse clock; a
/// fraction decides which second a clock that is off shows.
#[inline(always)]
fn seconds(now: time_t) -> time_t {
    if !wall::is_off() || now == -1 {
        return now;
    }
    let coarse = clock::read(libc::CLOCK_REALTIME_COARSE) as i64;
    wall::shown(Op::Gettimeofday, libc::CLOCK_REALTIME_COARSE, coarse) / SECOND
}

/// The time of day that is shown, in ns: from the clock itself, since a fraction that was cut off would be multiplied by
/// a pace.
fn time_of_day() -> i64 {
    wall::shown(Op::Gettimeofday, libc::CLOCK_REALTIME, clock::read(libc::CLOCK_REALTIME) as i64)
}

/// # Safety
/// `time` must be NULL or what a gettimeofday has filled.
unsafe fn put_timeval_off(time: *mut timeval) {
    if wall::is_off() && !time.is_null() {
        let shown = time_of_day();
        // SAFETY: the call has filled it.
        unsafe { *time = timeval { tv_sec: shown / SECOND, tv_usec: shown % SECOND / 1000 } };
    }
}

/// How long a sleep is to last; `None` when the kernel would refuse it.
///
/// # Safety
/// `request` must be the program's argument for a timespec.
unsafe fn length(request: *const timespec) -> Option<u64> {
    if request.is_null() || !sys::is_readable(request.cast(), size_of::<timespec>()) {
        return None;
    }
    // SAFETY: it can be read.
    let timespec { tv_sec, tv_nsec } = unsafe { *request };
    let seconds = u64::try_from(tv_sec).ok()?;
    (0..SECOND).contains(&tv_nsec).then(|| seconds.saturating_mul(SECOND as u64).saturating_add(tv_nsec as u64))
}

/// A sleep of `ns`. One that is to be interrupted sleeps half of it first, so that a program which sleeps on for the
/// rest comes to an end; `left` is told how much that is.
#[inline(always)]
pub(super) fn sleeping<R: Answer>(
    op: Op,
    ns: u64,
    left: impl FnOnce(u64),
    real: impl FnOnce() -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    let Some(first) = call::judge(op, Target::Nothing, ns) else { return real() };
    let Outcome::Fail(errno, ticket) = call::deliver(first, Target::Nothing, ns, 0) else { return real() };
    if errno == libc::EINTR {
        let start = clock::exact();
        sys::sleep(ns / 2);
        effects::cancel_here(op);
        left(ns.saturating_sub(clock::exact().saturating_sub(start)));
    }
    effects::tell(&ticket, -1);
    failed(errno)
}

/// nanosleep, or clock_nanosleep for a time rather than until a moment.
///
/// # Safety
/// The arguments of nanosleep.
pub(super) unsafe fn sleeping_for<R: Answer>(
    op: Op,
    request: *const timespec,
    rest: *mut timespec,
    real: impl FnOnce() -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    // SAFETY: the caller says so.
    let Some(ns) = (unsafe { length(request) }) else { return real() };
    let left = |ns: u64| {
        if !rest.is_null() && sys::is_readable(rest.cast(), size_of::<timespec>()) {
            // SAFETY: the program's own place for it.
            unsafe { *rest = wall::spec(i64::try_from(ns).unwrap_or(i64::MAX)) };
        }
    };
    sleeping(op, ns, left, real, failed)
}

/// getrandom; a short one still has the 256 bytes that the kernel always gives whole.
fn drawing(buffer: *mut c_void, len: usize, flags: c_uint, real: impl Fn(*mut c_void, usize) -> isize) -> isize {
    let Some(first) = call::judge(Op::Getrandom, Target::Nothing, len as u64) else { return real(buffer, len) };
    match call::deliver(first, Target::Nothing, len as u64, flags as c_int) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::Short(ppm, ticket) => {
            let n = real(buffer, effects::shortened(len, ppm).max(256));
            effects::tell(&ticket, n as i64);
            n
        }
        Outcome::Return(value, errno, ticket) => effects::give(value, errno, &ticket) as isize,
        _ => real(buffer, len),
    }
}

hooks! {
    [ahead nothing] Gettimeofday, time(at: *mut time_t) -> time_t, real => {
        let shown = seconds(quickly(Op::Gettimeofday, 0, || real(std::ptr::null_mut()), |_| -1));
        if !at.is_null() {
            *at = shown;
        }
        shown
    };
    [ahead nothing] Gettimeofday, gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int, real => {
        let result = quickly(Op::Gettimeofday, 0, || real(time, zone), minus_one);
        put_timeval_off(time);
        result
    };
    Gettimeofday, timespec_get(time: *mut timespec, base: c_int) -> c_int, real => {
        const TIME_UTC: c_int = 1;
        let result = quickly(Op::Gettimeofday, 0, || real(time, base), |_| 0);
        if wall::is_off() && result == TIME_UTC {
            wall::put_off(Op::Gettimeofday, libc::CLOCK_REALTIME, time);
        }
        result
    };
    Gettimeofday, ftime(time: *mut Timeb) -> c_int, real => {
        let result = quickly(Op::Gettimeofday, 0, || real(time), minus_one);
        if wall::is_off() {
            let shown = time_of_day();
            (*time).time = shown / SECOND;
            (*time).milliseconds = (shown % SECOND / 1_000_000) as u16;
        }
        result
    };
    [ahead nothing] ClockGettime, clock_gettime(clock: c_int, time: *mut timespec) -> c_int, real =>
        reading(clock, time, || real(clock, time));
    ClockGetres, clock_getres(clock: c_int, step: *mut timespec) -> c_int, real =>
        quickly(Op::ClockGetres, clock, || real(clock, step), minus_one);
    Nanosleep, nanosleep(request: *const timespec, rest: *mut timespec) -> c_int, real =>
        sleeping_for(Op::Nanosleep, request, rest, || real(request, rest), minus_one);
    Nanosleep, usleep(microseconds: c_uint) -> c_int, real =>
        sleeping(Op::Nanosleep, u64::from(microseconds) * 1000, |_| (), || real(microseconds), minus_one);
    Nanosleep, thrd_sleep or thread_sleep(request: *const timespec, rest: *mut timespec) -> c_int, real =>
        sleeping_for(Op::Nanosleep, request, rest, || real(request, rest), thread_sleep_failed);
    Sleep, sleep(length: c_uint) -> c_uint, real => simple(Op::Sleep, Target::Nothing, || real(length), |_| length);
    [since "GLIBC_2.3.3" "GLIBC_2.34"] TimerCreate, timer_create(clock: c_int, event: *mut sigevent,
        timer: *mut *mut c_void) -> c_int, real => simple(Op::TimerCreate, Target::Nothing, || real(clock, event, timer), minus_one);
    TimerfdGettime, timerfd_gettime(fd: c_int, time: *mut itimerspec) -> c_int, real =>
        simple(Op::TimerfdGettime, Target::Nothing, || real(fd, time), minus_one);
    Getrandom, getrandom or kernel_getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize, real =>
        drawing(buffer, len, flags, |to, len| real(to, len, flags));
    Getentropy, getentropy(buffer: *mut c_void, len: usize) -> c_int, real =>
        simple(Op::Getentropy, Target::Nothing, || real(buffer, len), minus_one);
    Arc4random, arc4random or random_number() -> u32, real => simple(Op::Arc4random, Target::Nothing, || real(), |_| 0);
    Arc4random, arc4random_buf or random_bytes(buffer: *mut c_void, len: usize) -> (), real =>
        simple(Op::Arc4random, Target::Nothing, || real(buffer, len), |_| ());
    Arc4random, arc4random_uniform or random_below(bound: u32) -> u32, real =>
        simple(Op::Arc4random, Target::Nothing, || real(bound), |_| 0);
}

/// Declares what serves where libc lacks a function: a program that probes for it finds our name.
macro_rules! stand_in {
    ($name:ident, $function:path) => {
        mod $name {
            pub static SLOT: super::Slot =
                super::Slot { target: super::AtomicPtr::new($function as *mut std::ffi::c_void) };
        }
    };
}

stand_in!(random_number, super::number);
stand_in!(random_bytes, super::bytes);
stand_in!(random_below, super::below);
stand_in!(thread_sleep, super::sleep_of_thread);

/// How `thrd_sleep` fails: errno is none of its ways.
const fn thread_sleep_failed(errno: i32) -> c_int {
    if errno == libc::EINTR { -1 } else { -2 }
}

/// glibc has `thrd_sleep` since 2.28.
unsafe extern "C-unwind" fn sleep_of_thread(request: *const timespec, rest: *mut timespec) -> c_int {
    type Real = unsafe extern "C-unwind" fn(*const timespec, *mut timespec) -> c_int;
    // SAFETY: the slot holds nanosleep, which takes the same arguments.
    let result = unsafe {
        let real: Real = std::mem::transmute(nanosleep::SLOT.target.load(Ordering::Relaxed));
        real(request, rest)
    };
    if result == 0 { 0 } else { thread_sleep_failed(errno()) }
}

unsafe extern "C" fn bytes(buffer: *mut c_void, len: usize) {
    // SAFETY: the caller's buffer.
    unsafe { sys::random(buffer.cast(), len) };
}

extern "C" fn number() -> u32 {
    let mut number = 0u32;
    // SAFETY: four bytes.
    unsafe { sys::random((&raw mut number).cast(), 4) };
    number
}

extern "C" fn below(bound: u32) -> u32 {
    // What lies above the last whole multiple of the bound is drawn again, or small numbers would come too often.
    let least = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
    loop {
        let number = number();
        if number >= least {
            return number.checked_rem(bound).unwrap_or(0);
        }
    }
}

/// A raw system call about clocks, sleeps and random numbers; any other is made as it is.
///
/// # Safety
/// `args` must be the program's own, and `again` make the call with them.
pub(super) unsafe fn raw(number: c_long, args: [usize; 6], again: impl Fn([usize; 6]) -> c_long) -> c_long {
    let [a, b, c, ..] = args;
    let call = || again(args);
    // SAFETY: the pointers are those that the call takes; what is written to has been written by the kernel before.
    unsafe {
        match number {
            libc::SYS_time => {
                let shown = seconds(quickly(Op::Gettimeofday, 0, call, |_| -1));
                if a != 0 && shown != -1 {
                    *(a as *mut time_t) = shown;
                }
                shown
            }
            libc::SYS_gettimeofday => {
                let result = quickly(Op::Gettimeofday, 0, call, minus_one_long);
                if result == 0 {
                    put_timeval_off(a as *mut timeval);
                }
                result
            }
            libc::SYS_clock_gettime => reading(a as c_int, b as *mut timespec, || call() as c_int).into(),
            libc::SYS_clock_getres => quickly(Op::ClockGetres, a as c_int, call, minus_one_long),
            libc::SYS_nanosleep => sleeping_for(Op::Nanosleep, a as *const _, b as *mut _, call, minus_one_long),
            libc::SYS_timer_create => simple(Op::TimerCreate, Target::Nothing, call, minus_one_long),
            libc::SYS_timerfd_gettime => simple(Op::TimerfdGettime, Target::Nothing, call, minus_one_long),
            libc::SYS_getrandom => drawing(a as *mut c_void, b, c as c_uint, |to, len| {
                let mut args = args;
                (args[0], args[1]) = (to as usize, len);
                again(args) as isize
            }) as c_long,
            _ => call(),
        }
    }
}

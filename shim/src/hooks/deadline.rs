//! Calls that take a moment of a clock: where the clock is off, the kernel is given the moment that it truly is, or a
//! wait of a second would last as long as the clock is off.

use super::time::{sleeping, sleeping_for};
use super::{Answer, minus_one, minus_one_long, simple};
use crate::real::{Slot, hooks};
use crate::select::Target;
use crate::wall::{self, likely_clock, true_deadline, true_moment};
use crate::{clock, sys};
use chaos_table::calls::Op;
use libc::{c_char, c_int, c_long, c_uint, c_void, itimerspec, mqd_t, pthread_cond_t, pthread_mutex_t};
use libc::{pthread_rwlock_t, pthread_t, sem_t, timespec, timeval};
use std::sync::atomic::AtomicPtr;

const WALL: c_int = libc::CLOCK_REALTIME;
/// Room for a deadline of our own.
const NONE: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// A wait of the kind that reports its failure itself, and which no rule fails.
#[inline(always)]
unsafe fn waiting(clock: c_int, deadline: *const timespec, real: impl FnOnce(*const timespec) -> c_int) -> c_int {
    let mut room = NONE;
    // SAFETY: the program's own deadline.
    let deadline = unsafe { true_deadline(clock, deadline, &mut room) };
    simple(Op::Timedwait, Target::Nothing, || real(deadline), |code| code)
}

/// A wait that a signal handler can interrupt.
#[inline(always)]
unsafe fn waiting_or_interrupted<R: Answer>(
    op: Op,
    clock: c_int,
    deadline: *const timespec,
    real: impl FnOnce(*const timespec) -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    let mut room = NONE;
    // SAFETY: the program's own deadline.
    let deadline = unsafe { true_deadline(clock, deadline, &mut room) };
    simple(op, Target::Nothing, || real(deadline), failed)
}

/// A timer is set to a moment, or for a time. Its clock the timer knows, and shows it to nobody: see [`likely_clock`].
///
/// # Safety
/// `new` must be the program's argument for an itimerspec.
unsafe fn setting<R: Answer>(
    op: Op,
    flags: c_int,
    new: *const itimerspec,
    real: impl FnOnce(*const itimerspec) -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    const _: () = assert!(libc::TIMER_ABSTIME == libc::TFD_TIMER_ABSTIME);
    let is_moment = flags & libc::TIMER_ABSTIME != 0;
    if !wall::is_off() || !is_moment || new.is_null() || !sys::is_readable(new.cast(), size_of::<itimerspec>()) {
        return simple(op, Target::Nothing, || real(new), failed);
    }
    // SAFETY: it can be read.
    let mut own = unsafe { *new };
    // SAFETY: a moment of our own.
    let clock = unsafe { likely_clock(&raw const own.it_value) };
    // Zero switches the timer off, so no moment may become zero.
    if (own.it_value.tv_sec, own.it_value.tv_nsec) != (0, 0)
        && let Some(moment) = true_moment(clock, own.it_value)
    {
        own.it_value = moment;
        own.it_value.tv_nsec += c_long::from((moment.tv_sec, moment.tv_nsec) == (0, 0));
    }
    simple(op, Target::Nothing, || real(&raw const own), failed)
}

/// clock_nanosleep.
///
/// # Safety
/// Its arguments.
unsafe fn sleeping_on<R: Answer>(
    clock: c_int,
    flags: c_int,
    request: *const timespec,
    rest: *mut timespec,
    real: impl FnOnce(*const timespec) -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    if flags & libc::TIMER_ABSTIME == 0 {
        // SAFETY: the caller says so.
        return unsafe { sleeping_for(Op::ClockNanosleep, request, rest, || real(request), failed) };
    }
    let mut room = NONE;
    // SAFETY: the program's own deadline.
    let deadline = unsafe { true_deadline(clock, request, &mut room) };
    let left = || {
        if deadline.is_null() || !sys::is_readable(deadline.cast(), size_of::<timespec>()) {
            return 0;
        }
        // SAFETY: it can be read.
        let timespec { tv_sec, tv_nsec } = unsafe { *deadline };
        let until = tv_sec.saturating_mul(wall::SECOND).saturating_add(tv_nsec);
        u64::try_from(until.saturating_sub(clock::read(clock) as i64)).unwrap_or(0)
    };
    sleeping(Op::ClockNanosleep, left(), |_| (), || real(deadline), failed)
}

/// A clock is set to what the program takes for the time: to the true one, or the machine's clock would be off.
unsafe fn setting_clock<R: Answer>(
    clock: c_int,
    time: *const timespec,
    real: impl FnOnce(*const timespec) -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    // SAFETY: the program's own argument.
    unsafe { waiting_or_interrupted(Op::ClockSettime, clock, time, real, failed) }
}

/// As [`setting_clock`], for settimeofday.
unsafe fn setting_time_of_day<R: Answer>(
    time: *const timeval,
    real: impl FnOnce(*const timeval) -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    if !wall::is_off() || time.is_null() || !sys::is_readable(time.cast(), size_of::<timeval>()) {
        return simple(Op::ClockSettime, Target::Nothing, || real(time), failed);
    }
    // SAFETY: it can be read; `at` is the moment given, or one of ours.
    unsafe {
        let given = timespec { tv_sec: (*time).tv_sec, tv_nsec: (*time).tv_usec.saturating_mul(1000) };
        let set = |at: *const timespec| {
            let own = timeval { tv_sec: (*at).tv_sec, tv_usec: (*at).tv_nsec / 1000 };
            real(&raw const own)
        };
        setting_clock(WALL, &raw const given, set, failed)
    }
}

hooks! {
    [since "GLIBC_2.3.2"] Timedwait, pthread_cond_timedwait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t,
        at: *const timespec) -> c_int, real => waiting(likely_clock(at), at, |at| real(cond, mutex, at));
    Timedwait, pthread_cond_clockwait or no_code(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: c_int, at: *const timespec) -> c_int,
        real => waiting(clock, at, |at| real(cond, mutex, clock, at));
    Timedwait, pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, at: *const timespec) -> c_int, real =>
        waiting(WALL, at, |at| real(mutex, at));
    Timedwait, pthread_mutex_clocklock or no_code(mutex: *mut pthread_mutex_t, clock: c_int, at: *const timespec) -> c_int,
        real => waiting(clock, at, |at| real(mutex, clock, at));
    Timedwait, pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, at: *const timespec) -> c_int, real =>
        waiting(WALL, at, |at| real(lock, at));
    Timedwait, pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, at: *const timespec) -> c_int, real =>
        waiting(WALL, at, |at| real(lock, at));
    Timedwait, pthread_rwlock_clockrdlock or no_code(lock: *mut pthread_rwlock_t, clock: c_int, at: *const timespec) -> c_int,
        real => waiting(clock, at, |at| real(lock, clock, at));
    Timedwait, pthread_rwlock_clockwrlock or no_code(lock: *mut pthread_rwlock_t, clock: c_int, at: *const timespec) -> c_int,
        real => waiting(clock, at, |at| real(lock, clock, at));
    Timedwait, pthread_timedjoin_np or no_code(thread: pthread_t, result: *mut *mut c_void, at: *const timespec) -> c_int,
        real => waiting(WALL, at, |at| real(thread, result, at));
    Timedwait, pthread_clockjoin_np or no_code(thread: pthread_t, result: *mut *mut c_void, clock: c_int, at: *const timespec) -> c_int,
        real => waiting(clock, at, |at| real(thread, result, clock, at));
    Timedwait, cnd_timedwait or no_threads(cond: *mut c_void, mutex: *mut c_void, at: *const timespec) -> c_int, real =>
        waiting(WALL, at, |at| real(cond, mutex, at));
    Timedwait, mtx_timedlock or no_threads(mutex: *mut c_void, at: *const timespec) -> c_int, real =>
        waiting(WALL, at, |at| real(mutex, at));
    SemTimedwait, sem_timedwait(semaphore: *mut sem_t, at: *const timespec) -> c_int, real =>
        waiting_or_interrupted(Op::SemTimedwait, WALL, at, |at| real(semaphore, at), minus_one);
    SemTimedwait, sem_clockwait(semaphore: *mut sem_t, clock: c_int, at: *const timespec) -> c_int, real =>
        waiting_or_interrupted(Op::SemTimedwait, clock, at, |at| real(semaphore, clock, at), minus_one);
    MqTimed, mq_timedsend(queue: mqd_t, text: *const c_char, len: usize, priority: c_uint, at: *const timespec) -> c_int,
        real => waiting_or_interrupted(Op::MqTimed, WALL, at, |at| real(queue, text, len, priority, at), minus_one);
    MqTimed, mq_timedreceive(queue: mqd_t, text: *mut c_char, len: usize, priority: *mut c_uint, at: *const timespec) -> isize,
        real => waiting_or_interrupted(Op::MqTimed, WALL, at, |at| real(queue, text, len, priority, at), |errno| minus_one(errno) as isize);
    ClockNanosleep, clock_nanosleep(clock: c_int, flags: c_int, request: *const timespec, rest: *mut timespec) -> c_int,
        real => sleeping_on(clock, flags, request, rest, |request| real(clock, flags, request, rest), |code| code);
    [since "GLIBC_2.3.3" "GLIBC_2.34"] TimerSettime, timer_settime(timer: *mut c_void, flags: c_int,
        new: *const itimerspec, old: *mut itimerspec) -> c_int, real => setting(Op::TimerSettime, flags, new, |new| real(timer, flags, new, old), minus_one);
    TimerfdSettime, timerfd_settime(fd: c_int, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int,
        real => setting(Op::TimerfdSettime, flags, new, |new| real(fd, flags, new, old), minus_one);
    ClockSettime, clock_settime(clock: c_int, time: *const timespec) -> c_int, real =>
        setting_clock(clock, time, |time| real(clock, time), minus_one);
    ClockSettime, settimeofday(time: *const timeval, zone: *const c_void) -> c_int, real =>
        setting_time_of_day(time, |time| real(time, zone), minus_one);
}

/// In place of a function of pthread.h that libc lacks: it says so as they do, by its result.
mod no_code {
    pub static SLOT: super::Slot = super::Slot { target: super::AtomicPtr::new(refuse as *mut std::ffi::c_void) };

    extern "C" fn refuse() -> std::ffi::c_int {
        libc::ENOSYS
    }
}

use super::process::no_threads;

/// A raw system call with a deadline.
///
/// # Safety
/// `args` must be the program's own, and `again` make the call with them.
pub(super) unsafe fn raw(number: c_long, args: [usize; 6], again: impl Fn([usize; 6]) -> c_long) -> c_long {
    let [a, b, c, d, e, _] = args;
    let with = |at: usize, value: usize| {
        let mut args = args;
        if let Some(place) = args.get_mut(at) {
            *place = value;
        }
        again(args)
    };
    // SAFETY: the pointers are those that the call takes.
    unsafe {
        match number {
            libc::SYS_futex => match futex_clock(b as c_int) {
                Some(clock) if d != 0 => wait_raw(Op::Timedwait, clock, d, |at| with(3, at)),
                _ => again(args),
            },
            libc::SYS_futex_waitv => wait_raw(Op::Timedwait, e as c_int, d, |at| with(3, at)),
            libc::SYS_mq_timedsend | libc::SYS_mq_timedreceive => wait_raw(Op::MqTimed, WALL, e, |at| with(4, at)),
            libc::SYS_clock_settime => {
                let time = b as *const timespec;
                setting_clock(a as c_int, time, |time| with(1, time as usize), minus_one_long)
            }
            libc::SYS_settimeofday => {
                setting_time_of_day(a as *const timeval, |time| with(0, time as usize), minus_one_long)
            }
            libc::SYS_clock_nanosleep => {
                let request = |at: *const timespec| with(2, at as usize);
                sleeping_on(a as c_int, b as c_int, c as *const _, d as *mut _, request, minus_one_long)
            }
            libc::SYS_timer_settime | libc::SYS_timerfd_settime => {
                let new = c as *const itimerspec;
                let op = if number == libc::SYS_timer_settime { Op::TimerSettime } else { Op::TimerfdSettime };
                setting(op, b as c_int, new, |new| with(2, new as usize), minus_one_long)
            }
            _ => again(args),
        }
    }
}

/// A raw wait until the moment at this address.
unsafe fn wait_raw(op: Op, clock: c_int, deadline: usize, real: impl FnOnce(usize) -> c_long) -> c_long {
    // SAFETY: the program's own deadline.
    unsafe { waiting_or_interrupted(op, clock, deadline as *const timespec, |at| real(at as usize), minus_one_long) }
}

/// The clock of a futex operation that waits until a moment; the others wait for a time, or not at all.
fn futex_clock(operation: c_int) -> Option<c_int> {
    const LOCK_PI2: c_int = 13;
    let named = if operation & libc::FUTEX_CLOCK_REALTIME != 0 { WALL } else { libc::CLOCK_MONOTONIC };
    match operation & libc::FUTEX_CMD_MASK {
        libc::FUTEX_LOCK_PI => Some(WALL),
        libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAIT_REQUEUE_PI | LOCK_PI2 => Some(named),
        _ => None,
    }
}

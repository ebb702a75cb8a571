//! System V shared memory, semaphores and message queues.
//!
//! Those that make one are declared by redhook: they cost a microsecond, are no cancellation points, exist in every libc,
//! and may be called neither in a signal handler nor in the forked child of a process with threads, where the lock under
//! which redhook finds the real function could be taken already.

use super::{minus_one, simple};
use crate::real::hooks;
use crate::select::Target;
use crate::watch;
use chaos_table::calls::Op;
use libc::{c_int, c_long, c_void, key_t, sembuf, timespec};

/// A call that happens or fails.
#[inline(always)]
fn plain<R: From<i32> + super::Answer>(op: Op, real: impl FnOnce() -> R) -> R {
    simple(op, Target::Nothing, real, |errno| R::from(minus_one(errno)))
}

/// The same, where no entry of ours has asked whether it is watched.
fn declared(op: Op, real: impl FnOnce() -> c_int) -> c_int {
    watch::if_on(op, || plain(op, real))
}

hooks! {
    // The address, or -1.
    Shmat, shmat(id: c_int, address: *const c_void, flags: c_int) -> isize, real =>
        simple(Op::Shmat, Target::Nothing, || real(id, address, flags), |errno| minus_one(errno) as isize);
    Semop, semop(id: c_int, list: *mut sembuf, count: usize) -> c_int, real => plain(Op::Semop, || real(id, list, count));
    Semop, semtimedop(id: c_int, list: *mut sembuf, count: usize, limit: *const timespec) -> c_int, real =>
        plain(Op::Semop, || real(id, list, count, limit));
    Msgsnd, msgsnd(id: c_int, message: *const c_void, size: usize, flags: c_int) -> c_int, real =>
        plain(Op::Msgsnd, || real(id, message, size, flags));
    Msgrcv, msgrcv(id: c_int, message: *mut c_void, size: usize, kind: c_long, flags: c_int) -> isize, real =>
        simple(Op::Msgrcv, Target::Nothing, || real(id, message, size, kind, flags), |errno| minus_one(errno) as isize);
}

redhook::hook! {
    unsafe fn shmget(key: key_t, size: usize, flags: c_int) -> c_int => made_shmget {
        // SAFETY: the program's own arguments.
        declared(Op::Shmget, || unsafe { redhook::real!(shmget)(key, size, flags) })
    }
}

redhook::hook! {
    unsafe fn semget(key: key_t, count: c_int, flags: c_int) -> c_int => made_semget {
        // SAFETY: the program's own arguments.
        declared(Op::Semget, || unsafe { redhook::real!(semget)(key, count, flags) })
    }
}

redhook::hook! {
    unsafe fn msgget(key: key_t, flags: c_int) -> c_int => made_msgget {
        // SAFETY: the program's own arguments.
        declared(Op::Msgget, || unsafe { redhook::real!(msgget)(key, flags) })
    }
}

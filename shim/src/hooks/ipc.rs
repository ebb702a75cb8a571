//! System V shared memory, semaphores and message queues.

use super::{minus_one, simple};
use crate::real::hooks;
use crate::select::Target;
use chaos_table::calls::Op;
use libc::{c_int, c_long, c_void, key_t, sembuf, timespec};

/// A call that happens or fails.
#[inline(always)]
fn plain<R: From<i32> + super::Answer>(op: Op, real: impl FnOnce() -> R) -> R {
    simple(op, Target::Nothing, real, |errno| R::from(minus_one(errno)))
}

hooks! {
    Shmget, shmget(key: key_t, size: usize, flags: c_int) -> c_int, real => plain(Op::Shmget, || real(key, size, flags));
    // The address, or -1.
    Shmat, shmat(id: c_int, address: *const c_void, flags: c_int) -> isize, real =>
        simple(Op::Shmat, Target::Nothing, || real(id, address, flags), |errno| minus_one(errno) as isize);
    Semget, semget(key: key_t, count: c_int, flags: c_int) -> c_int, real => plain(Op::Semget, || real(key, count, flags));
    Semop, semop(id: c_int, list: *mut sembuf, count: usize) -> c_int, real => plain(Op::Semop, || real(id, list, count));
    Semop, semtimedop(id: c_int, list: *mut sembuf, count: usize, limit: *const timespec) -> c_int, real =>
        plain(Op::Semop, || real(id, list, count, limit));
    Msgget, msgget(key: key_t, flags: c_int) -> c_int, real => plain(Op::Msgget, || real(key, flags));
    Msgsnd, msgsnd(id: c_int, message: *const c_void, size: usize, flags: c_int) -> c_int, real =>
        plain(Op::Msgsnd, || real(id, message, size, flags));
    Msgrcv, msgrcv(id: c_int, message: *mut c_void, size: usize, kind: c_long, flags: c_int) -> isize, real =>
        simple(Op::Msgrcv, Target::Nothing, || real(id, message, size, kind, flags), |errno| minus_one(errno) as isize);
}

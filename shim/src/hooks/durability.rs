//! What makes data last, the room it gets, locks, and other calls on an open file that move no data.

use super::{CWD, plain, simple, tracked};
use crate::disk::{Claim, Freed, Place};
use crate::real::hooks;
use crate::select::Target;
use chaos_table::calls::Op;
use libc::{c_char, c_int, c_uint, c_ulong, c_void, off_t};

fn on_fd(op: Op, fd: c_int, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    plain(op, Target::Fd(fd), flags, real)
}

fn sizing(fd: c_int, len: off_t, real: impl FnOnce() -> c_int) -> c_int {
    Freed::by_size(fd, len).after(|| on_fd(Op::Ftruncate, fd, 0, real))
}

fn sizing_path(path: *const c_char, len: off_t, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the program's own argument.
    let freed = unsafe { Freed::by_path(path, len) };
    freed.after(|| plain(Op::Truncate, Target::Path(CWD, path), 0, real))
}

/// A call that gives a file blocks, all or none, or takes some away.
pub(super) fn allocating<R: PartialEq + Default>(
    fd: c_int,
    mode: c_int,
    at: off_t,
    len: off_t,
    call: impl FnOnce() -> R,
) -> R {
    if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
        return Freed::by_hole(fd, at, len).after(call);
    }
    let adds = mode == 0 && (tracked(Op::Fallocate) || tracked(Op::PosixFallocate));
    let claim = if adds { Claim::of(fd, Place::At(at), usize::try_from(len).unwrap_or(0), true) } else { None };
    let Some(claim) = claim else { return call() };
    let result = claim.during(call);
    claim.settle(if result == R::default() { len as u64 } else { 0 });
    result
}

hooks! {
    Fsync, fsync(fd: c_int) -> c_int, real => on_fd(Op::Fsync, fd, 0, || real(fd));
    Fdatasync, fdatasync(fd: c_int) -> c_int, real => on_fd(Op::Fdatasync, fd, 0, || real(fd));
    SyncFileRange, sync_file_range(fd: c_int, at: off_t, len: off_t, flags: c_uint) -> c_int, real =>
        on_fd(Op::SyncFileRange, fd, 0, || real(fd, at, len, flags));
    Syncfs, syncfs(fd: c_int) -> c_int, real => on_fd(Op::Syncfs, fd, 0, || real(fd));
    Sync, sync() -> (), real => simple(Op::Sync, Target::Nothing, || real(), |_| ());
    Msync, msync(at: *mut c_void, len: usize, flags: c_int) -> c_int, real =>
        plain(Op::Msync, Target::Nothing, flags, || real(at, len, flags));
    Ftruncate, ftruncate(fd: c_int, len: off_t) -> c_int, real => sizing(fd, len, || real(fd, len));
    Ftruncate, ftruncate64 or ftruncate(fd: c_int, len: off_t) -> c_int, real => sizing(fd, len, || real(fd, len));
    Truncate, truncate(path: *const c_char, len: off_t) -> c_int, real => sizing_path(path, len, || real(path, len));
    Truncate, truncate64 or truncate(path: *const c_char, len: off_t) -> c_int, real =>
        sizing_path(path, len, || real(path, len));
    Fallocate, fallocate(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int, real =>
        allocating(fd, mode, at, len, || on_fd(Op::Fallocate, fd, 0, || real(fd, mode, at, len)));
    Fallocate, fallocate64 or fallocate(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int, real =>
        allocating(fd, mode, at, len, || on_fd(Op::Fallocate, fd, 0, || real(fd, mode, at, len)));
    // libc writes each block where the file system cannot: it fails as a whole or not at all.
    PosixFallocate, posix_fallocate(fd: c_int, at: off_t, len: off_t) -> c_int, real =>
        allocating(fd, 0, at, len, || simple(Op::PosixFallocate, Target::Fd(fd), || real(fd, at, len), |code| code));
    PosixFallocate, posix_fallocate64 or posix_fallocate(fd: c_int, at: off_t, len: off_t) -> c_int, real =>
        allocating(fd, 0, at, len, || simple(Op::PosixFallocate, Target::Fd(fd), || real(fd, at, len), |code| code));

    Lseek, lseek(fd: c_int, at: off_t, whence: c_int) -> off_t, real =>
        plain(Op::Lseek, Target::Fd(fd), whence, || real(fd, at, whence));
    Lseek, lseek64 or lseek(fd: c_int, at: off_t, whence: c_int) -> off_t, real =>
        plain(Op::Lseek, Target::Fd(fd), whence, || real(fd, at, whence));
    Flock, flock(fd: c_int, operation: c_int) -> c_int, real => on_fd(Op::Flock, fd, operation, || real(fd, operation));
    Lockf, lockf(fd: c_int, command: c_int, len: off_t) -> c_int, real =>
        on_fd(Op::Lockf, fd, command, || real(fd, command, len));
    Lockf, lockf64 or lockf(fd: c_int, command: c_int, len: off_t) -> c_int, real =>
        on_fd(Op::Lockf, fd, command, || real(fd, command, len));
    // The third argument is always passed on, asked for or not.
    Ioctl, ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int, real =>
        on_fd(Op::Ioctl, fd, request as c_int, || real(fd, request, argument));
}

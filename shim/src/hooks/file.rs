//! Files and whatever else has a descriptor: data, opening, closing, duplicating.

use super::data::{Memory, Vector, transfer, transfer_vector};
use super::{minus_one, plain, simple, tracked, with_flags};
use crate::call;
use crate::disk::{self, Freed};
use crate::effects::{self, Outcome};
use crate::real::{hooks, set_errno};
use crate::select::Target;
use crate::session::attached;
use crate::{fds, init};
use chaos_table::calls::Op;
use libc::{DIR, c_char, c_int, c_uint, c_void, iovec, mode_t, off_t};

/// What creat opens with.
pub(super) const CREAT: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;

/// An open: asks, opens, and forgets what the descriptor was before.
#[inline(always)]
pub(super) fn opening(dirfd: c_int, path: *const c_char, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    init::before_open(dirfd, path);
    let fd = with_flags(Op::Open, Target::Path(dirfd, path), flags, real, minus_one);
    after_open(dirfd, path, fd);
    fd
}

pub(super) fn after_open(dirfd: c_int, path: *const c_char, fd: c_int) {
    if tracked(Op::Open) {
        fds::forget(fd);
        disk::opened(fd);
        if let Some(session) = attached() {
            fds::opened(session, fd, dirfd, path);
        }
        if init::awaits_sign() {
            let saved = crate::real::errno();
            // SAFETY: the program's own argument, which open has just read.
            unsafe { init::sign_of_path(dirfd, path, fd >= 0) };
            set_errno(saved);
        }
    }
}

/// A close always closes; an error is told afterwards, since Linux frees the descriptor anyway.
#[inline(always)]
pub(super) fn closing(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let first = call::judge(Op::Close, Target::Fd(fd), 0);
    let outcome = first.map(|first| call::deliver(first, Target::Fd(fd), 0, 0));
    fds::forget(fd);
    let freed = Freed::by_close(fd);
    let result = real();
    freed.happened();
    if let Some(Outcome::Fail(errno, ticket)) = outcome {
        return effects::fail(errno, &ticket) as c_int;
    }
    result
}

/// A call that makes a descriptor.
#[inline(always)]
pub(super) fn making(op: Op, real: impl FnOnce() -> c_int) -> c_int {
    let fd = simple(op, Target::Nothing, real, minus_one);
    if fd >= 0 {
        fds::forget(fd);
    }
    fd
}

fn directory(path: *const c_char, real: impl FnOnce() -> *mut DIR) -> *mut DIR {
    let dir = plain(Op::Opendir, Target::Path(libc::AT_FDCWD, path), 0, real);
    if !dir.is_null() {
        // SAFETY: a directory stream that libc has just made.
        fds::forget(unsafe { libc::dirfd(dir) });
    }
    dir
}

hooks! {
    [ahead fd] Read, read(fd: c_int, buffer: *mut c_void, len: usize) -> isize, real =>
        transfer(Op::Read, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len));
    Read, __read_chk or read(fd: c_int, buffer: *mut c_void, len: usize, room: usize) -> isize, real =>
        transfer(Op::Read, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len, room));
    [ahead fd] Pread, pread(fd: c_int, buffer: *mut c_void, len: usize, at: off_t) -> isize, real =>
        transfer(Op::Pread, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len, at));
    [ahead fd] Pread, pread64 or pread(fd: c_int, buffer: *mut c_void, len: usize, at: off_t) -> isize, real =>
        transfer(Op::Pread, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len, at));
    Pread, __pread_chk or pread(fd: c_int, buffer: *mut c_void, len: usize, at: off_t, room: usize) -> isize, real =>
        transfer(Op::Pread, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len, at, room));
    Pread, __pread64_chk or pread(fd: c_int, buffer: *mut c_void, len: usize, at: off_t, room: usize) -> isize, real =>
        transfer(Op::Pread, fd, len, 0, Memory::Into(buffer), |to, len| real(fd, to, len, at, room));
    [ahead fd] Readv, readv(fd: c_int, list: *const iovec, count: c_int) -> isize, real =>
        transfer_vector(Op::Readv, fd, Vector::sink(list, count), |list, count| real(fd, list, count));
    Preadv, preadv(fd: c_int, list: *const iovec, count: c_int, at: off_t) -> isize, real =>
        transfer_vector(Op::Preadv, fd, Vector::sink(list, count), |list, count| real(fd, list, count, at));
    Preadv, preadv64 or preadv(fd: c_int, list: *const iovec, count: c_int, at: off_t) -> isize, real =>
        transfer_vector(Op::Preadv, fd, Vector::sink(list, count), |list, count| real(fd, list, count, at));
    Preadv, preadv2(fd: c_int, list: *const iovec, count: c_int, at: off_t, flags: c_int) -> isize, real =>
        transfer_vector(Op::Preadv, fd, Vector::sink(list, count), |list, count| real(fd, list, count, at, flags));
    Preadv, preadv64v2(fd: c_int, list: *const iovec, count: c_int, at: off_t, flags: c_int) -> isize, real =>
        transfer_vector(Op::Preadv, fd, Vector::sink(list, count), |list, count| real(fd, list, count, at, flags));
    [ahead fd] Write, write(fd: c_int, buffer: *const c_void, len: usize) -> isize, real =>
        transfer(Op::Write, fd, len, 0, Memory::From(buffer), |from, len| real(fd, from, len));
    [ahead fd] Pwrite, pwrite(fd: c_int, buffer: *const c_void, len: usize, at: off_t) -> isize, real =>
        transfer(Op::Pwrite, fd, len, 0, Memory::FromAt(buffer, at), |from, len| real(fd, from, len, at));
    [ahead fd] Pwrite, pwrite64 or pwrite(fd: c_int, buffer: *const c_void, len: usize, at: off_t) -> isize, real =>
        transfer(Op::Pwrite, fd, len, 0, Memory::FromAt(buffer, at), |from, len| real(fd, from, len, at));
    [ahead fd] Writev, writev(fd: c_int, list: *const iovec, count: c_int) -> isize, real =>
        transfer_vector(Op::Writev, fd, Vector::source(list, count), |list, count| real(fd, list, count));
    Pwritev, pwritev(fd: c_int, list: *const iovec, count: c_int, at: off_t) -> isize, real =>
        transfer_vector(Op::Pwritev, fd, Vector::source_at(list, count, at), |list, count| real(fd, list, count, at));
    Pwritev, pwritev64 or pwritev(fd: c_int, list: *const iovec, count: c_int, at: off_t) -> isize, real =>
        transfer_vector(Op::Pwritev, fd, Vector::source_at(list, count, at), |list, count| real(fd, list, count, at));
    Pwritev, pwritev2(fd: c_int, list: *const iovec, count: c_int, at: off_t, flags: c_int) -> isize, real =>
        transfer_vector(Op::Pwritev, fd, Vector::source_at(list, count, at), |list, count| real(fd, list, count, at, flags));
    Pwritev, pwritev64v2(fd: c_int, list: *const iovec, count: c_int, at: off_t, flags: c_int) -> isize, real =>
        transfer_vector(Op::Pwritev, fd, Vector::source_at(list, count, at), |list, count| real(fd, list, count, at, flags));

    // The third argument is always passed on, asked for or not: the mode of a file that is made.
    Open, open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, real =>
        opening(libc::AT_FDCWD, path, flags, || real(path, flags, mode));
    Open, open64 or open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, real =>
        opening(libc::AT_FDCWD, path, flags, || real(path, flags, mode));
    Open, openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, real =>
        opening(dirfd, path, flags, || real(dirfd, path, flags, mode));
    Open, openat64 or openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, real =>
        opening(dirfd, path, flags, || real(dirfd, path, flags, mode));
    Open, creat(path: *const c_char, mode: mode_t) -> c_int, real =>
        opening(libc::AT_FDCWD, path, CREAT, || real(path, mode));
    Open, creat64 or creat(path: *const c_char, mode: mode_t) -> c_int, real =>
        opening(libc::AT_FDCWD, path, CREAT, || real(path, mode));
    Open, __open_2 or open(path: *const c_char, flags: c_int) -> c_int, real =>
        opening(libc::AT_FDCWD, path, flags, || real(path, flags));
    Open, __open64_2 or open(path: *const c_char, flags: c_int) -> c_int, real =>
        opening(libc::AT_FDCWD, path, flags, || real(path, flags));
    Open, __openat_2 or openat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int, real =>
        opening(dirfd, path, flags, || real(dirfd, path, flags));
    Open, __openat64_2 or openat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int, real =>
        opening(dirfd, path, flags, || real(dirfd, path, flags));

    Close, close(fd: c_int) -> c_int, real => closing(fd, || real(fd));
    CloseRange, close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int, real => {
        if flags & libc::CLOSE_RANGE_CLOEXEC as c_int == 0 {
            fds::forget_range(first, last);
        }
        simple(Op::CloseRange, Target::Nothing, || real(first, last, flags), minus_one)
    };
    CloseRange, closefrom(first: c_int) -> (), real => {
        fds::forget_range(first.max(0) as u32, u32::MAX);
        simple(Op::CloseRange, Target::Nothing, || real(first), |_| ());
    };
    Dup, dup(fd: c_int) -> c_int, real => making(Op::Dup, || real(fd));
    Dup, dup2(from: c_int, to: c_int) -> c_int, real => making(Op::Dup, || real(from, to));
    Dup, dup3(from: c_int, to: c_int, flags: c_int) -> c_int, real => making(Op::Dup, || real(from, to, flags));
    Fcntl, fcntl(fd: c_int, command: c_int, argument: usize) -> c_int, real =>
        duplicating(command, || real(fd, command, argument));
    Fcntl, fcntl64 or fcntl(fd: c_int, command: c_int, argument: usize) -> c_int, real =>
        duplicating(command, || real(fd, command, argument));

    Opendir, opendir(path: *const c_char) -> *mut DIR, real => directory(path, || real(path));
    Fdopendir, fdopendir(fd: c_int) -> *mut DIR, real => plain(Op::Fdopendir, Target::Fd(fd), 0, || real(fd));
    Closedir, closedir(dir: *mut DIR) -> c_int, real => {
        if !dir.is_null() {
            fds::forget(libc::dirfd(dir));
        }
        simple(Op::Closedir, Target::Nothing, || real(dir), minus_one)
    };
}

/// fcntl: most commands are none of our business; some make a descriptor.
pub(super) fn duplicating(command: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = with_flags(Op::Fcntl, Target::Nothing, command, real, minus_one);
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) && result >= 0 {
        fds::forget(result);
    }
    result
}

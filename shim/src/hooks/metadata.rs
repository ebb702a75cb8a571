//! Metadata: what files are, who may do what with them, and their times and attributes.

use super::{CWD, looked_up, plain};
use crate::portable::{kernel_fstat, kernel_fstatat, kernel_lstat, kernel_stat, kernel_statx};
use crate::real::hooks;
use crate::select::Target;
use chaos_table::calls::Op;
use libc::{c_char, c_int, c_uint, c_void, gid_t, mode_t, timespec, timeval, uid_t, utimbuf};

type Name = *const c_char;
type Buffer = *mut c_void;

/// What a path leads to, as `flags` say.
pub(super) fn by_flags(flags: c_int, dirfd: c_int, path: Name) -> Target {
    // futimens and its kin name the descriptor by no path at all.
    let path = if path.is_null() { c"".as_ptr() } else { path };
    looked_up(flags & libc::AT_SYMLINK_NOFOLLOW == 0, dirfd, path)
}

fn stating(dirfd: c_int, path: Name, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    plain(Op::Stat, by_flags(flags, dirfd, path), 0, real)
}

fn on_path(op: Op, path: Name, real: impl FnOnce() -> c_int) -> c_int {
    plain(op, Target::Path(CWD, path), 0, real)
}

fn on_link(op: Op, path: Name, real: impl FnOnce() -> c_int) -> c_int {
    plain(op, Target::Entry(CWD, path), 0, real)
}

fn on_fd(op: Op, fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    plain(op, Target::Fd(fd), 0, real)
}

hooks! {
    Stat, stat or kernel_stat(path: Name, to: Buffer) -> c_int, real => stating(CWD, path, 0, || real(path, to));
    Stat, stat64 or kernel_stat(path: Name, to: Buffer) -> c_int, real => stating(CWD, path, 0, || real(path, to));
    Stat, lstat or kernel_lstat(path: Name, to: Buffer) -> c_int, real => on_link(Op::Stat, path, || real(path, to));
    Stat, lstat64 or kernel_lstat(path: Name, to: Buffer) -> c_int, real => on_link(Op::Stat, path, || real(path, to));
    Stat, fstatat or kernel_fstatat(dirfd: c_int, path: Name, to: Buffer, flags: c_int) -> c_int, real =>
        stating(dirfd, path, flags, || real(dirfd, path, to, flags));
    Stat, fstatat64 or kernel_fstatat(dirfd: c_int, path: Name, to: Buffer, flags: c_int) -> c_int, real =>
        stating(dirfd, path, flags, || real(dirfd, path, to, flags));
    Stat, statx or kernel_statx(dirfd: c_int, path: Name, flags: c_int, mask: c_uint, to: Buffer) -> c_int, real =>
        stating(dirfd, path, flags, || real(dirfd, path, flags, mask, to));
    Stat, __xstat(version: c_int, path: Name, to: Buffer) -> c_int, real =>
        stating(CWD, path, 0, || real(version, path, to));
    Stat, __xstat64 or __xstat(version: c_int, path: Name, to: Buffer) -> c_int, real =>
        stating(CWD, path, 0, || real(version, path, to));
    Stat, __lxstat(version: c_int, path: Name, to: Buffer) -> c_int, real =>
        on_link(Op::Stat, path, || real(version, path, to));
    Stat, __lxstat64 or __lxstat(version: c_int, path: Name, to: Buffer) -> c_int, real =>
        on_link(Op::Stat, path, || real(version, path, to));
    Stat, __fxstatat(version: c_int, dirfd: c_int, path: Name, to: Buffer, flags: c_int) -> c_int, real =>
        stating(dirfd, path, flags, || real(version, dirfd, path, to, flags));
    Stat, __fxstatat64 or __fxstatat(version: c_int, dirfd: c_int, path: Name, to: Buffer, flags: c_int) -> c_int, real =>
        stating(dirfd, path, flags, || real(version, dirfd, path, to, flags));
    Fstat, fstat or kernel_fstat(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstat, fd, || real(fd, to));
    Fstat, fstat64 or kernel_fstat(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstat, fd, || real(fd, to));
    Fstat, __fxstat(version: c_int, fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstat, fd, || real(version, fd, to));
    Fstat, __fxstat64 or __fxstat(version: c_int, fd: c_int, to: Buffer) -> c_int, real =>
        on_fd(Op::Fstat, fd, || real(version, fd, to));
    Statfs, statfs(path: Name, to: Buffer) -> c_int, real => on_path(Op::Statfs, path, || real(path, to));
    Statfs, statfs64 or statfs(path: Name, to: Buffer) -> c_int, real => on_path(Op::Statfs, path, || real(path, to));
    Statfs, statvfs(path: Name, to: Buffer) -> c_int, real => on_path(Op::Statfs, path, || real(path, to));
    Statfs, statvfs64 or statvfs(path: Name, to: Buffer) -> c_int, real => on_path(Op::Statfs, path, || real(path, to));
    Fstatfs, fstatfs(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstatfs, fd, || real(fd, to));
    Fstatfs, fstatfs64 or fstatfs(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstatfs, fd, || real(fd, to));
    Fstatfs, fstatvfs(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstatfs, fd, || real(fd, to));
    Fstatfs, fstatvfs64 or fstatvfs(fd: c_int, to: Buffer) -> c_int, real => on_fd(Op::Fstatfs, fd, || real(fd, to));

    Access, access(path: Name, mode: c_int) -> c_int, real =>
        plain(Op::Access, Target::Path(CWD, path), mode, || real(path, mode));
    Access, faccessat(dirfd: c_int, path: Name, mode: c_int, flags: c_int) -> c_int, real =>
        plain(Op::Access, by_flags(flags, dirfd, path), mode, || real(dirfd, path, mode, flags));
    Access, eaccess(path: Name, mode: c_int) -> c_int, real =>
        plain(Op::Access, Target::Path(CWD, path), mode, || real(path, mode));
    Access, euidaccess(path: Name, mode: c_int) -> c_int, real =>
        plain(Op::Access, Target::Path(CWD, path), mode, || real(path, mode));

    Chmod, chmod(path: Name, mode: mode_t) -> c_int, real => on_path(Op::Chmod, path, || real(path, mode));
    Chmod, lchmod(path: Name, mode: mode_t) -> c_int, real => on_link(Op::Chmod, path, || real(path, mode));
    Chmod, fchmodat(dirfd: c_int, path: Name, mode: mode_t, flags: c_int) -> c_int, real =>
        plain(Op::Chmod, by_flags(flags, dirfd, path), 0, || real(dirfd, path, mode, flags));
    Fchmod, fchmod(fd: c_int, mode: mode_t) -> c_int, real => on_fd(Op::Fchmod, fd, || real(fd, mode));
    Chown, chown(path: Name, uid: uid_t, gid: gid_t) -> c_int, real => on_path(Op::Chown, path, || real(path, uid, gid));
    Chown, lchown(path: Name, uid: uid_t, gid: gid_t) -> c_int, real => on_link(Op::Chown, path, || real(path, uid, gid));
    Chown, fchownat(dirfd: c_int, path: Name, uid: uid_t, gid: gid_t, flags: c_int) -> c_int, real =>
        plain(Op::Chown, by_flags(flags, dirfd, path), 0, || real(dirfd, path, uid, gid, flags));
    Fchown, fchown(fd: c_int, uid: uid_t, gid: gid_t) -> c_int, real => on_fd(Op::Fchown, fd, || real(fd, uid, gid));
    Utimens, utimensat(dirfd: c_int, path: Name, times: *const timespec, flags: c_int) -> c_int, real =>
        plain(Op::Utimens, by_flags(flags, dirfd, path), 0, || real(dirfd, path, times, flags));
    Utimens, utime(path: Name, times: *const utimbuf) -> c_int, real => on_path(Op::Utimens, path, || real(path, times));
    Utimens, utimes(path: Name, times: *const timeval) -> c_int, real => on_path(Op::Utimens, path, || real(path, times));
    Utimens, lutimes(path: Name, times: *const timeval) -> c_int, real => on_link(Op::Utimens, path, || real(path, times));
    Utimens, futimesat(dirfd: c_int, path: Name, times: *const timeval) -> c_int, real =>
        plain(Op::Utimens, by_flags(0, dirfd, path), 0, || real(dirfd, path, times));
    Futimens, futimens(fd: c_int, times: *const timespec) -> c_int, real => on_fd(Op::Futimens, fd, || real(fd, times));
    Futimens, futimes(fd: c_int, times: *const timeval) -> c_int, real => on_fd(Op::Futimens, fd, || real(fd, times));

    Getxattr, getxattr(path: Name, name: Name, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Getxattr, Target::Path(CWD, path), 0, || real(path, name, to, len));
    Getxattr, lgetxattr(path: Name, name: Name, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Getxattr, Target::Entry(CWD, path), 0, || real(path, name, to, len));
    Fgetxattr, fgetxattr(fd: c_int, name: Name, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Fgetxattr, Target::Fd(fd), 0, || real(fd, name, to, len));
    Setxattr, setxattr(path: Name, name: Name, from: Buffer, len: usize, flags: c_int) -> c_int, real =>
        on_path(Op::Setxattr, path, || real(path, name, from, len, flags));
    Setxattr, lsetxattr(path: Name, name: Name, from: Buffer, len: usize, flags: c_int) -> c_int, real =>
        on_link(Op::Setxattr, path, || real(path, name, from, len, flags));
    Fsetxattr, fsetxattr(fd: c_int, name: Name, from: Buffer, len: usize, flags: c_int) -> c_int, real =>
        on_fd(Op::Fsetxattr, fd, || real(fd, name, from, len, flags));
    Listxattr, listxattr(path: Name, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Listxattr, Target::Path(CWD, path), 0, || real(path, to, len));
    Listxattr, llistxattr(path: Name, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Listxattr, Target::Entry(CWD, path), 0, || real(path, to, len));
    Flistxattr, flistxattr(fd: c_int, to: Buffer, len: usize) -> isize, real =>
        plain(Op::Flistxattr, Target::Fd(fd), 0, || real(fd, to, len));
    Removexattr, removexattr(path: Name, name: Name) -> c_int, real =>
        on_path(Op::Removexattr, path, || real(path, name));
    Removexattr, lremovexattr(path: Name, name: Name) -> c_int, real =>
        on_link(Op::Removexattr, path, || real(path, name));
    Fremovexattr, fremovexattr(fd: c_int, name: Name) -> c_int, real => on_fd(Op::Fremovexattr, fd, || real(fd, name));
}

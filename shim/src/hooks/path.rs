//! Names: what directories hold, where they lead, and the directory that a process is in.

use super::{CWD, looked_up, plain, simple, tracked};
use crate::disk::Freed;
use crate::real::hooks;
use crate::select::Target;
use crate::{fds, paths};
use chaos_table::calls::Op;
use libc::{DIR, c_char, c_int, c_uint, c_void, dev_t, dirent, mode_t};

type Name = *const c_char;

/// A rename; open files may have other paths afterwards.
pub(super) fn renaming(old: (c_int, Name), new: (c_int, Name), real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the program's own arguments.
    let freed = unsafe { Freed::by_name(new.0, new.1) };
    let result = plain(Op::Rename, Target::Entries(old, new), 0, real);
    // SAFETY: as above. What stands under the old name now was exchanged, not replaced.
    if result == 0 && !freed.is(unsafe { Freed::by_name(old.0, old.1) }) {
        freed.happened();
    }
    if result == 0 && tracked(Op::Rename) {
        fds::renamed();
        paths::renamed();
    }
    result
}

/// A link is made: what its name was before is known no more.
fn linking(dirfd: c_int, path: Name, real: impl FnOnce() -> c_int) -> c_int {
    let result = on_entry(Op::Symlink, dirfd, path, real);
    if result == 0 && tracked(Op::Symlink) {
        paths::renamed();
    }
    result
}

fn unlinking(dirfd: c_int, path: Name, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the program's own argument.
    let freed = unsafe { Freed::by_name(dirfd, path) };
    freed.after(|| plain(Op::Unlink, Target::Entry(dirfd, path), flags, real))
}

/// A call on the entry under a path.
fn on_entry(op: Op, dirfd: c_int, path: Name, real: impl FnOnce() -> c_int) -> c_int {
    plain(op, Target::Entry(dirfd, path), 0, real)
}

/// A read of a directory: the end and an error are both NULL, told apart by errno.
fn on_directory(dir: *mut DIR, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    plain(Op::Readdir, directory(dir), 0, real)
}

fn directory(dir: *mut DIR) -> Target {
    // SAFETY: the program's own argument of readdir; it only looks at the stream.
    if dir.is_null() { Target::Nothing } else { Target::Fd(unsafe { libc::dirfd(dir) }) }
}

/// readdir_r says its errno itself, and that there is no entry.
///
/// # Safety
/// `result` must be the program's own argument.
unsafe fn reading_into(dir: *mut DIR, result: *mut *mut dirent, real: impl FnOnce() -> c_int) -> c_int {
    simple(Op::ReaddirR, directory(dir), real, |errno| {
        // SAFETY: the call would store there as well.
        unsafe { *result = std::ptr::null_mut() };
        errno
    })
}

/// Answers that are a string, or NULL.
fn resolving(path: Name, real: impl FnOnce() -> *mut c_char) -> *mut c_char {
    plain(Op::Realpath, Target::Path(CWD, path), 0, real)
}

fn working_directory(real: impl FnOnce() -> *mut c_char) -> *mut c_char {
    plain(Op::Getcwd, Target::Nothing, 0, real)
}

/// A call that makes a file from a template; the path is known as the program wrote it.
fn making_from(template: *mut c_char, real: impl FnOnce() -> c_int) -> c_int {
    let fd = plain(Op::Mkstemp, Target::Entry(CWD, template), 0, real);
    fds::forget(fd);
    fd
}

hooks! {
    Rename, rename(old: Name, new: Name) -> c_int, real => renaming((CWD, old), (CWD, new), || real(old, new));
    Rename, renameat(olddir: c_int, old: Name, newdir: c_int, new: Name) -> c_int, real =>
        renaming((olddir, old), (newdir, new), || real(olddir, old, newdir, new));
    Rename, renameat2(olddir: c_int, old: Name, newdir: c_int, new: Name, flags: c_uint) -> c_int, real =>
        renaming((olddir, old), (newdir, new), || real(olddir, old, newdir, new, flags));
    Unlink, unlink(path: Name) -> c_int, real => unlinking(CWD, path, 0, || real(path));
    Unlink, unlinkat(dirfd: c_int, path: Name, flags: c_int) -> c_int, real =>
        unlinking(dirfd, path, flags, || real(dirfd, path, flags));
    // What it is may be a directory: both its errors fit.
    Unlink, remove(path: Name) -> c_int, real => unlinking(CWD, path, libc::AT_REMOVEDIR, || real(path));
    Link, link(old: Name, new: Name) -> c_int, real =>
        plain(Op::Link, Target::Entries((CWD, old), (CWD, new)), 0, || real(old, new));
    Link, linkat(olddir: c_int, old: Name, newdir: c_int, new: Name, flags: c_int) -> c_int, real =>
        plain(Op::Link, Target::Entries((olddir, old), (newdir, new)), 0, || real(olddir, old, newdir, new, flags));
    // What a symbolic link says is text: only its own name is a path that is acted on.
    Symlink, symlink(text: Name, path: Name) -> c_int, real => linking(CWD, path, || real(text, path));
    Symlink, symlinkat(text: Name, dirfd: c_int, path: Name) -> c_int, real =>
        linking(dirfd, path, || real(text, dirfd, path));
    Mkdir, mkdir(path: Name, mode: mode_t) -> c_int, real => on_entry(Op::Mkdir, CWD, path, || real(path, mode));
    Mkdir, mkdirat(dirfd: c_int, path: Name, mode: mode_t) -> c_int, real =>
        on_entry(Op::Mkdir, dirfd, path, || real(dirfd, path, mode));
    Rmdir, rmdir(path: Name) -> c_int, real => on_entry(Op::Rmdir, CWD, path, || real(path));
    Mknod, mknod(path: Name, mode: mode_t, device: dev_t) -> c_int, real =>
        on_entry(Op::Mknod, CWD, path, || real(path, mode, device));
    Mknod, mknodat(dirfd: c_int, path: Name, mode: mode_t, device: dev_t) -> c_int, real =>
        on_entry(Op::Mknod, dirfd, path, || real(dirfd, path, mode, device));
    Mknod, __xmknod(version: c_int, path: Name, mode: mode_t, device: *mut dev_t) -> c_int, real =>
        on_entry(Op::Mknod, CWD, path, || real(version, path, mode, device));
    Mknod, __xmknodat(version: c_int, dirfd: c_int, path: Name, mode: mode_t, device: *mut dev_t) -> c_int, real =>
        on_entry(Op::Mknod, dirfd, path, || real(version, dirfd, path, mode, device));
    Mknod, mkfifo(path: Name, mode: mode_t) -> c_int, real => on_entry(Op::Mknod, CWD, path, || real(path, mode));
    Mknod, mkfifoat(dirfd: c_int, path: Name, mode: mode_t) -> c_int, real =>
        on_entry(Op::Mknod, dirfd, path, || real(dirfd, path, mode));

    Readlink, readlink(path: Name, buffer: *mut c_char, len: usize) -> isize, real =>
        plain(Op::Readlink, Target::Entry(CWD, path), 0, || real(path, buffer, len));
    Readlink, readlinkat(dirfd: c_int, path: Name, buffer: *mut c_char, len: usize) -> isize, real =>
        plain(Op::Readlink, Target::Entry(dirfd, path), 0, || real(dirfd, path, buffer, len));
    Readlink, __readlink_chk or readlink(path: Name, buffer: *mut c_char, len: usize, room: usize) -> isize, real =>
        plain(Op::Readlink, Target::Entry(CWD, path), 0, || real(path, buffer, len, room));
    Readlink, __readlinkat_chk or readlinkat(dirfd: c_int, path: Name, buffer: *mut c_char, len: usize, room: usize) -> isize,
        real => plain(Op::Readlink, Target::Entry(dirfd, path), 0, || real(dirfd, path, buffer, len, room));
    [since "GLIBC_2.3"] Realpath, realpath(path: Name, resolved: *mut c_char) -> *mut c_char, real =>
        resolving(path, || real(path, resolved));
    Realpath, __realpath_chk or realpath(path: Name, resolved: *mut c_char, room: usize) -> *mut c_char, real =>
        resolving(path, || real(path, resolved, room));
    Realpath, canonicalize_file_name(path: Name) -> *mut c_char, real => resolving(path, || real(path));

    Readdir, readdir(dir: *mut DIR) -> *mut c_void, real => on_directory(dir, || real(dir));
    Readdir, readdir64 or readdir(dir: *mut DIR) -> *mut c_void, real => on_directory(dir, || real(dir));
    ReaddirR, readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int, real =>
        reading_into(dir, result, || real(dir, entry, result));
    ReaddirR, readdir64_r or readdir_r(dir: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int, real =>
        reading_into(dir, result, || real(dir, entry, result));
    Getdents, getdents64(fd: c_int, buffer: *mut c_void, len: usize) -> isize, real =>
        plain(Op::Getdents, Target::Fd(fd), 0, || real(fd, buffer, len));
    Scandir, scandir(path: Name, list: *mut c_void, filter: *const c_void, compare: *const c_void) -> c_int, real =>
        plain(Op::Scandir, Target::Path(CWD, path), 0, || real(path, list, filter, compare));
    Scandir, scandir64 or scandir(path: Name, list: *mut c_void, filter: *const c_void, compare: *const c_void) -> c_int,
        real => plain(Op::Scandir, Target::Path(CWD, path), 0, || real(path, list, filter, compare));
    Scandir, scandirat(dirfd: c_int, path: Name, list: *mut c_void, filter: *const c_void, compare: *const c_void) -> c_int,
        real => plain(Op::Scandir, Target::Path(dirfd, path), 0, || real(dirfd, path, list, filter, compare));
    Scandir, scandirat64 or scandirat(dirfd: c_int, path: Name, list: *mut c_void, filter: *const c_void, compare: *const c_void)
        -> c_int, real => plain(Op::Scandir, Target::Path(dirfd, path), 0, || real(dirfd, path, list, filter, compare));

    Chdir, chdir(path: Name) -> c_int, real => plain(Op::Chdir, Target::Path(CWD, path), 0, || real(path));
    Fchdir, fchdir(fd: c_int) -> c_int, real => plain(Op::Fchdir, Target::Fd(fd), 0, || real(fd));
    Chroot, chroot(path: Name) -> c_int, real => plain(Op::Chroot, Target::Path(CWD, path), 0, || real(path));
    Getcwd, getcwd(buffer: *mut c_char, len: usize) -> *mut c_char, real => working_directory(|| real(buffer, len));
    Getcwd, __getcwd_chk or getcwd(buffer: *mut c_char, len: usize, room: usize) -> *mut c_char, real =>
        working_directory(|| real(buffer, len, room));
    Getcwd, get_current_dir_name() -> *mut c_char, real => working_directory(|| real());
    InotifyAddWatch, inotify_add_watch(fd: c_int, path: Name, mask: u32) -> c_int, real => {
        let target = looked_up(mask & libc::IN_DONT_FOLLOW == 0, CWD, path);
        plain(Op::InotifyAddWatch, target, 0, || real(fd, path, mask))
    };

    Mkstemp, mkstemp(template: *mut c_char) -> c_int, real => making_from(template, || real(template));
    Mkstemp, mkstemp64 or mkstemp(template: *mut c_char) -> c_int, real => making_from(template, || real(template));
    Mkstemp, mkostemp(template: *mut c_char, flags: c_int) -> c_int, real => making_from(template, || real(template, flags));
    Mkstemp, mkostemp64 or mkostemp(template: *mut c_char, flags: c_int) -> c_int, real =>
        making_from(template, || real(template, flags));
    Mkstemp, mkstemps(template: *mut c_char, suffix: c_int) -> c_int, real => making_from(template, || real(template, suffix));
    Mkstemp, mkstemps64 or mkstemps(template: *mut c_char, suffix: c_int) -> c_int, real =>
        making_from(template, || real(template, suffix));
    Mkstemp, mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int, real =>
        making_from(template, || real(template, suffix, flags));
    Mkstemp, mkostemps64 or mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int, real =>
        making_from(template, || real(template, suffix, flags));
    Mkdtemp, mkdtemp(template: *mut c_char) -> *mut c_char, real =>
        plain(Op::Mkdtemp, Target::Entry(CWD, template), 0, || real(template));
}

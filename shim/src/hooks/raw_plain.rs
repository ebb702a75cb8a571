//! Raw system calls that happen or fail, and copies: what each acts on.

use super::copy::copying;
use super::descriptors::{ringing, signalling};
use super::durability::allocating;
use super::file::making;
use super::metadata::by_flags;
use super::path::renaming;
use super::{CWD, looked_up, plain};
use crate::disk::Freed;
use crate::select::Target;
use chaos_table::calls::{Op, Subject};
use libc::{c_char, c_int, c_long, off_t};

/// Makes a raw system call of one of these operations, or fails it.
pub(super) fn calling(op: Op, number: c_long, args: [usize; 6], real: impl Fn([usize; 6]) -> c_long) -> c_long {
    let [a, b, c, d, e, _] = args;
    let whole = || real(args);
    let name = |at: usize| at as *const c_char;
    let moving = |to: (usize, usize), from: (usize, usize), len: usize, flags: usize, place: usize| {
        let again = |len: usize| {
            let mut args = args;
            if let Some(slot) = args.get_mut(place) {
                *slot = len;
            }
            real(args) as isize
        };
        let end = |(fd, at): (usize, usize)| (fd as c_int, at as *const off_t);
        copying(op, end(to), end(from), len, flags as c_int, again) as c_long
    };
    match number {
        libc::SYS_rename => c_long::from(renaming((CWD, name(a)), (CWD, name(b)), || whole() as c_int)),
        libc::SYS_renameat | libc::SYS_renameat2 => {
            c_long::from(renaming((a as c_int, name(b)), (c as c_int, name(d)), || whole() as c_int))
        }
        libc::SYS_sendfile => moving((a, 0), (b, c), d, 0, 3),
        libc::SYS_copy_file_range => moving((c, d), (a, b), e, 0, 4),
        libc::SYS_splice => moving((c, d), (a, b), e, args[5], 4),
        libc::SYS_tee => moving((b, 0), (a, 0), c, d, 2),
        libc::SYS_io_uring_setup => c_long::from(ringing(|| whole() as c_int)),
        libc::SYS_signalfd | libc::SYS_signalfd4 => c_long::from(signalling(a as c_int, || whole() as c_int)),
        libc::SYS_eventfd
        | libc::SYS_eventfd2
        | libc::SYS_timerfd_create
        | libc::SYS_inotify_init
        | libc::SYS_inotify_init1
        | libc::SYS_memfd_create => c_long::from(making(op, || whole() as c_int)),
        _ => match subject(op, number, args) {
            Some((target, flags)) => changing_size(number, args, || plain(op, target, flags, whole)),
            None => whole(),
        },
    }
}

/// Calls that change what files take of the disk.
fn changing_size(number: c_long, args: [usize; 6], call: impl FnOnce() -> c_long) -> c_long {
    let [a, b, c, d, ..] = args;
    // SAFETY: the program's own arguments.
    let freed = unsafe {
        match number {
            libc::SYS_ftruncate => Freed::by_size(a as c_int, b as i64),
            libc::SYS_truncate => Freed::by_path(a as *const c_char, b as i64),
            libc::SYS_unlink => Freed::by_name(CWD, a as *const c_char),
            libc::SYS_unlinkat => Freed::by_name(a as c_int, b as *const c_char),
            libc::SYS_fallocate => return allocating(a as c_int, b as c_int, c as i64, d as i64, call),
            _ => return call(),
        }
    };
    freed.after(call)
}

/// What a system call acts on, and the argument that says which errors fit it. Where nothing else is said here, its first
/// argument is what its row says: a descriptor, or a path. `None` for what is neither.
fn subject(op: Op, number: c_long, args: [usize; 6]) -> Option<(Target, c_int)> {
    let [a, b, c, d, e, _] = args;
    let (fd, name) = (a as c_int, a as *const c_char);
    let below = b as *const c_char;
    let found = match number {
        libc::SYS_flock | libc::SYS_ioctl => (Target::Fd(fd), b as c_int),
        libc::SYS_lseek => (Target::Fd(fd), c as c_int),
        libc::SYS_vmsplice => (Target::Fd(fd), d as c_int),
        libc::SYS_msync => (Target::Nothing, c as c_int),
        libc::SYS_access => (Target::Path(CWD, name), b as c_int),
        libc::SYS_unlink
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_mknod
        | libc::SYS_readlink
        | libc::SYS_lstat
        | libc::SYS_lchown
        | libc::SYS_lgetxattr
        | libc::SYS_lsetxattr
        | libc::SYS_llistxattr
        | libc::SYS_lremovexattr => (Target::Entry(CWD, name), 0),
        libc::SYS_unlinkat => (Target::Entry(fd, below), c as c_int),
        libc::SYS_mkdirat | libc::SYS_mknodat | libc::SYS_readlinkat => (Target::Entry(fd, below), 0),
        libc::SYS_link => (Target::Entries((CWD, name), (CWD, below)), 0),
        libc::SYS_linkat => (Target::Entries((fd, below), (c as c_int, d as *const c_char)), 0),
        libc::SYS_symlink => (Target::Entry(CWD, below), 0),
        libc::SYS_symlinkat => (Target::Entry(b as c_int, c as *const c_char), 0),
        libc::SYS_newfstatat => (by_flags(d as c_int, fd, below), 0),
        libc::SYS_statx => (by_flags(c as c_int, fd, below), 0),
        // Before faccessat2 and fchmodat2 these had no flags.
        libc::SYS_faccessat => (by_flags(0, fd, below), c as c_int),
        libc::SYS_faccessat2 => (by_flags(d as c_int, fd, below), c as c_int),
        libc::SYS_fchmodat | libc::SYS_futimesat => (by_flags(0, fd, below), 0),
        libc::SYS_fchmodat2 | libc::SYS_utimensat => (by_flags(d as c_int, fd, below), 0),
        libc::SYS_fchownat => (by_flags(e as c_int, fd, below), 0),
        libc::SYS_inotify_add_watch => (looked_up(c as u32 & libc::IN_DONT_FOLLOW == 0, CWD, below), 0),
        _ => match op.row().subject {
            Subject::Fd => (Target::Fd(fd), 0),
            Subject::Path => (Target::Path(CWD, name), 0),
            Subject::Nothing => (Target::Nothing, 0),
            Subject::Peer | Subject::Name | Subject::Memory | Subject::Program | Subject::Point => return None,
        },
    };
    Some(found)
}

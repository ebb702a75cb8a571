//! Which errors a kernel could give at calls on names, directories, metadata, locks and copies.

use super::{Kernel, Object};
use super::{Nature, nature};
use crate::calls::{Family, Op, Subject};

type Verdict = Result<(), &'static str>;

const NOT_HERE: &str = "only a transfer of data or a wait gives this error";
const NO_WAIT: &str = "this call does not wait";

/// Whether a kernel could fail this call with this errno; `None` for a call that is judged elsewhere. `flags` are the
/// call's own: its options, command, mode, or request.
pub(super) fn suits(k: &impl Kernel, op: Op, errno: i32, target: Object<'_>, flags: i32) -> Option<Verdict> {
    let verdict = match op {
        Op::Flock => lock(k, errno, target, flags & libc::LOCK_UN != 0, flags & libc::LOCK_NB != 0),
        Op::Lockf if errno == libc::EINTR && !is_locked_by_another(k, target) => {
            Err("nobody holds the lock, so the call does not wait")
        }
        Op::Lockf => lock(k, errno, target, flags == libc::F_ULOCK, flags == libc::F_TLOCK || flags == libc::F_TEST),
        Op::Lseek => seek(k, errno, target, flags),
        Op::Ioctl => ioctl(k, errno, target, flags as u32),
        Op::Msync => msync(errno, flags),
        Op::Signalfd if flags != -1 => Err("this signalfd makes no descriptor"),
        Op::Sendfile | Op::Splice | Op::Tee | Op::CopyFileRange => copy(k, op, errno, target, flags),
        Op::Vmsplice => match target {
            Object::Fd(fd) => copy(k, op, errno, Object::Fds(fd, fd), flags),
            _ => Ok(()),
        },
        Op::Open | Op::Fopen => match opens(errno, flags) {
            Ok(()) => return None,
            refused => refused,
        },
        Op::Access if errno == libc::EROFS && flags & libc::W_OK == 0 => Err("EROFS where nothing is to be written"),
        Op::Unlink if errno == libc::ENOTEMPTY && flags & libc::AT_REMOVEDIR == 0 => {
            Err("ENOTEMPTY on what is no directory")
        }
        Op::Unlink if errno == libc::EISDIR && flags & libc::AT_REMOVEDIR != 0 => {
            Err("EISDIR where a directory is removed")
        }
        Op::Fallocate | Op::PosixFallocate if errno == libc::EINTR => Ok(()),
        _ if is_on_open_file(op) => on_file(k, errno, target),
        _ if is_on_name(op) => on_name(errno, target),
        _ => return None,
    };
    Some(verdict)
}

/// Whether an open with these flags can fail so.
fn opens(errno: i32, flags: i32) -> Verdict {
    let has = |wanted: i32| flags & wanted == wanted;
    let makes = has(libc::O_CREAT) || has(libc::O_TMPFILE);
    let writes = makes || has(libc::O_TRUNC) || flags & libc::O_ACCMODE != libc::O_RDONLY;
    match errno {
        libc::EROFS | libc::ETXTBSY | libc::EISDIR if !writes => Err("this open is not for writing"),
        libc::ENOSPC | libc::EDQUOT if !makes => Err("this open makes no file"),
        libc::EEXIST if !has(libc::O_CREAT | libc::O_EXCL) => Err("only O_CREAT with O_EXCL minds what is there"),
        _ => Ok(()),
    }
}

/// Calls on an open file that move no data.
const fn is_on_open_file(op: Op) -> bool {
    matches!(
        op,
        Op::Fsync
            | Op::Fdatasync
            | Op::SyncFileRange
            | Op::Syncfs
            | Op::Ftruncate
            | Op::Fallocate
            | Op::PosixFallocate
            | Op::Fstat
            | Op::Fstatfs
            | Op::Fchmod
            | Op::Fchown
            | Op::Futimens
            | Op::Readdir
            | Op::ReaddirR
            | Op::Getdents
            | Op::Fchdir
            | Op::Fdopendir
            | Op::Fgetxattr
            | Op::Fsetxattr
            | Op::Flistxattr
            | Op::Fremovexattr
    )
}

/// Calls on paths that open nothing: an empty path names the descriptor.
#[must_use]
pub const fn is_on_name(op: Op) -> bool {
    matches!(op.row().subject, Subject::Path)
        && op.row().is_in(Family::Disk)
        && !matches!(op, Op::Open | Op::Opendir | Op::Mkstemp)
}

/// Whether the call is one whose hangs are judged by [`may_hang`].
pub(super) const fn waits(op: Op) -> bool {
    is_on_open_file(op)
        || matches!(op, Op::Flock | Op::Lockf | Op::Msync | Op::Sendfile | Op::Splice | Op::Tee | Op::CopyFileRange)
}

/// Whether the call can be held up: by the disk whatever the descriptor says, by others only where it waits for them.
pub(super) fn may_hang(k: &impl Kernel, op: Op, target: Object<'_>, flags: i32) -> Verdict {
    match (op, target) {
        (Op::Flock, _) if flags & (libc::LOCK_NB | libc::LOCK_UN) != 0 => Err("this call waits for no lock"),
        (Op::Lockf, _) if flags != libc::F_LOCK => Err("this call waits for no lock"),
        (Op::Msync, _) if flags & libc::MS_SYNC == 0 => Err("only MS_SYNC waits for the disk"),
        (_, Object::Fds(to, from)) if [to, from].into_iter().any(|fd| does_not_wait(k, fd)) => {
            Err("a non-blocking descriptor does not hang")
        }
        _ => Ok(()),
    }
}

/// Whether this is something to wait for, opened not to be waited for.
fn does_not_wait(k: &impl Kernel, fd: i32) -> bool {
    !nature(k, fd).is_file() && k.status_flags(fd) & libc::O_NONBLOCK != 0
}

/// A call on a path; an empty one names the descriptor, which cannot be missing or out of reach.
fn on_name(errno: i32, target: Object<'_>) -> Verdict {
    if is_transfer_error(errno) {
        return Err(NOT_HERE);
    }
    let of_the_way = matches!(errno, libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG);
    match target {
        Object::Path(true) if of_the_way => Err("the descriptor is open already: there is no path to fail on"),
        _ => Ok(()),
    }
}

/// A call on an open file that moves no data.
fn on_file(k: &impl Kernel, errno: i32, target: Object<'_>) -> Verdict {
    let Object::Fd(fd) = target else { return Ok(()) };
    match nature(k, fd) {
        Nature::Closed => Err("the descriptor is not open"),
        _ if is_transfer_error(errno) => Err(NOT_HERE),
        nature if is_of_file_system(errno) && !nature.is_file() => Err("a file system's error on what is no file"),
        _ => Ok(()),
    }
}

const fn is_transfer_error(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN
            | libc::EINTR
            | libc::EPIPE
            | libc::ECONNRESET
            | libc::ENOTCONN
            | libc::ENOBUFS
            | libc::ECONNREFUSED
    )
}

const fn is_of_file_system(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EFBIG)
}

fn lock(k: &impl Kernel, errno: i32, target: Object<'_>, unlocks: bool, tries: bool) -> Verdict {
    match errno {
        libc::EAGAIN | libc::EACCES if unlocks || !tries => Err("this call tries no lock"),
        libc::EINTR | libc::EDEADLK if unlocks || tries => Err("this call waits for no lock"),
        libc::EAGAIN | libc::EINTR => Ok(()),
        libc::ENOLCK if unlocks => Err("this call sets no lock"),
        _ => on_file(k, errno, target),
    }
}

/// Whether another process has locked any part of the file.
fn is_locked_by_another(k: &impl Kernel, target: Object<'_>) -> bool {
    matches!(target, Object::Fd(fd) if k.is_locked_by_another(fd))
}

fn seek(k: &impl Kernel, errno: i32, target: Object<'_>, whence: i32) -> Verdict {
    let Object::Fd(fd) = target else { return Ok(()) };
    let nature = nature(k, fd);
    match errno {
        libc::ENXIO if !matches!(whence, libc::SEEK_DATA | libc::SEEK_HOLE) => {
            Err("only looking for data or a hole gives ENXIO")
        }
        libc::ESPIPE if nature.is_file() => Err("ESPIPE on a file"),
        _ => on_file(k, errno, target),
    }
}

/// Requests that the kernel itself answers, whatever stands behind the descriptor.
fn ioctl(k: &impl Kernel, errno: i32, target: Object<'_>, request: u32) -> Verdict {
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    if matches!(request, FIOCLEX | FIONCLEX | FIONBIO | FIOASYNC) {
        return Err("the kernel grants this request on any descriptor");
    }
    let Object::Fd(fd) = target else { return Ok(()) };
    match errno {
        libc::EINTR | libc::EAGAIN => Ok(()),
        libc::EIO if nature(k, fd).is_socket() || nature(k, fd) == Nature::Pipe => Err("EIO on a socket or pipe"),
        libc::EIO => Ok(()),
        _ => on_file(k, errno, target),
    }
}

fn msync(errno: i32, flags: i32) -> Verdict {
    match errno {
        libc::EIO | libc::ENOSPC | libc::EDQUOT if flags & libc::MS_SYNC == 0 => Err("only MS_SYNC waits for the disk"),
        libc::EBUSY if flags & libc::MS_INVALIDATE == 0 => Err("only MS_INVALIDATE gives EBUSY"),
        _ if is_transfer_error(errno) => Err(NOT_HERE),
        _ => Ok(()),
    }
}

/// Whether this end of a copy may keep it waiting.
fn keeps_waiting(k: &impl Kernel, fd: i32) -> bool {
    !nature(k, fd).is_file() && k.status_flags(fd) & libc::O_NONBLOCK == 0
}

/// A copy within the kernel: what can go wrong at either end.
fn copy(k: &impl Kernel, op: Op, errno: i32, target: Object<'_>, flags: i32) -> Verdict {
    let Object::Fds(to, from) = target else { return Ok(()) };
    let (out, source) = (nature(k, to), nature(k, from));
    let any = |test: fn(Nature) -> bool| test(out) || test(source);
    match errno {
        _ if out == Nature::Closed || source == Nature::Closed => Err("the descriptor is not open"),
        libc::EAGAIN if !k.rearm(to) || !k.rearm(from) => Err(super::EDGE),
        libc::EAGAIN => may_give_up(k, op, to, from, flags),
        libc::EINTR if keeps_waiting(k, to) || keeps_waiting(k, from) => Ok(()),
        libc::EINTR => Err(NO_WAIT),
        libc::EPIPE if matches!(out, Nature::Pipe | Nature::Stream) => Ok(()),
        libc::EPIPE => Err("EPIPE on what is no pipe or stream"),
        libc::ECONNRESET | libc::ETIMEDOUT if any(|end| end == Nature::Stream) => Ok(()),
        libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN | libc::ENOBUFS => {
            Err("a socket's error on what is no socket")
        }
        libc::EIO if any(|end| end.is_file() || end == Nature::Character) => Ok(()),
        libc::EIO => Err("EIO on what is no file or device"),
        _ if is_of_file_system(errno) && !out.is_file() => Err("a file system's error on what is no file"),
        _ => Ok(()),
    }
}

/// EAGAIN: an end that does not wait, or a call that was asked not to.
fn may_give_up(k: &impl Kernel, op: Op, to: i32, from: i32, flags: i32) -> Verdict {
    const SPLICE_F_NONBLOCK: i32 = 2;
    let splices = matches!(op, Op::Splice | Op::Tee | Op::Vmsplice);
    if (splices && flags & SPLICE_F_NONBLOCK != 0) || does_not_wait(k, to) || does_not_wait(k, from) {
        return Ok(());
    }
    Err("EAGAIN on a copy that waits")
}

/// Whether less can be copied than was asked for, with nothing lost.
pub(super) fn short_copy(k: &impl Kernel, op: Op, to: i32, from: i32) -> Verdict {
    if !k.rearm(to) || !k.rearm(from) {
        return Err(super::EDGE);
    }
    let whole = |nature| matches!(nature, Nature::Regular | Nature::Block | Nature::Stream | Nature::Pipe);
    // A pipe keeps what is not taken from it; a datagram would be cut.
    if whole(nature(k, to)) && whole(nature(k, from)) && op.row().is_in(Family::Disk) || op == Op::Tee {
        return Ok(());
    }
    Err("a short transfer would lose data here")
}

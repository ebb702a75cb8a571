//! Copies that the kernel makes between two descriptors.

use super::data::{Meter, told, told_if_whole};
use super::{plain, tracked};
use crate::call;
use crate::disk::{Claim, Place};
use crate::effects::{self, Outcome};
use crate::real::hooks;
use crate::select::Target;
use crate::sys;
use chaos_table::calls::Op;
use libc::{c_int, c_uint, iovec, off_t};

/// A copy of up to `len` bytes, each end with its offset or NULL. `real` makes the call with a length.
pub(super) fn copying(
    op: Op,
    to: (c_int, *const off_t),
    from: (c_int, *const off_t),
    len: usize,
    flags: c_int,
    real: impl Fn(usize) -> isize,
) -> isize {
    let ask = || put_to_rules(op, Target::Fds(to.0, from.0), from, len, flags, &real);
    let place = if to.1.is_null() { Some(Place::Cursor) } else { offset_at(to.1).map(Place::At) };
    let claim = place
        .filter(|_| tracked(op))
        .and_then(|place| Claim::of(to.0, place, len.min(available(from.0, from.1)), false));
    let Some(claim) = claim else { return ask() };
    let copied = claim.during(ask);
    claim.settle(u64::try_from(copied).unwrap_or(0));
    copied
}

fn put_to_rules(
    op: Op,
    target: Target,
    from: (c_int, *const off_t),
    len: usize,
    flags: c_int,
    real: &impl Fn(usize) -> isize,
) -> isize {
    let Target::Fds(to, _) = target else { return real(len) };
    let meter = Meter::of(op, to, || len, flags);
    let len = len.min(meter.allowed);
    let real = |len| meter.count(real(len));
    let Some(first) = call::judge(op, target, len as u64) else { return real(len) };
    // Programs ask for far more than there is: what counts is what they would get.
    let asked = len.min(available(from.0, from.1));
    match call::deliver(first, target, asked as u64, flags) {
        Outcome::Return(value, errno, ticket) => effects::give(value, errno, &ticket) as isize,
        Outcome::Part(bytes, ticket) => told_if_whole(to, real(bytes as usize), bytes as usize, &ticket),
        Outcome::Cut(part, ends, ticket) => {
            let n = real(part.min(len));
            effects::cut(to, ends);
            told(n, &ticket)
        }
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        Outcome::Short(ppm, ticket) => {
            let wanted = effects::shortened(asked, ppm);
            told_if_whole(to, real(wanted), wanted, &ticket)
        }
        _ => real(len),
    }
}

/// The offset that a program names, if it can be read.
fn offset_at(offset: *const off_t) -> Option<off_t> {
    // SAFETY: the program's own argument, which can be read.
    sys::is_readable(offset.cast(), size_of::<off_t>()).then(|| unsafe { offset.read_unaligned() })
}

/// How much of a file is left from an offset on, its own when there is none; no bound for what is no file.
fn available(fd: c_int, offset: *const off_t) -> usize {
    let Some(stat) = sys::fstat(fd).filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG) else {
        return usize::MAX;
    };
    let at = if offset.is_null() { sys::position(fd) } else { offset_at(offset) };
    at.map_or(usize::MAX, |at| usize::try_from(stat.st_size.saturating_sub(at)).unwrap_or(0))
}

hooks! {
    Sendfile, sendfile(to: c_int, from: c_int, at: *mut off_t, len: usize) -> isize, real =>
        copying(Op::Sendfile, (to, std::ptr::null()), (from, at), len, 0, |len| real(to, from, at, len));
    Sendfile, sendfile64 or sendfile(to: c_int, from: c_int, at: *mut off_t, len: usize) -> isize, real =>
        copying(Op::Sendfile, (to, std::ptr::null()), (from, at), len, 0, |len| real(to, from, at, len));
    CopyFileRange, copy_file_range(from: c_int, at: *mut off_t, to: c_int, to_at: *mut off_t, len: usize, flags: c_uint)
        -> isize, real =>
        copying(Op::CopyFileRange, (to, to_at), (from, at), len, 0, |len| real(from, at, to, to_at, len, flags));
    Splice, splice(from: c_int, at: *mut off_t, to: c_int, to_at: *mut off_t, len: usize, flags: c_uint) -> isize, real =>
        copying(Op::Splice, (to, to_at), (from, at), len, flags as c_int, |len| real(from, at, to, to_at, len, flags));
    Tee, tee(from: c_int, to: c_int, len: usize, flags: c_uint) -> isize, real =>
        copying(Op::Tee, (to, std::ptr::null()), (from, std::ptr::null()), len, flags as c_int, |len| real(from, to, len, flags));
    Vmsplice, vmsplice(fd: c_int, list: *const iovec, count: usize, flags: c_uint) -> isize, real =>
        plain(Op::Vmsplice, Target::Fd(fd), flags as c_int, || real(fd, list, count, flags));
}

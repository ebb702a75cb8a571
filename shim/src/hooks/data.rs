//! Moving data: what read, write, send, recv and their kin have in common. What passes goes through the first functions
//! here; what is hit is told as a list of buffers, whatever the call, and goes through `moving.rs`.

use super::moving::Moving;
use crate::call::{self, Quick};
use crate::disk::Place;
use crate::effects::{self, Outcome};
use crate::log::Ticket;
use crate::real::{errno, set_errno};
use crate::select::Target;
use crate::{edges, moved, session, sys};
use chaos_table::calls::Op;
use libc::{iovec, mmsghdr, msghdr};
use std::ffi::c_void;

/// The program's memory that the data goes to or comes from.
#[derive(Clone, Copy)]
pub enum Memory {
    /// One buffer that is filled.
    Into(*mut c_void),
    /// One buffer that is sent, or written at the descriptor's position.
    From(*const c_void),
    /// One buffer that is written to an offset.
    FromAt(*const c_void, i64),
}

impl Memory {
    const fn pointer(self) -> *mut c_void {
        match self {
            Memory::Into(pointer) => pointer,
            Memory::From(pointer) | Memory::FromAt(pointer, _) => pointer.cast_mut(),
        }
    }
}

/// A transfer of `len` bytes in one buffer. `real` makes the call with a buffer and a length.
#[inline(always)]
pub fn transfer(
    op: Op,
    fd: i32,
    len: usize,
    flags: i32,
    memory: Memory,
    real: impl Fn(*mut c_void, usize) -> isize,
) -> isize {
    match call::quick(op, Target::Fd(fd)) {
        Quick::Pass => real(memory.pointer(), len),
        quick => transfer_hit(quick, op, fd, len, flags, memory, real),
    }
}

#[cold]
#[inline(never)]
fn transfer_hit(
    quick: Quick,
    op: Op,
    fd: i32,
    len: usize,
    flags: i32,
    memory: Memory,
    real: impl Fn(*mut c_void, usize) -> isize,
) -> isize {
    let one = iovec { iov_base: memory.pointer(), iov_len: len };
    let vector = Vector {
        list: &raw const one,
        count: 1,
        is_ours: true,
        is_source: !matches!(memory, Memory::Into(_)),
        place: if let Memory::FromAt(_, at) = memory { Place::At(at) } else { Place::Cursor },
    };
    // SAFETY: lists made from one buffer have one buffer.
    Moving { op, fd, flags, vector }.put_to_rules(quick, &|list, _| unsafe { real((*list).iov_base, (*list).iov_len) })
}

/// A list of buffers.
#[derive(Clone, Copy)]
pub struct Vector {
    /// The list ...
    pub(super) list: *const iovec,
    /// ... and how long it is.
    pub(super) count: i32,
    /// The list lies in our own frame.
    is_ours: bool,
    /// Data comes from it (a write), or goes into it.
    pub(super) is_source: bool,
    /// Where it is written.
    pub(super) place: Place,
}

impl Vector {
    /// The program's list of buffers that are filled.
    pub const fn sink(list: *const iovec, count: i32) -> Vector {
        Vector { list, count, is_ours: false, is_source: false, place: Place::Cursor }
    }

    /// The program's list of buffers that are written or sent.
    pub const fn source(list: *const iovec, count: i32) -> Vector {
        Vector { is_source: true, ..Vector::sink(list, count) }
    }

    /// As `source`, written to an offset; -1 is the descriptor's position.
    pub const fn source_at(list: *const iovec, count: i32, at: i64) -> Vector {
        let place = if at == -1 { Place::Cursor } else { Place::At(at) };
        Vector { place, ..Vector::source(list, count) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = iovec> {
        let count = self.count.clamp(0, libc::UIO_MAXIOV);
        let can_be_read = self.is_ours || sys::is_readable(self.list.cast(), count as usize * size_of::<iovec>());
        let count = if can_be_read { count } else { 0 };
        // SAFETY: a list of `count` buffers, which can be read.
        (0..count).map(move |index| unsafe { *self.list.add(index as usize) })
    }

    pub(super) fn total(self) -> usize {
        self.iter().fold(0usize, |sum, part| sum.saturating_add(part.iov_len))
    }

    /// The address of a byte of the whole.
    pub(super) fn byte(self, mut at: usize) -> Option<*mut u8> {
        for part in self.iter() {
            if at < part.iov_len {
                // SAFETY: inside the program's buffer.
                return Some(unsafe { part.iov_base.cast::<u8>().add(at) });
            }
            at -= part.iov_len;
        }
        None
    }
}

/// A transfer in several buffers. `real` makes the call with a list and its length.
#[inline(always)]
pub fn transfer_vector(op: Op, fd: i32, vector: Vector, real: impl Fn(*const iovec, i32) -> isize) -> isize {
    match call::quick(op, Target::Fd(fd)) {
        Quick::Pass => real(vector.list, vector.count),
        quick => vector_hit(quick, op, fd, vector, real),
    }
}

#[cold]
#[inline(never)]
fn vector_hit(quick: Quick, op: Op, fd: i32, vector: Vector, real: impl Fn(*const iovec, i32) -> isize) -> isize {
    Moving { op, fd, flags: 0, vector }.put_to_rules(quick, &real)
}

/// A transfer of one message. `real` makes the call with a header.
#[inline(always)]
pub fn message(op: Op, fd: i32, flags: i32, header: *const msghdr, real: impl Fn(*const msghdr) -> isize) -> isize {
    match call::quick(op, Target::Fd(fd)) {
        Quick::Pass => real(header),
        quick => message_hit(quick, op, fd, flags, header, real),
    }
}

#[cold]
#[inline(never)]
fn message_hit(
    quick: Quick,
    op: Op,
    fd: i32,
    flags: i32,
    header: *const msghdr,
    real: impl Fn(*const msghdr) -> isize,
) -> isize {
    let mut vector = Vector { is_source: op == Op::Sendmsg, ..Vector::sink(std::ptr::null(), 0) };
    if sys::is_readable(header.cast(), size_of::<msghdr>()) {
        // SAFETY: the program's own header, which can be read.
        (vector.list, vector.count) = unsafe { ((*header).msg_iov, (*header).msg_iovlen as i32) };
    }
    let (list, count) = (vector.list, vector.count);
    Moving { op, fd, flags, vector }.put_to_rules(quick, &|other, others| {
        if (other, others) == (list, count) {
            return real(header);
        }
        // SAFETY: a list other than the program's was made from its own, so the header could be read.
        let mut copy = unsafe { *header };
        (copy.msg_iov, copy.msg_iovlen) = (other.cast_mut(), others as _);
        real(&raw const copy)
    })
}

/// A transfer of several messages, which are lost but not cut or changed.
#[inline(always)]
pub fn messages(op: Op, fd: i32, flags: i32, list: (*mut mmsghdr, u32), real: impl FnOnce() -> isize) -> isize {
    let Some(first) = call::judge(op, Target::Fd(fd), 0) else { return real() };
    match call::deliver(first, Target::Fd(fd), 0, flags) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
        Outcome::End(ticket) => {
            effects::tell(&ticket, 0);
            0
        }
        Outcome::Drop(ticket) => {
            let sent = say_all_was_sent(fd, list);
            effects::tell(&ticket, sent as i64);
            sent
        }
        Outcome::Return(value, errno, ticket) => effects::give(value, errno, &ticket) as isize,
        Outcome::Throttle(bandwidth, ticket) => throttled(op, fd, real(), bandwidth, false, &ticket),
        _ => real(),
    }
}

/// What sendmmsg tells when it has sent all.
fn say_all_was_sent(fd: i32, (list, count): (*mut mmsghdr, u32)) -> isize {
    let count = count.min(1024);
    sys::bind_as_send_does(fd);
    for index in 0..count as usize {
        let one = list.wrapping_add(index);
        if !sys::is_readable(one.cast_const().cast(), size_of::<mmsghdr>()) {
            return index as isize;
        }
        // SAFETY: the program's own message, which the real call would have read and written.
        unsafe {
            let header = &raw const (*one).msg_hdr;
            (*one).msg_len = Vector::source((*header).msg_iov, (*header).msg_iovlen as i32).total() as u32;
        }
    }
    count as isize
}

/// As [`told`], for a shortened request: one that would have got no more anyway was not hit.
pub(super) fn told_if_whole(fd: i32, result: isize, wanted: usize, ticket: &Ticket) -> isize {
    if result != wanted as isize {
        return result;
    }
    edges::rearm(fd);
    told(result, ticket)
}

/// Waits for what was moved, and tells; where nothing was moved, nothing was hit.
pub(super) fn throttled(op: Op, fd: i32, moved: isize, bandwidth: u64, is_part: bool, ticket: &Ticket) -> isize {
    let Some(bytes) = u64::try_from(moved).ok().filter(|bytes| *bytes != 0) else { return moved };
    let saved = errno();
    effects::throttled(session::armed(), op, ticket, bandwidth, bytes);
    if is_part {
        edges::rearm(fd);
    }
    set_errno(saved);
    told(moved, ticket)
}

/// Counts what moves over a connection, for rules that cut it after some bytes.
pub(super) struct Meter {
    fd: i32,
    is_counting: bool,
    /// How much of the request may move now.
    pub allowed: usize,
    /// Less than the request may.
    pub is_part: bool,
}

impl Meter {
    pub fn of(op: Op, fd: i32, len: impl FnOnce() -> usize, flags: i32) -> Meter {
        let session = session::armed();
        if flags & libc::MSG_PEEK != 0 || !moved::is_counted(session, op) {
            return Meter { fd, is_counting: false, allowed: usize::MAX, is_part: false };
        }
        let len = len();
        let allowed = moved::allowed(session, op, fd, len, flags);
        Meter { fd, is_counting: true, allowed, is_part: allowed < len }
    }

    /// As `of`, for messages, which move as a whole.
    pub fn of_message(op: Op, fd: i32, flags: i32) -> Meter {
        Meter { allowed: usize::MAX, is_part: false, ..Meter::of(op, fd, || 0, flags) }
    }

    pub fn count(&self, result: isize) -> isize {
        if self.is_counting {
            moved::add(self.fd, result);
        }
        if self.is_part {
            edges::rearm(self.fd);
        }
        result
    }
}

/// As [`told`], for data that was changed: where there was none, nothing was hit.
pub(super) fn told_if_any(result: isize, ticket: &Ticket) -> isize {
    if result > 0 { told(result, ticket) } else { result }
}

/// Tells what the caller gets, with errno as the real call left it.
pub(super) fn told(result: isize, ticket: &Ticket) -> isize {
    let saved = errno();
    effects::tell(ticket, result as i64);
    set_errno(saved);
    result
}

//! Moving data: what read, write, send, recv and their kin have in common. What passes goes through the first functions
//! here; what is hit is told as a list of buffers, whatever the call, and goes through [`Moving`].

use super::tracked;
use crate::call::{self, Quick};
use crate::disk::{Claim, Place};
use crate::effects::{self, Change, Outcome};
use crate::log::Ticket;
use crate::real::{errno, set_errno};
use crate::select::Target;
use crate::{edges, moved, session, sys};
use chaos_table::calls::Op;
use libc::{iovec, mmsghdr, msghdr};
use std::cell::Cell;
use std::ffi::c_void;

/// Linux moves at most so many bytes in one call.
const MAX_MOVED: usize = 0x7fff_f000;

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
    list: *const iovec,
    count: i32,
    /// The list lies in our own frame.
    is_ours: bool,
    /// Data comes from it (a write), or goes into it.
    is_source: bool,
    place: Place,
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

    fn iter(self) -> impl Iterator<Item = iovec> {
        let count = self.count.clamp(0, 1024);
        let can_be_read = self.is_ours || sys::is_readable(self.list.cast(), count as usize * size_of::<iovec>());
        let count = if can_be_read { count } else { 0 };
        // SAFETY: a list of `count` buffers, which can be read.
        (0..count).map(move |index| unsafe { *self.list.add(index as usize) })
    }

    fn total(self) -> usize {
        self.iter().fold(0usize, |sum, part| sum.saturating_add(part.iov_len))
    }

    /// The address of a byte of the whole.
    fn byte(self, mut at: usize) -> Option<*mut u8> {
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

/// Makes the call with a list of buffers.
type Real<'a> = &'a dyn Fn(*const iovec, i32) -> isize;

/// A transfer on which there are rules.
struct Moving {
    op: Op,
    fd: i32,
    flags: i32,
    vector: Vector,
}

impl Moving {
    /// Asks the rules, with a claim on the disk where quotas are kept.
    fn put_to_rules(&self, quick: Quick, real: Real<'_>) -> isize {
        let claim = if self.vector.is_source && tracked(self.op) {
            Claim::of(self.fd, self.vector.place, self.vector.total().min(MAX_MOVED), false)
        } else {
            None
        };
        let Some(claim) = claim else { return self.ask(quick, real) };
        let written = Cell::new(0);
        let result = claim.during(|| {
            self.ask(quick, &|list, count| {
                let n = real(list, count);
                written.set(written.get() + u64::try_from(n).unwrap_or(0));
                n
            })
        });
        claim.settle(written.get());
        result
    }

    fn ask(&self, quick: Quick, real: Real<'_>) -> isize {
        let Vector { list, count, .. } = self.vector;
        let (op, fd, flags) = (self.op, self.fd, self.flags);
        let meter = match op {
            Op::Sendmsg | Op::Recvmsg => Meter::of_message(op, fd, flags),
            _ => Meter::of(op, fd, || self.vector.total(), flags),
        };
        let counted = |list, count| meter.count(real(list, count));
        let real: Real<'_> = &counted;
        let whole = || if meter.is_part { self.first_bytes(meter.allowed, real) } else { real(list, count) };
        let total = self.vector.total().min(meter.allowed);
        let Some(first) = quick.resolve(op, Target::Fd(fd), total as u64) else { return whole() };
        match call::deliver(first, Target::Fd(fd), total as u64, flags) {
            Outcome::Go | Outcome::FailConnect(..) => whole(),
            Outcome::Cut(part, ends, ticket) => {
                let n = self.first_bytes(part.min(total), real);
                effects::cut(fd, ends);
                told(n, &ticket)
            }
            Outcome::Throttle(bandwidth, ticket) => {
                let most = effects::throttled_part(fd, flags, bandwidth, total);
                let n = if most < total { self.first_bytes(most, real) } else { whole() };
                throttled(op, fd, n, bandwidth, most < total, &ticket)
            }
            Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket),
            Outcome::End(ticket) => {
                effects::tell(&ticket, 0);
                0
            }
            Outcome::Return(value, errno, ticket) => effects::give(value, errno, &ticket) as isize,
            Outcome::Short(ppm, ticket) => self.shorten(effects::shortened(total, ppm), &ticket, real),
            Outcome::Part(bytes, ticket) => self.shorten(bytes as usize, &ticket, real),
            Outcome::Torn(ppm, errno, ticket) => self.tear(effects::shortened(total, ppm), errno, &ticket, real),
            Outcome::Drop(ticket) if self.vector.is_source => self.lose(total, &ticket),
            Outcome::Drop(ticket) => self.lose_arrival(&ticket, real),
            Outcome::Corrupt(change, draw, ticket) if self.vector.is_source => {
                self.send_changed(change, draw, total, &ticket, real)
            }
            Outcome::Corrupt(change, draw, ticket) => {
                let n = real(list, count);
                let filled = usize::try_from(n).unwrap_or(0).min(total);
                if !change.can_hit(filled) {
                    return n;
                }
                let left = change.apply(filled, draw, &|at| self.vector.byte(at));
                if left < filled {
                    edges::rearm(fd);
                }
                told(if left < filled { left as isize } else { n }, &ticket)
            }
        }
    }

    /// The real call for the first `wanted` bytes; for all of a message, which is one thing.
    fn first_bytes(&self, wanted: usize, real: Real<'_>) -> isize {
        if matches!(self.op, Op::Sendmsg | Op::Recvmsg) {
            return real(self.vector.list, self.vector.count);
        }
        if let Some(part) = self.vector.iter().next()
            && (part.iov_len >= wanted)
        {
            return real(&iovec { iov_len: wanted, ..part }, 1);
        }
        let size = self.vector.count.clamp(1, 1024) as usize * size_of::<iovec>();
        let Some(copy) = sys::mmap(size, -1) else { return real(self.vector.list, self.vector.count) };
        let copied = copy.cast::<iovec>();
        let (mut count, mut left) = (0, wanted);
        for part in self.vector.iter() {
            if left == 0 {
                break;
            }
            let iov_len = part.iov_len.min(left);
            left -= iov_len;
            // SAFETY: the copy has room for the whole list; it is unmapped once used.
            unsafe { copied.add(count).write(iovec { iov_len, ..part }) };
            count += 1;
        }
        let n = real(copied, count as i32);
        // SAFETY: as above.
        unsafe { sys::munmap(copy, size) };
        n
    }

    /// Asks for less. Where the whole request would have got no more, nothing was hit.
    fn shorten(&self, wanted: usize, ticket: &Ticket, real: Real<'_>) -> isize {
        let n = self.first_bytes(wanted, real);
        told_if_whole(self.fd, n, wanted, ticket)
    }

    /// Writes a prefix, then fails or kills. A write that fails leaves the position where it was.
    fn tear(&self, wanted: usize, errno: i32, ticket: &Ticket, real: Real<'_>) -> isize {
        let before = self.moves_on().then(|| sys::lseek(self.fd, 0, libc::SEEK_CUR)).flatten();
        let n = self.first_bytes(wanted, real);
        if n <= 0 {
            return n;
        }
        effects::tell(ticket, n as i64);
        if errno == 0 {
            sys::kill(sys::getpid(), libc::SIGKILL);
        }
        if let Some(before) = before {
            sys::lseek(self.fd, before, libc::SEEK_SET);
        }
        set_errno(errno);
        -1
    }

    /// Whether the descriptor's position moves on by what is written.
    fn moves_on(&self) -> bool {
        self.vector.place == Place::Cursor && self.vector.is_source
    }

    /// Says that all was written, and writes nothing. The position moves on, as a program that asks expects it.
    fn lose(&self, total: usize, ticket: &Ticket) -> isize {
        let total = total.min(MAX_MOVED);
        if effects::can_lose_datagrams(self.fd) {
            sys::bind_as_send_does(self.fd);
        } else if self.moves_on() {
            let appends = sys::status_flags(self.fd) & libc::O_APPEND != 0;
            sys::lseek(self.fd, total as i64, if appends { libc::SEEK_END } else { libc::SEEK_CUR });
        }
        effects::tell(ticket, total as i64);
        total as isize
    }

    /// Waits for a datagram as the call would, throws it away, and makes the call for the next.
    fn lose_arrival(&self, ticket: &Ticket, real: Real<'_>) -> isize {
        if super::net::await_datagram(self.fd, self.flags & libc::MSG_DONTWAIT) < 0 {
            return -1;
        }
        let is_lost = sys::lose_datagram(self.fd);
        let n = real(self.vector.list, self.vector.count);
        if is_lost { told(n, ticket) } else { n }
    }

    /// Makes the call with a changed copy of the data.
    fn send_changed(&self, change: Change, draw: u64, total: usize, ticket: &Ticket, real: Real<'_>) -> isize {
        let Some(copy) = sys::mmap(total.max(1), -1) else { return real(self.vector.list, self.vector.count) };
        let mut at = copy;
        for part in self.vector.iter() {
            // SAFETY: the copy has room for all buffers; it is unmapped once written.
            unsafe {
                std::ptr::copy_nonoverlapping(part.iov_base.cast::<u8>(), at, part.iov_len);
                at = at.add(part.iov_len);
            }
        }
        // SAFETY: an offset below `total`.
        let left = change.apply(total, draw, &|at| Some(unsafe { copy.add(at) }));
        let changed = iovec { iov_base: copy.cast(), iov_len: left };
        let n = real(&raw const changed, 1);
        let saved = errno();
        if n == total as isize && change.is_second_write() {
            real(&raw const changed, 1);
        }
        // SAFETY: as above.
        unsafe { sys::munmap(copy, total.max(1)) };
        set_errno(saved);
        if n <= 0 || (left < total && n != left as isize) {
            return n;
        }
        if left < total && self.moves_on() && effects::is_file(self.fd) {
            sys::lseek(self.fd, (total - left) as i64, libc::SEEK_CUR);
        }
        told(if left < total { total as isize } else { n }, ticket)
    }
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
fn throttled(op: Op, fd: i32, moved: isize, bandwidth: u64, is_part: bool, ticket: &Ticket) -> isize {
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
    is_part: bool,
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
    fn of_message(op: Op, fd: i32, flags: i32) -> Meter {
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

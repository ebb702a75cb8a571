//! A transfer on which there are rules: what each fault does to it, told as a list of buffers whatever the call.

use super::data::{Meter, Vector, throttled, told, told_if_whole};
use super::tracked;
use crate::call::{self, Quick};
use crate::disk::{Claim, Place};
use crate::effects::{self, Bytes, Change, Outcome};
use crate::log::Ticket;
use crate::real::{errno, set_errno};
use crate::select::Target;
use crate::{edges, sys};
use chaos_table::calls::Op;
use libc::iovec;
use std::cell::Cell;

/// Linux moves at most so many bytes in one call.
const MAX_MOVED: usize = 0x7fff_f000;

/// Makes the call with a list of buffers.
pub(super) type Real<'a> = &'a dyn Fn(*const iovec, i32) -> isize;

/// A transfer on which there are rules.
pub(super) struct Moving {
    /// Which operation.
    pub op: Op,
    /// On which descriptor.
    pub fd: i32,
    /// The MSG_ flags of a socket call.
    pub flags: i32,
    /// What is moved.
    pub vector: Vector,
}

impl Moving {
    /// Asks the rules, with a claim on the disk where quotas are kept.
    pub fn put_to_rules(&self, quick: Quick, real: Real<'_>) -> isize {
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
            Outcome::Short(..) | Outcome::Part(..) | Outcome::Torn(..) if self.is_malformed() => whole(),
            Outcome::Corrupt(..) | Outcome::Drop(_) if self.is_malformed() || !self.can_be_read() => whole(),
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
                let at = |at| self.vector.byte(at);
                // SAFETY: the real call has filled so many bytes of the program's buffers.
                let left = change.apply(filled, draw, &mut unsafe { Bytes::new(&at) });
                if left < filled {
                    edges::rearm(fd);
                }
                told(if left < filled { left as isize } else { n }, &ticket)
            }
        }
    }

    /// Whether the kernel refuses the call for its sizes alone, which no fault may hide.
    fn is_malformed(&self) -> bool {
        let Vector { count, place, .. } = self.vector;
        !(0..=libc::UIO_MAXIOV).contains(&count)
            || self.vector.total() > isize::MAX as usize
            || matches!(place, Place::At(at) if at < 0)
    }

    /// Whether data that is to be sent is there: where it is not, the kernel sends what comes before, or says EFAULT.
    fn can_be_read(&self) -> bool {
        !self.vector.is_source
            || self.vector.iter().all(|part| part.iov_len == 0 || sys::is_readable(part.iov_base.cast(), part.iov_len))
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
        let at = |at| Some(copy.wrapping_add(at));
        // SAFETY: the copy has `total` bytes.
        let left = change.apply(total, draw, &mut unsafe { Bytes::new(&at) });
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

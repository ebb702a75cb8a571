//! Calls that make a descriptor which no path leads to.

use super::file::making;
use super::plain;
use crate::real::hooks;
use crate::select::Target;
use crate::session::Session;
use crate::stream::descriptor_of;
use crate::{fds, guard, session, tree};
use chaos_table::calls::{CALLS, Call, Family, Op};
use chaos_table::record;
use libc::{FILE, c_char, c_int, c_uint, c_void, mode_t};
use std::sync::atomic::{AtomicU32, Ordering};

/// signalfd: changes the descriptor that it is given, or makes one for -1.
pub(super) fn signalling(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let new = plain(Op::Signalfd, Target::Nothing, fd, real);
    fds::forget(new);
    new
}

fn unnamed(real: impl FnOnce() -> *mut FILE) -> *mut FILE {
    let stream = plain(Op::Tmpfile, Target::Nothing, 0, real);
    fds::forget(descriptor_of(stream));
    stream
}

/// io_uring_setup: what goes through the ring is no call of libc's, so rules on such calls miss it.
pub(super) fn ringing(real: impl FnOnce() -> c_int) -> c_int {
    let ring = making(Op::IoUringSetup, real);
    if ring >= 0
        && let Some(session) = session::attached()
        && evades(session)
    {
        escaped(session);
    }
    ring
}

/// Whether some rule of this process is on calls that a ring can make, now or later.
fn evades(session: &Session) -> bool {
    let rules = tree::me().rules();
    let by_ring = |row: &&Call| row.is_in(Family::Disk) || row.is_in(Family::Network);
    CALLS.iter().filter(by_ring).any(|row| session.planned(row.op) & rules != 0)
}

/// Records, once in each process, that its calls escape.
#[cold]
fn escaped(session: &Session) {
    /// The process that has told.
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let me = tree::here();
    if TOLD.swap(me.uid(), Ordering::Relaxed) == me.uid() {
        return;
    }
    let Some(token) = guard::Token::enter() else { return };
    let reason = b"io_uring: what goes through the ring is not seen";
    tree::escape(session, token.thread, record::escaped::PART, reason, me.program.bytes());
    token.leave();
}

hooks! {
    Eventfd, eventfd(value: c_uint, flags: c_int) -> c_int, real => making(Op::Eventfd, || real(value, flags));
    Signalfd, signalfd(fd: c_int, mask: *const c_void, flags: c_int) -> c_int, real =>
        signalling(fd, || real(fd, mask, flags));
    TimerfdCreate, timerfd_create(clock: c_int, flags: c_int) -> c_int, real =>
        making(Op::TimerfdCreate, || real(clock, flags));
    InotifyInit, inotify_init() -> c_int, real => making(Op::InotifyInit, || real());
    InotifyInit, inotify_init1(flags: c_int) -> c_int, real => making(Op::InotifyInit, || real(flags));
    MemfdCreate, memfd_create(name: *const c_char, flags: c_uint) -> c_int, real =>
        making(Op::MemfdCreate, || real(name, flags));
    Openpty, openpty(one: *mut c_int, other: *mut c_int, name: *mut c_char, modes: *const c_void, size: *const c_void) -> c_int,
        real => {
        let result = plain(Op::Openpty, Target::Nothing, 0, || real(one, other, name, modes, size));
        if result == 0 {
            fds::forget(*one);
            fds::forget(*other);
        }
        result
    };
    Openpty, posix_openpt(flags: c_int) -> c_int, real => making(Op::Openpty, || real(flags));
    Openpty, getpt() -> c_int, real => making(Op::Openpty, || real());
    ShmOpen, shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int, real =>
        making(Op::ShmOpen, || real(name, flags, mode));
    ShmUnlink, shm_unlink(name: *const c_char) -> c_int, real =>
        plain(Op::ShmUnlink, Target::Nothing, 0, || real(name));
    Tmpfile, tmpfile() -> *mut FILE, real => unnamed(|| real());
    Tmpfile, tmpfile64 or tmpfile() -> *mut FILE, real => unnamed(|| real());
}

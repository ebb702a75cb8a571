//! `syscall()`: raw system calls that libc makes for the program. libuv, jemalloc and Rust's std use it.

use super::data::{Memory, Vector, message, messages, transfer, transfer_vector};
use super::file::{CREAT, closing, duplicating, making, opening};
use super::memory::{made_writable, mapped, mapping};
use super::net::{accepting, asking_option, connecting, listening, pairing, with_option};
use super::process::{executing, forking};
use super::raw_plain::calling;
use super::ready::{clear_polled, clear_sets, of_ms, selecting, to_ms, waiting, waiting_spec, watching};
use super::{minus_one, simple};
use crate::guard::thread;
use crate::real::word;
use crate::session::attached;
use crate::{fds, tree};
use chaos_table::calls::{CALLS, Op};
use libc::{c_char, c_int, c_long, c_void};
use std::sync::atomic::Ordering;

/// How openat2 opens, in memory that has not been looked at: in any way.
const ANY: c_int = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
/// System call numbers up to here may be in the table of calls.
const NUMBERS: usize = 512;

/// The operation of each system call, plus one; 0: none that we hook.
static OPERATIONS: [u16; NUMBERS] = operations();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a bad index fails the build")]
const fn operations() -> [u16; NUMBERS] {
    let mut table = [0u16; NUMBERS];
    let mut row = 0;
    while row < CALLS.len() {
        let mut at = 0;
        while at < CALLS[row].syscalls().len() {
            table[CALLS[row].syscalls()[at] as usize] = CALLS[row].op as u16 + 1;
            at += 1;
        }
        row += 1;
    }
    table
}

fn operation(number: c_long) -> Option<Op> {
    let op = usize::try_from(number).ok().and_then(|number| OPERATIONS.get(number)).copied().unwrap_or(0);
    op.checked_sub(1).and_then(Op::from_number)
}

/// What to do with a raw system call.
const PASS: usize = 0;
const HANDLE: usize = 1;
/// It has failed already.
const FAILED: usize = 2;

/// Whether a system call is handled here; forks that pass are counted for their child's lineage.
unsafe extern "C" fn route(number: c_long, first: usize) -> usize {
    if attached().is_none() {
        return PASS;
    }
    let Some(op) = operation(number) else { return PASS };
    match number {
        libc::SYS_execve | libc::SYS_execveat | libc::SYS_fork | libc::SYS_epoll_ctl | libc::SYS_io_uring_setup => {
            HANDLE
        }
        // These may return twice, on one stack: they cannot be made below a frame of ours.
        libc::SYS_vfork => forks(Op::Vfork),
        libc::SYS_clone if first & libc::CLONE_THREAD as usize == 0 => forks(Op::Fork),
        // Programs ask by a bad pointer whether the kernel knows the call.
        libc::SYS_clone3 if !crate::sys::is_readable(first as *const u8, 8) => PASS,
        // SAFETY: clone3 takes a structure that begins with 64 bits of flags, and they can be read.
        libc::SYS_clone3 if unsafe { (first as *const u64).read_unaligned() } & libc::CLONE_THREAD as u64 == 0 => {
            forks(Op::Fork)
        }
        libc::SYS_clone | libc::SYS_clone3 => PASS,
        _ if word(op as usize) != 0 => HANDLE,
        _ => PASS,
    }
}

/// A raw fork that is made without us, unless a rule fails it.
fn forks(op: Op) -> usize {
    if super::simple(op, crate::select::Target::Nothing, || 0, super::minus_one) != 0 {
        return FAILED;
    }
    // No hook sees the child return: it finds on this page which one it is.
    let count = tree::count_child(thread());
    thread().children.set(count);
    thread().maybe_vfork.set(true);
    PASS
}

type Real = unsafe extern "C-unwind" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// The real `syscall`.
mod real {
    crate::real::slot!(SYSCALL, syscall);
}

/// syscall(2), the libc function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall() {
    std::arch::naked_asm!(
        crate::real::note_caller!(),
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9",
        "sub rsp, 8",
        "call {route}",
        "add rsp, 8",
        "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "cmp rax, 1",
        "je 2f",
        "ja 3f",
        "jmp qword ptr [rip + {slot}]",
        "2: jmp {handle}",
        "3: mov rax, -1",
        "ret",
        caller = const std::mem::offset_of!(crate::guard::Thread, caller),
        route = sym route,
        slot = sym real::SYSCALL,
        handle = sym handle,
    )
}

unsafe extern "C-unwind" fn handle(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: the caller's arguments are passed on as they came.
    let handled = || unsafe { handle_now(number, [a, b, c, d, e, f]) };
    match operation(number) {
        Some(op) => crate::watch::if_on(op, handled),
        None => handled(),
    }
}

/// # Safety
/// The arguments of a system call.
unsafe fn handle_now(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: the slot holds libc's syscall.
    let real: Real = unsafe { std::mem::transmute(real::SYSCALL.target.load(Ordering::Relaxed)) };
    // SAFETY: the program's own arguments, with what the hooks change (buffers, lengths, environments).
    let again = |args: [usize; 6]| unsafe {
        let [a, b, c, d, e, f] = args;
        real(number, a, b, c, d, e, f)
    };
    let fd = a as c_int;
    let data = |op, memory, flags| {
        transfer(op, fd, c, flags, memory, |buffer, len| again([a, buffer as usize, len, d, e, f]) as isize) as c_long
    };
    let vector = |op, vector| {
        transfer_vector(op, fd, vector, |list, count| again([a, list as usize, count as usize, d, e, f]) as isize)
            as c_long
    };
    let whole = [a, b, c, d, e, f];
    let header = |header: *const libc::msghdr| again([a, header as usize, c, d, e, f]) as isize;
    let into = Memory::Into(b as *mut c_void);
    let from = Memory::From(b as *const c_void);
    let (list, count) = (b as *const libc::iovec, c as c_int);
    let (sink, source) = (Vector::sink(list, count), Vector::source(list, count));
    // The offset of these comes in two halves, of which the lower holds all of it.
    let source_at = Vector::source_at(list, count, d as i64);
    let many = (b as *mut libc::mmsghdr, c as u32);
    match number {
        libc::SYS_read => data(Op::Read, into, 0),
        libc::SYS_pread64 => data(Op::Pread, into, 0),
        libc::SYS_write => data(Op::Write, from, 0),
        libc::SYS_pwrite64 => data(Op::Pwrite, Memory::FromAt(b as *const c_void, d as i64), 0),
        libc::SYS_sendto => data(Op::Sendto, from, d as c_int),
        libc::SYS_recvfrom => data(Op::Recvfrom, into, d as c_int),
        libc::SYS_readv => vector(Op::Readv, sink),
        libc::SYS_preadv | libc::SYS_preadv2 => vector(Op::Preadv, sink),
        libc::SYS_writev => vector(Op::Writev, source),
        libc::SYS_pwritev | libc::SYS_pwritev2 => vector(Op::Pwritev, source_at),
        libc::SYS_mmap => mapping(Op::Mmap, b, mapped(b, c as c_int, d as c_int), || again(whole) as isize) as c_long,
        libc::SYS_mremap => mapping(Op::Mremap, c, c.saturating_sub(b), || again(whole) as isize) as c_long,
        libc::SYS_mprotect => {
            mapping(Op::Mprotect, b, made_writable(b, c as c_int), || again(whole) as isize) as c_long
        }
        libc::SYS_munmap => mapping(Op::Munmap, b, 0, || again(whole) as isize) as c_long,
        libc::SYS_madvise => mapping(Op::Madvise, b, 0, || again(whole) as isize) as c_long,
        libc::SYS_mlock | libc::SYS_mlock2 => mapping(Op::Mlock, b, 0, || again(whole) as isize) as c_long,
        libc::SYS_mlockall => mapping(Op::Mlock, 0, 0, || again(whole) as isize) as c_long,
        libc::SYS_sendmsg => message(Op::Sendmsg, fd, c as c_int, b as *const libc::msghdr, header) as c_long,
        libc::SYS_recvmsg => message(Op::Recvmsg, fd, c as c_int, b as *const libc::msghdr, header) as c_long,
        libc::SYS_sendmmsg => messages(Op::Sendmmsg, fd, d as c_int, many, || again(whole) as isize) as c_long,
        libc::SYS_recvmmsg => messages(Op::Recvmmsg, fd, d as c_int, many, || again(whole) as isize) as c_long,
        libc::SYS_fcntl => c_long::from(duplicating(b as c_int, || again(whole) as c_int)),
        libc::SYS_listen => c_long::from(listening(fd, || again(whole) as c_int)),
        libc::SYS_epoll_ctl => {
            // SAFETY: the program's own event.
            c_long::from(unsafe { watching(fd, b as c_int, c as c_int, d as *const _, || again(whole) as c_int) })
        }
        libc::SYS_pipe | libc::SYS_pipe2 => {
            // SAFETY: the place that the call fills.
            c_long::from(unsafe { pairing(Op::Pipe, a as *mut c_int, || again(whole) as c_int) })
        }
        // SAFETY: as above.
        libc::SYS_socketpair => c_long::from(unsafe { pairing(Op::Socket, d as *mut c_int, || again(whole) as c_int) }),
        libc::SYS_open | libc::SYS_creat => {
            let flags = if number == libc::SYS_open { b as c_int } else { CREAT };
            c_long::from(opening(libc::AT_FDCWD, a as *const c_char, flags, || again(whole) as c_int))
        }
        libc::SYS_openat => c_long::from(opening(fd, b as *const c_char, c as c_int, || again(whole) as c_int)),
        libc::SYS_openat2 => {
            let opened = opening(fd, b as *const c_char, ANY, || again(whole) as c_int);
            // Its `resolve` may take a path for another than it is by name.
            fds::forget(opened);
            c_long::from(opened)
        }
        libc::SYS_close => c_long::from(closing(fd, || again(whole) as c_int)),
        libc::SYS_close_range => {
            fds::forget_range(a as u32, b as u32);
            again(whole)
        }
        libc::SYS_dup | libc::SYS_dup2 | libc::SYS_dup3 => c_long::from(making(Op::Dup, || again(whole) as c_int)),
        libc::SYS_socket => c_long::from(making(Op::Socket, || again(whole) as c_int)),
        libc::SYS_connect => {
            let real =
                |address: *const libc::sockaddr, len: u32| again([a, address as usize, len as usize, d, e, f]) as c_int;
            c_long::from(connecting(fd, b as *const libc::sockaddr, c as u32, real))
        }
        libc::SYS_accept | libc::SYS_accept4 => c_long::from(accepting(fd, || again(whole) as c_int)),
        libc::SYS_bind
        | libc::SYS_shutdown
        | libc::SYS_setsockopt
        | libc::SYS_getsockopt
        | libc::SYS_getsockname
        | libc::SYS_getpeername => c_long::from(asking_socket(number, whole, || again(whole) as c_int)),
        libc::SYS_poll | libc::SYS_ppoll | libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => {
            c_long::from(waiting_for_events(number, whole, |args| again(args) as c_int))
        }
        libc::SYS_select | libc::SYS_pselect6 => {
            c_long::from(waiting_for_sets(number, whole, |args| again(args) as c_int))
        }
        libc::SYS_epoll_create | libc::SYS_epoll_create1 => {
            c_long::from(making(Op::EpollCreate, || again(whole) as c_int))
        }
        libc::SYS_wait4 | libc::SYS_waitid => super::with_flags(
            Op::Wait,
            crate::select::Target::Nothing,
            if number == libc::SYS_wait4 { c as c_int } else { d as c_int },
            || again(whole),
            |errno| c_long::from(super::minus_one(errno)),
        ),
        libc::SYS_kill
        | libc::SYS_tkill
        | libc::SYS_tgkill
        | libc::SYS_setrlimit
        | libc::SYS_getrlimit
        | libc::SYS_prlimit64 => {
            let op = operation(number).unwrap_or(Op::Kill);
            super::simple(op, crate::select::Target::Nothing, || again(whole), super::minus_one_long)
        }
        libc::SYS_fork => c_long::from(forking(|| again(whole) as libc::pid_t)),
        libc::SYS_execve => {
            let mut run = |list: *const *mut c_char| again([a, b, list as usize, d, e, f]) as c_int;
            // SAFETY: the program's own arguments of execve.
            c_long::from(unsafe {
                executing(a as *const c_char, false, c as *const *mut c_char, b as *const *const c_char, &mut run)
            })
        }
        libc::SYS_execveat => {
            let mut run = |list: *const *mut c_char| again([a, b, c, list as usize, e, f]) as c_int;
            // SAFETY: the program's own arguments of execveat.
            c_long::from(unsafe {
                executing(b as *const c_char, false, d as *const *mut c_char, std::ptr::null(), &mut run)
            })
        }
        libc::SYS_futex | libc::SYS_futex_waitv | libc::SYS_mq_timedsend | libc::SYS_mq_timedreceive => {
            // SAFETY: the program's own arguments.
            unsafe { super::deadline::raw(number, whole, again) }
        }
        libc::SYS_timer_settime
        | libc::SYS_timerfd_settime
        | libc::SYS_clock_nanosleep
        | libc::SYS_clock_settime
        | libc::SYS_settimeofday => {
            // SAFETY: as above.
            unsafe { super::deadline::raw(number, whole, again) }
        }
        libc::SYS_time
        | libc::SYS_gettimeofday
        | libc::SYS_clock_gettime
        | libc::SYS_clock_getres
        | libc::SYS_nanosleep
        | libc::SYS_timer_create
        | libc::SYS_timerfd_gettime
        | libc::SYS_getrandom => {
            // SAFETY: as above.
            unsafe { super::time::raw(number, whole, again) }
        }
        _ => match operation(number) {
            Some(op) => calling(op, number, whole, again),
            None => again(whole),
        },
    }
}

/// Calls about one socket.
fn asking_socket(number: c_long, args: [usize; 6], real: impl FnOnce() -> c_int) -> c_int {
    let [fd, b, c, d, e, _] = args;
    let (fd, level) = (fd as c_int, b as c_int);
    let target = crate::select::Target::Fd(fd);
    match number {
        libc::SYS_bind => {
            let target = crate::select::Target::Peer(fd, b as *const libc::sockaddr, c as u32);
            simple(Op::Bind, target, real, minus_one)
        }
        libc::SYS_shutdown => simple(Op::Shutdown, target, real, minus_one),
        libc::SYS_setsockopt => with_option(Op::Setsockopt, fd, level, real),
        // SAFETY: the program's own arguments of getsockopt.
        libc::SYS_getsockopt => unsafe {
            asking_option(fd, (level, c as c_int), d as *mut c_void, e as *const u32, real)
        },
        libc::SYS_getsockname => simple(Op::Getsockname, target, real, minus_one),
        _ => simple(Op::Getpeername, target, real, minus_one),
    }
}

/// poll and epoll_wait, whose timeouts are ms or a timespec.
fn waiting_for_events(number: c_long, args: [usize; 6], real: impl FnOnce([usize; 6]) -> c_int) -> c_int {
    let [a, b, c, d, e, f] = args;
    let no_mask = std::ptr::null();
    let clear = || clear_polled(a as *mut libc::pollfd, b as libc::c_ulong);
    let ms = |ms: usize, left| to_ms(ms as c_int, left) as usize;
    match number {
        libc::SYS_poll => {
            waiting(Op::Poll, of_ms(c as c_int), no_mask, |left| real([a, b, ms(c, left), d, e, f]), clear)
        }
        libc::SYS_ppoll => waiting_spec(
            Op::Poll,
            c as *const libc::timespec,
            d as *const libc::sigset_t,
            |time| real([a, b, time as usize, d, e, f]),
            clear,
        ),
        libc::SYS_epoll_pwait2 => waiting_spec(
            Op::EpollWait,
            d as *const libc::timespec,
            e as *const libc::sigset_t,
            |time| real([a, b, c, time as usize, e, f]),
            || (),
        ),
        _ => {
            let mask = if number == libc::SYS_epoll_pwait { e as *const libc::sigset_t } else { no_mask };
            waiting(Op::EpollWait, of_ms(d as c_int), mask, |left| real([a, b, c, ms(d, left), e, f]), || ())
        }
    }
}

/// select and pselect6, whose signal mask stands behind a pointer with its size.
fn waiting_for_sets(number: c_long, args: [usize; 6], real: impl FnOnce([usize; 6]) -> c_int) -> c_int {
    let [a, b, c, d, e, f] = args;
    let sets = [b, c, d].map(|set| set as *mut libc::fd_set);
    if number == libc::SYS_select {
        return selecting(a as c_int, sets, e as *mut libc::timeval, || real(args));
    }
    let mask = if f != 0 && crate::sys::is_readable(f as *const u8, 16) {
        // SAFETY: a pointer and a size, which can be read.
        unsafe { (f as *const *const libc::sigset_t).read_unaligned() }
    } else {
        std::ptr::null()
    };
    waiting_spec(
        Op::Select,
        e as *const libc::timespec,
        mask,
        |time| real([a, b, c, d, time as usize, f]),
        || clear_sets(a as c_int, sets),
    )
}

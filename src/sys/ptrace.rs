//! ptrace(2): following a tree, and looking at a thread of it that stands still. A tracer that ends lets go on
//! whatever it traced: no option here kills.

use super::status_of;
use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// Why a thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal that is about to be delivered, or that stopped it.
    pub signal: i32,
    /// `PTRACE_EVENT_*`; 0 when a signal is about to be delivered.
    pub event: i32,
}

impl Stop {
    /// The signal that it goes on with, so that nothing is lost; 0 for none.
    #[must_use]
    pub fn pending(self) -> i32 {
        if self.event == 0 && self.signal != AT_CALL { self.signal } else { 0 }
    }
}

/// A thread has stopped, or has been stopped as one of its group.
pub const EVENT_STOP: i32 = libc::PTRACE_EVENT_STOP;
/// The process has become another program.
pub const EVENT_EXEC: i32 = libc::PTRACE_EVENT_EXEC;

/// The signal of a stop at a system call.
pub const AT_CALL: i32 = libc::SIGTRAP | 0x80;

/// What unwinding begins with.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
    /// Number of the system call that it is in.
    pub call: i64,
}

fn request(request: libc::c_uint, tid: i32, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests below takes a pointer.
    match unsafe { libc::ptrace(request, tid, 0usize, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Begins to trace a thread without stopping it; with `follow` also all that it makes from now on.
///
/// # Errors
/// When the system does not allow it, or somebody traces it already.
pub fn seize(tid: i32, follow: bool) -> io::Result<()> {
    const FOLLOW: i32 = libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESYSGOOD;
    // The options are bits, and not negative.
    request(libc::PTRACE_SEIZE, tid, if follow { FOLLOW as usize } else { 0 })
}

/// The same for one thread alone, whose stops at system calls are then told from signals.
///
/// # Errors
/// As [`seize`].
pub fn seize_calls(tid: i32) -> io::Result<()> {
    // The option is a bit, and not negative.
    request(libc::PTRACE_SEIZE, tid, libc::PTRACE_O_TRACESYSGOOD as usize)
}

/// Stops a traced thread.
///
/// # Errors
/// When it has ended.
pub fn interrupt(tid: i32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a stopped thread go on, with a signal or with 0. One that has been killed meanwhile needs no help.
pub fn resume(tid: i32, signal: i32) {
    let _ = request(libc::PTRACE_CONT, tid, usize::try_from(signal).unwrap_or(0));
}

/// The same up to the next system call: where it begins, or where it has come back.
pub fn resume_to_call(tid: i32, signal: i32) {
    let _ = request(libc::PTRACE_SYSCALL, tid, usize::try_from(signal).unwrap_or(0));
}

/// Where a thread stands at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCall {
    /// It is about to make the call with this number and these arguments.
    Begins(i64, [u64; 6]),
    /// The call has come back with this result.
    Over(i64),
}

/// At what point of a system call a thread has stopped.
#[must_use]
pub fn at_call(tid: i32) -> Option<AtCall> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    // SAFETY: the kernel writes at most as many bytes as it is told; which part of the union they are says `op`.
    unsafe {
        let size = size_of::<libc::ptrace_syscall_info>();
        if libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, info.as_mut_ptr()) <= 0 {
            return None;
        }
        let info = info.assume_init();
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => Some(AtCall::Begins(info.u.entry.nr.cast_signed(), info.u.entry.args)),
            libc::PTRACE_SYSCALL_INFO_EXIT => Some(AtCall::Over(info.u.exit.sval)),
            _ => None,
        }
    }
}

/// Leaves a thread stopped, as its group is, until the group goes on.
pub fn listen(tid: i32) {
    let _ = request(libc::PTRACE_LISTEN, tid, 0);
}

/// Traces a stopped thread no more, and lets it go on.
pub fn detach(tid: i32, signal: i32) {
    let _ = request(libc::PTRACE_DETACH, tid, usize::try_from(signal).unwrap_or(0));
}

/// What the kernel has to say about an event: after exec, the former number of the thread.
#[must_use]
pub fn message(tid: i32) -> Option<i32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one word.
    let answer = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, 0usize, &raw mut message) };
    (answer != -1).then(|| i32::try_from(message).ok()).flatten()
}

/// The registers of a stopped thread.
#[must_use]
pub fn registers(tid: i32) -> Option<Registers> {
    let mut all = MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: the kernel writes the whole structure, of which all-zero is a valid value too.
    let all = unsafe {
        if libc::ptrace(libc::PTRACE_GETREGS, tid, 0usize, all.as_mut_ptr()) == -1 {
            return None;
        }
        all.assume_init()
    };
    // The kernel keeps the number as it came in: all ones for none.
    Some(Registers { ip: all.rip, sp: all.rsp, bp: all.rbp, call: all.orig_rax.cast_signed() })
}

/// The address that a stopped thread's SIGSEGV, SIGBUS, SIGILL or SIGFPE is about; `None` when a process sent it.
#[must_use]
pub fn fault_address(tid: i32) -> Option<u64> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes the whole structure; si_addr is there for what the kernel itself sends (code > 0).
    unsafe {
        if libc::ptrace(libc::PTRACE_GETSIGINFO, tid, 0usize, info.as_mut_ptr()) == -1 {
            return None;
        }
        let info = info.assume_init();
        (info.si_code > 0 && info.si_code != libc::SI_KERNEL).then(|| info.si_addr() as u64)
    }
}

/// Waits until a traced thread stands still; `None` when it has ended or takes too long.
#[must_use]
pub fn wait_for_stop(tid: i32, longest: Duration) -> Option<Stop> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: waitpid only writes the status.
        match unsafe { libc::waitpid(tid, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 if start.elapsed() < longest => std::thread::sleep(Duration::from_micros(200)),
            found if found == tid => {
                return match status_of(status) {
                    super::Change::Stopped(stop) => Some(stop),
                    super::Change::Ended(_) => None,
                };
            }
            _ => return None,
        }
    }
}

/// Waits until a traced thread stands still; `None` when it has ended, which is left for its parent to hear.
#[must_use]
pub fn wait(tid: i32) -> Option<Stop> {
    let id = tid.cast_unsigned();
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let look = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: waitid only writes the structure, of which all-zero is a valid value too.
        let (found, info) = unsafe {
            let found = libc::waitid(libc::P_PID, id, info.as_mut_ptr(), look);
            (found, info.assume_init())
        };
        match found {
            0 if [libc::CLD_TRAPPED, libc::CLD_STOPPED].contains(&info.si_code) => {}
            0 => return None,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            _ => return None,
        }
        let mut status = 0;
        // SAFETY: waitpid only writes the status.
        let taken = unsafe { libc::waitpid(tid, &raw mut status, libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD) };
        if taken == tid
            && let super::Change::Stopped(stop) = status_of(status)
        {
            return Some(stop);
        }
        if taken != 0 {
            return None;
        }
    }
}

//! A child that lives in our memory until it is another program, as vfork's does: nothing of the launcher is copied for
//! it, and no page that the launcher writes to afterwards.

use nix::sys::signal::{SigSet, SigmaskHow};
use std::ffi::{c_int, c_void};
use std::io;

/// What the child's stack takes: its work is a few system calls.
const STACK: usize = 64 << 10;

type Work<'a> = &'a mut dyn FnMut() -> c_int;

/// Starts a child that does `work`, and waits until it has become another program or has ended. Gives its pid.
///
/// # Safety
/// `work` makes only async-signal-safe calls, and what it changes in memory must be of no matter to the caller.
///
/// # Errors
/// When there can be no further process.
pub unsafe fn start(mut work: Work) -> io::Result<i32> {
    extern "C" fn begin(work: *mut c_void) -> c_int {
        // SAFETY: the parent's own, which waits until this is over.
        unsafe { (*work.cast::<Work>())() }
    }
    let mut stack: Vec<u8> = Vec::with_capacity(STACK);
    // No handler of ours may run in the child; it sets its own mask.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the stack grows downward from its aligned end, and lives until the child is done, as the kernel resumes us
    // only then.
    let pid = unsafe {
        let end = stack.as_mut_ptr().add(STACK);
        let end = end.sub(end as usize % 16);
        libc::clone(begin, end.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, (&raw mut work).cast())
    };
    let failed = io::Error::last_os_error();
    mask.thread_set_mask()?;
    if pid == -1 { Err(failed) } else { Ok(pid) }
}

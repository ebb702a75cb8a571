//! A copy of the launcher that outlives it, outside of its tree.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts an orphan: a copy of this process in a session of its own, which has `line` for its stdin and nothing else of
/// ours open, does `work`, and ends. Nothing of the caller's is dropped in it. `name` is what ps shows of its command.
///
/// A copy, since to load the program anew costs every run some milliseconds. This process must have one thread.
///
/// # Errors
/// When there can be no other process.
pub fn start(name: &CStr, line: &OwnedFd, work: impl FnOnce()) -> io::Result<()> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: this process has one thread, so the copies are whole. The first ends at once, and leaves the second to
    // whoever takes in orphans.
    unsafe {
        let first = libc::fork();
        if first == 0 {
            libc::setsid();
            match libc::fork() {
                0 => {
                    detach(name, line.as_raw_fd(), nothing.as_raw_fd());
                    let _ = catch_unwind(AssertUnwindSafe(work));
                    libc::_exit(0)
                }
                -1 => libc::_exit(1),
                _ => libc::_exit(0),
            }
        }
        let mut status = 0;
        if first == -1 || libc::waitpid(first, &raw mut status, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
        if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EAGAIN)) }
    }
}

/// Lets go of what was the launcher's.
///
/// # Safety
/// Only in a fresh copy that never comes back.
unsafe fn detach(name: &CStr, line: i32, nothing: i32) {
    // SAFETY: calls on numbers and on memory of our own.
    unsafe {
        libc::dup2(line, 0);
        libc::dup2(nothing, 1);
        libc::dup2(nothing, 2);
        if libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) != 0 {
            // Kernels before 5.9.
            (3..65_536).for_each(|fd| _ = libc::close(fd));
        }
        libc::chdir(c"/".as_ptr());
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
}

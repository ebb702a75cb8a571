//! A copy of the launcher that outlives it, and is none of its tree.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};

/// The pid of the copy; 0 before there is one.
static PID: AtomicI32 = AtomicI32::new(0);

/// Whether a process is the copy, and so none of the tree.
#[must_use]
pub fn is(pid: i32) -> bool {
    pid == PID.load(Ordering::Relaxed)
}

/// Starts the copy: in a session of its own, it has `line` for its stdin and nothing else of ours open, does `work`, and
/// ends. Nothing of the caller's is dropped in it. `name` is what ps shows of its command.
///
/// It is a child of the calling thread, which must be one that waits for no children. A copy, since to load the program
/// anew costs some milliseconds. Of this process's other threads there is none in it: `work` must wait for nothing that
/// one of them may hold. The locks of libc's allocator are made good by its fork.
///
/// # Errors
/// When there can be no other process.
pub fn start(name: &CStr, line: &OwnedFd, work: impl FnOnce()) -> io::Result<()> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: the copy has this thread alone, and `work` needs no other. It never comes back.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the copy.
        0 => unsafe {
            libc::setsid();
            detach(name, line.as_raw_fd(), nothing.as_raw_fd());
            let _ = catch_unwind(AssertUnwindSafe(work));
            libc::_exit(0)
        },
        pid => {
            PID.store(pid, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// Ends the copy: there is nobody left whom it could outlive the launcher for.
pub fn end() {
    let pid = PID.swap(0, Ordering::Relaxed);
    if pid > 0 {
        // SAFETY: a child of ours that nobody has waited for, so the number is its own.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
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

//! A copy of the launcher that makes one of several runs. A copy costs less than to start the program anew: nothing is
//! loaded, relocated or parsed again.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exit,
    /// By a signal, so that it may have left something behind.
    Signal,
}

/// A copy of this process that is to be waited for.
#[derive(Debug)]
pub struct Part {
    pid: i32,
    ended: Option<Ending>,
}

impl Part {
    /// Starts a copy in a process group of its own, which does `work`, reading nothing and saying what it says to `said`,
    /// and ends with the code that it gives. Nothing of the caller's is dropped in it.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn start(said: &File, work: impl FnOnce() -> u8) -> io::Result<Part> {
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        let runner = std::process::id();
        // SAFETY: whoever has several runs made has one thread, so the copy is whole.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // A terminal's Ctrl-C comes to the runner alone, which ends the runs in order.
                // SAFETY: takes numbers; the descriptors are open.
                unsafe {
                    // The runner may be killed: then nobody else would end what is started here.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                    if std::os::unix::process::parent_id() != runner {
                        libc::_exit(crate::exit_code::Exit::OurFailure.code().into());
                    }
                    libc::setpgid(0, 0);
                    libc::dup2(nothing.as_raw_fd(), 0);
                    libc::dup2(nothing.as_raw_fd(), 1);
                    libc::dup2(said.as_raw_fd(), 2);
                }
                let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(crate::exit_code::Exit::OurFailure.code());
                std::process::exit(code.into())
            }
            pid => Ok(Part { pid, ended: None }),
        }
    }

    /// Its pid, which is its own until it was found to have ended.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// When it is no child of this process any more.
    pub fn try_wait(&mut self) -> io::Result<Option<Ending>> {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: waitpid only writes the status.
            self.ended = match unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } {
                -1 => return Err(io::Error::last_os_error()),
                0 => None,
                _ if libc::WIFSIGNALED(status) => Some(Ending::Signal),
                _ => Some(Ending::Exit),
            };
        }
        Ok(self.ended)
    }
}

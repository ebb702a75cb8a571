//! Tries, in a child that ends at once, whether a supervisor can be put over a program here: each step as the engine
//! takes it. What a kernel or a container says it can do is no proof that it does.

use crate::sys;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The step at which a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A pipe and a child.
    Child,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    GiveUpRights,
    /// seccomp(2) with a filter and a listener.
    Install,
    /// The child did not come to its end: something outside killed it.
    Killed,
    /// pidfd_open and pidfd_getfd.
    TakeListener,
    /// process_vm_readv.
    ReadMemory,
    /// A notification that arrives, and its answer.
    Notify,
}

/// Why there can be no supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What did not work.
    pub step: Step,
    /// What the kernel said; for [`Step::Killed`] the signal.
    pub code: i32,
}

/// What the kernel has beyond what the engine needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Only death interrupts a call that the supervisor holds (Linux 5.19).
    pub wait_killable: bool,
    /// The supervisor runs on the caller's processor at once (Linux 6.6).
    pub sync_wake_up: bool,
    /// The supervisor can put a descriptor into the caller (Linux 5.9).
    pub addfd: bool,
}

/// What the child shows to be read.
static SHOWN: u64 = 0x6368_616f_732d_6578;
/// The system call that the child makes to be noticed; it has no effect.
const NOTICED: i64 = libc::SYS_getpgrp;
/// The listener's answer to that.
const ANSWER: i64 = 4711;
/// A supervisor that hears nothing for so long hears nothing at all.
const PATIENCE_MS: i32 = 5000;

/// Tries it all.
///
/// # Errors
/// The first step that did not work.
pub fn supervisor() -> Result<Extras, Refused> {
    let here = |step| move |error: io::Error| Refused { step, code: error.raw_os_error().unwrap_or(0) };
    let (mut told, tell) = sys::pipe().map_err(here(Step::Child))?;
    let (wait, go) = sys::pipe().map_err(here(Step::Child))?;
    // SAFETY: the launcher has one thread; the child makes async-signal-safe calls only, and never returns.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => return Err(here(Step::Child)(io::Error::last_os_error())),
        // SAFETY: this is the child.
        0 => unsafe { be_supervised(tell.as_raw_fd(), wait.as_raw_fd(), go.as_raw_fd()) },
        _ => {}
    }
    drop((tell, wait));
    let mut word = [0u8; 16];
    let heard = told.read_exact(&mut word).is_ok();
    let result = if heard { supervise(pid, word, go) } else { Err(Refused { step: Step::Killed, code: 0 }) };
    let mut status = 0;
    // SAFETY: reaps the child that was just made; it ends once the pipe and the listener are closed. Should it be stuck in
    // its call, the signal ends it.
    unsafe {
        if result.is_err() {
            libc::kill(pid, libc::SIGKILL);
        }
        libc::waitpid(pid, &raw mut status, 0);
    }
    match result {
        Err(Refused { step: Step::Killed, .. }) if libc::WIFSIGNALED(status) => {
            Err(Refused { step: Step::Killed, code: libc::WTERMSIG(status) })
        }
        // The child has judged the answer that it got.
        Ok(_) if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 => {
            Err(Refused { step: Step::Notify, code: 0 })
        }
        result => result,
    }
}

/// The parent's part: `word` says which step the child was at, with what result, and whether it waits killable.
fn supervise(pid: i32, word: [u8; 16], go: std::fs::File) -> Result<Extras, Refused> {
    let part = |at: usize| i32::from_ne_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]);
    let (step, value, killable) = (part(0), part(4), part(8) == 1);
    match step {
        0 => return Err(Refused { step: Step::GiveUpRights, code: value }),
        1 => return Err(Refused { step: Step::Install, code: value }),
        _ => {}
    }
    let here = |step| move || Refused { step, code: io::Error::last_os_error().raw_os_error().unwrap_or(0) };
    let listener = take(pid, value).ok_or_else(here(Step::TakeListener))?;
    if !can_read(pid) {
        return Err(here(Step::ReadMemory)());
    }
    let extras = Extras { wait_killable: killable, sync_wake_up: set_sync(&listener), addfd: knows_addfd(&listener) };
    // The child goes on to its call.
    drop(go);
    answer(&listener).ok_or_else(here(Step::Notify))?;
    Ok(extras)
}

/// Takes the listener out of the child.
fn take(pid: i32, fd: RawFd) -> Option<OwnedFd> {
    let process = sys::pidfd(u32::try_from(pid).ok()?).ok()?;
    // SAFETY: takes numbers; the descriptor that it gives has one owner.
    unsafe {
        let taken = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        (taken >= 0).then(|| OwnedFd::from_raw_fd(taken as RawFd))
    }
}

fn can_read(pid: i32) -> bool {
    let mut seen = 0u64;
    let local = libc::iovec { iov_base: (&raw mut seen).cast(), iov_len: 8 };
    // The child is a copy: the same address, the same value.
    let remote = libc::iovec { iov_base: (&raw const SHOWN).cast_mut().cast(), iov_len: 8 };
    // SAFETY: writes at most eight bytes into `seen`.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    read == 8 && seen == SHOWN
}

fn set_sync(listener: &OwnedFd) -> bool {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: takes a number.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) == 0 }
}

fn knows_addfd(listener: &OwnedFd) -> bool {
    let nobody = libc::seccomp_notif_addfd { id: 0, flags: 0, srcfd: 0, newfd: 0, newfd_flags: 0 };
    // SAFETY: the kernel reads the structure. There is no notification of that number: it says so, where it knows the
    // request.
    let refused = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const nobody) };
    refused != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
}

/// Waits for the child's call and answers it.
fn answer(listener: &OwnedFd) -> Option<()> {
    let mut ready = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: all-zero is what the kernel demands of the structure that it fills; it reads the other. libc's structures
    // may be shorter than the kernel's, so both lie in larger ones.
    unsafe {
        let mut notification = [0u64; 32];
        if libc::poll(&raw mut ready, 1, PATIENCE_MS) != 1 {
            return None;
        }
        if libc::ioctl(ready.fd, libc::SECCOMP_IOCTL_NOTIF_RECV, notification.as_mut_ptr()) != 0 {
            return None;
        }
        let response = libc::seccomp_notif_resp { id: notification[0], val: ANSWER, error: 0, flags: 0 };
        (libc::ioctl(ready.fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) == 0).then_some(())
    }
}

/// The child: gives up its rights, installs the filter, says how that went, waits until the listener was taken, makes
/// the call, and ends with 0 when it got the supervisor's answer.
///
/// # Safety
/// Only in a fresh child of [`supervisor`].
unsafe fn be_supervised(tell: RawFd, wait: RawFd, go: RawFd) -> ! {
    // SAFETY: async-signal-safe calls on memory of our own; the filter's array lives while the kernel copies it.
    unsafe {
        libc::close(go);
        let say = |step: i32, value: i32, killable: i32| {
            let word = [step, value, killable, 0];
            libc::write(tell, word.as_ptr().cast(), 16);
        };
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            say(0, *libc::__errno_location(), 0);
            libc::_exit(1);
        }
        let mut filter = filter();
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        let install = |flags: libc::c_ulong| {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        let (listen, killable) = (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
        let mut listener = install(listen | killable);
        let has_killable = listener >= 0;
        if listener < 0 && *libc::__errno_location() == libc::EINVAL {
            listener = install(listen);
        }
        if listener < 0 {
            say(1, *libc::__errno_location(), 0);
            libc::_exit(1);
        }
        say(2, listener as i32, i32::from(has_killable));
        let mut byte = 0u8;
        libc::read(wait, (&raw mut byte).cast(), 1);
        // Ours would keep the listener alive, and the call waiting for ever, when the parent is gone.
        libc::close(listener as i32);
        libc::_exit(i32::from(libc::syscall(NOTICED) != ANSWER))
    }
}

/// Lets everything pass but one call, of which the listener hears.
fn filter() -> [libc::sock_filter; 4] {
    let instruction = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, NOTICED as u32, 0, 1),
        instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_ends_whatever_it_finds() {
        // What it finds hangs on the machine; the black-box tests take its kernel for the oracle.
        for _ in 0..3 {
            match supervisor() {
                Ok(extras) => assert!(extras.addfd, "{extras:?}: every kernel with pidfd_getfd and a listener has it"),
                Err(refused) => assert!(refused.code != 0 || refused.step == Step::Notify, "{refused:?}"),
            }
        }
    }
}

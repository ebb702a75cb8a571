//! The launcher's only unsafe code: what was inherited before Rust's runtime changed it, the robust mutex in the
//! session, the mapping of one that is steered, and fork with exec.

mod mapping;

pub use mapping::Mapping;

use crate::engine::Filtered;
use crate::exit_code::Exit;
use chaos_table::session::Header;
use nix::sys::signal::SigSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

mod lent;
pub mod orphan;
pub mod part;
pub mod ptrace;

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= 64);
const _: () = assert!(offset_of!(Header, mutex) + 64 <= PAGE);

/// The part of the session file that the launcher maps.
const PAGE: usize = 4096;

static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static SIGCHLD_IGNORED: AtomicBool = AtomicBool::new(false);
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
/// Signals that glibc keeps for itself, and takes when there is a second thread; whether they were ignored.
static KEPT: [(i32, AtomicBool); 2] = [(32, AtomicBool::new(false)), (33, AtomicBool::new(false))];

/// `struct sigaction` as the kernel has it: handler, flags, restorer, mask. libc's function refuses its own signals.
type KernelAction = [usize; 4];
const KERNEL_SIGSET: usize = 8;

/// Before main: Rust's runtime ignores SIGPIPE and opens /dev/null on a closed fd 0, 1 or 2; the target must not see it.
#[ctor::ctor(unsafe)]
fn remember_what_was_inherited() {
    SIGPIPE_IGNORED.store(is_ignored(libc::SIGPIPE), Relaxed);
    SIGCHLD_IGNORED.store(is_ignored(libc::SIGCHLD), Relaxed);
    for (signal, ignored) in &KEPT {
        let mut action: KernelAction = [0; 4];
        let none = std::ptr::null::<KernelAction>();
        // SAFETY: without a new action the kernel only writes the old one, which has that size.
        let asked = unsafe { libc::syscall(libc::SYS_rt_sigaction, *signal, none, &raw mut action, KERNEL_SIGSET) };
        ignored.store(asked == 0 && action[0] == libc::SIG_IGN, Relaxed);
    }
    for (fd, closed) in (0..).zip(&CLOSED) {
        // SAFETY: F_GETFD only asks whether the descriptor is open.
        closed.store(unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0, Relaxed);
    }
}

/// The soft limit of descriptors that was inherited, once it has been raised; 0 before.
static DESCRIPTORS: AtomicU64 = AtomicU64::new(0);

/// Lets the launcher itself have as many descriptors as it may: it holds some for each process under a filter. What the
/// target starts with stays as it was.
pub fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write this structure.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            DESCRIPTORS.store(limit.rlim_cur, Relaxed);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction without a new action only writes the old one; all-zero is a valid sigaction if it fails.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Lets children's ends be waited for, also when the launcher was started with SIGCHLD ignored.
pub fn expect_children() {
    // SAFETY: sets the default action, which runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// A locked robust mutex in a session file. The kernel marks it when this thread ends, however that happens.
///
/// It is never unlocked and never unmapped: the lock is to be found held for as long as the launcher lives.
pub struct HeldMutex {
    /// The lock belongs to the thread that took it.
    _here: PhantomData<*mut ()>,
}

/// Initialises the session's mutex and locks it in the calling thread, which must be the main one.
///
/// # Errors
/// When the file cannot be mapped, or a pthread call fails.
pub fn hold_mutex(session: &File) -> io::Result<HeldMutex> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping of a file that is at least a page long, at an address that the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, session.as_raw_fd(), 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let check = |code: i32| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::zeroed();
    // SAFETY: the mutex lies inside the page (asserted above) and is aligned to 64; no process of the tree exists yet,
    // so nobody else touches it; the page is never unmapped.
    unsafe {
        let mutex = page.cast::<u8>().add(offset_of!(Header, mutex)).cast::<libc::pthread_mutex_t>();
        check(libc::pthread_mutexattr_init(attributes.as_mut_ptr()))?;
        check(libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST))?;
        check(libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED))?;
        check(libc::pthread_mutex_init(mutex, attributes.as_ptr()))?;
        check(libc::pthread_mutex_lock(mutex))?;
    }
    Ok(HeldMutex { _here: PhantomData })
}

/// The environment as the launcher got it: in order, with doubles and with what is no `NAME=value`.
#[must_use]
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut all = Vec::new();
    // SAFETY: `environ` is NULL or an array of C strings that ends with NULL; the launcher never changes its
    // environment.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            all.push(CStr::from_ptr(*entry).to_owned());
            entry = entry.add(1);
        }
    }
    all
}

/// What a program gets in the place of the launcher's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// stdin.
    pub stdin: Option<&'a OwnedFd>,
    /// stdout and stderr.
    pub outputs: [Option<&'a OwnedFd>; 2],
    /// The working directory.
    pub cwd: Option<&'a CStr>,
    /// The list of the cgroup that it is put into.
    pub group: Option<&'a OwnedFd>,
}

/// Starts a program with nothing of the launcher's but what the `setting` says: signal mask, SIGPIPE, SIGCHLD and closed
/// standard fds are as the launcher found them. A script without `#!` is given to /bin/sh, as execvp does. `filtered`: it
/// comes under the seccomp engine first. `first` is called with the pid before the program is there. Returns the pid.
///
/// # Errors
/// What fork or exec says; after an error there is no child.
pub fn spawn(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    mask: &SigSet,
    setting: &Setting,
    filtered: Option<&Filtered>,
    first: Option<&mut dyn FnMut(i32)>,
) -> io::Result<i32> {
    let argv = pointers(arguments.iter().map(CString::as_c_str));
    let shell = [c"/bin/sh", program];
    let shell_argv = pointers(shell.into_iter().chain(arguments.iter().skip(1).map(CString::as_c_str)));
    let envp = pointers(environment.iter().map(CString::as_c_str));
    let [out, err] = setting.outputs;
    let [stdin, out, err, group] = [setting.stdin, out, err, setting.group].map(|fd| fd.map(AsRawFd::as_raw_fd));
    let place = ([stdin, out, err], setting.cwd, group);
    let (mut result, report) = pipe()?;
    let held = if first.is_some() { Some(pipe()?) } else { None };
    let hold = held.as_ref().map(|(wait, go)| (wait.as_raw_fd(), go.as_raw_fd()));
    if held.is_none() && filtered.is_none() {
        // SAFETY: the arrays end with NULL and their strings live; the child changes nothing but its own state in the
        // kernel.
        let pid = unsafe {
            lent::start(&mut || {
                become_target(program, &argv, &shell_argv, &envp, mask, place, None, report.as_raw_fd())
            })
        }?;
        drop(report);
        return became(pid, &mut result);
    }
    // SAFETY: whatever other threads do, the child only makes async-signal-safe calls on memory that was prepared
    // before, and never returns.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the child; the arrays end with NULL and their strings live.
        0 => unsafe {
            wait_for_word(hold);
            become_target(program, &argv, &shell_argv, &envp, mask, place, filtered, report.as_raw_fd())
        },
        _ => {
            drop(report);
            if let Some(first) = first {
                first(pid);
            }
            if let Some((_, mut go)) = held {
                // A child that has been killed meanwhile waits no more.
                let _ = io::Write::write_all(&mut go, b"!");
            }
            became(pid, &mut result)
        }
    }
}

/// The pid of a child that has become its program, or why it could not, which it has reported then.
fn became(pid: i32, result: &mut File) -> io::Result<i32> {
    let mut code = [0u8; 4];
    if result.read_exact(&mut code).is_ok() {
        let mut status = 0;
        // SAFETY: reaps the child that has just reported its failure.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code)));
    }
    Ok(pid)
}

/// Whether a program gives capabilities to whoever starts it.
#[must_use]
pub fn has_capabilities(program: &File) -> bool {
    let name = c"security.capability".as_ptr();
    // SAFETY: the name is a C string; with no room the kernel only tells the size of the value.
    unsafe { libc::fgetxattr(program.as_raw_fd(), name, std::ptr::null_mut(), 0) > 0 }
}

/// Becomes another program, as [`spawn`] starts one: signals and standard fds are as they were found. Comes back only when
/// that fails, with why.
#[must_use]
pub fn exec(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let argv = pointers(arguments.iter().map(CString::as_c_str));
    let envp = pointers(environment.iter().map(CString::as_c_str));
    put_back();
    // SAFETY: both arrays end with NULL and point to strings that live.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process although a filter may keep it from exiting: nobody answers for it.
pub fn end_at_once(code: u8) -> ! {
    // SAFETY: plain system calls; kill ends the process where exiting waits for an answer. It is in no filter of a table
    // that is not about kill itself.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        libc::_exit(code.into())
    }
}

/// Takes a descriptor that has just come with a message.
#[must_use]
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has made it for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether the process behind a pidfd has ended.
#[must_use]
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut wait = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, no wait.
    unsafe { libc::poll(&raw mut wait, 1, 0) > 0 }
}

/// kill(2): whether the process was there and may be sent it. The number may be a real-time signal's.
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: takes no pointer.
    pid > 0 && unsafe { libc::kill(pid, signal) } == 0
}

/// A child of the launcher that lets stopped processes go on: when their time is up, or when the launcher has ended,
/// however that happens.
pub struct Keeper {
    pid: i32,
    /// Its end tells the keeper that there is no more launcher.
    held: File,
}

impl Keeper {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets the stopped processes go on now, and waits until that is done.
    pub fn release(self) {
        drop(self.held);
        let mut status = 0;
        // SAFETY: waitpid only writes the status. It may have been reaped already.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
    }
}

/// Stops processes for so long. Which of them it reached.
///
/// # Errors
/// What pipe or fork says; nothing is stopped then.
pub fn freeze(pids: &[i32], length: Duration) -> io::Result<(Keeper, Vec<i32>)> {
    let (release, mut held) = pipe()?;
    // SAFETY: whatever other threads do, the child makes async-signal-safe calls only, and never returns.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: this is the child.
        0 => unsafe { keep(pids, length, release.as_raw_fd(), held.as_raw_fd()) },
        _ => {}
    }
    let reached = pids.iter().copied().filter(|pid| kill(*pid, libc::SIGSTOP)).collect();
    // The keeper's time begins. If it is gone, nothing may stay stopped.
    if io::Write::write_all(&mut held, b"!").is_err() {
        for pid in pids {
            kill(*pid, libc::SIGCONT);
        }
    }
    Ok((Keeper { pid, held }, reached))
}

/// The keeper: waits for the word that all are stopped, then for the end of their time or of the launcher.
///
/// # Safety
/// Only in a fresh child of [`freeze`].
unsafe fn keep(pids: &[i32], length: Duration, release: RawFd, held: RawFd) -> ! {
    // SAFETY: async-signal-safe calls on memory of our own.
    unsafe {
        // A session of its own: what is sent to the launcher's group must not end it before its work is done.
        libc::setsid();
        libc::close(held);
        let mut word = [0u8; 1];
        if libc::read(release, word.as_mut_ptr().cast(), 1) == 1 {
            let end = Instant::now() + length;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
                let mut wait = libc::pollfd { fd: release, events: libc::POLLIN, revents: 0 };
                if millis == 0 || libc::poll(&raw mut wait, 1, millis) > 0 {
                    break;
                }
            }
        }
        for pid in pids {
            libc::kill(*pid, libc::SIGCONT);
        }
        libc::_exit(0)
    }
}

/// What has become of a child, or of a thread that is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended.
    Ended(Exit),
    /// It is traced, and stands still.
    Stopped(ptrace::Stop),
}

/// Reaps one child that has ended, or finds a `traced` thread that ended or stands still: its pid and what became of
/// it. `None` when there is none yet.
///
/// # Errors
/// When there is no child at all.
pub fn wait_any(traced: bool) -> io::Result<Option<(i32, Change)>> {
    let mut status = 0;
    let mut who = -1;
    if !traced {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD;
        // SAFETY: waitid only writes the structure, of which all-zero is a valid value too: nothing was found.
        let (found, info) = unsafe { (libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), look), info.assume_init()) };
        if found == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a child is told of, or nothing is.
        who = unsafe { info.si_pid() };
        // One that stands still is traced by another thread of the launcher, which waits for it.
        if who == 0 || [libc::CLD_TRAPPED, libc::CLD_STOPPED].contains(&info.si_code) {
            return Ok(None);
        }
    }
    let threads = libc::__WNOTHREAD | if traced { libc::__WALL } else { 0 };
    // SAFETY: waitpid only writes the status.
    match unsafe { libc::waitpid(who, &raw mut status, libc::WNOHANG | threads) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some((pid, status_of(status)))),
    }
}

fn status_of(status: i32) -> Change {
    if libc::WIFSTOPPED(status) {
        return Change::Stopped(ptrace::Stop { signal: libc::WSTOPSIG(status), event: status >> 16 });
    }
    if libc::WIFSIGNALED(status) {
        return Change::Ended(Exit::Signal(libc::WTERMSIG(status)));
    }
    // The kernel keeps the lowest eight bits of a code.
    Change::Ended(Exit::Target((libc::WEXITSTATUS(status) & 0xff) as u8))
}

/// How a process ended, as far as a death is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The signal that ended it; `None` when it ended by itself.
    pub signal: Option<i32>,
}

impl Gone {
    /// From a status as wait gives it.
    #[must_use]
    pub fn from_status(status: i32) -> Gone {
        Gone { signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)) }
    }
}

/// `struct pidfd_info` of linux/pidfd.h, in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// A descriptor of a process: readable once it has ended.
///
/// # Errors
/// When there is no such process, or no descriptor left.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers; the descriptor that it gives has one owner, and is close-on-exec.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// How the process behind a pidfd ended; `None` while it runs, and on kernels that do not tell after it was reaped.
#[must_use]
pub fn how_it_ended(pidfd: &OwnedFd) -> Option<Gone> {
    let info = pidfd_info(pidfd)?;
    (info.mask & PIDFD_INFO_EXIT != 0).then(|| Gone::from_status(info.exit_code))
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

fn pidfd_info(pidfd: &OwnedFd) -> Option<PidfdInfo> {
    /// `_IOWR(0xFF, 11, struct pidfd_info)`
    const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes at most the 64 bytes whose size stands in the number of the request.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (answer == 0).then_some(info)
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const libc::c_char> {
    strings.map(CStr::as_ptr).chain([std::ptr::null()]).collect()
}

/// A pipe above fd 2, which the child can neither inherit nor close with its own standard fds.
///
/// # Errors
/// When there is no descriptor left.
pub fn pipe() -> io::Result<(File, File)> {
    let mut fds: [RawFd; 2] = [-1; 2];
    // SAFETY: pipe2 fills both, each then has one owner.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

/// Puts back what Rust's runtime has changed, before an exec.
fn put_back() {
    let disposition = |ignored: &AtomicBool| if ignored.load(Relaxed) { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: async-signal-safe calls; the fds were not open when this process began, and nothing of ours uses them.
    unsafe {
        libc::signal(libc::SIGPIPE, disposition(&SIGPIPE_IGNORED));
        libc::signal(libc::SIGCHLD, disposition(&SIGCHLD_IGNORED));
        for (signal, _) in KEPT.iter().filter(|(_, ignored)| ignored.load(Relaxed)) {
            let action: KernelAction = [libc::SIG_IGN, 0, 0, 0];
            let none = std::ptr::null_mut::<KernelAction>();
            libc::syscall(libc::SYS_rt_sigaction, *signal, &raw const action, none, KERNEL_SIGSET);
        }
        let descriptors = DESCRIPTORS.load(Relaxed);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if descriptors != 0 && libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = descriptors;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
        for (fd, closed) in (0..).zip(&CLOSED) {
            if closed.load(Relaxed) {
                libc::close(fd);
            }
        }
    }
}

/// In the child: waits for the launcher's word, or its end.
///
/// # Safety
/// Only between fork and exec.
unsafe fn wait_for_word(hold: Option<(RawFd, RawFd)>) {
    let Some((wait, go)) = hold else { return };
    let mut word = [0u8; 1];
    // SAFETY: async-signal-safe calls on the child's own descriptors and memory.
    unsafe {
        libc::close(go);
        while libc::read(wait, word.as_mut_ptr().cast(), 1) == -1 && *libc::__errno_location() == libc::EINTR {}
    }
}

/// In the child: puts everything back, then execs; reports the errno and ends when that fails.
///
/// # Safety
/// Only between fork and exec; every array ends with NULL and points to live C strings.
#[expect(clippy::too_many_arguments, reason = "all that a target is")]
unsafe fn become_target(
    program: &CStr,
    argv: &[*const libc::c_char],
    shell_argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    mask: &SigSet,
    (fds, cwd, group): ([Option<RawFd>; 3], Option<&CStr>, Option<RawFd>),
    filtered: Option<&Filtered>,
    report: RawFd,
) -> ! {
    put_back();
    // SAFETY: async-signal-safe calls on arguments that the caller vouches for.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, mask.as_ref(), std::ptr::null_mut());
        for (fd, from) in (0..).zip(fds) {
            if let Some(from) = from {
                libc::dup2(from, fd);
            }
        }
        // "0" is whoever writes it.
        let moved = group.is_none_or(|group| libc::write(group, c"0".as_ptr().cast(), 1) == 1)
            && cwd.is_none_or(|cwd| libc::chdir(cwd.as_ptr()) == 0);
        if !moved {
            let code = (*libc::__errno_location()).to_ne_bytes();
            libc::write(report, code.as_ptr().cast(), code.len());
            libc::_exit(127)
        }
        let entered = filtered.map_or(Ok(()), |filtered| filtered.enter(libc::getpid() as u32));
        match entered {
            Ok(()) => {
                libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
                if *libc::__errno_location() == libc::ENOEXEC {
                    libc::execve(c"/bin/sh".as_ptr(), shell_argv.as_ptr(), envp.as_ptr());
                }
            }
            Err(libc::ETIMEDOUT) => end_at_once(125),
            Err(errno) => *libc::__errno_location() = errno,
        }
        let code = (*libc::__errno_location()).to_ne_bytes();
        libc::write(report, code.as_ptr().cast(), code.len());
        libc::_exit(127)
    }
}

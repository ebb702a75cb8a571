//! The kernel's side of seccomp: the filter and its listener, the memory and the descriptors of another process.
//!
//! Unsafe code of the engine lives here, in `shared.rs` and in `edges.rs`.

use chaos_table::extents;
use libc::{c_int, c_ulong, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// ioctls of a listener, from linux/seccomp.h: `_IOWR('!', 0, struct seccomp_notif)` and so on.
const NOTIF_RECV: c_ulong = 0xC050_2100;
const NOTIF_SEND: c_ulong = 0xC018_2101;
const NOTIF_ID_VALID: c_ulong = 0x4008_2102;
const NOTIF_SET_FLAGS: c_ulong = 0x4008_2104;
/// Wakes the other side on this CPU, which halves the time of a round trip; since Linux 6.6.
const FD_SYNC_WAKE_UP: c_ulong = 1;
/// The kernel may know a larger notification than we do.
const ROOM: usize = 256;

const _: () = assert!(size_of::<seccomp_notif>() == 80 && size_of::<seccomp_notif_resp>() == 24);

/// What is done to a call that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel makes the call.
    Go,
    /// The call is not made, and returns this.
    Value(i64),
    /// The call is not made, and fails with this errno.
    Errno(i32),
}

/// A system call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Names it in answers.
    pub id: u64,
    /// The thread that makes it.
    pub tid: u32,
    /// Its number.
    pub nr: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Where the program goes on.
    pub ip: u64,
}

/// The end of a filter at which the kernel asks.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes a listener's descriptor.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Listener {
        // SAFETY: takes a number. Older kernels refuse, and are slower.
        unsafe { libc::ioctl(fd.as_raw_fd(), NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP) };
        Listener(fd)
    }

    /// Waits for the next call. `None` when nobody is left who could make one.
    ///
    /// # Errors
    /// What the kernel says; EINTR and ENOENT (the caller died meanwhile) are dealt with.
    pub fn receive(&self) -> io::Result<Option<Asked>> {
        loop {
            let mut room = [0u64; ROOM / 8];
            // SAFETY: the buffer is zeroed, as the kernel demands, and larger than what any kernel is known to write.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_RECV, room.as_mut_ptr()) };
            if result == 0 {
                // SAFETY: the kernel has filled it; plain data, and the buffer is aligned to 8.
                let got = unsafe { room.as_ptr().cast::<seccomp_notif>().read() };
                let data = got.data;
                return Ok(Some(Asked {
                    id: got.id,
                    tid: got.pid,
                    nr: data.nr.into(),
                    args: data.args,
                    ip: data.instruction_pointer,
                }));
            }
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINTR) => {}
                // Either that caller is gone, or all are.
                error if error.raw_os_error() == Some(libc::ENOENT) => {
                    if self.is_deserted() {
                        return Ok(None);
                    }
                }
                error => return Err(error),
            }
        }
    }

    /// Whether no process has the filter any more.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        let mut fd = libc::pollfd { fd: self.0.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one pollfd, no wait.
        unsafe { libc::poll(&raw mut fd, 1, 0) > 0 && fd.revents & libc::POLLHUP != 0 }
    }

    /// Answers a call; false when nobody waits for the answer any more: the caller was killed, or interrupted.
    pub fn answer(&self, id: u64, answer: Answer) -> bool {
        let mut response = seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
        match answer {
            Answer::Go => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Value(value) => response.val = value,
            Answer::Errno(errno) => response.error = -errno,
        }
        // SAFETY: reads one response.
        unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_SEND, &raw mut response) == 0 }
    }

    /// Whether the caller still waits, so that what was read of it meanwhile was its own.
    #[must_use]
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: reads one number.
        unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_ID_VALID, &raw const id) == 0 }
    }
}

/// Puts a filter over the calling thread; the listener's number, or the errno as a negative one. Only for a process
/// with one thread. Allocates nothing, so it may be called between fork and exec.
pub fn install(program: &[sock_filter]) -> i32 {
    let program = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let seccomp = |flags: c_ulong| {
        // SAFETY: the program is read only; the call changes what this process may do, as is wanted.
        let fd = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) as i32
        };
        // SAFETY: this thread's own errno.
        if fd >= 0 { fd } else { -unsafe { *libc::__errno_location() } }
    };
    // SAFETY: plain numbers. The launcher is an ancestor, so that Yama lets it read our memory; others are let in for
    // orphans of a launcher in another pid namespace.
    unsafe {
        libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return -*libc::__errno_location();
        }
    }
    let wanted = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match seccomp(wanted | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        // Before Linux 5.19 signals interrupt calls that wait for their answer.
        errno if errno == -libc::EINVAL => seccomp(wanted),
        result => result,
    }
}

/// Another process's descriptor, as one of ours: the same open file.
///
/// # Errors
/// When the process is gone, out of reach, or has no such descriptor.
pub fn descriptor_of(pidfd: &OwnedFd, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers; the new descriptor has one owner, and is close-on-exec.
    unsafe {
        let got = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0);
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(got as RawFd))
    }
}

/// Tells of the extents that a file system has given out in a range of a file. False: it does not say.
pub fn extents(fd: &OwnedFd, from: u64, to: u64, tell: impl FnMut(u64, u64)) -> bool {
    // SAFETY: the kernel fills as many extents as there is room for.
    let ask = |map: &mut extents::Map| unsafe {
        libc::ioctl(fd.as_raw_fd(), extents::FS_IOC_FIEMAP, std::ptr::from_mut(map)) == 0
    };
    extents::walk(from, to, ask, tell)
}

/// Copies between two descriptors by a system call of that number, each end at its own offset or at the one that is given,
/// which moves on.
pub fn copy(
    nr: i64,
    from: (&OwnedFd, Option<&mut i64>),
    to: (&OwnedFd, Option<&mut i64>),
    len: usize,
    flags: i32,
) -> io::Result<usize> {
    let at = |offset: Option<&mut i64>| offset.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let (from, from_at, to, to_at) = (from.0.as_raw_fd(), at(from.1), to.0.as_raw_fd(), at(to.1));
    // SAFETY: descriptors, and offsets that live or NULL.
    let copied = unsafe {
        match nr {
            libc::SYS_sendfile => libc::sendfile(to, from, from_at, len),
            libc::SYS_splice => libc::splice(from, from_at, to, to_at, len, flags as u32),
            _ => libc::copy_file_range(from, from_at, to, to_at, len, flags as u32),
        }
    };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

/// Reads another process's memory; how much could be read.
#[must_use]
pub fn read_memory(pid: u32, at: u64, into: &mut [u8]) -> usize {
    let ours = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let theirs = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the kernel writes at most the whole slice; what is wrong with the other's memory is an error or a part.
    let n = unsafe { libc::process_vm_readv(pid as i32, &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// Writes to another process's memory; how much could be written.
pub fn write_memory(pid: u32, at: u64, from: &[u8]) -> usize {
    let ours = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let theirs = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: the slice is only read; the other's memory is what its own call would have written.
    let n = unsafe { libc::process_vm_writev(pid as i32, &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// Waits until the word is no longer `seen`, or for so long.
pub fn wait_for_change(word: &AtomicU32, seen: u32, longest: Duration) {
    let timeout = libc::timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
    // SAFETY: an aligned word that outlives the call; the kernel reads it, and finds it unmapped at worst.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const timeout, 0, 0) };
}

/// Wakes everybody who waits on a word.
pub fn wake(word: &AtomicU32) {
    // SAFETY: an aligned word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, c_int::MAX, 0, 0, 0) };
}

/// The first 32 bits of a socket's option.
#[must_use]
pub fn option_at(fd: &OwnedFd, level: i32, name: i32) -> Option<i32> {
    let (mut value, mut len) = (0i32, 4u32);
    // SAFETY: value and length live through the call.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    (result == 0).then_some(value)
}

/// Bytes that were written to a pipe or a unix socket and that nobody has read.
#[must_use]
pub fn unread(fd: &OwnedFd, is_socket: bool) -> Option<i32> {
    let request = if is_socket { libc::TIOCOUTQ } else { libc::FIONREAD };
    let mut value = 0i32;
    // SAFETY: both requests fill one int, which lives through the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) };
    (result == 0).then_some(value)
}

/// The head of a connection's `tcp_info`; how much of it the kernel has filled is in the length.
#[must_use]
pub fn tcp_info(fd: &OwnedFd) -> Option<[u64; 32]> {
    let mut info = [0u64; 32];
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `len` bytes.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    (result == 0).then_some(info)
}

/// A number that an ioctl of a socket gives: `SIOCINQ` and its kin.
#[must_use]
pub fn queued(fd: &OwnedFd, request: c_ulong) -> u64 {
    let mut count: c_int = 0;
    // SAFETY: both requests write one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut count) };
    if result == 0 { u64::try_from(count).unwrap_or(0) } else { 0 }
}

/// A socket's timeout in ns, `SO_RCVTIMEO` or `SO_SNDTIMEO`; `None` for none.
#[must_use]
pub fn socket_timeout(fd: &OwnedFd, name: i32) -> Option<u64> {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as u32;
    // SAFETY: value and length live through the call.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut time).cast(), &raw mut len) };
    let ns = (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_usec as u64 * 1000);
    (result == 0 && ns != 0).then_some(ns)
}

/// The bytes of a socket's peer's address, or of its own; `None` when it has none.
#[must_use]
pub fn socket_address(fd: &OwnedFd, own: bool) -> Option<Vec<u8>> {
    let mut address = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut len = address.len() as u32;
    // SAFETY: the buffer is as long as `len` says.
    let result = unsafe {
        let to = address.as_mut_ptr().cast();
        if own {
            libc::getsockname(fd.as_raw_fd(), to, &raw mut len)
        } else {
            libc::getpeername(fd.as_raw_fd(), to, &raw mut len)
        }
    };
    (result == 0).then(|| address[..(len as usize).min(address.len())].to_vec())
}

/// connect(2) to raw bytes of an address.
///
/// # Errors
/// What the kernel says.
pub fn connect(fd: &OwnedFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads the slice.
    let result = unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How data is moved through a descriptor.
#[derive(Clone, Copy, Debug)]
pub enum Through<'a> {
    /// A socket, with MSG_ flags, and where to when it says so.
    Socket(i32, &'a [u8]),
    /// A file, at an offset.
    At(i64),
    /// Anything, at its position.
    Stream,
}

/// Reads at most the whole buffer without waiting for another process; the sender's address, where a socket tells it.
///
/// # Errors
/// What the kernel says: EAGAIN when nothing is there yet.
pub fn take(fd: &OwnedFd, into: &mut [u8], how: Through<'_>) -> io::Result<(usize, Vec<u8>)> {
    let mut from = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut len = from.len() as u32;
    let (to, room) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: the kernel writes at most the whole slice and the whole address.
    let n = unsafe {
        match how {
            Through::Socket(flags, _) => {
                let flags = flags | libc::MSG_DONTWAIT;
                libc::recvfrom(fd.as_raw_fd(), to, room, flags, from.as_mut_ptr().cast(), &raw mut len)
            }
            Through::At(at) => libc::pread(fd.as_raw_fd(), to, room, at),
            Through::Stream => {
                let list = libc::iovec { iov_base: to, iov_len: room };
                match libc::preadv2(fd.as_raw_fd(), &raw const list, 1, -1, libc::RWF_NOWAIT) {
                    -1 if *libc::__errno_location() == libc::EOPNOTSUPP => libc::read(fd.as_raw_fd(), to, room),
                    n => n,
                }
            }
        }
    };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((n as usize, from[..(len as usize).min(from.len())].to_vec()))
}

/// Writes at most the whole buffer without waiting for another process.
///
/// # Errors
/// What the kernel says: EAGAIN when there is no room yet.
pub fn give(fd: &OwnedFd, data: &[u8], how: Through<'_>) -> io::Result<usize> {
    let (from, len) = (data.as_ptr().cast(), data.len());
    // SAFETY: the kernel reads both slices.
    let n = unsafe {
        match how {
            Through::Socket(flags, to) => {
                let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                let address = if to.is_empty() { std::ptr::null() } else { to.as_ptr().cast() };
                libc::sendto(fd.as_raw_fd(), from, len, flags, address, to.len() as u32)
            }
            Through::At(at) => libc::pwrite(fd.as_raw_fd(), from, len, at),
            Through::Stream => {
                let list = libc::iovec { iov_base: from.cast_mut(), iov_len: len };
                match libc::pwritev2(fd.as_raw_fd(), &raw const list, 1, -1, libc::RWF_NOWAIT) {
                    -1 if *libc::__errno_location() == libc::EOPNOTSUPP => libc::write(fd.as_raw_fd(), from, len),
                    n => n,
                }
            }
        }
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Waits for so long until a descriptor can be read, or written.
pub fn wait_ready(fd: &OwnedFd, to_write: bool, longest: Duration) {
    let events = if to_write { libc::POLLOUT } else { libc::POLLIN };
    let mut wait = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut wait, 1, i32::try_from(longest.as_millis()).unwrap_or(i32::MAX)) };
}

/// Whether the other end of a stream or pipe is closed.
#[must_use]
pub fn hung_up(fd: &OwnedFd) -> bool {
    let mut wait = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one pollfd, no wait.
    unsafe { libc::poll(&raw mut wait, 1, 0) > 0 && wait.revents & libc::POLLHUP != 0 }
}

/// tgkill(2): a signal for one thread.
pub fn signal_thread(pid: u32, tid: u32, signal: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// Makes a process end with a code at the call that one of its threads waits in: stops the thread behind it, which
/// `release` lets go, and has it make exit_group in the call's place. False when it could not be stopped; it is let go
/// all the same.
pub fn make_exit(tid: u32, code: i32, ip: u64, release: impl FnOnce()) -> bool {
    /// What the `syscall` instruction takes.
    const SYSCALL: u64 = 2;
    let ptrace = |request: libc::c_uint, data: *mut libc::c_void| {
        // SAFETY: requests without an address, and data that the caller of this closure vouches for.
        unsafe { libc::ptrace(request, tid as libc::pid_t, std::ptr::null_mut::<libc::c_void>(), data) >= 0 }
    };
    if !ptrace(libc::PTRACE_SEIZE, std::ptr::null_mut()) || !ptrace(libc::PTRACE_INTERRUPT, std::ptr::null_mut()) {
        release();
        return false;
    }
    release();
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let begun = std::time::Instant::now();
    // Whoever waits for children here may be told of the stop first, so it is found by trying.
    while !ptrace(libc::PTRACE_GETREGS, registers.as_mut_ptr().cast()) {
        if begun.elapsed() > Duration::from_secs(2) {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    // SAFETY: the kernel has filled it; all-zero is valid as well.
    let mut registers = unsafe { registers.assume_init() };
    registers.rip = ip - SYSCALL;
    registers.rax = libc::SYS_exit_group as u64;
    // No call is to be restarted.
    registers.orig_rax = u64::MAX;
    registers.rdi = code as u64;
    ptrace(libc::PTRACE_SETREGS, (&raw mut registers).cast()) & ptrace(libc::PTRACE_DETACH, std::ptr::null_mut())
}

/// Shuts a connection down in both directions.
pub fn shut_down(socket: &OwnedFd) {
    // SAFETY: takes numbers.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

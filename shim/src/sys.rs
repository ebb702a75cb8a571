//! Raw system calls: they never touch errno, never reach a hook, and are no cancellation points.

use chaos_table::extents;
use std::arch::asm;
use std::ffi::{CStr, c_char};
use std::sync::atomic::AtomicU32;

/// Bytes of the kernel's signal sets.
const KERNEL_SIGSET: usize = 8;
/// Bytes of a page of memory.
const PAGE: usize = 4096;

/// One system call; the result as the kernel gives it (errors are -errno).
///
/// # Safety
/// The arguments must be what the kernel expects for `number`; pointers must be valid for what it reads and writes.
#[inline]
pub unsafe fn syscall6(number: i64, args: [usize; 6]) -> isize {
    let result: isize;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the x86-64 system call convention; the caller answers for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

macro_rules! raw {
    ($number:ident $(, $arg:expr)*) => {{
        let mut args = [0usize; 6];
        for (to, from) in args.iter_mut().zip([$($arg as usize),*]) {
            *to = from;
        }
        syscall6(libc::$number, args)
    }};
}

/// getpid(2), from the kernel: a vfork child has its parent's memory.
pub fn getpid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_getpid) as u32 }
}

/// gettid(2).
pub fn gettid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_gettid) as u32 }
}

/// Ends the process at once.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: takes no pointer, does not return.
        unsafe { raw!(SYS_exit_group, code) };
    }
}

/// clock_gettime(2): not the vDSO, whose two pages cost a fresh process more than the call.
pub fn time(clock: i32) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec lives through the call.
    unsafe { raw!(SYS_clock_gettime, clock, &raw mut time) };
    time
}

/// kill(2).
pub fn kill(pid: u32, signal: i32) -> isize {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_kill, pid, signal) }
}

/// tgkill(2).
pub fn tgkill(pid: u32, tid: u32, signal: i32) -> isize {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_tgkill, pid, tid, signal) }
}

/// Sleeps for `ns`, or until a signal handler has run; true when the time is up.
pub fn sleep(ns: u64) -> bool {
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    // SAFETY: the timespec lives through the call.
    unsafe { raw!(SYS_nanosleep, &raw const time, 0usize) == 0 }
}

/// Stops this process for `ns`, then goes on; false when the kernel has no timer for it.
///
/// A timer of the kernel's sends SIGCONT, so that nobody else has to be alive then. More of them come after it, in case
/// this thread was held up and stopped the process when the first had gone by. One that repeats would not do: where
/// SIGCONT has no handler, new kernels do not start it again.
pub fn freeze(ns: u64) -> bool {
    const SHORTEST: u64 = 1_000_000;
    const LATER: [u64; 4] = [0, 20_000_000, 500_000_000, 10_000_000_000];
    let mut timers = [None; LATER.len()];
    for (timer, later) in timers.iter_mut().zip(LATER) {
        *timer = continue_after(ns.max(SHORTEST).saturating_add(later));
    }
    let is_set = timers.iter().any(Option::is_some);
    if is_set {
        // To this thread: it stands still before it can take the timers away.
        tgkill(getpid(), gettid(), libc::SIGSTOP);
    }
    for timer in timers.into_iter().flatten() {
        // SAFETY: takes no pointer.
        unsafe { raw!(SYS_timer_delete, timer) };
    }
    is_set
}

/// Lets the kernel send SIGCONT to this process in `ns`; the timer that does.
fn continue_after(ns: u64) -> Option<i32> {
    #[repr(C)]
    struct Event {
        value: u64,
        signal: i32,
        notify: i32,
        rest: [u64; 6],
    }
    let event = Event { value: 0, signal: libc::SIGCONT, notify: libc::SIGEV_SIGNAL, rest: [0; 6] };
    let time = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 },
    };
    let mut timer = 0i32;
    // SAFETY: all three live through the calls, and are laid out as the kernel has them.
    unsafe {
        if raw!(SYS_timer_create, libc::CLOCK_MONOTONIC, &raw const event, &raw mut timer) != 0 {
            return None;
        }
        if raw!(SYS_timer_settime, timer, 0usize, &raw const time, 0usize) != 0 {
            raw!(SYS_timer_delete, timer);
            return None;
        }
    }
    Some(timer)
}

/// Sleeps until a moment of CLOCK_MONOTONIC, as a blocking read would: false when a handler without SA_RESTART has run.
/// On kernels before 5.16 any handler ends it. It ends early when `word`, which has been `value`, is woken.
pub fn block_until(ns: u64, word: &AtomicU32, value: u32) -> bool {
    const FUTEX2_SIZE_U32: u32 = 0x02;
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    let waiter = Waiter { value: value.into(), address: word.as_ptr() as u64, flags: FUTEX2_SIZE_U32, reserved: 0 };
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    // SAFETY: all three live through the call.
    let result =
        unsafe { raw!(SYS_futex_waitv, &raw const waiter, 1usize, 0usize, &raw const time, libc::CLOCK_MONOTONIC) };
    // 0: woken, EAGAIN: the word was another one before.
    if result == 0 || [-libc::ETIMEDOUT, -libc::EAGAIN, -libc::EINTR].contains(&(result as i32)) {
        return result as i32 != -libc::EINTR;
    }
    // SAFETY: the timespec lives through the call.
    unsafe { raw!(SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const time, 0usize) == 0 }
}

/// Waits until a moment of CLOCK_MONOTONIC, or until `word`, which has been `value`, is woken; false when any handler has
/// run, as poll(2) would be ended by it.
pub fn wait_until(ns: u64, word: &AtomicU32, value: u32) -> bool {
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    let any = libc::FUTEX_BITSET_MATCH_ANY as isize;
    // SAFETY: the timespec lives through the call, and the kernel looks at the word alone.
    let result =
        unsafe { raw!(SYS_futex, word.as_ptr(), libc::FUTEX_WAIT_BITSET, value, &raw const time, 0usize, any) };
    result != -libc::EINTR as isize
}

/// Wakes all who wait on a word, of this process or of others.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the kernel looks at the word alone.
    unsafe { raw!(SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX as isize) };
}

/// Whether this thread runs on its alternate signal stack.
pub fn on_signal_stack() -> bool {
    let mut stack = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: the structure lives through the call.
    unsafe { raw!(SYS_sigaltstack, 0usize, &raw mut stack) };
    stack.ss_flags & libc::SS_ONSTACK != 0
}

/// open(2) with O_CLOEXEC.
pub fn open(path: &CStr, flags: i32, mode: u32) -> Result<i32, i32> {
    // SAFETY: the path ends with NUL.
    let fd = unsafe { raw!(SYS_openat, libc::AT_FDCWD as isize, path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
    if fd < 0 { Err(-fd as i32) } else { Ok(fd as i32) }
}

/// close(2).
pub fn close(fd: i32) {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_close, fd) };
}

/// pread(2); the number of bytes, 0 on an error.
pub fn pread(fd: i32, buffer: &mut [u8], offset: u64) -> usize {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { raw!(SYS_pread64, fd, buffer.as_mut_ptr(), buffer.len(), offset) };
    usize::try_from(n).unwrap_or(0)
}

/// getrandom(2), or /dev/urandom on kernels without: fills all of the buffer.
///
/// # Safety
/// `at` must be valid for writes of `len` bytes.
pub unsafe fn random(at: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        // SAFETY: what is left of the buffer.
        let n = unsafe { raw!(SYS_getrandom, at.add(done), len - done, 0usize) };
        if n == -libc::ENOSYS as isize {
            // SAFETY: as above.
            let rest = unsafe { std::slice::from_raw_parts_mut(at.add(done), len - done) };
            let Ok(fd) = open(c"/dev/urandom", libc::O_RDONLY, 0) else { return };
            done += pread(fd, rest, 0);
            close(fd);
        } else {
            done += usize::try_from(n).unwrap_or(0);
        }
    }
}

/// getdents64(2); the number of bytes, 0 at the end or on an error.
pub fn getdents(fd: i32, buffer: &mut [u8]) -> usize {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { raw!(SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(n).unwrap_or(0)
}

/// fstat(2).
pub fn fstat(fd: i32) -> Option<libc::stat> {
    // SAFETY: an all-zero stat is a valid one.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the buffer is a stat.
    (unsafe { raw!(SYS_fstat, fd, &raw mut stat) } == 0).then_some(stat)
}

/// stat(2).
pub fn stat(path: &CStr) -> Option<libc::stat> {
    // SAFETY: an all-zero stat is a valid one.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL, the buffer is a stat.
    (unsafe { raw!(SYS_stat, path.as_ptr(), &raw mut stat) } == 0).then_some(stat)
}

/// Whether the calling process may read the file, with its effective ids.
pub fn readable(path: &CStr) -> bool {
    // SAFETY: the path ends with NUL.
    let result = unsafe { raw!(SYS_faccessat2, libc::AT_FDCWD as isize, path.as_ptr(), libc::R_OK, libc::AT_EACCESS) };
    if result == -libc::ENOSYS as isize {
        // SAFETY: as above.
        return unsafe { raw!(SYS_access, path.as_ptr(), libc::R_OK) } == 0;
    }
    result == 0
}

/// execve(2): the errno, as it comes back only when it fails.
///
/// # Safety
/// `path` must be a C string, the others NULL or arrays of C strings that end with NULL.
pub unsafe fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> i32 {
    // SAFETY: the caller says so.
    -unsafe { raw!(SYS_execve, path, argv, envp) } as i32
}

/// Whether a file can be executed by this process.
pub fn executable(path: &CStr) -> bool {
    // SAFETY: a C string; the last two are a mode and flags.
    unsafe { raw!(SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// Asks the seccomp engine which process slot is this process's own; `None` below no filter.
pub fn who_am_i() -> Option<usize> {
    // SAFETY: no kernel has the call; below a filter of the engine's it is answered, and takes nothing.
    let answer = unsafe { syscall6(chaos_table::session::WHO_AM_I, [0; 6]) };
    usize::try_from(answer).ok()?.checked_sub(1)
}

/// Whether a program gives capabilities to whoever starts it.
pub fn has_capabilities(fd: i32) -> bool {
    // SAFETY: the name is a C string; with no room the kernel only tells the size of the value.
    unsafe { raw!(SYS_fgetxattr, fd, c"security.capability".as_ptr(), 0, 0) > 0 }
}

/// Whether starting a program gives no rights here: by its mount, or because this process gave them up.
pub fn gains_nothing(fd: i32) -> bool {
    // The libc crate does not name the flags of a mount.
    const FLAGS: usize = 10;
    let mut of_mount = [0u64; size_of::<libc::statfs>() / 8];
    // SAFETY: the kernel fills a statfs, which has the size of the array; prctl takes numbers.
    let (filled, gave_up) =
        unsafe { (raw!(SYS_fstatfs, fd, of_mount.as_mut_ptr()) == 0, raw!(SYS_prctl, libc::PR_GET_NO_NEW_PRIVS) == 1) };
    gave_up || (filled && of_mount.get(FLAGS).is_some_and(|flags| flags & libc::ST_NOSUID != 0))
}

/// readlink(2) into `buffer`; the number of bytes, or an errno.
pub fn readlink(path: &CStr, buffer: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: the path ends with NUL, the buffer is valid for its length.
    let n = unsafe { raw!(SYS_readlink, path.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(n).map_err(|_| -n as i32)
}

/// getcwd(2) into `buffer`, without its NUL.
pub fn getcwd(buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { raw!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(n).ok().and_then(|n| n.checked_sub(1))
}

/// fstatat(2) of a name itself, not of what a link leads to.
pub fn lstat_at(dirfd: i32, path: &CStr) -> Option<libc::stat> {
    // SAFETY: an all-zero stat is a valid one.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL, the buffer is a stat.
    let result =
        unsafe { raw!(SYS_newfstatat, dirfd as isize, path.as_ptr(), &raw mut stat, libc::AT_SYMLINK_NOFOLLOW) };
    (result == 0).then_some(stat)
}

/// lseek(2); `None` on any error.
pub fn lseek(fd: i32, offset: i64, whence: i32) -> Option<i64> {
    // SAFETY: takes no pointer.
    let at = unsafe { raw!(SYS_lseek, fd, offset, whence) };
    (at >= 0).then_some(at as i64)
}

/// "/proc/self/fd/N", ended by NUL.
fn descriptor_path(fd: i32, path: &mut crate::text::Text<32>) -> Option<&CStr> {
    let whole = path.push(b"/proc/self/fd/") && path.push_number(u64::try_from(fd).ok()?) && path.push(b"\0");
    if whole { CStr::from_bytes_with_nul(path.bytes()).ok() } else { None }
}

/// Opens for reading what a descriptor has open, with a position of its own.
pub fn reopen(fd: i32) -> Option<i32> {
    let mut path = crate::text::Text::EMPTY;
    open(descriptor_path(fd, &mut path)?, libc::O_RDONLY | libc::O_NONBLOCK, 0).ok()
}

/// Whether any descriptor of this process is what `found` looks for. False where /proc cannot be read.
pub fn any_descriptor(found: impl Fn(i32) -> bool) -> bool {
    let Ok(dir) = open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY, 0) else { return false };
    let mut entries = [0u8; 1024];
    let mut any = false;
    while !any {
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { raw!(SYS_getdents64, dir, entries.as_mut_ptr(), entries.len()) };
        let Some(mut rest) = usize::try_from(n).ok().filter(|n| *n > 0).and_then(|n| entries.get(..n)) else { break };
        // Each entry: 16 bytes, its length, a type, a name that ends with NUL.
        while let Some(&[low, high]) = rest.get(16..18) {
            let len = usize::from(u16::from_le_bytes([low, high]));
            let name = rest.get(19..len).unwrap_or(&[]).split(|byte| *byte == 0).next().unwrap_or(&[]);
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            any |= number.is_some_and(|fd| fd != dir && found(fd));
            rest = rest.get(len.max(1)..).unwrap_or(&[]);
        }
    }
    close(dir);
    any
}

/// Tells the extents of a file between two offsets, those that are yet to be written included; false where the file
/// system has no map of them.
pub fn extents(fd: i32, from: u64, to: u64, tell: impl FnMut(u64, u64)) -> bool {
    // SAFETY: the kernel fills as many extents as there is room for.
    let ask =
        |map: &mut extents::Map| unsafe { raw!(SYS_ioctl, fd, extents::FS_IOC_FIEMAP, std::ptr::from_mut(map)) == 0 };
    extents::walk(from, to, ask, tell)
}

/// A datagram socket that has no name of its own yet gets the one that the kernel chooses on the first send.
pub fn bind_as_send_does(fd: i32) {
    // SAFETY: an all-zero address is valid.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let Some(len) = socket_name(fd, true, &mut address) else { return };
    // SAFETY: both kinds of address begin with the family and the port.
    let is_bound = unsafe { (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port } != 0;
    if !is_bound {
        // SAFETY: an address that the kernel gave; bind only reads it. Any port of any address.
        unsafe { raw!(SYS_bind, fd, &raw const address, len) };
    }
}

/// Takes one datagram and throws it away, if one is there.
pub fn lose_datagram(fd: i32) -> bool {
    let mut nothing = 0u8;
    // SAFETY: one byte may be written.
    unsafe { raw!(SYS_recvfrom, fd, &raw mut nothing, 1usize, libc::MSG_DONTWAIT, 0usize, 0usize) >= 0 }
}

/// fcntl(2) with F_GETFL; negative on an error.
pub fn status_flags(fd: i32) -> i32 {
    // SAFETY: takes no pointer.
    unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) as i32 }
}

/// Whether another process holds a record lock on any part of a file.
pub fn is_locked_by_another(fd: i32) -> bool {
    let mut lock =
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the structure lives through the call.
    let asked = unsafe { raw!(SYS_fcntl, fd, libc::F_GETLK, &raw mut lock) };
    asked == 0 && lock.l_type != libc::F_UNLCK as i16
}

/// getpeername(2), or getsockname(2) when `own`; the length of the address.
pub fn socket_name(fd: i32, own: bool, address: &mut libc::sockaddr_storage) -> Option<usize> {
    let mut len = size_of::<libc::sockaddr_storage>() as u32;
    let number = if own { libc::SYS_getsockname } else { libc::SYS_getpeername };
    // SAFETY: the buffer is as long as `len` says.
    let result =
        unsafe { syscall6(number, [fd as usize, (&raw mut *address) as usize, (&raw mut len) as usize, 0, 0, 0]) };
    (result == 0).then_some(len as usize)
}

/// getsockopt(2) of an integer at SOL_SOCKET.
pub fn socket_option(fd: i32, option: i32) -> Option<i32> {
    option_at(fd, libc::SOL_SOCKET, option)
}

/// getsockopt(2) of an integer, or of the first bytes of something larger.
pub fn option_at(fd: i32, level: i32, option: i32) -> Option<i32> {
    let mut value = 0i32;
    let mut len = 4u32;
    // SAFETY: value and length live through the call.
    let result = unsafe { raw!(SYS_getsockopt, fd, level, option, &raw mut value, &raw mut len) };
    (result == 0).then_some(value)
}

/// setsockopt(2); whether it worked.
pub fn set_option<T>(fd: i32, level: i32, option: i32, value: &T) -> bool {
    // SAFETY: the kernel reads as many bytes as the value has.
    unsafe { raw!(SYS_setsockopt, fd, level, option, &raw const *value, size_of::<T>()) == 0 }
}

/// How many instructions the packet filter of a socket has; `None` when that cannot be told.
pub fn filter_length(fd: i32) -> Option<u32> {
    const SO_GET_FILTER: i32 = 26;
    let mut len = 0u32;
    // SAFETY: for a length of 0 the kernel writes the length alone.
    let result = unsafe { raw!(SYS_getsockopt, fd, libc::SOL_SOCKET, SO_GET_FILTER, 0usize, &raw mut len) };
    (result == 0).then_some(len)
}

/// Whether a socket is bound to one network device, or that cannot be told.
pub fn is_bound_to_device(fd: i32) -> bool {
    let mut name = [0u8; libc::IFNAMSIZ];
    let mut len = name.len() as u32;
    // SAFETY: name and length live through the call.
    let result =
        unsafe { raw!(SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_mut_ptr(), &raw mut len) };
    result != 0 || len != 0
}

/// epoll_ctl(2) with EPOLL_CTL_MOD; whether it worked.
pub fn watch_again(epoll: i32, fd: i32, event: libc::epoll_event) -> bool {
    // SAFETY: the event lives through the call.
    unsafe { raw!(SYS_epoll_ctl, epoll, libc::EPOLL_CTL_MOD, fd, &raw const event) == 0 }
}

/// ppoll(2) of nothing: waits for `ns`, or until a handler has run with the signal mask at `mask` (NULL: as it is). True
/// when the time is up.
pub fn poll_nothing(ns: u64, mask: *const libc::sigset_t) -> bool {
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    // SAFETY: the timespec lives through the call; the mask is the program's own argument, which the kernel checks.
    unsafe { raw!(SYS_ppoll, 0usize, 0usize, &raw const time, mask, KERNEL_SIGSET) != -libc::EINTR as isize }
}

/// Whether poll(2) says of a pipe or socket that its other end is closed for good (POLLHUP).
pub fn hung_up(fd: i32) -> bool {
    let mut asked = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: the list of one lives through the call, which does not wait.
    let ready = unsafe { raw!(SYS_poll, &raw mut asked, 1usize, 0usize) };
    ready == 1 && asked.revents & libc::POLLHUP != 0
}

/// The number that an ioctl tells of a descriptor.
pub fn told_by_ioctl(fd: i32, request: libc::Ioctl) -> Option<i32> {
    let mut value = 0;
    // SAFETY: the requests that are asked for fill one int, which lives through the call.
    (unsafe { raw!(SYS_ioctl, fd, request, &raw mut value) } == 0).then_some(value)
}

/// SO_RCVTIMEO or SO_SNDTIMEO in ns; `None` when there is none.
pub fn socket_timeout(fd: i32, option: i32) -> Option<u64> {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as u32;
    // SAFETY: value and length live through the call.
    let result = unsafe { raw!(SYS_getsockopt, fd, libc::SOL_SOCKET, option, &raw mut time, &raw mut len) };
    let ns = (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_usec as u64 * 1000);
    (result == 0 && ns != 0).then_some(ns)
}

/// Resets a TCP connection: the peer gets a RST, and the error is left for the next call on this side to find. Anything
/// else is [`cut`].
pub fn reset(fd: i32) {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    // SAFETY: the address lives through the call.
    let is_reset = option_at(fd, libc::IPPROTO_TCP, libc::TCP_INFO).is_some()
        && unsafe { raw!(SYS_connect, fd, &raw const nobody, size_of::<libc::sockaddr>()) } == 0;
    if is_reset {
        // As the kernel does on a RST that comes from the peer; it says ENOTCONN, and shuts down all the same.
        // SAFETY: takes no pointer.
        unsafe { raw!(SYS_shutdown, fd, libc::SHUT_RDWR) };
    } else {
        cut(fd);
    }
}

/// Ends a connection for both sides; what had arrived and was not read is lost, as with a reset.
pub fn cut(fd: i32) {
    let mut lost = [0u8; 512];
    // SAFETY: the buffer is valid for its length.
    unsafe {
        raw!(SYS_shutdown, fd, libc::SHUT_RDWR);
        // Nothing new can arrive, so this ends.
        while raw!(SYS_recvfrom, fd, lost.as_mut_ptr(), lost.len(), libc::MSG_DONTWAIT, 0usize, 0usize) > 0 {}
    }
}

/// Where a file is read or written next; `None` when it has no such place.
pub fn position(fd: i32) -> Option<i64> {
    // SAFETY: takes no pointer.
    let at = unsafe { raw!(SYS_lseek, fd, 0usize, libc::SEEK_CUR) };
    i64::try_from(at).ok().filter(|at| *at >= 0)
}

/// Lowest descriptor that is free right now, found by making one and closing it.
pub fn lowest_free_fd() -> Option<i32> {
    // SAFETY: takes no pointer.
    let fd = unsafe { raw!(SYS_eventfd2, 0usize, libc::O_CLOEXEC) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    close(fd);
    Some(fd)
}

/// Whether all of the program's memory from `at` on can be read: what the kernel would answer with EFAULT must not crash
/// in our hands.
pub fn is_readable(at: *const u8, len: usize) -> bool {
    /// No way to change a signal mask: the kernel reads the new mask, then refuses.
    const HOW: i32 = -1;
    let Some(last) = (at as usize).checked_add(len.saturating_sub(1)) else { return false };
    (at as usize / PAGE..=last / PAGE).all(|page| {
        // The end of the page: its start would be NULL for the first, which asks nothing.
        let probe = page * PAGE + PAGE - 8;
        // SAFETY: the kernel copies 8 bytes, which lie in one page, and tells when it cannot.
        unsafe { raw!(SYS_rt_sigprocmask, HOW, probe, 0usize, 8usize) != -libc::EFAULT as isize }
    })
}

/// A string of the program's, looked at page by page; `None` when it leaves the memory that can be read, or is longer
/// than a path can be.
///
/// # Safety
/// The string must stay unchanged while the result is used.
pub unsafe fn string<'a>(at: *const c_char) -> Option<&'a CStr> {
    let mut len = 0;
    while len <= crate::paths::PATH_MAX {
        // SAFETY: the page has just been found readable.
        let rest = unsafe {
            let here = at.cast::<u8>().wrapping_add(len);
            let room = PAGE - here as usize % PAGE;
            if !is_readable(here, 1) {
                return None;
            }
            std::slice::from_raw_parts(here, room)
        };
        if let Some(end) = rest.iter().position(|byte| *byte == 0) {
            // SAFETY: all bytes up to the NUL are readable.
            return CStr::from_bytes_with_nul(unsafe { std::slice::from_raw_parts(at.cast(), len + end + 1) }).ok();
        }
        len += rest.len();
    }
    None
}

/// Maps `len` bytes: of a file when `fd` is not negative (shared), else private zeroed memory.
pub fn mmap(len: usize, fd: i32) -> Option<*mut u8> {
    let flags = if fd >= 0 { libc::MAP_SHARED } else { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { raw!(SYS_mmap, 0usize, len, libc::PROT_READ | libc::PROT_WRITE, flags, fd as isize, 0usize) };
    if (-4095..0).contains(&at) {
        return None;
    }
    if fd >= 0 {
        // A session is touched in few places: read ahead of the first, it would cost the first process the time to fill
        // all of it with zeros.
        // SAFETY: our own mapping, which this leaves as it is.
        unsafe { raw!(SYS_madvise, at, len, libc::MADV_RANDOM) };
    }
    Some(at as *mut u8)
}

/// Writes to a page without changing it, so that the kernel maps it for writing at once.
///
/// # Safety
/// `at` must be writable.
pub unsafe fn touch(at: *mut u8) {
    // SAFETY: the caller says that it is writable; nothing is added, in one piece. The compiler would make it a load.
    unsafe { asm!("lock add byte ptr [{0}], 0", in(reg) at, options(nostack)) };
}

/// Unmaps memory of [`mmap`].
///
/// # Safety
/// Nothing may use the memory any more.
pub unsafe fn munmap(at: *mut u8, len: usize) {
    // SAFETY: the caller says that it is unused.
    unsafe { raw!(SYS_munmap, at, len) };
}

/// Where the heap of brk(2) ends.
pub fn program_break() -> usize {
    // SAFETY: what cannot be set only asks.
    unsafe { raw!(SYS_brk, 0usize) as usize }
}

/// Makes the page at `at` read as zeros in a forked child; false on kernels before 4.14.
pub fn wipe_on_fork(at: *mut u8, len: usize) -> bool {
    const MADV_WIPEONFORK: i32 = 18;
    // SAFETY: `at` is a private anonymous mapping of `len` bytes of ours.
    unsafe { raw!(SYS_madvise, at, len, MADV_WIPEONFORK) == 0 }
}

/// write(2) to standard error, for the one line before `_exit(125)`.
pub fn complain(text: &[u8]) {
    // SAFETY: the buffer is valid for its length.
    unsafe { raw!(SYS_write, 2usize, text.as_ptr(), text.len()) };
}

/// Runs `body` with `size` bytes of stack below it, aligned to 64.
///
/// For environments of children: a vfork child must not allocate, since its memory is its parent's.
///
/// # Safety
/// `size` must leave room on the stack; `context` must be what `body` expects.
#[unsafe(naked)]
pub unsafe extern "C-unwind" fn with_stack(
    _size: usize,
    _body: unsafe extern "C-unwind" fn(*mut u8, *mut u8) -> isize,
    _context: *mut u8,
) -> isize {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        // Page by page, each touched: a stack that is too small ends in its guard page, not in the memory behind it.
        "2: cmp rdi, 4096",
        "jbe 3f",
        "sub rsp, 4096",
        "test qword ptr [rsp], rsp",
        "sub rdi, 4096",
        "jmp 2b",
        "3: sub rsp, rdi",
        "and rsp, -64",
        "mov rdi, rsp",
        "mov rax, rsi",
        "mov rsi, rdx",
        "call rax",
        "leave",
        "ret",
    )
}

//! THE table of interposable calls: one row an operation.
//!
//! Hooks, the selectors of a fault table, `chaos-exec list calls`, the README and the tests are driven by it. To add a
//! call: one row here, one hook in `shim/src/hooks/`; the test `exports_match_the_table` holds the two together.

/// What a call acts on; decides which selectors can match it and what its log line names as the resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// An open file descriptor (`path`, `to` and `fd` apply).
    Fd,
    /// A path that is being opened or named.
    Path,
    /// A peer address being connected to.
    Peer,
    /// A host name being looked up.
    Name,
    /// An amount of memory.
    Memory,
    /// A program being started.
    Program,
    /// Nothing that a selector could name.
    Nothing,
}

/// How a call tells its caller that it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Returns -1 and sets errno.
    Errno,
    /// Returns NULL and sets errno.
    Null,
    /// Returns the errno itself.
    Code,
    /// Returns an EAI code (getaddrinfo).
    Eai,
    /// Cannot fail.
    Never,
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It comes in: reads, receives.
    In,
    /// It goes out: writes, sends.
    Out,
}

/// Families that a user may name in `calls`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Family {
    /// Files and directories; calls on any descriptor count when it is a file.
    Disk = 1,
    /// Sockets and names; calls on any descriptor count when it is a socket.
    Network = 2,
    /// The allocator.
    Memory = 4,
    /// Processes and threads.
    Process = 8,
    /// Clocks and sleeping.
    Time = 16,
    /// C streams.
    Stdio = 32,
}

impl Family {
    /// Every family with its name.
    pub const ALL: &'static [(&'static str, Family)] = &[
        ("disk", Family::Disk),
        ("network", Family::Network),
        ("memory", Family::Memory),
        ("process", Family::Process),
        ("time", Family::Time),
        ("stdio", Family::Stdio),
    ];

    /// The family called `name`; `disk_io` is accepted for `disk`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Family> {
        let name = if name == "disk_io" { "disk" } else { name };
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }
}

/// What can be done to a call. The discriminant is the number in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FaultKind {
    /// The call fails with an errno.
    Error = 1,
    /// A delay, then the call goes on.
    Latency = 2,
    /// The call blocks.
    Hang = 3,
    /// A shortened read or write.
    Short = 4,
    /// Bits flipped in the data.
    Corrupt = 5,
    /// ECONNREFUSED.
    Refuse = 6,
    /// The connection is reset or ends.
    Disconnect = 7,
    /// The look-up of a name fails.
    Dns = 8,
    /// A resource runs out.
    Exhaust = 9,
    /// A signal is sent to the process.
    Signal = 10,
    /// The process exits.
    Exit = 11,
}

impl FaultKind {
    /// Every fault with its name and what it does, in the words of the documentation.
    pub const ALL: &'static [(&'static str, FaultKind, &'static str)] = &[
        ("error", FaultKind::Error, "the call fails with an errno: one, or a weighted choice of its usual ones"),
        ("latency", FaultKind::Latency, "a delay (fixed, uniform or normal), then the call goes on"),
        ("hang", FaultKind::Hang, "blocks until `for`, the deadline or release, then the call goes on"),
        ("short", FaultKind::Short, "a true short read or write: the request is shortened, no byte is lost"),
        ("corrupt", FaultKind::Corrupt, "bit flips in what is read or what is written"),
        ("refuse", FaultKind::Refuse, "connect fails with ECONNREFUSED"),
        ("disconnect", FaultKind::Disconnect, "the connection is reset, or ends silently, and stays so"),
        ("dns", FaultKind::Dns, "getaddrinfo answers not-found or try-again, or hangs"),
        ("exhaust", FaultKind::Exhaust, "memory or files (descriptors) run out at a limit"),
        ("signal", FaultKind::Signal, "a signal is sent to the process at a call"),
        ("exit", FaultKind::Exit, "the process exits with a code at a call"),
    ];

    /// The fault with this number in a record.
    #[must_use]
    pub fn from_number(number: u8) -> Option<FaultKind> {
        Self::ALL.iter().map(|(_, kind, _)| *kind).find(|kind| *kind as u8 == number)
    }

    /// The name that a table uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("?", |(name, _, _)| name)
    }

    /// As one bit of [`Call::faults`].
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Any call can be slow, end its process, or fail.
const ANY: u32 = FaultKind::Latency.bit() | FaultKind::Signal.bit() | FaultKind::Exit.bit();
const FAIL: u32 = ANY | FaultKind::Error.bit();
const WAIT: u32 = FAIL | FaultKind::Hang.bit();
const DATA: u32 = WAIT | FaultKind::Short.bit() | FaultKind::Corrupt.bit() | FaultKind::Disconnect.bit();
const FILES: u32 = FAIL | FaultKind::Exhaust.bit();

/// One row: an operation.
///
/// It holds no pointer, only places in what all rows share: each pointer would be a relocation in every process that
/// starts under the shim.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which operation.
    pub op: Op,
    /// Bits of [`Family`].
    pub families: u8,
    /// What it acts on.
    pub subject: Subject,
    /// How it fails.
    pub fails: Failure,
    /// Bits of [`FaultKind`] that make sense here.
    pub faults: u32,
    symbols: u8,
    syscalls: Part,
    usual: Part,
    /// Where its texts begin in [`TEXTS`]: name, symbols, source.
    text: u32,
}

/// A part of a list that all rows share.
#[derive(Clone, Copy, Debug)]
struct Part {
    at: u16,
    len: u16,
}

impl Part {
    const fn of<T>(self, whole: &'static [T]) -> &'static [T] {
        whole.split_at(self.at as usize).1.split_at(self.len as usize).0
    }
}

/// Says where in the lists each row's own part is, from their lengths.
const fn placed<const N: usize>(mut rows: [Call; N]) -> [Call; N] {
    let (mut row, mut text, mut syscalls, mut usual) = (0, 0, 0, 0);
    while row < N {
        let call = &mut rows[row];
        (call.text, call.syscalls.at, call.usual.at) = (text as u32, syscalls, usual);
        syscalls += call.syscalls.len;
        usual += call.usual.len;
        let mut texts = call.symbols as usize + 2;
        while texts > 0 {
            texts -= (TEXTS.as_bytes()[text] == 0) as usize;
            text += 1;
        }
        row += 1;
    }
    rows
}

impl Call {
    /// Its name in a fault table and in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.texts().next().unwrap_or_default()
    }

    /// The libc symbols that are this operation, aliases included.
    pub fn symbols(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.texts().skip(1).take(usize::from(self.symbols))
    }

    /// The system calls that are this operation.
    #[must_use]
    pub const fn syscalls(&self) -> &'static [i64] {
        self.syscalls.of(SYSCALLS)
    }

    /// The errnos that it is usually seen to fail with; a random choice draws from these.
    #[must_use]
    pub const fn usual(&self) -> &'static [i32] {
        self.usual.of(USUAL)
    }

    /// Where the usual errnos come from.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.texts().nth(1 + usize::from(self.symbols)).unwrap_or_default()
    }

    fn texts(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        TEXTS.get(self.text as usize..).unwrap_or_default().split('\0')
    }

    /// Whether this call belongs to the family.
    #[must_use]
    pub const fn is_in(&self, family: Family) -> bool {
        self.families & family as u8 != 0
    }

    /// Whether the call is in both `disk` and `network`, so that the descriptor decides which of them it is.
    #[must_use]
    pub const fn works_on_any_fd(&self) -> bool {
        self.is_in(Family::Disk) && self.is_in(Family::Network)
    }

    /// Which way it moves data, if it moves any.
    #[must_use]
    pub const fn direction(&self) -> Option<Direction> {
        match self.op {
            Op::Read | Op::Pread | Op::Readv | Op::Preadv | Op::Recv | Op::Recvfrom | Op::Recvmsg | Op::Recvmmsg => {
                Some(Direction::In)
            }
            Op::Write | Op::Pwrite | Op::Writev | Op::Pwritev | Op::Send | Op::Sendto | Op::Sendmsg | Op::Sendmmsg => {
                Some(Direction::Out)
            }
            _ => None,
        }
    }

    /// Whether it asks for an amount of bytes that is known before it is made.
    #[must_use]
    pub const fn has_size(&self) -> bool {
        matches!(self.subject, Subject::Memory) || self.allows(FaultKind::Short)
    }

    /// Whether the fault makes sense on this call.
    #[must_use]
    pub const fn allows(&self, fault: FaultKind) -> bool {
        self.faults & fault.bit() != 0
    }
}

macro_rules! calls {
    ($(
        $op:ident $name:literal: $($symbol:ident)+;
        syscalls [$($sys:ident)*] families [$($family:ident)*] on $subject:ident fails $fails:ident
        [$($errno:ident)*] $faults:ident $source:literal
    )*) => {
        /// An interposable operation; the number is its row in [`CALLS`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        #[expect(missing_docs, reason = "each variant is a row of CALLS, documented there")]
        pub enum Op { $($op),* }

        /// Name, symbols and source of all rows, each ended by NUL.
        const TEXTS: &str = concat!($($name, "\0", $(stringify!($symbol), "\0",)+ $source, "\0"),*);
        /// The system calls of all rows.
        const SYSCALLS: &[i64] = &[$($(libc::$sys,)*)*];
        /// The usual errnos of all rows.
        const USUAL: &[i32] = &[$($(libc::$errno,)*)*];

        /// The rows, in the order of [`Op`].
        pub const CALLS: &[Call] = &placed([$(Call {
            op: Op::$op,
            families: 0 $(| Family::$family as u8)*,
            subject: Subject::$subject,
            fails: Failure::$fails,
            faults: $faults,
            symbols: [$(stringify!($symbol)),+].len() as u8,
            syscalls: Part { at: 0, len: <[i64]>::len(&[$(libc::$sys),*]) as u16 },
            usual: Part { at: 0, len: <[i32]>::len(&[$(libc::$errno),*]) as u16 },
            text: 0,
        }),*]);
    };
}

// The errnos are those that the named page lists and that a running system can meet without a bug in the program
// (EBADF, EFAULT, EINVAL and the like are left out: a correct program cannot get them).
calls! {
    Read "read": read __read_chk;
        syscalls [SYS_read] families [Disk Network] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET] DATA "read(2), recv(2)"
    Pread "pread": pread pread64 __pread_chk __pread64_chk;
        syscalls [SYS_pread64] families [Disk] on Fd fails Errno [EIO] DATA "pread(2), read(2)"
    Readv "readv": readv;
        syscalls [SYS_readv] families [Disk Network] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET] DATA "readv(2), read(2)"
    Preadv "preadv": preadv preadv64 preadv2 preadv64v2;
        syscalls [SYS_preadv SYS_preadv2] families [Disk] on Fd fails Errno [EIO] DATA "readv(2), read(2)"
    Write "write": write;
        syscalls [SYS_write] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] DATA "write(2), send(2)"
    Pwrite "pwrite": pwrite pwrite64;
        syscalls [SYS_pwrite64] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] DATA "pwrite(2), write(2)"
    Writev "writev": writev;
        syscalls [SYS_writev] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] DATA "writev(2), write(2)"
    Pwritev "pwritev": pwritev pwritev64 pwritev2 pwritev64v2;
        syscalls [SYS_pwritev SYS_pwritev2] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] DATA "writev(2), write(2)"
    Open "open": open open64 openat openat64 creat creat64 __open_2 __open64_2 __openat_2 __openat64_2;
        syscalls [SYS_open SYS_openat SYS_creat SYS_openat2] families [Disk] on Path fails Errno [EACCES ENOENT EMFILE ENFILE ENOSPC EIO EROFS ENOMEM] OPEN "open(2)"
    Close "close": close;
        syscalls [SYS_close] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT] FAIL "close(2)"
    CloseRange "close_range": close_range closefrom;
        syscalls [SYS_close_range] families [] on Nothing fails Errno [] ANY "close_range(2)"
    Dup "dup": dup dup2 dup3;
        syscalls [SYS_dup SYS_dup2 SYS_dup3] families [] on Nothing fails Errno [EMFILE] FILES "dup(2)"
    Fcntl "fcntl": fcntl fcntl64;
        syscalls [SYS_fcntl] families [] on Nothing fails Errno [EMFILE ENOLCK EAGAIN EINTR] FAIL "fcntl(2)"
    Pipe "pipe": pipe pipe2;
        syscalls [SYS_pipe SYS_pipe2] families [] on Nothing fails Errno [EMFILE ENFILE] FILES "pipe(2)"
    Opendir "opendir": opendir fdopendir;
        syscalls [] families [Disk] on Path fails Null [EACCES ENOENT EMFILE ENFILE ENOMEM] FAIL "opendir(3)"
    Closedir "closedir": closedir;
        syscalls [] families [] on Nothing fails Never [] ANY "closedir(3)"
    Fopen "fopen": fopen fopen64 freopen freopen64 fdopen;
        syscalls [] families [Stdio] on Path fails Null [EACCES ENOENT EMFILE ENFILE ENOSPC EIO EROFS ENOMEM] FAIL "fopen(3), open(2)"
    Fclose "fclose": fclose;
        syscalls [] families [] on Nothing fails Never [] ANY "fclose(3)"
    Socket "socket": socket socketpair;
        syscalls [SYS_socket SYS_socketpair] families [Network] on Nothing fails Errno [EMFILE ENFILE ENOBUFS ENOMEM EACCES] FILES "socket(2), socketpair(2)"
    Listen "listen": listen;
        syscalls [SYS_listen] families [Network] on Nothing fails Errno [EADDRINUSE] FAIL "listen(2)"
    Connect "connect": connect;
        syscalls [SYS_connect] families [Network] on Peer fails Errno [ECONNREFUSED ETIMEDOUT ENETUNREACH EHOSTUNREACH ECONNRESET EADDRNOTAVAIL] CONNECT "connect(2), ip(7), tcp(7)"
    Accept "accept": accept accept4;
        syscalls [SYS_accept SYS_accept4] families [Network] on Fd fails Errno [ECONNABORTED EMFILE ENFILE ENOBUFS ENOMEM EAGAIN EINTR] ACCEPT "accept(2)"
    Send "send": send;
        syscalls [] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] DATA "send(2)"
    Sendto "sendto": sendto;
        syscalls [SYS_sendto] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] DATA "send(2)"
    Sendmsg "sendmsg": sendmsg;
        syscalls [SYS_sendmsg] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] MESSAGE "send(2)"
    Sendmmsg "sendmmsg": sendmmsg;
        syscalls [SYS_sendmmsg] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] MESSAGE "sendmmsg(2), send(2)"
    Recv "recv": recv __recv_chk;
        syscalls [] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] DATA "recv(2), tcp(7)"
    Recvfrom "recvfrom": recvfrom __recvfrom_chk;
        syscalls [SYS_recvfrom] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] DATA "recv(2), tcp(7)"
    Recvmsg "recvmsg": recvmsg;
        syscalls [SYS_recvmsg] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] MESSAGE "recv(2), tcp(7)"
    Recvmmsg "recvmmsg": recvmmsg;
        syscalls [SYS_recvmmsg] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] MESSAGE "recvmmsg(2), recv(2)"
    EpollCtl "epoll_ctl": epoll_ctl;
        syscalls [SYS_epoll_ctl] families [] on Nothing fails Errno [ENOMEM ENOSPC] FAIL "epoll_ctl(2)"
    Getaddrinfo "getaddrinfo": getaddrinfo;
        syscalls [] families [Network] on Name fails Eai [EAI_NONAME EAI_AGAIN EAI_FAIL] NAME "getaddrinfo(3)"
    Malloc "malloc": malloc;
        syscalls [] families [Memory] on Memory fails Null [ENOMEM] ALLOC "malloc(3)"
    Calloc "calloc": calloc;
        syscalls [] families [Memory] on Memory fails Null [ENOMEM] ALLOC "malloc(3)"
    Realloc "realloc": realloc reallocarray;
        syscalls [] families [Memory] on Memory fails Null [ENOMEM] ALLOC "malloc(3)"
    Memalign "memalign": memalign aligned_alloc valloc pvalloc;
        syscalls [] families [Memory] on Memory fails Null [ENOMEM] ALLOC "posix_memalign(3)"
    PosixMemalign "posix_memalign": posix_memalign;
        syscalls [] families [Memory] on Memory fails Code [ENOMEM] ALLOC "posix_memalign(3)"
    Free "free": free;
        syscalls [] families [] on Nothing fails Never [] NOTHING "malloc(3)"
    Fork "fork": fork _Fork forkpty daemon;
        syscalls [SYS_fork SYS_clone SYS_clone3] families [Process] on Nothing fails Errno [EAGAIN ENOMEM] FAIL "fork(2)"
    Vfork "vfork": vfork;
        syscalls [SYS_vfork] families [Process] on Nothing fails Errno [EAGAIN ENOMEM] FAIL "vfork(2), fork(2)"
    Exec "exec": execve execv execvp execvpe execl execlp execle fexecve execveat;
        syscalls [SYS_execve SYS_execveat] families [Process] on Program fails Errno [ENOENT EACCES ENOMEM ETXTBSY] FAIL "execve(2)"
    Spawn "spawn": posix_spawn posix_spawnp;
        syscalls [] families [Process] on Program fails Code [ENOENT EACCES EAGAIN ENOMEM] FAIL "posix_spawn(3), fork(2), execve(2)"
    System "system": system;
        syscalls [] families [Process] on Program fails Errno [EAGAIN ENOMEM] FAIL "system(3), fork(2)"
    Popen "popen": popen;
        syscalls [] families [Process] on Program fails Null [EAGAIN ENOMEM EMFILE] FAIL "popen(3), fork(2), pipe(2)"
    Pclose "pclose": pclose;
        syscalls [] families [] on Nothing fails Never [] ANY "popen(3)"
    Wait "wait": wait waitpid wait3 wait4 waitid;
        syscalls [SYS_wait4 SYS_waitid] families [Process] on Nothing fails Errno [EINTR] WAIT "wait(2)"
    PthreadCreate "pthread_create": pthread_create;
        syscalls [] families [Process] on Nothing fails Code [EAGAIN] FAIL "pthread_create(3)"
    // System V IPC
    Shmget "shmget": shmget;
        syscalls [SYS_shmget] families [] on Nothing fails Errno [ENOMEM ENOSPC ENFILE EACCES ENOENT EEXIST] FAIL "shmget(2)"
    Shmat "shmat": shmat;
        syscalls [SYS_shmat] families [] on Nothing fails Errno [ENOMEM EACCES] FAIL "shmop(2)"
    Semget "semget": semget;
        syscalls [SYS_semget] families [] on Nothing fails Errno [ENOSPC ENOMEM EACCES ENOENT EEXIST] FAIL "semget(2)"
    Semop "semop": semop semtimedop;
        syscalls [SYS_semop SYS_semtimedop] families [] on Nothing fails Errno [EIDRM ENOMEM ENOSPC] FAIL "semop(2)"
    Msgget "msgget": msgget;
        syscalls [SYS_msgget] families [] on Nothing fails Errno [ENOMEM ENOSPC EACCES ENOENT EEXIST] FAIL "msgget(2)"
    Msgsnd "msgsnd": msgsnd;
        syscalls [SYS_msgsnd] families [] on Nothing fails Errno [EIDRM ENOMEM] FAIL "msgop(2)"
    Msgrcv "msgrcv": msgrcv;
        syscalls [SYS_msgrcv] families [] on Nothing fails Errno [EIDRM] FAIL "msgop(2)"
}

const NOTHING: u32 = 0;
const OPEN: u32 = WAIT | FaultKind::Exhaust.bit();
const CONNECT: u32 = WAIT | FaultKind::Refuse.bit();
const ACCEPT: u32 = WAIT | FaultKind::Exhaust.bit();
const MESSAGE: u32 = WAIT | FaultKind::Disconnect.bit();
const NAME: u32 = WAIT | FaultKind::Dns.bit();
const ALLOC: u32 = FAIL | FaultKind::Exhaust.bit();

/// How many rows there are.
pub const OPS: usize = CALLS.len();

impl Op {
    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static Call {
        &CALLS[self as usize]
    }

    /// The operation with this number, as a record holds it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Op> {
        CALLS.get(usize::from(number)).map(|call| call.op)
    }

    /// The operation with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Op> {
        CALLS.iter().find(|call| call.name() == name).map(|call| call.op)
    }

    /// The operation that a libc symbol is.
    #[must_use]
    pub fn by_symbol(symbol: &str) -> Option<Op> {
        CALLS.iter().find(|call| call.symbols().any(|known| known == symbol)).map(|call| call.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_where_their_number_says_and_no_symbol_stands_twice() {
        let mut seen = std::collections::HashSet::new();
        for (index, call) in CALLS.iter().enumerate() {
            assert_eq!(call.op as usize, index);
            for symbol in call.symbols() {
                assert!(seen.insert(symbol), "{symbol} stands in two rows");
            }
        }
    }

    #[test]
    fn a_call_that_can_fail_has_usual_errnos_with_a_source() {
        for call in CALLS {
            assert!(!call.source().is_empty());
            if call.allows(FaultKind::Error) {
                assert!(!call.usual().is_empty(), "{} has no usual errno", call.name());
                assert_ne!(call.fails, Failure::Never, "{}", call.name());
            }
        }
    }
}

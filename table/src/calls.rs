//! THE table of interposable calls: one row an operation.
//!
//! Hooks, the selectors of a fault table, `chaos-exec list calls`, the README and the tests are driven by it. To add a
//! call: one row here, one hook in `shim/src/hooks/`; the test `exports_match_the_table` holds the two together.

/// What a call acts on; decides which selectors can match it and what its log line names as the resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// An open file descriptor (`path`, `to` and `fd` apply); of two (copies) either.
    Fd,
    /// A path that is being opened or named; of two (rename, link) `path` matches either.
    Path,
    /// A peer address being connected to.
    Peer,
    /// A host name being looked up.
    Name,
    /// An amount of memory.
    Memory,
    /// A program being started.
    Program,
    /// A failure point of the program's own, by its name (`point` applies).
    Point,
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
    /// Returns fewer items than asked for, and sets errno (fread, fwrite).
    Count,
    /// Returns an EAI code (getaddrinfo), or NULL and the code of the same meaning in `h_errno` (gethostbyname).
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
    /// The peer cannot be reached.
    Unreachable = 14,
    /// Data moves slowly.
    Throttle = 15,
    /// The wall clock is off.
    Clock = 16,
    /// The process is stopped for a while.
    Freeze = 17,
    /// The call says success and does nothing.
    Drop = 12,
    /// A prefix is written, then the call fails or the process dies.
    Torn = 13,
    /// The call is not made and returns a given value.
    Return = 18,
}

impl FaultKind {
    /// Every fault with its name and what it does, in the words of the documentation.
    pub const ALL: &'static [(&'static str, FaultKind, &'static str)] = &[
        ("error", FaultKind::Error, "the call fails with an errno: one, or a weighted choice of its usual ones"),
        ("latency", FaultKind::Latency, "a delay (fixed, uniform, normal or pareto), then the call goes on"),
        ("hang", FaultKind::Hang, "blocks until `for`, the deadline or release, then the call goes on"),
        ("short", FaultKind::Short, "a true short read or write: the request is shortened, no byte is lost"),
        (
            "corrupt",
            FaultKind::Corrupt,
            "flipped bits, zeroed ranges, repeated or missing data, in what is read or written",
        ),
        ("refuse", FaultKind::Refuse, "connect fails with ECONNREFUSED"),
        (
            "disconnect",
            FaultKind::Disconnect,
            "the connection is reset, or ends silently, at once or after some bytes, and stays so",
        ),
        ("dns", FaultKind::Dns, "a look-up of a name answers not-found or try-again, or hangs"),
        ("exhaust", FaultKind::Exhaust, "memory, files (descriptors), disk, processes or threads run out at a limit"),
        (
            "signal",
            FaultKind::Signal,
            "a signal is sent to the process at a call; without `calls` by the launcher at `from`",
        ),
        ("exit", FaultKind::Exit, "the process exits with a code at a call"),
        (
            "unreachable",
            FaultKind::Unreachable,
            "nobody answers: connect fails with ETIMEDOUT after a while, or with EHOSTUNREACH or ENETUNREACH",
        ),
        ("throttle", FaultKind::Throttle, "data moves no faster than a bandwidth"),
        ("clock", FaultKind::Clock, "the wall clock is off: by an offset, by jumps, or in its pace"),
        ("freeze", FaultKind::Freeze, "the process is stopped for a while, at a call or by the launcher at `from`"),
        ("drop", FaultKind::Drop, "says success, does nothing: a lost write, a lying fsync, a lost datagram"),
        ("torn", FaultKind::Torn, "writes a prefix, then fails or kills the process"),
        ("return", FaultKind::Return, "the call is not made and returns a given value"),
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
const ANY: u32 = FaultKind::Latency.bit() | FaultKind::Signal.bit() | FaultKind::Exit.bit() | FaultKind::Freeze.bit();
const FAIL: u32 = ANY | FaultKind::Error.bit();
const WAIT: u32 = FAIL | FaultKind::Hang.bit();
/// Returning any value makes no sense where success fills memory, starts a process or changes where the program goes on.
const RETURN: u32 = FAIL | FaultKind::Return.bit();
const DATA: u32 = WAIT
    | RETURN
    | FaultKind::Short.bit()
    | FaultKind::Corrupt.bit()
    | FaultKind::Disconnect.bit()
    | FaultKind::Throttle.bit();
/// Data from or to what may be a datagram socket, which may lose it.
const DATAGRAM: u32 = DATA | FaultKind::Drop.bit();
const WRITE: u32 = DATAGRAM | FaultKind::Torn.bit() | FaultKind::Exhaust.bit();
const FILES: u32 = FAIL | FaultKind::Exhaust.bit();
const CHANGED: u32 = WAIT | FaultKind::Corrupt.bit();

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
            Op::Read
            | Op::Pread
            | Op::Readv
            | Op::Preadv
            | Op::Recv
            | Op::Recvfrom
            | Op::Recvmsg
            | Op::Recvmmsg
            | Op::Fread
            | Op::Fgets
            | Op::Getc
            | Op::Getline
            | Op::Fscanf => Some(Direction::In),
            // Of what moves data between two descriptors, the first is the one that is written to.
            Op::Write
            | Op::Pwrite
            | Op::Writev
            | Op::Pwritev
            | Op::Send
            | Op::Sendto
            | Op::Sendmsg
            | Op::Sendmmsg
            | Op::Fwrite
            | Op::Fputs
            | Op::Putc
            | Op::Fprintf
            | Op::Fflush
            | Op::Sendfile
            | Op::Splice
            | Op::Tee
            | Op::Vmsplice
            | Op::CopyFileRange => Some(Direction::Out),
            _ => None,
        }
    }

    /// Whether the seccomp engine can see the call: the kernel gets it, as this or as another one that is told apart.
    #[must_use]
    pub fn is_system_call(&self) -> bool {
        /// Another call's with other arguments.
        const SHARED: &[Op] = &[Op::Recv, Op::Send, Op::PthreadCreate, Op::Spawn, Op::Vfork, Op::Brk, Op::Readdir];
        // Every lock and every wait of threads is a futex.
        (!self.syscalls().is_empty() || SHARED.contains(&self.op)) && self.op != Op::Timedwait
    }

    /// Whether a program makes it without the kernel: memory that the allocator has, names, and the clocks of the vDSO.
    #[must_use]
    pub fn is_never_seen_by_the_kernel(&self) -> bool {
        let clock = [Op::ClockGettime, Op::Gettimeofday].contains(&self.op);
        let memory = self.op == Op::Free || (self.subject == Subject::Memory && !self.is_system_call());
        clock || memory || self.fails == Failure::Eai
    }

    /// Whether it asks for an amount of bytes that is known before it is made.
    #[must_use]
    pub const fn has_size(&self) -> bool {
        matches!(self.subject, Subject::Memory)
            || self.allows(FaultKind::Short)
            || matches!(self.op, Op::Fread | Op::Fgets | Op::Fwrite)
    }

    /// Whether the fault makes sense on this call.
    #[must_use]
    pub const fn allows(&self, fault: FaultKind) -> bool {
        self.faults & fault.bit() != 0
    }
}

macro_rules! calls {
    ($(
        $op:ident $name:literal: $($symbol:ident)*;
        syscalls [$($sys:ident)*] families [$($family:ident)*] on $subject:ident fails $fails:ident
        [$($errno:ident)*] $faults:ident $source:literal
    )*) => {
        /// An interposable operation; the number is its row in [`CALLS`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        #[expect(missing_docs, reason = "each variant is a row of CALLS, documented there")]
        pub enum Op { $($op),* }

        /// Name, symbols and source of all rows, each ended by NUL.
        const TEXTS: &str = concat!($($name, "\0", $(stringify!($symbol), "\0",)* $source, "\0"),*);
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
            symbols: <[&str]>::len(&[$(stringify!($symbol)),*]) as u8,
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
        syscalls [SYS_read] families [Disk Network] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET ETIMEDOUT] DATAGRAM "read(2), recv(2)"
    Pread "pread": pread pread64 __pread_chk __pread64_chk;
        syscalls [SYS_pread64] families [Disk] on Fd fails Errno [EIO] DATA "pread(2), read(2)"
    Readv "readv": readv;
        syscalls [SYS_readv] families [Disk Network] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET ETIMEDOUT] DATAGRAM "readv(2), read(2)"
    Preadv "preadv": preadv preadv64 preadv2 preadv64v2;
        syscalls [SYS_preadv SYS_preadv2] families [Disk] on Fd fails Errno [EIO] DATA "readv(2), read(2)"
    Write "write": write;
        syscalls [SYS_write] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WRITE "write(2), send(2)"
    Pwrite "pwrite": pwrite pwrite64;
        syscalls [SYS_pwrite64] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] WRITE "pwrite(2), write(2)"
    Writev "writev": writev;
        syscalls [SYS_writev] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WRITE "writev(2), write(2)"
    Pwritev "pwritev": pwritev pwritev64 pwritev2 pwritev64v2;
        syscalls [SYS_pwritev SYS_pwritev2] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] WRITE "writev(2), write(2)"
    Open "open": open open64 openat openat64 creat creat64 __open_2 __open64_2 __openat_2 __openat64_2;
        syscalls [SYS_open SYS_openat SYS_creat SYS_openat2] families [Disk] on Path fails Errno [EACCES ENOENT EMFILE ENFILE ENOSPC EIO EROFS ENOMEM] OPEN "open(2)"
    Close "close": close;
        syscalls [SYS_close] families [Disk Network] on Fd fails Errno [EIO ENOSPC EDQUOT] FAIL "close(2)"
    CloseRange "close_range": close_range closefrom;
        syscalls [SYS_close_range] families [] on Nothing fails Errno [] ANY "close_range(2)"
    Dup "dup": dup dup2 dup3;
        syscalls [SYS_dup SYS_dup2 SYS_dup3] families [] on Nothing fails Errno [EMFILE] FILES "dup(2)"
    Fcntl "fcntl": fcntl fcntl64;
        syscalls [SYS_fcntl] families [] on Nothing fails Errno [EMFILE ENOLCK EAGAIN EINTR] RETURN "fcntl(2)"
    Pipe "pipe": pipe pipe2;
        syscalls [SYS_pipe SYS_pipe2] families [] on Nothing fails Errno [EMFILE ENFILE] FILES "pipe(2)"
    Opendir "opendir": opendir;
        syscalls [] families [Disk] on Path fails Null [EACCES ENOENT EMFILE ENFILE ENOMEM] FAIL "opendir(3)"
    Closedir "closedir": closedir;
        syscalls [] families [] on Nothing fails Never [] ANY "closedir(3)"
    Socket "socket": socket socketpair;
        syscalls [SYS_socket SYS_socketpair] families [Network] on Nothing fails Errno [EMFILE ENFILE ENOBUFS ENOMEM EACCES] FILES "socket(2), socketpair(2)"
    Listen "listen": listen;
        syscalls [SYS_listen] families [Network] on Nothing fails Errno [EADDRINUSE] RETURN "listen(2)"
    Connect "connect": connect;
        syscalls [SYS_connect] families [Network] on Peer fails Errno [ECONNREFUSED ETIMEDOUT ENETUNREACH EHOSTUNREACH ECONNRESET EADDRNOTAVAIL] CONNECT "connect(2), ip(7), tcp(7)"
    Accept "accept": accept accept4;
        syscalls [SYS_accept SYS_accept4] families [Network] on Fd fails Errno [ECONNABORTED EMFILE ENFILE ENOBUFS ENOMEM EAGAIN EINTR] ACCEPT "accept(2)"
    Send "send": send;
        syscalls [] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] SEND "send(2)"
    Sendto "sendto": sendto;
        syscalls [SYS_sendto] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] SEND "send(2)"
    Sendmsg "sendmsg": sendmsg;
        syscalls [SYS_sendmsg] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] SEND_MESSAGE "send(2)"
    Sendmmsg "sendmmsg": sendmmsg;
        syscalls [SYS_sendmmsg] families [Network] on Fd fails Errno [EPIPE ECONNRESET EAGAIN EINTR ENOBUFS] SEND_MESSAGES "sendmmsg(2), send(2)"
    Recv "recv": recv __recv_chk;
        syscalls [] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] DATAGRAM "recv(2), tcp(7)"
    Recvfrom "recvfrom": recvfrom __recvfrom_chk;
        syscalls [SYS_recvfrom] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] DATAGRAM "recv(2), tcp(7)"
    Recvmsg "recvmsg": recvmsg;
        syscalls [SYS_recvmsg] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] MESSAGE "recv(2), tcp(7)"
    Recvmmsg "recvmmsg": recvmmsg;
        syscalls [SYS_recvmmsg] families [Network] on Fd fails Errno [ECONNRESET EAGAIN EINTR ETIMEDOUT] MESSAGES "recvmmsg(2), recv(2)"
    EpollCtl "epoll_ctl": epoll_ctl;
        syscalls [SYS_epoll_ctl] families [] on Nothing fails Errno [ENOMEM ENOSPC] RETURN "epoll_ctl(2)"
    Getaddrinfo "getaddrinfo": getaddrinfo;
        syscalls [] families [Network] on Name fails Eai [EAI_NONAME EAI_AGAIN EAI_FAIL] NAME "getaddrinfo(3)"
    // Sockets and readiness. What only asks or waits is in no family: `network` is about what goes to the network.
    Bind "bind": bind;
        syscalls [SYS_bind] families [Network] on Peer fails Errno [EADDRINUSE EACCES EADDRNOTAVAIL] FAIL "bind(2), ip(7)"
    Shutdown "shutdown": shutdown;
        syscalls [SYS_shutdown] families [Network] on Fd fails Errno [ENOTCONN] FAIL "shutdown(2)"
    Setsockopt "setsockopt": setsockopt;
        syscalls [SYS_setsockopt] families [] on Fd fails Errno [ENOMEM ENOBUFS ENOPROTOOPT] FAIL "setsockopt(2), setsockopt(3p)"
    Getsockopt "getsockopt": getsockopt;
        syscalls [SYS_getsockopt] families [] on Fd fails Errno [ENOBUFS ENOPROTOOPT] FAIL "getsockopt(2), getsockopt(3p)"
    Getsockname "getsockname": getsockname;
        syscalls [SYS_getsockname] families [] on Fd fails Errno [ENOBUFS] FAIL "getsockname(2)"
    Getpeername "getpeername": getpeername;
        syscalls [SYS_getpeername] families [] on Fd fails Errno [ENOTCONN ENOBUFS] FAIL "getpeername(2)"
    Poll "poll": poll __poll_chk ppoll __ppoll_chk;
        syscalls [SYS_poll SYS_ppoll] families [] on Nothing fails Errno [EINTR ENOMEM] WAIT "poll(2)"
    Select "select": select pselect;
        syscalls [SYS_select SYS_pselect6] families [] on Nothing fails Errno [EINTR ENOMEM] WAIT "select(2)"
    EpollCreate "epoll_create": epoll_create epoll_create1;
        syscalls [SYS_epoll_create SYS_epoll_create1] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "epoll_create(2)"
    EpollWait "epoll_wait": epoll_wait epoll_pwait epoll_pwait2;
        syscalls [SYS_epoll_wait SYS_epoll_pwait SYS_epoll_pwait2] families [] on Nothing fails Errno [EINTR] WAIT "epoll_wait(2)"
    Getnameinfo "getnameinfo": getnameinfo;
        syscalls [] families [Network] on Peer fails Eai [EAI_AGAIN EAI_FAIL EAI_NONAME] NAME "getnameinfo(3)"
    Gethostbyname "gethostbyname": gethostbyname gethostbyname2 gethostbyname_r gethostbyname2_r;
        syscalls [] families [Network] on Name fails Eai [EAI_NONAME EAI_AGAIN EAI_FAIL EAI_NODATA] NAME "gethostbyname(3)"
    Gethostbyaddr "gethostbyaddr": gethostbyaddr gethostbyaddr_r;
        syscalls [] families [Network] on Nothing fails Eai [EAI_NONAME EAI_AGAIN EAI_FAIL] NAME "gethostbyname(3)"
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
        syscalls [SYS_fork SYS_clone SYS_clone3] families [Process] on Nothing fails Errno [EAGAIN ENOMEM] FILES "fork(2)"
    Vfork "vfork": vfork;
        syscalls [SYS_vfork] families [Process] on Nothing fails Errno [EAGAIN ENOMEM] FILES "vfork(2), fork(2)"
    Exec "exec": execve execv execvp execvpe execl execlp execle fexecve execveat;
        syscalls [SYS_execve SYS_execveat] families [Process] on Program fails Errno [ENOENT EACCES ENOMEM ETXTBSY] FAIL "execve(2)"
    Spawn "spawn": posix_spawn posix_spawnp;
        syscalls [] families [Process] on Program fails Code [ENOENT EACCES EAGAIN ENOMEM] FILES "posix_spawn(3), fork(2), execve(2)"
    System "system": system;
        syscalls [] families [Process] on Program fails Errno [EAGAIN ENOMEM] FILES "system(3), fork(2)"
    Popen "popen": popen;
        syscalls [] families [Process] on Program fails Null [EAGAIN ENOMEM EMFILE] FILES "popen(3), fork(2), pipe(2)"
    Pclose "pclose": pclose;
        syscalls [] families [] on Nothing fails Never [] ANY "popen(3)"
    Wait "wait": wait waitpid wait3 wait4 waitid;
        syscalls [SYS_wait4 SYS_waitid] families [Process] on Nothing fails Errno [EINTR] WAIT "wait(2)"
    PthreadCreate "pthread_create": pthread_create thrd_create;
        syscalls [] families [Process] on Nothing fails Code [EAGAIN] FILES "pthread_create(3)"
    // Processes: signals and limits.
    Kill "kill": kill killpg;
        syscalls [SYS_kill] families [Process] on Nothing fails Errno [EPERM ESRCH] FAIL "kill(2), killpg(3)"
    Tgkill "tgkill": tgkill;
        syscalls [SYS_tgkill SYS_tkill] families [Process] on Nothing fails Errno [ESRCH EAGAIN] FAIL "tgkill(2)"
    Setrlimit "setrlimit": setrlimit setrlimit64;
        syscalls [SYS_setrlimit] families [Process] on Nothing fails Errno [EPERM] FAIL "getrlimit(2)"
    Getrlimit "getrlimit": getrlimit getrlimit64;
        syscalls [SYS_getrlimit] families [Process] on Nothing fails Never [] ANY "getrlimit(2)"
    Prlimit "prlimit": prlimit prlimit64;
        syscalls [SYS_prlimit64] families [Process] on Nothing fails Errno [EPERM ESRCH] FAIL "getrlimit(2)"
    // Random numbers.
    Getrandom "getrandom": getrandom;
        syscalls [SYS_getrandom] families [] on Nothing fails Errno [EAGAIN EINTR ENOSYS] RANDOM "getrandom(2)"
    Getentropy "getentropy": getentropy;
        syscalls [] families [] on Nothing fails Errno [EIO ENOSYS] FAIL "getentropy(3)"
    Arc4random "arc4random": arc4random arc4random_buf arc4random_uniform;
        syscalls [] families [] on Nothing fails Never [] ANY "arc4random(3)"
    // Clocks, sleeps, timers, and waits with a deadline. EINVAL is a kernel that lacks the clock.
    Gettimeofday "gettimeofday": gettimeofday time timespec_get ftime;
        syscalls [SYS_gettimeofday SYS_time] families [Time] on Nothing fails Never [] CLOCK "gettimeofday(2), time(2), timespec_get(3), ftime(3)"
    ClockGettime "clock_gettime": clock_gettime;
        syscalls [SYS_clock_gettime] families [Time] on Nothing fails Errno [EINVAL] CLOCK_FAIL "clock_getres(2)"
    ClockGetres "clock_getres": clock_getres;
        syscalls [SYS_clock_getres] families [Time] on Nothing fails Errno [EINVAL] FAIL "clock_getres(2)"
    ClockSettime "clock_settime": clock_settime settimeofday;
        syscalls [SYS_clock_settime SYS_settimeofday] families [Time] on Nothing fails Errno [EPERM] CLOCK_FAIL "clock_getres(2), gettimeofday(2)"
    Nanosleep "nanosleep": nanosleep usleep thrd_sleep;
        syscalls [SYS_nanosleep] families [Time] on Nothing fails Errno [EINTR] FAIL "nanosleep(2), usleep(3), thrd_sleep(3)"
    Sleep "sleep": sleep;
        syscalls [] families [Time] on Nothing fails Never [] ANY "sleep(3)"
    ClockNanosleep "clock_nanosleep": clock_nanosleep;
        syscalls [SYS_clock_nanosleep] families [Time] on Nothing fails Code [EINTR] CLOCK_FAIL "clock_nanosleep(2)"
    TimerCreate "timer_create": timer_create;
        syscalls [SYS_timer_create] families [Time] on Nothing fails Errno [EAGAIN ENOMEM] FAIL "timer_create(2)"
    TimerSettime "timer_settime": timer_settime;
        syscalls [SYS_timer_settime] families [Time] on Nothing fails Never [] CLOCK "timer_settime(2)"
    TimerfdSettime "timerfd_settime": timerfd_settime;
        syscalls [SYS_timerfd_settime] families [Time] on Nothing fails Never [] CLOCK "timerfd_create(2)"
    TimerfdGettime "timerfd_gettime": timerfd_gettime;
        syscalls [SYS_timerfd_gettime] families [Time] on Nothing fails Never [] ANY "timerfd_create(2)"
    Timedwait "timedwait": pthread_cond_timedwait pthread_cond_clockwait pthread_mutex_timedlock pthread_mutex_clocklock pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock pthread_rwlock_clockrdlock pthread_rwlock_clockwrlock pthread_timedjoin_np pthread_clockjoin_np cnd_timedwait mtx_timedlock;
        syscalls [SYS_futex SYS_futex_waitv] families [Time] on Nothing fails Never [] CLOCK "pthread_cond_timedwait(3), futex(2)"
    SemTimedwait "sem_timedwait": sem_timedwait sem_clockwait;
        syscalls [] families [Time] on Nothing fails Errno [EINTR] CLOCK_FAIL "sem_wait(3)"
    MqTimed "mq_timed": mq_timedsend mq_timedreceive;
        syscalls [SYS_mq_timedsend SYS_mq_timedreceive] families [Time] on Nothing fails Errno [EINTR] CLOCK_FAIL "mq_send(3), mq_receive(3)"

    // Memory that is mapped rather than allocated. (Unmapping fails where it would split too many mappings.)
    Strdup "strdup": strdup strndup __strdup __strndup;
        syscalls [] families [Memory] on Memory fails Null [ENOMEM] ALLOC "strdup(3)"
    Mmap "mmap": mmap mmap64;
        syscalls [SYS_mmap] families [Memory] on Memory fails Errno [ENOMEM] MAP "mmap(2)"
    Mremap "mremap": mremap;
        syscalls [SYS_mremap] families [Memory] on Memory fails Errno [ENOMEM] MAP "mremap(2)"
    Brk "brk": brk sbrk;
        syscalls [] families [Memory] on Memory fails Errno [ENOMEM] MAP "brk(2)"
    Mprotect "mprotect": mprotect;
        syscalls [SYS_mprotect] families [] on Memory fails Errno [ENOMEM] MAP "mprotect(2)"
    Munmap "munmap": munmap;
        syscalls [SYS_munmap] families [] on Memory fails Errno [ENOMEM] FAIL "mmap(2)"
    Madvise "madvise": madvise;
        syscalls [SYS_madvise] families [] on Memory fails Errno [EAGAIN ENOMEM] FAIL "madvise(2)"
    Mlock "mlock": mlock mlock2 mlockall;
        syscalls [SYS_mlock SYS_mlock2 SYS_mlockall] families [] on Memory fails Errno [ENOMEM EAGAIN EPERM] FAIL "mlock(2)"

    // Descriptors: positions, locks, commands, and calls that make one.
    Lseek "lseek": lseek lseek64;
        syscalls [SYS_lseek] families [] on Fd fails Errno [ENXIO] FAIL "lseek(2)"
    Flock "flock": flock;
        syscalls [SYS_flock] families [Disk] on Fd fails Errno [ENOLCK EAGAIN EINTR] SAY "flock(2)"
    Lockf "lockf": lockf lockf64;
        syscalls [] families [Disk] on Fd fails Errno [ENOLCK EAGAIN EDEADLK EINTR] SAY "lockf(3), fcntl(2)"
    Ioctl "ioctl": ioctl;
        syscalls [SYS_ioctl] families [] on Fd fails Errno [ENOTTY EIO] FAIL "ioctl(2), ioctl_tty(2)"
    Eventfd "eventfd": eventfd;
        syscalls [SYS_eventfd SYS_eventfd2] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "eventfd(2)"
    Signalfd "signalfd": signalfd;
        syscalls [SYS_signalfd SYS_signalfd4] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "signalfd(2)"
    TimerfdCreate "timerfd_create": timerfd_create;
        syscalls [SYS_timerfd_create] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "timerfd_create(2)"
    InotifyInit "inotify_init": inotify_init inotify_init1;
        syscalls [SYS_inotify_init SYS_inotify_init1] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "inotify_init(2)"
    MemfdCreate "memfd_create": memfd_create;
        syscalls [SYS_memfd_create] families [] on Nothing fails Errno [EMFILE ENFILE ENOMEM] FILES "memfd_create(2)"
    Openpty "openpty": openpty posix_openpt getpt;
        syscalls [] families [] on Nothing fails Errno [ENOENT EMFILE ENFILE ENOSPC] FILES "openpty(3), posix_openpt(3), pts(4)"
    ShmOpen "shm_open": shm_open;
        syscalls [] families [] on Nothing fails Errno [EACCES ENOENT EMFILE ENFILE] FILES "shm_open(3)"
    ShmUnlink "shm_unlink": shm_unlink;
        syscalls [] families [] on Nothing fails Errno [EACCES ENOENT] FAIL "shm_open(3)"
    IoUringSetup "io_uring_setup": ;
        syscalls [SYS_io_uring_setup] families [] on Nothing fails Errno [ENOSYS EPERM ENOMEM EMFILE ENFILE] FILES "io_uring_setup(2)"
    Mkstemp "mkstemp": mkstemp mkstemp64 mkostemp mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64;
        syscalls [] families [Disk] on Path fails Errno [EACCES EEXIST EMFILE ENFILE ENOENT ENOSPC EDQUOT EIO EROFS] OPEN "mkstemp(3), open(2)"
    Mkdtemp "mkdtemp": mkdtemp;
        syscalls [] families [Disk] on Path fails Null [EACCES EEXIST ENOENT ENOSPC EDQUOT EROFS] WAIT "mkdtemp(3), mkdir(2)"
    Tmpfile "tmpfile": tmpfile tmpfile64;
        syscalls [] families [Stdio] on Nothing fails Null [EACCES EEXIST EMFILE ENFILE ENOSPC EROFS] FILES "tmpfile(3)"

    // Durability, sizes, and copies that the kernel makes.
    Fsync "fsync": fsync;
        syscalls [SYS_fsync] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] SYNC "fsync(2)"
    Fdatasync "fdatasync": fdatasync;
        syscalls [SYS_fdatasync] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] SYNC "fsync(2)"
    SyncFileRange "sync_file_range": sync_file_range;
        syscalls [SYS_sync_file_range] families [Disk] on Fd fails Errno [EIO ENOMEM ENOSPC] SYNC "sync_file_range(2)"
    Syncfs "syncfs": syncfs;
        syscalls [SYS_syncfs] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT] SYNC "sync(2)"
    Sync "sync": sync;
        syscalls [SYS_sync] families [Disk] on Nothing fails Never [] LAZY "sync(2)"
    Msync "msync": msync;
        syscalls [SYS_msync] families [Disk] on Nothing fails Errno [EIO EBUSY] SYNC "msync(2), fsync(2)"
    Ftruncate "ftruncate": ftruncate ftruncate64;
        syscalls [SYS_ftruncate] families [Disk] on Fd fails Errno [EIO EFBIG EPERM] SAY "truncate(2)"
    Truncate "truncate": truncate truncate64;
        syscalls [SYS_truncate] families [Disk] on Path fails Errno [EACCES ENOENT EIO EFBIG EPERM EROFS ETXTBSY] SAY "truncate(2)"
    Fallocate "fallocate": fallocate fallocate64;
        syscalls [SYS_fallocate] families [Disk] on Fd fails Errno [ENOSPC EDQUOT EIO EFBIG EOPNOTSUPP EINTR] GROW "fallocate(2), write(2)"
    PosixFallocate "posix_fallocate": posix_fallocate posix_fallocate64;
        syscalls [] families [Disk] on Fd fails Code [ENOSPC EFBIG EINTR] GROW "posix_fallocate(3)"
    Sendfile "sendfile": sendfile sendfile64;
        syscalls [SYS_sendfile] families [Disk Network] on Fd fails Errno [EIO ENOMEM EAGAIN EINTR EPIPE ECONNRESET ENOSPC] SENDFILE "sendfile(2), read(2), write(2), send(2)"
    Splice "splice": splice;
        syscalls [SYS_splice] families [Disk Network] on Fd fails Errno [ENOMEM EIO EAGAIN EINTR EPIPE ECONNRESET ENOSPC] COPY "splice(2), read(2), write(2), send(2)"
    Tee "tee": tee;
        syscalls [SYS_tee] families [] on Fd fails Errno [ENOMEM EAGAIN EINTR EPIPE] MOVE "tee(2), write(2)"
    Vmsplice "vmsplice": vmsplice;
        syscalls [SYS_vmsplice] families [] on Fd fails Errno [ENOMEM EAGAIN EINTR EPIPE] WAIT "vmsplice(2), write(2)"
    CopyFileRange "copy_file_range": copy_file_range;
        syscalls [SYS_copy_file_range] families [Disk] on Fd fails Errno [EIO ENOSPC EDQUOT EXDEV EFBIG ENOMEM EOPNOTSUPP] COPY "copy_file_range(2), write(2)"

    // Names: what directories hold.
    Rename "rename": rename renameat renameat2;
        syscalls [SYS_rename SYS_renameat SYS_renameat2] families [Disk] on Path fails Errno [EACCES ENOENT ENOSPC EDQUOT EXDEV EBUSY EPERM EROFS EIO] SAY "rename(2), rename(3p)"
    Unlink "unlink": unlink unlinkat remove;
        syscalls [SYS_unlink SYS_unlinkat] families [Disk] on Path fails Errno [EACCES ENOENT EBUSY EIO EPERM EROFS] SAY "unlink(2), remove(3)"
    Link "link": link linkat;
        syscalls [SYS_link SYS_linkat] families [Disk] on Path fails Errno [EACCES EEXIST ENOENT ENOSPC EDQUOT EMLINK EIO EPERM EROFS EXDEV] SAY "link(2)"
    Symlink "symlink": symlink symlinkat;
        syscalls [SYS_symlink SYS_symlinkat] families [Disk] on Path fails Errno [EACCES EEXIST ENOENT ENOSPC EDQUOT EIO EPERM EROFS] SAY "symlink(2)"
    Mkdir "mkdir": mkdir mkdirat;
        syscalls [SYS_mkdir SYS_mkdirat] families [Disk] on Path fails Errno [EACCES EEXIST ENOENT ENOSPC EDQUOT EMLINK EPERM EROFS] SAY "mkdir(2)"
    Rmdir "rmdir": rmdir;
        syscalls [SYS_rmdir] families [Disk] on Path fails Errno [EACCES ENOENT ENOTEMPTY EBUSY EPERM EROFS EIO] SAY "rmdir(2), rmdir(3p)"
    Mknod "mknod": mknod mknodat __xmknod __xmknodat mkfifo mkfifoat;
        syscalls [SYS_mknod SYS_mknodat] families [Disk] on Path fails Errno [EACCES EEXIST ENOENT ENOSPC EDQUOT EPERM EROFS] SAY "mknod(2), mkfifo(3)"
    Readlink "readlink": readlink readlinkat __readlink_chk __readlinkat_chk;
        syscalls [SYS_readlink SYS_readlinkat] families [Disk] on Path fails Errno [EACCES ENOENT EIO ENOMEM] WAIT "readlink(2)"
    Realpath "realpath": realpath __realpath_chk canonicalize_file_name;
        syscalls [] families [Disk] on Path fails Null [EACCES ENOENT EIO ENOMEM] WAIT "realpath(3)"
    Readdir "readdir": readdir readdir64;
        syscalls [] families [Disk] on Fd fails Null [EIO ENOENT] WAIT "readdir(3), readdir(3p), read(2)"
    ReaddirR "readdir_r": readdir_r readdir64_r;
        syscalls [] families [Disk] on Fd fails Code [EIO ENOENT] WAIT "readdir_r(3), readdir(3p), read(2)"
    Getdents "getdents": getdents64;
        syscalls [SYS_getdents SYS_getdents64] families [Disk] on Fd fails Errno [EIO ENOENT] WAIT "getdents(2), read(2)"
    Scandir "scandir": scandir scandir64 scandirat scandirat64;
        syscalls [] families [Disk] on Path fails Errno [EACCES ENOENT EMFILE ENFILE ENOMEM] WAIT "scandir(3), opendir(3)"
    Fdopendir "fdopendir": fdopendir;
        syscalls [] families [Disk] on Fd fails Null [ENOMEM] FAIL "fdopendir(3)"
    Chdir "chdir": chdir;
        syscalls [SYS_chdir] families [Disk] on Path fails Errno [EACCES ENOENT EIO ENOMEM] SAY "chdir(2)"
    Fchdir "fchdir": fchdir;
        syscalls [SYS_fchdir] families [Disk] on Fd fails Errno [EACCES] SAY "chdir(2)"
    Chroot "chroot": chroot;
        syscalls [SYS_chroot] families [Disk] on Path fails Errno [EPERM EACCES ENOENT EIO ENOMEM] WAIT "chroot(2)"
    Getcwd "getcwd": getcwd __getcwd_chk get_current_dir_name;
        syscalls [SYS_getcwd] families [Disk] on Nothing fails Null [ENOENT EACCES ENOMEM] FAIL "getcwd(3)"
    InotifyAddWatch "inotify_add_watch": inotify_add_watch;
        syscalls [SYS_inotify_add_watch] families [Disk] on Path fails Errno [ENOSPC EACCES ENOENT ENOMEM] FAIL "inotify_add_watch(2)"

    // Metadata.
    Stat "stat": stat stat64 lstat lstat64 fstatat fstatat64 statx __xstat __xstat64 __lxstat __lxstat64 __fxstatat __fxstatat64;
        syscalls [SYS_stat SYS_lstat SYS_newfstatat SYS_statx] families [Disk] on Path fails Errno [EACCES ENOENT EIO ENOMEM] WAIT "stat(2), stat(3p)"
    Fstat "fstat": fstat fstat64 __fxstat __fxstat64;
        syscalls [SYS_fstat] families [Disk] on Fd fails Errno [EIO ENOMEM] WAIT "stat(2), fstat(3p)"
    Statfs "statfs": statfs statfs64 statvfs statvfs64;
        syscalls [SYS_statfs] families [Disk] on Path fails Errno [EACCES ENOENT EIO ENOMEM] WAIT "statfs(2), statvfs(3)"
    Fstatfs "fstatfs": fstatfs fstatfs64 fstatvfs fstatvfs64;
        syscalls [SYS_fstatfs] families [Disk] on Fd fails Errno [EIO ENOMEM] WAIT "statfs(2), statvfs(3)"
    Access "access": access faccessat eaccess euidaccess;
        syscalls [SYS_access SYS_faccessat SYS_faccessat2] families [Disk] on Path fails Errno [EACCES ENOENT EIO ENOMEM EPERM EROFS] SAY "access(2)"
    Chmod "chmod": chmod fchmodat lchmod;
        syscalls [SYS_chmod SYS_fchmodat SYS_fchmodat2] families [Disk] on Path fails Errno [EPERM EACCES ENOENT EIO EROFS ENOMEM] SAY "chmod(2)"
    Fchmod "fchmod": fchmod;
        syscalls [SYS_fchmod] families [Disk] on Fd fails Errno [EPERM EIO EROFS] SAY "chmod(2)"
    Chown "chown": chown lchown fchownat;
        syscalls [SYS_chown SYS_lchown SYS_fchownat] families [Disk] on Path fails Errno [EPERM EACCES ENOENT EIO EROFS ENOMEM] SAY "chown(2)"
    Fchown "fchown": fchown;
        syscalls [SYS_fchown] families [Disk] on Fd fails Errno [EPERM EIO EROFS] SAY "chown(2)"
    Utimens "utimensat": utimensat utime utimes lutimes futimesat;
        syscalls [SYS_utimensat SYS_utime SYS_utimes SYS_futimesat] families [Disk] on Path fails Errno [EACCES ENOENT EPERM EROFS] SAY "utimensat(2), utime(2)"
    Futimens "futimens": futimens futimes;
        syscalls [] families [Disk] on Fd fails Errno [EACCES EPERM EROFS] SAY "utimensat(2), utime(2)"
    Getxattr "getxattr": getxattr lgetxattr;
        syscalls [SYS_getxattr SYS_lgetxattr] families [Disk] on Path fails Errno [ENODATA EOPNOTSUPP EACCES ENOENT] WAIT "getxattr(2), stat(2)"
    Fgetxattr "fgetxattr": fgetxattr;
        syscalls [SYS_fgetxattr] families [Disk] on Fd fails Errno [ENODATA EOPNOTSUPP] WAIT "getxattr(2)"
    Setxattr "setxattr": setxattr lsetxattr;
        syscalls [SYS_setxattr SYS_lsetxattr] families [Disk] on Path fails Errno [ENOSPC EDQUOT EOPNOTSUPP EPERM EACCES ENOENT] SAY "setxattr(2), stat(2)"
    Fsetxattr "fsetxattr": fsetxattr;
        syscalls [SYS_fsetxattr] families [Disk] on Fd fails Errno [ENOSPC EDQUOT EOPNOTSUPP EPERM] SAY "setxattr(2)"
    Listxattr "listxattr": listxattr llistxattr;
        syscalls [SYS_listxattr SYS_llistxattr] families [Disk] on Path fails Errno [EOPNOTSUPP EACCES ENOENT] WAIT "listxattr(2), stat(2)"
    Flistxattr "flistxattr": flistxattr;
        syscalls [SYS_flistxattr] families [Disk] on Fd fails Errno [EOPNOTSUPP] WAIT "listxattr(2)"
    Removexattr "removexattr": removexattr lremovexattr;
        syscalls [SYS_removexattr SYS_lremovexattr] families [Disk] on Path fails Errno [ENODATA EOPNOTSUPP EACCES ENOENT] SAY "removexattr(2), stat(2)"
    Fremovexattr "fremovexattr": fremovexattr;
        syscalls [SYS_fremovexattr] families [Disk] on Fd fails Errno [ENODATA EOPNOTSUPP] SAY "removexattr(2)"

    // C streams: libc reads and writes for them unseen, so that these fail with what read and write could.
    Fopen "fopen": fopen fopen64 freopen freopen64;
        syscalls [] families [Stdio] on Path fails Null [EACCES ENOENT EMFILE ENFILE ENOSPC EIO EROFS ENOMEM] FILES "fopen(3), open(2)"
    Fdopen "fdopen": fdopen;
        syscalls [] families [Stdio] on Fd fails Null [ENOMEM] FAIL "fopen(3), malloc(3)"
    Fread "fread": fread fread_unlocked __fread_chk __fread_unlocked_chk;
        syscalls [] families [Stdio] on Fd fails Count [EIO EINTR EAGAIN ECONNRESET] CHANGED "fread(3), read(2), recv(2)"
    Fgets "fgets": fgets fgets_unlocked __fgets_chk __fgets_unlocked_chk;
        syscalls [] families [Stdio] on Fd fails Null [EIO EINTR EAGAIN ECONNRESET] CHANGED "fgets(3), read(2), recv(2)"
    Getc "getc": getc fgetc getchar getc_unlocked fgetc_unlocked getchar_unlocked _IO_getc __uflow fgetwc getwc getwchar;
        syscalls [] families [Stdio] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET] WAIT "getc(3), fgetwc(3), read(2), recv(2)"
    Getline "getline": getline getdelim __getdelim;
        syscalls [] families [Stdio] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET] CHANGED "getline(3), read(2), recv(2)"
    Fscanf "fscanf": fscanf scanf vfscanf vscanf __isoc99_fscanf __isoc99_scanf __isoc99_vfscanf __isoc99_vscanf __isoc23_fscanf __isoc23_scanf __isoc23_vfscanf __isoc23_vscanf;
        syscalls [] families [Stdio] on Fd fails Errno [EIO EINTR EAGAIN ECONNRESET] WAIT "scanf(3), read(2), recv(2)"
    Fwrite "fwrite": fwrite fwrite_unlocked;
        syscalls [] families [Stdio] on Fd fails Count [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] CHANGED "fwrite(3), write(2), send(2)"
    Fputs "fputs": fputs fputs_unlocked puts fputws;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WAIT "puts(3), fputws(3), write(2), send(2)"
    Putc "putc": putc fputc putchar putc_unlocked fputc_unlocked putchar_unlocked _IO_putc __overflow fputwc putwc putwchar;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WAIT "putc(3), fputwc(3), write(2), send(2)"
    Fprintf "fprintf": fprintf printf vfprintf vprintf dprintf vdprintf __fprintf_chk __printf_chk __vfprintf_chk __vprintf_chk __dprintf_chk __vdprintf_chk;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WAIT "printf(3), write(2), send(2)"
    Fflush "fflush": fflush fflush_unlocked;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT EINTR EAGAIN EPIPE ECONNRESET] WAIT "fflush(3), write(2), send(2)"
    Fclose "fclose": fclose;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT EAGAIN EPIPE ECONNRESET] FAIL "fclose(3), close(2), write(2), send(2)"
    Fseek "fseek": fseek fseeko fseeko64 fsetpos fsetpos64;
        syscalls [] families [Stdio] on Fd fails Errno [EIO ENOSPC EDQUOT] FAIL "fseek(3), read(2), write(2)"
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
    // What a program offers to fail by itself; the shim is where this function comes from.
    Point "chaos_fail": chaos_fail;
        syscalls [] families [] on Point fails Code [EIO] SAY "chaos.h"
}

const NOTHING: u32 = 0;
const OPEN: u32 = WAIT | RETURN | FaultKind::Exhaust.bit();
const CONNECT: u32 = WAIT | RETURN | FaultKind::Refuse.bit() | FaultKind::Unreachable.bit();
const SEND: u32 = DATAGRAM | FaultKind::Unreachable.bit();
const SEND_MESSAGE: u32 = MESSAGE | FaultKind::Unreachable.bit();
const SEND_MESSAGES: u32 = LOSABLE | FaultKind::Unreachable.bit();
const ACCEPT: u32 = WAIT | FaultKind::Exhaust.bit();
// Of several messages in one call the bytes are not counted.
const MESSAGES: u32 = WAIT | FaultKind::Disconnect.bit();
const LOSABLE: u32 = MESSAGES | FaultKind::Drop.bit();
const MESSAGE: u32 = LOSABLE | FaultKind::Corrupt.bit() | FaultKind::Throttle.bit();
const NAME: u32 = WAIT | FaultKind::Dns.bit();
const ALLOC: u32 = RETURN | FaultKind::Exhaust.bit();
const CLOCK: u32 = ANY | FaultKind::Clock.bit();
const CLOCK_FAIL: u32 = FAIL | FaultKind::Clock.bit();
const RANDOM: u32 = WAIT | FaultKind::Short.bit();
/// Cannot fail, but may take its time.
const SLOW: u32 = ANY | FaultKind::Hang.bit();
const MOVE: u32 = WAIT | FaultKind::Short.bit();
const COPY: u32 = MOVE | FaultKind::Exhaust.bit();
const SENDFILE: u32 = COPY | FaultKind::Disconnect.bit();
const MAP: u32 = FAIL | FaultKind::Exhaust.bit();
const SAY: u32 = WAIT | RETURN;
const SYNC: u32 = SAY | FaultKind::Drop.bit();
const LAZY: u32 = SLOW | FaultKind::Drop.bit();
const GROW: u32 = WAIT | FaultKind::Exhaust.bit();

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
            assert_eq!(Family::by_name(call.name()), None, "a family has that name");
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

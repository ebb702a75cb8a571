//! Names of errno values and of getaddrinfo's EAI codes, as Linux has them.

/// Names and their numbers. One text and one row of numbers: a pointer for each name would be a relocation for each in
/// every process that the shim starts in.
#[derive(Debug)]
pub struct Names {
    text: &'static str,
    numbers: &'static [i32],
}

macro_rules! names {
    ($list:ident: $($name:ident)*) => {
        /// Aliases such as EWOULDBLOCK come after the common name.
        pub static $list: Names =
            Names { text: concat!($(stringify!($name), " "),*), numbers: &[$(libc::$name),*] };
    };
}

impl Names {
    /// (name, number) pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, i32)> + Clone + '_ {
        self.text.split_ascii_whitespace().zip(self.numbers.iter().copied())
    }

    fn by_name(&self, name: &str) -> Option<i32> {
        self.iter().find(|(known, _)| *known == name).map(|(_, number)| number)
    }

    fn by_value(&self, value: i32) -> Option<&'static str> {
        self.iter().find(|(_, number)| *number == value).map(|(name, _)| name)
    }
}

names! { ERRNOS:
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
    EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
    ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG
    EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG
    EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC
    ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE
    ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL
    ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
    ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT
    ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL
    EHWPOISON EWOULDBLOCK EDEADLOCK ENOTSUP
}

names! { EAI_CODES:
    EAI_BADFLAGS EAI_NONAME EAI_AGAIN EAI_FAIL EAI_FAMILY EAI_SOCKTYPE EAI_SERVICE EAI_MEMORY EAI_SYSTEM EAI_OVERFLOW
    EAI_NODATA
}

names! { SIGNALS:
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM
    SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO
    SIGPWR SIGSYS
}

/// The number of an errno such as `EIO`; `None` for an unknown name.
#[must_use]
pub fn errno_by_name(name: &str) -> Option<i32> {
    ERRNOS.by_name(name)
}

/// The name of an errno, `None` for a number that Linux does not use.
#[must_use]
pub fn errno_name(value: i32) -> Option<&'static str> {
    ERRNOS.by_value(value)
}

/// The number of a getaddrinfo code such as `EAI_AGAIN` (negative on Linux).
#[must_use]
pub fn eai_by_name(name: &str) -> Option<i32> {
    EAI_CODES.by_name(name)
}

/// The name of a getaddrinfo code.
#[must_use]
pub fn eai_name(value: i32) -> Option<&'static str> {
    EAI_CODES.by_value(value)
}

/// The number of a signal, with or without its `SIG`: `KILL`, `SIGKILL`, `9`.
#[must_use]
pub fn signal_by_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    SIGNALS.by_name(&upper).or_else(|| SIGNALS.by_name(&format!("SIG{upper}")))
}

/// The name of a signal, with its `SIG`.
#[must_use]
pub fn signal_name(value: i32) -> Option<&'static str> {
    SIGNALS.by_value(value)
}

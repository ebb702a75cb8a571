//! Names of errno values and of getaddrinfo's EAI codes, as Linux has them.

macro_rules! names {
    ($list:ident: $($name:ident)*) => {
        /// (name, number) pairs; aliases such as EWOULDBLOCK come after the common name.
        pub const $list: &[(&str, i32)] = &[$((stringify!($name), libc::$name)),*];
    };
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

fn by_name(list: &[(&'static str, i32)], name: &str) -> Option<i32> {
    list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

fn by_value(list: &[(&'static str, i32)], value: i32) -> Option<&'static str> {
    list.iter().find(|(_, v)| *v == value).map(|(n, _)| *n)
}

/// The number of an errno such as `EIO`; `None` for an unknown name.
#[must_use]
pub fn errno_by_name(name: &str) -> Option<i32> {
    by_name(ERRNOS, name)
}

/// The name of an errno, `None` for a number that Linux does not use.
#[must_use]
pub fn errno_name(value: i32) -> Option<&'static str> {
    by_value(ERRNOS, value)
}

/// The number of a getaddrinfo code such as `EAI_AGAIN` (negative on Linux).
#[must_use]
pub fn eai_by_name(name: &str) -> Option<i32> {
    by_name(EAI_CODES, name)
}

/// The name of a getaddrinfo code.
#[must_use]
pub fn eai_name(value: i32) -> Option<&'static str> {
    by_value(EAI_CODES, value)
}

/// The number of a signal, with or without its `SIG`: `KILL`, `SIGKILL`, `9`.
#[must_use]
pub fn signal_by_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    by_name(SIGNALS, &upper).or_else(|| by_name(SIGNALS, &format!("SIG{upper}")))
}

/// The name of a signal, with its `SIG`.
#[must_use]
pub fn signal_name(value: i32) -> Option<&'static str> {
    by_value(SIGNALS, value)
}

//! What a system call acts on, by its number and arguments.

use super::kernel::{self, Asked};
use libc::AT_FDCWD;

/// What a call acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A descriptor.
    Fd(i32),
    /// Two descriptors that data moves between, where it goes first.
    Fds(i32, i32),
    /// Where a path leads: a directory's descriptor, the path's address, and whether a last link is followed.
    Path(Name),
    /// Two entries, the new one last.
    Entries(Name, Name),
    /// A peer: the socket, and where its address is.
    Peer(i32, u64, u32),
    /// An amount of memory.
    Memory,
    /// A program to be started.
    Program(Name),
    /// Nothing that a selector could name.
    Nothing,
}

/// A path in the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The directory that it is relative to.
    pub dir: i32,
    /// Where it is; 0: nowhere, and the descriptor itself is meant.
    pub at: u64,
    /// Whether a last link is followed.
    pub follow: bool,
}

/// The memory that data goes to or comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// None.
    None,
    /// One, at an address, of so many bytes.
    One(u64, u64),
    /// A list of `iovec`s.
    List(u64, u64),
    /// A message's header.
    Message(u64),
}

/// A call, as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What it acts on.
    pub target: Target,
    /// The data that it moves.
    pub buffers: Buffers,
    /// Bytes that it asks for, when its arguments tell.
    pub amount: u64,
    /// The MSG_ flags of a socket call; of others the command, mode or options.
    pub flags: i32,
    /// Where in a file, when the call says so.
    pub offset: Option<i64>,
}

impl Call {
    /// A call that acts on something, and of which no more is known.
    #[must_use]
    pub const fn on(target: Target) -> Call {
        Call { target, buffers: Buffers::None, amount: 0, flags: 0, offset: None }
    }

    fn flagged(self, flags: u64) -> Call {
        Call { flags: flags as i32, ..self }
    }

    fn one(fd: u64, at: u64, len: u64) -> Call {
        Call { buffers: Buffers::One(at, len), amount: len, ..Call::on(Target::Fd(fd as i32)) }
    }

    fn list(fd: u64, at: u64, count: u64) -> Call {
        Call { buffers: Buffers::List(at, count), ..Call::on(Target::Fd(fd as i32)) }
    }

    fn at(self, offset: u64) -> Call {
        Call { offset: Some(offset as i64).filter(|offset| *offset != -1), ..self }
    }

    /// What a call is about. `is_fd`: its first argument is the descriptor that it acts on, unless more is known here.
    #[must_use]
    pub fn of(asked: &Asked, is_fd: bool) -> Call {
        let [a, b, c, d, e, f] = asked.args;
        let follows = |flags: u64| flags & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
        let path = |dir: u64, at, follow| Call::on(Target::Path(Name { dir: dir as i32, at, follow }));
        let here = AT_FDCWD as u64;
        let name = |dir: u64, at| Name { dir: dir as i32, at, follow: false };
        match asked.nr {
            libc::SYS_read | libc::SYS_write => Call::one(a, b, c),
            libc::SYS_pread64 | libc::SYS_pwrite64 => Call::one(a, b, c).at(d),
            libc::SYS_readv | libc::SYS_writev => Call::list(a, b, c),
            libc::SYS_preadv | libc::SYS_pwritev => Call::list(a, b, c).at(d),
            libc::SYS_preadv2 | libc::SYS_pwritev2 => Call::list(a, b, c).at(d).flagged(f),
            libc::SYS_recvfrom | libc::SYS_sendto => Call::one(a, b, c).flagged(d),
            libc::SYS_recvmsg | libc::SYS_sendmsg => {
                Call { buffers: Buffers::Message(b), ..Call::on(Target::Fd(a as i32)) }.flagged(c)
            }
            libc::SYS_recvmmsg | libc::SYS_sendmmsg | libc::SYS_vmsplice => Call::on(Target::Fd(a as i32)).flagged(d),
            libc::SYS_sendfile => Call { amount: d, ..Call::on(Target::Fds(a as i32, b as i32)) },
            libc::SYS_splice | libc::SYS_copy_file_range => {
                Call { amount: e, ..Call::on(Target::Fds(c as i32, a as i32)) }.flagged(f)
            }
            libc::SYS_tee => Call { amount: c, ..Call::on(Target::Fds(b as i32, a as i32)) }.flagged(d),
            libc::SYS_connect | libc::SYS_bind => Call::on(Target::Peer(a as i32, b, c as u32)),
            libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 | libc::SYS_creat => {
                let (dir, at, how) = match asked.nr {
                    libc::SYS_open => (here, a, b),
                    libc::SYS_creat => (here, a, (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64),
                    libc::SYS_openat => (a, b, c),
                    _ => (a, b, number_at(asked.tid, c)),
                };
                path(dir, at, how & libc::O_NOFOLLOW as u64 == 0).flagged(how)
            }
            libc::SYS_rename | libc::SYS_link => Call::on(Target::Entries(name(here, a), name(here, b))),
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
                Call::on(Target::Entries(name(a, b), name(c, d))).flagged(e)
            }
            libc::SYS_symlink => Call::on(Target::Path(name(here, b))),
            libc::SYS_symlinkat => Call::on(Target::Path(name(b, c))),
            libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir | libc::SYS_mknod | libc::SYS_readlink => {
                Call::on(Target::Path(name(here, a)))
            }
            libc::SYS_unlinkat => Call::on(Target::Path(name(a, b))).flagged(c),
            libc::SYS_mkdirat | libc::SYS_mknodat | libc::SYS_readlinkat => Call::on(Target::Path(name(a, b))),
            libc::SYS_lstat | libc::SYS_lchown => path(here, a, false),
            libc::SYS_newfstatat | libc::SYS_utimensat | libc::SYS_faccessat2 => {
                path(a, b, follows(d)).flagged(if asked.nr == libc::SYS_faccessat2 { c } else { 0 })
            }
            libc::SYS_statx => path(a, b, follows(c)),
            libc::SYS_faccessat => path(a, b, true).flagged(c),
            libc::SYS_fchmodat2 => path(a, b, follows(d)),
            libc::SYS_fchownat => path(a, b, follows(e)),
            libc::SYS_fchmodat | libc::SYS_futimesat => path(a, b, true),
            libc::SYS_access => path(here, a, true).flagged(b),
            libc::SYS_lgetxattr | libc::SYS_lsetxattr | libc::SYS_llistxattr | libc::SYS_lremovexattr => {
                path(here, a, false)
            }
            libc::SYS_inotify_add_watch => path(here, b, true),
            libc::SYS_execve => Call::on(Target::Program(Name { dir: AT_FDCWD, at: a, follow: true })),
            libc::SYS_execveat => Call::on(Target::Program(Name { dir: a as i32, at: b, follow: true })),
            libc::SYS_mmap | libc::SYS_munmap | libc::SYS_mprotect | libc::SYS_madvise | libc::SYS_mlock => {
                Call { amount: b, ..Call::on(Target::Memory) }
            }
            libc::SYS_mremap => Call { amount: c.saturating_sub(b), ..Call::on(Target::Memory) },
            libc::SYS_brk | libc::SYS_mlock2 | libc::SYS_mlockall => Call::on(Target::Memory),
            libc::SYS_accept4 => Call::on(Target::Fd(a as i32)),
            libc::SYS_getrandom => {
                Call { buffers: Buffers::One(a, b), amount: b, ..Call::on(Target::Nothing) }.flagged(c)
            }
            libc::SYS_fcntl | libc::SYS_clock_gettime | libc::SYS_clock_getres => {
                Call::on(Target::Nothing).flagged(if asked.nr == libc::SYS_fcntl { b } else { a })
            }
            libc::SYS_wait4 | libc::SYS_msync => Call::on(Target::Nothing).flagged(c),
            libc::SYS_waitid => Call::on(Target::Nothing).flagged(d),
            libc::SYS_ioctl | libc::SYS_flock => Call::on(Target::Fd(a as i32)).flagged(b),
            libc::SYS_lseek => Call::on(Target::Fd(a as i32)).flagged(c),
            libc::SYS_signalfd | libc::SYS_signalfd4 => Call::on(Target::Nothing).flagged(a),
            _ if is_fd => Call::on(Target::Fd(a as i32)),
            _ if is_path(asked.nr) => path(here, a, true),
            _ => Call::on(Target::Nothing),
        }
    }

    /// The buffers that its data moves through, as they lie in the caller's memory.
    #[must_use]
    pub fn parts(&self, tid: u32) -> Vec<(u64, u64)> {
        let list = |at: u64, count: u64| {
            let mut bytes = vec![0u8; count.min(1024) as usize * size_of::<libc::iovec>()];
            let read = kernel::read_memory(tid, at, &mut bytes);
            let words =
                |part: &[u8], at: usize| part[at..at + 8].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
            bytes[..read].chunks_exact(16).map(|part| (words(part, 0), words(part, 8))).collect()
        };
        match self.buffers {
            Buffers::None => Vec::new(),
            Buffers::One(at, len) => vec![(at, len)],
            Buffers::List(at, count) => list(at, count),
            // `struct msghdr`: the list and its length stand behind the name and its length.
            Buffers::Message(at) => list(number_at(tid, at + 16), number_at(tid, at + 24)),
        }
    }
}

/// Calls whose first argument is a path that is followed.
fn is_path(nr: i64) -> bool {
    [
        libc::SYS_stat,
        libc::SYS_statfs,
        libc::SYS_truncate,
        libc::SYS_chdir,
        libc::SYS_chroot,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_getxattr,
        libc::SYS_setxattr,
        libc::SYS_listxattr,
        libc::SYS_removexattr,
    ]
    .contains(&nr)
}

/// A number of 64 bits in a process's memory; 0 when it cannot be read.
#[must_use]
pub fn number_at(tid: u32, at: u64) -> u64 {
    let mut bytes = [0; 8];
    if kernel::read_memory(tid, at, &mut bytes) == 8 { u64::from_ne_bytes(bytes) } else { 0 }
}

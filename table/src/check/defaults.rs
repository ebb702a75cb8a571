//! The operations that a fault is about when it names none.

use crate::calls::{FaultKind, Op};
use crate::fault::Fault;
use crate::words::Resource;

const READS: &[Op] =
    &[Op::Read, Op::Readv, Op::Pread, Op::Preadv, Op::Recv, Op::Recvfrom, Op::Fread, Op::Fgets, Op::Getline];
const SHORT: &[Op] = &[
    Op::Read,
    Op::Readv,
    Op::Pread,
    Op::Preadv,
    Op::Write,
    Op::Writev,
    Op::Pwrite,
    Op::Pwritev,
    Op::Send,
    Op::Sendto,
    Op::Recv,
    Op::Recvfrom,
    Op::Sendfile,
    Op::Splice,
    Op::CopyFileRange,
];
const WRITES: &[Op] = &[Op::Write, Op::Writev, Op::Pwrite, Op::Pwritev];
const GROWING: &[Op] = &[
    Op::Write,
    Op::Writev,
    Op::Pwrite,
    Op::Pwritev,
    Op::Sendfile,
    Op::Splice,
    Op::CopyFileRange,
    Op::Fallocate,
    Op::PosixFallocate,
];
/// What can be done a second time behind the first.
pub(super) const TWICE: &[Op] = &[Op::Write, Op::Writev, Op::Send, Op::Sendto, Op::Sendmsg];
/// What can lose a datagram, when a peer is named.
const DATAGRAMS: &[Op] =
    &[Op::Send, Op::Sendto, Op::Sendmsg, Op::Sendmmsg, Op::Recv, Op::Recvfrom, Op::Recvmsg, Op::Read, Op::Write];
const CONNECTION: &[Op] = &[
    Op::Read,
    Op::Write,
    Op::Readv,
    Op::Writev,
    Op::Send,
    Op::Sendto,
    Op::Sendmsg,
    Op::Recv,
    Op::Recvfrom,
    Op::Recvmsg,
    Op::Sendfile,
];
const MEMORY: &[Op] = &[
    Op::Malloc,
    Op::Calloc,
    Op::Realloc,
    Op::Memalign,
    Op::PosixMemalign,
    Op::Strdup,
    Op::Mmap,
    Op::Mremap,
    Op::Brk,
    Op::Mprotect,
];
const DESCRIPTORS: &[Op] = &[
    Op::Open,
    Op::Fopen,
    Op::Socket,
    Op::Accept,
    Op::Dup,
    Op::Pipe,
    Op::Eventfd,
    Op::Signalfd,
    Op::TimerfdCreate,
    Op::InotifyInit,
    Op::MemfdCreate,
    Op::Openpty,
    Op::ShmOpen,
    Op::IoUringSetup,
    Op::Mkstemp,
    Op::Tmpfile,
    Op::EpollCreate,
];
const PROCESSES: &[Op] = &[Op::Fork, Op::Vfork, Op::Spawn, Op::System, Op::Popen];
/// What shows a clock, and what takes a moment of one: off together, or a program would see two times at once.
const CLOCKS: &[Op] = &[
    Op::Gettimeofday,
    Op::ClockGettime,
    Op::ClockSettime,
    Op::ClockNanosleep,
    Op::TimerSettime,
    Op::TimerfdSettime,
    Op::Timedwait,
    Op::SemTimedwait,
    Op::MqTimed,
];
/// The operations of a fault when it names none; `None` when it must.
pub(super) fn default_ops(fault: &Fault, kind: FaultKind) -> Option<&'static [Op]> {
    let what = fault.what;
    if fault.point.is_some() {
        return Some(&[Op::Point]);
    }
    match kind {
        FaultKind::Short => Some(SHORT),
        FaultKind::Corrupt => Some(READS),
        FaultKind::Refuse | FaultKind::Unreachable => Some(&[Op::Connect]),
        FaultKind::Dns => Some(&[Op::Getaddrinfo, Op::Gethostbyname]),
        FaultKind::Disconnect | FaultKind::Throttle => Some(CONNECTION),
        FaultKind::Drop if fault.to.is_some() => Some(DATAGRAMS),
        FaultKind::Drop | FaultKind::Torn => Some(WRITES),
        FaultKind::Exhaust => Some(users_of(what.unwrap_or(Resource::Files))),
        FaultKind::Clock => Some(CLOCKS),
        FaultKind::Error
        | FaultKind::Latency
        | FaultKind::Hang
        | FaultKind::Signal
        | FaultKind::Freeze
        | FaultKind::Exit
        | FaultKind::Return => None,
    }
}

/// The operations that use up a resource.
pub(crate) fn users_of(what: Resource) -> &'static [Op] {
    match what {
        Resource::Memory => MEMORY,
        Resource::Files => DESCRIPTORS,
        Resource::Disk => GROWING,
        Resource::Processes => PROCESSES,
        Resource::Threads => &[Op::PthreadCreate],
    }
}

//! Calls which show that a runtime has booted, and its user's program is at work.
//!
//! The opening of a file of the program's own is the commonest, see `init.rs`. A program that stands on the command line,
//! or comes through stdin, has no such file.

use crate::select::Target;
use crate::{init, real};
use chaos_table::calls::Op;
use chaos_table::rule::SIGN;
use std::sync::atomic::Ordering;

/// Calls that no runtime makes while it boots, whatever they are about: connections, other processes, and waits. They show
/// a program that opens no file of its own, such as one that stands on the command line.
const CALLS: [Op; 26] = [
    Op::Socket,
    Op::Bind,
    Op::Accept,
    Op::Send,
    Op::Sendto,
    Op::Sendmsg,
    Op::Sendmmsg,
    Op::Recv,
    Op::Recvfrom,
    Op::Recvmsg,
    Op::Recvmmsg,
    Op::Getaddrinfo,
    Op::Getnameinfo,
    Op::Gethostbyname,
    Op::Gethostbyaddr,
    Op::Fork,
    Op::Vfork,
    Op::Exec,
    Op::Spawn,
    Op::System,
    Op::Popen,
    Op::Kill,
    Op::Sleep,
    Op::ClockNanosleep,
    Op::Fsync,
    Op::Fdatasync,
];
/// On stdin or stdout they show it as well. A runtime may write to stderr while it boots (what options it has found).
const STREAMS: [Op; 13] = [
    Op::Read,
    Op::Readv,
    Op::Fread,
    Op::Fgets,
    Op::Getc,
    Op::Getline,
    Op::Fscanf,
    Op::Write,
    Op::Writev,
    Op::Fwrite,
    Op::Fputs,
    Op::Putc,
    Op::Fprintf,
];

/// Makes these calls ask [`of_call`].
pub fn watch() {
    for op in CALLS.into_iter().chain(STREAMS) {
        if let Some(word) = real::WAITING.of(op as usize) {
            word.store(SIGN, Ordering::Relaxed);
        }
    }
}

/// One of [`CALLS`], or of [`STREAMS`].
pub fn of_call(op: Op, target: Target) {
    if !STREAMS.contains(&op) || matches!(target, Target::Fd(libc::STDIN_FILENO | libc::STDOUT_FILENO)) {
        init::sign();
    }
}

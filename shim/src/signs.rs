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

/// Whether the arguments of a Python name a file that it runs: not when the program is an argument itself, a module, or
/// comes through stdin.
pub fn name_a_script(arguments: &mut dyn Iterator<Item = &[u8]>) -> bool {
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(b"-") {
            None => return true,
            Some([] | [b'-', ..]) => return false,
            // Options may stand together; the program follows the last of them, as the value of -W and -X does.
            Some(letters) => match letters.iter().position(|letter| b"cmWX".contains(letter)) {
                None => {}
                Some(at) if letters.get(at).is_some_and(|letter| b"cm".contains(letter)) => return false,
                Some(at) if at + 1 == letters.len() => _ = arguments.next(),
                Some(_) => {}
            },
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::name_a_script;

    #[test]
    fn scripts_are_told_from_programs_on_the_command_line() {
        let runs = |line: &str| name_a_script(&mut line.split(' ').map(str::as_bytes).filter(|word| !word.is_empty()));
        for line in
            ["a.py", "a.py -c x", "-u a.py", "-X dev a.py", "-Xdev a.py", "-IW ignore a.py", "-W ignore -u a.py"]
        {
            assert!(runs(line), "{line}");
        }
        for line in ["", "-c a.py", "-m a.py", "-Ic a.py", "-um a b.py", "- a.py", "-X dev -c a.py", "-u", "-W"] {
            assert!(!runs(line), "{line}");
        }
    }
}

//! The filter: which system calls the kernel asks about.
//!
//! Every call that it does not name gets the same answer whatever its arguments are, so that the kernel (since 5.11)
//! answers it from a bitmap without running the program.

use chaos_table::calls::{CALLS, Op};
use chaos_table::rule::{PlanHeader, RULE_BITS, arm};
use chaos_table::session::WHO_AM_I;
use libc::sock_filter;
use std::collections::BTreeSet;

/// AUDIT_ARCH_X86_64 of linux/audit.h.
const X86_64: u32 = 0xC000_003E;
/// Set in the numbers of x32 calls, which few kernels offer and no row of the table means.
const X32: u32 = 0x4000_0000;
/// Where `struct seccomp_data` has the number and the architecture.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// Calls that say who is who: processes and threads that are made, images that are exchanged, ends.
pub const LIFE: [i64; 8] = [
    libc::SYS_clone,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The system calls that a plan has rules on (switched off or not), or waits for, with those of [`LIFE`].
#[must_use]
pub fn wanted(header: &PlanHeader) -> BTreeSet<i64> {
    let has_rules = |op: usize| header.planned.get(op).is_some_and(|word| word & RULE_BITS != 0);
    let is_sign = |syscall: &i64| match header.arm {
        arm::PATH => [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2, libc::SYS_creat].contains(syscall),
        arm::LISTEN => *syscall == libc::SYS_listen,
        _ => false,
    };
    let rows = CALLS.iter().enumerate();
    let ruled = rows.filter(|(op, _)| has_rules(*op)).flat_map(|(_, call)| super::ops::syscalls(call.op));
    let signs = CALLS.iter().flat_map(|call| call.syscalls().iter().copied()).filter(is_sign);
    // SO_ERROR tells how a connect went that was made to fail.
    let told = has_rules(Op::Connect as usize).then_some(libc::SYS_getsockopt);
    // The last thing that libc does before main in a static program, see `arm`.
    let start = (header.memory != 0).then_some(libc::SYS_mprotect);
    let names = if super::names::matter(header) { &super::names::CALLS[..] } else { &[] };
    let freeing = if super::disk::matter(header) { &super::disk::FREEING[..] } else { &[] };
    LIFE.into_iter()
        .chain([WHO_AM_I])
        .chain(names.iter().chain(freeing).copied())
        .chain(ruled)
        .chain(signs)
        .chain(told)
        .chain(start)
        .collect()
}

/// A program that asks the launcher about these system calls and lets every other pass.
#[must_use]
pub fn program(syscalls: &BTreeSet<i64>) -> Vec<sock_filter> {
    let load = |at| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let jump = |test, value, yes, no| instruction(libc::BPF_JMP | test | libc::BPF_K, yes, no, value);
    let answer = |action| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let (pass, ask) = (answer(libc::SECCOMP_RET_ALLOW), answer(libc::SECCOMP_RET_USER_NOTIF));
    let mut program = vec![load(ARCH), jump(libc::BPF_JEQ, X86_64, 1, 0), pass, load(NR)];
    program.extend([jump(libc::BPF_JGE, X32, 0, 1), pass]);
    for (first, last) in ranges(syscalls) {
        // Ascending: what lies below a range lies in none of those behind it either.
        program.extend([jump(libc::BPF_JGT, last, 3, 0), jump(libc::BPF_JGE, first, 1, 0), pass, ask]);
    }
    program.push(pass);
    program
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Every code that BPF has fits into 16 bits.
    sock_filter { code: code as u16, jt, jf, k }
}

/// Neighbouring numbers together.
fn ranges(syscalls: &BTreeSet<i64>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in syscalls.iter().filter_map(|number| u32::try_from(*number).ok()) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program answers, by the few instructions that it is made of.
    fn run(program: &[sock_filter], arch: u32, nr: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let code = u32::from(step.code);
            let goes = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match code & 0x07 {
                libc::BPF_LD => value = if step.k == NR { nr } else { arch },
                libc::BPF_RET => return step.k,
                _ if code & 0xf0 == libc::BPF_JEQ => at += goes(value == step.k),
                _ if code & 0xf0 == libc::BPF_JGT => at += goes(value > step.k),
                _ => at += goes(value >= step.k),
            }
        }
    }

    #[test]
    fn exactly_the_named_calls_of_this_architecture_are_asked_about() {
        for named in [&[][..], &[0], &[0, 1, 2, 17, 59, 60, 257, 435], &[1, 3, 5, 7], &[462]] {
            let named: BTreeSet<i64> = named.iter().copied().collect();
            let program = program(&named);
            for nr in 0..500 {
                let expected = if named.contains(&nr) { libc::SECCOMP_RET_USER_NOTIF } else { libc::SECCOMP_RET_ALLOW };
                assert_eq!(run(&program, X86_64, nr as u32), expected, "{nr} of {named:?}");
                assert_eq!(run(&program, X86_64, X32 | nr as u32), libc::SECCOMP_RET_ALLOW);
                assert_eq!(run(&program, 0x4000_0003, nr as u32), libc::SECCOMP_RET_ALLOW, "i386");
            }
        }
    }
}

//! Which operation of the table a system call is.

use chaos_table::calls::{CALLS, Op};

/// Operations of libc that have no row of system calls, being another's call with other arguments, with their numbers.
const SHARED: &[(Op, &[i64])] = &[
    (Op::Recv, &[libc::SYS_recvfrom]),
    (Op::Send, &[libc::SYS_sendto]),
    (Op::PthreadCreate, &[libc::SYS_clone, libc::SYS_clone3]),
    (Op::Spawn, &[libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3]),
    (Op::Vfork, &[libc::SYS_clone, libc::SYS_clone3]),
    (Op::Brk, &[libc::SYS_brk]),
    (Op::Readdir, &[libc::SYS_getdents, libc::SYS_getdents64]),
    // glibc's fstat.
    (Op::Fstat, &[libc::SYS_newfstatat]),
];

/// Operations whose rows name a system call that is not theirs alone: every lock and every wait of threads is a futex.
const NOT_TOLD_APART: &[Op] = &[Op::Timedwait];

/// The system calls that an operation is made of.
pub fn syscalls(op: Op) -> impl Iterator<Item = i64> {
    let own = if NOT_TOLD_APART.contains(&op) { &[] } else { op.row().syscalls() };
    let shared = SHARED.iter().filter(move |(other, _)| *other == op).flat_map(|(_, numbers)| numbers.iter());
    own.iter().chain(shared).copied()
}

/// Operations by the number of the system call.
#[derive(Debug)]
pub struct Ops(Vec<Vec<Op>>);

impl Ops {
    /// All of them.
    #[must_use]
    pub fn new() -> Ops {
        let mut ops: Vec<Vec<Op>> = Vec::new();
        for call in CALLS {
            for number in syscalls(call.op).filter_map(|number| usize::try_from(number).ok()) {
                if ops.len() <= number {
                    ops.resize(number + 1, Vec::new());
                }
                ops[number].push(call.op);
            }
        }
        Ops(ops)
    }

    /// Which operation a call is: of several the one that its arguments make it, and of these the first that has rules.
    #[must_use]
    pub fn of(&self, nr: i64, args: &[u64; 6], flags: Option<u64>, has_rules: impl Fn(Op) -> bool) -> Option<Op> {
        let ops = usize::try_from(nr).ok().and_then(|nr| self.0.get(nr))?;
        let fits = |op: &Op| match (nr, op) {
            (libc::SYS_recvfrom, Op::Recv) | (libc::SYS_sendto, Op::Send) => args[4] == 0,
            (libc::SYS_newfstatat, op) => (args[3] & libc::AT_EMPTY_PATH as u64 != 0) == (*op == Op::Fstat),
            (libc::SYS_clone | libc::SYS_clone3, op) => is_made_by(*op, flags.unwrap_or(0)),
            _ => true,
        };
        let mut fitting = ops.iter().copied().filter(fits);
        let first = fitting.clone().next()?;
        Some(fitting.find(|op| has_rules(*op)).unwrap_or(first))
    }
}

/// Whether an operation makes a thread or process with these flags of clone.
fn is_made_by(op: Op, flags: u64) -> bool {
    let has = |flag: i32| flags & flag as u64 != 0;
    match op {
        Op::PthreadCreate => has(libc::CLONE_THREAD),
        Op::Spawn | Op::Vfork => has(libc::CLONE_VFORK) && !has(libc::CLONE_THREAD),
        _ => !has(libc::CLONE_THREAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_the_operation_that_its_arguments_make_it() {
        let ops = Ops::new();
        let any = |_: Op| true;
        let none = |_: Op| false;
        let to = [3, 0, 0, 0, 1, 16];
        assert_eq!(ops.of(libc::SYS_sendto, &[0; 6], None, any), Some(Op::Send));
        assert_eq!(ops.of(libc::SYS_sendto, &to, None, any), Some(Op::Sendto));
        assert_eq!(ops.of(libc::SYS_sendto, &[0; 6], None, |op| op == Op::Sendto), Some(Op::Sendto));
        assert_eq!(ops.of(libc::SYS_openat, &[0; 6], None, none), Some(Op::Open));
        let thread = Some((libc::CLONE_THREAD | libc::CLONE_VM) as u64);
        assert_eq!(ops.of(libc::SYS_clone, &[0; 6], thread, any), Some(Op::PthreadCreate));
        assert_eq!(ops.of(libc::SYS_clone, &[0; 6], Some(17), any), Some(Op::Fork));
        let vfork = Some((libc::CLONE_VFORK | libc::CLONE_VM) as u64);
        assert_eq!(ops.of(libc::SYS_clone, &[0; 6], vfork, |op| op == Op::Vfork), Some(Op::Vfork));
        assert_eq!(ops.of(libc::SYS_newfstatat, &[3, 1, 1, 0, 0, 0], None, any), Some(Op::Stat));
        assert_eq!(ops.of(libc::SYS_newfstatat, &[3, 1, 1, 0x1000, 0, 0], None, any), Some(Op::Fstat));
        assert_eq!(ops.of(libc::SYS_getpid, &[0; 6], None, any), None);
        assert_eq!(syscalls(Op::Timedwait).count(), 0);
        for call in CALLS {
            assert_eq!(syscalls(call.op).count() > 0, call.is_system_call(), "{}", call.name());
        }
    }
}

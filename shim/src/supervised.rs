//! Below a filter of the seccomp engine: that has every fault that is a system call's, and this shim only what is none,
//! so that no call is hit twice.

use crate::real;
use crate::session::Session;
use chaos_table::calls::{CALLS, Call};
use chaos_table::rule::{TRACK, WATCH};
use std::sync::atomic::{AtomicU64, Ordering};

/// Fills this process's own words, for the entries to compare, with the rules that are the shim's here.
///
/// They are the session's at the start of the program: what is switched off later is seen when a call is put to its rules.
#[cold]
pub fn words(session: &Session) -> *mut AtomicU64 {
    let kernels = rules_on(session, Call::is_system_call);
    for call in CALLS {
        let planned = session.planned(call.op);
        let ours = match () {
            () if call.is_never_seen_by_the_kernel() => planned,
            // Where a clock is off, the deadlines that are told in its time are.
            () if call.is_system_call() => planned & session.clocks(),
            // A rule that names a call of libc's alone, such as opendir, and none that the kernel sees.
            () => planned & !kernels,
        };
        if let Some(word) = real::WAITING.of(call.op as usize) {
            // With the bit for descriptors every call goes the long way, by the session's own words. Those that are the
            // shim's are always watched, since no other process writes here; the others by the supervisor.
            word.store(if ours & !TRACK == 0 { ours } else { ours | TRACK | WATCH }, Ordering::Relaxed);
        }
    }
    real::WAITING.pointer()
}

/// Rules on any of these calls.
fn rules_on(session: &Session, is_one: impl Fn(&Call) -> bool) -> u64 {
    CALLS.iter().filter(|call| is_one(call)).fold(0, |rules, call| rules | session.planned(call.op))
}

//! What runs out, as the engine can see it: descriptors, processes, threads, memory and disk of another process.

use super::decide::Asking;
use super::decode::Target;
use super::disk::Claim;
use super::there;
use super::tree::Process;
use chaos_table::calls::Op;
use chaos_table::rule::{Rule, exhaust};

/// Whether a rule's limit is reached, so that this call would go beyond it. `claim`: what it writes to a file.
pub fn is_exhausted(
    asking: &Asking<'_>,
    (index, rule): (usize, &Rule),
    process: &mut Process,
    amount: u64,
    claim: Option<&mut Claim>,
) -> bool {
    match rule.what {
        exhaust::MEMORY => {
            let now = there::private_writable(asking.pid);
            let first = *process.memory_at_first.get_or_insert(now);
            let growth = growth_of(asking, amount);
            growth != 0 && now.saturating_sub(first).saturating_add(growth) > rule.limit
        }
        exhaust::PROCESSES => asking.processes >= rule.limit,
        exhaust::THREADS => there::threads(asking.pid) >= rule.limit,
        exhaust::FILES => there::lowest_free(asking.pid) >= rule.limit,
        exhaust::DISK => claim.is_some_and(|claim| claim.is_exhausted(index, rule.limit)),
        _ => false,
    }
}

/// By how much a call grows what is private and writable.
fn growth_of(asking: &Asking<'_>, amount: u64) -> u64 {
    let [a, _, protection, flags, ..] = asking.asked.args;
    let has = |flags: u64, bit: i32| flags & bit as u64 != 0;
    match asking.op {
        Op::Mmap if has(protection, libc::PROT_WRITE) && !has(flags, libc::MAP_SHARED) => amount,
        Op::Mprotect if has(protection, libc::PROT_WRITE) => 0,
        Op::Mremap => amount,
        Op::Brk => there::heap_end(asking.pid).map_or(0, |end| a.saturating_sub(end)),
        _ if asking.call.target == Target::Memory => 0,
        _ => 0,
    }
}

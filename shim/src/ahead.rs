//! Draws that are made ahead, so that the calls they let pass cost two comparisons.
//!
//! A rule that is a plain rate takes one draw for each match. A thread draws for its next matches of such a rule at once
//! and writes down how many of them pass: until then the entries in `real.rs` count a match and jump to the real function.
//! What fires fires where it would have: every match has the draw of its number, however many were drawn together.
//!
//! What the entries compare says that nothing which chose the rule has changed: the operation's word, the stamp that a
//! change of rules moves on, of a descriptor what is remembered of it, and the generation of the process, since a forked
//! child has a copy of its parent's lead.

use crate::counted::Counted;
use crate::fds;
use crate::guard::Thread;
use crate::real;
use crate::select::Target;
use crate::session::Session;
use crate::tree;
use chaos_table::calls::Op;
use chaos_table::rule::RULE_BITS;
use chaos_table::session::{ThreadCounters, ThreadSlot};
use std::cell::Cell;
use std::mem::offset_of;
use std::sync::atomic::{Ordering, compiler_fence};

/// As many draws are made ahead at most, and at least.
const FAR: u64 = 256;
const NEAR: u64 = 8;

/// How far one thread may go for one rule.
#[repr(C)]
pub struct Lead {
    /// The word of operations that it is for, the stamp of the rules and the generation of the process then. The last two
    /// are scattered over all numbers, so that one sum tells whether any of the three is another. 0: there is no lead.
    pub sum: Cell<u64>,
    /// Where the matches are counted, in their first word ...
    pub counted: Cell<*mut ThreadCounters>,
    /// ... and how many may be reached.
    pub limit: Cell<u64>,
    /// What was remembered of the descriptor.
    pub matching: Cell<u64>,
    /// The operation, where the target is a descriptor.
    pub op: Cell<u32>,
    /// The bit of its rule; 0: there is none.
    pub rule: Cell<u64>,
    /// How many matches there had been.
    base: Cell<u64>,
    /// As many draws are made ahead next time.
    span: Cell<u64>,
    /// State of the stream when the limit is reached.
    after: Cell<[u32; 4]>,
}

/// Whether operations have entries that look at leads.
const fn is_looked_at(op: Op) -> bool {
    matches!(
        op,
        Op::Malloc
            | Op::Calloc
            | Op::Realloc
            | Op::ClockGettime
            | Op::Gettimeofday
            | Op::Read
            | Op::Pread
            | Op::Readv
            | Op::Write
            | Op::Pwrite
            | Op::Writev
            | Op::Send
            | Op::Sendto
            | Op::Recv
            | Op::Recvfrom
    )
}

impl Lead {
    /// In a forked child: the counters are the parent's.
    pub fn drop(&self) {
        self.sum.set(0);
        self.rule.set(0);
    }
}

/// Before rules are put to a call of this thread: what was drawn ahead for one of them and not used has not been drawn.
/// False when there was such a draw.
pub fn close(thread: &Thread, hit: u64) -> bool {
    let lead = &thread.lead;
    if hit & lead.rule.get() == 0 {
        return true;
    }
    lead.drop();
    compiler_fence(Ordering::SeqCst);
    let span = lead.span.get().max(NEAR);
    // SAFETY: a lead's counters are those of this thread's own slot, in the mapping that stays; a forked child has dropped
    // it when it took its place.
    let counted = unsafe { Counted::at(lead.counted.get()) };
    let is_used_up = counted.matched() == lead.limit.get();
    if is_used_up {
        counted.set_state(lead.after.get());
        lead.span.set((span * 2).min(FAR));
    } else {
        // Few: more than FAR only where signal handlers counted as well, or where the target wrote here.
        let used = counted.matched().wrapping_sub(lead.base.get()).min(2 * FAR);
        let mut draws = counted.draws();
        for _ in 0..used {
            draws.draw();
        }
        counted.set_state(draws.state());
        lead.span.set((span / 2).max(NEAR));
    }
    is_used_up
}

/// Whether it is time to try again to go ahead, at this match.
#[inline(always)]
pub const fn is_due(hit: u64, matched: u64) -> bool {
    hit & hit.wrapping_sub(1) == 0 && matched.is_multiple_of(FAR / 4)
}

/// After a call that the rules in `hit` let pass: where that is a single rule, draws for the next ones.
pub fn open(session: &Session, thread: &Thread, op: Op, target: &Target, hit: u64) {
    let me = tree::me();
    let words = session.words();
    let is_plain = hit.is_power_of_two() && hit & (session.complex() | session.counting()) == 0;
    let is_own = real::WORDS.load(Ordering::Relaxed) == words && !me.supervised && me.clocks() == 0;
    let lead = &thread.lead;
    if !is_plain || !is_own || !is_looked_at(op) || lead.rule.get() != 0 || !tree::is_own_slot(thread) {
        return;
    }
    let matching = match *target {
        Target::Nothing | Target::Memory => 0,
        Target::Fd(fd) => match fds::plainly(fd) {
            Some(matching) if matching != 0 || hit & session.needs_fd() == 0 => matching,
            _ => return,
        },
        _ => return,
    };
    let word = session.word(op);
    let stamp = session.stamp();
    if word & !RULE_BITS != 0 || word & me.rules() != hit {
        return;
    }
    let rule = hit.trailing_zeros() as usize;
    let rate = session.rate(rule);
    let counted = session.counted(thread.slot.get() as *mut ThreadSlot, rule);
    let mut draws = counted.draws();
    let mut after = draws.state();
    let span = lead.span.get().max(NEAR);
    let mut passing = 0;
    while passing < span && draws.draw() >= rate {
        after = draws.state();
        passing += 1;
    }
    if passing == 0 {
        return;
    }
    let base = counted.matched();
    lead.counted.set(counted.address());
    lead.limit.set(base.wrapping_add(passing));
    lead.matching.set(matching);
    lead.op.set(op as u32);
    lead.base.set(base);
    lead.after.set(after);
    lead.rule.set(hit);
    compiler_fence(Ordering::SeqCst);
    lead.sum.set(word.wrapping_add(stamp).wrapping_add(thread.generation.get()));
}

/// In an entry, with the words in r11 and the operation's in r10: counts the call and jumps to the real function where the
/// thread's lead lets it pass; else goes on behind this. Of r10, r11 and rax nothing is kept, so no variadic function may
/// have it.
///
/// First what the target needs: `memory` that the caller is no spared module, `fd` that the first argument is a
/// descriptor of which the same is remembered.
macro_rules! go_ahead {
    ($kind:ident) => {
        concat!(
            "mov rax, qword ptr [rip + chaos_shim_thread@GOTTPOFF]\n",
            "add r10, qword ptr [r11 + {stamp}]\n",
            "add r10, qword ptr [rip + {generation}]\n",
            "cmp r10, qword ptr fs:[rax + {lead} + {at_sum}]\n",
            "jne 3f\n",
            $crate::ahead::go_ahead!(@ask $kind),
            "mov r11, qword ptr fs:[rax + {lead} + {at_counted}]\n",
            "mov r10, qword ptr [r11]\n",
            "cmp r10, qword ptr fs:[rax + {lead} + {at_limit}]\n",
            "jae 3f\n",
            // One instruction, as a signal handler may count as well.
            "inc qword ptr [r11]\n",
            "jmp qword ptr [rip + {slot}]\n",
            $crate::ahead::go_ahead!(@apart $kind),
            "3:\n",
            "mov r11, qword ptr [rip + {words}]\n",
            "cmp qword ptr [r11 + {offset}], 0",
        )
    };
    (@ask nothing) => { "" };
    (@ask memory) => {
        concat!(
            "mov r10, qword ptr [rsp]\n",
            "cmp r10, qword ptr [rip + {spared} + 32]\n",
            "jae 5f\n",
            "4:\n",
        )
    };
    (@ask fd) => {
        concat!(
            "cmp dword ptr fs:[rax + {lead} + {at_op}], {op}\n",
            "jne 3f\n",
            "lea r10d, [rdi - {first_plain}]\n",
            "cmp r10d, {remembered} - {first_plain}\n",
            "jae 3f\n",
            "mov r10d, edi\n",
            "shl r10d, {entry_bits}\n",
            "lea r11, [rip + {table}]\n",
            "mov r10, qword ptr [r11 + r10]\n",
            "cmp r10, qword ptr fs:[rax + {lead} + {at_matching}]\n",
            "jne 3f\n",
        )
    };
    (@apart memory) => {
        concat!(
            "5:\n",
            "sub r10, qword ptr [rip + {spared}]\n",
            "cmp r10, qword ptr [rip + {spared} + 8]\n",
            "jb 3f\n",
            "mov r10, qword ptr [rsp]\n",
            "sub r10, qword ptr [rip + {spared} + 16]\n",
            "cmp r10, qword ptr [rip + {spared} + 24]\n",
            "jae 4b\n",
        )
    };
    (@apart $kind:ident) => { "" };
}
pub(crate) use go_ahead;

/// Where entries find what they compare.
pub mod at {
    use super::{Lead, offset_of};

    pub const SUM: usize = offset_of!(Lead, sum);
    pub const COUNTED: usize = offset_of!(Lead, counted);
    pub const LIMIT: usize = offset_of!(Lead, limit);
    pub const MATCHING: usize = offset_of!(Lead, matching);
    pub const OP: usize = offset_of!(Lead, op);
}

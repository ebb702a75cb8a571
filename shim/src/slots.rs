//! The session's tables of processes and threads: claiming a slot, and giving back those of the dead.

use crate::session::Session;
use crate::sys;
use chaos_table::session::{ProcessSlot, ThreadSlot, TreeCounters, slot_state};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

/// Claims a process slot, from `hint` on; when none is free, those of the dead are.
///
/// A process in another pid namespace looks dead from here; it is only looked for when room is short.
pub fn claim_process(session: &Session, hint: u32) -> Option<*mut ProcessSlot> {
    let room = session.process_room();
    let try_all = || {
        (0..room).map(|step| session.process((hint as usize + step) % room)).find(|slot| {
            // SAFETY: inside the mapping; the state is only used atomically.
            let state = unsafe { AtomicU32::from_ptr(&raw mut (**slot).state) };
            // No look before: the first slot is mostly free, and a load would fault its page in a second time.
            state.compare_exchange(slot_state::FREE, slot_state::CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    };
    try_all().or_else(|| {
        for index in 0..room {
            let slot = session.process(index);
            // SAFETY: as above. Only a slot in use is given back, and once: two may look at the same time.
            unsafe {
                if sys::kill((*slot).pid, 0) == -libc::ESRCH as isize {
                    let state = AtomicU32::from_ptr(&raw mut (*slot).state);
                    let (live, free) = (slot_state::LIVE, slot_state::FREE);
                    let _ = state.compare_exchange(live, free, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
        }
        try_all()
    })
}

/// Claims a thread slot; when none is free, those of ended threads are.
pub fn claim_thread(session: &Session) -> Option<*mut ThreadSlot> {
    let room = session.thread_room();
    let hint = sys::gettid() as usize;
    let try_all = || {
        (0..room).map(|step| session.thread((hint + step) % room)).find(|slot| {
            // SAFETY: inside the mapping; the state is only used atomically.
            let state = unsafe { AtomicU32::from_ptr(&raw mut (**slot).state) };
            // No look before: the first slot is mostly free, and a load would fault its page in a second time.
            state.compare_exchange(slot_state::FREE, slot_state::CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    };
    try_all().or_else(|| {
        for index in 0..room {
            let slot = session.thread(index);
            // SAFETY: as above. Threads leave no word when they end, so the dead are looked for when room is short.
            let dead = unsafe { sys::tgkill((*slot).pid, (*slot).tid, 0) == -libc::ESRCH as isize };
            if dead {
                fold(session, slot);
            }
        }
        try_all()
    })
}

/// Adds the counters of a thread that has ended to those of the tree and frees its slot.
pub fn fold(session: &Session, slot: *mut ThreadSlot) {
    // SAFETY: the slot lies inside the mapping; winning LIVE -> CLAIMED makes it ours.
    unsafe {
        let state = AtomicU32::from_ptr(&raw mut (*slot).state);
        let won = state.compare_exchange(slot_state::LIVE, slot_state::CLAIMED, Ordering::AcqRel, Ordering::Relaxed);
        if won.is_err() {
            return;
        }
        for rule in 0..session.rule_count() {
            let counters = session.thread_counters(slot, rule).read();
            session.tree(rule, offset_of!(TreeCounters, matched)).fetch_add(counters.matched, Ordering::Relaxed);
            session
                .tree(rule, offset_of!(TreeCounters, protected))
                .fetch_add(u64::from(counters.protected), Ordering::Relaxed);
        }
        state.store(slot_state::FREE, Ordering::Release);
    }
}

//! The session's tables of processes and threads: claiming a slot, and giving back those of the dead.

use crate::session::Session;
use crate::sys;
use chaos_table::session::{Header, ProcessSlot, ThreadSlot, TreeCounters, slot_state};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

/// Claims a process slot, from `hint` on; when none is free, those of the dead are.
///
/// A process in another pid namespace looks dead from here; it is only looked for when room is short.
pub fn claim_process(session: &Session, hint: u32) -> Option<*mut ProcessSlot> {
    // SAFETY: inside the mapping; the state is only used atomically.
    let state = |slot: *mut ProcessSlot| unsafe { AtomicU32::from_ptr(&raw mut (*slot).state) };
    let give_back = |slot: *mut ProcessSlot| {
        // SAFETY: inside the mapping.
        if sys::kill(unsafe { (*slot).pid }, 0) == -libc::ESRCH as isize {
            // Only a slot in use is given back, and once: two may look at the same time.
            let (live, free) = (slot_state::LIVE, slot_state::FREE);
            let _ = state(slot).compare_exchange(live, free, Ordering::AcqRel, Ordering::Relaxed);
        }
    };
    claim(session.process_room(), hint as usize, |index| session.process(index), state, give_back)
}

/// Claims a thread slot; when none is free, those of ended threads are. Threads leave no word when they end.
pub fn claim_thread(session: &Session) -> Option<*mut ThreadSlot> {
    // SAFETY: inside the mapping; the state is only used atomically.
    let state = |slot: *mut ThreadSlot| unsafe { AtomicU32::from_ptr(&raw mut (*slot).state) };
    let give_back = |slot: *mut ThreadSlot| {
        // SAFETY: inside the mapping.
        let (pid, tid) = unsafe { ((*slot).pid, (*slot).tid) };
        if sys::tgkill(pid, tid, 0) == -libc::ESRCH as isize {
            fold(session, slot);
        }
    };
    claim(session.thread_room(), sys::gettid() as usize, |index| session.thread(index), state, give_back)
}

/// The first slot from `hint` on that goes from free to claimed; asks for those of the dead when there is none.
fn claim<'a, T>(
    room: usize,
    hint: usize,
    at: impl Fn(usize) -> *mut T,
    state: impl Fn(*mut T) -> &'a AtomicU32,
    give_back: impl Fn(*mut T),
) -> Option<*mut T> {
    let (free, claimed) = (slot_state::FREE, slot_state::CLAIMED);
    // No look before: the first slot is mostly free, and a load would fault its page in a second time.
    let won = |slot: &*mut T| state(*slot).compare_exchange(free, claimed, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let from_hint = || (0..room).map(|step| at((hint + step) % room)).find(won);
    from_hint().or_else(|| {
        (0..room).map(&at).for_each(give_back);
        from_hint()
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
        for rule in 0..session.rule_room() {
            let counters = session.thread_counters(slot, rule).read();
            session.tree(rule, offset_of!(TreeCounters, matched)).fetch_add(counters.matched, Ordering::Relaxed);
            session
                .tree(rule, offset_of!(TreeCounters, protected))
                .fetch_add(u64::from(counters.protected), Ordering::Relaxed);
        }
        session.counter(offset_of!(Header, injections)).fetch_add((*slot).injections, Ordering::Relaxed);
        state.store(slot_state::FREE, Ordering::Release);
    }
}

//! The accounts of files: which blocks of which file were charged to which rule.

use super::{File, bits, used};
use crate::session::Session;
use crate::sys;
use chaos_table::session::Charge;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The account of a file with a rule; made when `make` and there is room.
fn account(session: &Session, file: File, rule: usize, make: bool) -> Option<*mut Charge> {
    const STEPS: usize = 64;
    const FREE: u32 = 0;
    const WRITING: u32 = 1;
    const READY: u32 = 2;
    let (charges, room) = session.charges();
    let hash = chaos_table::decide::combine(file.dev, file.ino ^ (rule as u64) << 56) as usize;
    // SAFETY: the index is below the room, which is a power of two; states are only used atomically, the rest is read
    // and written by the rules of the state.
    let places = || (0..STEPS.min(room)).map(|step| unsafe { charges.add(hash.wrapping_add(step) & (room - 1)) });
    // SAFETY: as above.
    let state = |place: *mut Charge| unsafe { AtomicU32::from_ptr(&raw mut (*place).state) };
    // SAFETY: as above.
    let is_it = |place: *mut Charge| unsafe {
        (*place).dev == file.dev && (*place).ino == file.ino && (*place).rule == rule as u32
    };
    let found = places()
        .take_while(|place| state(*place).load(Ordering::Acquire) != FREE)
        .find(|place| state(*place).load(Ordering::Acquire) == READY && is_it(*place));
    if found.is_some() || !make {
        return found;
    }
    let claim = |from: u32| {
        move |place: &*mut Charge| {
            // SAFETY: as above; an account without blocks is nobody's.
            let is_idle = from == FREE || unsafe { blocks(*place) }.load(Ordering::Relaxed) == 0;
            is_idle && state(*place).compare_exchange(from, WRITING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }
    };
    let place = places().find(claim(FREE)).or_else(|| places().find(claim(READY)))?;
    // SAFETY: winning the state made it ours until it is ready.
    unsafe { *place = Charge { state: WRITING, rule: rule as u32, dev: file.dev, ino: file.ino, ..Charge::default() } };
    state(place).store(READY, Ordering::Release);
    Some(place)
}

/// # Safety
/// `place` must be an account of the session.
pub(super) unsafe fn blocks<'a>(place: *mut Charge) -> &'a AtomicU64 {
    // SAFETY: inside the mapping, aligned, and only used atomically.
    unsafe { AtomicU64::from_ptr(&raw mut (*place).blocks) }
}

/// # Safety
/// As for [`blocks`].
pub(super) unsafe fn keeper<'a>(place: *mut Charge) -> &'a AtomicU32 {
    // SAFETY: as above.
    unsafe { AtomicU32::from_ptr(&raw mut (*place).keeper) }
}

pub(super) fn charge(session: &Session, file: File, rule: usize, added: u64, is_nameless: bool) {
    if added != 0
        && let Some(place) = account(session, file, rule, true)
    {
        // SAFETY: an account of the session.
        unsafe {
            blocks(place).fetch_add(added, Ordering::Relaxed);
            if is_nameless {
                keeper(place).store(sys::getpid(), Ordering::Relaxed);
            }
        }
    }
}

/// Gives back up to `most` blocks of one account.
pub(super) fn give_back(session: &Session, rule: usize, place: *mut Charge, most: u64) {
    // SAFETY: an account of the session.
    let before = unsafe { blocks(place) }
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |blocks| Some(blocks.saturating_sub(most)));
    let freed = before.unwrap_or(0).min(most);
    let _ =
        used(session, rule).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(freed)));
}

/// The accounts of a file.
pub(super) fn accounts(session: &Session, file: File) -> impl Iterator<Item = (usize, *mut Charge)> {
    bits(session.disk()).filter_map(move |rule| Some((rule, account(session, file, rule, false)?)))
}

pub(super) fn credit(session: &Session, file: File, most: u64) {
    for (rule, place) in accounts(session, file) {
        give_back(session, rule, place, most);
    }
}

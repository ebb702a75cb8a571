//! Finding records in slots that anybody may have written: of the ring, and of the drained log.

use chaos_table::record::{CONT, CONT_TEXT, Continuation, MAX_TEXT, Record, SLOT, kind, slots_for, status};

/// The most slots that a record may take.
pub const MAX_SLOTS: usize = slots_for(MAX_TEXT);

/// What stands at a place of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A complete record of so many slots.
    Complete(usize),
    /// A record whose slots lie beyond what was read.
    Beyond,
    /// Claimed, not published.
    Unpublished,
    /// An injection by this process whose caller has not seen its effect.
    Unfinished(usize, u32),
}

/// What stands at the start of `slots`, which is ring index `index`.
#[must_use]
pub fn look(slots: &[u8], index: u64) -> Seen {
    let Some(record) = slots.get(..SLOT).map(bytemuck::pod_read_unaligned::<Record>) else { return Seen::Beyond };
    let taken = usize::from(record.slots);
    if record.commit != index.wrapping_add(1) || taken == 0 || taken > MAX_SLOTS {
        return Seen::Unpublished;
    }
    let Some(rest) = slots.get(SLOT..taken * SLOT) else { return Seen::Beyond };
    // A spoiled log may say any number.
    let numbers = (2u64..).map(|number| index.wrapping_add(number) | CONT);
    let whole = rest.chunks_exact(SLOT).zip(numbers).all(|(slot, commit)| commit_of(slot) == commit);
    match record.status {
        _ if !whole => Seen::Unpublished,
        status::FIRED if record.kind == kind::INJECTION => Seen::Unfinished(taken, record.pid),
        _ => Seen::Complete(taken),
    }
}

/// The slots of a record with its text, numbered from ring index `index`.
#[must_use]
pub fn join_record(index: u64, mut record: Record, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(MAX_TEXT)];
    // At most MAX_SLOTS.
    record.slots = slots_for(text.len()) as u8;
    record.commit = index + 1;
    let mut slots = bytemuck::bytes_of(&record).to_vec();
    for (number, part) in (index + 2..).zip(text.chunks(CONT_TEXT)) {
        let mut slot = Continuation { commit: number | CONT, text: [0; CONT_TEXT] };
        slot.text[..part.len()].copy_from_slice(part);
        slots.extend_from_slice(bytemuck::bytes_of(&slot));
    }
    slots
}

/// The `commit` of a slot.
#[must_use]
pub fn commit_of(slot: &[u8]) -> u64 {
    slot.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The record at the start of `slots`, its text without the filling, and what follows; `None` at the end.
#[must_use]
pub fn split_record(slots: &[u8]) -> Option<(Record, Vec<u8>, &[u8])> {
    let record: Record = bytemuck::pod_read_unaligned(slots.get(..SLOT)?);
    let taken = usize::from(record.slots).clamp(1, MAX_SLOTS);
    let rest = slots.get(SLOT..taken * SLOT)?;
    let mut text: Vec<u8> = rest.chunks_exact(SLOT).flat_map(|slot| slot[8..].iter().copied()).collect();
    let filled = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    text.truncate(filled);
    Some((record, text, &slots[taken * SLOT..]))
}

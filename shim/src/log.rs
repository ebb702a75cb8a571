//! Writing a record: claim slots of the ring, fill them, publish.
//!
//! Claiming is a compare-and-swap that never goes past what the launcher has drained; publishing is one release store
//! of the slot's own number. A process that dies in between leaves slots that nobody takes for a record.

use crate::guard::Thread;
use crate::session::Session;
use crate::{clock, sys, tree};
use chaos_table::record::{CONT, CONT_TEXT, Continuation, MAX_TEXT, Record, kind, slots_for, status};
use chaos_table::session::{Header, ThreadSlot, kept_from};
use std::mem::offset_of;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How long a full ring is waited for, in steps of a millisecond.
const FULL_PATIENCE_MS: u32 = 1000;

/// A published injection whose end is still to be told: ring index, how the end is told, rule. One word, since it is
/// moved about while a fault is carried out.
#[derive(Clone, Copy)]
pub struct Ticket(NonZeroU64);

/// The end of an injection is told in its own slot, in a moment.
const IN_PLACE: u64 = 1;
/// By a record of its own: by then the slot may be another's.
const APART: u64 = 2;
/// It has been.
const DONE: u64 = 3;

/// Publishes a record; `None` when the log is full: then what it tells of must not happen.
///
/// `record` says what happened; when, where and by whom is filled in, by whom only where no pid is given. `texts` are joined; with more than one each is ended by NUL.
#[unsafe(link_section = ".text.chaos_start")]
pub fn publish(session: &Session, thread: &Thread, record: &mut Record, texts: &[&[u8]]) -> Option<Ticket> {
    let ends = usize::from(texts.len() > 1);
    let length: usize = texts.iter().map(|text| text.len() + ends).sum();
    let slots = slots_for(length);
    let index = claim(session, slots as u64, kept_from(record.kind, session.ring_slots()))?;
    record.commit = 0;
    let now = match record.kind {
        kind::PROCESS if record.pid == tree::me().pid() => clock::first_look(),
        // A thread's anchor is kept for its injections: storing it would cost a parent that has just forked a page.
        kind::PROCESS => clock::exact(),
        _ => clock::stamp(thread),
    };
    record.at_ns = now.saturating_sub(session.start_ns);
    if record.kind == kind::INJECTION && thread.slot.get() != 0 {
        let slot = thread.slot.get() as *mut ThreadSlot;
        // SAFETY: the thread's own slot, from `session.thread`.
        unsafe { (*slot).injections += 1 };
    }
    if record.pid == 0 {
        (record.pid, record.tid, record.process) = tree::who(thread);
    }
    record.slots = slots as u8;

    let at = session.ring(index).cast::<Record>();
    if slots > 1 {
        let mut bytes =
            texts.iter().flat_map(|text| text.iter().copied().chain(std::iter::repeat_n(0, ends))).take(MAX_TEXT);
        for slot in 1..slots as u64 {
            let mut part = Continuation { commit: (index + slot + 1) | CONT, text: [0; CONT_TEXT] };
            for (to, from) in part.text.iter_mut().zip(&mut bytes) {
                *to = from;
            }
            // SAFETY: the slot was claimed by us alone and lies inside the mapping.
            unsafe { session.ring(index + slot).cast::<Continuation>().write_volatile(part) };
        }
    }
    // SAFETY: as above; the commit word is stored last, with release.
    unsafe {
        at.write(*record);
        AtomicU64::from_ptr(&raw mut (*at).commit).store(index + 1, Ordering::Release);
    }
    let how = if record.status == status::PENDING { APART } else { IN_PLACE };
    Ticket::new(index, how, record.rule)
}

impl Ticket {
    fn new(index: u64, how: u64, rule: u16) -> Option<Ticket> {
        NonZeroU64::new(index << 8 | how << 6 | u64::from(rule & 63)).map(Ticket)
    }

    /// Ring index of the record.
    pub fn index(self) -> u64 {
        self.0.get() >> 8
    }

    /// Index of the rule.
    pub fn rule(self) -> usize {
        (self.0.get() & 63) as usize
    }

    /// As it is once delivery has been told: its slot may be another record's by now.
    pub fn told(self) -> Ticket {
        Ticket(self.0 | DONE << 6)
    }

    /// Tells that the caller now sees the effect, and what it gets.
    pub fn delivered(self, session: &Session, thread: &Thread, result: i64) {
        match self.0.get() >> 6 & 3 {
            IN_PLACE => self.deliver_in_place(session, result),
            APART => {
                let mut record = Record {
                    kind: kind::DELIVERY,
                    status: status::DELIVERED,
                    rule: (self.0.get() & 63) as u16,
                    nth: self.index(),
                    result,
                    ..Record::default()
                };
                publish(session, thread, &mut record, &[]);
            }
            _ => {}
        }
    }

    fn deliver_in_place(self, session: &Session, result: i64) {
        let record = session.ring(self.index()).cast::<Record>();
        // SAFETY: inside the mapping. The launcher leaves a FIRED slot to a living writer for a second; one that was
        // stopped for longer finds the slot's number changed, or writes into a slot that nobody has filled yet.
        unsafe {
            if AtomicU64::from_ptr(&raw mut (*record).commit).load(Ordering::Acquire) != self.index() + 1 {
                return;
            }
            (&raw mut (*record).result).write_volatile(result);
            AtomicU8::from_ptr(&raw mut (*record).status).store(status::DELIVERED, Ordering::Release);
        }
    }
}

/// Claims `count` consecutive slots, where `kept` more would be left.
fn claim(session: &Session, count: u64, kept: u64) -> Option<u64> {
    let mut waited = 0;
    let mut head = session.head().load(Ordering::Relaxed);
    loop {
        let used = head.wrapping_sub(session.tail().load(Ordering::Acquire));
        if used.saturating_add(count + kept) > session.ring_slots() {
            if !session.has_launcher || session.is_over() || waited >= FULL_PATIENCE_MS {
                session.counter(offset_of!(Header, suppressed)).fetch_add(1, Ordering::Relaxed);
                return None;
            }
            waited += 1;
            sys::sleep(1_000_000);
            head = session.head().load(Ordering::Relaxed);
            continue;
        }
        match session.head().compare_exchange_weak(head, head + count, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(head),
            Err(now) => head = now,
        }
    }
}

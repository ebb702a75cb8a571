//! Changing the table of a session while its tree runs, without a signal or a restart: rules are added, taken away and
//! changed in place, and every process sees it at its next call.
//!
//! A process reads without a lock. So whatever a new rule needs is written first, and its bit in the words that the calls
//! look at comes last: nobody sees part of a rule. Those who write hold the lock, a word with their pid.

mod add;
mod change;
mod unchanged;

pub use add::{Added, Adding, Why};
pub use change::change;
pub use unchanged::keeps_table;

use crate::calls::OPS;
use crate::record::SLOT;
use crate::rule::{Kinds, MAX_RULES, Matcher, OP_ROOM, PlanHeader, RULE_BITS, Rule, STAMP, STAMP_STEP, text_of};
use crate::session::{Header, Layout};
use bytemuck::{Pod, Zeroable};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A session file that is mapped, as bytes. Nothing in it is believed: what lies outside is refused.
pub trait Shared {
    /// Copies bytes out of it; false when they lie outside.
    fn read(&self, at: usize, into: &mut [u8]) -> bool;
    /// Copies bytes into it; false when they lie outside.
    fn write(&self, at: usize, bytes: &[u8]) -> bool;
    /// A word of 32 bits; `None` when it lies outside or is not aligned.
    fn word32(&self, at: usize) -> Option<&AtomicU32>;
    /// A word of 64 bits; `None` when it lies outside or is not aligned.
    fn word64(&self, at: usize) -> Option<&AtomicU64>;
    /// Wakes all who wait on a word of 32 bits as on a futex.
    fn wake(&self, word: &AtomicU32);
}

/// The table of a session in use.
pub struct Live<'a, S> {
    shared: &'a S,
    layout: Layout,
    start_ns: u64,
}

/// The table is its holder's to change until this is dropped.
#[must_use]
pub struct Held<'a> {
    word: &'a AtomicU32,
    pid: u32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Not when somebody has taken us for dead.
        let _ = self.word.compare_exchange(self.pid, 0, Ordering::Release, Ordering::Relaxed);
    }
}

/// So often the lock is tried for, a pause between.
const TRIES: u32 = 2000;

impl<'a, S: Shared> Live<'a, S> {
    /// The table of a session of `len` bytes.
    ///
    /// # Errors
    /// One sentence on what is wrong with the file.
    pub fn of(shared: &'a S, len: u64) -> Result<Live<'a, S>, String> {
        let header: Header = read(shared, 0).ok_or("it is too short")?;
        header.check(len)?;
        Ok(Live { shared, layout: header.layout, start_ns: header.start_mono_ns })
    }

    /// Takes the lock; `None` when somebody alive keeps it. `pause` waits for a millisecond.
    pub fn lock(&self, pid: u32, is_alive: impl Fn(u32) -> bool, pause: impl Fn()) -> Option<Held<'a>> {
        let word = self.shared.word32(offset_of!(Header, lock))?;
        for attempt in 1..=TRIES {
            let mut free = 0;
            let holder = word.load(Ordering::Relaxed);
            if holder != 0 && attempt % 50 == 0 && !is_alive(holder) {
                free = holder;
            }
            if word.compare_exchange(free, pid, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Held { word, pid });
            }
            pause();
        }
        None
    }

    fn plan(&self, field: usize) -> usize {
        self.layout.plan as usize + field
    }

    fn plan32(&self, field: usize) -> u32 {
        self.shared.word32(self.plan(field)).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn plan64(&self, field: usize) -> u64 {
        self.shared.word64(self.plan(field)).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn put32(&self, field: usize, value: u32) {
        if let Some(word) = self.shared.word32(self.plan(field)) {
            word.store(value, Ordering::SeqCst);
        }
    }

    fn set_bits(&self, field: usize, bits: u64) {
        if bits != 0
            && let Some(word) = self.shared.word64(self.plan(field))
        {
            word.fetch_or(bits, Ordering::SeqCst);
        }
    }

    fn clear_bits(&self, field: usize, bits: u64) {
        if let Some(word) = self.shared.word64(self.plan(field)) {
            word.fetch_and(!bits, Ordering::SeqCst);
        }
    }

    /// How many rules there are, those that were taken away among them.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        (self.plan32(offset_of!(PlanHeader, rule_count)) as usize).min(self.layout.rule_room as usize).min(MAX_RULES)
    }

    fn rule_at(&self, index: usize) -> usize {
        self.layout.rules as usize + index * size_of::<Rule>()
    }

    /// A rule as it is now.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<Rule> {
        (index < self.rule_count()).then(|| read(self.shared, self.rule_at(index))).flatten()
    }

    /// All rules, in their order.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        (0..self.rule_count()).filter_map(|index| self.rule(index)).collect()
    }

    fn text(&self) -> Vec<u8> {
        let len = self.plan32(offset_of!(PlanHeader, text_len)).min(self.layout.text_room);
        let mut text = vec![0; len as usize];
        if self.shared.read(self.layout.text as usize, &mut text) { text } else { Vec::new() }
    }

    fn matchers(&self) -> Vec<Matcher> {
        let count = self.plan32(offset_of!(PlanHeader, matcher_count)).min(self.layout.matcher_room);
        let at = |index: u32| self.layout.matchers as usize + index as usize * size_of::<Matcher>();
        (0..count).filter_map(|index| read(self.shared, at(index))).collect()
    }

    /// The names of the rules, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let text = self.text();
        self.rules().iter().map(|rule| text_of(&text, rule.name).to_owned()).collect()
    }

    /// Whether `protect` leaves nothing alone.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        self.plan32(offset_of!(PlanHeader, protect) + size_of::<u32>()) == 0
    }

    /// The user's working directory, where relative patterns begin.
    #[must_use]
    pub fn work_dir(&self) -> String {
        let span = read(self.shared, self.plan(offset_of!(PlanHeader, work_dir))).unwrap_or_default();
        match text_of(&self.text(), span) {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        }
    }

    /// Whether injection is switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.plan32(offset_of!(PlanHeader, enabled)) != 0
    }

    /// Whether the tree is armed.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.plan32(offset_of!(PlanHeader, armed)) != 0
    }

    /// ns that rules count from at a moment of CLOCK_MONOTONIC: since the start of the run, or since it was armed by its
    /// sign. 0 while it waits for that.
    #[must_use]
    pub fn run_time(&self, mono_ns: u64) -> u64 {
        if !self.is_armed() {
            return 0;
        }
        mono_ns.saturating_sub(self.start_ns).saturating_sub(self.plan64(offset_of!(PlanHeader, armed_ns)))
    }

    /// Faults that `max_faults` leaves; `None`: without limit.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        let limited = self.plan64(offset_of!(PlanHeader, max_faults)) != u64::MAX;
        let left = self.shared.word64(offset_of!(Header, budget))?.load(Ordering::Relaxed);
        limited.then_some(left)
    }

    /// ns that are left of the table's `for`, at a moment of CLOCK_MONOTONIC; `None`: without end.
    #[must_use]
    pub fn left(&self, mono_ns: u64) -> Option<u64> {
        let until = self.plan64(offset_of!(PlanHeader, until_ns));
        (until != u64::MAX).then(|| until.saturating_sub(self.run_time(mono_ns)))
    }

    /// Puts every rule in force that is not taken away.
    pub fn enable(&self) {
        self.put32(offset_of!(PlanHeader, enabled), 1);
        if self.is_armed() {
            self.put_in_force(RULE_BITS);
        }
        self.count_change();
    }

    /// Puts every rule out of force, but for monotonic clocks: those never go back.
    pub fn disable(&self) {
        self.put32(offset_of!(PlanHeader, enabled), 0);
        self.put_out_of_force(RULE_BITS & !self.plan64(offset_of!(PlanHeader, kinds) + offset_of!(Kinds, steady)));
        self.count_change();
    }

    /// Arms the tree at this moment of CLOCK_MONOTONIC, whatever sign it waits for; false when it is armed already.
    pub fn arm(&self, mono_ns: u64) -> bool {
        if self.is_armed() {
            return false;
        }
        if let Some(word) = self.shared.word64(self.plan(offset_of!(PlanHeader, armed_ns))) {
            word.store(mono_ns.saturating_sub(self.start_ns), Ordering::Relaxed);
        }
        let in_force = if self.is_enabled() { u64::MAX } else { !RULE_BITS };
        let all = || {
            for op in 0..OPS {
                self.set_bits(ops(op), self.plan64(planned(op)) & in_force);
            }
        };
        all();
        self.put32(offset_of!(PlanHeader, armed), 1);
        // A rule that was added meanwhile did not see that the tree is armed.
        all();
        self.count_change();
        true
    }

    /// Takes a rule out of force for good. Its counts stay.
    pub fn remove(&self, index: usize) {
        let bit = 1 << index;
        for op in 0..OPS {
            self.clear_bits(planned(op), bit);
        }
        self.put_out_of_force(bit);
        self.switch(index, false);
        self.count_change();
    }

    /// Takes a rule out of force until it is used again.
    pub fn pause(&self, index: usize) {
        self.switch(index, false);
        self.put_out_of_force(1 << index);
    }

    /// Puts another version of a rule in the place of it; its calls and patterns are the same.
    pub fn replace(&self, index: usize, rule: &Rule) {
        self.put(index, rule);
        self.count_change();
    }

    fn put(&self, index: usize, rule: &Rule) {
        let Some(before) = self.rule(index) else { return };
        self.put_out_of_force(1 << index);
        self.write_changed(self.rule_at(index), bytemuck::bytes_of(&before), bytemuck::bytes_of(rule));
        self.set_kinds(index, rule);
        // What threads have found out by the rule as it was is not used any more.
        if let Some(stamp) = self.shared.word64(self.plan(ops(STAMP))) {
            stamp.fetch_add(STAMP_STEP, Ordering::SeqCst);
        }
        if self.is_armed() && self.is_enabled() && rule.enabled != 0 {
            self.put_in_force(1 << index);
        }
    }

    /// Writes the words of a rule that differ, each in one piece.
    fn write_changed(&self, at: usize, before: &[u8], after: &[u8]) {
        for (offset, (old, new)) in (0..).step_by(8).zip(before.chunks_exact(8).zip(after.chunks_exact(8))) {
            if old != new
                && let Some(word) = self.shared.word64(at + offset)
            {
                word.store(new.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)), Ordering::Relaxed);
            }
        }
    }

    fn switch(&self, index: usize, on: bool) {
        if let Some(word) = self.shared.word32(self.rule_at(index) + offset_of!(Rule, enabled)) {
            word.store(u32::from(on), Ordering::SeqCst);
        }
    }

    fn set_kinds(&self, index: usize, rule: &Rule) {
        let limited = self.plan64(offset_of!(PlanHeader, until_ns)) != u64::MAX
            || self.plan64(offset_of!(PlanHeader, arm_ns)) != 0;
        let mut kinds = Kinds::zeroed();
        kinds.set(limited, index, rule);
        for (at, word) in bytemuck::cast_slice::<Kinds, u64>(&[kinds]).iter().enumerate() {
            let field = offset_of!(PlanHeader, kinds) + at * 8;
            if *word != 0 { self.set_bits(field, *word) } else { self.clear_bits(field, 1 << index) }
        }
    }

    fn put_in_force(&self, rules: u64) {
        let added = self.plan64(offset_of!(PlanHeader, added_rules));
        let is_on = |index: &usize| {
            let word = self.shared.word32(self.rule_at(*index) + offset_of!(Rule, enabled));
            word.is_some_and(|word| word.load(Ordering::Relaxed) != 0)
        };
        let on = (0..self.rule_count()).filter(is_on).fold(0, |bits, index| bits | 1 << index);
        for op in 0..OPS {
            let bits = self.plan64(planned(op)) & rules & on;
            self.set_bits(ops(op), bits);
            self.set_bits(later(op), bits & added);
        }
    }

    fn put_out_of_force(&self, rules: u64) {
        for op in 0..OPS {
            self.clear_bits(ops(op), rules);
            self.clear_bits(later(op), rules);
        }
    }

    fn count_change(&self) {
        if let Some(word) = self.shared.word32(offset_of!(Header, changes)) {
            word.fetch_add(1, Ordering::SeqCst);
            // What hangs looks whether it still has to.
            self.shared.wake(word);
        }
    }

    /// Claims slots of the ring for a record, unless it is full: the index of the first.
    #[must_use]
    pub fn claim(&self, slots: u64) -> Option<u64> {
        let (head, tail) =
            (self.shared.word64(offset_of!(Header, head))?, self.shared.word64(offset_of!(Header, tail))?);
        let mut at = head.load(Ordering::Relaxed);
        loop {
            if at.wrapping_sub(tail.load(Ordering::Acquire)).saturating_add(slots) > self.layout.ring_slots.into() {
                return None;
            }
            match head.compare_exchange_weak(at, at + slots, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(at),
                Err(now) => at = now,
            }
        }
    }

    /// Fills slots that were claimed with a record and its continuations, their `commit` last.
    pub fn publish(&self, index: u64, slots: &[u8]) {
        let ring_slots = u64::from(self.layout.ring_slots);
        let place = |index: u64| self.layout.ring as usize + (index % ring_slots) as usize * SLOT;
        // The first slot last: a reader begins there.
        for (number, slot) in slots.chunks_exact(SLOT).enumerate().rev() {
            let at = place(index + number as u64);
            let (commit, rest) = slot.split_at(8);
            self.shared.write(at + 8, rest);
            if let Some(word) = self.shared.word64(at) {
                word.store(commit.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)), Ordering::Release);
            }
        }
    }

    /// ns since the start of the run at a moment of CLOCK_MONOTONIC.
    #[must_use]
    pub fn since_start(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_sub(self.start_ns)
    }
}

const fn word_of(array: usize, op: usize) -> usize {
    array + if op < OP_ROOM { op } else { 0 } * 8
}

const fn ops(op: usize) -> usize {
    word_of(offset_of!(PlanHeader, ops), op)
}

const fn later(op: usize) -> usize {
    word_of(offset_of!(PlanHeader, added), op)
}

const fn planned(op: usize) -> usize {
    word_of(offset_of!(PlanHeader, planned), op)
}

fn read<T: Pod>(shared: &impl Shared, at: usize) -> Option<T> {
    let mut value = T::zeroed();
    shared.read(at, bytemuck::bytes_of_mut(&mut value)).then_some(value)
}

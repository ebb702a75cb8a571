//! The table as it is now: rules are added and changed while programs run.

use super::Shared;
use chaos_table::calls::{CALLS, OPS};
use chaos_table::rule::{MAX_RULES, Matcher, Plan, PlanHeader, Rule};
use chaos_table::session::Header;
use std::collections::BTreeSet;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

impl Shared {
    /// How often the table was changed while the program ran.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.word32(offset_of!(Header, changes)).load(Ordering::Acquire)
    }

    /// The whole table.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let at = self.layout.plan as usize;
        let count = |field: usize, room: u32| self.word32(at + field).load(Ordering::Acquire).min(room) as usize;
        let rules = count(offset_of!(PlanHeader, rule_count), self.layout.rule_room).min(MAX_RULES);
        let matchers = count(offset_of!(PlanHeader, matcher_count), self.layout.matcher_room);
        let text = count(offset_of!(PlanHeader, text_len), self.layout.text_room);
        let header = bytemuck::pod_read_unaligned(&self.bytes(self.layout.plan, size_of::<PlanHeader>()));
        let rules = self.bytes(self.layout.rules, rules * size_of::<Rule>());
        let matchers = self.bytes(self.layout.matchers, matchers * size_of::<Matcher>());
        Plan {
            header,
            rules: rules.chunks_exact(size_of::<Rule>()).map(bytemuck::pod_read_unaligned).collect(),
            matchers: matchers.chunks_exact(size_of::<Matcher>()).map(bytemuck::pod_read_unaligned).collect(),
            text: self.bytes(self.layout.text, text),
        }
    }

    /// Bytes of an area, which begins at a whole word.
    fn bytes(&self, at: u32, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).map(|word| self.word64(at as usize + word * 8).load(Ordering::Relaxed));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(len);
        bytes
    }

    /// A filter has come that asks about these system calls: what rules may be added later that it sees.
    pub fn note_filter(&self, asked: &BTreeSet<i64>) {
        let covers = |op: usize| {
            let mut calls = CALLS.get(op).into_iter().flat_map(|call| super::super::ops::syscalls(call.op)).peekable();
            calls.peek().is_some() && calls.all(|call| asked.contains(&call))
        };
        let filters = self.word32(offset_of!(Header, filters));
        let is_first = filters.load(Ordering::Relaxed) == 0;
        for word in 0..OPS.div_ceil(64) {
            let bits = (0..64).filter(|bit| covers(word * 64 + bit)).fold(0u64, |bits, bit| bits | 1 << bit);
            let place = self.word64(offset_of!(Header, filtered) + word * 8);
            if is_first {
                place.store(bits, Ordering::Relaxed);
            } else {
                place.fetch_and(bits, Ordering::Relaxed);
            }
        }
        filters.fetch_add(1, Ordering::Release);
    }

    /// Nobody is under a filter any more that was noted.
    pub fn forget_filter(&self) {
        self.word32(offset_of!(Header, filters)).fetch_sub(1, Ordering::Relaxed);
    }
}

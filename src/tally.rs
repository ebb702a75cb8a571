//! What a run has collected, for its summary.

use crate::coverage::Census;
use crate::log_events::is_wait;
use chaos_table::record::{Record, kind, status};
use chaos_table::rule::MAX_RULES;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Different escapes that are remembered for the summary; the log has them all.
const MAX_ESCAPES: usize = 64;
/// Marks that are kept for who asks for them.
const MAX_MARKS: usize = 1024;
/// Callers that wait at a time and are known by their injection; a spoiled log may hold any number of them.
const MAX_WAITING: usize = 1 << 16;

/// What has been collected so far.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Injections recorded, for each rule.
    pub fired: [u64; MAX_RULES],
    /// Injections whose effect the caller saw, for each rule.
    pub delivered: [u64; MAX_RULES],
    /// Processes that came under the table; one that execs is still one: pid -> number of its image, its program.
    pub processes: HashMap<u32, (u32, String)>,
    /// pid and name of those that nobody has asked for yet.
    pub newcomers: Vec<(u32, String)>,
    /// Marks that nobody has asked for yet, the first of them.
    pub new_marks: Vec<String>,
    /// (reason, program) and how often.
    pub escapes: BTreeMap<(String, String), u64>,
    /// Which engine had whom.
    pub census: Census,
    /// Escapes in all.
    pub escape_count: u64,
    /// Slots that were claimed and never published.
    pub skipped: u64,
    /// Ring indices of the injections whose callers wait: they are counted as delivered already.
    waiting: HashSet<u64>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Tally {
        Tally {
            fired: [0; MAX_RULES],
            delivered: [0; MAX_RULES],
            processes: HashMap::new(),
            newcomers: Vec::new(),
            new_marks: Vec::new(),
            escapes: BTreeMap::new(),
            census: Census::default(),
            escape_count: 0,
            skipped: 0,
            waiting: HashSet::new(),
        }
    }

    /// Injections in all.
    #[must_use]
    pub fn all_fired(&self) -> u64 {
        self.fired.iter().sum()
    }

    /// Delivered injections in all.
    #[must_use]
    pub fn all_delivered(&self) -> u64 {
        self.delivered.iter().sum()
    }

    /// Counts a record.
    pub fn count(&mut self, record: &Record, text: &[u8]) {
        let rule = usize::from(record.rule);
        let add = |counts: &mut [u64; MAX_RULES]| {
            if let Some(count) = counts.get_mut(rule) {
                *count += 1;
            }
        };
        match record.kind {
            kind::PROCESS => {
                let program = text.split(|byte| *byte == 0).nth(1).unwrap_or_default();
                let program = String::from_utf8_lossy(program).into_owned();
                self.newcomers.push((record.pid, program.clone()));
                self.processes.insert(record.pid, (record.process, program));
                self.census.came(record.pid, record.process, record.effect.cast_unsigned(), record.fault.into());
            }
            kind::INJECTION => {
                add(&mut self.fired);
                let waits = is_wait(record) && self.waiting.len() < MAX_WAITING;
                if waits {
                    self.waiting.insert(record.commit.wrapping_sub(1));
                }
                if waits || record.status == status::DELIVERED {
                    add(&mut self.delivered);
                }
            }
            kind::DELIVERY if !self.waiting.remove(&record.nth) => add(&mut self.delivered),
            kind::ESCAPE => {
                self.escape_count += 1;
                let mut parts = text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
                let key: (String, String) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                self.census.escaped(record.pid, record.effect, &key.0);
                if self.escapes.len() < MAX_ESCAPES || self.escapes.contains_key(&key) {
                    *self.escapes.entry(key).or_default() += 1;
                }
            }
            kind::MARK if self.new_marks.len() < MAX_MARKS => {
                self.new_marks.push(String::from_utf8_lossy(text).into_owned());
            }
            // UNSUITABLE is counted in the session; what no build writes is not counted at all.
            _ => {}
        }
    }
}

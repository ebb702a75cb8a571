//! Drains published records from the ring of a running session into `log.bin`, and keeps the tally for the summary.
//!
//! The writer of a record claims slots, fills them, and publishes by storing `commit` last. So what pread shows is
//! complete when it is read again after its `commit` was seen. Nothing read from the file is believed: a spoiled
//! session may lose its own log, never the launcher.

use crate::session_file::SessionFile;
use chaos_table::record::{CONT, MAX_TEXT, Record, SLOT, kind, slots_for, status};
use chaos_table::rule::MAX_RULES;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a claimed slot may stay unpublished, or an injection undelivered, before the log goes on without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Slots that are read at once.
const CHUNK: u64 = 1024;
/// Different escapes that are remembered for the summary; the log has them all.
const MAX_ESCAPES: usize = 64;
/// The most slots that a record may take.
pub const MAX_SLOTS: usize = slots_for(MAX_TEXT);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What has been collected so far.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Injections recorded, for each rule.
    pub fired: [u64; MAX_RULES],
    /// Injections whose effect the caller saw, for each rule.
    pub delivered: [u64; MAX_RULES],
    /// Process images that came under the table.
    pub processes: u64,
    /// (reason, program) and how often.
    pub escapes: BTreeMap<(String, String), u64>,
    /// Escapes in all.
    pub escape_count: u64,
    /// Slots that were claimed and never published.
    pub skipped: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            fired: [0; MAX_RULES],
            delivered: [0; MAX_RULES],
            processes: 0,
            escapes: BTreeMap::new(),
            escape_count: 0,
            skipped: 0,
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

    fn count(&mut self, record: &Record, text: &[u8]) {
        let rule = usize::from(record.rule);
        let add = |counts: &mut [u64; MAX_RULES]| {
            if let Some(count) = counts.get_mut(rule) {
                *count += 1;
            }
        };
        match record.kind {
            kind::PROCESS => self.processes += 1,
            kind::INJECTION => {
                add(&mut self.fired);
                if record.status == status::DELIVERED {
                    add(&mut self.delivered);
                }
            }
            kind::DELIVERY => add(&mut self.delivered),
            kind::ESCAPE => {
                self.escape_count += 1;
                let mut parts = text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
                let key = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                if self.escapes.len() < MAX_ESCAPES || self.escapes.contains_key(&key) {
                    *self.escapes.entry(key).or_default() += 1;
                }
            }
            // UNSUITABLE is counted in the session; what no build writes is not counted at all.
            _ => {}
        }
    }
}

/// Whether writers may still be at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    /// Some process of the tree lives.
    Alive,
    /// None does: what is not published now will never be.
    Gone,
}

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

/// The slot that holds up the drain.
#[derive(Clone, Copy, Debug)]
struct Stuck {
    /// Every slot below this had been claimed when the wait began.
    below: u64,
    since: Instant,
}

/// Moves records from the ring to `log.bin`.
pub struct Collector {
    session: SessionFile,
    log: File,
    log_len: u64,
    tail: u64,
    stuck: Option<Stuck>,
    pause: Duration,
    buffer: Vec<u8>,
    tally: Tally,
    damage: Option<String>,
    log_error: Option<String>,
}

impl Collector {
    /// Starts with an empty log.
    #[must_use]
    pub fn new(session: SessionFile, log: File) -> Collector {
        Collector {
            session,
            log,
            log_len: 0,
            tail: 0,
            stuck: None,
            pause: SHORTEST_PAUSE,
            buffer: Vec::new(),
            tally: Tally::new(),
            damage: None,
            log_error: None,
        }
    }

    /// The session that is being drained.
    #[must_use]
    pub fn session(&self) -> &SessionFile {
        &self.session
    }

    /// What has been collected so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is wrong with the session, or with writing its log.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.damage.as_deref().or(self.log_error.as_deref())
    }

    /// How long to wait before the next drain: short while records flow.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Copies what is published to the log, at most one ring of it.
    pub fn drain(&mut self, tree: Tree) {
        if self.damage.is_some() {
            self.pause = LONGEST_PAUSE;
            return;
        }
        let before = self.tail;
        match self.drain_ring(tree) {
            Ok(()) => {}
            Err(trouble) => self.damage = Some(trouble),
        }
        let drained = self.tail - before;
        self.pause = if drained >= self.session.ring_slots() / 2 {
            Duration::ZERO
        } else if drained > 0 || self.stuck.is_some() {
            SHORTEST_PAUSE
        } else {
            (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
        };
    }

    /// Drains until nothing is left that could be drained; waits for what writers that still live are about to publish.
    pub fn drain_to_the_end(&mut self, tree: Tree) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE * 2 {
            self.drain(tree);
            let left = self.session.head().is_ok_and(|head| head != self.tail);
            if !left || self.trouble().is_some() {
                return;
            }
            std::thread::sleep(self.pause);
        }
    }

    fn drain_ring(&mut self, tree: Tree) -> Result<(), String> {
        let gone = |error: std::io::Error| format!("the session file was damaged while the program ran: {error}");
        let head = self.session.head().map_err(gone)?;
        let waiting = head.checked_sub(self.tail).filter(|waiting| *waiting <= self.session.ring_slots());
        if waiting.is_none() {
            return Err(format!("the session file was damaged while the program ran: head {head}, tail {}", self.tail));
        }
        while self.tail < head {
            let count = (head - self.tail).min(CHUNK);
            // At most CHUNK slots.
            self.buffer.resize(count as usize * SLOT, 0);
            self.session.read_slots(self.tail, &mut self.buffer).map_err(gone)?;
            let (ready, blocked) = self.ready(tree, head);
            if ready > 0 {
                self.buffer.truncate(ready * SLOT);
                // Read again, now that `commit` and `status` have been seen: what was stored before them is there.
                self.session.read_slots(self.tail, &mut self.buffer).map_err(gone)?;
                if !self.append() {
                    return Ok(());
                }
                self.tail += ready as u64;
                self.session.set_tail(self.tail).map_err(gone)?;
            }
            if !blocked {
                continue;
            }
            if ready == 0 {
                if !self.give_up_on(tree, head) {
                    return Ok(());
                }
                self.tail += 1;
                self.tally.skipped += 1;
                self.session.set_tail(self.tail).map_err(gone)?;
            }
        }
        self.stuck = None;
        Ok(())
    }

    /// How many slots from the start of the buffer can be logged, and whether something then blocks.
    fn ready(&self, tree: Tree, head: u64) -> (usize, bool) {
        let slots = self.buffer.len() / SLOT;
        let mut at = 0;
        while at < slots {
            match look(&self.buffer[at * SLOT..], self.tail + at as u64) {
                Seen::Complete(taken) => at += taken,
                // A record that would reach past what is claimed is a spoiled one.
                Seen::Beyond => return (at, at == 0 && slots as u64 == head - self.tail),
                Seen::Unfinished(taken, pid) => {
                    if tree == Tree::Alive && !self.waited_for(self.tail + at as u64) && lives(pid) {
                        return (at, true);
                    }
                    at += taken;
                }
                Seen::Unpublished => return (at, true),
            }
        }
        (at, false)
    }

    /// Whether the slot has been claimed for longer than anybody needs to fill it.
    fn waited_for(&self, index: u64) -> bool {
        self.stuck.is_some_and(|stuck| index < stuck.below && stuck.since.elapsed() > PATIENCE)
    }

    /// Whether to skip the slot at the tail; starts the wait for it when there is none yet.
    fn give_up_on(&mut self, tree: Tree, head: u64) -> bool {
        if tree == Tree::Gone || self.waited_for(self.tail) {
            return true;
        }
        if self.stuck.is_none_or(|stuck| self.tail >= stuck.below) {
            self.stuck = Some(Stuck { below: head, since: Instant::now() });
        }
        false
    }

    /// Appends the buffer to the log and counts it; false when the log cannot be written now.
    fn append(&mut self) -> bool {
        if let Err(error) = self.log.write_all(&self.buffer) {
            // Nothing half-written: the records stay in the ring, and the next drain tries again.
            let _ = self.log.set_len(self.log_len);
            self.log_error = Some(format!("the log could not be written: {error}"));
            return false;
        }
        self.log_error = None;
        self.log_len += self.buffer.len() as u64;
        let mut rest = self.buffer.as_slice();
        while let Some((record, text, after)) = split_record(rest) {
            self.tally.count(&record, &text);
            rest = after;
        }
        true
    }
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
    let whole = rest.chunks_exact(SLOT).zip(index + 2..).all(|(slot, commit)| commit_of(slot) == commit | CONT);
    match record.status {
        _ if !whole => Seen::Unpublished,
        status::FIRED if record.kind == kind::INJECTION => Seen::Unfinished(taken, record.pid),
        _ => Seen::Complete(taken),
    }
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

/// Whether a process still runs; a zombie does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|end| stat[end..].chars().nth(2));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

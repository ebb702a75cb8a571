//! Drains published records from the ring of a running session into `log.bin`, and keeps the tally for the summary.
//!
//! The writer of a record claims slots, fills them, and publishes by storing `commit` last. So what pread shows is
//! complete when it is read again after its `commit` was seen. Nothing read from the file is believed: a spoiled
//! session may lose its own log, never the launcher.

use crate::facts::LimitReached;
use crate::session_file::SessionFile;
use crate::slots::{Seen, join_record, look, split_record};
use crate::tally::Tally;
use chaos_table::record::{OWN, Record, SLOT};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a claimed slot may stay unpublished, or an injection undelivered, before the log goes on without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Slots that are read at once.
const CHUNK: u64 = 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Also how long a process must live for its death to be seen when a parent of its own reaps it.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Whether writers may still be at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    /// Some process of the tree lives.
    Alive,
    /// None does: what is not published now will never be.
    Gone,
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
    /// So many bytes of log end the injection: a fault in a busy loop would fill the disk.
    limit: u64,
    /// When the log reached its limit, ns since the start of the run.
    full_ns: Option<u64>,
    tail: u64,
    /// Slots that the launcher itself has written.
    own: u64,
    stuck: Option<Stuck>,
    pause: Duration,
    buffer: Vec<u8>,
    tally: Tally,
    damage: Option<String>,
    log_error: Option<String>,
    /// Whether the launcher itself is telling how an injection ended: for a process that may be gone by then.
    is_telling: Box<dyn Fn() -> bool>,
}

impl Collector {
    /// Starts with an empty log, which ends the injection when it has `limit` bytes.
    #[must_use]
    pub fn new(session: SessionFile, log: File, limit: u64) -> Collector {
        Collector {
            session,
            log,
            log_len: 0,
            limit,
            full_ns: None,
            tail: 0,
            own: 0,
            stuck: None,
            pause: SHORTEST_PAUSE,
            buffer: Vec::new(),
            tally: Tally::new(),
            damage: None,
            log_error: None,
            is_telling: Box::new(|| false),
        }
    }

    /// Another writer of records than the processes in whose names they are.
    pub fn heed(&mut self, is_telling: Box<dyn Fn() -> bool>) {
        self.is_telling = is_telling;
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

    /// pid and name of the processes that came under the table since this was last asked.
    pub fn newcomers(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.tally.newcomers)
    }

    /// Marks that were set since this was last asked.
    pub fn new_marks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tally.new_marks)
    }

    /// What is wrong with the session, or with writing its log.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.damage.as_deref().or(self.log_error.as_deref())
    }

    /// Whether everything that was claimed has been logged.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.trouble().is_none() && self.session.head().is_ok_and(|head| head == self.tail)
    }

    /// When the log reached its limit, so that injection ended, in ns since the start of the run, and that limit.
    #[must_use]
    pub fn limit_reached(&self) -> Option<LimitReached> {
        self.full_ns.map(|at_ns| LimitReached { bytes: self.limit, at_ns })
    }

    fn is_full(&self) -> bool {
        self.log_len >= self.limit
    }

    /// How long to wait before the next drain: short while records flow.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Writes down what the launcher itself does; the number of the record, `None` when the log cannot be written now.
    pub fn add(&mut self, record: Record, text: &[u8]) -> Option<u64> {
        let index = OWN | self.own;
        self.buffer = join_record(index, record, text);
        // A number for each slot, as in the ring.
        self.own += self.buffer.len() as u64 / SLOT as u64;
        self.append().then_some(index)
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
                    if tree == Tree::Alive
                        && !self.waited_for(self.tail + at as u64)
                        && (lives(pid) || (self.is_telling)())
                    {
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
        if self.is_full() {
            // What is in the ring already still comes; when this fails, the next append tries again.
            let _ = self.session.disarm();
        }
        let mut rest = self.buffer.as_slice();
        let mut last_ns = 0;
        while let Some((record, text, after)) = split_record(rest) {
            self.tally.count(&record, &text);
            last_ns = record.at_ns.max(last_ns);
            rest = after;
        }
        if self.is_full() {
            self.full_ns.get_or_insert(last_ns);
        }
        true
    }
}

/// Whether a process still runs; a zombie does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|end| stat[end..].chars().nth(2));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, injection};
    use chaos_table::record::status;

    fn collector(fake: &Fake) -> Collector {
        Collector::new(fake.open(), fake.log(), u64::MAX)
    }

    fn logged(fake: &Fake) -> Vec<(Record, Vec<u8>)> {
        let bytes = std::fs::read(fake.log_path()).unwrap();
        let mut rest = bytes.as_slice();
        let mut all = Vec::new();
        while let Some((record, text, after)) = split_record(rest) {
            all.push((record, text));
            rest = after;
        }
        all
    }

    #[test]
    fn many_laps_of_the_ring_lose_nothing() {
        let mut fake = Fake::new();
        let mut collector = collector(&fake);
        let mut written = 0;
        // Texts of every length, so that records lie across chunks and across the end of the ring.
        while written < fake.ring_slots() {
            for _ in 0..fake.ring_slots() / 21 {
                let text = vec![b'x'; (written % 1000) as usize];
                fake.write(injection(written), &text);
                written += 1;
            }
            collector.drain(Tree::Alive);
        }
        let logged = logged(&fake);
        assert_eq!(logged.len() as u64, written);
        for (number, (record, text)) in (0..).zip(&logged) {
            assert_eq!((record.nth, text.len() as u64), (number, number % 1000));
        }
        assert_eq!(collector.tally().delivered[0], written);
        assert_eq!(fake.open().tail().unwrap(), fake.open().head().unwrap());
    }

    #[test]
    fn what_the_launcher_did_stands_among_what_the_tree_did() {
        let mut fake = Fake::new();
        let mut collector = collector(&fake);
        fake.write(injection(1), b"/a");
        collector.drain(Tree::Alive);
        assert!(collector.add(injection(7), &[b'w'; 300]).is_some());
        assert!(collector.add(injection(8), b"").is_some());
        fake.write(injection(2), b"/b");
        collector.drain(Tree::Alive);
        let seen: Vec<(u64, usize)> = logged(&fake).iter().map(|(record, text)| (record.nth, text.len())).collect();
        assert_eq!(seen, [(1, 2), (7, 300), (8, 0), (2, 2)]);
        assert_eq!(collector.tally().delivered[0], 4);
        fake.describe();
        let source = crate::log_reader::Source::find(Some(fake.dir.path())).unwrap();
        let mut reader = source.reader().unwrap();
        let read: Vec<u64> = std::iter::from_fn(|| reader.next_record()).map(|(_, record, _)| record.nth).collect();
        assert_eq!((read, reader.damaged()), (vec![1, 7, 8, 2], 0));
    }

    #[test]
    fn what_was_claimed_by_a_dead_writer_is_left_out_and_the_rest_is_kept() {
        let mut fake = Fake::new();
        let mut collector = collector(&fake);
        fake.write(injection(1), b"/a");
        fake.claim(5);
        fake.write(injection(2), b"/b");
        collector.drain(Tree::Alive);
        assert_eq!(logged(&fake).len(), 1, "the second waits for the slots before it");
        std::thread::sleep(PATIENCE + Duration::from_millis(50));
        collector.drain(Tree::Alive);
        assert_eq!(logged(&fake).len(), 2, "five slots are waited for once, not five times");
        fake.claim(1);
        fake.write(injection(3), b"");
        collector.drain(Tree::Gone);
        assert_eq!(logged(&fake).len(), 3, "nobody is left to wait for");
        assert_eq!(collector.tally().skipped, 6);
    }

    #[test]
    fn an_injection_is_waited_for_until_it_is_delivered_or_its_process_is_dead() {
        let mut fake = Fake::new();
        let mut collector = collector(&fake);
        let fired = Record { status: status::FIRED, ..injection(1) };
        let index = fake.write(fired, b"/a");
        collector.drain(Tree::Alive);
        assert!(logged(&fake).is_empty());
        fake.publish(index, injection(1), b"/a");
        collector.drain(Tree::Alive);
        assert_eq!(logged(&fake)[0].0.status, status::DELIVERED);

        // No pid is that large.
        fake.write(Record { pid: u32::MAX, ..fired }, b"");
        collector.drain(Tree::Alive);
        assert_eq!(logged(&fake)[1].0.status, status::FIRED);
        assert_eq!((collector.tally().fired[0], collector.tally().delivered[0]), (2, 1));
    }

    #[test]
    fn a_spoiled_session_ends_the_drain_and_not_the_launcher() {
        for head in [u64::MAX, 1 << 40] {
            let mut fake = Fake::new();
            let mut collector = collector(&fake);
            fake.set_head(head);
            collector.drain(Tree::Alive);
            assert!(collector.trouble().is_some());
        }
        let fake = Fake::new();
        let mut collector = collector(&fake);
        File::options().write(true).open(fake.dir.path().join("session")).unwrap().set_len(10).unwrap();
        collector.drain(Tree::Alive);
        assert!(collector.trouble().unwrap().contains("damaged"));
    }

    #[test]
    fn random_slots_are_never_records_and_never_end_the_launcher() {
        let mut fake = Fake::new();
        let mut collector = collector(&fake);
        let slots = fake.ring_slots();
        fake.claim(slots);
        let mut noise = chaos_table::decide::Derived(7);
        for index in 0..slots {
            let mut slot: Vec<u8> = (0..8).flat_map(|_| noise.next().to_le_bytes()).collect();
            if index % 3 == 0 {
                slot[..8].copy_from_slice(&(index + 1).to_le_bytes());
            }
            fake.put(index, &slot);
        }
        collector.drain(Tree::Gone);
        assert_eq!(fake.open().tail().unwrap(), slots);
        // Only records of one slot, whatever they say, can have come through.
        assert!(logged(&fake).iter().all(|(record, _)| record.slots == 1));
    }
}

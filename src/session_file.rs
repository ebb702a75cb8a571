//! Reading a session file that a hostile target may have spoiled: only by pread and pwrite, never through a mapping,
//! and never past what its checked layout allows.

use bytemuck::{Pod, Zeroable};
use chaos_table::calls::{FaultKind, Op};
use chaos_table::latency;
use chaos_table::live::keeps_table;
use chaos_table::record::{CONT, SLOT};
use chaos_table::rule::{PlanHeader, Rule, flag, text_of};
use chaos_table::session::{Header, OWNER_DIED, ProcessSlot, ThreadCounters, ThreadSlot, TreeCounters, slot_state};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of counters that are read at once.
const COUNTERS_AT_ONCE: usize = 1 << 14;
/// Letters of a rule's name or label that are shown.
const MAX_NAME: usize = 200;

/// What the log says about a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLabel {
    /// Its name.
    pub name: String,
    /// What it does.
    pub fault: String,
    /// The table's own label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The table's own label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether no call triggers it: the launcher does it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_launcher: bool,
}

/// What the tree counted for a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Matches.
    pub matched: u64,
    /// Matches that `protect` kept away.
    pub protected: u64,
    /// Fired where no kernel could produce the fault.
    pub unsuitable: u64,
}

impl From<RuleCounters> for crate::facts::Counted {
    fn from(counters: RuleCounters) -> crate::facts::Counted {
        let RuleCounters { matched, protected, unsuitable } = counters;
        crate::facts::Counted { matched, protected, unsuitable }
    }
}

/// An open session file whose header has been checked.
#[derive(Debug)]
pub struct SessionFile {
    file: File,
    /// As it was when the file was opened; the layout is never read again.
    header: Header,
}

impl SessionFile {
    /// Opens a session file to read it.
    ///
    /// # Errors
    /// A sentence that completes "PATH: ".
    pub fn open(path: &Path) -> Result<SessionFile, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        SessionFile::from_file(file)
    }

    /// Takes a session file that is already open.
    ///
    /// # Errors
    /// A sentence that completes "PATH: ".
    pub fn from_file(file: File) -> Result<SessionFile, String> {
        let meta = file.metadata().map_err(|error| error.to_string())?;
        if !meta.is_file() {
            return Err("it is no file".into());
        }
        let header: Header = match read_pod(&file, 0) {
            Ok(header) => header,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err("it is not a chaos-exec session".into());
            }
            Err(error) => return Err(error.to_string()),
        };
        header.check(meta.len())?;
        Ok(SessionFile { file, header })
    }

    /// How many slots the ring has.
    #[must_use]
    pub fn ring_slots(&self) -> u64 {
        u64::from(self.header.layout.ring_slots)
    }

    /// Next slot to be claimed, now.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn head(&self) -> io::Result<u64> {
        read_pod(&self.file, offset_of!(Header, head) as u64)
    }

    /// First slot that is not yet drained, now.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn tail(&self) -> io::Result<u64> {
        read_pod(&self.file, offset_of!(Header, tail) as u64)
    }

    /// Whether `head` and `tail` make sense together.
    ///
    /// # Errors
    /// A sentence that completes "PATH: ".
    pub fn check_ring(&self) -> Result<(), String> {
        let numbers = || self.tail().and_then(|tail| Ok((tail, self.head()?))).map_err(|error| error.to_string());
        let mut fits = Ok(());
        // While a run goes on the tail may move between the two reads, so a bad pair is looked at again.
        for _ in 0..3 {
            let (tail, head) = numbers()?;
            let waiting = head.checked_sub(tail).filter(|waiting| *waiting <= self.ring_slots() && head < CONT / 2);
            match waiting {
                Some(_) => return Ok(()),
                None => fits = Err(format!("its ring is damaged: head {head}, tail {tail}")),
            }
        }
        fits
    }

    /// Gives the slots before `tail` back to the writers.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_tail(&self, tail: u64) -> io::Result<()> {
        self.file.write_all_at(bytemuck::bytes_of(&tail), offset_of!(Header, tail) as u64)
    }

    /// Ends all injection.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn disarm(&self) -> io::Result<()> {
        self.file.write_all_at(bytemuck::bytes_of(&1u32), offset_of!(Header, disarmed) as u64)
    }

    /// Takes one of the faults that `--max-faults` leaves; false when there is none left. A process that takes one at
    /// the same moment may have it as well.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn take_budget(&self) -> io::Result<bool> {
        let at = offset_of!(Header, budget) as u64;
        match read_pod::<u64>(&self.file, at)? {
            0 => Ok(false),
            u64::MAX => Ok(true),
            left => self.file.write_all_at(bytemuck::bytes_of(&(left - 1)), at).map(|()| true),
        }
    }

    /// The head of the compiled table as it is now.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn plan(&self) -> io::Result<PlanHeader> {
        read_pod(&self.file, u64::from(self.header.layout.plan))
    }

    /// Whether injection has ended for good: the launcher has said so, or is gone.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn is_over(&self) -> io::Result<bool> {
        let now = self.header_now()?;
        let futex = now.mutex.first_chunk::<4>().map_or(0, |word| u32::from_ne_bytes(*word));
        Ok(now.disarmed != 0 || futex & OWNER_DIED != 0)
    }

    /// The file itself, and its length.
    #[must_use]
    pub fn raw(&self) -> (&File, u64) {
        (&self.file, self.header.file_len)
    }

    /// Whether the launcher that drained it has ended without a word; false where there was none.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn is_orphaned(&self) -> io::Result<bool> {
        let futex = self.header_now()?.mutex.first_chunk::<4>().map_or(0, |word| u32::from_ne_bytes(*word));
        Ok(futex & OWNER_DIED != 0)
    }

    /// Whether a launcher drains it.
    #[must_use]
    pub fn has_launcher(&self) -> bool {
        self.header.has_launcher != 0
    }

    /// Pids of the processes that came under the table and have not been found dead, as they see themselves.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let layout = &self.header.layout;
        let slot = |index: u32| {
            let at = u64::from(layout.processes) + u64::from(index) * u64::from(layout.process_stride);
            read_pod::<ProcessSlot>(&self.file, at)
        };
        let slots = (0..layout.process_room).map(slot).collect::<io::Result<Vec<_>>>()?;
        Ok(slots.iter().filter(|slot| slot.state != slot_state::FREE && slot.pid != 0).map(|slot| slot.pid).collect())
    }

    /// Whether a rule has been taken away meanwhile.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn is_removed(&self, rule: usize) -> io::Result<bool> {
        let rule = rule.min(self.header.layout.rule_room as usize - 1);
        let at = u64::from(self.header.layout.rules) + (rule * size_of::<Rule>()) as u64;
        Ok(read_pod::<u32>(&self.file, at + offset_of!(Rule, enabled) as u64)? == 0)
    }

    /// ns between the start of the run and a moment of CLOCK_MONOTONIC.
    #[must_use]
    pub fn since_start(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_sub(self.header.start_mono_ns)
    }

    /// Whether somebody has written over what nobody changes while a program runs, `image` being what the file began with:
    /// the head of the header, and the rules with their matchers and text, but for what `ctl` changes.
    #[must_use]
    pub fn is_spoiled(&self, image: &[u8]) -> bool {
        let mut now = vec![0; image.len()];
        let fixed = [0..offset_of!(Header, clock), offset_of!(Header, layout)..offset_of!(Header, tsc)];
        self.file.read_exact_at(&mut now, 0).is_err()
            || fixed.into_iter().any(|range| image.get(range.clone()) != now.get(range))
            || !keeps_table(image, &now, true)
    }

    /// The header as it is now, for its counters.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn header_now(&self) -> io::Result<Header> {
        read_pod(&self.file, 0)
    }

    /// Reads the ring's slots from `index` on into `into`, whose length is a multiple of [`SLOT`] and at most the ring.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn read_slots(&self, index: u64, into: &mut [u8]) -> io::Result<()> {
        let ring = u64::from(self.header.layout.ring);
        let slots = self.ring_slots();
        let first = index % slots;
        let until_end = usize::try_from((slots - first) * SLOT as u64).unwrap_or(usize::MAX).min(into.len());
        let (before, after) = into.split_at_mut(until_end);
        self.file.read_exact_at(before, ring + first * SLOT as u64)?;
        if !after.is_empty() {
            self.file.read_exact_at(after, ring)?;
        }
        Ok(())
    }

    /// Names and labels of the rules.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn labels(&self) -> io::Result<Vec<RuleLabel>> {
        let layout = self.header.layout;
        let plan = self.plan()?;
        let count = plan.rule_count.min(layout.rule_room) as usize;
        let mut rules = vec![Rule::zeroed(); count];
        self.file.read_exact_at(bytemuck::cast_slice_mut(&mut rules), u64::from(layout.rules))?;
        let mut text = vec![0u8; layout.text_room as usize];
        self.file.read_exact_at(&mut text, u64::from(layout.text))?;
        let label = |span| Some(shown(text_of(&text, span))).filter(|label| !label.is_empty());
        Ok(rules
            .iter()
            .map(|rule| RuleLabel {
                name: shown(text_of(&text, rule.name)),
                fault: FaultKind::from_number(rule.fault).map_or("?", FaultKind::name).to_owned(),
                component: label(rule.component),
                message: label(rule.message),
                by_launcher: rule.has(flag::LAUNCHER),
            })
            .collect())
    }

    /// The seed of the run.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn seed(&self) -> io::Result<u64> {
        Ok(self.plan()?.seed)
    }

    /// What the tree counted for the first `rules` rules: ended threads and those that still run.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn counters(&self, rules: usize) -> io::Result<Vec<RuleCounters>> {
        let layout = self.header.layout;
        let rules = rules.min(layout.rule_room as usize);
        let mut sums = Vec::with_capacity(rules);
        for rule in 0..rules as u64 {
            let tree: TreeCounters =
                read_pod(&self.file, u64::from(layout.tree) + rule * size_of::<TreeCounters>() as u64)?;
            sums.push(RuleCounters { matched: tree.matched, protected: tree.protected, unsuitable: tree.unsuitable });
        }
        let stride = layout.thread_stride as usize;
        let all = layout.thread_room as usize * stride;
        // Many at once: there are more than a thousand, and most are free; those that no thread ever had are no data.
        let mut slots = vec![0u8; (COUNTERS_AT_ONCE / stride).max(1) * stride];
        let mut at = 0;
        while at < all {
            match data_from(&self.file, u64::from(layout.threads) + at as u64) {
                Some(next) if next < u64::from(layout.threads) + all as u64 => {
                    at = usize::try_from(next.saturating_sub(u64::from(layout.threads))).unwrap_or(all).max(at);
                    at -= at % stride;
                }
                _ => break,
            }
            // A page of it, and more where more follows.
            let part = &mut slots[..(all - at).min((COUNTERS_AT_ONCE / stride).max(1) * stride)];
            self.file.read_exact_at(part, u64::from(layout.threads) + at as u64)?;
            at += part.len();
            for slot in part.chunks_exact(stride) {
                let (head, counters) = slot.split_at(size_of::<ThreadSlot>());
                if bytemuck::pod_read_unaligned::<ThreadSlot>(head).state == slot_state::FREE {
                    continue;
                }
                for (sum, bytes) in sums.iter_mut().zip(counters.chunks_exact(size_of::<ThreadCounters>())) {
                    let thread: ThreadCounters = bytemuck::pod_read_unaligned(bytes);
                    sum.matched = sum.matched.saturating_add(thread.matched);
                    sum.protected = sum.protected.saturating_add(u64::from(thread.protected));
                }
            }
        }
        Ok(sums)
    }

    /// The row of times of an operation; `None` where times are not counted.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn latencies(&self, op: Op) -> io::Result<Option<Vec<u64>>> {
        if self.header.latencies == 0 {
            return Ok(None);
        }
        let mut row = vec![0u64; latency::ROW];
        let at = u64::from(self.header.latencies) + (op as usize * latency::ROW * 8) as u64;
        self.file.read_exact_at(bytemuck::cast_slice_mut(&mut row), at)?;
        Ok(Some(row))
    }

    /// Whether any process has ever come under the table.
    ///
    /// # Errors
    /// When the file has been cut short.
    pub fn anyone_attached(&self) -> io::Result<bool> {
        let first: ProcessSlot = read_pod(&self.file, u64::from(self.header.layout.processes))?;
        Ok(first.state != slot_state::FREE || self.header_now()?.last_process > 0)
    }
}

/// A name that a target may have written: on one line, and not endless.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

/// Where the next bytes are that somebody may have written; `None` when there are none up to the end. A file system that
/// does not know says that all are.
fn data_from(file: &File, at: u64) -> Option<u64> {
    let at = i64::try_from(at).ok()?;
    match lseek(file, at, Whence::SeekData) {
        Ok(next) => u64::try_from(next).ok(),
        Err(Errno::ENXIO) => None,
        Err(_) => u64::try_from(at).ok(),
    }
}

fn read_pod<T: Pod + Zeroable>(file: &File, at: u64) -> io::Result<T> {
    let mut value = T::zeroed();
    file.read_exact_at(bytemuck::bytes_of_mut(&mut value), at)?;
    Ok(value)
}

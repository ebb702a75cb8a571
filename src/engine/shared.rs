//! The session as the engine shares it with shims: one mapping, used by words alone.
//!
//! The rest of the launcher reads the session by pread, since a target may cut the file short, which turns the touch of a
//! mapping into SIGBUS. The engine cannot: it answers for processes beside which others have shims, and counts in the
//! same words. So a touch beyond the end of the file finds a page of zeroes instead, and every number that is read here
//! is one that anybody may have written.

mod names;
mod table;

use chaos_table::book::{self, Book};
use chaos_table::calls::Op;
use chaos_table::quota::{Account, Ledger};
use chaos_table::record::{CONT, CONT_TEXT, MAX_TEXT, Record, SLOT, slots_for, status};
use chaos_table::rule::{Kinds, PlanHeader, Rule, WATCH};
use chaos_table::session::{
    Header, Layout, OWNER_DIED, ProcessCounters, ProcessSlot, ThreadCounters, ThreadSlot, TreeCounters, kept_from,
    slot_state,
};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a full ring is waited for.
const FULL_PATIENCE: Duration = Duration::from_secs(1);
const PAGE: usize = 4096;

/// The mapped session. It stays mapped until the launcher ends.
#[derive(Debug)]
pub struct Shared {
    base: usize,
    len: usize,
    layout: Layout,
    start_ns: u64,
}

static MAPPED_FROM: AtomicUsize = AtomicUsize::new(0);
static MAPPED_LEN: AtomicUsize = AtomicUsize::new(0);

impl Shared {
    /// Maps a session file, whose header is believed once.
    ///
    /// # Errors
    /// When it cannot be mapped or is no session.
    pub fn map(file: &File) -> io::Result<Shared> {
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        if len < PAGE {
            return Err(io::Error::other("it is no session"));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Few places of it are touched: nothing is to be read ahead of them.
        // SAFETY: our own mapping, which this leaves as it is.
        unsafe { libc::madvise(base, len, libc::MADV_RANDOM) };
        let base = base as usize;
        MAPPED_FROM.store(base, Ordering::Relaxed);
        MAPPED_LEN.store(len, Ordering::Relaxed);
        let action = SigAction::new(SigHandler::SigAction(on_bus_error), SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: the handler makes one async-signal-safe call.
        unsafe { sigaction(Signal::SIGBUS, &action) }?;
        // SAFETY: the mapping is longer than a header, which is plain data.
        let header = unsafe { (base as *const Header).read_volatile() };
        header.check(len as u64).map_err(io::Error::other)?;
        Ok(Shared { base, len, layout: header.layout, start_ns: header.start_mono_ns })
    }

    /// A word of 64 bits; one of no meaning for an offset outside.
    fn word64(&self, at: usize) -> &AtomicU64 {
        let at = if at.is_multiple_of(8) && at < self.len { at } else { offset_of!(Header, tail_room) };
        // SAFETY: inside the mapping, aligned, and only ever used atomically by us; the mapping is never unmapped.
        unsafe { AtomicU64::from_ptr((self.base + at) as *mut u64) }
    }

    fn word32(&self, at: usize) -> &AtomicU32 {
        let at = if at.is_multiple_of(4) && at < self.len { at } else { offset_of!(Header, tail_room) };
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr((self.base + at) as *mut u32) }
    }

    /// ns since the start of the run.
    #[must_use]
    pub fn now(&self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.start_ns)
    }

    /// Whether injection has ended for everybody.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.word32(offset_of!(Header, disarmed)).load(Ordering::Relaxed) != 0 || self.is_alone()
    }

    /// Whether the launcher has ended.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.word32(offset_of!(Header, mutex)).load(Ordering::Relaxed) & OWNER_DIED != 0
    }

    /// The word that changes when a process asks to be handed over.
    #[must_use]
    pub fn door(&self) -> &AtomicU32 {
        self.word32(offset_of!(Header, door))
    }

    /// A counter of the header; `field` is an offset in [`Header`].
    #[must_use]
    pub fn counter(&self, field: usize) -> &AtomicU64 {
        self.word64(field)
    }

    /// Takes one of the faults that `--max-faults` leaves; false when there is none left.
    #[must_use]
    pub fn take_budget(&self) -> bool {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        self.counter(offset_of!(Header, budget)).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The rules in force on an operation, as bits.
    #[must_use]
    pub fn in_force(&self, op: usize) -> u64 {
        self.plan64(offset_of!(PlanHeader, ops) + op * 8).load(Ordering::Relaxed)
    }

    fn plan64(&self, field: usize) -> &AtomicU64 {
        self.word64(self.layout.plan as usize + field)
    }

    /// Whether the whole tree waits for a sign.
    #[must_use]
    pub fn awaits_sign(&self) -> bool {
        self.word32(self.layout.plan as usize + offset_of!(PlanHeader, armed)).load(Ordering::Acquire) == 0
    }

    /// When the tree was armed by its sign, ns since the start of the run.
    #[must_use]
    pub fn armed_ns(&self) -> u64 {
        self.plan64(offset_of!(PlanHeader, armed_ns)).load(Ordering::Relaxed)
    }

    /// Arms the tree, as a shim would: `planned` is what is in force from now on.
    pub fn arm(&self, planned: &[u64]) {
        let plan = self.layout.plan as usize;
        self.plan64(offset_of!(PlanHeader, armed_ns)).store(self.now(), Ordering::Relaxed);
        let enabled = self.word32(plan + offset_of!(PlanHeader, enabled)).load(Ordering::Relaxed) != 0;
        let in_force = if enabled { u64::MAX } else { !chaos_table::rule::RULE_BITS };
        for (op, word) in planned.iter().enumerate() {
            self.plan64(offset_of!(PlanHeader, ops) + op * 8).store(word & in_force, Ordering::Relaxed);
        }
        self.word32(plan + offset_of!(PlanHeader, armed)).store(1, Ordering::Release);
    }

    /// The rate of a rule as it is now.
    #[must_use]
    pub fn rate(&self, rule: usize) -> u64 {
        self.word64(self.layout.rules as usize + rule * size_of::<Rule>() + offset_of!(Rule, rate))
            .load(Ordering::Relaxed)
    }

    /// A counter of a rule over the whole tree; `field` is an offset in [`TreeCounters`].
    #[must_use]
    pub fn tree(&self, rule: usize, field: usize) -> &AtomicU64 {
        self.word64(self.layout.tree as usize + (rule & 63) * size_of::<TreeCounters>() + field)
    }
}

/// Someone has cut the session short: zeroes take the place of what is gone, and the rest of the launcher will say so.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let (from, len) = (MAPPED_FROM.load(Ordering::Relaxed), MAPPED_LEN.load(Ordering::Relaxed));
    // SAFETY: the kernel passes a siginfo of a memory error; mmap and signal are system calls. Only pages of our own
    // mapping are replaced, in place; for any other address the default action comes with the next touch.
    unsafe {
        let at = (*info).si_addr() as usize;
        if at.wrapping_sub(from) < len {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let page = (at & !(PAGE - 1)) as *mut libc::c_void;
            libc::mmap(page, PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Episodes.
impl Shared {
    /// The book of open episodes.
    #[must_use]
    pub fn book(&self) -> &Book {
        let at = self.layout.book as usize;
        let at = if at.is_multiple_of(64) && at.saturating_add(size_of::<Book>()) <= self.len { at } else { 0 };
        // SAFETY: inside the mapping, aligned, never unmapped, and made of atomics alone, for which any bytes are valid:
        // the length of a session was checked, so at worst it lies over other words of it.
        unsafe { &*((self.base + at) as *const Book) }
    }

    /// Where the next record goes: the end of all that have been written.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.counter(offset_of!(Header, head)).load(Ordering::Relaxed)
    }

    /// Number of the last image that there is.
    #[must_use]
    pub fn last_image(&self) -> u32 {
        self.counter(offset_of!(Header, last_process)).load(Ordering::Relaxed) as u32
    }

    /// Whether an operation is watched.
    #[must_use]
    pub fn is_watched(&self, op: Op) -> bool {
        self.in_force(op as usize) & WATCH != 0
    }

    /// Has an operation and its kin watched while they have open episodes, as shims do.
    pub fn watch(&self, op: Op) {
        for op in book::kin(op) {
            let word = self.plan64(offset_of!(PlanHeader, ops) + *op as usize * 8);
            // Looked at again once its bit is gone: another process may have opened an episode meanwhile.
            for _ in 0..2 {
                let watched = self.book().watches(*op);
                if watched == (word.load(Ordering::SeqCst) & WATCH != 0) {
                    break;
                }
                if watched {
                    word.fetch_or(WATCH, Ordering::SeqCst);
                    break;
                }
                word.fetch_and(!WATCH, Ordering::SeqCst);
            }
        }
    }
}

/// Quotas of disk.
impl Ledger for Shared {
    fn accounts(&self) -> &[Account] {
        let (at, room) = (self.layout.charges as usize, self.layout.charge_room as usize);
        let end = room.checked_mul(size_of::<Account>()).and_then(|len| at.checked_add(len));
        let fits = at.is_multiple_of(8) && end.is_some_and(|end| end <= self.len);
        let (at, room) = if fits { (at, room) } else { (0, 0) };
        // SAFETY: inside the mapping, aligned, never unmapped, and made of atomics alone, for which any bytes are valid.
        unsafe { std::slice::from_raw_parts((self.base + at) as *const Account, room) }
    }

    fn quotas(&self) -> u64 {
        self.plan64(offset_of!(PlanHeader, kinds) + offset_of!(Kinds, disk)).load(Ordering::Relaxed)
    }

    fn used(&self, rule: usize) -> &AtomicU64 {
        self.tree(rule, offset_of!(TreeCounters, used))
    }
}

/// Places in the tables of processes and threads.
impl Shared {
    /// Claims a process slot and numbers its image.
    #[must_use]
    pub fn claim_process(&self, is_dead: impl Fn(u32) -> bool) -> Option<ProcessPlace> {
        let at = self.claim(
            (self.layout.processes, self.layout.process_room, self.layout.process_stride),
            offset_of!(ProcessSlot, state),
            &|slot| is_dead(self.word32(slot + offset_of!(ProcessSlot, pid)).load(Ordering::Relaxed)),
        );
        if at.is_none() {
            self.counter(offset_of!(Header, lost_processes)).fetch_add(1, Ordering::Relaxed);
        }
        let place = ProcessPlace(at?);
        self.clear_process(place);
        Some(place)
    }

    /// The process slot with this index.
    #[must_use]
    pub fn process_at(&self, index: usize) -> Option<ProcessPlace> {
        (index < self.layout.process_room as usize)
            .then(|| ProcessPlace(self.layout.processes as usize + index * self.layout.process_stride as usize))
    }

    /// Every process slot.
    pub fn processes(&self) -> impl Iterator<Item = ProcessPlace> + '_ {
        (0..self.layout.process_room as usize).filter_map(|index| self.process_at(index))
    }

    /// The index of a process slot.
    #[must_use]
    pub fn process_index(&self, place: ProcessPlace) -> usize {
        (place.0 - self.layout.processes as usize) / self.layout.process_stride as usize
    }

    /// A field of a process slot; `field` is an offset in [`ProcessSlot`].
    #[must_use]
    pub fn process_field(&self, place: ProcessPlace, field: usize) -> &AtomicU32 {
        self.word32(place.0 + field)
    }

    /// Tells the shim in a process the hash of its lineage.
    pub fn set_lineage(&self, place: ProcessPlace, hash: u64) {
        self.word64(place.0 + offset_of!(ProcessSlot, lineage)).store(hash, Ordering::Relaxed);
    }

    /// Notes the last call that a filter has asked about.
    pub fn note_last(&self, place: ProcessPlace, id: u64) {
        self.word64(place.0 + offset_of!(ProcessSlot, room)).store(id, Ordering::Relaxed);
    }

    /// Clears the counters of a process slot for a new image.
    pub fn clear_process(&self, place: ProcessPlace) {
        for field in [offset_of!(ProcessSlot, hand_over), offset_of!(ProcessSlot, engine)] {
            self.process_field(place, field).store(0, Ordering::Relaxed);
        }
        self.word64(place.0 + offset_of!(ProcessSlot, live_bytes)).store(0, Ordering::Relaxed);
        for rule in 0..self.layout.rule_room as usize {
            self.process_counter(place, rule, offset_of!(ProcessCounters, seen)).store(0, Ordering::Relaxed);
            self.process_counter(place, rule, offset_of!(ProcessCounters, fired)).store(0, Ordering::Relaxed);
        }
    }

    /// A counter of a rule in a process; `field` is an offset in [`ProcessCounters`].
    #[must_use]
    pub fn process_counter(&self, place: ProcessPlace, rule: usize, field: usize) -> &AtomicU64 {
        self.word64(place.0 + size_of::<ProcessSlot>() + rule * size_of::<ProcessCounters>() + field)
    }

    /// The number of a new image.
    #[must_use]
    pub fn number_image(&self) -> u32 {
        self.counter(offset_of!(Header, last_process)).fetch_add(1, Ordering::Relaxed) as u32 + 1
    }

    /// Gives a process slot back.
    pub fn free_process(&self, place: ProcessPlace) {
        self.process_field(place, offset_of!(ProcessSlot, state)).store(slot_state::FREE, Ordering::Release);
    }

    /// Claims a thread slot for a thread of a process image.
    #[must_use]
    pub fn claim_thread(&self, (pid, tid): (u32, u32), image: u32, key: u64) -> Option<ThreadPlace> {
        let at = self.claim(
            (self.layout.threads, self.layout.thread_room, self.layout.thread_stride),
            offset_of!(ThreadSlot, state),
            // Threads under the engine give their slots back, and shims those of theirs.
            &|_| false,
        );
        if at.is_none() {
            self.counter(offset_of!(Header, lost_threads)).fetch_add(1, Ordering::Relaxed);
        }
        let at = at?;
        let put = |field, value| self.word32(at + field).store(value, Ordering::Relaxed);
        put(offset_of!(ThreadSlot, tid), tid);
        put(offset_of!(ThreadSlot, pid), pid);
        put(offset_of!(ThreadSlot, process), image);
        self.word64(at + offset_of!(ThreadSlot, key)).store(key, Ordering::Relaxed);
        for rule in 0..self.layout.rule_room as usize {
            self.count_thread(ThreadPlace(at), rule, 0, 0);
        }
        self.word32(at + offset_of!(ThreadSlot, state)).store(slot_state::LIVE, Ordering::Release);
        Some(ThreadPlace(at))
    }

    /// Shows what a thread has matched on a rule, for whoever looks while it runs.
    pub fn count_thread(&self, place: ThreadPlace, rule: usize, matched: u64, protected: u32) {
        let at = place.0 + size_of::<ThreadSlot>() + rule * size_of::<ThreadCounters>();
        self.word64(at + offset_of!(ThreadCounters, matched)).store(matched, Ordering::Relaxed);
        self.word32(at + offset_of!(ThreadCounters, protected)).store(protected, Ordering::Relaxed);
    }

    /// Gives a thread slot back; its counts are added to those of the tree.
    pub fn free_thread(&self, place: ThreadPlace, counts: impl Iterator<Item = (u64, u32)>) {
        for (rule, (matched, protected)) in counts.enumerate() {
            self.tree(rule, offset_of!(TreeCounters, matched)).fetch_add(matched, Ordering::Relaxed);
            self.tree(rule, offset_of!(TreeCounters, protected)).fetch_add(protected.into(), Ordering::Relaxed);
            self.count_thread(place, rule, 0, 0);
        }
        self.word32(place.0 + offset_of!(ThreadSlot, state)).store(slot_state::FREE, Ordering::Release);
    }

    /// The first slot of an area that goes from free to claimed; those of the dead when there is none.
    fn claim(
        &self,
        (area, room, stride): (u32, u32, u32),
        state: usize,
        is_dead: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        let slots = || (0..room as usize).map(|index| area as usize + index * stride as usize);
        let go = |slot: usize, from: u32, to: u32| {
            let word = self.word32(slot + state);
            word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let free = || slots().find(|slot| go(*slot, slot_state::FREE, slot_state::CLAIMED));
        free().or_else(|| {
            for slot in slots().filter(|slot| is_dead(*slot)) {
                go(slot, slot_state::LIVE, slot_state::FREE);
            }
            free()
        })
    }
}

/// Where a process slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessPlace(usize);

/// Where a thread slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPlace(usize);

/// A published injection whose end is still to be told.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    index: u64,
    record: Record,
}

impl Ticket {
    /// The number of its record.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }
}

/// Records.
impl Shared {
    /// Publishes a record with its text; `None` when the log is full: then what it tells of must not happen.
    pub fn publish(&self, mut record: Record, text: &[u8]) -> Option<Ticket> {
        let text = &text[..text.len().min(MAX_TEXT)];
        let slots = slots_for(text.len()) as u64;
        let index = self.claim_slots(slots, kept_from(record.kind, u64::from(self.layout.ring_slots)))?;
        record.at_ns = self.now();
        record.slots = slots as u8;
        record.commit = 0;
        for (slot, part) in (index + 1..).zip(text.chunks(CONT_TEXT)) {
            let mut words = [0u64; SLOT / 8];
            words[0] = (slot + 1) | CONT;
            bytemuck::bytes_of_mut(&mut words)[8..8 + part.len()].copy_from_slice(part);
            self.put(slot, &words, words[0]);
        }
        let words: [u64; SLOT / 8] = bytemuck::cast(record);
        self.put(index, &words, index + 1);
        Some(Ticket { index, record })
    }

    fn slot(&self, index: u64) -> usize {
        let slots = u64::from(self.layout.ring_slots);
        self.layout.ring as usize + (index & (slots - 1)) as usize * SLOT
    }

    /// Writes a slot, its commit word last.
    fn put(&self, index: u64, words: &[u64; SLOT / 8], commit: u64) {
        let at = self.slot(index);
        for (number, word) in words.iter().enumerate().skip(1) {
            self.word64(at + number * 8).store(*word, Ordering::Relaxed);
        }
        self.word64(at).store(commit, Ordering::Release);
    }

    fn claim_slots(&self, count: u64, kept: u64) -> Option<u64> {
        let (head, tail) = (self.counter(offset_of!(Header, head)), self.counter(offset_of!(Header, tail)));
        let begun = std::time::Instant::now();
        loop {
            let at = head.load(Ordering::Relaxed);
            let used = at.wrapping_sub(tail.load(Ordering::Acquire));
            if used.saturating_add(count + kept) <= u64::from(self.layout.ring_slots) {
                if head.compare_exchange_weak(at, at + count, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    return Some(at);
                }
                continue;
            }
            if self.is_over() || begun.elapsed() > FULL_PATIENCE {
                self.counter(offset_of!(Header, suppressed)).fetch_add(1, Ordering::Relaxed);
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells that the caller now sees the effect, and what it gets.
    pub fn delivered(&self, ticket: Ticket, result: i64) {
        let Ticket { index, record } = ticket;
        if record.status == status::PENDING {
            let end = Record { kind: chaos_table::record::kind::DELIVERY, nth: index, result, ..record };
            self.publish(Record { status: status::DELIVERED, ..end }, &[]);
            return;
        }
        if record.status != status::FIRED {
            return;
        }
        let at = self.slot(index);
        if self.word64(at).load(Ordering::Acquire) != index + 1 {
            return;
        }
        self.word64(at + offset_of!(Record, result)).store(result as u64, Ordering::Relaxed);
        let word = Record { status: status::DELIVERED, ..record };
        let words: [u64; SLOT / 8] = bytemuck::cast(word);
        const STATUS: usize = offset_of!(Record, status) / 8;
        self.word64(at + STATUS * 8).store(words[STATUS], Ordering::Release);
    }
}

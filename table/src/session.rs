//! Layout of the session file, which every process of the tree maps and the launcher reads.
//!
//! Header, known programs, compiled table, remembered names, counters of the tree, processes, threads, ring of records;
//! each area at the offset that the header names. All of it may have been spoiled by a target: readers check every number.

use crate::book::Book;
use crate::latency;
use crate::programs::Programs;
use crate::quota::Account;
use crate::record::{SLOT, is_end};
use crate::rule::{MAX_RULES, Matcher, OP_ROOM, Plan, PlanHeader, Rule, exhaust};
use bytemuck::{Pod, Zeroable};
use std::ffi::CStr;

/// First bytes of a session file.
pub const MAGIC: [u8; 8] = *b"CHAOSEXC";
/// Version of the layout; shim and launcher must agree.
pub const VERSION: u32 = 3;
/// Size under the launcher, which drains the ring.
pub const SIZE_WITH_LAUNCHER: u64 = 4 << 20;
/// Size without one: the ring must hold the whole log.
pub const SIZE_ALONE: u64 = 64 << 20;
/// The smallest file that is worth having.
pub const SIZE_MIN: u64 = 1 << 20;
/// The largest: slot numbers of the layout are 32 bits.
pub const SIZE_MAX: u64 = 1 << 30;
/// Set by the kernel in the launcher's mutex word when the launcher died (FUTEX_OWNER_DIED).
pub const OWNER_DIED: u32 = 0x4000_0000;

/// Where everything is, in bytes from the start of the file, and how much of it there is.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// [`PlanHeader`].
    pub plan: u32,
    /// [`Rule`]s.
    pub rules: u32,
    /// Room for so many rules.
    pub rule_room: u32,
    /// [`Matcher`]s.
    pub matchers: u32,
    /// Room for so many matchers.
    pub matcher_room: u32,
    /// Text.
    pub text: u32,
    /// Room for so many bytes of text.
    pub text_room: u32,
    /// [`Name`]s.
    pub names: u32,
    /// Room for so many names, a power of two.
    pub name_room: u32,
    /// [`Account`]s, for `exhaust` of disk.
    pub charges: u32,
    /// Room for so many charges: a power of two, or 0 when no rule needs them.
    pub charge_room: u32,
    /// [`TreeCounters`], one a rule.
    pub tree: u32,
    /// [`Book`] of the episodes that are open.
    pub book: u32,
    /// [`ProcessSlot`]s, each followed by [`ProcessCounters`] a rule.
    pub processes: u32,
    /// Room for so many processes.
    pub process_room: u32,
    /// Bytes of one.
    pub process_stride: u32,
    /// [`ThreadSlot`]s, each followed by [`ThreadCounters`] a rule.
    pub threads: u32,
    /// Room for so many threads.
    pub thread_room: u32,
    /// Bytes of one.
    pub thread_stride: u32,
    /// Records.
    pub ring: u32,
    /// Room for so many slots, a power of two.
    pub ring_slots: u32,
}

/// The first 1024 bytes of the file.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// 1 when a launcher drains the ring and its death disarms.
    pub has_launcher: u32,
    /// Size of the file and of the mapping.
    pub file_len: u64,
    /// CLOCK_MONOTONIC when the run started, ns.
    pub start_mono_ns: u64,
    /// CLOCK_REALTIME when the run started, ns since 1970.
    pub start_wall_ns: u64,
    /// Pid of the launcher, or of the first process.
    pub owner_pid: u32,
    /// Whether the kernel keeps time by the TSC: one of [`tsc`]. The first process looks.
    pub clock: u32,
    /// The areas.
    pub layout: Layout,
    /// Where times of calls are counted, see [`crate::latency`]; 0: they are not.
    pub latencies: u32,
    /// The TSC when the first process looked ...
    pub tsc: u64,
    /// ... and CLOCK_MONOTONIC then, ns.
    pub tsc_ns: u64,
    /// Changes when a process asks to be handed over; the launcher waits on it as on a futex.
    pub door: u32,
    /// Pid of whoever changes the table at this moment; 0: nobody.
    pub lock: u32,
    /// How often the table was changed while the program ran.
    pub changes: u32,
    /// Subtrees under a filter of system calls, which cannot be changed later ...
    pub filters: u32,
    /// ... and the operations that each of those filters covers, as bits.
    pub filtered: [u64; OP_ROOM / 64],
    /// Room for what comes.
    pub room: [u8; 304],
    /// The launcher's robust pthread mutex; its first word is the futex.
    pub mutex: [u8; 64],
    /// Not 0: nothing is injected any more. Written by the launcher at its end.
    pub disarmed: u32,
    /// Fills the cache line.
    pub pad_disarmed: [u8; 60],
    /// Next slot to be claimed.
    pub head: u64,
    /// Fills the cache line.
    pub pad_head: [u8; 56],
    /// First slot that is not yet drained.
    pub tail: u64,
    /// Fills the cache line.
    pub pad_tail: [u8; 56],
    /// Number of the last process image.
    pub last_process: u64,
    /// Faults that may still be injected.
    pub budget: u64,
    /// Faults that did not happen because the log was full.
    pub suppressed: u64,
    /// Times that a process found no room in the table of processes.
    pub lost_processes: u64,
    /// Times that a thread found no room in the table of threads.
    pub lost_threads: u64,
    /// Programs that had no address space left for this file, and so run without faults.
    pub unmapped: u64,
    /// Injections by threads that have ended.
    pub injections: u64,
    /// Programs that a known runtime runs, and that have shown nothing of their own yet: so long they meet no fault.
    pub booting: u64,
    /// Room for what comes.
    pub tail_room: [u8; 192],
}

/// Offset of the [`Programs`], which take the rest of the header's page.
pub const PROGRAMS: usize = 1024;

const _: () = assert!(size_of::<Header>() == PROGRAMS && PROGRAMS + size_of::<Programs>() == 4096);
const _: () = assert!(std::mem::offset_of!(Header, mutex) == 512);
const _: () = assert!(std::mem::offset_of!(Header, head) % 64 == 0);

/// What is known of the kernel's clock.
pub mod tsc {
    /// Nobody has looked.
    pub const UNKNOWN: u32 = 0;
    /// It is the time-stamp counter, of which the header holds a reading.
    pub const IS_CLOCK: u32 = 1;
    /// It is another one.
    pub const IS_NOT: u32 = 2;
    /// Somebody looks.
    pub const BUSY: u32 = 3;
}

/// An address that getaddrinfo gave for a host name that a rule cares about.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct Name {
    /// 0 free, 1 being written, 2 ready.
    pub state: u64,
    /// Bits of the host patterns that the name matched.
    pub hosts: u64,
    /// The address; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
}

/// Bytes in which disk is charged: what file systems give out at least.
pub const BLOCK: u64 = 4096;

/// Counters of one rule over the whole tree.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct TreeCounters {
    /// `per: tree`: matches so far.
    pub seen: u64,
    /// `per: tree`: injections so far, for `times`.
    pub fired: u64,
    /// Matches of threads that have ended.
    pub matched: u64,
    /// Matches that `protect` kept away, of threads that have ended.
    pub protected: u64,
    /// Fired where no kernel could produce the fault.
    pub unsuitable: u64,
    /// `exhaust` of disk: blocks in use.
    pub used: u64,
    /// Room for what comes.
    pub room: [u64; 2],
}

/// State of a process or thread slot.
pub mod slot_state {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// Being filled.
    pub const CLAIMED: u32 = 1;
    /// In use.
    pub const LIVE: u32 = 2;
}

/// Slots of the ring that are kept from records of this kind, for those which end something: without its end, a slow
/// fault looks as if the program still waited, and what was got over as if it was not.
#[must_use]
pub const fn kept_from(kind: u8, ring_slots: u64) -> u64 {
    if is_end(kind) { 0 } else { ring_slots / 16 }
}

/// A process under the table.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct ProcessSlot {
    /// One of [`slot_state`].
    pub state: u32,
    /// Its pid, as it sees it.
    pub pid: u32,
    /// Number of its current image.
    pub uid: u32,
    /// Number of its parent's image.
    pub parent: u32,
    /// ns since the session's start.
    pub start_ns: u64,
    /// Net bytes allocated since arming, for `exhaust`.
    pub live_bytes: i64,
    /// One of [`hand_over`].
    pub hand_over: u32,
    /// While it is handed over: the descriptor of its listener, in the process itself.
    pub listener: u32,
    /// One of [`engine`].
    pub engine: u32,
    /// Processes that its main thread has created. Not with the thread: a parent that has just forked shares its pages
    /// with the child, but for these.
    pub children: u32,
    /// Under the seccomp engine: the hash of its lineage, which a shim inside cannot know.
    pub lineage: u64,
    /// Room for what comes.
    pub room: u64,
}

/// What makes a process's faults happen; value of [`ProcessSlot::engine`] and of a PROCESS record's `fault`.
pub mod engine {
    /// The shim, inside the process.
    pub const PRELOAD: u32 = 0;
    /// The launcher, which the kernel asks about the process's system calls.
    pub const SECCOMP: u32 = 1;
    /// The launcher for system calls, the shim for what is none.
    pub const BOTH: u32 = 2;
}

/// The number of a system call that no kernel has: a shim that finds itself below a filter asks the engine by it which
/// process slot is its own. The answer is its index plus one, or 0 when there is none; without a filter the kernel says
/// ENOSYS.
pub const WHO_AM_I: i64 = 0x4348;

/// Name of the link to the launcher, beside the session file: while it is there, a shim may hand programs over to the
/// seccomp engine by it.
pub const HELPER: &str = "chaos-exec";

/// What the launcher's binary is called as when it is to come under the seccomp engine and to become a program.
pub const BECOME: &CStr = c"_become";

/// How far a process is on its way under the seccomp engine; value of [`ProcessSlot::hand_over`]. It writes the odd
/// steps and the launcher the even ones.
pub mod hand_over {
    /// It is not on that way.
    pub const NONE: u32 = 0;
    /// The process, whose pid stands in the slot, asks whether the launcher sees it.
    pub const ASKED: u32 = 1;
    /// The launcher sees it, and waits for its listener.
    pub const AWAITED: u32 = 2;
    /// The filter is in force; the slot tells the listener's number.
    pub const OFFERED: u32 = 3;
    /// The launcher has the listener.
    pub const TAKEN: u32 = 4;
    /// The launcher has no room for it.
    pub const REFUSED: u32 = 6;
}

/// Counters of one rule in one process.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct ProcessCounters {
    /// Matches so far.
    pub seen: u64,
    /// Injections so far, for `times`.
    pub fired: u64,
}

/// A thread that has made a call on which there is a rule.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct ThreadSlot {
    /// One of [`slot_state`].
    pub state: u32,
    /// Its tid.
    pub tid: u32,
    /// Number of its process image.
    pub process: u32,
    /// Its process as it sees itself, for finding slots of the dead.
    pub pid: u32,
    /// Stream key: hash of seed, lineage and thread ordinal.
    pub key: u64,
    /// So many rules have a stream here: more may have been added.
    pub seeded: u64,
    /// Injections by it.
    pub injections: u64,
    /// Room for what comes.
    pub room: [u64; 3],
}

/// Counters and random stream of one rule in one thread; only that thread writes them.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default)]
pub struct ThreadCounters {
    /// Matches so far.
    pub matched: u64,
    /// Matches that `protect` kept away.
    pub protected: u32,
    /// Injections so far, for `times` with `per: thread`.
    pub fired: u32,
    /// State of the thread's xorshift stream for this rule.
    pub stream: [u8; 16],
}

const _: () =
    assert!(size_of::<ThreadCounters>() == 32 && size_of::<ThreadSlot>() == 64 && size_of::<ProcessSlot>() == 64);

impl Layout {
    /// Lays out a file of `file_len` bytes for a table of this size; `disk`: it charges files.
    ///
    /// # Errors
    /// When the file is too small or too large for it; the text says which.
    pub fn new(file_len: u64, rules: usize, matchers: usize, text: usize, disk: bool) -> Result<Layout, String> {
        if file_len > SIZE_MAX {
            return Err(format!("a session of {file_len} bytes is larger than the largest, {SIZE_MAX} bytes"));
        }
        // Spare room, for rules that are added while the program runs.
        let rule_room = (rules + 12).next_power_of_two().clamp(16, 64);
        let matcher_room = (matchers + 64).next_multiple_of(64);
        let text_room = (text + 4096).next_multiple_of(4096);
        let name_room = 512usize;
        let charge_room: usize = match file_len {
            _ if !disk => 0,
            ..SIZE_WITH_LAUNCHER => 1 << 11,
            _ => 1 << 13,
        };
        let process_stride = (size_of::<ProcessSlot>() + rule_room * size_of::<ProcessCounters>()).next_multiple_of(64);
        let thread_stride = (size_of::<ThreadSlot>() + rule_room * size_of::<ThreadCounters>()).next_multiple_of(64);

        let mut at = 4096usize;
        let mut area = |bytes: usize, align: usize| {
            at = at.next_multiple_of(align);
            let start = at;
            at += bytes;
            start
        };
        let plan = area(size_of::<PlanHeader>(), 4096);
        let rules_at = area(rule_room * size_of::<Rule>(), 64);
        let matchers_at = area(matcher_room * size_of::<Matcher>(), 64);
        let text_at = area(text_room, 64);
        let names = area(name_room * size_of::<Name>(), 4096);
        let charges = area(charge_room * size_of::<Account>(), 64);
        let tree = area(MAX_RULES.next_multiple_of(64) * size_of::<TreeCounters>(), 64);
        let book = area(size_of::<Book>(), 64);
        let fixed = at;
        // A quarter of the rest for processes and threads, as far as that is useful; the ring takes the remainder.
        let rest = usize::try_from(file_len).unwrap_or(0).saturating_sub(fixed);
        let process_room = (rest / 12 / process_stride).clamp(16, 4096);
        let thread_room = (rest / 6 / thread_stride).clamp(64, 8192);
        let mut at = fixed;
        let mut area = |bytes: usize, align: usize| {
            at = at.next_multiple_of(align);
            let start = at;
            at += bytes;
            start
        };
        let processes = area(process_room * process_stride, 4096);
        let threads = area(thread_room * thread_stride, 4096);
        let ring = area(0, 4096);
        let slots = usize::try_from(file_len).unwrap_or(0).saturating_sub(ring) / SLOT;
        if slots < 1024 {
            return Err(format!(
                "a session of {file_len} bytes leaves no room for the log; the smallest is {SIZE_MIN} bytes"
            ));
        }
        let ring_slots = if slots.is_power_of_two() { slots } else { slots.next_power_of_two() / 2 };
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Layout {
            plan: narrow(plan),
            rules: narrow(rules_at),
            rule_room: narrow(rule_room),
            matchers: narrow(matchers_at),
            matcher_room: narrow(matcher_room),
            text: narrow(text_at),
            text_room: narrow(text_room),
            names: narrow(names),
            name_room: narrow(name_room),
            charges: narrow(charges),
            charge_room: narrow(charge_room),
            tree: narrow(tree),
            book: narrow(book),
            processes: narrow(processes),
            process_room: narrow(process_room),
            process_stride: narrow(process_stride),
            threads: narrow(threads),
            thread_room: narrow(thread_room),
            thread_stride: narrow(thread_stride),
            ring: narrow(ring),
            ring_slots: narrow(ring_slots),
        })
    }

    /// Whether every area lies inside a file of `file_len` bytes and has the size that this build expects.
    #[must_use]
    #[inline(always)]
    pub fn fits(&self, file_len: u64) -> bool {
        let inside = |start: u32, count: u32, size: usize, align: u32| {
            start >= 1024
                && start.is_multiple_of(align)
                && u64::from(start) + u64::from(count) * size as u64 <= file_len
        };
        let rules = self.rule_room as usize;
        self.rule_room >= 1
            && self.rule_room <= 64
            && self.name_room.is_power_of_two()
            && (self.charge_room == 0 || self.charge_room.is_power_of_two())
            && self.ring_slots.is_power_of_two()
            && self.process_stride as usize >= size_of::<ProcessSlot>() + rules * size_of::<ProcessCounters>()
            && self.thread_stride as usize >= size_of::<ThreadSlot>() + rules * size_of::<ThreadCounters>()
            && self.process_stride.is_multiple_of(64)
            && self.thread_stride.is_multiple_of(64)
            && self.process_room >= 1
            && self.thread_room >= 1
            && inside(self.plan, 1, size_of::<PlanHeader>(), 8)
            && inside(self.rules, self.rule_room, size_of::<Rule>(), 8)
            && inside(self.matchers, self.matcher_room, size_of::<Matcher>(), 4)
            && inside(self.text, self.text_room, 1, 1)
            && inside(self.names, self.name_room, size_of::<Name>(), 8)
            && inside(self.charges, self.charge_room, size_of::<Account>(), 8)
            && inside(self.tree, 64, size_of::<TreeCounters>(), 8)
            && inside(self.book, 1, size_of::<Book>(), 64)
            && inside(self.processes, self.process_room, self.process_stride as usize, 64)
            && inside(self.threads, self.thread_room, self.thread_stride as usize, 64)
            && inside(self.ring, self.ring_slots, SLOT, 64)
    }
}

impl Header {
    /// What is wrong with the head of a session file of `actual_len` bytes, if anything.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    #[inline(always)]
    pub fn check(&self, actual_len: u64) -> Result<(), String> {
        let is_sound = self.magic == MAGIC && self.version == VERSION && self.file_len == actual_len;
        let latencies = u64::from(self.latencies);
        let is_timed = latencies >= 1024 && latencies.is_multiple_of(8) && latencies + latency::AREA <= actual_len;
        if is_sound && self.layout.fits(actual_len) && (latencies == 0 || is_timed) {
            Ok(())
        } else {
            self.complain(actual_len)
        }
    }

    /// Apart, since every exec checks: that is to stay on the pages of what an exec runs.
    #[cold]
    #[inline(never)]
    fn complain(&self, actual_len: u64) -> Result<(), String> {
        if self.magic != MAGIC {
            return Err("it is not a chaos-exec session".into());
        }
        if self.version != VERSION {
            return Err(format!("it has layout version {}, this build reads {VERSION}", self.version));
        }
        if self.file_len != actual_len {
            return Err(format!("it is cut short: {actual_len} bytes of {}", self.file_len));
        }
        Err("its layout is damaged".into())
    }
}

/// The bytes that a new session file starts with: header, compiled table, empty areas. The rest of the file is zero.
///
/// # Errors
/// When the file is too small for the table.
pub fn image(plan: &Plan, start: Start, file_len: u64) -> Result<Vec<u8>, String> {
    let disk = plan.rules.iter().any(|rule| rule.what == exhaust::DISK);
    let layout = Layout::new(file_len, plan.rules.len(), plan.matchers.len(), plan.text.len(), disk)?;
    let mut header = Header::zeroed();
    header.magic = MAGIC;
    header.version = VERSION;
    header.has_launcher = u32::from(start.has_launcher);
    header.file_len = file_len;
    header.start_mono_ns = start.mono_ns;
    header.start_wall_ns = start.wall_ns;
    header.owner_pid = start.owner_pid;
    header.layout = layout;
    header.budget = plan.header.max_faults;
    let mut bytes = vec![0u8; layout.names as usize];
    let mut put = |at: u32, part: &[u8]| {
        let at = at as usize;
        bytes[at..at + part.len()].copy_from_slice(part);
    };
    put(0, bytemuck::bytes_of(&header));
    put(layout.plan, bytemuck::bytes_of(&plan.header));
    put(layout.rules, bytemuck::cast_slice(&plan.rules));
    put(layout.matchers, bytemuck::cast_slice(&plan.matchers));
    put(layout.text, &plan.text);
    Ok(bytes)
}

/// When and by whom a session was started.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Whether a launcher drains the ring.
    pub has_launcher: bool,
    /// CLOCK_MONOTONIC in ns.
    pub mono_ns: u64,
    /// CLOCK_REALTIME in ns since 1970.
    pub wall_ns: u64,
    /// Pid of the launcher, or of the first process.
    pub owner_pid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_size_fits_itself() {
        for size in [SIZE_MIN, SIZE_WITH_LAUNCHER, SIZE_ALONE, 5_000_000] {
            for rules in [0, 1, 8, 60] {
                for disk in [false, true] {
                    let layout = Layout::new(size, rules, rules * 4, 4000, disk).unwrap();
                    assert!(layout.fits(size), "{size} {rules} {layout:?}");
                    assert!(!layout.fits(size / 2));
                    assert_eq!(layout.charge_room != 0, disk);
                }
            }
        }
        assert!(Layout::new(1000, 1, 1, 1, false).is_err());
        assert!(Layout::new(1 << 40, 1, 1, 1, false).is_err());
    }
}

//! Who this process and this thread are in the tree, and what children need to be there as well.
//!
//! A lineage is the parent's, then which of its children this is: the second child of the root is `0.2`; a child made
//! by another thread than the main one names the thread, as in `0.1:3`. It is the same in every run with the same
//! seed, unlike a pid. Decisions hang on its hash; exec goes on with the same lineage and a fresh hash.

use crate::guard::{ORDINAL_TEXT, Thread, thread};
use crate::session::Session;
use crate::slots::{claim_process, claim_thread, fold};
use crate::text::Text;
use crate::{log, paths, real, sys};
use chaos_table::decide::{combine, last_component, mix, stream_seed};
use chaos_table::record::{Record, kind};
use chaos_table::rule::flag;
use chaos_table::session::{Header, ProcessCounters, ProcessSlot, ThreadSlot, slot_state};
use rand_core::SeedableRng;
use rand_xorshift::XorShiftRng;
use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Longest lineage that is kept as text; deeper ones end in `+`, their hash stays exact.
pub const LINEAGE_TEXT: usize = 120;
/// Salt of the hash of an image after exec.
const EXEC: u64 = 0x6578_6563;

/// A place in the tree.
#[derive(Clone, Copy)]
pub struct Lineage {
    /// As the log shows it.
    pub text: Text<LINEAGE_TEXT>,
    /// What decisions hang on: the seed, all ancestors, and the images before this one.
    pub hash: u64,
}

impl Lineage {
    /// The first process of a run.
    pub fn root(seed: u64) -> Lineage {
        let mut text = Text::EMPTY;
        text.push(b"0");
        Lineage { text, hash: mix(seed) }
    }

    /// The `count`th child that a thread makes.
    fn child(&self, thread: &Thread, count: u32) -> Lineage {
        let mut text = self.text;
        let ordinal = thread.ordinal_text.get();
        let ordinal = ordinal.get(..usize::from(thread.ordinal_len.get())).unwrap_or(&[]);
        let whole = text.push(b".")
            && (ordinal.is_empty() || (text.push(ordinal) && text.push(b":")))
            && text.push_number(u64::from(count));
        if !whole {
            text.mark_cut();
        }
        Lineage { text, hash: combine(self.hash, combine(thread.ordinal.get(), u64::from(count))) }
    }

    /// The next image in the same place.
    pub fn after_exec(&self) -> Lineage {
        Lineage { text: self.text, hash: combine(self.hash, EXEC) }
    }
}

/// This process. Written by the constructor and by the only thread of a fresh fork child.
pub struct Me {
    /// Its pid, as it sees it.
    pub pid: u32,
    /// Number of this image in the session.
    pub uid: u32,
    /// Number of its parent's image.
    pub parent: u32,
    /// Its slot; null when there was no room.
    pub slot: *mut ProcessSlot,
    /// Its place.
    pub lineage: Lineage,
    /// The name it was started by.
    pub program: Text<64>,
    /// Its executable.
    pub executable: Text<256>,
    /// Rules whose `process` selector matches it, or that have none.
    pub rules: u64,
    /// The same of those that put clocks off.
    pub clocks: u64,
}

struct MeCell(UnsafeCell<Me>);

// SAFETY: written before other threads of this process can be inside the shim: by the constructor, and in a fork child
// by the one thread that won the generation word.
unsafe impl Sync for MeCell {}

#[unsafe(link_section = ".data.chaos_start")]
static ME: MeCell = MeCell(UnsafeCell::new(Me {
    pid: 0,
    uid: 0,
    parent: 0,
    slot: std::ptr::null_mut(),
    lineage: Lineage { text: Text::EMPTY, hash: 0 },
    program: Text::EMPTY,
    executable: Text::EMPTY,
    rules: 0,
    clocks: 0,
}));

/// The generation word, on a page that the kernel wipes in every forked child, however it was forked.
#[unsafe(link_section = ".data.chaos_start")]
static GENERATION: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const NO_GENERATION).cast_mut());
static NO_GENERATION: AtomicU64 = AtomicU64::new(0);
/// Value of the word while a fork child attaches.
const ATTACHING: u64 = 1;

/// This process.
#[inline(always)]
pub fn me() -> &'static Me {
    // SAFETY: see MeCell.
    unsafe { &*ME.0.get() }
}

fn generation() -> &'static AtomicU64 {
    // SAFETY: points at a static, or at a page of ours that stays mapped.
    unsafe { &*GENERATION.load(Ordering::Relaxed) }
}

/// Whether the process at hand is a vfork child: it has its parent's memory, but another pid.
pub fn in_vfork_child(thread: &Thread) -> bool {
    if !thread.maybe_vfork.get() {
        return false;
    }
    if sys::getpid() == me().pid {
        thread.maybe_vfork.set(false);
        return false;
    }
    true
}

/// pid, tid and image number for a record.
pub fn who(thread: &Thread) -> (u32, u32, u32) {
    if in_vfork_child(thread) {
        let pid = sys::getpid();
        return (pid, pid, me().uid);
    }
    if thread.tid.get() == 0 {
        thread.tid.set(sys::gettid());
    }
    (me().pid, thread.tid.get(), me().uid)
}

/// Where a new image stands.
pub struct Arrival<'a> {
    /// Its place in the tree.
    pub lineage: &'a Lineage,
    /// Number of the parent's image (of the image before exec, for that).
    pub parent: u32,
    /// Slots of the image before exec: process, thread.
    pub inherited: Option<(usize, Option<usize>)>,
}

/// Takes a place in the session for a fresh image, started by this path, and writes its record. False when there is no
/// room.
pub fn arrive(session: &Session, arrival: &Arrival<'_>, started_by: &[u8]) -> bool {
    if let Some(page) = sys::mmap(4096, -1)
        && sys::wipe_on_fork(page, 4096)
    {
        GENERATION.store(page.cast(), Ordering::Relaxed);
    }
    // SAFETY: the constructor runs before any thread of this image can be inside the shim.
    let me = unsafe { &mut *ME.0.get() };
    me.executable.fill(|room| sys::readlink(c"/proc/self/exe", room).map(<[u8]>::len));
    let name = if started_by.is_empty() { me.executable.bytes() } else { started_by };
    me.program.push(last_component(name));
    me.lineage = *arrival.lineage;
    let rules = rules_for(session, me.program.bytes(), me.executable.bytes());
    (me.rules, me.clocks) = (rules & !session.clocks, rules & session.clocks);
    let inherited = arrival
        .inherited
        .map(|(process, thread)| (session.process(process), thread.map(|thread| session.thread(thread))));
    settle(session, thread(), me, arrival.parent, inherited)
}

/// Rules whose `process` selector does not exclude this program.
fn rules_for(session: &Session, program: &[u8], executable: &[u8]) -> u64 {
    let patterns = session.patterns();
    let names = [program, last_component(executable), executable];
    let wanted = session.rules().iter().enumerate().filter(|(_, rule)| {
        (!rule.has(flag::PROCESS) || patterns.process(rule.processes, &names))
            && !patterns.process(rule.except.processes, &names)
    });
    wanted.fold(0, |bits, (index, _)| bits | 1 << index)
}

/// A place in the table of processes, claimed before the process has it.
#[derive(Clone, Copy)]
pub struct Reserved {
    uid: u32,
    slot: *mut ProcessSlot,
}

/// Numbers a new image and claims a place for it. `None` when there is none.
pub fn reserve(session: &Session) -> Option<Reserved> {
    let uid = number_image(session);
    claim_process(session, uid).map(|slot| prepare(session, uid, slot))
}

/// The number of a new image.
fn number_image(session: &Session) -> u32 {
    session.counter(offset_of!(Header, last_process)).fetch_add(1, Ordering::Relaxed) as u32 + 1
}

/// Clears a claimed place for its new owner.
fn prepare(session: &Session, uid: u32, slot: *mut ProcessSlot) -> Reserved {
    // SAFETY: the slot is ours alone.
    unsafe {
        (*slot).pid = 0;
        (*slot).uid = uid;
        (*slot).live_bytes = 0;
    }
    for rule in 0..session.rule_count() {
        for field in [offset_of!(ProcessCounters, seen), offset_of!(ProcessCounters, fired)] {
            session.process_counter(slot, rule, field).store(0, Ordering::Relaxed);
        }
    }
    Reserved { uid, slot }
}

/// Takes a place for this image, writes its record, opens the generation. Allocates nothing.
fn settle(
    session: &Session,
    thread: &Thread,
    me: &mut Me,
    parent: u32,
    inherited: Option<(*mut ProcessSlot, Option<*mut ThreadSlot>)>,
) -> bool {
    let pid = sys::getpid();
    // SAFETY: both come from `session.process` and `session.thread`.
    let old = inherited.filter(|(process, _)| unsafe { (**process).pid == pid });
    if let Some((_, Some(own))) = old
        // SAFETY: as above.
        && unsafe { (*own).pid == pid }
    {
        fold(session, own);
    }
    let reserved = match old {
        Some((slot, _)) => {
            // SAFETY: the slot is this process's own, from before exec.
            unsafe { AtomicU32::from_ptr(&raw mut (*slot).state) }.store(slot_state::CLAIMED, Ordering::Relaxed);
            Some(prepare(session, number_image(session), slot))
        }
        None => reserve(session),
    };
    take(session, thread, me, parent, reserved) && {
        announce(session, thread);
        true
    }
}

/// Makes a reserved place this process's own and opens the generation; a session's page is touched only where there is
/// no place.
fn take(session: &Session, thread: &Thread, me: &mut Me, parent: u32, reserved: Option<Reserved>) -> bool {
    me.pid = sys::getpid();
    me.parent = parent;
    thread.tid.set(me.pid);
    thread.maybe_vfork.set(false);
    thread.slot.set(0);
    thread.generation.set(0);
    thread.children.set(0);
    thread.threads.set(0);
    let Some(Reserved { uid, slot }) = reserved else {
        me.slot = std::ptr::null_mut();
        session.counter(offset_of!(Header, lost_processes)).fetch_add(1, Ordering::Relaxed);
        generation().store(ATTACHING, Ordering::Release);
        escape(session, thread, b"no room in the table of processes", me.program.bytes());
        return false;
    };
    (me.uid, me.slot) = (uid, slot);
    // Never 0 (wiped) nor ATTACHING, and different in every image.
    generation().store(u64::from(uid) + 2, Ordering::Release);
    true
}

/// Writes this process's record, unless its parent has.
pub fn announce(session: &Session, thread: &Thread) {
    let me = me();
    if !me.slot.is_null() {
        announce_as(session, thread, Reserved { uid: me.uid, slot: me.slot }, me.pid, me.parent, &me.lineage);
    }
}

fn announce_as(session: &Session, thread: &Thread, reserved: Reserved, pid: u32, parent: u32, lineage: &Lineage) {
    let slot = reserved.slot;
    // SAFETY: the slot was claimed for this process; the state says whether parent or child comes first.
    unsafe {
        let state = AtomicU32::from_ptr(&raw mut (*slot).state);
        let first = state.compare_exchange(slot_state::CLAIMED, slot_state::LIVE, Ordering::AcqRel, Ordering::Relaxed);
        if first.is_err() {
            return;
        }
        (*slot).pid = pid;
        (*slot).parent = parent;
    }
    let mut record = Record {
        kind: kind::PROCESS,
        pid,
        tid: pid,
        process: reserved.uid,
        effect: parent as i32,
        ..Record::default()
    };
    log::publish(session, thread, &mut record, &[lineage.text.bytes(), me().program.bytes(), me().executable.bytes()]);
}

/// In the parent: a fork has made the process that a place was reserved for, or has failed.
///
/// The parent writes the record, since it has the pages of the session at hand and the child has not.
pub fn forked(session: &Session, thread: &Thread, reserved: Reserved, pid: i32) {
    if let Ok(pid @ 1..) = u32::try_from(pid) {
        announce_as(session, thread, reserved, pid, me().uid, &lineage_of_child(thread));
        return;
    }
    // SAFETY: the slot was claimed by us, and there is no child.
    unsafe { AtomicU32::from_ptr(&raw mut (*reserved.slot).state) }.store(slot_state::FREE, Ordering::Release);
}

/// Records a child that cannot be followed, and why.
pub fn escape(session: &Session, thread: &Thread, reason: &[u8], program: &[u8]) {
    let mut record = Record { kind: kind::ESCAPE, ..Record::default() };
    log::publish(session, thread, &mut record, &[reason, program]);
}

/// Counts a child that this thread is about to make.
pub fn count_child(thread: &Thread) {
    thread.children.set(thread.children.get().wrapping_add(1));
}

/// Where the child that this thread made last stands.
pub fn lineage_of_child(thread: &Thread) -> Lineage {
    me().lineage.child(thread, thread.children.get())
}

/// In a fork child: takes the place that its parent has reserved, or one of its own. `thread` is the only one there is;
/// `parents` is the generation before the fork, which a kernel that wipes no page has left there.
#[cold]
pub fn after_fork(session: &Session, thread: &Thread, parents: u64, reserved: Option<Reserved>) {
    let _ = generation().compare_exchange(parents, 0, Ordering::Relaxed, Ordering::Relaxed);
    if generation().compare_exchange(0, ATTACHING, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    // SAFETY: we won the generation word; other threads of this child pass until it is opened.
    let me = unsafe { &mut *ME.0.get() };
    let parent = me.uid;
    me.lineage = me.lineage.child(thread, thread.children.get());
    paths::free_desks();
    let settled = match reserved {
        Some(_) => take(session, thread, me, parent, reserved),
        None => settle(session, thread, me, parent, None),
    };
    if !settled {
        real::disarm();
    }
}

/// The generation, for [`after_fork`].
pub fn generation_now() -> u64 {
    generation().load(Ordering::Relaxed)
}

/// Whether the slot that a thread knows is its own, in this process and image.
#[inline(always)]
pub fn is_own_slot(thread: &Thread) -> bool {
    // Generation words are never 0 once attached, a thread's own is 0 until it has a slot.
    thread.generation.get() == generation().load(Ordering::Relaxed) && thread.generation.get() != 0
}

/// This thread's slot; `None` when there is no room, or while the process attaches: the call passes.
#[inline(always)]
pub fn thread_slot(session: &Session, thread: &Thread) -> Option<*mut ThreadSlot> {
    if is_own_slot(thread) {
        return Some(thread.slot.get() as *mut ThreadSlot);
    }
    find_thread_slot(session, thread)
}

#[cold]
fn find_thread_slot(session: &Session, thread: &Thread) -> Option<*mut ThreadSlot> {
    if generation().load(Ordering::Acquire) == 0 {
        // A fork that no hook saw (a raw clone): the wiped page tells.
        after_fork(session, thread, 0, None);
    }
    let generation = generation().load(Ordering::Acquire);
    if generation <= ATTACHING || me().slot.is_null() {
        return None;
    }
    announce(session, thread);
    thread.tid.set(sys::gettid());
    let Some(slot) = claim_thread(session) else {
        session.counter(offset_of!(Header, lost_threads)).fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let key = combine(me().lineage.hash, thread.ordinal.get());
    // SAFETY: the slot is ours alone; XorShiftRng is 16 bytes without padding, for which every value is valid.
    unsafe {
        (*slot).tid = thread.tid.get();
        (*slot).pid = me().pid;
        (*slot).process = me().uid;
        (*slot).key = key;
        for rule in 0..session.rule_count() {
            let counters = session.thread_counters(slot, rule);
            (*counters).matched = 0;
            (*counters).protected = 0;
            (*counters).fired = 0;
            let stream = XorShiftRng::from_seed(stream_seed(key, rule));
            (&raw mut (*counters).stream).cast::<XorShiftRng>().write_unaligned(stream);
        }
        AtomicU32::from_ptr(&raw mut (*slot).state).store(slot_state::LIVE, Ordering::Release);
    }
    thread.slot.set(slot as usize);
    thread.generation.set(generation);
    Some(slot)
}

const _: () = assert!(size_of::<XorShiftRng>() == 16 && align_of::<XorShiftRng>() <= 8);

/// Gives a new thread its ordinal: its creator's, and how many threads that one had created.
pub fn name_thread(new: &Thread, parent_text: &[u8], parent: u64, count: u32) {
    let mut text = Text::<ORDINAL_TEXT>::EMPTY;
    let whole =
        (parent_text.is_empty() || (text.push(parent_text) && text.push(b"-"))) && text.push_number(u64::from(count));
    if !whole {
        text.mark_cut();
    }
    new.ordinal.set(combine(parent.wrapping_add(1), u64::from(count)));
    new.ordinal_len.set(text.bytes().len() as u8);
    new.ordinal_text.set(text.to_array());
}

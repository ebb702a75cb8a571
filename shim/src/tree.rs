//! Who this process and this thread are in the tree, and what children need to be there as well.
//!
//! A lineage is the parent's, then which of its children this is: the second child of the root is `0.2`; a child made
//! by another thread than the main one names the thread, as in `0.1:3`. It is the same in every run with the same
//! seed, unlike a pid. Decisions hang on its hash; exec goes on with the same lineage and a fresh hash.

use crate::guard::{Begun, ORDINAL_TEXT, Thread, thread};
use crate::session::{Session, attached};
use crate::slots::{claim_process, claim_thread, fold};
use crate::text::Text;
use crate::{learn, log, paths, real, sys, target};
use chaos_table::decide::{last_component, stream_seed};
use chaos_table::lineage;
use chaos_table::record::{Record, escaped, kind};
use chaos_table::rule::{RULE_BITS, flag};
use chaos_table::session::{Header, ProcessCounters, ProcessSlot, ThreadSlot, engine, hand_over, slot_state};
use rand_core::SeedableRng;
use rand_xorshift::XorShiftRng;
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Longest lineage that is kept as text.
pub const LINEAGE_TEXT: usize = lineage::TEXT;

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
        Lineage { text, hash: lineage::root(seed) }
    }

    /// The `count`th child that a thread makes.
    fn child(&self, thread: &Thread, count: u32) -> Lineage {
        let mut child = *self;
        child.descend(thread, count);
        child
    }

    /// Goes on to that child. In place: what a fresh fork copies costs it a page.
    #[inline(always)]
    fn descend(&mut self, thread: &Thread, count: u32) {
        let ordinal = thread.ordinal_text.get();
        let ordinal = ordinal.get(..usize::from(thread.ordinal_len.get())).unwrap_or(&[]);
        let whole = self.text.push(b".")
            && (ordinal.is_empty() || (self.text.push(ordinal) && self.text.push(b":")))
            && self.text.push_number(u64::from(count));
        if !whole {
            self.text.mark_cut();
        }
        self.hash = lineage::child(self.hash, thread.ordinal.get(), count);
    }

    /// The next image in the same place.
    pub fn after_exec(&self) -> Lineage {
        Lineage { text: self.text, hash: lineage::after_exec(self.hash) }
    }
}

// What a start and a fork write lies on one page: each more is a copy.
std::arch::global_asm!(".pushsection .data.chaos_start,\"aw\",@progbits", ".balign 4096", ".popsection");

/// This process. Written by the constructor and by a fork child when it first needs its place: what a child never asks
/// for costs it nothing. Until then the parent's stands here, so that who it is, is asked by [`here`].
pub struct Me {
    /// Its pid, as it sees it.
    pid: u32,
    /// Number of this image in the session.
    uid: u32,
    /// Number of its parent's image.
    parent: u32,
    /// Its slot; null when there was no room.
    slot: *mut ProcessSlot,
    /// Its place.
    lineage: Lineage,
    /// The name it was started by.
    pub program: Text<64>,
    /// Its executable.
    pub executable: Text<256>,
    /// Rules whose `process` selector matches it, or that have none.
    rules: AtomicU64,
    /// The same of those that put clocks off.
    clocks: AtomicU64,
    /// Bits of an operation's word that make a call go the long way: all but those of rules that this process knows.
    strange: AtomicU64,
    /// It is below a filter: the seccomp engine has its system calls.
    pub supervised: bool,
}

impl Me {
    /// Number of this image in the session.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Number of its parent's image.
    pub fn parent(&self) -> u32 {
        self.parent
    }

    /// Its pid, as it sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its slot; null when there was no room.
    #[inline(always)]
    pub fn slot(&self) -> *mut ProcessSlot {
        self.slot
    }

    /// Its place.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Rules that are about this process.
    #[inline(always)]
    pub fn rules(&self) -> u64 {
        // Acquire: who sees a rule here sees all that was prepared for it.
        self.rules.load(Ordering::Acquire)
    }

    /// Rules that put the clocks of this process off.
    #[inline(always)]
    pub fn clocks(&self) -> u64 {
        self.clocks.load(Ordering::Acquire)
    }

    /// What makes a call go the long way: [`TRACK`](chaos_table::rule::TRACK) and its like, and rules added since.
    #[inline(always)]
    pub fn strange(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    /// Takes up which rules there are, and which of them are about this process.
    #[unsafe(link_section = ".text.chaos_start")]
    pub fn set_rules(&self, session: &Session) {
        let mine = rules_for(session, self);
        let known = 1u64.checked_shl(session.rule_count() as u32).map_or(u64::MAX, |bit| bit - 1);
        self.clocks.store(mine & session.clocks(), Ordering::Release);
        self.rules.store(mine & !session.clocks(), Ordering::Release);
        self.strange.store(!known, Ordering::Release);
    }
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
    rules: AtomicU64::new(0),
    clocks: AtomicU64::new(0),
    strange: AtomicU64::new(!RULE_BITS),
    supervised: false,
}));

/// A page of its own, of which nothing lies in a file.
#[repr(C, align(4096))]
pub struct Page(AtomicU64, [u8; 4096 - 8]);

/// The generation word, on a page that the kernel wipes in every forked child, however it was forked. The entries look at
/// it as well.
#[unsafe(link_section = ".bss.chaos_generation")]
pub static GENERATION: Page = Page(AtomicU64::new(0), [0; 4096 - 8]);
/// The kernel wipes that page, as every one since Linux 4.14 does.
#[unsafe(link_section = ".data.chaos_start")]
static IS_WIPED: AtomicBool = AtomicBool::new(false);
/// What image numbers are multiplied by (2^64 over the silver ratio), see `ahead.rs`.
const GENERATIONS_APART: u64 = 0x6A09_E667_F3BC_C909;
/// Value of the word while a fork child attaches.
const ATTACHING: u64 = 1;

/// This process, as far as a fork child is what its parent is.
#[inline(always)]
pub fn me() -> &'static Me {
    // SAFETY: see MeCell.
    unsafe { &*ME.0.get() }
}

/// This process with its own place: a fork child takes it now, also after a fork that no hook saw (a raw clone), since the
/// wiped page tells.
#[inline(always)]
pub fn here() -> &'static Me {
    if generation().load(Ordering::Acquire) == 0
        && let Some(session) = attached()
    {
        attach(session, thread());
    }
    me()
}

const fn generation() -> &'static AtomicU64 {
    &GENERATION.0
}

/// Whether the process at hand is a vfork child: it has its parent's memory, but another pid.
pub fn in_vfork_child(thread: &Thread) -> bool {
    if !thread.maybe_vfork.get() {
        return false;
    }
    if sys::getpid() == here().pid {
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
    let me = here();
    if thread.tid.get() == 0 {
        thread.tid.set(sys::gettid());
    }
    (me.pid, thread.tid.get(), me.uid)
}

/// A thread, as rules name their owner.
pub fn owner(thread: &Thread) -> u64 {
    let (_, tid, image) = who(thread);
    u64::from(image) << 32 | u64::from(tid)
}

/// Where a new image stands.
pub struct Arrival<'a> {
    /// Its place in the tree.
    pub lineage: &'a Lineage,
    /// Number of the parent's image (of the image before exec, for that).
    pub parent: u32,
    /// Slots of the image before exec: process, thread.
    pub inherited: Option<(usize, Option<usize>)>,
    /// It is said to be below a filter of the seccomp engine.
    pub supervised: bool,
}

/// Takes a place in the session for a fresh image, started by this path, and writes its record. False when there is no
/// room.
#[unsafe(link_section = ".text.chaos_start")]
pub fn arrive(session: &Session, arrival: &Arrival<'_>, started_by: &CStr) -> bool {
    IS_WIPED.store(sys::wipe_on_fork((&raw const GENERATION).cast_mut().cast(), size_of::<Page>()), Ordering::Relaxed);
    // SAFETY: the constructor runs before any thread of this image can be inside the shim.
    let me = unsafe { &mut *ME.0.get() };
    target::own_executable(session, started_by, &mut me.executable);
    let name = if started_by.is_empty() { me.executable.bytes() } else { started_by.to_bytes() };
    me.program.push(last_component(name));
    me.lineage = *arrival.lineage;
    me.supervised = arrival.supervised;
    me.set_rules(session);
    let inherited = arrival
        .inherited
        .map(|(process, thread)| (session.process(process), thread.map(|thread| session.thread(thread))));
    if me.supervised && adopt(session, thread(), me) {
        return true;
    }
    // Whoever was to put it below a filter could not.
    me.supervised = false;
    settle(session, thread(), me, arrival.parent, inherited)
}

/// Rules whose `process` selector does not exclude this program, and that are no other process's alone.
fn rules_for(session: &Session, me: &Me) -> u64 {
    let patterns = session.patterns();
    let executable = me.executable.bytes();
    let names = [me.program.bytes(), last_component(executable), executable];
    let wanted = session.rules().iter().enumerate().filter(|(_, rule)| {
        (!rule.has(flag::PROCESS) || patterns.process(rule.processes, &names))
            && !patterns.process(rule.except.processes, &names)
            && (rule.owner == 0 || (rule.owner >> 32) as u32 == me.uid)
    });
    wanted.fold(0, |bits, (index, _)| bits | 1 << index)
}

/// Below a filter: takes the place that the engine keeps for this process, whose record it has written. False when there
/// is no engine, or no place.
#[cold]
fn adopt(session: &Session, thread: &Thread, me: &mut Me) -> bool {
    let Some(index) = sys::who_am_i().filter(|index| *index < session.process_room()) else { return false };
    let slot = session.process(index);
    // SAFETY: inside the mapping; the engine has filled it before it answered.
    let (uid, parent, hash) = unsafe { ((*slot).uid, (*slot).parent, (*slot).lineage) };
    me.lineage.hash = hash;
    take(session, thread, me, parent, Some(Reserved { uid, slot }))
}

/// Gives back a place whose process never came to be.
pub fn give_back(reserved: Reserved) {
    // SAFETY: the slot was claimed by us, and there is no child.
    unsafe { AtomicU32::from_ptr(&raw mut (*reserved.slot).state) }.store(slot_state::FREE, Ordering::Release);
}

impl Reserved {
    /// Where it is in the table.
    pub fn index(&self, session: &Session) -> usize {
        session.process_index(self.slot)
    }
}

/// A place in the table of processes, claimed before the process has it.
#[derive(Clone, Copy)]
pub struct Reserved {
    uid: u32,
    slot: *mut ProcessSlot,
}

/// Numbers a new image and claims a place for it. `None` when there is none.
#[unsafe(link_section = ".text.chaos_start")]
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
        (*slot).children = 0;
        (*slot).hand_over = hand_over::NONE;
        (*slot).engine = engine::PRELOAD;
    }
    // Of all that there is room for: rules may be added.
    for rule in 0..session.rule_room() {
        for field in [offset_of!(ProcessCounters, seen), offset_of!(ProcessCounters, fired)] {
            session.process_counter(slot, rule, field).store(0, Ordering::Relaxed);
        }
    }
    Reserved { uid, slot }
}

/// Takes a place for this image, writes its record, opens the generation. Allocates nothing.
#[unsafe(link_section = ".text.chaos_start")]
fn settle(
    session: &Session,
    thread: &Thread,
    me: &mut Me,
    parent: u32,
    inherited: Option<(*mut ProcessSlot, Option<*mut ThreadSlot>)>,
) -> bool {
    let old = inherited.filter(|(process, thread)| {
        let pid = sys::getpid();
        // SAFETY: both come from `session.process` and `session.thread`. A page that is first read is faulted in twice.
        let is_own = unsafe {
            sys::touch(process.cast());
            (**process).pid == pid
        };
        if is_own
            && let Some(own) = thread
            // SAFETY: as above.
            && unsafe { (**own).pid == pid }
        {
            fold(session, *own);
        }
        is_own
    });
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
#[inline(always)]
fn take(session: &Session, thread: &Thread, me: &mut Me, parent: u32, reserved: Option<Reserved>) -> bool {
    me.pid = sys::getpid();
    me.parent = parent;
    thread.tid.set(me.pid);
    thread.maybe_vfork.set(false);
    thread.slot.set(0);
    thread.lead.drop();
    thread.generation.set(0);
    thread.children.set(0);
    thread.threads.set(0);
    thread.begun.set(Begun::NONE);
    let Some(Reserved { uid, slot }) = reserved else {
        me.slot = std::ptr::null_mut();
        session.counter(offset_of!(Header, lost_processes)).fetch_add(1, Ordering::Relaxed);
        generation().store(ATTACHING, Ordering::Release);
        escape(session, thread, escaped::ITSELF, b"no room in the table of processes", me.program.bytes());
        return false;
    };
    (me.uid, me.slot) = (uid, slot);
    // Different in every image, far apart (an odd factor keeps them different), never 0 (wiped) nor ATTACHING.
    generation().store((u64::from(uid) + 2).wrapping_mul(GENERATIONS_APART), Ordering::Release);
    true
}

/// Writes this process's record, unless its parent has.
pub fn announce(session: &Session, thread: &Thread) {
    let me = here();
    // Below a filter the engine has written it.
    if !me.slot.is_null() && !me.supervised {
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
        announce_as(session, thread, reserved, pid, here().uid, &lineage_of_child(thread));
        return;
    }
    give_back(reserved);
}

/// Records what cannot be followed, one of [`escaped`], and why.
pub fn escape(session: &Session, thread: &Thread, what: i32, reason: &[u8], program: &[u8]) {
    let mut record = Record { kind: kind::ESCAPE, effect: what, ..Record::default() };
    log::publish(session, thread, &mut record, &[reason, program]);
}

/// Counts a child that this thread is about to make: which of its children it is.
pub fn count_child(thread: &Thread) -> u32 {
    // The first of a fresh fork child is its first, not one more of its parent's.
    match shared_count(here(), thread) {
        Some(children) => children.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
        None => {
            thread.children.set(thread.children.get().wrapping_add(1));
            thread.children.get()
        }
    }
}

/// Where the children of the main thread are counted, if this is it; another counts them itself.
fn shared_count<'a>(me: &Me, thread: &Thread) -> Option<&'a AtomicU32> {
    let is_main = thread.ordinal_len.get() == 0 && !me.slot.is_null();
    // SAFETY: the slot is this process's own, in the mapping that stays.
    is_main.then(|| unsafe { AtomicU32::from_ptr(&raw mut (*me.slot).children) })
}

/// Where the child that this thread made last stands.
pub fn lineage_of_child(thread: &Thread) -> Lineage {
    let me = here();
    let count = shared_count(me, thread).map_or(thread.children.get(), |children| children.load(Ordering::Relaxed));
    me.lineage.child(thread, count)
}

/// In a fork child, whose only thread this is: notes what its parent has reserved for it, which it takes when it first
/// needs it (see [`here`]): each page that a fresh child writes is a copy.
#[inline(always)]
pub fn after_fork(thread: &Thread, count: u32, reserved: Option<Reserved>) {
    if !IS_WIPED.load(Ordering::Relaxed) {
        generation().store(0, Ordering::Relaxed);
    }
    // The kernel has written the thread's number on this page already.
    thread.maybe_vfork.set(false);
    thread.tid.set(0);
    thread.children.set(count);
    let (uid, slot) = reserved.map_or((0, std::ptr::null_mut()), |Reserved { uid, slot }| (uid, slot));
    thread.reserved_uid.set(uid);
    thread.reserved.set(slot);
    paths::free_desks();
    learn::forget_parent();
}

/// A fresh fork child takes the place that its parent has reserved, or one of its own.
#[cold]
#[unsafe(link_section = ".text.chaos_start")]
fn attach(session: &Session, thread: &Thread) {
    if generation().compare_exchange(0, ATTACHING, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    // SAFETY: we won the generation word; other threads of this child pass until it is opened.
    let me = unsafe { &mut *ME.0.get() };
    let parent = me.uid;
    me.lineage.descend(thread, thread.children.get());
    let reserved = reserved(thread);
    let settled = match reserved {
        _ if me.supervised => adopt(session, thread, me),
        Some(_) => take(session, thread, me, parent, reserved),
        None => settle(session, thread, me, parent, None),
    };
    // Rules that a thread of the parent's has begun stay in `rules`: their owner is no thread of this process.
    if !settled {
        real::disarm();
    }
}

/// What the parent has reserved for this fork child, unless that is another's: a fork that no hook saw copies the note.
fn reserved(thread: &Thread) -> Option<Reserved> {
    let (uid, slot) = (thread.reserved_uid.get(), thread.reserved.replace(std::ptr::null_mut()));
    // SAFETY: it came from `reserve`, and lies in the mapping whosever it is by now; the parent may be writing it.
    let is_ours = !slot.is_null()
        && unsafe {
            let pid = AtomicU32::from_ptr(&raw mut (*slot).pid).load(Ordering::Relaxed);
            (*slot).uid == uid && (pid == 0 || pid == sys::getpid())
        };
    is_ours.then_some(Reserved { uid, slot })
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

/// Rules were added: every thread looks after its slot before it counts for them.
pub fn outdate_slots() {
    let outdate = |now: u64| (now > ATTACHING).then(|| now.wrapping_add(1 << 40));
    let _ = generation().fetch_update(Ordering::AcqRel, Ordering::Relaxed, outdate);
}

/// Seeds the streams of the rules from the `first` on.
///
/// # Safety
/// `slot` must be this thread's own.
unsafe fn seed(session: &Session, slot: *mut ThreadSlot, first: usize) {
    // SAFETY: XorShiftRng is 16 bytes without padding, for which every value is valid.
    unsafe {
        let known = session.rule_count();
        for rule in first..known {
            let stream = XorShiftRng::from_seed(stream_seed((*slot).key, rule));
            let counters = session.thread_counters(slot, rule);
            (&raw mut (*counters).stream).cast::<XorShiftRng>().write_unaligned(stream);
        }
        (*slot).seeded = known as u64;
    }
}

#[cold]
fn find_thread_slot(session: &Session, thread: &Thread) -> Option<*mut ThreadSlot> {
    let me = here();
    let generation = generation().load(Ordering::Acquire);
    if generation <= ATTACHING || me.slot.is_null() {
        return None;
    }
    let slot = thread.slot.get() as *mut ThreadSlot;
    // SAFETY: it came from `session.thread`, and lies in the mapping whosever it is by now.
    let is_own = !slot.is_null()
        && unsafe { (*slot).process == me.uid && (*slot).pid == me.pid && (*slot).tid == sys::gettid() };
    if is_own {
        // SAFETY: this thread's own.
        unsafe { seed(session, slot, (*slot).seeded.min(session.rule_room() as u64) as usize) };
        thread.generation.set(generation);
        return Some(slot);
    }
    announce(session, thread);
    thread.tid.set(sys::gettid());
    let Some(slot) = claim_thread(session) else {
        session.counter(offset_of!(Header, lost_threads)).fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let key = lineage::key(me.lineage.hash, thread.ordinal.get());
    // SAFETY: the slot is ours alone.
    unsafe {
        (*slot).tid = thread.tid.get();
        (*slot).pid = me.pid;
        (*slot).process = me.uid;
        (*slot).key = key;
        (*slot).injections = 0;
        // Of all that there is room for: rules may be added.
        for rule in 0..session.rule_room() {
            let counters = session.thread_counters(slot, rule);
            (*counters).matched = 0;
            (*counters).protected = 0;
            (*counters).fired = 0;
        }
        seed(session, slot, 0);
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
    new.ordinal.set(lineage::thread(parent, count));
    new.ordinal_len.set(text.bytes().len() as u8);
    new.ordinal_text.set(text.to_array());
}

//! Our traces in environments: taken out of this process's own, put into those of its children.
//!
//! A vfork child must not allocate, since its memory is its parent's: environments are rebuilt on the stack, from
//! strings that the constructor has kept.

use crate::guard::{Thread, Token, thread};
use crate::handing::{Hand, Handing};
use crate::session::{Session, attached};
use crate::text::Text;
use crate::tree::{self, Lineage};
use crate::{sys, target};
use chaos_table::record::escaped;
use chaos_table::{elf, env};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char};

const PRELOAD: &[u8] = b"LD_PRELOAD=";
/// At the end of a place: the seccomp engine has the system calls there.
const SUPERVISED: &[u8] = b"s";
/// The largest list of an environment that is rebuilt on the stack, in bytes: some 4000 variables. Threads may have 64 KB
/// in all. Beyond, memory is mapped (and lost by a vfork child).
const STACK_LIMIT: usize = 32 * 1024;

/// What the environment of this process held of ours.
pub struct Found {
    /// The session to attach to; kept for children as well.
    pub session: Option<&'static CStr>,
    /// Our place, told by the process that started us.
    pub lineage: Option<Place>,
    /// Some public CHAOS_ variable is set.
    pub any_public: bool,
    /// Our library stands first in LD_PRELOAD.
    pub preload_first: bool,
}

/// A place in the tree as a parent tells it.
pub struct Place {
    /// The lineage.
    pub lineage: Lineage,
    /// Number of the image that started this one.
    pub parent: u32,
    /// After exec: the slot of the process, and that of the thread if it had one.
    pub slots: Option<(usize, Option<usize>)>,
    /// It is said to be below a filter of the seccomp engine.
    pub supervised: bool,
}

/// Strings that children need. Copies: a program may write over its environment to show a title in `ps`.
struct Ours {
    /// Path of this library.
    preload: Text<1024>,
    /// `_CHAOS_SESSION=...` and NUL.
    session: Text<1100>,
    /// Our library stands first in LD_PRELOAD.
    first: bool,
}

struct OursCell(UnsafeCell<Ours>);

// SAFETY: written by the constructor alone, before the session is published.
unsafe impl Sync for OursCell {}

#[unsafe(link_section = ".data.chaos_start")]
static OURS: OursCell = OursCell(UnsafeCell::new(Ours { preload: Text::EMPTY, session: Text::EMPTY, first: true }));

fn ours() -> &'static Ours {
    // SAFETY: see OursCell.
    unsafe { &*OURS.0.get() }
}

/// Keeps the session's path for children. `None` when it is too long to be passed on.
///
/// # Safety
/// Only for the constructor.
#[unsafe(link_section = ".text.chaos_start")]
pub unsafe fn keep_session(path: &[u8]) -> Option<&'static CStr> {
    // SAFETY: the constructor is alone, see OursCell.
    let kept = unsafe { &mut (*OURS.0.get()).session };
    kept.truncate(0);
    let whole = kept.push(env::SESSION.as_bytes()) && kept.push(b"=") && kept.push(path) && kept.push(b"\0");
    let path = ours().session.bytes().get(env::SESSION.len() + 1..).unwrap_or(&[]);
    CStr::from_bytes_with_nul(path).ok().filter(|_| whole)
}

/// Keeps the path of this library for children, made absolute.
///
/// # Safety
/// Only for the constructor.
unsafe fn keep_library(library: &[u8], first: bool) {
    // SAFETY: the constructor is alone, see OursCell.
    let ours = unsafe { &mut *OURS.0.get() };
    ours.first = first;
    if library.first() != Some(&b'/') {
        ours.preload.fill(sys::getcwd);
        ours.preload.push(b"/");
    }
    ours.preload.push(library);
}

/// The entries of a NULL-terminated environment.
///
/// # Safety
/// `list` must be NULL, or an array that ends with NULL.
unsafe fn entries(list: *const *mut c_char) -> impl Iterator<Item = *mut c_char> {
    let mut at = list;
    std::iter::from_fn(move || {
        // SAFETY: the caller says so; the iteration stops at NULL.
        unsafe {
            if at.is_null() || (*at).is_null() {
                return None;
            }
            let entry = *at;
            at = at.add(1);
            Some(entry)
        }
    })
}

/// An entry that may be of interest here: by its first byte, since every exec looks at all of them, and their lengths
/// alone would cost it 2 us.
///
/// # Safety
/// `entry` must be a C string that stays as it is meanwhile.
unsafe fn candidate<'a>(entry: *const c_char) -> Option<&'a [u8]> {
    // LD_PRELOAD, CHAOS_ and _CHAOS_.
    // SAFETY: the caller says so.
    unsafe { matches!(entry.cast::<u8>().read(), b'L' | b'C' | b'_').then(|| CStr::from_ptr(entry).to_bytes()) }
}

fn value<'a>(entry: &'a [u8], name: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn is_private(entry: &[u8]) -> bool {
    value(entry, env::SESSION).is_some() || value(entry, env::LINEAGE).is_some()
}

fn is_public(entry: &[u8]) -> bool {
    // The file for its figures is the program's to know.
    entry.starts_with(b"CHAOS_") && value(entry, env::METRICS).is_none()
}

/// Looks for what is ours.
///
/// # Safety
/// Only for the constructor; `list` must be the process's environment.
pub unsafe fn find_ours(list: *const *mut c_char, own: &[u8]) -> Found {
    let mut found = Found { session: None, lineage: None, any_public: false, preload_first: true };
    // SAFETY: the caller says so.
    for bytes in unsafe { entries(list).filter_map(|entry| candidate(entry)) } {
        if let Some(path) = value(bytes, env::SESSION) {
            // SAFETY: the constructor calls this.
            found.session = unsafe { keep_session(path) };
        } else if let Some(text) = value(bytes, env::LINEAGE) {
            found.lineage = parse_place(text);
        } else if let Some(list) = bytes.strip_prefix(PRELOAD) {
            let before = own_span(list, own).map_or(list, |(start, _)| list.get(..start).unwrap_or(&[]));
            found.preload_first = preloads(before).next().is_none();
        } else {
            found.any_public |= is_public(bytes);
        }
    }
    found
}

fn preloads(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| matches!(byte, b':' | b' ')).filter(|part| !part.is_empty())
}

fn is_own(entry: &[u8], own: &[u8]) -> bool {
    entry == own || entry == chaos_table::decide::last_component(own)
}

/// Takes what is ours out of the environment, in place, and keeps what children need.
///
/// `is_first`: of the run, so that the public variables were meant for us. Those in a child's environment the program
/// has put there.
///
/// # Safety
/// `list` must be the process's environment; called once, by the constructor, before the program's main.
pub unsafe fn hide(list: *mut *mut c_char, own: &[u8], first: bool, is_first: bool) {
    // SAFETY: nobody reads it before the session is published; the caller answers for the list.
    unsafe {
        keep_library(own, first);
        strip(list, own, is_first);
    }
}

/// Takes our entries out of an environment, in place.
///
/// # Safety
/// `list` must be NULL or a NULL-terminated array of C strings in writable memory.
#[unsafe(link_section = ".text.chaos_start")]
unsafe fn strip(list: *mut *mut c_char, own: &[u8], with_public: bool) {
    if list.is_null() {
        return;
    }
    let mut from = list;
    let mut to = list;
    // SAFETY: `to` never passes `from`, which stops at the NULL that ends the array; strings only get shorter.
    unsafe {
        while !(*from).is_null() {
            let drop = candidate(*from).is_some_and(|bytes| match bytes.starts_with(PRELOAD) {
                true => cut_own_preload(*from, own),
                false => is_private(bytes) || (with_public && is_public(bytes)),
            });
            if !drop {
                *to = *from;
                to = to.add(1);
            }
            from = from.add(1);
        }
        *to = std::ptr::null_mut();
    }
}

/// Rewrites an LD_PRELOAD entry without our library; true when nothing is left of it.
///
/// # Safety
/// `entry` must be a C string in writable memory.
unsafe fn cut_own_preload(entry: *mut c_char, own: &[u8]) -> bool {
    // SAFETY: the caller says so.
    let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
    let Some(list) = bytes.strip_prefix(PRELOAD) else { return false };
    let Some((start, end)) = own_span(list, own) else { return false };
    if start == 0 && end == list.len() {
        return true;
    }
    // With one separator beside it.
    let (cut_from, cut_to) = if end < list.len() { (start, end + 1) } else { (start.saturating_sub(1), end) };
    let tail = list.len() - cut_to;
    // SAFETY: moves the tail of the string, with its NUL, to the left inside the same string.
    unsafe {
        let text = entry.add(PRELOAD.len());
        std::ptr::copy(text.add(cut_to), text.add(cut_from), tail + 1);
    }
    false
}

/// Where the part that is ours lies in a list: our library, and what had to be put before it.
#[unsafe(link_section = ".text.chaos_start")]
fn own_span(list: &[u8], own: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    for part in list.split(|byte| matches!(byte, b':' | b' ')) {
        let end = start + part.len();
        if is_own(part, own) {
            let before = list.get(..start).and_then(|before| before.strip_suffix(elf::BEFORE_OURS));
            let is_sanitizer = before.is_some_and(|one| preloads(one).eq([one]) && elf::must_be_first(one));
            return Some((if is_sanitizer { 0 } else { start }, end));
        }
        start = end + 1;
    }
    None
}

/// `text,hash,parent,process slot,thread slot`; the slots are `-` for a new process; `,s` follows below a filter.
fn parse_place(text: &[u8]) -> Option<Place> {
    let mut parts = text.split(|byte| *byte == b',');
    let mut lineage = Lineage { text: Text::EMPTY, hash: 0 };
    lineage.text.push(parts.next()?);
    lineage.hash = parse_number(parts.next()?, 16)?;
    let parent = parse_number(parts.next()?, 10)? as u32;
    let process = parts.next().and_then(|part| parse_number(part, 10));
    let thread = parts.next().and_then(|part| parse_number(part, 10));
    let slots = process.map(|process| (process as usize, thread.map(|thread| thread as usize)));
    let supervised = parts.next() == Some(SUPERVISED);
    Some(Place { lineage, parent, slots, supervised })
}

/// A number without a sign. Not by std: every exec runs this, and each page of code that it does not touch is a page
/// fault less.
fn parse_number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = |number: u64, byte: &u8| {
        let digit = char::from(*byte).to_digit(radix)?;
        number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, digits) }
}

/// Whose place a new image takes.
enum Slot {
    /// That of the image before it, in the same process.
    Own,
    /// A new one, which it claims itself.
    New,
    /// A new one that was claimed for it.
    At(usize),
}

/// The place of a new image, for an environment or a helper; ended by NUL.
fn place_of(session: &Session, thread: &Thread, same_process: bool, slot: &Slot) -> Text<256> {
    let me = tree::here();
    let lineage = if same_process { me.lineage().after_exec() } else { tree::lineage_of_child(thread) };
    let mut entry = Text::EMPTY;
    entry.push(lineage.text.bytes());
    entry.push(b",");
    for shift in (0..16).rev() {
        let digit = (lineage.hash >> (shift * 4)) & 15;
        entry.push(b"0123456789abcdef".get(digit as usize..=digit as usize).unwrap_or(b"0"));
    }
    entry.push(b",");
    entry.push_number(u64::from(me.uid()));
    entry.push(b",");
    match slot {
        Slot::Own if !me.slot().is_null() => {
            entry.push_number(session.process_index(me.slot()) as u64);
            entry.push(b",");
            if tree::is_own_slot(thread) {
                entry.push_number(session.thread_index(thread.slot.get() as *mut _) as u64);
            } else {
                entry.push(b"-");
            }
        }
        Slot::At(index) => {
            entry.push_number(*index as u64);
            entry.push(b",-");
        }
        _ => {
            entry.push(b"-,-");
        }
    }
    entry
}

/// A place as an environment entry.
fn entry_of(place: &Text<256>, supervised: bool) -> Text<300> {
    let mut entry = Text::EMPTY;
    entry.push(env::LINEAGE.as_bytes());
    entry.push(b"=");
    entry.push(place.bytes());
    if supervised {
        entry.push(b",");
        entry.push(SUPERVISED);
    }
    entry.push(b"\0");
    entry
}

/// How a child comes to be, for its lineage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// exec: the next image of this process (or of the vfork child that we are in).
    Exec,
    /// posix_spawn, system, popen: a new process, counted by the caller.
    Spawn,
}

/// An environment with ours in it, while it is built.
struct Build<'a, 'h> {
    given: *const *mut c_char,
    place: Text<300>,
    /// The program is to be handed over; else, or when that fails, why it escapes.
    handing: Option<Handing<'h>>,
    escape: Escape<'a>,
    /// What must be loaded before our library.
    first: Option<elf::First>,
    room: Room,
    body: &'a mut dyn FnMut(*const *mut c_char) -> isize,
}

/// What is told of a program that nobody reaches.
struct Escape<'a> {
    session: &'a Session,
    what: i32,
    reason: Option<&'static [u8]>,
    program: *const c_char,
}

impl Escape<'_> {
    /// Writes it down, if there is something to tell.
    fn tell(&self, thread: &Thread) {
        let Some(reason) = self.reason else { return };
        // SAFETY: what the program itself gives to exec is a C string, or NULL.
        let name = if self.program.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(self.program) }.to_bytes() };
        tree::escape(self.session, thread, self.what, reason, name);
    }
}

/// Calls `body` with the environment that a child gets: `given`, with our entries when the child can use them. A program
/// that only the seccomp engine reaches is handed over to that instead, where `hand` says how.
///
/// `lasting`: other threads may come to use the list, so it gets memory of its own, which is unmapped when `body` has
/// set the flag.
///
/// # Safety
/// `given` must be NULL or a NULL-terminated array of C strings; `program` NULL or a C string.
pub unsafe fn with_environment(
    given: *const *mut c_char,
    program: *const c_char,
    search: bool,
    start: Start,
    lasting: Option<&Cell<bool>>,
    hand: Option<Hand<'_>>,
    body: &mut dyn FnMut(*const *mut c_char) -> isize,
) -> isize {
    let Some(session) = attached() else { return body(given) };
    if !given.is_null() && !sys::is_readable(given.cast(), 1) {
        // The kernel says EFAULT.
        return body(given);
    }
    let Some(token) = Token::enter() else { return body(given) };
    let thread = token.thread;
    // libc's clone() is no hook of ours: ask the kernel whose memory this is.
    thread.maybe_vfork.set(true);
    let same_process = start == Start::Exec && !tree::in_vfork_child(thread);
    // The child names this image as its parent.
    tree::announce(session, thread);
    let mut found = Text::EMPTY;
    // SAFETY: the caller says so.
    let verdict = unsafe { target::examine(program, search, ours().preload.bytes(), session_path(), &mut found) };
    let supervised = tree::me().supervised;
    let what = if same_process { escaped::ITSELF } else { escaped::CHILD };
    let reason = verdict.escape.filter(|_| !(supervised && verdict.hand_over));
    let escape = Escape { session, what, reason, program };
    let named = if found.bytes().is_empty() { program } else { found.bytes().as_ptr().cast() };
    let hand = hand.filter(|_| verdict.hand_over && !supervised);
    let mut handing = hand.and_then(|hand| Handing::prepare(hand, named, session_c_path()?));
    if let Some(handing) = &mut handing {
        let own = same_process && !tree::me().slot().is_null();
        handing.reserved = if own { None } else { tree::reserve(session) };
        let slot = handing.reserved.map_or(Slot::Own, |reserved| Slot::At(reserved.index(session)));
        handing.place = place_of(session, thread, same_process, &slot);
        handing.place.push(b"\0");
    } else {
        escape.tell(thread);
    }
    if !verdict.add_ours {
        token.leave();
        return body(given);
    }
    // SAFETY: the caller says so.
    let room = unsafe { Room::of(given) };
    let size = room.bytes() + handing.as_ref().map_or(0, |handing| handing.bytes(room.entries + 8));
    let slot = if same_process && handing.is_none() { Slot::Own } else { Slot::New };
    let place = place_of(session, thread, same_process, &slot);
    let place = entry_of(&place, supervised || handing.is_some());
    let mut build = Build { given, place, handing, escape, first: verdict.first, room, body };
    token.leave();
    let context = (&raw mut build).cast::<u8>();
    if size <= STACK_LIMIT && lasting.is_none() {
        // SAFETY: `fill_and_call` takes a `Build` and a buffer of `size` bytes.
        return unsafe { sys::with_stack(size, fill_and_call, context) };
    }
    let Some(memory) = sys::mmap(size, -1) else { return (build.body)(given) };
    // SAFETY: as above; after a failed exec nobody uses the memory any more, else the flag says so.
    unsafe {
        let result = fill_and_call(memory, context);
        if lasting.is_none_or(Cell::get) {
            sys::munmap(memory, size);
        }
        result
    }
}

/// The environment that a list of ours was made of; any other list is its own.
///
/// # Safety
/// `list` must be NULL or a NULL-terminated array that stays as it is meanwhile.
pub unsafe fn given_behind(list: *const *mut c_char) -> *const *mut c_char {
    let ours = ours().session.bytes().as_ptr();
    // SAFETY: the caller says so; only `fill` writes the address of our string, before a place, NULL, and what was given.
    unsafe {
        let end = entries(list).count();
        if end < 2 || !std::ptr::eq((*list.add(end - 2)).cast_const().cast(), ours) {
            return list;
        }
        let place = CStr::from_ptr(*list.add(end - 1)).to_bytes();
        if value(place, env::LINEAGE).is_some() { (*list.add(end + 1)).cast_const().cast() } else { list }
    }
}

/// Takes our entries out of an environment that another thread has made out of ours.
///
/// # Safety
/// `list` must be the process's environment.
pub unsafe fn clean(list: *mut *mut c_char) {
    let own = ours().preload.bytes();
    // SAFETY: the caller says so.
    unsafe { strip(list, own, false) };
}

/// The path of the session as a C string.
fn session_c_path() -> Option<&'static CStr> {
    CStr::from_bytes_with_nul(ours().session.bytes().get(env::SESSION.len() + 1..)?).ok()
}

/// The path of the session, without its variable's name.
fn session_path() -> &'static [u8] {
    let bytes = ours().session.bytes();
    bytes.get(env::SESSION.len() + 1..bytes.len().max(1) - 1).unwrap_or(&[])
}

/// How much of an environment there is room for: another thread may make it longer while we copy it.
struct Room {
    /// Entries.
    entries: usize,
    /// Bytes of the longest LD_PRELOAD.
    preload: usize,
}

impl Room {
    /// # Safety
    /// `given` must be NULL or a NULL-terminated array of C strings.
    unsafe fn of(given: *const *mut c_char) -> Room {
        let mut room = Room { entries: 0, preload: 0 };
        // SAFETY: the caller says so.
        for entry in unsafe { entries(given) } {
            room.entries += 1;
            // SAFETY: as above.
            if let Some(value) = unsafe { candidate(entry) }.and_then(|bytes| bytes.strip_prefix(PRELOAD)) {
                room.preload = room.preload.max(value.len());
            }
        }
        room
    }

    /// For the pointers, the one string that changes, and our place.
    fn bytes(&self) -> usize {
        (self.entries + 8) * size_of::<*mut c_char>() + self.preload + ours().preload.bytes().len() + 560
    }
}

unsafe extern "C-unwind" fn fill_and_call(memory: *mut u8, context: *mut u8) -> isize {
    // SAFETY: `with_environment` passes its `Build`, and memory of the size that its `Room` says.
    unsafe {
        let build = &mut *context.cast::<Build<'_, '_>>();
        let list = fill(memory, build);
        let behind = memory.add(build.room.bytes().next_multiple_of(8));
        if let Some(handing) = &mut build.handing {
            if let Some(result) = handing.over(behind, list) {
                return result;
            }
            if let Some(token) = Token::enter() {
                build.escape.tell(token.thread);
                token.leave();
            }
        }
        (build.body)(list)
    }
}

/// Writes the list: what was given, but for LD_PRELOAD and stale entries of ours; then ours.
unsafe fn fill(memory: *mut u8, build: &Build<'_, '_>) -> *const *mut c_char {
    let ours = ours();
    let own = ours.preload.bytes();
    let list = memory.cast::<*mut c_char>();
    let mut count = 0;
    // LD_PRELOAD keeps the place that the program gave it.
    let mut preload_at = None;
    let mut users: &[u8] = b"";
    // SAFETY: the list has room for every given entry, three of ours and NULL; the string goes behind it.
    unsafe {
        for entry in entries(build.given).take(build.room.entries) {
            let bytes = candidate(entry).unwrap_or_default();
            if let Some(value) = bytes.strip_prefix(PRELOAD) {
                // The last one counts for the loader. It may be a longer one by now, written by another thread.
                users = value.get(..build.room.preload).unwrap_or(value);
                if preload_at.is_none() {
                    preload_at = Some(count);
                    count += 1;
                }
            } else if !is_private(bytes) {
                list.add(count).write(entry);
                count += 1;
            }
        }
        let given = preload_at.is_some();
        let preload_at = preload_at.unwrap_or_else(|| {
            count += 1;
            count - 1
        });
        let mut at = list.add(count + 5).cast::<u8>();
        let string = at;
        let mut push = |bytes: &[u8]| {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            at = at.add(bytes.len());
        };
        let users_sanitizer = preloads(users).any(elf::must_be_first);
        let first = build.first.as_ref().filter(|_| !users_sanitizer).map_or(&b""[..], elf::First::name);
        push(PRELOAD);
        if preloads(users).any(|part| is_own(part, own)) {
            push(users);
        } else if !first.is_empty() {
            push(first);
            push(elf::BEFORE_OURS);
            push(own);
            push(if given { b":" } else { b"" });
            push(users);
        } else if !given {
            push(own);
        } else if ours.first && !users_sanitizer {
            // Also before an empty list, whose colon then tells the child's constructor that there was one.
            push(own);
            push(b":");
            push(users);
        } else {
            push(users);
            push(b":");
            push(own);
        }
        push(b"\0");
        let place = string.add(PRELOAD.len() + first.len() + users.len() + own.len() + 4);
        std::ptr::copy_nonoverlapping(build.place.bytes().as_ptr(), place, build.place.bytes().len());
        list.add(preload_at).write(string.cast());
        list.add(count).write(ours.session.bytes().as_ptr().cast_mut().cast());
        list.add(count + 1).write(place.cast());
        list.add(count + 2).write(std::ptr::null_mut());
        // Behind the end: what it was made of, for `given_behind`.
        list.add(count + 3).write(build.given.cast_mut().cast());
    }
    list
}

/// Counts the child that this thread is about to make, for its lineage.
pub fn count_child() {
    if attached().is_some() {
        tree::count_child(thread());
    }
}

//! The constructor: attach to the session, take our traces out of the environment, find the real functions, arm.
//!
//! Other libraries' constructors may run before and their destructors after: every static starts in a state in which
//! calls pass, and there is no destructor of ours.

use crate::children::{self, Place};
use crate::guard::{self, Token};
use crate::loaded::Loaded;
use crate::select::Target;
use crate::session::{self, Session};
use crate::text::Text;
use crate::tree::{self, Arrival, Lineage};
use crate::{clock, fds, loaded, log, memory, paths, real, signs, standalone, supervised, sys, wall, watch};
use chaos_table::calls::Op;
use chaos_table::record::{self, Record};
use chaos_table::rule::{TRACK, arm};
use chaos_table::session::{Header, MAGIC, SIZE_MAX, VERSION};
use chaos_table::{decide, runtimes};
use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Where injection of this process stands.
#[unsafe(link_section = ".data.chaos_start")]
static REACHED_MAIN: AtomicBool = AtomicBool::new(false);
#[unsafe(link_section = ".data.chaos_start")]
static WAITING: AtomicBool = AtomicBool::new(false);
/// The image that counts as booting: a fork child is none of its own.
static COUNTED: AtomicU32 = AtomicU32::new(0);
/// The program's own main.
#[unsafe(link_section = ".data.chaos_start")]
static MAIN: AtomicUsize = AtomicUsize::new(0);
/// Modules whose allocations never fail: the loader aborts on that, and libc's own callers are not the program.
pub static SPARED: Spared =
    Spared { ranges: [const { [const { AtomicUsize::new(0) }; 2] }; 2], first: AtomicUsize::new(0) };

/// The entries of allocations look here as well.
#[repr(C)]
pub struct Spared {
    /// Each is where it begins and its length.
    ranges: [[AtomicUsize; 2]; 2],
    /// Where the first of them begins; 0: there is none.
    first: AtomicUsize,
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

#[ctor::ctor(unsafe, body(link_section = ".text.chaos_start"))]
fn start() {
    // SAFETY: getauxval takes no pointer.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        // A program with more rights than its caller is left alone.
        return;
    }
    let own = loaded::ours(Loaded::path).map_or(&b""[..], CStr::to_bytes);
    // SAFETY: this is the constructor: the environment is the process's own, and nobody changes it meanwhile.
    let found = unsafe { children::find_ours(environ, own) };
    let session = match found.session {
        Some(path) => attach(path, found.lineage.is_none()),
        None if found.any_public => standalone::open_session(),
        None => None,
    };
    let Some(session) = session else { return };
    // SAFETY: as above.
    unsafe { children::hide(environ, own, found.preload_first, found.lineage.is_none()) };
    clock::start(session);
    let root = Lineage::root(session.seed);
    let arrival = match &found.lineage {
        Some(place) => {
            let Place { lineage, parent, slots, supervised } = place;
            Arrival { lineage, parent: *parent, inherited: *slots, supervised: *supervised }
        }
        None => Arrival { lineage: &root, parent: 0, inherited: None, supervised: false },
    };
    if !tree::arrive(session, &arrival, started_by()) {
        return;
    }
    session::publish();
    if found.lineage.is_some() {
        watch::executed(session, tree::me().parent());
    }
    spare_modules(session);
    if session.arm() == arm::EXEC {
        arm_now();
    }
}

/// Maps the session that the launcher, or the first process, has made.
fn attach(path: &CStr, first: bool) -> Option<&'static Session> {
    match map(path) {
        Ok(session) => Some(session),
        Err(_) if !first => None,
        Err(why) => refuse(path, &why),
    }
}

#[cold]
#[inline(never)]
fn refuse(path: &CStr, why: &str) -> ! {
    give_up(&format!("the session {} cannot be used: {why}", path.to_string_lossy()))
}

/// Opens and maps a session file; the descriptor is closed again at once.
///
/// # Errors
/// One clause on what is wrong with it.
#[unsafe(link_section = ".text.chaos_start")]
pub fn map(path: &CStr) -> Result<&'static Session, String> {
    let fd = sys::open(path, libc::O_RDWR, 0).map_err(not_opened)?;
    let size = sys::fstat(fd).map_or(0, |stat| stat.st_size as u64);
    let mapped = if (4096..=SIZE_MAX).contains(&size) { sys::mmap(size as usize, fd) } else { None };
    if mapped.is_none() {
        count_unmapped(fd, size);
    }
    sys::close(fd);
    let base = mapped.ok_or_else(|| format!("it has {size} bytes and could not be mapped"))?;
    // SAFETY: a fresh mapping of `size` bytes that is never unmapped; the constructor runs once.
    unsafe { session::adopt(base, size) }
}

/// There is no room for the whole session: says so in its header, if there is room for a page.
#[cold]
#[inline(never)]
fn count_unmapped(fd: c_int, size: u64) {
    const PAGE: usize = 4096;
    if size < PAGE as u64 {
        return;
    }
    let Some(page) = sys::mmap(PAGE, fd) else { return };
    // SAFETY: a fresh mapping of a page of the file, which is larger than the header; nobody else knows the address.
    unsafe {
        let header = page.cast::<Header>();
        if (*header).magic == MAGIC && (*header).version == VERSION {
            AtomicU64::from_ptr(&raw mut (*header).unmapped).fetch_add(1, Ordering::Relaxed);
        }
        sys::munmap(page, PAGE);
    }
}

#[cold]
#[inline(never)]
fn not_opened(errno: i32) -> String {
    format!("opening it gives {}", chaos_table::errno::errno_name(errno).unwrap_or("an error"))
}

/// The first process of a run cannot work: better no run than one that believes it tests chaos.
#[cold]
#[inline(never)]
pub fn give_up(why: &str) -> ! {
    // One line, whatever the error brings: help follows behind a dash.
    let why = why.lines().map(str::trim).collect::<Vec<_>>().join(" - ");
    sys::complain(format!("chaos-exec: error: {why}\n").as_bytes());
    sys::exit(125)
}

/// The path that exec was given; a script's own name rather than its interpreter's.
fn started_by() -> &'static CStr {
    // SAFETY: the kernel puts a C string there that lives as long as the process.
    unsafe {
        let name = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        if name.is_null() { c"" } else { CStr::from_ptr(name) }
    }
}

/// Remembers where the loader and libc are, when some rule fails allocations.
#[unsafe(link_section = ".text.chaos_start")]
pub fn spare_modules(session: &Session) {
    if session.memory_rules() == 0 {
        return;
    }
    // SAFETY: getauxval takes no pointer.
    let loader = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    let libc = libc::__errno_location as *const () as usize;
    for ([from, length], address) in SPARED.ranges.iter().zip([loader, libc]) {
        if let Some((first, end)) = loaded::of(address, Loaded::range) {
            from.store(first, Ordering::Relaxed);
            length.store(end - first, Ordering::Relaxed);
            let lowest = SPARED.first.load(Ordering::Relaxed);
            SPARED.first.store(if lowest == 0 { first } else { first.min(lowest) }, Ordering::Relaxed);
        }
    }
}

/// Whether an allocation asked for from this address may fail.
#[inline(always)]
pub fn may_fail_allocation(caller: usize) -> bool {
    SPARED
        .ranges
        .iter()
        .all(|[from, length]| caller.wrapping_sub(from.load(Ordering::Relaxed)) >= length.load(Ordering::Relaxed))
}

/// From now on the entries look at the rules.
#[unsafe(link_section = ".text.chaos_start")]
fn arm_now() {
    let Some(session) = session::attached().filter(|session| !session.is_over()) else { return };
    let me = tree::me();
    if me.rules() | me.clocks() == 0 && !session.awaits_sign() {
        // Of no concern to this process, so far.
        real::WORDS.store(session.added_words(), Ordering::Relaxed);
        return;
    }
    wall::prepare(session);
    if session.memory_rules() != 0 {
        memory::start();
    }
    let words = if me.supervised { supervised::words(session) } else { session.words() };
    real::WORDS.store(words, Ordering::Relaxed);
}

/// `main` begins: arm, or for a known runtime wait for the first sign of the user's own program.
#[unsafe(link_section = ".text.chaos_start")]
unsafe extern "C" fn reached_main() -> usize {
    if !REACHED_MAIN.swap(true, Ordering::Relaxed)
        && let Some(session) = session::attached()
        && session.arm() != arm::EXEC
    {
        let me = tree::me();
        let known = [me.program.bytes(), decide::last_component(me.executable.bytes())]
            .into_iter()
            .any(|name| runtimes::of_program(name).is_some());
        if known {
            wait_for_sign();
        } else {
            arm_now();
        }
    }
    MAIN.load(Ordering::Relaxed)
}

/// Calls that no runtime makes on unprotected paths while it boots: the first one is the user's program at work.
const SIGNS: [Op; 15] = [
    Op::Opendir,
    Op::Scandir,
    Op::Mkstemp,
    Op::Mkdtemp,
    Op::Rename,
    Op::Unlink,
    Op::Link,
    Op::Symlink,
    Op::Mkdir,
    Op::Rmdir,
    Op::Mknod,
    Op::Truncate,
    Op::Chmod,
    Op::Chown,
    Op::Utimens,
];

fn wait_for_sign() {
    signs::watch();
    for op in [Op::Open, Op::Fopen, Op::Connect, Op::Listen, Op::Point].into_iter().chain(SIGNS) {
        if let Some(word) = real::WAITING.of(op as usize) {
            word.store(TRACK, Ordering::Relaxed);
        }
    }
    // A ring that is set up now carries the program's own calls later, unseen: its rules are in force already.
    if let Some(session) = session::attached()
        && let Some(word) = real::WAITING.of(Op::IoUringSetup as usize)
        && !session.awaits_sign()
    {
        word.store(session.planned(Op::IoUringSetup), Ordering::Relaxed);
    }
    if let Some(session) = session::attached() {
        session.counter(offset_of!(Header, booting)).fetch_add(1, Ordering::Relaxed);
        COUNTED.store(tree::me().uid(), Ordering::Relaxed);
    }
    WAITING.store(true, Ordering::Relaxed);
    real::WORDS.store(real::WAITING.pointer(), Ordering::Relaxed);
}

/// Whether a runtime is still booting.
#[inline(always)]
pub fn is_waiting() -> bool {
    WAITING.load(Ordering::Relaxed)
}

/// A connect or listen: the user's program is at work.
pub fn sign() {
    if WAITING.swap(false, Ordering::Relaxed) {
        if let Some(session) = session::attached()
            && COUNTED.load(Ordering::Relaxed) == tree::here().uid()
        {
            session.counter(offset_of!(Header, booting)).fetch_sub(1, Ordering::Relaxed);
        }
        arm_now();
    }
}

/// Whether an open or a listen can be a sign: that the user's program is at work, or that the tree is to be armed.
#[inline(always)]
pub fn awaits_sign() -> bool {
    is_waiting() || session::attached().is_some_and(Session::awaits_sign)
}

/// A call on a name, before it is put to the rules: it may be the sign itself.
#[inline(always)]
pub fn before_call_on_name(op: Op, target: Target) {
    if is_waiting()
        && SIGNS.contains(&op)
        && let Target::Path(dirfd, path) | Target::Entry(dirfd, path) | Target::Entries(_, (dirfd, path)) = target
    {
        // SAFETY: the program's own argument of a call that is being made.
        unsafe { sign_of_path(dirfd, path, false) };
    }
}

/// A path was looked for, and `opened` if it was there. The user's program is at work when it is not the runtime's own.
///
/// # Safety
/// `path` must be NULL or a C string.
#[cold]
pub unsafe fn sign_of_path(dirfd: i32, path: *const c_char, opened: bool) {
    let Some(session) = session::attached() else { return };
    paths::with_desk(|desk| {
        // SAFETY: the caller says so.
        if !unsafe { desk.absolute(dirfd, path, true) } {
            return;
        }
        let path = desk.path.bytes();
        let is_own = is_waiting() && !fds::is_protected(session, path) && !is_working_directory(path);
        if is_own && !(is_of_boot(path) && session.memory_rules() != 0) {
            sign();
        }
        let awaited = opened && session.arm() == arm::PATH && session.awaits_sign();
        if awaited && session.patterns().path(session.sign_paths(), desk.path.bytes()) {
            arm_tree(session, b"armed: opened ", desk.path.bytes());
        }
    });
}

/// An open, before it is put to the rules: one of the program's own files is the sign itself, unless it is the program,
/// which the arguments name.
#[inline(always)]
pub fn before_open(dirfd: i32, path: *const c_char) {
    if is_waiting() {
        // SAFETY: the program's own argument of a call that is being made.
        unsafe { sign_before_open(dirfd, path) };
    }
}

/// # Safety
/// `path` must be NULL or a C string.
#[cold]
unsafe fn sign_before_open(dirfd: i32, path: *const c_char) {
    let Some(session) = session::attached() else { return };
    let is_data = paths::with_desk(|desk| {
        // SAFETY: the caller says so.
        let is_path = unsafe { desk.absolute(dirfd, path, true) };
        let path = desk.path.bytes();
        let is_own = is_path && !fds::is_protected(session, path) && !is_working_directory(path) && !is_of_boot(path);
        is_own && !is_in_arguments(path)
    });
    if is_data == Some(true) {
        sign();
    }
}

/// Whether it is what every Python from 3.11 on looks for beside its executable while it boots. It is taken for the sign all
/// the same, since a program on the command line may show itself by nothing else, unless rules on memory would fail the
/// rest of the boot.
fn is_of_boot(path: &[u8]) -> bool {
    decide::last_component(path) == b"pybuilddir.txt"
}

/// Whether an argument of this process ends as a path does, as far as the first of them go.
#[inline(never)]
fn is_in_arguments(path: &[u8]) -> bool {
    let mut text = [0u8; 512];
    let Ok(fd) = sys::open(c"/proc/self/cmdline", libc::O_RDONLY, 0) else { return false };
    let len = sys::pread(fd, &mut text, 0);
    sys::close(fd);
    let mut all = text.get(..len).unwrap_or_default().split(|byte| *byte == 0).skip(1);
    all.any(|argument| !argument.is_empty() && decide::last_component(argument) == decide::last_component(path))
}

/// Runtimes look where they are: that is no sign.
fn is_working_directory(path: &[u8]) -> bool {
    paths::with_desk(|desk| desk.path.fill(sys::getcwd) && desk.path.bytes() == path) == Some(true)
}

/// The program listens on a socket: which port it is may be the sign for the tree.
#[cold]
pub fn sign_of_listening(fd: c_int) {
    let Some(session) = session::attached() else { return };
    if session.arm() != arm::LISTEN || !session.awaits_sign() {
        return;
    }
    let mut buffer = fds::PeerBuffer::new();
    if let decide::Peer::V4(_, port) | decide::Peer::V6(_, port) = buffer.of_socket(fd)
        && session.is_sign_port(port)
    {
        let mut text = Text::<8>::EMPTY;
        text.push_number(port.into());
        arm_tree(session, b"armed: listening on port ", text.bytes());
    }
}

/// The whole tree is armed by what this process has done; the log tells by what.
fn arm_tree(session: &Session, what: &[u8], which: &[u8]) {
    let token = Token::enter();
    let mut text = Text::<{ record::MAX_TEXT }>::EMPTY;
    text.push(what);
    text.push(which);
    let mut mark = Record { kind: record::kind::MARK, ..Record::default() };
    log::publish(session, guard::thread(), &mut mark, &[text.bytes()]);
    session.arm_tree(clock::exact());
    if let Some(token) = token {
        token.leave();
    }
}

/// Stands in front of the program's main, without a frame of its own.
#[unsafe(naked)]
#[unsafe(link_section = ".text.chaos_start")]
unsafe extern "C" fn main_entry() {
    std::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "call {reached}",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        reached = sym reached_main,
    )
}

type Main = unsafe extern "C" fn();
type StartMain = unsafe extern "C-unwind" fn(Main, c_int, *mut *mut c_char, usize, usize, usize, usize) -> c_int;

/// The real start of a program.
mod real_start {
    crate::real::slot!(START, __libc_start_main);
}

/// libc's start of a program: where `main` is known. Interposable on glibc and musl alike.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.chaos_start")]
unsafe extern "C-unwind" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *mut *mut c_char,
    init: usize,
    fini: usize,
    rtld_fini: usize,
    stack_end: usize,
) -> c_int {
    // SAFETY: the signature of libc's function.
    let real: StartMain = unsafe { std::mem::transmute(real_start::START.target.load(Ordering::Relaxed)) };
    // Whether there is a session shows only behind this: musl runs constructors in its own __libc_start_main.
    MAIN.store(main as usize, Ordering::Relaxed);
    // SAFETY: the arguments as they came.
    unsafe { real(main_entry, argc, argv, init, fini, rtld_fini, stack_end) }
}

//! Processes and threads: what the tree hangs on. Their entries do not ask for a rule first.

use super::{minus_one, simple, simple_hit, with_flags};
use crate::children::{self, Start};
use crate::descriptors;
use crate::guard::{ORDINAL_TEXT, thread};
use crate::handing::Hand;
use crate::real::{Slot, errno, hooks, set_errno};
use crate::select::Target;
use crate::session::{Session, attached};
use crate::stream::descriptor_of;
use crate::{call, fds, sys, tree};
use chaos_table::calls::Op;
use libc::{
    FILE, c_char, c_int, c_void, id_t, idtype_t, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, pthread_attr_t,
    pthread_t, rlimit, rusage, siginfo_t,
};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicU32, Ordering};

type Environment = *const *mut c_char;
type Execve = unsafe extern "C-unwind" fn(*const c_char, *const *const c_char, Environment) -> c_int;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

fn current_environment() -> Environment {
    // SAFETY: reads one pointer, as libc's own exec functions do.
    unsafe { environ.cast_const() }
}

/// The function of a slot that has the signature of execve.
fn execve_of(slot: &Slot) -> Execve {
    // SAFETY: called with the slots of execve and execvpe only.
    unsafe { std::mem::transmute::<*mut c_void, Execve>(slot.target.load(Ordering::Relaxed)) }
}

/// A fork: the child takes a place of its own in the session.
#[inline(never)]
#[unsafe(link_section = ".text.chaos_start")]
pub(super) fn forking(real: impl FnOnce() -> pid_t) -> pid_t {
    let Some(session) = attached() else { return real() };
    // A child has no page of this code at first: what nearly every fork runs stays together.
    match call::judge(Op::Fork, Target::Nothing, 0) {
        None => forked(session, real),
        Some(first) => simple_hit(first, Target::Nothing, 0, || forked(session, real), minus_one),
    }
}

/// The parent reserves the child's place and writes its record: it has the pages of the session at hand.
#[inline(always)]
fn forked(session: &'static Session, real: impl FnOnce() -> pid_t) -> pid_t {
    let thread = thread();
    let count = tree::count_child(thread);
    // Below a filter the engine learns of the child by itself.
    let reserved = if tree::me().supervised { None } else { tree::reserve(session) };
    let pid = real();
    if pid == 0 {
        tree::after_fork(thread, count, reserved);
    } else if let Some(reserved) = reserved {
        let saved = errno();
        tree::forked(session, thread, reserved, pid);
        // Compared first: a store would copy a page that the child shares.
        if errno() != saved {
            set_errno(saved);
        }
    }
    pid
}

/// daemon(3) forks and goes on in the child alone: the parent ends inside.
fn becoming_a_daemon(real: impl FnOnce() -> c_int) -> c_int {
    if attached().is_none() {
        return real();
    }
    simple(
        Op::Fork,
        Target::Nothing,
        || {
            let count = tree::count_child(thread());
            let result = real();
            if result == 0 {
                tree::after_fork(thread(), count, None);
            }
            result
        },
        minus_one,
    )
}

/// Before a vfork, whose child runs in our memory and on our stack: 0 to go on, else the call has failed.
extern "C" fn before_vfork() -> c_int {
    if attached().is_none() {
        return 0;
    }
    let verdict = simple(Op::Vfork, Target::Nothing, || 0, minus_one);
    if verdict == 0 {
        tree::count_child(thread());
        thread().maybe_vfork.set(true);
    }
    verdict
}

/// vfork returns twice on one stack: no frame of ours may be there when it does.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn vfork() {
    std::arch::naked_asm!(
        crate::real::note_caller!(),
        "sub rsp, 8",
        "call {before}",
        "add rsp, 8",
        "test eax, eax",
        "jne 2f",
        "jmp qword ptr [rip + {slot}]",
        "2: ret",
        caller = const std::mem::offset_of!(crate::guard::Thread, caller),
        before = sym before_vfork,
        slot = sym real_vfork::VFORK,
    )
}

/// The real vfork.
mod real_vfork {
    crate::real::slot!(VFORK, vfork);
}

/// An exec of any form.
///
/// # Safety
/// As for [`starting`].
pub(super) unsafe fn executing(
    program: *const c_char,
    search: bool,
    environment: Environment,
    argv: *const *const c_char,
    real: &mut dyn FnMut(Environment) -> c_int,
) -> c_int {
    // SAFETY: the helper's path, arguments and environment are built for it.
    let mut helper = |path, argv, list: Environment| unsafe { sys::execve(path, argv, list.cast()) as isize };
    let hand = Some(Hand { argv, start: &mut helper }).filter(|hand| !hand.argv.is_null());
    // SAFETY: the caller says so.
    unsafe { starting(Op::Exec, program, search, environment, hand, real, minus_one) }
}

/// posix_spawn and posix_spawnp: errors are the result.
///
/// # Safety
/// As for [`starting`].
unsafe fn spawning(
    program: *const c_char,
    search: bool,
    environment: Environment,
    argv: *const *mut c_char,
    real: &dyn Fn(*const c_char, *const *mut c_char, Environment) -> c_int,
) -> c_int {
    let mut helper = |path, argv: *const *const c_char, list: Environment| real(path, argv.cast(), list) as isize;
    let hand = Some(Hand { argv: argv.cast(), start: &mut helper }).filter(|hand| !hand.argv.is_null());
    let mut plain = |list: Environment| real(program, argv, list);
    // SAFETY: the caller says so.
    unsafe { starting(Op::Spawn, program, search, environment, hand, &mut plain, |code| code) }
}

/// Asks, then puts ours into the environment of a program and starts it.
///
/// # Safety
/// `program` and `environment` must be what the exec function takes.
unsafe fn starting(
    op: Op,
    program: *const c_char,
    search: bool,
    environment: Environment,
    hand: Option<Hand<'_>>,
    real: &mut dyn FnMut(Environment) -> c_int,
    failed: impl FnOnce(i32) -> c_int,
) -> c_int {
    let start = if op == Op::Spawn { Start::Spawn } else { Start::Exec };
    if start == Start::Exec {
        crate::watch::vforked();
    }
    let started = || {
        if start == Start::Spawn {
            children::count_child();
        }
        let mut real = |list: Environment| real(list) as isize;
        // SAFETY: the caller says so.
        unsafe { children::with_environment(environment, program, search, start, None, hand, &mut real) as c_int }
    };
    simple(op, Target::Program(program), started, failed)
}

/// A program that execl and its kin start: the arguments come as an array, ended by NULL.
unsafe extern "C" fn execl_list(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: the trampoline passes the caller's own arguments.
    unsafe {
        executing(path, false, current_environment(), argv, &mut |list| execve_of(&execve::SLOT)(path, argv, list))
    }
}

unsafe extern "C" fn execlp_list(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above.
    unsafe {
        executing(path, true, current_environment(), argv, &mut |list| execve_of(&execvpe::SLOT)(path, argv, list))
    }
}

/// execle has the environment behind the NULL that ends the arguments.
unsafe extern "C" fn execle_list(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above; the array ends with NULL, and the environment follows.
    unsafe {
        let mut end = argv;
        while !(*end).is_null() {
            end = end.add(1);
        }
        let given = *end.add(1).cast::<Environment>();
        executing(path, false, given, argv, &mut |list| execve_of(&execve::SLOT)(path, argv, list))
    }
}

/// Declares a variadic exec: the five register arguments are put below those on the stack, where the return address
/// stood, so that all form one array.
macro_rules! variadic {
    ($($symbol:ident => $list:path;)*) => {$(
        /// See exec(3).
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                crate::real::note_caller!(),
                "mov r10, [rsp]",
                "mov [rsp], r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rbp",
                "push r10",
                "mov rbp, rsp",
                "and rsp, -16",
                "call {list}",
                "mov rsp, rbp",
                "pop r10",
                "pop rbp",
                "add rsp, 32",
                "mov [rsp], r10",
                "ret",
                caller = const std::mem::offset_of!(crate::guard::Thread, caller),
                list = sym $list,
            )
        }
    )*};
}

variadic! {
    execl => execl_list;
    execlp => execlp_list;
    execle => execle_list;
}

/// Threads that have exchanged `environ` for their shell, or are about to.
static SHELLS: AtomicU32 = AtomicU32::new(0);

/// system and popen start their shell with libc's own `environ`: it is exchanged while they do.
fn with_shell(real: &mut dyn FnMut() -> isize) -> isize {
    SHELLS.fetch_add(1, Ordering::SeqCst);
    children::count_child();
    let unused = Cell::new(true);
    // SAFETY: `environ` is a NULL-terminated array; the list that replaces it lives in memory of its own until nobody
    // uses it. Another thread that starts a shell builds on what was given to us, and leaves our list alone; one that
    // calls setenv makes its own array out of ours: it is cleaned instead.
    unsafe {
        let given = children::given_behind(current_environment());
        let shell = c"/bin/sh".as_ptr();
        let result = children::with_environment(given, shell, false, Start::Spawn, Some(&unused), None, &mut |list| {
            environ = list.cast_mut();
            let result = real();
            let now = current_environment();
            if std::ptr::eq(now, list) {
                environ = given.cast_mut();
            } else if std::ptr::eq(children::given_behind(now), now) && !std::ptr::eq(now, given) {
                children::clean(environ);
                unused.set(false);
            }
            if SHELLS.load(Ordering::SeqCst) != 1 {
                unused.set(false);
            }
            result
        });
        SHELLS.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// What a new thread needs before it begins.
#[repr(C)]
struct Pending {
    state: AtomicU32,
    inner: UnsafeCell<Begin>,
}

struct Begin {
    start: usize,
    argument: usize,
    parent: u64,
    count: u32,
    text_len: usize,
    text: [u8; ORDINAL_TEXT],
}

// SAFETY: a place belongs to the thread that set `state` from 0 to 1, then to the thread that it starts.
unsafe impl Sync for Pending {}

static PENDING: [Pending; 64] = [const {
    Pending {
        state: AtomicU32::new(0),
        inner: UnsafeCell::new(Begin {
            start: 0,
            argument: 0,
            parent: 0,
            count: 0,
            text_len: 0,
            text: [0; ORDINAL_TEXT],
        }),
    }
}; 64];

/// A free place; when all are taken, a page of its own.
fn pending_place() -> Option<*const Pending> {
    let free = PENDING.iter().find(|place| {
        place.state.load(Ordering::Relaxed) == 0
            && place.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    });
    match free {
        Some(place) => Some(place),
        None => {
            let page = sys::mmap(4096, -1)?.cast::<Pending>();
            // SAFETY: a fresh page, large enough; state 2 says that it is one.
            unsafe { (*page).state.store(2, Ordering::Relaxed) };
            Some(page)
        }
    }
}

fn give_back(place: *const Pending) {
    // SAFETY: the place is ours until its state is 0, or the page until it is unmapped.
    unsafe {
        if (*place).state.load(Ordering::Relaxed) == 2 {
            sys::munmap(place.cast_mut().cast(), 4096);
        } else {
            (*place).state.store(0, Ordering::Release);
        }
    }
}

#[repr(C)]
struct StartAndArgument {
    start: usize,
    argument: usize,
}

/// The first thing on a new thread: take its ordinal, and say what to run.
unsafe extern "C" fn begin(place: *const Pending) -> StartAndArgument {
    // SAFETY: the creator has filled it for this thread alone.
    let (start, argument) = unsafe {
        let begin = &*(*place).inner.get();
        let text = begin.text.get(..begin.text_len).unwrap_or(&[]);
        tree::name_thread(thread(), text, begin.parent, begin.count);
        (begin.start, begin.argument)
    };
    give_back(place);
    StartAndArgument { start, argument }
}

/// Start routine of every thread: no frame of ours stays below the program's.
#[unsafe(naked)]
unsafe extern "C" fn thread_entry() {
    std::arch::naked_asm!(
        "sub rsp, 8",
        "call {begin}",
        "add rsp, 8",
        "mov rdi, rdx",
        "jmp rax",
        begin = sym begin,
    )
}

fn creating(
    start: usize,
    argument: usize,
    real: impl Fn(usize, usize) -> c_int,
    failed: impl FnOnce(i32) -> c_int,
) -> c_int {
    if attached().is_none() {
        return real(start, argument);
    }
    simple(
        Op::PthreadCreate,
        Target::Nothing,
        || {
            let creator = thread();
            // A fresh fork child counts from nothing.
            tree::here();
            creator.threads.set(creator.threads.get().wrapping_add(1));
            let Some(place) = pending_place() else { return real(start, argument) };
            // SAFETY: the place is ours until the new thread has begun.
            unsafe {
                *(*place).inner.get() = Begin {
                    start,
                    argument,
                    parent: creator.ordinal.get(),
                    count: creator.threads.get(),
                    text_len: usize::from(creator.ordinal_len.get()),
                    text: creator.ordinal_text.get(),
                };
            }
            let code = real(thread_entry as *const () as usize, place as usize);
            if code != 0 {
                give_back(place);
            }
            code
        },
        failed,
    )
}

/// In place of `thrd_create` where libc has none.
pub mod no_threads {
    /// A function of ours.
    pub static SLOT: crate::real::Slot =
        crate::real::Slot { target: std::sync::atomic::AtomicPtr::new(refuse as *mut std::ffi::c_void) };

    extern "C" fn refuse() -> std::ffi::c_int {
        super::THRD_ERROR
    }
}

/// What the functions of threads.h return; the libc crate does not know them.
const THRD_ERROR: c_int = 2;

fn null_stream(errno: i32) -> *mut FILE {
    set_errno(errno);
    std::ptr::null_mut()
}

hooks! {
    [always] Fork, fork() -> pid_t, real => forking(|| real());
    [always] Fork, _Fork or fork() -> pid_t, real => forking(|| real());
    // libc's own forks within these two pass by our names. The child gets 0 from both.
    [always] Fork, forkpty(controller: *mut c_int, name: *mut c_char, terminal: *const libc::termios, size: *const libc::winsize)
        -> pid_t, real => forking(|| real(controller, name, terminal, size));
    [always] Fork, daemon(stay: c_int, keep: c_int) -> c_int, real => becoming_a_daemon(|| real(stay, keep));
    [always] Exec, execve(path: *const c_char, argv: *const *const c_char, envp: Environment) -> c_int, real =>
        executing(path, false, envp, argv, &mut |list| real(path, argv, list));
    [always] Exec, execv(path: *const c_char, argv: *const *const c_char) -> c_int, _real =>
        executing(path, false, current_environment(), argv, &mut |list| execve_of(&super::execve::SLOT)(path, argv, list));
    [always] Exec, execvp(file: *const c_char, argv: *const *const c_char) -> c_int, _real =>
        executing(file, true, current_environment(), argv, &mut |list| execve_of(&super::execvpe::SLOT)(file, argv, list));
    [always] Exec, execvpe(file: *const c_char, argv: *const *const c_char, envp: Environment) -> c_int, real =>
        executing(file, true, envp, argv, &mut |list| real(file, argv, list));
    [always] Exec, fexecve(fd: c_int, argv: *const *const c_char, envp: Environment) -> c_int, real => {
        let mut link = crate::text::Text::<40>::EMPTY;
        link.push(b"/proc/self/fd/");
        link.push_number(fd.max(0) as u64);
        link.push(b"\0");
        let found = descriptors::path_of(fd, b"");
        let (path, hand) = found.as_ref().map_or((link.bytes(), std::ptr::null()), |path| (path.bytes(), argv));
        executing(path.as_ptr().cast(), false, envp, hand, &mut |list| real(fd, argv, list))
    };
    [always] Exec, execveat(dirfd: c_int, path: *const c_char, argv: *const *const c_char, envp: Environment, flags: c_int) -> c_int,
        real => {
        let found = descriptors::path_at(dirfd, path, flags);
        let (named, hand) = found.as_ref().map_or((path, std::ptr::null()), |path| (path.bytes().as_ptr().cast(), argv));
        executing(named, false, envp, hand, &mut |list| real(dirfd, path, argv, list, flags))
    };
    [always since "GLIBC_2.15"] Spawn, posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, argv: *const *mut c_char, envp: Environment) -> c_int, real =>
        spawning(path, false, envp, argv, &|path, argv, list| real(pid, path, actions, attributes, argv, list));
    [always since "GLIBC_2.15"] Spawn, posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, argv: *const *mut c_char, envp: Environment) -> c_int, real =>
        spawning(file, true, envp, argv, &|file, argv, list| real(pid, file, actions, attributes, argv, list));
    [always] System, system(command: *const c_char) -> c_int, real => {
        if attached().is_none() || command.is_null() {
            return real(command);
        }
        simple(Op::System, Target::Program(command), || with_shell(&mut || real(command) as isize) as c_int, minus_one)
    };
    [always] Popen, popen(command: *const c_char, mode: *const c_char) -> *mut FILE, real => {
        if attached().is_none() {
            return real(command, mode);
        }
        let stream = simple(
            Op::Popen,
            Target::Program(command),
            || with_shell(&mut || real(command, mode) as isize) as *mut FILE,
            null_stream,
        );
        fds::forget(descriptor_of(stream));
        stream
    };
    Pclose, pclose(stream: *mut FILE) -> c_int, real => {
        fds::forget(descriptor_of(stream));
        simple(Op::Pclose, Target::Nothing, || real(stream), minus_one)
    };
    Wait, wait(status: *mut c_int) -> pid_t, real => simple(Op::Wait, Target::Nothing, || real(status), minus_one);
    Wait, waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t, real =>
        with_flags(Op::Wait, Target::Nothing, options, || real(pid, status, options), minus_one);
    Wait, wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t, real =>
        with_flags(Op::Wait, Target::Nothing, options, || real(status, options, usage), minus_one);
    Wait, wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t, real =>
        with_flags(Op::Wait, Target::Nothing, options, || real(pid, status, options, usage), minus_one);
    Wait, waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int, real =>
        with_flags(Op::Wait, Target::Nothing, options, || real(kind, id, info, options), minus_one);
    [always] PthreadCreate, pthread_create(new: *mut pthread_t, attributes: *const pthread_attr_t, start: usize, argument: usize) -> c_int,
        real => creating(start, argument, |start, argument| real(new, attributes, start, argument), |code| code);
    [always] PthreadCreate, thrd_create or no_threads(new: *mut pthread_t, start: usize, argument: usize) -> c_int,
        real => creating(start, argument, |start, argument| real(new, start, argument), |_| THRD_ERROR);
    Kill, kill(pid: pid_t, signal: c_int) -> c_int, real => simple(Op::Kill, Target::Nothing, || real(pid, signal), minus_one);
    Kill, killpg(group: pid_t, signal: c_int) -> c_int, real =>
        simple(Op::Kill, Target::Nothing, || real(group, signal), minus_one);
    Tgkill, tgkill(pid: pid_t, tid: pid_t, signal: c_int) -> c_int, real =>
        simple(Op::Tgkill, Target::Nothing, || real(pid, tid, signal), minus_one);
    Setrlimit, setrlimit(what: c_int, limit: *const rlimit) -> c_int, real =>
        simple(Op::Setrlimit, Target::Nothing, || real(what, limit), minus_one);
    Setrlimit, setrlimit64 or setrlimit(what: c_int, limit: *const rlimit) -> c_int, real =>
        simple(Op::Setrlimit, Target::Nothing, || real(what, limit), minus_one);
    Getrlimit, getrlimit(what: c_int, limit: *mut rlimit) -> c_int, real =>
        simple(Op::Getrlimit, Target::Nothing, || real(what, limit), minus_one);
    Getrlimit, getrlimit64 or getrlimit(what: c_int, limit: *mut rlimit) -> c_int, real =>
        simple(Op::Getrlimit, Target::Nothing, || real(what, limit), minus_one);
    Prlimit, prlimit(pid: pid_t, what: c_int, new: *const rlimit, old: *mut rlimit) -> c_int, real =>
        simple(Op::Prlimit, Target::Nothing, || real(pid, what, new, old), minus_one);
    Prlimit, prlimit64 or prlimit(pid: pid_t, what: c_int, new: *const rlimit, old: *mut rlimit) -> c_int, real =>
        simple(Op::Prlimit, Target::Nothing, || real(pid, what, new, old), minus_one);
}

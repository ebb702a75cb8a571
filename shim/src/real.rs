//! The real functions behind our names, and the naked entries in front of them.
//!
//! Every interposed symbol has a [`Slot`]: an atomic pointer preset to a stub that resolves it, so that a library's
//! constructor may call it before ours has run. The constructor resolves all of them. The entry is naked code:
//! compare the operation's word with zero, jump. It must stay free of frames, for vfork, for cancellation, for speed.

use crate::guard::Token;
use chaos_table::rule::OP_ROOM;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Where one real function is.
#[repr(C)]
pub struct Slot {
    /// The function, or the stub that finds it.
    pub target: AtomicPtr<c_void>,
    /// Its name, ended by NUL. Empty: a function of our own, for a libc that lacks it.
    pub name: &'static CStr,
    /// What to do when libc does not have it.
    pub missing: Missing,
}

/// The stand-in for a symbol that this libc lacks.
#[derive(Clone, Copy)]
pub enum Missing {
    /// Fails with ENOSYS, as a kernel without the call would.
    NoSys,
    /// Returns NULL or 0, and sets errno to ENOSYS: for a call whose -1 would be taken for success.
    Null,
    /// Another of our slots does the same with the same arguments (an alias such as `open64`).
    Use(fn() -> &'static Slot),
}

/// No operation has a rule: what every entry compares with until the process is armed.
static IDLE: Words = Words([const { AtomicU64::new(0) }; OP_ROOM]);
/// Only the operations that show a runtime's user program at work.
pub static WAITING: Words = Words([const { AtomicU64::new(0) }; OP_ROOM]);
/// The words that the entries compare: [`IDLE`], [`WAITING`], or those of the session.
pub static WORDS: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const IDLE).cast_mut().cast());

/// One word for each operation, alone on its cache lines.
#[repr(C, align(64))]
pub struct Words([AtomicU64; OP_ROOM]);

impl Words {
    /// The word of an operation.
    pub fn of(&self, op: usize) -> Option<&AtomicU64> {
        self.0.get(op)
    }

    /// As the entries want it.
    pub fn pointer(&self) -> *mut AtomicU64 {
        self.0.as_ptr().cast_mut()
    }
}

/// What the entries compare once injection is over: [`IDLE`], unless a steady clock must not go back.
pub static AFTERWARDS: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const IDLE).cast_mut().cast());
/// Only the clocks that go on.
pub static STEADY: Words = Words([const { AtomicU64::new(0) }; OP_ROOM]);

/// Makes every entry jump straight to the real function.
pub fn disarm() {
    WORDS.store(AFTERWARDS.load(Relaxed), Relaxed);
}

/// The word of an operation in the table that the entries look at now.
#[inline(always)]
pub fn word(op: usize) -> u64 {
    let words = WORDS.load(Relaxed);
    // SAFETY: WORDS points at OP_ROOM words that live for ever, and every operation is below OP_ROOM.
    unsafe { (*words.add(op)).load(Relaxed) }
}

const _: () = assert!(chaos_table::calls::OPS <= OP_ROOM);

/// Finds the function of a slot and stores it. Called by the stubs and by the constructor.
pub unsafe extern "C" fn resolve(slot: &Slot) -> *mut c_void {
    if slot.name.is_empty() {
        return slot.target.load(Relaxed);
    }
    // The look-up may itself call malloc on old libcs: the token makes that call pass, and a look-up inside a look-up
    // of the same thread gets NULL, which their dlerror survives.
    if Token::is_held() {
        return nothing as *mut c_void;
    }
    let Some(token) = Token::enter() else { return nothing as *mut c_void };
    // SAFETY: the name ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, slot.name.as_ptr()) };
    token.leave();
    let found = match slot.missing {
        _ if !found.is_null() => found,
        // Not kept: before glibc 2.34 a library that is loaded later may bring it (pthread_create).
        Missing::NoSys => return no_sys as *mut c_void,
        Missing::Null => return no_sys_null as *mut c_void,
        // SAFETY: slots are static; an alias names a slot that every libc has.
        Missing::Use(other) => unsafe { resolve(other()) },
    };
    slot.target.store(found, Relaxed);
    found
}

/// What a look-up inside a look-up finds: an allocator without memory.
extern "C" fn nothing() -> *mut c_void {
    std::ptr::null_mut()
}

extern "C" fn no_sys() -> isize {
    set_errno(libc::ENOSYS);
    -1
}

extern "C" fn no_sys_null() -> usize {
    set_errno(libc::ENOSYS);
    0
}

/// The common end of the stubs: r11 holds the slot; all argument registers survive.
#[unsafe(naked)]
pub unsafe extern "C" fn resolve_and_jump() {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax", "push r10",
        "sub rsp, 128",
        "movups [rsp], xmm0", "movups [rsp+16], xmm1", "movups [rsp+32], xmm2", "movups [rsp+48], xmm3",
        "movups [rsp+64], xmm4", "movups [rsp+80], xmm5", "movups [rsp+96], xmm6", "movups [rsp+112], xmm7",
        "mov rdi, r11",
        "call {resolve}",
        "mov r11, rax",
        "movups xmm0, [rsp]", "movups xmm1, [rsp+16]", "movups xmm2, [rsp+32]", "movups xmm3, [rsp+48]",
        "movups xmm4, [rsp+64]", "movups xmm5, [rsp+80]", "movups xmm6, [rsp+96]", "movups xmm7, [rsp+112]",
        "add rsp, 128",
        "pop r10", "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "pop rbp",
        "jmp r11",
        resolve = sym resolve,
    )
}

/// At the entry of a call: stores its return address in the thread's block. r10 and r11 are free there.
macro_rules! note_caller {
    () => {
        "mov r11, qword ptr [rip + chaos_shim_thread@GOTTPOFF]\nmov r10, qword ptr [rsp]\nmov qword ptr fs:[r11 + {caller}], r10"
    };
}
pub(crate) use note_caller;

/// Declares hooks: for each symbol its slot, the stub that resolves it, the armed function, and the exported entry.
///
/// `Op, symbol(arguments) -> result, real => body;` - the entry jumps to the real function when the operation's word is
/// zero, and to `body` otherwise, the return address stored in the thread's block; in `body`, `real` is the real function.
/// Before the operation may stand `[always]`: the word is not asked (calls that the tree hangs on).
/// `or alias` names the hook whose real function serves where libc lacks the symbol; `or null`: it then returns NULL.
macro_rules! hooks {
    ($(
        $([$($mode:tt)*])? $op:ident, $symbol:ident $(or $alias:ident)?
        ($($arg:ident : $type:ty),*) -> $result:ty, $real:ident => $body:expr;
    )*) => {
        $(
            pub mod $symbol {
                use super::*;
                use $crate::real::{Missing, Slot, resolve_and_jump};

                pub static SLOT: Slot = Slot {
                    target: std::sync::atomic::AtomicPtr::new(stub as *mut std::ffi::c_void),
                    name: $crate::real::c_name(concat!(stringify!($symbol), "\0")),
                    missing: $crate::real::hooks!(@missing $($alias)?),
                };

                #[unsafe(naked)]
                unsafe extern "C" fn stub() {
                    std::arch::naked_asm!("lea r11, [rip + {slot}]", "jmp {resolve}", slot = sym SLOT,
                        resolve = sym resolve_and_jump)
                }

                unsafe extern "C-unwind" fn armed($($arg: $type),*) -> $result {
                    type Real = unsafe extern "C-unwind" fn($($type),*) -> $result;
                    // SAFETY: the slot holds the function of this symbol, whose C signature is written here.
                    let $real: Real = unsafe {
                        std::mem::transmute(SLOT.target.load(std::sync::atomic::Ordering::Relaxed))
                    };
                    // SAFETY: the caller's arguments are passed on as they came.
                    unsafe { $body }
                }

                $crate::real::hooks!(@entry $symbol $op [$($($mode)*)?]);
            }
        )*

        /// Every slot that this file declares.
        pub static SLOTS: &[&$crate::real::Slot] = &[$(&$symbol::SLOT),*];
    };
    (@missing) => { Missing::NoSys };
    (@missing null) => { Missing::Null };
    (@missing $alias:ident) => { Missing::Use(|| &super::$alias::SLOT) };
    (@entry $symbol:ident $op:ident [always]) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                $crate::real::note_caller!(),
                "jmp {armed}",
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                armed = sym armed,
            )
        }
        const _: Op = Op::$op;
    };
    (@entry $symbol:ident $op:ident []) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                "mov r11, qword ptr [rip + {words}]",
                "cmp qword ptr [r11 + {offset}], 0",
                "jne 2f",
                "jmp qword ptr [rip + {slot}]",
                "2:",
                $crate::real::note_caller!(),
                "jmp {armed}",
                words = sym $crate::real::WORDS,
                offset = const Op::$op as usize * 8,
                slot = sym SLOT,
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                armed = sym armed,
            )
        }
    };
}
pub(crate) use hooks;

/// The name of a symbol as a C string.
pub const fn c_name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

/// The C library's own errno of this thread.
pub fn errno() -> i32 {
    // SAFETY: always a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// Sets it; only a call that fails does.
pub fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// The range of addresses that the module of an address occupies, by its program headers.
pub fn module_range(address: *const c_void) -> Option<(usize, usize)> {
    // SAFETY: an all-zero Dl_info is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr takes any address.
    if unsafe { libc::dladdr(address, &raw mut info) } == 0 || info.dli_fbase.is_null() {
        return None;
    }
    let base = info.dli_fbase as usize;
    // SAFETY: the loader mapped an ELF header at the base of every module, and its program headers behind it.
    unsafe {
        let header = &*(base as *const libc::Elf64_Ehdr);
        let mut end = base;
        for index in 0..usize::from(header.e_phnum) {
            let program = &*((base + header.e_phoff as usize) as *const libc::Elf64_Phdr).add(index);
            if program.p_type == libc::PT_LOAD {
                end = end.max(base + (program.p_vaddr + program.p_memsz) as usize);
            }
        }
        Some((base, end))
    }
}

/// The path by which the loader knows this library.
pub fn own_path() -> Option<&'static CStr> {
    // SAFETY: an all-zero Dl_info is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address of ours; the loader's name of a preloaded module lives for ever.
    unsafe {
        if libc::dladdr((&raw const WORDS).cast(), &raw mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        Some(CStr::from_ptr(info.dli_fname.cast::<c_char>()))
    }
}

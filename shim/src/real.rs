//! The real functions behind our names, and the naked entries in front of them.
//!
//! Every interposed symbol has a [`Slot`]: an atomic pointer preset to a stub that resolves it at the first call, so that
//! a library's constructor may call it before ours has run, and an exec does not pay for hundreds of look-ups (30 us)
//! of which it needs a dozen. The entry is naked code: compare the operation's word with zero, jump. It must stay free
//! of frames, for vfork, for cancellation, for speed.
//!
//! All slots lie together, and what they are called lies in a section of its own without a pointer in it: every pointer
//! is a relocation, and every page with one is copied in every process that starts.

use crate::elf::Name;
use crate::loaded;
use crate::versions::FIRST_VERSION;
use chaos_table::rule::OP_ROOM;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Where one real function is.
#[repr(transparent)]
pub struct Slot {
    /// The function, or the stub that finds it.
    pub target: AtomicPtr<c_void>,
}

/// What a slot is called. All offsets are from the entry itself.
#[repr(C)]
pub struct Entry {
    slot: i32,
    /// Another slot, whose function does the same with the same arguments where libc lacks this one; 0: none, and the
    /// call fails with ENOSYS, as on a kernel without it.
    alias: i32,
    hash: u32,
    name: i32,
}

/// In place of an alias: the slot is for the function's first version, see `versions.rs`.
pub const FIRST: i32 = 1;

impl Entry {
    fn at<T>(&self, offset: i32) -> *const T {
        (&raw const *self).cast::<u8>().wrapping_offset(offset as isize).cast()
    }

    fn slot(&self) -> &'static Slot {
        // SAFETY: the macros below put the offset of a static there.
        unsafe { &*self.at(self.slot) }
    }

    fn alias(&self) -> Option<&'static Slot> {
        // SAFETY: as above.
        (!matches!(self.alias, 0 | FIRST)).then(|| unsafe { &*self.at(self.alias) })
    }

    fn name(&self) -> Name<'static> {
        // SAFETY: as above: of a string that ends with NUL.
        Name::hashed(unsafe { CStr::from_ptr(self.at(self.name)) }, self.hash)
    }
}

/// No operation has a rule: what every entry compares with until the process is armed.
static IDLE: Words = Words([const { AtomicU64::new(0) }; OP_ROOM]);
/// Only the operations that show a runtime's user program at work.
pub static WAITING: Words = Words([const { AtomicU64::new(0) }; OP_ROOM]);
/// The words that the entries compare: [`IDLE`], [`WAITING`], or those of the session.
#[unsafe(link_section = ".data.chaos_start")]
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

/// Lets the entries compare other words, unless they compare something else than `from` by now.
pub fn turn_to(from: *mut AtomicU64, to: *mut AtomicU64) {
    let _ = WORDS.compare_exchange(from, to, Relaxed, Relaxed);
}

/// The word of an operation in the table that the entries look at now.
#[inline(always)]
pub fn word(op: usize) -> u64 {
    let words = WORDS.load(Relaxed);
    // SAFETY: WORDS points at OP_ROOM words that live for ever, and every operation is below OP_ROOM.
    unsafe { (*words.add(op)).load(Relaxed) }
}

const _: () = assert!(chaos_table::calls::OPS <= OP_ROOM);

/// Finds the function of one slot: what the stubs call, once for each symbol that the program calls. It only reads the
/// loader's tables: no memory, no lock, no system call, so a signal handler and a forked child may come here.
#[unsafe(link_section = ".text.chaos_start")]
unsafe extern "C" fn resolve(entry: &Entry) -> *mut c_void {
    let found = match entry.alias {
        FIRST => loaded::next_version(entry.name(), FIRST_VERSION),
        _ => loaded::next(entry.name()),
    };
    if let Some(found) = found {
        entry.slot().target.store(found, Relaxed);
        return found;
    }
    // Not kept: before glibc 2.34 a library that is loaded later may bring it (pthread_create).
    entry.alias().map_or(no_sys as *mut c_void, |alias| alias.target.load(Relaxed))
}

extern "C" fn no_sys() -> isize {
    set_errno(libc::ENOSYS);
    -1
}

extern "C" fn no_sys_null() -> usize {
    set_errno(libc::ENOSYS);
    0
}

/// Named as an alias: the missing call returns NULL or 0 and sets errno to ENOSYS, where a -1 would be taken for success.
pub mod null {
    use super::{AtomicPtr, Slot, c_void, no_sys_null};

    pub static SLOT: Slot = Slot { target: AtomicPtr::new(no_sys_null as *mut c_void) };
}

/// The common end of the stubs: r11 holds the entry; all argument registers survive.
#[unsafe(naked)]
#[unsafe(link_section = ".text.chaos_start")]
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
/// A watched operation has `body` called by way of `watch.rs`.
/// Before the operation may stand `[ahead memory]`, `[ahead fd]` or `[ahead nothing]`, by what the rules look at: such calls
/// may pass by draws made ahead, see `ahead.rs`. `[always]`: the word is not asked (calls that the tree hangs on).
/// `[since "VERSION"]`: the symbol's first version in libc is another function, hooked by the same body; see `versions.rs`.
/// `or alias` names the hook whose real function serves where libc lacks the symbol; `or null`: it then returns NULL.
macro_rules! hooks {
    ($(
        $([$($mode:tt)*])? $op:ident, $symbol:ident $(or $alias:ident)?
        ($($arg:ident : $type:ty),*) -> $result:ty, $real:ident => $body:expr;
    )*) => {
        $(
            pub mod $symbol {
                use super::*;

                $crate::real::slot!(SLOT, $symbol $(or super::$alias::SLOT)?);

                $crate::real::hooks!(@armed [$($($mode)*)?] $op ($($arg: $type),*) -> $result, $real => $body);
                $crate::real::hooks!(@entry $symbol $op [$($($mode)*)?]);
                $crate::versions::first_version! {
                    [$($($mode)*)?] $op, $symbol($($arg: $type),*) -> $result, $real => $body
                }
            }
        )*
    };
    // A fork child begins in these, on a page that is not its own yet: they lie with what it runs next.
    (@armed [always $($more:tt)*] $($rest:tt)*) => {
        $crate::real::hooks!(@code [#[unsafe(link_section = ".text.chaos_start")]] $($rest)*);
    };
    (@armed [$($mode:tt)*] $($rest:tt)*) => {
        $crate::real::hooks!(@code [] $($rest)*);
    };
    (@code [$($placed:tt)*] $op:ident ($($arg:ident : $type:ty),*) -> $result:ty, $real:ident => $body:expr) => {
        #[inline(never)]
        $($placed)*
        unsafe extern "C-unwind" fn armed($($arg: $type),*) -> $result {
            type Real = unsafe extern "C-unwind" fn($($type),*) -> $result;
            // SAFETY: the slot holds the function of this symbol, whose C signature is written here.
            let $real: Real = unsafe {
                std::mem::transmute(SLOT.target.load(std::sync::atomic::Ordering::Relaxed))
            };
            // SAFETY: the caller's arguments are passed on as they came.
            unsafe { $body }
        }

        /// The same while the operation has open episodes.
        unsafe extern "C-unwind" fn watched($($arg: $type),*) -> $result {
            // SAFETY: the caller's arguments are passed on as they came.
            $crate::watch::around(Op::$op, || unsafe { armed($($arg),*) })
        }
    };
    (@entry $symbol:ident $op:ident [always $(since $($version:literal)+)?]) => {
        #[unsafe(link_section = ".text.chaos_start")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                $crate::versions::named!($symbol $($($version)+)?),
                "mov r11, qword ptr [rip + {words}]",
                "cmp qword ptr [r11 + {offset}], 0",
                "je {armed}",
                $crate::real::note_caller!(),
                "js {watched}",
                "jmp {armed}",
                words = sym $crate::real::WORDS,
                offset = const Op::$op as usize * 8,
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                watched = sym watched,
                armed = sym armed,
            )
        }
    };
    (@entry $symbol:ident $op:ident [ahead nothing]) => {
        $crate::real::hooks!(@ahead $symbol $op nothing []);
    };
    (@entry $symbol:ident $op:ident [ahead memory]) => {
        $crate::real::hooks!(@ahead $symbol $op memory [spared = sym $crate::init::SPARED,]);
    };
    (@entry $symbol:ident $op:ident [ahead fd]) => {
        $crate::real::hooks!(@ahead $symbol $op fd [
            op = const Op::$op as usize,
            table = sym $crate::fds::TABLE,
            first_plain = const $crate::fds::FIRST_PLAIN,
            remembered = const $crate::fds::REMEMBERED,
            entry_bits = const $crate::fds::ENTRY_BITS,
            at_op = const $crate::ahead::at::OP,
            at_matching = const $crate::ahead::at::MATCHING,
        ]);
    };
    (@ahead $symbol:ident $op:ident $kind:ident [$($operand:tt)*]) => {
        #[unsafe(link_section = ".text.chaos_start")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                "mov r11, qword ptr [rip + {words}]",
                "mov r10, qword ptr [r11 + {offset}]",
                "test r10, r10",
                "jne 2f",
                "jmp qword ptr [rip + {slot}]",
                "2:",
                $crate::ahead::go_ahead!($kind),
                $crate::real::note_caller!(),
                "js {watched}",
                "jmp {armed}",
                words = sym $crate::real::WORDS,
                offset = const Op::$op as usize * 8,
                slot = sym SLOT,
                lead = const std::mem::offset_of!($crate::guard::Thread, lead),
                stamp = const chaos_table::rule::STAMP * 8,
                generation = sym $crate::tree::GENERATION,
                at_sum = const $crate::ahead::at::SUM,
                at_counted = const $crate::ahead::at::COUNTED,
                at_limit = const $crate::ahead::at::LIMIT,
                $($operand)*
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                watched = sym watched,
                armed = sym armed,
            )
        }
    };
    (@entry $symbol:ident $op:ident [$(since $($version:literal)+)?]) => {
        #[unsafe(link_section = ".text.chaos_start")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol() {
            std::arch::naked_asm!(
                $crate::versions::named!($symbol $($($version)+)?),
                "mov r11, qword ptr [rip + {words}]",
                "cmp qword ptr [r11 + {offset}], 0",
                "jne 2f",
                "jmp qword ptr [rip + {slot}]",
                "2:",
                $crate::real::note_caller!(),
                // The flags are still those of the comparison: WATCH is the sign.
                "js {watched}",
                "jmp {armed}",
                words = sym $crate::real::WORDS,
                offset = const Op::$op as usize * 8,
                slot = sym SLOT,
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                watched = sym watched,
                armed = sym armed,
            )
        }
    };
}
pub(crate) use hooks;

/// Declares the slot of a symbol, with the stub that resolves it.
macro_rules! slot {
    ($slot:ident, $symbol:ident $(or $alias:path)?) => {
        #[unsafe(link_section = ".data.chaos_slots")]
        pub static $slot: $crate::real::Slot =
            $crate::real::Slot { target: std::sync::atomic::AtomicPtr::new(stub as *mut std::ffi::c_void) };

        #[unsafe(link_section = ".text.chaos_start")]
        #[unsafe(naked)]
        unsafe extern "C" fn stub() {
            std::arch::naked_asm!(
                ".pushsection chaos_slots,\"aR\",@progbits",
                ".p2align 2",
                "8: .long {slot} - 8b",
                $crate::real::slot!(@alias $($alias)?),
                ".long {hash}",
                ".long 9f - 8b",
                ".popsection",
                ".pushsection chaos_names,\"aR\",@progbits",
                concat!("9: .asciz \"", stringify!($symbol), "\""),
                ".popsection",
                "lea r11, [rip + 8b]",
                "jmp {resolve}",
                slot = sym $slot,
                hash = const $crate::elf::hash(stringify!($symbol).as_bytes()),
                resolve = sym $crate::real::resolve_and_jump,
                $(alias = sym $alias,)?
            )
        }
    };
    (@alias) => { ".long 0" };
    (@alias $alias:path) => { ".long {alias} - 8b" };
}
pub(crate) use slot;

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

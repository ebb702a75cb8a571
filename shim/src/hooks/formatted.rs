//! Formatted input and output: variadic calls, whose arguments nobody but the real function can take. It is decided
//! first, then jumped to with every register as the caller left it.

use super::stdio::formatted;
use crate::call;
use crate::effects::{self, Outcome};
use crate::real::{Slot, errno, note_caller, set_errno};
use crate::select::Target;
use crate::stream::{Given, standard_input, standard_output};
use chaos_table::calls::Op;
use libc::{FILE, c_char, c_int};
use std::ffi::c_void;
use std::mem::offset_of;

/// What each kind of call asks before it, by its first argument and the registers as they were: 0 to go on, -1 when it
/// has failed.
type Ask = unsafe extern "C" fn(*mut c_void, &Frame) -> c_int;

/// What [`ask_and_jump`] has saved. It begins as the ABI wants the registers of a variadic function.
#[repr(C)]
struct Frame {
    general: [usize; 6],
    vectors: [u128; 8],
    vector_count: usize,
    slot: usize,
    frame_pointer: usize,
    return_address: usize,
    /// Where the arguments begin that came on the stack.
    stack: [usize; 0],
}

const _: () = assert!(offset_of!(Frame, vectors) == 48 && offset_of!(Frame, frame_pointer) == 192);

/// A va_list of the x86-64 ABI.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    general: u32,
    vector: u32,
    stack: *const usize,
    registers: *const Frame,
}

unsafe extern "C" {
    fn vsnprintf(to: *mut c_char, room: usize, format: *const c_char, arguments: *mut Arguments) -> c_int;
}

impl Frame {
    /// How long the text will be that a call makes of its arguments: the format is number `FORMAT`, and behind it comes a
    /// `LIST` or the arguments themselves.
    unsafe fn text<const FORMAT: usize, const LIST: bool>(&self) -> Given {
        let own = Arguments {
            general: 8 * (FORMAT as u32 + 1),
            vector: 48,
            stack: self.stack.as_ptr(),
            registers: &raw const *self,
        };
        let [format, behind] = [FORMAT, FORMAT + 1].map(|at| self.general.get(at).copied().unwrap_or(0));
        let saved = errno();
        // SAFETY: the program's own arguments, as the call itself would take them; nothing is written to, and of the list
        // that the program has made a copy is used up.
        let len = unsafe {
            let mut arguments = if LIST { *(behind as *const Arguments) } else { own };
            vsnprintf(std::ptr::null_mut(), 0, format as *const c_char, &raw mut arguments)
        };
        set_errno(saved);
        usize::try_from(len).map_or(Given::Unknown, Given::Length)
    }
}

unsafe extern "C" fn to_stream<const FORMAT: usize, const LIST: bool>(stream: *mut c_void, frame: &Frame) -> c_int {
    // SAFETY: the arguments of such a call.
    formatted(Op::Fprintf, stream.cast::<FILE>(), || unsafe { frame.text::<FORMAT, LIST>() })
}

unsafe extern "C" fn to_output<const FORMAT: usize, const LIST: bool>(_: *mut c_void, frame: &Frame) -> c_int {
    // SAFETY: as above.
    formatted(Op::Fprintf, standard_output(), || unsafe { frame.text::<FORMAT, LIST>() })
}

/// dprintf: its first argument is the descriptor itself.
unsafe extern "C" fn to_descriptor(fd: *mut c_void, _: &Frame) -> c_int {
    let target = Target::Fd(fd.addr() as c_int);
    let Some(first) = call::judge(Op::Fprintf, target, 0) else { return 0 };
    match call::deliver(first, target, 0, 0) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket) as c_int,

        _ => 0,
    }
}

unsafe extern "C" fn from_stream(stream: *mut c_void, _: &Frame) -> c_int {
    formatted(Op::Fscanf, stream.cast::<FILE>(), || Given::Unknown)
}

unsafe extern "C" fn from_input(_: *mut c_void, _: &Frame) -> c_int {
    formatted(Op::Fscanf, standard_input(), || Given::Unknown)
}

/// The common end of the armed entries: r10 is what to ask, r11 the slot. Nothing unwinds through it: no wait in these
/// calls is a cancellation point (see `effects/wait.rs`).
#[unsafe(naked)]
unsafe extern "C" fn ask_and_jump() {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 192",
        "mov [rsp], rdi", "mov [rsp+8], rsi", "mov [rsp+16], rdx",
        "mov [rsp+24], rcx", "mov [rsp+32], r8", "mov [rsp+40], r9",
        "movups [rsp+48], xmm0", "movups [rsp+64], xmm1", "movups [rsp+80], xmm2", "movups [rsp+96], xmm3",
        "movups [rsp+112], xmm4", "movups [rsp+128], xmm5", "movups [rsp+144], xmm6", "movups [rsp+160], xmm7",
        "mov [rsp+176], rax", "mov [rsp+184], r11",
        "mov rsi, rsp",
        "call r10",
        "mov r10d, eax",
        "movups xmm0, [rsp+48]", "movups xmm1, [rsp+64]", "movups xmm2, [rsp+80]", "movups xmm3, [rsp+96]",
        "movups xmm4, [rsp+112]", "movups xmm5, [rsp+128]", "movups xmm6, [rsp+144]", "movups xmm7, [rsp+160]",
        "mov rdi, [rsp]", "mov rsi, [rsp+8]", "mov rdx, [rsp+16]",
        "mov rcx, [rsp+24]", "mov r8, [rsp+32]", "mov r9, [rsp+40]",
        "mov rax, [rsp+176]", "mov r11, [rsp+184]",
        "add rsp, 192",
        "pop rbp",
        "test r10d, r10d",
        "jne 2f",
        "jmp qword ptr [r11 + {target}]",
        "2: mov eax, -1",
        "ret",
        target = const offset_of!(Slot, target),
    )
}

/// Declares formatted calls: `Op, symbol, what to ask;`. As `hooks!` does, `or` names what serves where libc lacks the
/// symbol.
macro_rules! formatted {
    ($($op:ident, $symbol:ident $(or $alias:ident)?, $ask:path;)*) => {
        $(
            mod $symbol {
                use super::*;

                crate::real::slot!(SLOT, $symbol $(or super::$alias::SLOT)?);
                const ASK: Ask = $ask;

                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $symbol() {
                    std::arch::naked_asm!(
                        "mov r11, qword ptr [rip + {words}]",
                        "cmp qword ptr [r11 + {offset}], 0",
                        "jne 2f",
                        "jmp qword ptr [rip + {slot}]",
                        "2:",
                        note_caller!(),
                        "lea r11, [rip + {slot}]",
                        "lea r10, [rip + {ask}]",
                        "jmp {end}",
                        words = sym crate::real::WORDS,
                        offset = const Op::$op as usize * 8,
                        slot = sym SLOT,
                        ask = sym $ask,
                        end = sym ask_and_jump,
                        caller = const offset_of!(crate::guard::Thread, caller),
                    )
                }
                const _: Ask = ASK;
            }
        )*
    };
}

formatted! {
    Fprintf, fprintf, to_stream::<1, false>;
    Fprintf, printf, to_output::<0, false>;
    Fprintf, vfprintf, to_stream::<1, true>;
    Fprintf, vprintf, to_output::<0, true>;
    Fprintf, dprintf, to_descriptor;
    Fprintf, vdprintf, to_descriptor;
    Fprintf, __fprintf_chk, to_stream::<2, false>;
    Fprintf, __printf_chk, to_output::<1, false>;
    Fprintf, __vfprintf_chk, to_stream::<2, true>;
    Fprintf, __vprintf_chk, to_output::<1, true>;
    Fprintf, __dprintf_chk, to_descriptor;
    Fprintf, __vdprintf_chk, to_descriptor;
    Fscanf, fscanf, from_stream;
    Fscanf, scanf, from_input;
    Fscanf, vfscanf, from_stream;
    Fscanf, vscanf, from_input;
    Fscanf, __isoc99_fscanf or fscanf, from_stream;
    Fscanf, __isoc99_scanf or scanf, from_input;
    Fscanf, __isoc99_vfscanf or vfscanf, from_stream;
    Fscanf, __isoc99_vscanf or vscanf, from_input;
    Fscanf, __isoc23_fscanf or fscanf, from_stream;
    Fscanf, __isoc23_scanf or scanf, from_input;
    Fscanf, __isoc23_vfscanf or vfscanf, from_stream;
    Fscanf, __isoc23_vscanf or vscanf, from_input;
}

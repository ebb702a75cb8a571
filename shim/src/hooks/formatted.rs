//! Formatted input and output: variadic calls, whose arguments nobody but the real function can take. It is decided
//! first, then jumped to with every register as the caller left it.

use super::stdio::formatted;
use crate::call;
use crate::effects::{self, Outcome};
use crate::real::{Slot, note_caller};
use crate::select::Target;
use crate::stream::{standard_input, standard_output};
use chaos_table::calls::Op;
use libc::{FILE, c_int};
use std::ffi::c_void;
use std::mem::offset_of;

/// What each kind of call asks before it: 0 to go on, -1 when it has failed.
type Ask = unsafe extern "C" fn(*mut c_void) -> c_int;

unsafe extern "C" fn to_stream(stream: *mut c_void) -> c_int {
    formatted(Op::Fprintf, stream.cast::<FILE>())
}

unsafe extern "C" fn to_output(_: *mut c_void) -> c_int {
    formatted(Op::Fprintf, standard_output())
}

/// dprintf: its first argument is the descriptor itself.
unsafe extern "C" fn to_descriptor(fd: *mut c_void) -> c_int {
    let target = Target::Fd(fd.addr() as c_int);
    let Some(first) = call::judge(Op::Fprintf, target, 0) else { return 0 };
    match call::deliver(first, target, 0, 0) {
        Outcome::Fail(errno, ticket) => effects::fail(errno, &ticket) as c_int,

        _ => 0,
    }
}

unsafe extern "C" fn from_stream(stream: *mut c_void) -> c_int {
    formatted(Op::Fscanf, stream.cast::<FILE>())
}

unsafe extern "C" fn from_input(_: *mut c_void) -> c_int {
    formatted(Op::Fscanf, standard_input())
}

/// The common end of the armed entries: r10 is what to ask, r11 the slot. Nothing unwinds through it: no wait in these
/// calls is a cancellation point (see `effects/wait.rs`).
#[unsafe(naked)]
unsafe extern "C" fn ask_and_jump() {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax", "push r11",
        "sub rsp, 128",
        "movups [rsp], xmm0", "movups [rsp+16], xmm1", "movups [rsp+32], xmm2", "movups [rsp+48], xmm3",
        "movups [rsp+64], xmm4", "movups [rsp+80], xmm5", "movups [rsp+96], xmm6", "movups [rsp+112], xmm7",
        "call r10",
        "mov r10d, eax",
        "movups xmm0, [rsp]", "movups xmm1, [rsp+16]", "movups xmm2, [rsp+32]", "movups xmm3, [rsp+48]",
        "movups xmm4, [rsp+64]", "movups xmm5, [rsp+80]", "movups xmm6, [rsp+96]", "movups xmm7, [rsp+112]",
        "add rsp, 128",
        "pop r11", "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
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
    ($($op:ident, $symbol:ident $(or $alias:ident)?, $ask:ident;)*) => {
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
    Fprintf, fprintf, to_stream;
    Fprintf, printf, to_output;
    Fprintf, vfprintf, to_stream;
    Fprintf, vprintf, to_output;
    Fprintf, dprintf, to_descriptor;
    Fprintf, vdprintf, to_descriptor;
    Fprintf, __fprintf_chk, to_stream;
    Fprintf, __printf_chk, to_output;
    Fprintf, __vfprintf_chk, to_stream;
    Fprintf, __vprintf_chk, to_output;
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

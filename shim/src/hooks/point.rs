//! `chaos_fail`: a failure point of the program's own. There is no real call behind it.

use super::with_flags;
use crate::guard::Thread;
use crate::init;
use crate::real::{WORDS, note_caller};
use crate::select::Target;
use crate::watch;
use chaos_table::calls::Op;
use std::ffi::{c_char, c_int};

/// 0, or the errno (or value) that a rule gives.
unsafe extern "C-unwind" fn asked(name: *const c_char) -> c_int {
    // No runtime calls it while it boots.
    init::sign();
    with_flags(Op::Point, Target::Point(name), 0, || 0, |errno| errno)
}

/// The same while the point has open episodes.
unsafe extern "C-unwind" fn watched(name: *const c_char) -> c_int {
    // SAFETY: the caller's argument as it came.
    watch::around(Op::Point, || unsafe { asked(name) })
}

/// As the entries of `real.rs`, without a real function: 0 while no rule is on it.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_fail() {
    std::arch::naked_asm!(
        "mov r11, qword ptr [rip + {words}]",
        "cmp qword ptr [r11 + {offset}], 0",
        "jne 2f",
        "xor eax, eax",
        "ret",
        "2:",
        note_caller!(),
        "js {watched}",
        "jmp {asked}",
        words = sym WORDS,
        offset = const Op::Point as usize * 8,
        caller = const std::mem::offset_of!(Thread, caller),
        watched = sym watched,
        asked = sym asked,
    )
}

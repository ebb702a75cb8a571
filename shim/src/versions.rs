//! Names that stand for two functions in glibc.
//!
//! Programs are bound to a name in a version. Where a later one does something else - condition variables and timers of
//! another shape - glibc keeps the first for those that were bound to it, or were linked without any version. An
//! unversioned definition of ours would take the calls of both, and could pass them on to one function only: the other's
//! callers would give it what it does not know. So such a name is exported in every version that libc has, each with
//! its own real function behind it. musl knows no versions, and takes the default one.

use std::ffi::CStr;

/// The version that glibc's first release for x86-64 gave all its symbols.
pub const FIRST_VERSION: &CStr = c"GLIBC_2.2.5";

/// In the entry of a symbol: the versions by which it is known, the last of them the default. They are declared in
/// build.rs.
macro_rules! named {
    ($symbol:ident) => {
        ""
    };
    ($symbol:ident $version:literal) => {
        $crate::versions::named!(@name $symbol "@@" $version)
    };
    ($symbol:ident $version:literal $($later:literal)+) => {
        concat!($crate::versions::named!(@name $symbol "@" $version), $crate::versions::named!($symbol $($later)+))
    };
    (@name $symbol:ident $at:literal $version:literal) => {
        concat!(".symver ", stringify!($symbol), ", ", stringify!($symbol), $at, $version, "\n")
    };
}
pub(crate) use named;

/// Declares the hook of a symbol's first version, for `hooks!`, which gives it the body of the other. Whether a rule is
/// on it, the body asks; its real function is looked for at the first call, as hardly a program has one.
macro_rules! first_version {
    ([] $($rest:tt)*) => {};
    ([always] $($rest:tt)*) => {};
    ([ahead $kind:ident] $($rest:tt)*) => {};
    ([always $($since:tt)+] $($rest:tt)*) => { $crate::versions::first_version! { [$($since)+] $($rest)* } };
    (
        [since $($version:literal)+]
        $op:ident, $symbol:ident($($arg:ident : $type:ty),*) -> $result:ty, $real:ident => $body:expr
    ) => {
        mod first {
            use super::*;

            static SLOT: $crate::real::Slot =
                $crate::real::Slot { target: std::sync::atomic::AtomicPtr::new(stub as *mut std::ffi::c_void) };

            #[unsafe(naked)]
            unsafe extern "C" fn stub() {
                std::arch::naked_asm!(
                    ".pushsection chaos_names,\"aR\",@progbits",
                    concat!("9: .asciz \"", stringify!($symbol), "\""),
                    ".p2align 2",
                    "8: .long {slot} - 8b",
                    ".long {first}",
                    ".long {hash}",
                    ".long 9b - 8b",
                    ".popsection",
                    "lea r11, [rip + 8b]",
                    "jmp {resolve}",
                    slot = sym SLOT,
                    first = const $crate::real::FIRST,
                    hash = const $crate::elf::hash(stringify!($symbol).as_bytes()),
                    resolve = sym $crate::real::resolve_and_jump,
                )
            }

            $crate::real::hooks!(@armed [] $op ($($arg: $type),*) -> $result, $real => $body);

            // No Rust function: nothing but the linker's table would refer to it.
            std::arch::global_asm!(
                concat!(".pushsection .text.chaos_first_", stringify!($symbol), ",\"ax\",@progbits"),
                concat!(".globl chaos_first_", stringify!($symbol)),
                concat!(".type chaos_first_", stringify!($symbol), ", @function"),
                concat!("chaos_first_", stringify!($symbol), ":"),
                $crate::real::note_caller!(),
                "mov r11, qword ptr [rip + {words}]",
                "cmp qword ptr [r11 + {offset}], 0",
                "js {watched}",
                "jmp {armed}",
                concat!(".size chaos_first_", stringify!($symbol), ", . - chaos_first_", stringify!($symbol)),
                concat!(".symver chaos_first_", stringify!($symbol), ", ", stringify!($symbol), "@GLIBC_2.2.5"),
                ".popsection",
                words = sym $crate::real::WORDS,
                offset = const Op::$op as usize * 8,
                caller = const std::mem::offset_of!($crate::guard::Thread, caller),
                watched = sym watched,
                armed = sym armed,
            );
        }
    };
}
pub(crate) use first_version;

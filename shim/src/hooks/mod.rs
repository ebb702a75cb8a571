//! Typed hooks, one for each symbol of the table of calls.

pub mod data;
pub mod file;
pub mod ipc;
pub mod memory;
pub mod net;
pub mod process;
pub mod raw;

use crate::call::{self, First};
use crate::effects::{self, Outcome};
use crate::real::word;
use crate::select::Target;
use chaos_table::calls::Op;
use chaos_table::rule::TRACK;

/// Names the functions that redhook declares in a file, for `resolve_declared` to find them now: redhook does so under a
/// lock, in which a signal handler or a forked child could be caught. They have been resolved with all others.
macro_rules! declared {
    ($($symbol:ident)*) => {
        crate::real::empty_slots! { $($symbol)* }

        pub fn resolve_declared() {
            $(let _ = redhook::real!($symbol);)*
        }
    };
}
use declared;

/// Finds every real function now, so that no look-up happens in a signal handler or a forked child.
pub fn resolve_all() {
    crate::real::resolve_all();
    net::resolve_declared();
}

/// Whether the operation must be followed because it changes what a descriptor is, or a runtime is booting.
#[inline(always)]
fn tracked(op: Op) -> bool {
    word(op as usize) & TRACK != 0
}

/// A call that either happens or fails: asks the rules, waits, and calls `real` unless the verdict is a failure.
///
/// `failed` makes the call's own way of failing out of an errno or code.
#[inline(always)]
fn simple<R>(op: Op, target: Target, real: impl FnOnce() -> R, failed: impl FnOnce(i32) -> R) -> R {
    with_flags(op, target, 0, real, failed)
}

/// As [`simple`], for a call whose command or options say which faults it can meet.
#[inline(always)]
fn with_flags<R>(op: Op, target: Target, flags: i32, real: impl FnOnce() -> R, failed: impl FnOnce(i32) -> R) -> R {
    match call::judge(op, target, 0) {
        None => real(),
        Some(first) => simple_hit(first, target, flags, real, failed),
    }
}

#[cold]
#[inline(never)]
fn simple_hit<R>(
    first: First,
    target: Target,
    flags: i32,
    real: impl FnOnce() -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    match call::deliver(first, target, 0, flags) {
        Outcome::Fail(code, ticket) => {
            effects::tell(&ticket, -1);
            failed(code)
        }
        Outcome::Go | Outcome::End(_) | Outcome::Short(..) | Outcome::Corrupt(..) => real(),
    }
}

/// -1 and errno.
fn minus_one(errno: i32) -> i32 {
    crate::real::set_errno(errno);
    -1
}

//! Typed hooks, one for each symbol of the table of calls.

pub mod copy;
pub mod data;
pub mod deadline;
pub mod descriptors;
pub mod durability;
pub mod file;
mod formatted;
pub mod ipc;
pub mod memory;
pub mod metadata;
mod moving;
pub mod names;
pub mod net;
pub mod path;
mod point;
pub mod process;
pub mod raw;
mod raw_plain;
pub mod ready;
pub mod stdio;
pub mod time;

use crate::call::{self, First, Quick};
use crate::effects::{self, Outcome};
use crate::real::word;
use crate::select::Target;
use chaos_table::calls::Op;
use chaos_table::rule::TRACK;
use libc::c_long;
use std::ffi::c_char;

/// Whether the operation must be followed because it changes what a descriptor is, or a runtime is booting.
#[inline(always)]
fn tracked(op: Op) -> bool {
    word(op as usize) & TRACK != 0
}

/// A call that either happens or fails: asks the rules, waits, and calls `real` unless the verdict is a failure.
///
/// `failed` makes the call's own way of failing out of an errno or code.
#[inline(always)]
fn simple<R: Answer>(op: Op, target: Target, real: impl FnOnce() -> R, failed: impl FnOnce(i32) -> R) -> R {
    with_flags(op, target, 0, real, failed)
}

/// As [`simple`], for a call whose command or options say which faults it can meet.
#[inline(always)]
fn with_flags<R: Answer>(
    op: Op,
    target: Target,
    flags: i32,
    real: impl FnOnce() -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    match call::judge(op, target, 0) {
        None => real(),
        Some(first) => simple_hit(first, target, flags, real, failed),
    }
}

#[cold]
#[inline(never)]
fn simple_hit<R: Answer>(
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
        Outcome::Return(value, errno, ticket) => R::of(effects::give(value, errno, &ticket)),
        Outcome::Drop(ticket) => {
            effects::tell(&ticket, 0);
            R::of(0)
        }

        _ => real(),
    }
}

/// As [`with_flags`], for a call that costs a few ns: what passes is one jump.
#[inline(always)]
fn quickly<R: Answer>(op: Op, flags: i32, real: impl FnOnce() -> R, failed: impl FnOnce(i32) -> R) -> R {
    match call::quick(op, Target::Nothing) {
        Quick::Pass => real(),
        quick => quickly_hit(quick, op, flags, real, failed),
    }
}

#[cold]
#[inline(never)]
fn quickly_hit<R: Answer>(
    quick: Quick,
    op: Op,
    flags: i32,
    real: impl FnOnce() -> R,
    failed: impl FnOnce(i32) -> R,
) -> R {
    match quick.resolve(op, Target::Nothing, 0) {
        None => real(),
        Some(first) => simple_hit(first, Target::Nothing, flags, real, failed),
    }
}

/// What a call returns, made of a number.
trait Answer {
    fn of(value: i64) -> Self;
}

macro_rules! answers {
    ($($type:ty)*) => {$(
        impl Answer for $type {
            fn of(value: i64) -> $type {
                value as $type
            }
        }
    )*};
}

answers! { i32 u32 i64 u64 isize usize }

impl<T> Answer for *mut T {
    /// The only pointer that may be forged.
    fn of(_: i64) -> *mut T {
        std::ptr::null_mut()
    }
}

impl Answer for () {
    fn of(_: i64) {}
}

/// How a call fails, by the type of its result: -1, or NULL; with errno.
trait Fails {
    fn failed(errno: i32) -> Self;
}

impl Fails for i32 {
    fn failed(errno: i32) -> i32 {
        minus_one(errno)
    }
}

impl Fails for isize {
    fn failed(errno: i32) -> isize {
        minus_one(errno) as isize
    }
}

impl Fails for i64 {
    fn failed(errno: i32) -> i64 {
        i64::from(minus_one(errno))
    }
}

impl<T> Fails for *mut T {
    fn failed(errno: i32) -> *mut T {
        crate::real::set_errno(errno);
        std::ptr::null_mut()
    }
}

/// As [`with_flags`], for calls that take a microsecond anyway: the asking stands in one place, so that many hooks are
/// little code.
fn plain<R: Fails + Answer>(op: Op, target: Target, flags: i32, real: impl FnOnce() -> R) -> R {
    match instead_of(op, target, flags) {
        Instead::Nothing => real(),
        Instead::Failed(errno) => R::failed(errno),
        Instead::Answer(value) => R::of(value),
    }
}

/// What happens in place of a call.
enum Instead {
    /// It is made.
    Nothing,
    /// It fails with this errno.
    Failed(i32),
    /// It answers this; errno is set.
    Answer(i64),
}

#[inline(never)]
fn instead_of(op: Op, target: Target, flags: i32) -> Instead {
    crate::init::before_call_on_name(op, target);
    with_flags(op, target, flags, || Instead::Nothing, Instead::Failed)
}

impl Answer for Instead {
    fn of(value: i64) -> Instead {
        Instead::Answer(value)
    }
}

/// Paths start at the working directory.
const CWD: i32 = libc::AT_FDCWD;

/// What a path names: where a last link leads if `follow`, else the link.
const fn looked_up(follow: bool, dirfd: i32, path: *const c_char) -> Target {
    if follow { Target::Path(dirfd, path) } else { Target::Entry(dirfd, path) }
}

/// -1 and errno.
fn minus_one(errno: i32) -> i32 {
    crate::real::set_errno(errno);
    -1
}

/// The same of a raw system call.
fn minus_one_long(errno: i32) -> c_long {
    c_long::from(minus_one(errno))
}

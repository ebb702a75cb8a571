//! What a record tells of an effect.

use crate::decide::Effect;
use crate::fits::unreachable;
use crate::record::status;
use crate::rule::change as changes;

/// Whether an effect ends the process, or may.
#[must_use]
pub const fn ends_process(effect: Effect) -> bool {
    matches!(effect, Effect::Signal(_) | Effect::Exit(_))
}

/// How far a record is when it is published: what ends its process is delivered by that, what waits is pending.
#[must_use]
pub fn status_of(effect: Effect) -> u8 {
    match effect {
        Effect::Signal(_) | Effect::Exit(_) => status::DELIVERED,
        Effect::Error(_) | Effect::Memory(_) | Effect::Files(_) | Effect::Disk(_) | Effect::Return(_) => status::FIRED,
        Effect::Latency(_)
        | Effect::Hang(_)
        | Effect::Short(_)
        | Effect::Part(_)
        | Effect::Corrupt(_)
        | Effect::Zero(_)
        | Effect::Duplicate(_)
        | Effect::Truncate(_)
        | Effect::Drop
        | Effect::Torn(_)
        | Effect::Reset(_)
        | Effect::End(_)
        | Effect::Unreachable(_)
        | Effect::Throttle(_)
        | Effect::Freeze(_) => status::PENDING,
    }
}

/// The number that a record names as the effect.
#[must_use]
pub fn number_of(effect: Effect) -> i32 {
    match effect {
        Effect::Error(code) | Effect::Signal(code) | Effect::Exit(code) => code as i32,
        Effect::Memory(_) => libc::ENOMEM,
        Effect::Files(_) => libc::EMFILE,
        Effect::Disk(_) => libc::ENOSPC,
        Effect::Reset(_) => libc::ECONNRESET,
        Effect::Unreachable(what) => unreachable(what).0,
        Effect::Torn(both) | Effect::Return(both) => (both >> 32) as i32,
        Effect::Zero(_) => changes::ZERO as i32,
        Effect::Duplicate(_) => changes::DUPLICATE as i32,
        Effect::Truncate(_) => changes::TRUNCATE as i32,
        Effect::Latency(_)
        | Effect::Hang(_)
        | Effect::Short(_)
        | Effect::Part(_)
        | Effect::Corrupt(_)
        | Effect::Drop
        | Effect::End(_)
        | Effect::Throttle(_)
        | Effect::Freeze(_) => 0,
    }
}

/// What a record names as requested: ns for waits, else the bytes of the call.
#[must_use]
pub fn requested(effect: Effect, asked: u64) -> u64 {
    match effect {
        Effect::Latency(ns) | Effect::Hang(ns) | Effect::Freeze(ns) => ns,
        Effect::Error(_)
        | Effect::Memory(_)
        | Effect::Files(_)
        | Effect::Disk(_)
        | Effect::Short(_)
        | Effect::Part(_)
        | Effect::Corrupt(_)
        | Effect::Zero(_)
        | Effect::Duplicate(_)
        | Effect::Truncate(_)
        | Effect::Drop
        | Effect::Torn(_)
        | Effect::Return(_)
        | Effect::Reset(_)
        | Effect::End(_)
        | Effect::Unreachable(_)
        | Effect::Throttle(_)
        | Effect::Signal(_)
        | Effect::Exit(_) => asked,
    }
}

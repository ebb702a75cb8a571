//! What records hold as numbers, in words.

use chaos_table::calls::{Failure as Fails, FaultKind, Op};
use chaos_table::errno::{eai_name, errno_name, signal_name};
use chaos_table::record::{NO_CALL, Record, status};
use chaos_table::rule::change;
use chaos_table::session::engine;
use std::time::Duration;

/// The first parts of a text whose parts end with NUL.
pub(super) fn strings<const N: usize>(text: &[u8]) -> [String; N] {
    let mut parts = text.split(|byte| *byte == 0);
    std::array::from_fn(|_| parts.next().map(|part| String::from_utf8_lossy(part).into_owned()).unwrap_or_default())
}

pub(super) fn engine_name(engine: u32) -> &'static str {
    match engine {
        engine::SECCOMP => "seccomp",
        engine::BOTH => "both",
        _ => "preload",
    }
}

pub(super) fn fault_name(record: &Record) -> String {
    FaultKind::from_number(record.fault).map_or_else(|| format!("#{}", record.fault), |fault| fault.name().into())
}

/// Whether an injection, by its record, makes its caller wait: then it is met as soon as it is recorded, whether or not
/// the caller ever comes back. Of all others, one whose end was not told met a call that gave it nothing to do.
pub fn is_wait(record: &Record) -> bool {
    let takes_time = matches!(
        FaultKind::from_number(record.fault),
        Some(FaultKind::Latency | FaultKind::Hang | FaultKind::Dns | FaultKind::Unreachable | FaultKind::Freeze)
    );
    // The launcher tells at once whether its own reached anybody.
    takes_time && record.status == status::PENDING && record.op != NO_CALL
}

pub(super) fn call_name(record: &Record) -> String {
    if record.op == NO_CALL {
        return "launcher".into();
    }
    Op::from_number(record.op).map_or_else(|| format!("#{}", record.op), |op| op.row().name().into())
}

/// The name of an errno, or of a resolver's code.
pub(super) fn code_name(record: &Record) -> String {
    let code = record.effect;
    let eai = Op::from_number(record.op).is_some_and(|op| op.row().fails == Fails::Eai);
    let name = if eai { eai_name(code) } else { errno_name(code) };
    name.map_or_else(|| code.to_string(), str::to_owned)
}

/// The errno, or what was done instead.
pub(super) fn effect_of(record: &Record) -> (Option<String>, Option<String>) {
    let code = record.effect;
    let errno = || Some(code_name(record));
    let signal = || signal_name(code).map_or_else(|| format!("signal {code}"), str::to_owned);
    match FaultKind::from_number(record.fault) {
        Some(FaultKind::Dns) if code == 0 => (None, Some("hang".into())),
        Some(FaultKind::Exhaust) if code == 0 => (None, Some("short".into())),
        Some(FaultKind::Disconnect) if code == 0 => (None, Some("end".into())),
        Some(
            FaultKind::Error
            | FaultKind::Refuse
            | FaultKind::Unreachable
            | FaultKind::Exhaust
            | FaultKind::Dns
            | FaultKind::Disconnect,
        ) => (errno(), None),
        Some(FaultKind::Throttle) => (None, Some("throttle".into())),
        Some(FaultKind::Latency) => {
            let delay = Duration::from_nanos(record.requested);
            (None, Some(format!("delay {}", humantime::format_duration(delay))))
        }
        Some(FaultKind::Hang) => (None, Some("hang".into())),
        Some(FaultKind::Short) => (None, Some("short".into())),
        Some(FaultKind::Corrupt) => (None, Some(corruption(code).into())),
        Some(FaultKind::Drop) => (None, Some("drop".into())),
        Some(FaultKind::Torn) if code == 0 => (None, Some("torn, then killed".into())),
        Some(FaultKind::Torn) => (errno(), Some("torn".into())),
        Some(FaultKind::Return) if code == 0 => (None, Some("return".into())),
        Some(FaultKind::Return) => (errno(), Some("return".into())),
        Some(FaultKind::Signal) => (None, Some(signal())),
        Some(FaultKind::Exit) => (None, Some(format!("exit {code}"))),
        Some(FaultKind::Clock) => {
            let sign = if record.result < 0 { '-' } else { '+' };
            let off = Duration::from_nanos(record.result.unsigned_abs());
            (None, Some(format!("clock {sign}{}", humantime::format_duration(off))))
        }
        Some(FaultKind::Freeze) => {
            let length = Duration::from_nanos(record.requested);
            (None, Some(format!("freeze {}", humantime::format_duration(length))))
        }
        None => (None, Some(format!("#{code}"))),
    }
}

/// What was done to the data.
fn corruption(code: i32) -> &'static str {
    match u32::try_from(code).unwrap_or(0) {
        change::ZERO => "zero",
        change::DUPLICATE => "duplicate",
        change::TRUNCATE => "truncate",
        _ => "corrupt",
    }
}

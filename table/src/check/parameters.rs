//! Which parameters a fault has, and which it needs.

use super::refuse;
use crate::calls::FaultKind;
use crate::counts::Returned;
use crate::error::{Problem, quoted};
use crate::fault::Fault;
use crate::value::Value;
use crate::words::{Clock, Per, Resource, Then};

/// The faults that have an `errno`.
const WITH_ERRNO: &[FaultKind] = &[FaultKind::Error, FaultKind::Unreachable, FaultKind::Torn, FaultKind::Return];
/// The faults that have a `delay`.
const WITH_DELAY: &[FaultKind] = &[FaultKind::Latency, FaultKind::Unreachable];

/// Parameters belong to their fault; some faults need one.
pub(super) fn parameters(fault: &Fault, kind: FaultKind) -> Result<(), Problem> {
    let given: [(&'static str, bool, &[FaultKind]); _] = [
        ("errno", fault.errno.is_some(), WITH_ERRNO),
        ("delay", fault.delay.is_some(), WITH_DELAY),
        ("jitter", fault.jitter.is_some(), &[FaultKind::Latency]),
        ("distribution", fault.distribution.is_some(), &[FaultKind::Latency]),
        ("keep", fault.keep.is_some(), &[FaultKind::Short, FaultKind::Torn]),
        ("flip", fault.flip.is_some(), &[FaultKind::Corrupt]),
        ("zero", fault.zero.is_some(), &[FaultKind::Corrupt]),
        ("duplicate", fault.duplicate.is_some(), &[FaultKind::Corrupt]),
        ("truncate", fault.truncate.is_some(), &[FaultKind::Corrupt]),
        ("then", fault.then.is_some(), &[FaultKind::Torn]),
        ("value", fault.value.is_some(), &[FaultKind::Return]),
        ("answer", fault.answer.is_some(), &[FaultKind::Dns]),
        ("mode", fault.mode.is_some(), &[FaultKind::Disconnect]),
        ("after_bytes", fault.after_bytes.is_some(), &[FaultKind::Disconnect]),
        ("bandwidth", fault.bandwidth.is_some(), &[FaultKind::Throttle]),
        ("what", fault.what.is_some(), &[FaultKind::Exhaust]),
        ("limit", fault.limit.is_some(), &[FaultKind::Exhaust]),
        ("signal", fault.signal.is_some(), &[FaultKind::Signal]),
        ("code", fault.code.is_some(), &[FaultKind::Exit]),
        ("offset", fault.offset.is_some(), &[FaultKind::Clock]),
        ("jump", fault.jump.is_some(), &[FaultKind::Clock]),
        ("pace", fault.pace.is_some(), &[FaultKind::Clock]),
        ("clocks", fault.clocks.is_some(), &[FaultKind::Clock]),
        ("period", fault.period.is_some(), &[FaultKind::Clock, FaultKind::Signal, FaultKind::Freeze]),
    ];
    if let Some((key, _, owners)) = given.iter().find(|(_, is_given, owners)| *is_given && !owners.contains(&kind)) {
        let owners: Vec<&str> = owners.iter().map(|owner| owner.name()).collect();
        let problem = Problem::new(format!("`{key}` is a parameter of {}, not of {}", in_words(&owners), kind.name()));
        let own: Vec<&str> =
            given.iter().filter(|(_, _, owners)| owners.contains(&kind)).map(|(key, ..)| *key).collect();
        return Err(problem.help(match own.as_slice() {
            [] => format!("{} has no parameters", kind.name()),
            own => format!("{} has {}", kind.name(), own.join(", ")),
        }));
    }
    let shaped = fault.distribution.is_some_and(|shape| shape.to_text() != "fixed");
    if shaped && fault.jitter.is_none() {
        return Err(Problem::new("a `distribution` needs a `jitter`").help("such as jitter=20ms"));
    }
    if fault.jitter.is_some() && fault.distribution.is_some() && !shaped {
        return Err(Problem::new("a fixed delay has no `jitter`").help("distribution: uniform, normal or pareto"));
    }
    match kind {
        FaultKind::Exhaust => exhaust_parameters(fault),
        FaultKind::Corrupt => corrupt_parameters(fault),
        FaultKind::Torn if fault.then == Some(Then::Kill) && fault.errno.is_some() => {
            Err(Problem::new("what is killed gets no `errno`").help("leave out `errno`, or write then=fail"))
        }
        FaultKind::Return => return_parameters(fault),
        FaultKind::Unreachable => unreachable_parameters(fault),
        FaultKind::Throttle if fault.bandwidth.is_none() => {
            Err(Problem::new("throttle says not how fast").help("such as bandwidth=64KB/s"))
        }
        _ => Ok(()),
    }
}

/// "a", "a and b", "a, b and c".
fn in_words(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn corrupt_parameters(fault: &Fault) -> Result<(), Problem> {
    let given = [
        ("flip", fault.flip.is_some()),
        ("zero", fault.zero.is_some()),
        ("duplicate", fault.duplicate.is_some()),
        ("truncate", fault.truncate.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
    match given.as_slice() {
        [first, second, ..] => Err(Problem::new(format!("`{first}` and `{second}` do not mix"))
            .help("corrupt does one of flip, zero, duplicate, truncate; make two faults of it")),
        _ => Ok(()),
    }
}

fn return_parameters(fault: &Fault) -> Result<(), Problem> {
    match (fault.value, &fault.errno) {
        (None, _) => {
            Err(Problem::new("return says not what is returned").help("such as value=0, or value=-1 errno=EIO"))
        }
        (Some(Returned(value)), Some(_)) if value > 0 => {
            Err(Problem::new(format!("a call that returns {value} sets no `errno`")).help("leave out `errno`"))
        }
        _ => Ok(()),
    }
}

/// One errno, of those by which a kernel says that nobody can be reached.
fn unreachable_parameters(fault: &Fault) -> Result<(), Problem> {
    const FITTING: [i32; 3] = [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH];
    let Some(errnos) = &fault.errno else { return Ok(()) };
    match errnos.0.as_slice() {
        [(errno, _)] if FITTING.contains(&errno.0) => Ok(()),
        [(errno, _)] => {
            let problem = Problem::new(format!("{} does not say that a peer is unreachable", errno.to_text()));
            Err(problem.help("errno: ETIMEDOUT, EHOSTUNREACH or ENETUNREACH; other errnos are for the fault error"))
        }
        _ => Err(Problem::new("unreachable has one errno").help("make a fault of each")),
    }
}

fn exhaust_parameters(fault: &Fault) -> Result<(), Problem> {
    let Some(what) = fault.what else {
        return Err(
            Problem::new("exhaust says not what runs out").help("what: memory, files, disk, processes or threads")
        );
    };
    let example = match what {
        Resource::Memory | Resource::Disk => "a size such as limit=100MB",
        Resource::Files | Resource::Processes | Resource::Threads => "a count such as limit=64",
    };
    match fault.limit {
        None => Err(Problem::new(format!("exhaust of {} needs a limit", what.to_text())).help(example)),
        Some(limit) if limit.is_size != matches!(what, Resource::Memory | Resource::Disk) => {
            let problem =
                Problem::new(format!("the limit {} does not fit {}", quoted(&limit.to_text()), what.to_text()));
            Err(problem.help(example))
        }
        Some(_) if what == Resource::Disk && fault.per.is_some_and(|per| per != Per::Tree) => {
            Err(Problem::new("the disk runs out for the whole tree").help("leave out `per`"))
        }
        Some(_) => Ok(()),
    }
}

/// A clock is off for all of a process and as long as its window is open: nothing else can choose.
pub(super) fn clock(fault: &Fault) -> Result<(), Problem> {
    if fault.calls.is_some() {
        let problem = Problem::new("clock takes no `calls`: all calls show the same time");
        return Err(problem.help("leave `calls` out; `process` chooses who sees it"));
    }
    if fault.offset.is_none() && fault.jump.is_none() && fault.pace.is_none() {
        let problem = Problem::new("clock says not how the clock is off");
        return Err(problem.help("offset=+1h, jump=-30s with `from` or `period`, or pace=2x"));
    }
    refuse(
        fault,
        &["every", "nth", "after", "times", "per", "size", "caller", "direction"],
        "does not apply to clock: the clock is off, not a call",
        "`from` and `for` say when; a `jump` with a `period` comes and goes",
    )?;
    if fault.jump.is_some() && fault.period.is_none() && fault.from.is_none() {
        let problem = Problem::new("clock says not when the clock jumps");
        return Err(problem.help("from=10s for once, or period=2s for again and again; `offset` is off from the start"));
    }
    if fault.period.is_some() && fault.jump.is_none() {
        return Err(Problem::new("`period` is how long a `jump` lasts").help("such as jump=+1h period=2s"));
    }
    if fault.rate.is_some() && fault.period.is_none() {
        let problem = Problem::new("a clock has a `rate` only where it jumps in periods");
        return Err(problem.help("such as jump=+1h period=2s rate=30%"));
    }
    if fault.clocks.as_ref().is_some_and(|clocks| clocks.iter().any(|clock| *clock == Clock::Monotonic)) {
        return monotonic(fault);
    }
    Ok(())
}

/// A monotonic clock never goes back, also where a program has read it before the fault began.
fn monotonic(fault: &Fault) -> Result<(), Problem> {
    let back = [fault.offset, fault.jump].into_iter().flatten().any(|offset| offset.0 < 0);
    let slow = fault.pace.is_some_and(|pace| pace.0 < 1_000_000);
    if back || slow || fault.period.is_some() {
        let what = if slow { "go slower than it did" } else { "go back" };
        let problem = Problem::new(format!("the monotonic clock can never {what}"));
        return Err(problem.help("an offset or jump ahead, or a pace above 1x; or clocks=realtime"));
    }
    Ok(())
}

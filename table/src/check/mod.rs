//! Whether a fault makes sense by itself, and which operations it is about.

mod defaults;
mod parameters;

use crate::calls::{CALLS, Call, Failure, Family, FaultKind, Op, Subject};
use crate::counts::Returned;
use crate::errnos::Errno;
use crate::error::Problem;
use crate::fault::Fault;
use crate::quantities::Repeat;
use crate::value::{Many, Value};
use crate::words::{Answer, CallName, Resource};
use defaults::{TWICE, default_ops};
use parameters::{clock, parameters};

pub(crate) use defaults::users_of;

/// How long a `freeze` lasts that does not say.
pub(crate) const FREEZE_NS: u64 = 1_000_000_000;

/// An operation that a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub op: Op,
    /// Only when a file is behind the descriptor.
    pub only_files: bool,
    /// Only when a socket is behind the descriptor.
    pub only_sockets: bool,
}

impl Hit {
    /// Whether what it acts on can be a file.
    pub fn may_be_on_file(&self) -> bool {
        let row = self.op.row();
        match row.subject {
            Subject::Path => true,
            Subject::Fd => !self.only_sockets && (row.is_in(Family::Disk) || !row.is_in(Family::Network)),
            _ => false,
        }
    }
}

/// What a fault comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    pub hits: Vec<Hit>,
    pub warnings: Vec<String>,
    /// It has no calls: the launcher does it.
    pub by_launcher: bool,
}

/// Checks a fault and finds its operations.
pub(crate) fn resolve(fault: &Fault) -> Result<Resolved, Problem> {
    let Some(kind) = fault.fault else {
        let problem = Problem::new("the fault says not what happens");
        return Err(problem.help("it needs `fault`: error, latency, hang, short, ... (`chaos-exec list faults`)"));
    };
    parameters(fault, kind)?;
    when(fault)?;
    if fault.is_by_launcher() {
        without_calls(fault, kind)?;
        return Ok(Resolved { by_launcher: true, ..Resolved::default() });
    }
    if fault.period.is_some() && kind != FaultKind::Clock {
        let problem = Problem::new(format!("`period` is for a {} without `calls`", kind.name()));
        return Err(problem.help("`every` and `nth` choose among the matching calls"));
    }
    if kind == FaultKind::Clock {
        clock(fault)?;
    }
    if fault.path.is_some() && fault.to.is_some() {
        return Err(Problem::new("`path` and `to` can never match together").help("make two faults of it"));
    }
    let mut resolved = Resolved::default();
    match &fault.calls {
        Some(names) => named(fault, kind, names, &mut resolved)?,
        None => by_default(fault, kind, &mut resolved)?,
    }
    for hit in &mut resolved.hits {
        // Where a descriptor can be anything, these are about sockets alone, or about files alone.
        let any = hit.op.row().works_on_any_fd();
        let about_sockets = kind == FaultKind::Disconnect
            || fault.to.is_some()
            || (kind == FaultKind::Throttle && fault.calls.is_none());
        hit.only_sockets |= any && about_sockets;
        let lost_write = kind == FaultKind::Drop && fault.calls.is_none() && fault.to.is_none();
        hit.only_files |= any && (lost_write || fault.what == Some(Resource::Disk));
    }
    leave_out(fault, &mut resolved)?;
    unusual(fault, &mut resolved);
    Ok(resolved)
}

/// Takes away the operations that `direction` and `not` leave out.
fn leave_out(fault: &Fault, resolved: &mut Resolved) -> Result<(), Problem> {
    let Some(not) = &fault.not else { return Ok(()) };
    let calls = not.calls.as_ref().map_or(&[][..], |calls| calls.0.as_slice());
    let is_out = |row: &Call| {
        let named = calls.iter().any(|name| match name {
            CallName::Op(op) => *op == row.op,
            CallName::Family(family) => row.is_in(*family) && !row.works_on_any_fd(),
        });
        named || (not.direction.is_some() && not.direction == row.direction())
    };
    // A call on any descriptor leaves a family as the descriptor says.
    for hit in resolved.hits.iter_mut().filter(|hit| hit.op.row().works_on_any_fd()) {
        hit.only_sockets |= calls.contains(&CallName::Family(Family::Disk));
        hit.only_files |= calls.contains(&CallName::Family(Family::Network));
    }
    resolved.hits.retain(|hit| !(is_out(hit.op.row()) || (hit.only_files && hit.only_sockets)));
    if resolved.hits.is_empty() {
        let problem = Problem::new("`not` leaves out every call of the fault");
        return Err(problem.help("name fewer in `not`, or more in `calls`"));
    }
    Ok(())
}

/// What the launcher does by itself knows no call, so nothing that is said of calls.
fn without_calls(fault: &Fault, kind: FaultKind) -> Result<(), Problem> {
    let what =
        format!("needs `calls`: without them the launcher acts, which knows only processes and time ({})", kind.name());
    let keys = ["path", "to", "fd", "size", "caller", "direction", "rate", "every", "nth", "after", "per"];
    refuse(fault, &keys, &what, "add `calls`, or use `process`, `from`, `times` and `period`")?;
    if fault.times.is_some_and(|times| times.0 > 1) && fault.period.is_none() {
        let problem = Problem::new(format!("`times` of a {} without `calls` needs a `period`", kind.name()));
        return Err(problem.help("such as times=3 period=10s"));
    }
    let lasts = fault.r#for.map_or(FREEZE_NS, |lasting| lasting.0.0);
    if kind == FaultKind::Freeze && fault.period.is_some_and(|period| period.0.0 <= lasts) {
        return Err(Problem::new("the next freeze would begin before the last is over").help("a `period` above `for`"));
    }
    Ok(())
}

/// The first of these keys that is given is an error; so is what `not` says of calls.
fn refuse(fault: &Fault, keys: &[&str], why: &str, help: &str) -> Result<(), Problem> {
    let words = fault.words();
    let mut given = words.iter().map(|(key, _)| key.as_str());
    let is_refused = |key: &str| keys.contains(&key) || (key.starts_with("not.") && key != "not.process");
    match given.find(|key| is_refused(key)) {
        Some(key) => Err(Problem::new(format!("`{key}` {why}")).help(help)),
        None => Ok(()),
    }
}

fn when(fault: &Fault) -> Result<(), Problem> {
    if fault.nth.is_some() && fault.every.is_some() {
        let problem = Problem::new("`nth` and `every` contradict each other");
        return Err(problem.help("nth: \"2..+3\" is the second match and every third after"));
    }
    Ok(())
}

fn named(fault: &Fault, kind: FaultKind, names: &Many<CallName>, resolved: &mut Resolved) -> Result<(), Problem> {
    // Named calls first: they count as named even when a family brings them too.
    for name in names.iter() {
        if let CallName::Op(op) = name {
            fits(fault, kind, op.row(), None)?;
            add(resolved, Hit { op: *op, only_files: false, only_sockets: false });
        }
    }
    let by_name = resolved.hits.len();
    for name in names.iter() {
        let CallName::Family(family) = *name else { continue };
        let found = of_family(fault, kind, family)?;
        for hit in found {
            match resolved.hits.iter_mut().position(|other| other.op == hit.op) {
                None => resolved.hits.push(hit),
                Some(index) if index < by_name => {}
                // Of both families: whatever is behind the descriptor.
                Some(index) => {
                    resolved.hits[index].only_files &= hit.only_files;
                    resolved.hits[index].only_sockets &= hit.only_sockets;
                }
            }
        }
    }
    Ok(())
}

fn add(resolved: &mut Resolved, hit: Hit) {
    if !resolved.hits.iter().any(|other| other.op == hit.op) {
        resolved.hits.push(hit);
    }
}

/// The rows of a family that the fault fits. An errno narrows them to the rows that usually give it, where there are
/// any: `disk` with ENOSPC is about writing and creating, not about reading.
fn of_family(fault: &Fault, kind: FaultKind, family: Family) -> Result<Vec<Hit>, Problem> {
    let mut first_misfit = None;
    let mut rows: Vec<&Call> = Vec::new();
    for row in CALLS.iter().filter(|row| row.is_in(family)) {
        match fits(fault, kind, row, Some(family)) {
            Ok(()) => rows.push(row),
            Err(problem) => first_misfit = first_misfit.or(Some(problem)),
        }
    }
    if rows.is_empty() {
        let name = family.name();
        let problem = Problem::new(format!("no call of the family `{name}` fits this fault"));
        return Err(match first_misfit {
            Some(misfit) => problem.help(format!("for one, {}", misfit.message)),
            None => problem.help(format!("`{name}` has no calls in this version")),
        });
    }
    if let Some(errnos) = &fault.errno {
        let usual = |row: &&Call| errnos.0.iter().all(|(errno, _)| row.usual().contains(&errno.0));
        if rows.iter().any(usual) {
            rows.retain(usual);
        }
    }
    let hit = |row: &Call| Hit {
        op: row.op,
        only_files: row.works_on_any_fd() && family == Family::Disk,
        only_sockets: row.works_on_any_fd() && family == Family::Network,
    };
    Ok(rows.into_iter().map(hit).collect())
}

fn by_default(fault: &Fault, kind: FaultKind, resolved: &mut Resolved) -> Result<(), Problem> {
    let Some(ops) = default_ops(fault, kind) else {
        let problem = Problem::new(format!("{} needs `calls`", kind.name()));
        return Err(problem.help("such as calls=read,write or calls=network"));
    };
    let mut first_misfit = None;
    for op in ops {
        match fits(fault, kind, op.row(), None) {
            Ok(()) => add(resolved, Hit { op: *op, only_files: false, only_sockets: false }),
            Err(problem) => first_misfit = first_misfit.or(Some(problem)),
        }
    }
    match first_misfit {
        Some(problem) if resolved.hits.is_empty() => Err(problem),
        _ => Ok(()),
    }
}

/// Whether a fault with its selectors can ever hit an operation, alone or as one of a family.
fn fits(fault: &Fault, kind: FaultKind, row: &Call, family: Option<Family>) -> Result<(), Problem> {
    let name = row.name();
    if !row.allows(kind) {
        let fitting: Vec<&str> = CALLS.iter().filter(|row| row.allows(kind)).map(Call::name).take(10).collect();
        let problem = Problem::new(format!("{} does not fit the call `{name}`", kind.name()));
        return Err(problem.help(format!("it fits {}", fitting.join(", "))));
    }
    if let (FaultKind::Exhaust, Some(what)) = (kind, fault.what)
        && !users_of(what).contains(&row.op)
    {
        return Err(Problem::new(format!("exhaust of {} does not fit the call `{name}`", what.to_text())));
    }
    returns(fault, row)?;
    if fault.truncate.is_some() && row.is_in(Family::Stdio) {
        return Err(Problem::new(format!("`{name}` moves data of a stream, which has no end that could be cut off"))
            .help("name the calls on descriptors: calls=read,write"));
    }
    let twice = fault.duplicate.is_some_and(|repeat| repeat.0 == Repeat::WHOLE);
    if twice && !TWICE.contains(&row.op) {
        return Err(Problem::new(format!("`{name}` has no room for its data twice"))
            .help("duplicate=100% is for write, writev, send, sendto and sendmsg; up to 50% for all"));
    }
    if fault.path.is_some() && !(takes_path(row) && family != Some(Family::Network)) {
        return Err(never("path", name, "a file"));
    }
    if fault.to.is_some() && !(takes_peer(row) && family != Some(Family::Disk)) {
        return Err(never("to", name, "a peer"));
    }
    if fault.point.is_some() && row.subject != Subject::Point {
        return Err(never("point", name, "a failure point of the program's own"));
    }
    if fault.fd.is_some() && row.subject != Subject::Fd {
        return Err(never("fd", name, "an open descriptor"));
    }
    if fault.size.is_some() && !row.has_size() {
        return Err(never("size", name, "an amount of bytes"));
    }
    if fault.direction.is_some_and(|direction| row.direction() != Some(direction)) {
        let problem = Problem::new(format!("the call `{name}` moves no data in that direction"));
        return Err(problem.help("`direction: in` is about reads and receives, `out` about writes and sends"));
    }
    let eai = fault.errno.as_ref().and_then(|errnos| errnos.0.first()).map(|(errno, _)| errno.is_eai());
    match (eai, row.fails == Failure::Eai) {
        (Some(true), false) => {
            Err(Problem::new(format!("EAI_ codes are for look-ups of names, not for `{name}`"))
                .help("such as errno=EIO"))
        }
        (Some(false), true) => {
            Err(Problem::new(format!("`{name}` fails with EAI_ codes, not with errnos"))
                .help("such as errno=EAI_AGAIN"))
        }
        _ => Ok(()),
    }
}

/// Whether a row can return the value of a `return`.
fn returns(fault: &Fault, row: &Call) -> Result<(), Problem> {
    let Some(Returned(value)) = fault.value else { return Ok(()) };
    let (name, fits, help) = match row.fails {
        Failure::Null => (row.name(), value == 0, "a pointer can only be forged as value=0, which is NULL"),
        Failure::Code => (row.name(), value > 0 && value < 4096, "it returns an errno, such as value=12"),
        Failure::Errno | Failure::Eai | Failure::Count | Failure::Never => (row.name(), true, ""),
    };
    if !fits {
        return Err(Problem::new(format!("`{name}` cannot return {value}")).help(help));
    }
    if value == 0 && row.fails == Failure::Errno && fault.errno.is_some() {
        return Err(Problem::new(format!("`{name}` sets no `errno` when it returns 0")).help("value=-1, or no `errno`"));
    }
    Ok(())
}

fn never(selector: &str, call: &str, what: &str) -> Problem {
    let problem = Problem::new(format!("`{selector}` can never match the call `{call}`, which is not about {what}"));
    problem.help(format!("leave `{selector}` out, or name other calls"))
}

/// Whether a row is about a file that a `path` can name.
pub(crate) fn takes_path(row: &Call) -> bool {
    match row.subject {
        Subject::Path => true,
        Subject::Fd => row.is_in(Family::Disk) || row.is_in(Family::Stdio),
        Subject::Peer | Subject::Name | Subject::Memory | Subject::Program | Subject::Point | Subject::Nothing => false,
    }
}

/// Whether a row is about a peer that `to` can name.
fn takes_peer(row: &Call) -> bool {
    match row.subject {
        Subject::Peer | Subject::Name => true,
        // What only asks about a socket is in no family.
        Subject::Fd => row.is_in(Family::Network) || row.is_in(Family::Stdio) || row.families == 0,
        Subject::Path | Subject::Memory | Subject::Program | Subject::Point | Subject::Nothing => false,
    }
}

/// Warns of errnos that a call is not usually seen to fail with.
fn unusual(fault: &Fault, resolved: &mut Resolved) {
    let Some(errnos) = &fault.errno else { return };
    for (errno, _) in &errnos.0 {
        let odd: Vec<&str> = resolved
            .hits
            .iter()
            .map(|hit| hit.op.row())
            // What a program does at a point of its own is for it to say.
            .filter(|row| row.subject != Subject::Point && !row.usual().contains(&errno.0))
            .map(Call::name)
            .collect();
        if odd.is_empty() {
            continue;
        }
        let names = |codes: &[i32]| codes.iter().map(|code| Errno(*code).to_text()).collect::<Vec<_>>().join(", ");
        let usual = match resolved.hits.as_slice() {
            [hit] => format!(" (usual: {})", names(hit.op.row().usual())),
            _ => String::new(),
        };
        resolved.warnings.push(format!("{} is not usual for {}{usual}", errno.to_text(), odd.join(", ")));
    }
}

/// Whether the fault's `for` bounds a block in place of its window.
pub(crate) fn for_bounds_block(fault: &Fault) -> bool {
    match fault.fault {
        Some(FaultKind::Hang | FaultKind::Freeze) => true,
        Some(FaultKind::Dns) => fault.answer == Some(Answer::Hang),
        _ => false,
    }
}

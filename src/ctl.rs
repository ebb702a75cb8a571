//! `chaos-exec ctl`: steers a run that goes on, through the words that every process of its tree looks at.

use crate::cli::{CtlArgs, Order};
use crate::error::{Context, Failure, Result};
use crate::log_reader::Source;
use crate::session_file::SessionFile;
use chaos_table::rule::{PlanHeader, RULE_BITS};
use nix::time::{ClockId, clock_gettime};
use std::io::Write;

/// Does what is ordered.
///
/// # Errors
/// When there is no such session, it is over, or it belongs to somebody else.
pub fn run(args: &CtlArgs, out: &mut dyn Write) -> Result<()> {
    let source = Source::find(args.session.as_deref())?;
    let ended = source.meta.as_ref().is_some_and(|meta| meta.end.is_some());
    let file = source.control()?;
    let read = "read the session";
    if args.order == Order::Status {
        return status(&source, &file, ended, out);
    }
    if ended || file.is_over().cannot(read)? {
        return Err(
            Failure::new("the run is over, so there is nothing to steer").help("`chaos-exec log` shows what it did")
        );
    }
    let mut plan = file.plan().cannot(read)?;
    let arms = args.order == Order::Arm && plan.armed == 0;
    match args.order {
        Order::Status => {}
        Order::Arm => plan.armed = 1,
        Order::Disable => plan.enabled = 0,
        Order::Enable => plan.enabled = 1,
    }
    put_in_force(&mut plan);
    let armed_ns = if arms { Some(file.since_start(now()?)) } else { None };
    file.set_force(&plan, armed_ns).cannot("write the session")
}

/// What the entries of the shim look at, for this state of the switches.
fn put_in_force(plan: &mut PlanHeader) {
    if plan.armed == 0 {
        // The signs that the tree waits for stay as they are.
        return;
    }
    plan.ops = plan.planned;
    if plan.enabled == 0 {
        plan.ops.iter_mut().for_each(|word| *word &= !RULE_BITS);
    }
}

fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).cannot("read the clock")?;
    Ok(std::time::Duration::from(time).as_nanos() as u64)
}

fn status(source: &Source, file: &SessionFile, ended: bool, out: &mut dyn Write) -> Result<()> {
    let read = "read the session";
    let plan = file.plan().cannot(read)?;
    let state = if ended || file.is_over().cannot(read)? {
        "over"
    } else if plan.enabled == 0 {
        "disabled"
    } else if plan.armed == 0 {
        "waiting to be armed"
    } else {
        "injecting"
    };
    let id = source.meta.as_ref().map(|meta| format!("{}: ", meta.id)).unwrap_or_default();
    let counters = file.counters(source.labels.len()).cannot(read)?;
    let written = writeln!(out, "{id}{state}").and_then(|()| {
        source
            .labels
            .iter()
            .zip(counters)
            .try_for_each(|(label, counted)| writeln!(out, "  {}  {} matched", label.name, counted.matched))
    });
    written.cannot("write to stdout")
}

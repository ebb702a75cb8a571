//! The three ways in which a log is written: text for reading, JSON Lines and CSV for programs.

use crate::cli::Format;
use crate::log_events::{Attempt, Escape, Event, Events, Injection, Mark, Process, Recovery};
use std::io::{self, Write};

/// The columns of the CSV, which has a row for each injection.
pub const COLUMNS: [&str; 18] = [
    "seq",
    "at_ns",
    "pid",
    "tid",
    "lineage",
    "process",
    "rule",
    "fault",
    "call",
    "errno",
    "effect",
    "resource",
    "nth",
    "requested",
    "result",
    "delivered",
    "component",
    "message",
];

/// Writes events one by one, so that a log of any length takes the same memory.
///
/// # Errors
/// What the output says; a closed pipe is the caller's to judge.
pub fn write(format: Format, events: &mut Events, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => events.filter(is_for_reading).try_for_each(|event| writeln!(out, "{}", text(&event))),
        Format::Jsonl => events.try_for_each(|event| {
            serde_json::to_writer(&mut *out, &event)?;
            out.write_all(b"\n")
        }),
        Format::Csv => {
            let mut rows = csv::Writer::from_writer(out);
            rows.write_record(COLUMNS)?;
            for event in events {
                if let Event::Injection(injection) = event {
                    rows.write_record(row(&injection))?;
                }
            }
            rows.flush()
        }
    }
}

/// The cells of an injection.
#[must_use]
pub fn row(injection: &Injection) -> [String; 18] {
    let Injection { seq, at_ns, pid, tid, nth, requested, delivered, .. } = injection;
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        seq.to_string(),
        at_ns.to_string(),
        pid.to_string(),
        tid.to_string(),
        given(&injection.lineage),
        given(&injection.process),
        injection.rule.clone(),
        injection.fault.clone(),
        injection.call.clone(),
        given(&injection.errno),
        given(&injection.effect),
        given(&injection.resource),
        nth.to_string(),
        requested.to_string(),
        injection.result.map(|result| result.to_string()).unwrap_or_default(),
        delivered.to_string(),
        given(&injection.component),
        given(&injection.message),
    ]
}

/// Whether a reader wants to know: not that what was got over goes on to work.
#[must_use]
pub fn is_for_reading(event: &Event) -> bool {
    !matches!(event, Event::Attempt(Attempt { errno: None, .. }))
}

/// One event as a line for reading.
#[must_use]
pub fn text(event: &Event) -> String {
    let line = match event {
        Event::Start(start) => {
            let seed = start.seed.map(|seed| format!("seed {seed}")).unwrap_or_default();
            let command = start.command.join(" ");
            format!("{} {seed}  {command}", start.started.as_deref().unwrap_or("start"))
        }
        Event::Process(Process { at_ns, pid, lineage, process, executable, .. }) => {
            format!("{}  pid {pid} {process}  process {lineage} runs {executable}", seconds(*at_ns))
        }
        Event::Injection(injection) => injected(injection),
        Event::Recovery(Recovery { at_ns, pid, call, process, resource, .. }) => {
            let (process, resource) = (process.as_deref().unwrap_or("?"), resource.as_deref().unwrap_or(""));
            format!("{}  pid {pid} {process}  {call}({resource}) succeeded again", seconds(*at_ns))
        }
        Event::Attempt(Attempt { at_ns, pid, call, process, errno, .. }) => {
            let process = process.as_deref().unwrap_or("?");
            let how = errno.as_ref().map_or("succeeded once more".into(), |errno| format!("-> {errno}, not injected"));
            format!("{}  pid {pid} {process}  {call} {how}", seconds(*at_ns))
        }
        Event::Escape(Escape { at_ns, pid, reason, program, process, .. }) => {
            let process = process.as_deref().unwrap_or("?");
            format!("{}  pid {pid} {process}  ESCAPE {program}: {reason}", seconds(*at_ns))
        }
        Event::Remark(remark) => {
            let process = remark.process.as_deref().unwrap_or("?");
            let (at, pid) = (seconds(remark.at_ns), remark.pid);
            let what = if remark.of.is_none() { "not injected" } else { "not watched" };
            format!(
                "{at}  pid {pid} {process}  {}: {} {what}: {}  [{}]",
                remark.call, remark.fault, remark.reason, remark.rule
            )
        }
        Event::Told(told) => {
            let process = told.process.as_deref().unwrap_or("?");
            let value = told.value.map(|value| value.to_string());
            let parts = [told.component.as_ref(), told.name.as_ref(), told.data.as_ref(), value.as_ref()];
            let rest: String = parts.into_iter().flatten().map(|part| format!(" {part}")).collect();
            format!("{}  pid {} {process}  {}:{rest}", seconds(told.at_ns), told.pid, told.event)
        }
        Event::Mark(Mark { at_ns, pid, process: None, text }) => format!("{}  pid {pid}  {text}", seconds(*at_ns)),
        Event::Mark(Mark { at_ns, pid, process, text }) => {
            format!("{}  pid {pid} {}  {text}", seconds(*at_ns), process.as_deref().unwrap_or("?"))
        }
        Event::End(end) => {
            format!("{}  {}; {} fired, {} delivered", seconds(end.at_ns), end.outcome, end.fired, end.delivered)
        }
    };
    // A path may hold anything, the terminal's control characters included.
    line.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn injected(injection: &Injection) -> String {
    let Injection { at_ns, pid, call, rule, nth, fault, .. } = injection;
    let process = injection.process.as_deref().unwrap_or("?");
    let resource = injection.resource.as_deref().unwrap_or("");
    let what = injection.errno.as_ref().or(injection.effect.as_ref()).unwrap_or(fault);
    let seen = if injection.delivered { "" } else { "  (not delivered)" };
    format!("{}  pid {pid} {process}  {call}({resource}) -> {what}{seen}  [{rule}, match {nth}]", seconds(*at_ns))
}

fn seconds(ns: u64) -> String {
    format!("{:>5}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

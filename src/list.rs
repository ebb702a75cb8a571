//! `chaos-exec list`: what a fault table can name, printed from the tables that the code itself works with.

use crate::cli::{ListArgs, Listing};
use crate::error::{Context, Result};
use chaos_table::calls::{CALLS, Call, Failure as Fails, Family, FaultKind};
use chaos_table::errno::{eai_name, errno_name};
use chaos_table::presets::{DEFAULT_RATE, INTENSITIES, PRESETS, Preset};
use chaos_table::runtimes::RUNTIMES;
use serde_json::{Value, json};
use std::io::Write;

/// Prints a list.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &ListArgs, out: &mut dyn Write) -> Result<()> {
    let text = if args.json {
        let value = match args.what {
            Listing::Calls => CALLS.iter().map(call_json).collect(),
            Listing::Faults => faults_json(),
            Listing::Presets => PRESETS.iter().map(preset_json).collect::<Result<Value>>()?,
            Listing::Runtimes => runtimes_json(),
        };
        format!("{value:#}\n")
    } else {
        match args.what {
            Listing::Calls => CALLS.iter().map(call_text).collect(),
            Listing::Faults => faults_text(),
            Listing::Presets => presets_text()?,
            Listing::Runtimes => runtimes_text(),
        }
    };
    out.write_all(text.as_bytes()).cannot("write to stdout")
}

fn families(call: &Call) -> Vec<&'static str> {
    Family::ALL.iter().filter(|(_, family)| call.is_in(*family)).map(|(name, _)| *name).collect()
}

fn usual(call: &Call) -> Vec<&'static str> {
    let name = if call.fails == Fails::Eai { eai_name } else { errno_name };
    call.usual().iter().filter_map(|code| name(*code)).collect()
}

fn faults(call: &Call) -> Vec<&'static str> {
    FaultKind::ALL.iter().filter(|(_, kind, _)| call.allows(*kind)).map(|(name, ..)| *name).collect()
}

fn call_text(call: &Call) -> String {
    let mut text = format!("{}\n", call.name());
    let lines = [
        ("symbols", call.symbols().collect()),
        ("families", families(call)),
        ("errnos", usual(call)),
        ("faults", faults(call)),
        ("source", vec![call.source()]),
    ];
    for (name, words) in lines.into_iter().filter(|(_, words)| !words.is_empty()) {
        text += &format!("  {name:8}  {}\n", words.join(" "));
    }
    text
}

fn call_json(call: &Call) -> Value {
    json!({
        "name": call.name(),
        "symbols": call.symbols().collect::<Vec<_>>(),
        "families": families(call),
        "errnos": usual(call),
        "faults": faults(call),
        "source": call.source(),
    })
}

/// The calls at which a fault makes sense.
fn calls_of(kind: FaultKind) -> Vec<&'static str> {
    CALLS.iter().filter(|call| call.allows(kind)).map(Call::name).collect()
}

fn faults_text() -> String {
    let one = |(name, kind, does): &(&str, FaultKind, &str)| {
        let calls = calls_of(*kind);
        let calls = if calls.len() == CALLS.len() { "every call".to_owned() } else { calls.join(" ") };
        format!("{name}\n  {does}\n  at: {calls}\n")
    };
    FaultKind::ALL.iter().map(one).collect()
}

fn faults_json() -> Value {
    let one =
        |(name, kind, does): &(&str, FaultKind, &str)| json!({"name": name, "does": does, "calls": calls_of(*kind)});
    FaultKind::ALL.iter().map(one).collect()
}

fn presets_text() -> Result<String> {
    let mut text = String::new();
    for preset in PRESETS {
        text += &format!("{}\n  {}\n  at {}%, as a table:\n", preset.name, preset.summary, DEFAULT_RATE * 100.0);
        for fault in preset.faults(DEFAULT_RATE)? {
            text += &format!("    {fault}\n");
        }
    }
    let words: Vec<String> = INTENSITIES.iter().map(|(name, rate)| format!("{name} {}%", rate * 100.0)).collect();
    Ok(text + &format!("--intensity: {}\n", words.join(", ")))
}

fn preset_json(preset: &Preset) -> Result<Value> {
    let faults = preset.faults(DEFAULT_RATE)?;
    let faults = serde_json::to_value(&faults).cannot("describe a preset")?;
    Ok(json!({"name": preset.name, "does": preset.summary, "rate": DEFAULT_RATE, "faults": faults}))
}

fn runtimes_text() -> String {
    let one = |runtime: &chaos_table::runtimes::Runtime| {
        let (programs, protects) = (runtime.programs.join(" "), runtime.protects.join(" "));
        format!("{}\n  programs   {programs}\n  protected  {protects}\n", runtime.name)
    };
    RUNTIMES.iter().map(one).collect()
}

fn runtimes_json() -> Value {
    let one = |runtime: &chaos_table::runtimes::Runtime| json!({"name": runtime.name, "programs": runtime.programs, "protects": runtime.protects});
    RUNTIMES.iter().map(one).collect()
}

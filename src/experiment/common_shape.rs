//! The shape in which other tools write experiments, accepted as it is:
//!
//! ```yaml
//! experiment_id: checkout-1          # made up when left out
//! name: Checkout under stress
//! duration_seconds: 60               # inject so long (60)
//! target_components: [store]
//! components:                        # ours: what a component is; else a preset's name, or that of a process
//!   store: {path: "*.db"}
//! faults:
//! - {fault_type: latency, probability: 0.3, duration_ms: 200, affected_components: [store]}
//! ```
//!
//! | `fault_type` | becomes |
//! |---|---|
//! | `latency` | `latency` of `duration_ms` (500), on the network |
//! | `error` | `error` with the errno `error_code` (the usual ones), on the network |
//! | `timeout` | `hang` for `duration_ms` (30 s), on the network |
//! | `partial_failure` | `short`: a part of what was asked for is done, reading and writing |
//! | `resource_exhaustion` | `error` with EMFILE at `open`, `socket` and `accept` |
//! | `data_corruption` | `corrupt` of what is read and received |
//!
//! `probability` (1.0) is the rate, `error_message` the rule's message. A component's own `calls`, `path`, `to` and
//! `process` take the place of the calls above, or are added to them.

use super::file::{Scalar, Strings, Text, in_our_words};
use super::inject::InjectArgs;
use crate::error::{Failure, Result};
use chaos_table::calls::Family;
use chaos_table::errno::errno_name;
use chaos_table::files::parse_as;
use chaos_table::nearest;
use chaos_table::schema::Table;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Keys that only this shape has.
const SIGNS: [&str; 4] = ["experiment_id", "target_components", "duration_seconds", "components"];
/// The words of [`FaultType`].
const TYPES: [&str; 6] = ["latency", "error", "timeout", "partial_failure", "resource_exhaustion", "data_corruption"];
/// Seconds of injection when nothing is said.
const DURATION: f64 = 60.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an experiment")]
struct Common {
    experiment_id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    duration_seconds: Option<f64>,
    #[serde(default)]
    target_components: Vec<String>,
    #[serde(default)]
    components: BTreeMap<String, Component>,
    #[serde(default)]
    faults: Vec<CommonFault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a fault: a map such as {fault_type: latency, duration_ms: 200}")]
struct CommonFault {
    fault_type: FaultType,
    probability: Option<f64>,
    duration_ms: Option<u64>,
    error_code: Option<Scalar>,
    error_message: Option<String>,
    #[serde(default)]
    affected_components: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultType {
    Latency,
    Error,
    Timeout,
    PartialFailure,
    ResourceExhaustion,
    DataCorruption,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "what a component is: {calls: ..., path: ..., to: ..., process: ...}")]
struct Component {
    calls: Option<Strings>,
    path: Option<Strings>,
    to: Option<Strings>,
    process: Option<Strings>,
}

/// An experiment in the common shape as one in ours; any other text as it is.
///
/// # Errors
/// What is wrong with it, and what of it cannot be expressed.
pub fn translated(text: Text) -> Result<Text> {
    let signs = |value: &Value| {
        let odd_fault = |fault: &Value| fault.get("fault_type").is_some();
        SIGNS.iter().any(|sign| value.get(sign).is_some())
            || value["faults"].as_array().is_some_and(|faults| faults.iter().any(odd_fault))
    };
    // A text that is nothing at all, or has placeholders where this shape has none, is told so by the other reader.
    if !parse_as::<Value>(&text.text, &text.path).is_ok_and(|value| signs(&value)) {
        return Ok(text);
    }
    let common: Common = parse_as(&text.text, &text.path).map_err(in_our_words)?;
    let source = text.path.display().to_string();
    let ours = in_our_shape(&common)
        .map_err(|failure| Failure { message: format!("{source}: {}", failure.message), ..failure })?;
    // JSON is YAML as well; TOML it is not.
    let is_toml = text.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let path = if is_toml { text.path.with_extension("json") } else { text.path };
    Ok(Text { path, text: ours.to_string() })
}

/// The spec of one fault, as `chaos-exec inject` says it.
///
/// # Errors
/// When the words do not fit together.
pub fn one_off(args: &InjectArgs) -> Result<String> {
    let fault_type = serde_json::from_value(json!(args.fault)).map_err(|_| {
        let near = nearest(&args.fault, TYPES.into_iter());
        Failure::new(format!("--fault: unknown fault_type `{}`", args.fault.escape_debug()))
            .help(near.map_or_else(|| format!("one of {}", TYPES.join(", ")), |near| format!("did you mean `{near}`?")))
    })?;
    let fault = CommonFault {
        fault_type,
        probability: None,
        duration_ms: args.duration,
        error_code: args.error_code.clone().map(Scalar),
        error_message: args.message.clone(),
        affected_components: Vec::new(),
    };
    let mut rule = rule(&fault, 1, args.target.as_deref(), &BTreeMap::new())
        .map_err(|why| Failure { message: why.message.trim_start_matches("fault 1: ").to_owned(), ..why })?;
    // It happens once, at the next match.
    rule.as_object_mut().map(|rule| rule.remove("rate"));
    let table = Table::from_json(&json!({"faults": [rule]}).to_string(), "inject").map_err(|mut error| {
        error.place = None;
        Failure::from(error)
    })?;
    Ok(table.faults.first().map(ToString::to_string).unwrap_or_default())
}

fn in_our_shape(common: &Common) -> Result<Value> {
    let seconds = common.duration_seconds.unwrap_or(DURATION);
    if !(seconds > 0.0 && seconds < 1e7) {
        return Err(Failure::new(format!("`duration_seconds: {seconds}` is no duration")).help("more than 0"));
    }
    let mut faults = Vec::new();
    for (at, fault) in common.faults.iter().enumerate() {
        let mut affected: Vec<&str> = fault.affected_components.iter().map(String::as_str).collect();
        if affected.is_empty() {
            affected = common.target_components.iter().map(String::as_str).collect();
        }
        let whole = [None];
        let some: Vec<Option<&str>> = affected.into_iter().map(Some).collect();
        for component in if some.is_empty() { &whole[..] } else { &some[..] } {
            faults.push(rule(fault, at + 1, *component, &common.components)?);
        }
    }
    let mut ours = json!({
        "targets": [{"name": "target", "command": "${command}"}],
        "table": {"for": format!("{}ms", (seconds * 1000.0).round()), "faults": faults},
    });
    for (key, value) in [("id", &common.experiment_id), ("name", &common.name), ("description", &common.description)] {
        if let Some(value) = value {
            ours[key] = json!(value);
        }
    }
    Ok(ours)
}

fn rule(
    fault: &CommonFault,
    number: usize,
    component: Option<&str>,
    known: &BTreeMap<String, Component>,
) -> Result<Value> {
    let within = |failure: Failure| Failure { message: format!("fault {number}: {}", failure.message), ..failure };
    let mut rule = what(fault).map_err(within)?;
    let probability = fault.probability.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&probability) {
        return Err(within(Failure::new(format!("`probability: {probability}` is no probability")).help("0 to 1")));
    }
    rule.insert("rate".into(), json!(probability));
    if let Some(message) = &fault.error_message {
        rule.insert("message".into(), json!(message));
    }
    let Some(component) = component else { return Ok(Value::Object(rule)) };
    rule.insert("component".into(), json!(component));
    let family =
        Family::ALL.iter().find(|(name, _)| *name == component.replace("disk_io", "disk")).map(|(name, _)| *name);
    match (known.get(component), family) {
        (Some(Component { calls, path, to, process }), _) => {
            let given = [("calls", calls), ("path", path), ("to", to), ("process", process)];
            if calls.is_none() && path.is_some() {
                // A path is no place on the network.
                rule.insert("calls".into(), on_files(fault.fault_type));
            }
            for (key, value) in given {
                value.iter().for_each(|value| drop(rule.insert(key.into(), json!(value.all))));
            }
        }
        (None, Some(family)) => drop(rule.insert("calls".into(), json!(family))),
        (None, None) => drop(rule.insert("process".into(), json!(component))),
    }
    Ok(Value::Object(rule))
}

/// The fault that a type stands for, with the calls that it hits.
fn what(fault: &CommonFault) -> Result<Map<String, Value>> {
    let millis = |default: u64| format!("{}ms", fault.duration_ms.unwrap_or(default));
    if fault.error_code.is_some() && fault.fault_type != FaultType::Error {
        return Err(Failure::new("only a fault of type `error` has an `error_code`").help("leave it out"));
    }
    let takes_time = matches!(fault.fault_type, FaultType::Latency | FaultType::Timeout);
    if fault.duration_ms.is_some() && !takes_time {
        return Err(Failure::new("only `latency` and `timeout` have a `duration_ms`").help("leave it out"));
    }
    let value = match fault.fault_type {
        FaultType::Latency => json!({"fault": "latency", "calls": "network", "delay": millis(500)}),
        FaultType::Timeout => json!({"fault": "hang", "calls": "network", "for": millis(30_000)}),
        FaultType::PartialFailure => json!({"fault": "short", "calls": ["read", "write", "recv", "send"]}),
        FaultType::ResourceExhaustion => {
            json!({"fault": "error", "calls": ["open", "socket", "accept"], "errno": "EMFILE"})
        }
        FaultType::DataCorruption => json!({"fault": "corrupt", "calls": ["read", "recv"]}),
        FaultType::Error => match &fault.error_code {
            None => json!({"fault": "error", "calls": "network"}),
            Some(Scalar(code)) => json!({"fault": "error", "calls": "network", "errno": errno(code)?}),
        },
    };
    Ok(value.as_object().cloned().unwrap_or_default())
}

/// The calls that a type hits where a component is files.
fn on_files(kind: FaultType) -> Value {
    match kind {
        FaultType::Latency | FaultType::Error | FaultType::Timeout => json!("disk"),
        FaultType::PartialFailure => json!(["read", "write"]),
        FaultType::ResourceExhaustion => json!("open"),
        FaultType::DataCorruption => json!("read"),
    }
}

/// An error code: an errno's name or number.
fn errno(code: &str) -> Result<String> {
    match code.parse::<i32>() {
        Err(_) => Ok(code.to_owned()),
        Ok(number) => match errno_name(number) {
            Some(name) => Ok(name.to_owned()),
            None if (134..=599).contains(&number) => Err(Failure::new(format!(
                "`error_code: {number}` is a status of HTTP, and this version makes calls fail, not replies"
            ))
            .help("an errno such as ECONNRESET, or `fault_type: timeout`")),
            None => Err(Failure::new(format!("`error_code: {number}` is no errno"))
                .help("a name such as ECONNRESET, or its number")),
        },
    }
}

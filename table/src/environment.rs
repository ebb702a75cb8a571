//! The fault table of a process that has no launcher: what the `CHAOS_*` variables say.
//!
//! | variable | rule |
//! |---|---|
//! | `CHAOS_CRASH_PROBABILITY=P` | `signal calls=read,write,open,connect,accept,send,recv,malloc signal=KILL nth=1 rate=P`: one draw for a process |
//! | `CHAOS_DELAY_MS=N`, `CHAOS_DELAY_PROBABILITY=P` | `latency calls=network,disk delay=Nms rate=P` (500, 0.2) |
//! | `CHAOS_TIMEOUT_SECONDS=N`, `CHAOS_TIMEOUT_PROBABILITY=P` | `hang calls=network for=Ns rate=P` (30, 0.1) |
//! | `CHAOS_CORRUPTION_PROBABILITY=P` | `corrupt rate=P` |
//!
//! `CHAOS_RATE` and `CHAOS_TYPES` are the table's `rate` and `chaos`, `CHAOS_DURATION` its `for`.

use crate::counts::Number;
use crate::env;
use crate::error::{Place, Problem, TableError, nearest, quoted};
use crate::files::read_text;
use crate::quantities::{Lasting, Millis, Rate, Seconds, Time};
use crate::schema::Table;
use crate::spec::{parse_spec, parse_specs};
use crate::value::Value;
use crate::words::{Label, PresetName};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// The fault table; it may name no fault, when only its settings are given.
    pub table: Table,
    /// Where the session file goes.
    pub log: Option<PathBuf>,
}

/// Reads the public variables. `None` when none of them is set, or `CHAOS_LOG` alone.
///
/// # Errors
/// The first thing that is wrong; its place is the variable.
pub fn from_env(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<Option<Environment>, TableError> {
    let mut given = BTreeMap::new();
    let mut log = None;
    for (name, value) in vars {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CHAOS_") && *name != env::METRICS) else {
            continue;
        };
        let Some(known) = env::PUBLIC.iter().find(|known| **known == name) else {
            return Err(unknown(name));
        };
        if value.is_empty() {
            let problem = Problem::new(format!("{known} is set but empty")).help("unset it, or give it a value");
            return Err(at(known, problem));
        }
        if *known == env::LOG {
            log = Some(PathBuf::from(value));
            continue;
        }
        let Some(value) = value.to_str() else {
            return Err(at(known, Problem::new(format!("the value of {known} is not UTF-8"))));
        };
        given.insert(*known, value.to_owned());
    }
    if given.is_empty() {
        return Ok(None);
    }
    let table = table(&given)?;
    Ok(Some(Environment { table, log }))
}

fn at(name: &str, problem: Problem) -> TableError {
    problem.at(Some(Place { source: name.to_owned(), line: None, column: None }))
}

fn unknown(name: &str) -> TableError {
    let problem = Problem::new(format!("unknown environment variable {}", quoted(name)));
    let all = || env::PUBLIC.iter().copied();
    // They all begin alike, so the beginning must not count for nearness.
    let bare = name.strip_prefix("CHAOS_").unwrap_or(name);
    let near = nearest(bare, all().filter_map(|known| known.strip_prefix("CHAOS_")));
    TableError {
        help: Some(near.map_or_else(
            || format!("one of {}", all().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `CHAOS_{near}`?"),
        )),
        ..at(name, problem)
    }
}

/// One variable read as a value.
fn read<T: Value>(given: &BTreeMap<&str, String>, name: &str) -> Result<Option<T>, TableError> {
    let Some(text) = given.get(name) else { return Ok(None) };
    T::from_text(text.trim()).map(Some).map_err(|problem| at(name, problem))
}

fn table(given: &BTreeMap<&str, String>) -> Result<Table, TableError> {
    let mut table = match given.get(env::TABLE) {
        Some(text) => table_from(text)?,
        None => Table::default(),
    };
    let mut settings = Table {
        enabled: enabled(given)?,
        seed: seed(given)?,
        rate: read::<Rate>(given, env::RATE)?,
        ..Table::default()
    };
    settings.r#for = read::<Seconds>(given, env::DURATION)?.map(Lasting::from);
    if let Some(types) = given.get(env::TYPES) {
        let names: Result<Vec<_>, _> = types.split(',').map(|name| PresetName::from_text(name.trim())).collect();
        settings.chaos = names.map_err(|problem| at(env::TYPES, problem))?;
    }
    settings.faults = probabilities(given)?;
    table.merge(settings);
    Ok(table)
}

/// The value of `CHAOS_TABLE`: JSON, a file, or one-line specs.
fn table_from(text: &str) -> Result<Table, TableError> {
    let text = text.trim();
    if text.starts_with(['{', '[']) {
        return Table::from_json(text, env::TABLE);
    }
    let path = text.strip_prefix('@').or_else(|| (text.starts_with('/') || text.starts_with("./")).then_some(text));
    match path {
        Some(path) => table_file(Path::new(path)),
        None => parse_specs(text, env::TABLE).map(|faults| Table { faults, ..Table::default() }),
    }
}

fn table_file(path: &Path) -> Result<Table, TableError> {
    let source = path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase();
    if ["yaml", "yml", "toml"].contains(&extension.as_str()) {
        let problem = Problem::new("YAML and TOML are read by the launcher only");
        let help = format!("make JSON of it: chaos-exec check --json {source} > table.json");
        return Err(at(&format!("{}: {source}", env::TABLE), problem.help(help)));
    }
    let text = read_text(path)?;
    if extension == "json" || text.trim_start().starts_with(['{', '[']) {
        return Table::from_json(&text, &source);
    }
    parse_specs(&text, &source).map(|faults| Table { faults, ..Table::default() })
}

fn enabled(given: &BTreeMap<&str, String>) -> Result<Option<bool>, TableError> {
    let Some(text) = given.get(env::ENABLED) else {
        return Ok(None);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(at(
            env::ENABLED,
            Problem::new(format!("{} is neither true nor false", quoted(text))).help("true, 1, false or 0"),
        )),
    }
}

fn seed(given: &BTreeMap<&str, String>) -> Result<Option<u64>, TableError> {
    let seed = read::<Number>(given, env::SEED)?.map(|number| number.0);
    let random = read::<Number>(given, env::RANDOM_SEED)?.map(|number| number.0);
    match (seed, random) {
        (Some(one), Some(other)) if one != other => {
            Err(at(env::RANDOM_SEED, Problem::new("CHAOS_SEED and CHAOS_RANDOM_SEED differ").help("set one of them")))
        }
        (seed, random) => Ok(seed.or(random)),
    }
}

/// The rules of the variables that name a fault each; see the head of this file.
fn probabilities(given: &BTreeMap<&str, String>) -> Result<Vec<crate::fault::Fault>, TableError> {
    let mut faults = Vec::new();
    let mut add = |name: &str, label: &str, spec: &str, rate: Rate| {
        let mut fault = parse_spec(spec, name)?;
        (fault.name, fault.rate) = (Some(Label(label.to_owned())), Some(rate));
        faults.push(fault);
        Ok::<_, TableError>(())
    };
    if let Some(rate) = read(given, env::CRASH_PROBABILITY)? {
        let spec = "signal calls=read,write,open,connect,accept,send,recv,malloc signal=KILL nth=1";
        add(env::CRASH_PROBABILITY, "env/crash", spec, rate)?;
    }
    let delay = read::<Millis>(given, env::DELAY_MS)?;
    let rate = read(given, env::DELAY_PROBABILITY)?;
    if delay.is_some() || rate.is_some() {
        let delay = delay.map_or(Time(500_000_000), Time::from).to_text();
        add(
            env::DELAY_MS,
            "env/delay",
            &format!("latency calls=network,disk delay={delay}"),
            rate.unwrap_or(Rate(0.2)),
        )?;
    }
    let longest = read::<Seconds>(given, env::TIMEOUT_SECONDS)?;
    let rate = read(given, env::TIMEOUT_PROBABILITY)?;
    if longest.is_some() || rate.is_some() {
        let longest = longest.map_or(Time(30_000_000_000), |seconds| seconds.0).to_text();
        add(
            env::TIMEOUT_SECONDS,
            "env/timeout",
            &format!("hang calls=network for={longest}"),
            rate.unwrap_or(Rate(0.1)),
        )?;
    }
    if let Some(rate) = read(given, env::CORRUPTION_PROBABILITY)? {
        add(env::CORRUPTION_PROBABILITY, "env/corruption", "corrupt", rate)?;
    }
    Ok(faults)
}

//! What a run is to do, from the environment, the tables and the options: in this order, the later wins.

use crate::cli::{Choice, FaultArgs, Part, RunArgs, Wait};
use crate::console::Level;
use crate::error::{Context, Failure, Result};
use crate::experiment::{Stage, counters};
use crate::gate::Gate;
use crate::verify::refuse_bad_patterns;
use chaos_table::checks::CheckKind;
use chaos_table::checks::parse_check;
use chaos_table::env;
use chaos_table::environment::from_env;
use chaos_table::files::load_file;
use chaos_table::schema::Table;
use chaos_table::session::{SIZE_MAX, SIZE_MIN, SIZE_WITH_LAUNCHER};
use chaos_table::spec::parse_spec;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Options {
    /// The whole table, with its seed.
    pub table: Table,
    /// The seed of every decision.
    pub seed: u64,
    /// Whether nobody gave the seed.
    pub seed_is_random: bool,
    /// End the tree after this long.
    pub timeout: Option<Duration>,
    /// When the run is over.
    pub wait: Wait,
    /// How faults reach the program.
    pub engine: Choice,
    /// The session directory.
    pub out: Option<PathBuf>,
    /// Where the JSON Lines go.
    pub log: Option<PathBuf>,
    /// What must hold.
    pub gate: Option<Gate>,
    /// Where evidence of a failure goes.
    pub evidence: Option<PathBuf>,
    /// The rate as a multiple of what fails without us.
    pub rate_factor: Option<f64>,
    /// How often it is run with faults.
    pub runs: u64,
    /// How often without, first.
    pub controls: u64,
    /// Whether the calls that rules match are timed.
    pub latency: bool,
    /// Bytes of the session file, without the room for times of calls.
    pub log_size: u64,
    /// Bytes of the drained log that end the injection.
    pub log_limit: u64,
    /// The command that repeats the run.
    pub repeat: String,
    /// What this run of an experiment is to do.
    pub stage: Option<Stage>,
    /// What the user should know before it starts.
    pub warnings: Vec<String>,
}

impl Options {
    /// Gathers the options of a run.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn gather(args: &RunArgs) -> Result<Options> {
        let mut table = Table::default();
        let mut warnings = Vec::new();
        // An experiment says itself what fails.
        if args.stage.is_none()
            && let Some(environment) = from_env(std::env::vars_os())?
        {
            table.merge(environment.table);
        }
        if std::env::var_os(env::LOG).is_some() {
            warnings
                .push(format!("{} is for runs without the launcher; --out DIR says where the session goes", env::LOG));
        }
        table.merge(table_of(&args.faults)?);
        for (index, check) in args.checks.iter().enumerate() {
            let source = if args.checks.len() == 1 { "--check".to_owned() } else { format!("--check {}", index + 1) };
            table.checks.push(parse_check(check, &source)?);
        }
        let stage = args.stage.clone();
        if let Some(stage) = &stage {
            table = stage.table.clone();
            table.merge(table_of(&args.faults)?);
        } else {
            add_counters(&mut table)?;
        }
        refuse_bad_patterns(&table.checks)?;
        let controls = args.controls.as_deref().map_or(Ok(0), |text| how_often(text, "--controls", 0))?;
        let compared = table.checks.iter().find(|check| check.check == Some(CheckKind::Control));
        if let Some(check) = compared.filter(|_| controls == 0 && args.part.is_none()) {
            return Err(Failure::new(format!("check `{check}`: there is no control to compare with"))
                .help("give --controls 1: the first of them is what the runs are held against"));
        }
        let has_control = compared.is_some();
        let gate = Gate::parse(&args.gates)?;
        // A control whose calls are timed has them matched; its rules are muted once they are compiled. That of an
        // experiment counts, by rules that never fire.
        let is_bare = args.part == Some(Part::Survey) || args.part == Some(Part::Control) && !args.latency;
        if is_bare && stage.is_none() {
            table.enabled = Some(false);
        }
        let seed_is_random = table.seed.is_none();
        let seed = table.seed.map_or_else(random_seed, Ok)?;
        table.seed = Some(seed);
        Ok(Options {
            table,
            seed,
            seed_is_random,
            timeout: args.timeout.as_deref().map(|text| duration(text, "--timeout")).transpose()?,
            wait: args.wait,
            engine: args.engine,
            out: args.out.clone(),
            log: args.log.clone(),
            latency: args.latency || gate.as_ref().is_some_and(Gate::asks_for_latency),
            gate,
            evidence: args.evidence.as_deref().map(std::path::absolute).transpose().cannot("use --evidence")?,
            rate_factor: args.faults.rate.as_deref().map_or(Ok(None), rate_factor)?,
            runs: args.runs.as_deref().map_or(Ok(1), |text| how_often(text, "--runs", 1))?,
            controls,
            log_size: args
                .log_size
                .as_deref()
                .map_or(Ok(SIZE_WITH_LAUNCHER), |text| size(text, "--log-size", SIZE_MIN, SIZE_MAX, "1MB to 1GB"))?,
            log_limit: args
                .log_limit
                .as_deref()
                .map_or(Ok(LOG_LIMIT), |text| size(text, "--log-limit", SIZE_MIN, 1 << 50, "1MB up"))?,
            repeat: stage.as_ref().map_or_else(|| repeat(args, seed, has_control), |stage| stage.repeat.clone()),
            stage,
            warnings,
        })
    }
}

/// Rules for the checks that count calls.
fn add_counters(table: &mut Table) -> Result<()> {
    let mut added = Vec::new();
    for (fault, phase) in counters(&table.checks)? {
        if let Some(phase) = phase {
            return Err(Failure::new(format!("a check counts calls in the phase {phase}, and a table has none"))
                .help("leave `phase` out; experiments have phases"));
        }
        added.push(fault);
    }
    table.faults.extend(added);
    Ok(())
}

/// The log on disk when no option says otherwise: a fault in a busy loop writes that much within seconds.
const LOG_LIMIT: u64 = 1 << 30;

/// How much a run says.
#[must_use]
pub fn level_of(args: &RunArgs) -> Level {
    match (args.quiet, args.verbose) {
        (true, _) => Level::Quiet,
        (_, true) => Level::Verbose,
        _ => Level::Normal,
    }
}

/// The table that the options alone describe.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn table_of(args: &FaultArgs) -> Result<Table> {
    let mut table = Table::default();
    for file in &args.tables {
        table.merge(load_file(file)?);
    }
    for (index, spec) in args.faults.iter().enumerate() {
        let source = if args.faults.len() == 1 { "--fault".to_owned() } else { format!("--fault {}", index + 1) };
        table.faults.push(parse_spec(spec, &source)?);
    }
    for types in &args.chaos {
        let types: Vec<&str> = types.split(',').map(str::trim).collect();
        table.merge(one_key("chaos", &json!(types), "--chaos")?);
    }
    let scalars = [
        ("rate", &args.rate.clone().filter(|rate| !is_factor(rate)), "--rate"),
        ("intensity", &args.intensity, "--intensity"),
        ("seed", &args.seed, "--seed"),
        ("for", &args.lasting, "--for"),
        ("max_faults", &args.max_faults, "--max-faults"),
    ];
    for (key, value, option) in scalars {
        if let Some(text) = value {
            table.merge(one_key(key, &json!(text), option)?);
        }
    }
    Ok(table)
}

/// A table with one key, read as any table is: so an option accepts what the key accepts, and its errors are the same.
fn one_key(key: &str, value: &serde_json::Value, option: &str) -> Result<Table> {
    Table::from_json(&json!({ key: value }).to_string(), option).map_err(|mut error| {
        // Line and column of the text that was made here would mean nothing.
        if let Some(place) = &mut error.place {
            (place.line, place.column) = (None, None);
        }
        error.into()
    })
}

/// A duration that an option gives.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str, option: &str) -> Result<Duration> {
    let lasting = one_key("for", &json!(text), option)?.r#for;
    // A table that has the key gives it back.
    Ok(lasting.map_or(Duration::MAX, |lasting| Duration::from_nanos(lasting.0.0)))
}

/// Whether a rate is a multiple: of what is known only after a run.
fn is_factor(rate: &str) -> bool {
    rate.ends_with('x')
}

fn rate_factor(rate: &str) -> Result<Option<f64>> {
    let Some(factor) = rate.strip_suffix('x') else { return Ok(None) };
    let factor = factor.trim().parse::<f64>().ok().filter(|factor| *factor > 0.0 && *factor <= 1000.0);
    factor.map(Some).ok_or_else(|| {
        Failure::new(format!("--rate: '{rate}' is no multiple of a rate"))
            .help("such as 2x: twice as often as these calls fail without us")
    })
}

/// A number of runs.
fn how_often(text: &str, option: &str, least: u64) -> Result<u64> {
    const MOST: u64 = 100_000;
    let number = text.trim().parse().ok().filter(|number| (least..=MOST).contains(number));
    number.ok_or_else(|| {
        Failure::new(format!("{option}: '{text}' is no number of runs")).help(format!("{least} to {MOST}"))
    })
}

/// A size such as 8MB, thousands as in the fault table, for an option, within a range; `range` says it in words.
///
/// # Errors
/// When it is none, or out of range.
pub fn size(text: &str, option: &str, smallest: u64, largest: u64, range: &str) -> Result<u64> {
    let wrong = |why: &str| {
        Failure::new(format!("{option}: {why}: '{text}'"))
            .help(format!("a size from {range}, for example {option} 16MB"))
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong("this is no size"))?;
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "" | "B" => 1,
        _ => return Err(wrong("this unit is unknown")),
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes < smallest => Err(wrong("this is too small")),
        Some(bytes) if bytes <= largest => Ok(bytes.next_multiple_of(4096)),
        _ => Err(wrong("this is too large")),
    }
}

/// Short enough to be typed, and exact in every JSON reader.
/// A seed that nobody gave.
///
/// # Errors
/// When the system's random numbers cannot be read.
pub fn random_seed() -> Result<u64> {
    let digits = crate::session::random_hex(4)?;
    u64::from_str_radix(&digits, 16).cannot("make a seed")
}

/// The command line that gives the same faults again.
fn repeat(args: &RunArgs, seed: u64, with_control: bool) -> String {
    let mut words: Vec<OsString> = Vec::new();
    for name in env::PUBLIC.iter().filter(|name| ![env::LOG, env::SEED, env::RANDOM_SEED].contains(name)) {
        if let Some(value) = std::env::var_os(name) {
            words.push([OsStr::new(name), OsStr::new("="), &quoted(&value)].into_iter().collect());
        }
    }
    words.extend(["chaos-exec", "run"].map(OsString::from));
    words.extend(words_of(args, seed).iter().map(|word| quoted(word)));
    if with_control {
        words.extend(["--controls".into(), "1".into()]);
    }
    words.push("--".into());
    words.extend(args.command.iter().map(|word| quoted(word)));
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The options that make one run what it is, as `run` takes them.
#[must_use]
pub fn words_of(args: &RunArgs, seed: u64) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--seed".into(), seed.to_string().into()];
    let mut option = |name: &str, value: &OsStr| words.extend([OsString::from(name), value.to_owned()]);
    let faults = &args.faults;
    faults.tables.iter().for_each(|table| option("-t", table.as_os_str()));
    faults.faults.iter().for_each(|spec| option("-f", OsStr::new(spec)));
    faults.chaos.iter().for_each(|types| option("--chaos", OsStr::new(types)));
    let given = [
        ("--rate", &faults.rate.clone().filter(|rate| !is_factor(rate))),
        ("--intensity", &faults.intensity),
        ("--for", &faults.lasting),
        ("--max-faults", &faults.max_faults),
        ("--timeout", &args.timeout),
        ("--log-size", &args.log_size),
        ("--log-limit", &args.log_limit),
    ];
    for (name, value) in given {
        value.iter().for_each(|value| option(name, OsStr::new(value)));
    }
    if args.wait == Wait::Tree {
        option("--wait", OsStr::new("tree"));
    }
    args.checks.iter().for_each(|check| option("--check", OsStr::new(check)));
    words.extend(args.latency.then(|| "--latency".into()));
    words
}

/// A word as a shell reads it back.
#[must_use]
pub fn quoted(word: &OsStr) -> OsString {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        let size = |text| size(text, "--log-size", SIZE_MIN, SIZE_MAX, "1MB to 1GB");
        assert_eq!(size("4MB").unwrap(), 4 << 20);
        assert_eq!(size("1048577").unwrap() % 4096, 0);
        for wrong in ["", "MB", "4XB", "-4MB", "1KB", "2GB", "99999999999999999999GB", "4.5MB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_repeated_command_survives_the_shell() {
        assert_eq!(quoted(OsStr::new("it's")), OsStr::new(r"'it'\''s'"));
        assert_eq!(quoted(OsStr::new("")), OsStr::new("''"));
        assert_eq!(quoted(OsStr::new("a/b.c")), OsStr::new("a/b.c"));
    }
}

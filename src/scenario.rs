//! `chaos-exec scenario`: the library of experiments that need nothing but a command. Each is an ordinary experiment file
//! in `src/scenarios/`, which `show` prints and a user may copy and change.

mod compose;

use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::experiment::args::HowArgs;
use crate::experiment::{Deck, Text, run_all};
use crate::options::quoted;
use chaos_table::nearest;
use clap::{Args, Subcommand, ValueHint};
use compose::{Changes, faults_of};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Names and texts of the scenarios, from the files of that name.
macro_rules! scenarios {
    ($($name:literal)*) => {
        const SCENARIOS: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("scenarios/", $name, ".yaml")))),*
        ];
    };
}

scenarios! {
    "kill-9-recovery" "crash-half-way" "graceful-restart" "ungraceful-restart" "crash-during-request" "cascade"
    "freeze-past-lease" "spawn-failures" "oom-kill"
    "lease-expiry" "delayed-recovery" "recovery-sweep"
    "connect-refused" "connect-timeout" "dns-failure" "latency-100ms" "latency-1s" "latency-5s" "drop-mid-request"
    "truncated-reply" "intermittent" "partition" "timeout-after-handoff" "handoff-corruption"
    "disk-full" "disk-slow" "disk-errors" "short-writes" "torn-writes" "lying-fsync" "concurrent-writers"
    "slow-replies-1s" "slow-replies-5s" "slow-replies-10s" "cache-load" "tool-replay" "mixed-results" "fail-fast" "fallback"
    "retry" "timeout" "circuit-breaker" "rate-limiter"
    "allocation-failure" "memory-limit" "memory-pressure" "cpu-pressure" "disk-pressure"
    "storm"
}

/// Other names.
const ALIASES: [(&str, &str); 5] = [
    ("ProductCrashMidUpload", "kill-9-recovery"),
    ("MarketingTimeout", "timeout-after-handoff"),
    ("HandoffCorruption", "handoff-corruption"),
    ("DelayedRecovery", "delayed-recovery"),
    ("CascadeFailure", "cascade"),
];

/// `chaos-exec scenario`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec scenario list
  chaos-exec scenario show kill-9-recovery > kill.yaml    # to change it, then `experiment run kill.yaml -- CMD`
  chaos-exec scenario run kill-9-recovery disk-full --runs 20 --check 'file path=out.json is=json' -- python3 agent.py
  chaos-exec scenario run cascade --on shop.yaml          # on the targets of an experiment file, which has no table
  chaos-exec scenario run storm --each -- ./agent         # each of its faults alone, then all together

A fault of a scenario alone is NAME.FAULT, such as storm.refused. Each run gets a copy of the working directory. Exit codes as for `experiment run`.")]
pub struct ScenarioArgs {
    /// What to do
    #[command(subcommand)]
    pub order: Order,
}

/// What `scenario` can do.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// List the scenarios
    List {
        /// As JSON
        #[arg(long)]
        json_output: bool,
    },
    /// Print a scenario, which is an experiment file
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Run scenarios on a command
    Run(Box<RunScenarioArgs>),
}

/// `chaos-exec scenario run`
#[derive(Debug, Args)]
pub struct RunScenarioArgs {
    /// Their names; NAME.FAULT is one fault of it alone
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,

    /// All of them
    #[arg(long, conflicts_with = "names")]
    pub all: bool,

    /// First each of its faults alone, then all together
    #[arg(long)]
    pub each: bool,

    /// On the targets of this experiment file, with its checks beside those of the scenario
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub on: Option<PathBuf>,

    /// What else must be true, such as 'file path=out.json is=json'
    #[arg(long = "check", value_name = "CHECK")]
    pub checks: Vec<String>,

    /// How they are run.
    #[command(flatten)]
    pub how: HowArgs,

    /// The program and its arguments; with --on the words that stand for ${command} in the file
    #[arg(last = true, required_unless_present = "on", value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<String>,
}

/// Does what is ordered.
///
/// # Errors
/// When there is no such scenario, or it cannot be run.
pub fn run(args: &ScenarioArgs, out: &mut dyn Write) -> Result<Exit> {
    let text = match &args.order {
        Order::List { json_output } => list(*json_output)?,
        Order::Show { name } => find(name)?.1.to_owned(),
        Order::Run(args) => return run_scenarios(args, out),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).cannot("write to stdout")?;
    Ok(Exit::Target(0))
}

fn run_scenarios(args: &RunScenarioArgs, out: &mut dyn Write) -> Result<Exit> {
    let names = args.names.iter().map(String::as_str);
    let all = SCENARIOS.iter().map(|(name, _)| *name).filter(|_| args.all);
    let on = args.on.as_deref().map(Text::read).transpose()?;
    let mut decks = Vec::new();
    for name in names.chain(all) {
        let (name, only) = name.split_once('.').map_or((name, None), |(name, only)| (name, Some(only)));
        let scenario = text(name)?;
        let alone = if args.each && only.is_none() { faults_of(&scenario)? } else { Vec::new() };
        // Of a single fault there is nothing more to see alone.
        let alone = alone.iter().filter(|_| alone.len() > 1).map(|fault| Some(fault.as_str()));
        for only in alone.chain([only]) {
            let changes = Changes { on: on.as_ref(), checks: &args.checks, only };
            decks.push(Deck::of(changes.apply(scenario.clone())?, &args.command)?);
        }
    }
    let option = |name: &str, value: &std::ffi::OsStr| format!(" {name} {}", quoted(value).to_string_lossy());
    let on = args.on.iter().map(|on| option("--on", on.as_os_str()));
    let more: String = on.chain(args.checks.iter().map(|check| option("--check", check.as_ref()))).collect();
    run_all(&decks, &args.how, &|deck| format!("scenario run {}{more}", deck.id), out)
}

fn find(name: &str) -> Result<(&'static str, &'static str)> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let plain = alias.map_or(name, |(_, plain)| plain);
    SCENARIOS.iter().find(|(known, _)| *known == plain).copied().ok_or_else(|| {
        let known = SCENARIOS.iter().map(|(name, _)| *name).chain(ALIASES.iter().map(|(alias, _)| *alias));
        let near = nearest(name, known).map(|near| format!("did you mean {near}?"));
        Failure::new(format!("there is no scenario '{name}'"))
            .help(near.unwrap_or_else(|| "`chaos-exec scenario list` has them all".into()))
    })
}

/// A scenario as if it lay in the working directory, which its runs get copies of.
fn text(name: &str) -> Result<Text> {
    let (name, text) = find(name)?;
    Ok(Text { path: PathBuf::from(format!("{name}.yaml")), text: text.to_owned() })
}

fn deck(name: &str, command: &[String]) -> Result<Deck> {
    Deck::of(text(name)?, command)
}

fn list(as_json: bool) -> Result<String> {
    let decks = SCENARIOS.iter().map(|(name, _)| deck(name, &["COMMAND".to_owned()])).collect::<Result<Vec<_>>>()?;
    let name = |deck: &Deck| deck.experiment.name.clone().unwrap_or_default();
    if as_json {
        let one = |deck: &Deck| {
            let aliases: Vec<&str> =
                ALIASES.iter().filter(|(_, plain)| *plain == deck.id).map(|(alias, _)| *alias).collect();
            json!({"name": deck.id, "title": name(deck), "description": deck.experiment.description, "aliases": aliases})
        };
        return Ok(format!("{:#}\n", decks.iter().map(one).collect::<Value>()));
    }
    Ok(decks.iter().map(|deck| format!("{:22} {}\n", deck.id, name(deck))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::only_counts;

    fn text_of(name: &str) -> &'static str {
        find(name).unwrap().1
    }

    #[test]
    fn every_scenario_is_an_experiment_that_says_what_it_is() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenarios")).unwrap();
        let mut files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut names: Vec<String> = SCENARIOS.iter().map(|(name, _)| format!("{name}.yaml")).collect();
        names.sort();
        assert_eq!(files, names);
        for (name, _) in SCENARIOS {
            let deck = deck(name, &["true".to_owned()]).unwrap_or_else(|failure| panic!("{}", failure.message));
            let said = deck.experiment.description.unwrap_or_default();
            assert!(deck.id == *name && deck.experiment.name.is_some(), "{name}");
            // What it simulates, and what failing means.
            assert!(said.len() > 100 && (said.contains("fails when") || said.contains("must")), "{name}: {said}");
            let harmful = !deck.compiled.plan.rules.is_empty() || text_of(name).contains("${chaos}");
            let warned = deck.compiled.warnings.iter().any(|warning| !only_counts(warning));
            assert!(harmful && !warned, "{name}: {:?}", deck.compiled.warnings);
        }
        assert!(ALIASES.iter().all(|(_, plain)| find(plain).is_ok()));
    }
}

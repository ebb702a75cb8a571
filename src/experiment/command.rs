//! `chaos-exec experiment`: what its orders print.

use super::args::{ExperimentArgs, FilesArgs, HowArgs, Order, ResultsArgs, RunExperimentArgs};
use super::common_shape::translated;
use super::deck::Deck;
use super::file::{Restart, Text};
use super::runner;
use crate::check;
use crate::cli::RunArgs;
use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::options::quoted;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;

/// The published schema.
const SCHEMA: &str = include_str!("schema.json");

/// Does what is ordered.
///
/// # Errors
/// The first thing that is wrong with a file.
pub fn run(args: &ExperimentArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.order {
        Order::Check(args) => {
            for deck in decks(args)? {
                let text = if args.json_output { format!("{:#}\n", described(&deck)) } else { in_words(&deck) };
                out.write_all(text.as_bytes()).cannot("write to stdout")?;
            }
        }
        Order::List(args) => {
            let decks = decks(args)?;
            let text = if args.json_output {
                format!("{:#}\n", decks.iter().map(described).collect::<Value>())
            } else {
                decks.iter().map(line).collect()
            };
            out.write_all(text.as_bytes()).cannot("write to stdout")?;
        }
        Order::Run(args) => {
            let decks = args.files.iter().map(|file| Deck::of(Text::read(file)?, &args.command));
            let decks = decks.collect::<Result<Vec<_>>>()?;
            let again = |deck: &Deck| format!("experiment run {}", quoted(deck.text.path.as_os_str()).display());
            return runner::run(&decks, &args.how, &again, out);
        }
        Order::Abort { id } => runner::abort(id.as_deref())?,
        Order::Schema => out.write_all(SCHEMA.as_bytes()).cannot("write to stdout")?,
    }
    out.flush().cannot("write to stdout")?;
    Ok(Exit::Target(0))
}

/// `run --experiment FILE`.
///
/// # Errors
/// As `experiment run`.
pub fn run_one(args: &RunArgs, out: &mut dyn Write) -> Result<Exit> {
    let how = HowArgs {
        runs: args.runs.clone(),
        seed: args.faults.seed.clone(),
        results: ResultsArgs {
            out: args.out.clone(),
            gates: args.gates.clone(),
            reports: args.reports.clone(),
            quiet: args.quiet,
            json_output: args.json_output,
            export: None,
        },
        ..HowArgs::default()
    };
    let words = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::new("a word of the command is no UTF-8, and an experiment is a text"))
    };
    let command = args.command.iter().map(words).collect::<Result<Vec<_>>>()?;
    let files = args.experiment.iter().cloned().collect();
    let order = Order::Run(Box::new(RunExperimentArgs { files, how, command }));
    run(&ExperimentArgs { order }, out)
}

fn decks(args: &FilesArgs) -> Result<Vec<Deck>> {
    // A file that wants a command is right without one, too: any will do to look at it.
    let some = vec!["COMMAND".to_owned()];
    let deck = |file: &std::path::PathBuf| {
        let text = Text::read(file)?;
        let text = translated(text)?;
        let wants = text.text.contains("${command}") && args.command.is_empty();
        Deck::of(text, if wants { &some } else { &args.command })
    };
    args.files.iter().map(deck).collect()
}

fn described(deck: &Deck) -> Value {
    let targets: Vec<&str> = deck.stage.targets.iter().map(|target| target.name.as_str()).collect();
    json!({
        "id": deck.id,
        "name": deck.experiment.name,
        "description": deck.experiment.description,
        "file": deck.text.path,
        "targets": targets,
        "faults": deck.compiled.plan.rules.len(),
        "phases": deck.experiment.phases.iter().map(|phase| &phase.name).collect::<Vec<_>>(),
        "checks": deck.stage.table.checks.len() + deck.stage.before.len(),
        "ports": deck.ports,
        "runs": deck.experiment.runs.unwrap_or(1),
        "deadline_seconds": deck.deadline.as_secs_f64(),
    })
}

fn line(deck: &Deck) -> String {
    let name = deck.experiment.name.as_ref().map(|name| format!("  {name}")).unwrap_or_default();
    let targets: Vec<&str> = deck.stage.targets.iter().map(|target| target.name.as_str()).collect();
    let (rules, runs) = (deck.compiled.plan.rules.len(), deck.experiment.runs.unwrap_or(1));
    let many = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!("{}{name}\n  {} on {}; {}\n", deck.id, many(rules as u64, "rule"), targets.join(", "), many(runs, "run"))
}

fn in_words(deck: &Deck) -> String {
    let mut text = line(deck);
    for target in &deck.stage.targets {
        let mut said = vec![if target.service { "a service" } else { "a task" }.to_owned()];
        said.extend(target.instances.filter(|count| *count > 1).map(|count| format!("{count} instances")));
        said.extend((!target.after.all.is_empty()).then(|| format!("after {}", target.after.all.join(", "))));
        said.extend(target.ready.as_ref().map(|ready| format!("ready when `{ready}`")));
        said.extend(match target.restart {
            Restart::Never => None,
            Restart::OnFailure => Some("started again when it fails".to_owned()),
            Restart::Always => Some("started again when it ends".to_owned()),
        });
        text += &format!("  {}: {}: {}\n", target.name, said.join(", "), target.command.all.join(" "));
    }
    if let Some(limit) = &deck.experiment.limit {
        text += &format!("  all together, where a cgroup can be had: {limit}\n");
    }
    if !deck.ports.is_empty() {
        text += &format!("  ports: {}: picked for each run, and written as 1 here\n", deck.ports.join(", "));
    }
    for phase in &deck.experiment.phases {
        let faults = if phase.faults.all.is_empty() { "no faults".into() } else { phase.faults.all.join(", ") };
        let lasting = phase.r#for.map_or_else(|| "to the end".into(), |lasting| lasting.to_string());
        text += &format!("  phase {}: {lasting}: {faults}\n", phase.name);
    }
    for check in deck
        .stage
        .before
        .iter()
        .map(|check| format!("before: {check}"))
        .chain(deck.stage.table.checks.iter().map(ToString::to_string))
    {
        text += &format!("  check {check}\n");
    }
    let mut rules = check::in_words(&deck.compiled.plan, deck.experiment.seed);
    if deck.stage.arms {
        rules = rules.replace("once `chaos-exec ctl arm` says so", "once everything is ready");
    }
    text + &rules + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::file::{Experiment, Phase, Pulse, Ramp, Target};
    use std::collections::BTreeSet;

    /// The keys that serde knows of a struct: it names them all when it meets another one.
    fn keys<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let wrong = serde_json::from_value::<T>(json!({"no such key": 1})).unwrap_err().to_string();
        wrong.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_the_keys_of_the_code() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let of = |pointer: &str| -> BTreeSet<String> {
            let map = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).as_object().unwrap();
            map.keys().cloned().collect()
        };
        assert_eq!(of("/properties"), keys::<Experiment>());
        assert_eq!(of("/$defs/target/properties"), keys::<Target>());
        assert_eq!(of("/$defs/phase/properties"), keys::<Phase>());
        assert_eq!(of("/$defs/phase/properties/ramp/properties"), keys::<Ramp>());
        assert_eq!(of("/$defs/phase/properties/pulse/properties"), keys::<Pulse>());
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["target"]["additionalProperties"], false);
    }
}

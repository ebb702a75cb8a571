//! `chaos-exec`: runs a program, makes its calls fail, and keeps a log of every fault.

#![deny(unsafe_code)]

mod ability;
mod actor;
mod backtrace;
mod capture;
mod check;
mod choice;
mod cli;
mod collect;
mod command;
mod console;
mod core_file;
mod coverage;
mod ctl;
mod deaths;
mod doctor;
mod engine;
mod episode;
mod error;
mod evidence;
mod exit_code;
mod experiment;
mod facts;
mod figures;
mod gate;
mod inventory;
mod judge;
mod kept_shim;
mod last_calls;
mod latency;
mod list;
mod load;
mod log;
mod log_events;
mod log_format;
mod log_reader;
mod metrics;
mod options;
mod outcome;
mod pool;
mod preload;
mod probe;
mod process;
mod program;
mod reach;
mod recoveries;
mod repeat;
mod report;
mod run;
mod scenario;
mod scene;
mod session;
mod session_file;
mod slots;
mod summary;
mod survey;
#[expect(unsafe_code, reason = "the one file that may: fork and exec, the robust mutex, what was inherited")]
mod sys;
mod tally;
#[cfg(test)]
mod testing;
mod tracer;
mod traits;
#[expect(unsafe_code, reason = "tries what only system calls can: a filter, its listener, another process")]
mod trial;
mod verify;
mod waits;
mod witness;

use clap::{CommandFactory, Parser, error::ErrorKind};
use cli::{Action, Cli};
use console::{Console, Level, Stdout};
use error::{Context, Failure, Result};
use exit_code::Exit;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let done = act(cli.action);
    let exit = done.unwrap_or_else(|failure| {
        Console::new(Level::Quiet).error(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

fn act(action: Action) -> Result<Exit> {
    let out = &mut Stdout::new();
    match action {
        Action::Run(args) if args.experiment.is_some() => return experiment::command::run_one(&args, out),
        Action::Run(args) => return run::run(&args),
        Action::Experiment(args) => return experiment::command::run(&args, out),
        Action::Scenario(args) => return scenario::run(&args, out),
        Action::Load(args) => return load::run(&args, out),
        Action::Guide => out.write_all(cli::GUIDE.as_bytes()).cannot("write to stdout")?,
        Action::Check(args) => check::run(&args, out)?,
        Action::Doctor(args) => return doctor::run(&args, out),
        Action::List(args) => list::run(&args, out)?,
        Action::Log(args) => log::run(&args, out)?,
        Action::Report(args) => return report::command::run(&args, out),
        Action::Ctl(args) => ctl::run(&args, out)?,
        Action::Inject(args) => experiment::inject::run(&args, out)?,
        Action::Merge(args) => return experiment::merge::run(&args, out),
        Action::Compare(args) => return experiment::compare::run(&args, out),
        Action::Shim(args) => {
            let doing = format!("write {}", args.output.display());
            session::write_atomically(&args.output, preload::SHIM, 0o755).cannot(doing)?;
        }
        Action::Completions { shell } => clap_complete::generate(shell, &mut Cli::command(), "chaos-exec", out),
        Action::Become { arguments } => return engine::helper(&arguments),
        Action::Man => manual(out).cannot("write to stdout")?,
    }
    out.flush().cannot("write to stdout")?;
    Ok(Exit::Target(0))
}

/// The manual: the page of the program, then a page for each subcommand.
fn manual(out: &mut dyn Write) -> std::io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for subcommand in command.get_subcommands() {
        clap_mangen::Man::new(subcommand.clone()).render(out)?;
    }
    Ok(())
}

/// Help goes to stdout with 0; a wrong command line is our failure, and 2 may be the target's own code.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::from(Exit::Target(0).code());
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => Console::new(Level::Quiet).error(&usage_failure(&error.to_string())),
    }
    ExitCode::from(Exit::OurFailure.code())
}

/// What clap says in several lines, in the shape of every other error.
fn usage_failure(text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    });
    let message = paragraphs.next().unwrap_or_default();
    let tip = paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ").map(str::to_owned));
    let tip = tip.map(|tips| tips.split(" tip: ").next().unwrap_or_default().to_owned());
    // `-- -1` would be a command, never the value of an option.
    let tip = tip.filter(|tip| !tip.contains("as a value, use"));
    Failure::new(message.strip_prefix("error: ").unwrap_or(&message))
        .help(tip.unwrap_or_else(|| "--help shows every option, with examples".into()))
}

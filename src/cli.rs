//! The command line.

use crate::experiment::Stage;
use crate::experiment::args::ExperimentArgs;
use crate::experiment::compare::CompareArgs;
use crate::experiment::inject::InjectArgs;
use crate::experiment::merge::MergeArgs;
use crate::load::LoadArgs;
use crate::scenario::ScenarioArgs;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// How to choose faults, read a report, and mend what it finds.
pub const GUIDE: &str = include_str!("guide.md");

/// Make the world fail under an unmodified program, and see whether it survives.
#[derive(Debug, Parser)]
#[command(
    name = "chaos-exec",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  chaos-exec run -f 'connect=ECONNREFUSED@30%' -- python3 agent.py
  chaos-exec run --chaos disk --rate 20% --seed 42 -- ./server
  chaos-exec run -t faults.yaml --timeout 2m --log run.jsonl -- make test
  chaos-exec check -f 'read=EIO@10%'   # what a fault or a table will do, in words
  chaos-exec log                       # every injection of the latest run
  chaos-exec run --help                # more of these
  chaos-exec help guide                # how to choose rates, read a report, and mend what it finds

Exit codes of run: the target's own; 128+N when signal N ended it; 122 the gate failed; 123 it is
inconclusive; 124 --timeout passed; 125 chaos-exec itself failed; 126 the command cannot be run;
127 it was not found."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a program and make its calls fail
    Run(Box<RunArgs>),
    /// Say what a fault table will do, or what is wrong with it
    Check(CheckArgs),
    /// Say whether a program can be reached here, by which engine, and what would escape
    Doctor(Box<DoctorArgs>),
    /// List what a fault table can name
    List(ListArgs),
    /// Print the log of a run: every injection, process and escape
    Log(LogArgs),
    /// Run experiments: several targets, a schedule, checks, many runs
    Experiment(Box<ExperimentArgs>),
    /// Run experiments from the library on any command
    Scenario(ScenarioArgs),
    /// Judge runs that are over: outcomes, figures, gates, as Markdown, JSON, CSV, JUnit or a page
    Report(ReportArgs),
    /// Steer a run that goes on: arm it, switch injection off and on, add and change rules, mark moments
    Ctl(CtlArgs),
    /// Let one fault happen in a run that goes on, in the words of other tools
    Inject(InjectArgs),
    /// Put the results of shards together, as if one machine had made all runs
    Merge(MergeArgs),
    /// Say what got worse between two results, and whether the numbers suffice to say so
    Compare(CompareArgs),
    /// Keep processors, memory or the disk busy until it is ended, as the scenarios of pressure do
    Load(LoadArgs),
    /// How to choose rates, read a report, mend what it finds, and what to do when nothing happens
    #[command(long_about = GUIDE, help_template = "{about-with-newline}", term_width = 0)]
    Guide,
    /// Write the shim, for LD_PRELOAD without the launcher
    Shim(ShimArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Internal: come under the seccomp engine, and become a program
    #[command(name = "_become", hide = true)]
    Become {
        /// See `engine::helper`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// `chaos-exec run`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # Three connections in ten are refused, the same ones for the same seed:
  chaos-exec run -f 'connect=ECONNREFUSED@30%' --seed 7 -- curl -s http://localhost:8000/
  # The third to fifth read of *.db fails, and half of the writes are short:
  chaos-exec run -f 'error calls=read path=*.db errno=EIO nth=3..5' -f 'write=short@50%' -- ./app
  # A name is not found; a server's answers are late:
  chaos-exec run -f 'dns to=api.example.com' -f 'latency calls=recv,read to=:5432 delay=200ms' -- ./app
  # By type of chaos, for the first minute:
  chaos-exec run --chaos network,disk --intensity stress --for 60s -- ./service
  # From a file, with a limit on the run and the log beside it:
  chaos-exec run -t faults.yaml --timeout 2m --log run.jsonl -- python3 agent.py

One fault is CALLS=EFFECT[@WHEN] (@30% a rate; @3, @3..5, @2..+3 which matches) or FAULT key=value ...
`chaos-exec list calls|faults|presets` shows what can be named; `chaos-exec check` explains a table.
The variables CHAOS_TABLE, CHAOS_SEED, CHAOS_TYPES, CHAOS_RATE ... are read first, then the tables, then the
options: faults add up, of every other setting the last one counts.")]
pub struct RunArgs {
    /// What shall fail.
    #[command(flatten)]
    pub faults: FaultArgs,

    /// End the whole tree after this long (TERM, 2 s later KILL) and exit 124
    #[arg(long, value_name = "DURATION", help_heading = "The run")]
    pub timeout: Option<String>,

    /// When the run is over: its first process has ended, or the whole tree has
    #[arg(long, value_name = "WHAT", default_value = "root", help_heading = "The run")]
    pub wait: Wait,

    /// How faults reach the program: by the shim that is preloaded, or by seccomp, which reaches any program
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "The run")]
    pub engine: Choice,

    /// Keep the session in this directory [default: $XDG_STATE_HOME/chaos-exec/ID]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The log")]
    pub out: Option<PathBuf>,

    /// Also write the log to this file, as JSON Lines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The log")]
    pub log: Option<PathBuf>,

    /// Write a report when it is over: .md .json .csv (injections) .episodes.csv .xml (JUnit) .sarif .html
    #[arg(long = "report", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The verdict")]
    pub reports: Vec<PathBuf>,

    /// Something that must be true of the run, such as 'exit codes=0,3' or 'file path=out.json is=json within=5s'
    #[arg(long = "check", value_name = "CHECK", help_heading = "The verdict")]
    pub checks: Vec<String>,

    /// Repeat it so often, with seeds derived from the seed, and pool the figures
    #[arg(long, value_name = "N", help_heading = "The verdict")]
    pub runs: Option<String>,

    /// Run it so often without faults first
    #[arg(long, value_name = "N", help_heading = "The verdict")]
    pub controls: Option<String>,

    /// Time the calls that the rules match, hit or not: P50, P95, P99, beside those of the controls, in which nothing is
    /// injected. A gate on latency asks for it as well
    #[arg(long, help_heading = "The verdict")]
    pub latency: bool,

    /// Where evidence of a failure goes [default: evidence/ in the session directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The verdict")]
    pub evidence: Option<PathBuf>,

    /// Follow the tree by ptrace, for the backtrace, maps and descriptors of a crash. Signals and forks get slower, and
    /// nothing in the tree can be debugged or traced
    #[arg(long, help_heading = "The verdict")]
    pub backtraces: bool,

    /// Follow the tree by ptrace and keep its last system calls as evidence of a failure. It stops at each of them, so it
    /// is many times slower in calls; has what --backtraces has as well
    #[arg(long, help_heading = "The verdict")]
    pub last_calls: bool,

    /// What this command prints after a failure is evidence as well
    #[arg(long, value_name = "COMMAND", help_heading = "The verdict")]
    pub evidence_command: Option<String>,

    /// Run this experiment file, as `experiment run` does
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The run", conflicts_with_all =
        ["tables", "faults", "chaos", "rate", "intensity", "lasting", "max_faults", "timeout", "checks", "controls", "log"])]
    pub experiment: Option<PathBuf>,

    /// Print the results of the experiment as JSON
    #[arg(long, help_heading = "Output", requires = "experiment")]
    pub json_output: bool,

    /// Internal: this is one of several runs
    #[arg(long, value_name = "ROLE", hide = true)]
    pub part: Option<Part>,

    /// What this run of an experiment is to do: no option, the runner says it.
    #[arg(skip)]
    pub stage: Option<Stage>,

    /// The shim that all runs of an experiment share: no option, the runner says it.
    #[arg(skip)]
    pub shared_shim: Option<PathBuf>,

    /// Internal: the session of the control to compare with
    #[arg(long, value_name = "DIR", hide = true)]
    pub control_session: Option<PathBuf>,

    /// Internal: look at the files that the run leaves
    #[arg(long, hide = true)]
    pub inventory: bool,

    /// What must hold, such as 'recovery>=90%,crashes=0,injections>=1', or production, or mars-rover; else exit 122, or 123
    /// where nothing was delivered or the figure was not measured
    #[arg(long = "gate", value_name = "CONDITIONS", help_heading = "The verdict")]
    pub gates: Vec<String>,

    /// Size of the session file that the tree shares, 1MB to 1GB [default: 4MB]
    #[arg(long, value_name = "SIZE", help_heading = "The log")]
    pub log_size: Option<String>,

    /// Inject no more once the log on disk has this size [default: 1GB]
    #[arg(long, value_name = "SIZE", help_heading = "The log")]
    pub log_limit: Option<String>,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,

    /// List the processes and injections at the end, up to 200 of them
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// The program and its arguments
    #[arg(required_unless_present = "experiment", trailing_var_arg = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// What shall fail.
#[derive(Debug, Default, Args)]
pub struct FaultArgs {
    /// A fault table: YAML, TOML or JSON; a later one adds to the earlier
    #[arg(short, long = "table", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Faults")]
    pub tables: Vec<PathBuf>,

    /// One fault, such as 'read=EIO@10%' or 'latency calls=connect delay=200ms'
    #[arg(short, long = "fault", value_name = "SPEC", help_heading = "Faults")]
    pub faults: Vec<String>,

    /// Presets by type of chaos, such as network,disk; see `list presets`
    #[arg(long, value_name = "TYPES", help_heading = "Faults")]
    pub chaos: Vec<String>,

    /// How often presets, and faults that do not say when, hit: 0..1 or a percentage such as 30%; or 2x, twice as often
    /// as these calls fail without us, which a first, slow run counts
    #[arg(long, value_name = "RATE", conflicts_with = "intensity", help_heading = "Faults")]
    pub rate: Option<String>,

    /// The rate by name: gentle 10%, realistic 30%, stress 50%, extreme 70%
    #[arg(long, value_name = "NAME", help_heading = "Faults")]
    pub intensity: Option<String>,

    /// The same seed gives the same faults [default: a random one, printed]
    #[arg(long, value_name = "NUMBER", help_heading = "Faults")]
    pub seed: Option<String>,

    /// Inject only so long after the start of the run, such as 60s
    #[arg(long = "for", value_name = "DURATION", help_heading = "Faults")]
    pub lasting: Option<String>,

    /// Inject at most so many faults in the whole tree
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub max_faults: Option<String>,
}

/// What one of several runs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Without faults.
    Control,
    /// Without faults, and its system calls are counted.
    Survey,
    /// With them.
    Run,
}

/// How faults reach a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// By what the program is
    Auto,
    /// By the shim: dynamic programs
    Preload,
    /// By the kernel, which asks the launcher about system calls: any program
    Seccomp,
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// When the first process has ended
    Root,
    /// When every process has ended
    Tree,
}

/// `chaos-exec check`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec check faults.yaml
  chaos-exec check -f 'read=EIO@10%' -f 'short path=*.db keep=10% nth=2..+3'
  chaos-exec check faults.yaml --json > table.json   # for CHAOS_TABLE=./table.json")]
pub struct CheckArgs {
    /// Fault tables: YAML, TOML or JSON
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "faults")]
    pub files: Vec<PathBuf>,

    /// One fault in a line, as for `run`
    #[arg(short, long = "fault", value_name = "SPEC")]
    pub faults: Vec<String>,

    /// Print the table as JSON, which the shim reads without the launcher
    #[arg(long)]
    pub json: bool,
}

/// `chaos-exec doctor`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec doctor ./agent
  chaos-exec doctor -t faults.yaml -- python3 agent.py    # which of these rules could fire in it
  chaos-exec doctor --json ./agent

It looks at the program without running it, and tries in a child what this kernel and container allow.
Exit codes: 0 it can be covered; 1 it cannot, or none of the rules could fire in it; 125 wrong options or a
wrong table; 126 the command cannot be run; 127 it was not found.")]
pub struct DoctorArgs {
    /// What shall fail.
    #[command(flatten)]
    pub faults: FaultArgs,

    /// As JSON, with the name of every call
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `chaos-exec list`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec list calls             # what `calls` can name, and which faults and errnos fit
  chaos-exec list faults            # which calls each fault fits
  chaos-exec list presets --json")]
pub struct ListArgs {
    /// What to list
    pub what: Listing,

    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// The calls that can fail, with their symbols, families and usual errnos
    Calls,
    /// The faults
    Faults,
    /// The presets for --chaos, as tables
    Presets,
    /// The language runtimes whose boot is left alone
    Runtimes,
}

/// `chaos-exec log`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec log                                  # the latest run, as text
  chaos-exec log --format jsonl | jq 'select(.type == \"injection\")'
  chaos-exec log /path/to/session -o run.csv --format csv
  chaos-exec log chaos.session                    # the CHAOS_LOG file of a run without the launcher

Works while the run goes on, and after the launcher or the target was killed.")]
pub struct LogArgs {
    /// A session: its directory, its mapped file, or its ID [default: the latest]
    #[arg(value_name = "SESSION", value_hint = ValueHint::AnyPath)]
    pub session: Option<PathBuf>,

    /// How to print it
    #[arg(long, default_value = "text")]
    pub format: Format,

    /// Write to this file [default: stdout]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// How a log is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each event, for reading
    Text,
    /// A JSON object for each event
    Jsonl,
    /// A row for each injection
    Csv,
}

/// `chaos-exec report`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec report                                        # the latest run, as Markdown
  chaos-exec report -o report.html -o report.xml
  chaos-exec report night/run-* --gate 'crashes=0,failed=0' -o night.json

Several sessions are pooled. Exit codes: 0; 122 the gate failed; 123 it is inconclusive; 125 a session is damaged.")]
pub struct ReportArgs {
    /// Sessions: their directories, mapped files or IDs; also of --runs [default: the latest]
    #[arg(value_name = "SESSION", value_hint = ValueHint::AnyPath)]
    pub sessions: Vec<PathBuf>,

    /// The results of the latest experiment with this id
    #[arg(long = "experiment-id", value_name = "ID", conflicts_with = "sessions")]
    pub experiment_id: Option<String>,

    /// Write to this file, in the form that its extension names [default: Markdown on stdout]
    #[arg(short, long = "output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub outputs: Vec<PathBuf>,

    /// What must hold, as for `run`; without conditions: production
    #[arg(long = "gate", value_name = "CONDITIONS", num_args = 0..=1, default_missing_value = "production")]
    pub gates: Vec<String>,
}

/// `chaos-exec ctl`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec ctl arm                  # the run, whose table says `arm: ctl`, begins to inject
  chaos-exec ctl disable              # no faults until `chaos-exec ctl enable`
  chaos-exec ctl add 'refuse name=db to=:5432 rate=30%'
  chaos-exec ctl set db rate=80% times=10
  chaos-exec ctl rm db                # its counts stay in the report
  chaos-exec ctl inject 'read=EIO'    # one read fails, the next one somewhere in the tree
  chaos-exec ctl mark 'load begins'   # stands in the log and in the timeline
  chaos-exec ctl ./my-session status  # the rules, with their names and numbers

It is in force within a millisecond in every process of the tree, and the log says what was changed when. `from`
and `for` of a rule count from the moment of the order. What a run does after a change depends on the moment, so
the same seed gives the same faults only up to there.")]
pub struct CtlArgs {
    /// A session: its directory, its mapped file, or its ID [default: the one that runs]
    #[arg(value_name = "SESSION", value_hint = ValueHint::AnyPath)]
    pub session: Option<PathBuf>,

    /// What to do
    #[command(subcommand)]
    pub order: Order,
}

/// What `ctl` can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Order {
    /// Say whether faults are injected now, and list the rules with what they have matched
    #[command(visible_alias = "list")]
    Status,
    /// Begin to inject, whatever sign the table waits for
    Arm,
    /// Inject no faults from now on; what hangs goes on
    Disable,
    /// Inject again
    Enable,
    /// Add a rule
    Add {
        /// One fault, as for `run`, such as 'read=EIO@10%'
        spec: String,
    },
    /// Take a rule away; its counts stay in the report
    Rm {
        /// Its name or number
        rule: String,
    },
    /// Change when a rule fires, or a number of it
    Set {
        /// Its name or number
        rule: String,
        /// Such as rate=10%, times=3, delay=200ms
        #[arg(required = true, value_name = "KEY=VALUE")]
        assignments: Vec<String>,
    },
    /// Write a moment into the log
    Mark {
        /// What happens then
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Let one fault happen, at the next call that matches
    Inject {
        /// One fault, as for `run`, such as 'connect=ECONNREFUSED'
        spec: String,
    },
}

/// `chaos-exec shim`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  chaos-exec shim -o libchaos_shim.so
  LD_PRELOAD=$PWD/libchaos_shim.so CHAOS_TABLE='read=EIO@10%' CHAOS_LOG=chaos.session ./program
  chaos-exec log chaos.session")]
pub struct ShimArgs {
    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = "libchaos_shim.so", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_is_well_formed_and_has_help_without_a_full_stop() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands() {
            for argument in sub.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty() && !help.ends_with('.'), "{} {}: '{help}'", sub.get_name(), argument.get_id());
            }
        }
    }
}

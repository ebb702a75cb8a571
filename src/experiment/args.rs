//! The command line of `chaos-exec experiment`.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// `chaos-exec experiment`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec experiment check shop.yaml
  chaos-exec experiment run shop.yaml --runs 50 --jobs 2 --report shop.html
  chaos-exec experiment run kill.yaml --seed 7 -- python3 agent.py   # the file says `command: \"${command}\"`

Exit codes of run: 0 all runs passed, or the gate holds, or with --stability enough; 122 not so; 123 nothing was delivered, or it cannot be
judged; 125 the file is wrong, or its targets could not be started; 128+N signal N ended it.")]
pub struct ExperimentArgs {
    /// What to do
    #[command(subcommand)]
    pub order: Order,
}

/// What `experiment` can do.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Say what experiments will do, or what is wrong with them
    Check(FilesArgs),
    /// List experiments: id, name, targets, faults, runs
    List(FilesArgs),
    /// Run them
    Run(Box<RunExperimentArgs>),
    /// End one that runs, at once: its servers too, with a report on what was done
    Abort {
        /// The directory of its results [default: the latest]
        #[arg(value_name = "ID", value_hint = ValueHint::AnyPath)]
        id: Option<PathBuf>,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
}

/// Files to look at.
#[derive(Debug, Args)]
pub struct FilesArgs {
    /// Experiment files: YAML, TOML or JSON
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// As JSON
    #[arg(long)]
    pub json_output: bool,

    /// The words that stand for ${command}
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// `chaos-exec experiment run`
#[derive(Debug, Args)]
pub struct RunExperimentArgs {
    /// Experiment files: YAML, TOML or JSON
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// How it is run.
    #[command(flatten)]
    pub how: HowArgs,

    /// The words that stand for ${command}
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<String>,
}

/// How experiments are run; what is given wins over the file.
#[derive(Clone, Debug, Default, Args)]
pub struct HowArgs {
    /// Run each so often, with seeds derived from the seed
    #[arg(long, value_name = "N")]
    pub runs: Option<String>,

    /// Look whether it ends alike: 50 runs, of which 98 % must pass; names those that do not by their seeds
    #[arg(long)]
    pub stability: bool,

    /// Make only this part of the runs, such as 2/4 [default: as Slurm, Kubernetes, GitLab, CircleCI or Buildkite says]
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,

    /// So many runs at once
    #[arg(long, value_name = "N")]
    pub jobs: Option<String>,

    /// Wait so long before each further run
    #[arg(long, value_name = "DURATION")]
    pub delay_between: Option<String>,

    /// The same seed gives the same faults and the same numbers of ranges [default: the file's, or a random one]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<String>,

    /// What becomes of the results.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// What becomes of the results of experiments.
#[derive(Clone, Debug, Default, Args)]
pub struct ResultsArgs {
    /// Keep the results in this directory [default: $XDG_STATE_HOME/chaos-exec/ID]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// What must hold of all runs together, instead of the experiment's own gate
    #[arg(long = "gate", value_name = "CONDITIONS")]
    pub gates: Vec<String>,

    /// Write a report when it is over, as for `run`
    #[arg(long = "report", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub reports: Vec<PathBuf>,

    /// Write figures, events, recoveries, a matrix and JUnit into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub export: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    pub json_output: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

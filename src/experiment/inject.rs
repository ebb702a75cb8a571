//! `chaos-exec inject`: one fault in the words of the common shape, into a run that goes on.

use super::common_shape::one_off;
use crate::cli::{CtlArgs, Order};
use crate::ctl;
use crate::error::Result;
use clap::{Args, ValueHint};
use std::io::Write;
use std::path::PathBuf;

/// `chaos-exec inject`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos-exec inject --fault latency --duration 5000 --target network
  chaos-exec inject --fault error --error-code ECONNRESET --message 'peer is gone' --target worker
  chaos-exec ctl inject 'error calls=write path=*.wal errno=EIO'    # the same, in the words of a table

The next call that matches is hit, once. `README.md`, Experiments, says what each type becomes.")]
pub struct InjectArgs {
    /// latency, error, timeout, partial_failure, resource_exhaustion or data_corruption
    #[arg(long, value_name = "TYPE")]
    pub fault: String,

    /// How long, for latency (500) and timeout (30000)
    #[arg(long, value_name = "MS")]
    pub duration: Option<u64>,

    /// What an error is: an errno by name or number
    #[arg(long, value_name = "N")]
    pub error_code: Option<String>,

    /// What the log says about it
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,

    /// What is hit: network, disk, memory, process, or the name of a program [default: what fits the type]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,

    /// The run: its directory, its mapped file, or its ID [default: the one that runs]
    #[arg(value_name = "SESSION", value_hint = ValueHint::AnyPath)]
    pub session: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// When the words do not fit together, or there is no such run.
pub fn run(args: &InjectArgs, out: &mut dyn Write) -> Result<()> {
    let spec = one_off(args)?;
    ctl::run(&CtlArgs { session: args.session.clone(), order: Order::Inject { spec } }, out)
}

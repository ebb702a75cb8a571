//! What the runner tells the launcher of one run: an experiment with everything filled in.

use super::file::Target;
use super::phases::Cue;
use chaos_table::checks::Check;
use chaos_table::schema::Table;
use std::path::PathBuf;

/// One run of an experiment.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What is started, in this order.
    pub targets: Vec<Target>,
    /// What fails, and the checks at the end and all along.
    pub table: Table,
    /// Whether injection waits until everything is ready.
    pub arms: bool,
    /// What must be true before anything fails.
    pub before: Vec<Check>,
    /// Phases that begin by a mark or a count.
    pub cues: Vec<Cue>,
    /// How long a run without a task goes on, in ns.
    pub lasting_ns: Option<u64>,
    /// The cgroup that its targets are in.
    pub group: Option<PathBuf>,
    /// Where its temporary files go.
    pub tmp: PathBuf,
    /// Where the outputs of the targets go.
    pub outputs: PathBuf,
    /// The command that repeats it.
    pub repeat: String,
}

impl Stage {
    /// The file to which the targets append figures that they know themselves.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.outputs.with_file_name("metrics")
    }
}

//! What the outer process tells the launcher of one run, as a file of JSON: an experiment with everything filled in.

use super::file::Target;
use super::phases::Cue;
use crate::error::{Context, Failure, Result, plain};
use chaos_table::checks::Check;
use chaos_table::schema::Table;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One run of an experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    #[serde(default)]
    pub cues: Vec<Cue>,
    /// How long a run without a task goes on, in ns.
    pub lasting_ns: Option<u64>,
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

    /// Reads what [`Stage::write`] has written.
    ///
    /// # Errors
    /// When it is not there, or damaged.
    pub fn read(path: &Path) -> Result<Stage> {
        let shown = path.display();
        let text =
            std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {shown}: {}", plain(&error))))?;
        serde_json::from_slice(&text).map_err(|error| Failure::new(format!("{shown} is damaged: {error}")))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).cannot("describe the run")?;
        std::fs::write(path, text).cannot(format_args!("write {}", path.display()))
    }
}

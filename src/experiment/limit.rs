//! What the targets of a run may have together, as a user writes it.

use crate::error::{Failure, Result};
use chaos_table::quantities::{Bandwidth, Bytes, Rate};
use serde::Deserialize;
use std::fmt;

/// With less no program gets as far as its start.
const LEAST_MEMORY: u64 = 4 << 20;
const LEAST_CPU: f64 = 0.01;

/// What all targets of a run have together. What is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a limit: a map such as {memory: 640MB, cpu: 50%}")]
pub struct Limit {
    /// Memory, with the pages of files that they use.
    pub memory: Option<Bytes>,
    /// A part of the machine's processors.
    pub cpu: Option<Rate>,
    /// What is read from the disk of their files, and what is written to it.
    pub disk: Option<Bandwidth>,
}

impl Limit {
    /// Refuses what nothing could run under.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn refuse_hopeless(&self) -> Result<()> {
        if self.memory.is_none() && self.cpu.is_none() && self.disk.is_none() {
            return Err(Failure::new("`limit` limits nothing").help("limit: {memory: 640MB, cpu: 50%, disk: 20MB/s}"));
        }
        if let Some(memory) = self.memory.filter(|memory| memory.0 < LEAST_MEMORY) {
            return Err(Failure::new(format!("`limit`: memory {memory} is too little for any program"))
                .help("4MB and up, for all targets of a run together"));
        }
        if let Some(part) = self.cpu.filter(|part| part.0 < LEAST_CPU) {
            return Err(Failure::new(format!("`limit`: cpu {part} is too little for any program"))
                .help("1% to 100% of all processors of the machine"));
        }
        Ok(())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [
            self.memory.map(|memory| format!("memory {memory}")),
            self.cpu.map(|part| format!("cpu {part}")),
            self.disk.map(|pace| format!("disk {pace}")),
        ];
        f.write_str(&given.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

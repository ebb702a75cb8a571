//! What a line of the log has: its kinds and their fields, named as in the JSON Lines.

use crate::session::End;
use crate::session_file::RuleLabel;
use serde::Serialize;

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// What was run.
    Start(Start),
    /// A process came under the table.
    Process(Process),
    /// A fault was injected.
    Injection(Box<Injection>),
    /// A call that had been made to fail succeeded again.
    Recovery(Recovery),
    /// A call on a resource that was made to fail: one that failed by itself, or one after the recovery.
    Attempt(Attempt),
    /// A child cannot be followed.
    Escape(Escape),
    /// A moment worth knowing.
    Mark(Mark),
    /// Something else worth knowing.
    #[serde(rename = "event")]
    Remark(Remark),
    /// What the program tells itself.
    #[serde(rename = "event")]
    Told(Told),
    /// How the run ended.
    End(End),
}

/// What was run; the fields are those of `session.json`, and documented there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Start {
    pub session: Option<String>,
    pub chaos_exec: Option<String>,
    pub started: Option<String>,
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_hex: Option<Vec<String>>,
    pub cwd: Option<String>,
    pub seed: Option<u64>,
    pub rules: Vec<RuleLabel>,
    pub table: Option<serde_json::Value>,
}

/// A process came under the table; a new program in the same process is a new line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// ns since the start of the run.
    pub at_ns: u64,
    /// As the process sees it.
    pub pid: u32,
    /// Its place in the tree: "0.2.1" is the first child of the second child of the root.
    pub lineage: String,
    /// Its program's name.
    pub process: String,
    /// Its program's path.
    pub executable: String,
    /// Number of the process image; a pid may come again, this does not.
    pub image: u32,
    /// Number of the image that made it.
    pub parent: Option<u32>,
    /// `preload`: the shim, inside it; `seccomp`: the launcher, which the kernel asks about its system calls; `both`: the
    /// latter, and the shim for what is no system call.
    pub engine: &'static str,
    /// As the record has it.
    #[serde(skip)]
    pub engine_number: u32,
}

/// A fault was injected.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Injection {
    /// From 1, in the order of the log.
    pub seq: u64,
    /// ns since the start of the run.
    pub at_ns: u64,
    /// Process of the caller.
    pub pid: u32,
    /// Thread of the caller.
    pub tid: u32,
    /// Place of the process in the tree.
    pub lineage: Option<String>,
    /// Its program's name.
    pub process: Option<String>,
    /// Name of the rule.
    pub rule: String,
    /// Kind of the fault.
    pub fault: String,
    /// The call that was hit; `launcher` when the launcher acted by itself.
    pub call: String,
    /// What the call failed with, when it failed.
    pub errno: Option<String>,
    /// What was done instead of failing the call.
    pub effect: Option<String>,
    /// Path, peer or name; what is no UTF-8 is replaced here.
    pub resource: Option<String>,
    /// The resource's bytes, when they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_hex: Option<String>,
    /// Which match of the rule it was.
    pub nth: u64,
    /// Bytes that were asked for, or ns of a delay.
    pub requested: u64,
    /// What the caller got; unknown when it never got anything.
    pub result: Option<i64>,
    /// Whether the caller saw the effect. One that waits sees it even if it never comes back.
    pub delivered: bool,
    /// The table's own label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The table's own label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Index of its record, which a recovery names.
    #[serde(skip)]
    pub index: u64,
    /// Number of the process image.
    #[serde(skip)]
    pub image: u32,
    /// Whether it blocks its caller, who has not come back.
    #[serde(skip)]
    pub blocked: bool,
    /// When it let its caller go on, of faults that take time, in ns since the start of the run.
    #[serde(skip)]
    pub ended_ns: Option<u64>,
}

/// A call that had been made to fail succeeded again; the fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    /// ns since the start of the run.
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    pub rule: String,
    pub call: String,
    /// What succeeded: the resource that was hit, or another member of its role.
    pub resource: Option<String>,
    /// `seq` of the injection that is got over; unknown when that is long ago.
    pub injection: Option<u64>,
    /// Calls on the resource by then into which no fault was injected, this one included.
    pub tries: u64,
    /// Index of that injection's record.
    #[serde(skip)]
    pub of: u64,
    /// Number of the process image.
    #[serde(skip)]
    pub image: u32,
}

/// A call, into which no fault was injected, on a resource that was made to fail; the fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Attempt {
    /// ns since the start of the run.
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    pub rule: String,
    pub call: String,
    /// What it failed with; none when it succeeded, after the recovery.
    pub errno: Option<String>,
    /// The how manieth such call it is, since the fault or since the recovery; of very many only some are told.
    pub number: u64,
    /// `seq` of the injection that began it; unknown when that is long ago.
    pub injection: Option<u64>,
    /// Index of that injection's record.
    #[serde(skip)]
    pub of: u64,
}

/// A child cannot be followed; the fields are those of a process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Escape {
    pub at_ns: u64,
    pub pid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    /// Why.
    pub reason: String,
    /// What is being run there.
    pub program: String,
    /// One of [`chaos_table::record::escaped`].
    #[serde(skip)]
    pub what: i32,
}

/// A moment worth knowing, such as that the tree was armed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mark {
    pub at_ns: u64,
    pub pid: u32,
    pub process: Option<String>,
    /// What happened.
    pub text: String,
}

/// What the program tells itself, by the functions of `chaos.h`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// Its own word, `recovery_begin`, `recovery_end`, or `metric`.
    pub event: String,
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub process: Option<String>,
    /// What of the program it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// `metric`: of what ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ... and how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

impl From<Told> for Mark {
    /// As it stands in a timeline.
    fn from(told: Told) -> Mark {
        let parts = [told.component, Some(told.event), told.data];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Mark { at_ns: told.at_ns, pid: told.pid, process: told.process, text }
    }
}

/// `unsuitable`: a fault that fired where no kernel could produce it, so it was not injected. `unwatched`: nobody will see
/// a recovery from an injection. The fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Remark {
    /// Which of them.
    pub event: String,
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub process: Option<String>,
    pub rule: String,
    pub fault: String,
    pub call: String,
    /// Why.
    pub reason: String,
    /// Index of the injection's record, of what is not watched.
    #[serde(skip)]
    pub of: Option<u64>,
}

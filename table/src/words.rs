//! Words of a fault table that are names of something: faults, calls, signals, ways.

use crate::calls::{CALLS, Direction, Family, FaultKind, Op};
use crate::errno;
use crate::error::{Problem, quoted};
use crate::presets::{self, Preset};
use crate::value::{Value, values};

impl Value for FaultKind {
    const EXPECTED: &'static str = "a fault such as error, latency or short";
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some((_, kind, _)) = FaultKind::ALL.iter().find(|(name, _, _)| *name == text) {
            return Ok(*kind);
        }
        Err(Problem::unknown("fault", text, FaultKind::ALL.iter().map(|(name, _, _)| *name)))
    }
    fn to_text(&self) -> String {
        self.name().to_owned()
    }
}

/// An entry of `calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallName {
    /// An operation, named by its name or by a libc symbol.
    Op(Op),
    /// All operations of a family that the fault fits.
    Family(Family),
}

impl Value for CallName {
    const EXPECTED: &'static str = "a call or a family such as read, open or network";
    const COMMAS: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::new("the name of a call is empty").help(Self::EXPECTED));
        }
        // `time` is the family, though libc has a function of that name as well.
        let named = Op::by_name(text).map(CallName::Op).or_else(|| Family::by_name(text).map(CallName::Family));
        if let Some(found) = named.or_else(|| Op::by_symbol(text).map(CallName::Op)) {
            return Ok(found);
        }
        let known = CALLS.iter().flat_map(|call| std::iter::once(call.name()).chain(call.symbols()));
        let known = known.chain(Family::ALL.iter().map(|(name, _)| *name));
        Err(Problem::unknown("call", text, known).or_help("`chaos-exec list calls` shows all of them"))
    }
    fn to_text(&self) -> String {
        match self {
            CallName::Op(op) => op.row().name().to_owned(),
            CallName::Family(family) => family.name().to_owned(),
        }
    }
}

impl Family {
    /// The name that a table uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, family)| *family == self).map_or("?", |(name, _)| name)
    }
}

/// A number of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Value for Signal {
    const EXPECTED: &'static str = "a signal such as KILL or 9";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = || errno::SIGNALS.iter().map(|(name, _)| name.strip_prefix("SIG").unwrap_or(name));
        errno::signal_by_name(text).map(Signal).ok_or_else(|| {
            Problem::unknown("signal", text, known()).or_help("such as KILL, TERM, SEGV or USR1; `kill -l` lists them")
        })
    }
    fn to_text(&self) -> String {
        let name = errno::signal_name(self.0).and_then(|name| name.strip_prefix("SIG"));
        name.map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

/// A name or label: any text on one line, at most 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(pub String);

impl Value for Label {
    const EXPECTED: &'static str = "a text";
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            return Err(Problem::new("the text is empty").help("leave the key out"));
        }
        if text.chars().any(char::is_control) {
            return Err(Problem::new(format!("{} holds a control character", quoted(text))));
        }
        if text.len() > 200 {
            return Err(Problem::new(format!("{} is too long", quoted(text))).help("at most 200 bytes"));
        }
        Ok(Label(text.to_owned()))
    }
    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// A preset that a table asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PresetName(pub &'static str);

impl PresetName {
    /// The preset; `None` cannot come out of a table that was read.
    #[must_use]
    pub fn preset(self) -> Option<&'static Preset> {
        presets::PRESETS.iter().find(|preset| preset.name == self.0)
    }
}

impl Value for PresetName {
    const EXPECTED: &'static str = "a preset such as network or disk";
    const COMMAS: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let text = if text == "disk_io" { "disk" } else { text };
        let known = || presets::PRESETS.iter().map(|preset| preset.name);
        known().find(|name| *name == text).map(PresetName).ok_or_else(|| Problem::unknown("preset", text, known()))
    }
    fn to_text(&self) -> String {
        self.0.to_owned()
    }
}

impl Value for Direction {
    const EXPECTED: &'static str = "direction: in out";
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "in" | "read" | "inbound" => Ok(Direction::In),
            "out" | "write" | "outbound" => Ok(Direction::Out),
            other => Err(Problem::unknown("direction", other, ["in", "out"].into_iter())),
        }
    }
    fn to_text(&self) -> String {
        match self {
            Direction::In => "in".to_owned(),
            Direction::Out => "out".to_owned(),
        }
    }
}

/// A closed set of words: an enum, and what a table calls its values.
macro_rules! choices {
    ($($(#[$doc:meta])* $type:ident $what:literal { $($(#[$value_doc:meta])* $value:ident = $word:literal $(| $alias:literal)*),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$value_doc])* $value),* }

        impl Value for $type {
            const EXPECTED: &'static str = concat!($what, ": ", $($word, " "),*);
            fn from_text(text: &str) -> Result<Self, Problem> {
                match text {
                    $($word $(| $alias)* => Ok($type::$value),)*
                    other => Err(Problem::unknown($what, other, [$($word),*].into_iter())),
                }
            }
            fn to_text(&self) -> String {
                match self { $($type::$value => $word.to_owned()),* }
            }
        }
    )*};
}

choices! {
    /// What a rule's counters are kept for.
    Per "scope of counting" {
        /// Each process.
        Process = "process",
        /// Each thread.
        Thread = "thread",
        /// The whole tree.
        Tree = "tree"
    }

    /// Shape of a delay.
    Distribution "distribution" {
        /// Always the same.
        Fixed = "fixed" | "constant",
        /// Evenly between delay - jitter and delay + jitter.
        Uniform = "uniform",
        /// Normal; jitter is the standard deviation.
        Normal = "normal" | "gaussian",
        /// At least the delay; jitter is the mean of what comes on top, with a long tail.
        Pareto = "pareto"
    }

    /// What a look-up answers.
    Answer "answer" {
        /// EAI_NONAME.
        NotFound = "not-found" | "not_found" | "nxdomain",
        /// EAI_AGAIN.
        TryAgain = "try-again" | "try_again" | "servfail",
        /// It blocks, for `for` or endlessly, then goes on.
        Hang = "hang" | "timeout"
    }

    /// How a connection ends.
    Mode "mode" {
        /// ECONNRESET.
        Reset = "reset",
        /// End of file.
        End = "end" | "eof"
    }

    /// What runs out.
    Resource "resource" {
        /// Bytes from the allocator.
        Memory = "memory",
        /// File descriptors.
        Files = "files" | "fds",
        /// Processes of the tree.
        Processes = "processes",
        /// Threads of a process.
        Threads = "threads",
        /// Bytes in files.
        Disk = "disk"
    }

    /// A clock that can be off.
    Clock "clock" {
        /// CLOCK_REALTIME and what follows it.
        Realtime = "realtime" | "wall",
        /// CLOCK_MONOTONIC and what follows it.
        Monotonic = "monotonic"
    }

    /// How a torn write ends.
    Then "ending" {
        /// The call fails.
        Fail = "fail",
        /// The process is killed.
        Kill = "kill"
    }

    /// How strong the presets are.
    Intensity "intensity" {
        /// 10 %.
        Gentle = "gentle",
        /// 30 %.
        Realistic = "realistic",
        /// 50 %.
        Stress = "stress",
        /// 70 %.
        Extreme = "extreme"
    }
}

values! { FaultKind CallName Signal Label PresetName Per Direction Distribution Answer Mode Resource Clock Then Intensity }

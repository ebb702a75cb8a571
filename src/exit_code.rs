//! What the launcher exits with. The one place where the numbers are.

use crate::gate::Ruling;

/// Why the launcher ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The target ended with this code.
    Target(u8),
    /// A signal ended the target.
    Signal(i32),
    /// `doctor`: the program cannot be covered.
    NotCovered,
    /// The gate does not hold.
    GateFailed,
    /// What the gate asks for is not known, or no fault was delivered.
    Inconclusive,
    /// `--timeout` passed.
    Timeout,
    /// The launcher's own failure; wrong arguments and a wrong fault table are among them.
    OurFailure,
    /// The command is there but cannot be run.
    CannotRun,
    /// The command was not found.
    NotFound,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Target(code) => code,
            // Signals are 1..=64.
            Exit::Signal(signal) => 128u8.wrapping_add(u8::try_from(signal).unwrap_or(0)),
            Exit::NotCovered => 1,
            Exit::GateFailed => 122,
            Exit::Inconclusive => 123,
            Exit::Timeout => 124,
            Exit::OurFailure => 125,
            Exit::CannotRun => 126,
            Exit::NotFound => 127,
        }
    }

    /// The exit of a run whose gate says this: our failures and the timeout come before it, the target's own end after.
    #[must_use]
    pub fn gated(self, ruling: Option<&Ruling>) -> Exit {
        match (self, ruling) {
            (Exit::OurFailure | Exit::Timeout | Exit::CannotRun | Exit::NotFound | Exit::NotCovered, _) => self,
            (_, Some(Ruling::Failed(_))) => Exit::GateFailed,
            (_, Some(Ruling::Inconclusive(_))) => Exit::Inconclusive,
            (exit, Some(Ruling::Passed(_)) | None) => exit,
        }
    }

    /// In words, for the summary.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Exit::Target(code) => format!("exit {code}"),
            Exit::Signal(signal) => match chaos_table::errno::signal_name(signal) {
                Some(name) => format!("killed by {name}"),
                None => format!("killed by signal {signal}"),
            },
            Exit::NotCovered => "not covered".into(),
            Exit::GateFailed => "gate failed".into(),
            Exit::Inconclusive => "gate inconclusive".into(),
            Exit::Timeout => "ended by --timeout".into(),
            Exit::OurFailure => "chaos-exec failed".into(),
            Exit::CannotRun | Exit::NotFound => "not started".into(),
        }
    }
}

//! Everything that the launcher says on stderr. Colour only on a terminal, and never with NO_COLOR.

use crate::error::Failure;
use anstyle::{AnsiColor, Style};
use std::io::Write;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How much the user wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Errors only.
    Quiet,
    /// Warnings and the summary.
    Normal,
    /// A line for each process and injection as well.
    Verbose,
}

/// What a line is, for its colour.
#[derive(Clone, Copy, Debug)]
pub enum Tone {
    /// An ordinary line.
    Plain,
    /// Less important.
    Faint,
    /// The user should look at it.
    Loud,
}

/// The launcher's voice. A closed stderr is no reason to fail, so what cannot be written is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    level: Level,
}

impl Console {
    /// A console that says as much as `level` asks for.
    #[must_use]
    pub fn new(level: Level) -> Console {
        Console { level }
    }

    /// How much it says.
    #[must_use]
    pub fn level(self) -> Level {
        self.level
    }

    /// Prints an error and its fix.
    pub fn error(self, failure: &Failure) {
        let Failure { message, help, .. } = failure;
        line(&format!("chaos-exec: {ERROR}error:{ERROR:#} {message}"));
        if let Some(help) = help {
            line(&format!("help: {help}"));
        }
    }

    /// Prints a warning.
    pub fn warning(self, message: &str) {
        if self.level >= Level::Normal {
            line(&format!("chaos-exec: {WARNING}warning:{WARNING:#} {message}"));
        }
    }

    /// Prints a line of the summary.
    pub fn say(self, tone: Tone, message: &str) {
        if self.level < Level::Normal {
            return;
        }
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Faint => DIM,
            Tone::Loud => WARNING,
        };
        line(&format!("chaos-exec: {style}{message}{style:#}"));
    }
}

fn line(text: &str) {
    // One write a line, so that lines of the target do not fall into it.
    let _ = anstream::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

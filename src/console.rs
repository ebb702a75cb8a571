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

/// The launcher's own stdout, for what it is asked to print. A reader that has gone ends the process with 0, as
/// `log | head` is no failure.
pub struct Stdout(std::io::StdoutLock<'static>);

impl Stdout {
    /// Takes stdout for the thread.
    #[must_use]
    pub fn new() -> Stdout {
        Stdout(std::io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(leave_if_unread)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(leave_if_unread)
    }
}

fn leave_if_unread(error: std::io::Error) -> std::io::Error {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    error
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

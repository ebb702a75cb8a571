//! The one shape of every error that a user sees: what is wrong, where, and what to do about it.

use crate::exit_code::Exit;
use chaos_table::error::TableError;
use std::fmt::Display;

/// An error that ends the launcher.
#[derive(Debug)]
pub struct Failure {
    /// What the launcher exits with.
    pub exit: Exit,
    /// What is wrong and where, on one line.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
}

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure of our own, exit code 125.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::OurFailure, message: message.into(), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// Says what the launcher exits with.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Failure {
        let place = error.place.map(|place| format!("{place}: ")).unwrap_or_default();
        let message = format!("{place}{}", error.message);
        Failure { exit: Exit::OurFailure, message, help: error.help }
    }
}

/// Turns another error into a [`Failure`] that says what was being done.
pub trait Context<T> {
    /// `doing` completes "cannot ...", for example `write /x/log.bin`.
    ///
    /// # Errors
    /// The failure, when there was one.
    fn cannot(self, doing: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn cannot(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| Failure::new(format!("cannot {doing}: {error}")))
    }
}

/// An I/O error without the "(os error 2)" or the path that Rust and others append.
#[must_use]
pub fn plain(error: &std::io::Error) -> String {
    // tempfile appends the path to what the system said.
    let text = error.to_string();
    error.raw_os_error().map_or_else(
        || text.split(" (os error").next().unwrap_or(&text).to_owned(),
        |code| nix::errno::Errno::from_raw(code).desc().to_owned(),
    )
}

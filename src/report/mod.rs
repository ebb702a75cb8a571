//! Reports: one pool of runs, in a form that the file's extension names.

pub mod command;
mod csv;
mod html;
mod html_times;
mod json;
mod junit;
mod markdown;
mod sarif;
mod timeline;

use crate::error::{Context, Failure, Result};
use crate::gate::Ruling;
use crate::log::Output;
use crate::pool::Pool;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A form of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For reading, and for pull requests.
    Markdown,
    /// For programs.
    Json,
    /// A row for each injection.
    Csv,
    /// A row for each episode.
    EpisodesCsv,
    /// For CI servers.
    Junit,
    /// For code scanning.
    Sarif,
    /// One page that needs nothing else.
    Html,
}

/// The end of a file's name, and the form that it stands for; the longer ones first.
const EXTENSIONS: [(&str, Form); 9] = [
    (".episodes.csv", Form::EpisodesCsv),
    (".sarif.json", Form::Sarif),
    (".sarif", Form::Sarif),
    (".json", Form::Json),
    (".md", Form::Markdown),
    (".csv", Form::Csv),
    (".xml", Form::Junit),
    (".html", Form::Html),
    (".htm", Form::Html),
];

/// A report that is to be written.
pub struct Wanted {
    form: Form,
    output: Output,
}

impl Wanted {
    /// Makes sure that a report can be written, before anything else is done.
    ///
    /// # Errors
    /// When its extension names no form, or its place cannot be written.
    pub fn create(path: &Path, option: &str) -> Result<Wanted> {
        let name = path.to_string_lossy().to_ascii_lowercase();
        let Some((_, form)) = EXTENSIONS.iter().find(|(extension, _)| name.ends_with(extension)) else {
            return Err(Failure::new(format!("{option}: the extension of {} names no form of report", path.display()))
                .help("one of .md .json .csv (injections) .episodes.csv .xml (JUnit) .sarif .html"));
        };
        Ok(Wanted { form: *form, output: Output::create(path, option)? })
    }

    /// The file that will become the report.
    #[must_use]
    pub fn temporary(&self) -> Option<&Path> {
        self.output.temporary()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When writing fails; the file is then as it was.
    pub fn write(self, report: &Report) -> Result<()> {
        let form = self.form;
        self.output.write(|out| render(form, report, out))
    }
}

/// Everything that a report speaks of.
pub struct Report<'a> {
    /// The runs.
    pub pool: &'a Pool,
    /// Their sessions, for what is read again line by line.
    pub sessions: &'a [PathBuf],
    /// What the gate says.
    pub ruling: Option<&'a Ruling>,
}

/// Writes a report in a form.
///
/// # Errors
/// When writing fails, or a session is gone.
pub fn render(form: Form, report: &Report, out: &mut dyn Write) -> Result<()> {
    let text = match form {
        Form::Csv => return csv::injections(report, out),
        Form::EpisodesCsv => return csv::episodes(report, out),
        Form::Markdown => markdown::render(report),
        Form::Json => json::render(report)?,
        Form::Junit => junit::render(report)?,
        Form::Sarif => sarif::render(report)?,
        Form::Html => html::render(report),
    };
    out.write_all(text.as_bytes()).cannot("write the report")
}

/// A text on one line, with what a terminal or a page could take for more made visible.
#[must_use]
pub fn plain(text: &str) -> String {
    // The marks that turn the direction of writing can make a text look like another one.
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if odd(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

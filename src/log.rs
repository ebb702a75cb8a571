//! `chaos-exec log`, and the JSON Lines file of `run --log`.

use crate::cli::{Format, LogArgs};
use crate::error::{Context, Failure, Result, plain};
use crate::log_events::Events;
use crate::log_format;
use crate::log_reader::Source;
use crate::session::{is_device, parent, through_links};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Prints the log of a session.
///
/// # Errors
/// When there is no such session, or part of it cannot be read: what can be read is printed first.
pub fn run(args: &LogArgs, out: &mut dyn Write) -> Result<()> {
    let source = Source::find(args.session.as_deref())?;
    let mut events = Events::of(&source)?;
    match &args.output {
        Some(path) => {
            let file = Output::create(path, "-o")?;
            file.fill(args.format, &mut events)?;
        }
        None => {
            let mut out = BufWriter::new(out);
            log_format::write(args.format, &mut events, &mut out)
                .and_then(|()| out.flush())
                .cannot("write to stdout")?;
        }
    }
    let damaged = events.damaged();
    let lost = match damaged {
        0 => None,
        1 => Some("1 damaged place of its log was left out".to_owned()),
        _ => Some(format!("{damaged} damaged places of its log were left out")),
    };
    match source.trouble.clone().or(lost) {
        Some(trouble) => Err(Failure::new(trouble).help("what could be read was printed")),
        None => Ok(()),
    }
}

/// A file that appears complete or not at all. What is no file - a device, a pipe - is written to as it stands.
pub struct Output {
    path: PathBuf,
    to: To,
}

enum To {
    /// Takes the place of the path at the end.
    File(NamedTempFile),
    /// Was there and must stay: putting a file in its place would take /dev/null from the whole machine.
    Device(File),
}

impl Output {
    /// Makes sure that the file can be written, before anything else is done.
    ///
    /// # Errors
    /// When it cannot; `option` says which option named it.
    pub fn create(path: &Path, option: &str) -> Result<Output> {
        let fail = |why: &str| {
            Failure::new(format!("{option}: cannot write {}: {why}", path.display()))
                .help("name a file in a directory that can be written")
        };
        if path == Path::new("-") {
            return Err(Failure::new(format!("{option}: stdout belongs to the target")).help("name a file"));
        }
        if path.is_dir() {
            return Err(fail("it is a directory"));
        }
        let path = through_links(path);
        let to = if is_device(&path) {
            OpenOptions::new().write(true).open(&path).map(To::Device)
        } else {
            let mut temporary = tempfile::Builder::new();
            // As any file that a program writes: the umask decides.
            temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            temporary.tempfile_in(parent(&path)).map(To::File)
        };
        let to = to.map_err(|error| fail(&plain(&error)))?;
        Ok(Output { path, to })
    }

    /// The file that will take the place of the path.
    #[must_use]
    pub fn temporary(&self) -> Option<&Path> {
        match &self.to {
            To::File(file) => Some(file.path()),
            To::Device(_) => None,
        }
    }

    /// Writes the events and puts the file in its place.
    ///
    /// # Errors
    /// When writing fails; the file is then as it was.
    pub fn fill(self, format: Format, events: &mut Events) -> Result<()> {
        let doing = format!("write {}", self.path.display());
        self.write(|out| log_format::write(format, events, out).cannot(doing))
    }

    /// Has the content written and puts the file in its place.
    ///
    /// # Errors
    /// When writing fails; the file is then as it was.
    pub fn write(self, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let Output { path, to } = self;
        let doing = format!("write {}", path.display());
        let mut out: BufWriter<&File> = BufWriter::new(match &to {
            To::File(file) => file.as_file(),
            To::Device(file) => file,
        });
        content(&mut out)?;
        out.flush().cannot(&doing)?;
        drop(out);
        match to {
            To::File(file) => file.persist(&path).map(drop).cannot(&doing),
            To::Device(_) => Ok(()),
        }
    }
}

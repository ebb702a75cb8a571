//! The command that is to be run: found as execvp finds it, before anything is made.

use crate::error::{Failure, Result};
use crate::exit_code::Exit;
use crate::program::Program;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A command that can be run.
#[derive(Debug)]
pub struct Command {
    /// The file that execve gets.
    pub path: PathBuf,
    /// Name and arguments, as the user wrote them.
    pub arguments: Vec<OsString>,
    /// What it is.
    pub program: Program,
}

impl Command {
    /// Finds the command: with a slash as a path, else in PATH.
    ///
    /// # Errors
    /// Exit 127 when there is no such file, 126 when there is one that cannot be run.
    pub fn find(arguments: &[OsString]) -> Result<Command> {
        let name = arguments.first().filter(|name| !name.is_empty()).ok_or_else(|| {
            Failure::new("the command is empty").help("name a program after --, for example: chaos-exec run -- ls")
        })?;
        let path = find_file(name)?;
        let program = Program::at(&path, arguments);
        Ok(Command { path, arguments: arguments.to_vec(), program })
    }

    /// The arguments as C strings.
    ///
    /// # Errors
    /// Never in practice: the system hands over no argument with a NUL inside.
    pub fn c_strings(&self) -> Result<(CString, Vec<CString>)> {
        let c_string = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| Failure::new("an argument of the command has a NUL byte inside"))
        };
        let arguments = self.arguments.iter().map(|argument| c_string(argument)).collect::<Result<_>>()?;
        Ok((c_string(self.path.as_os_str())?, arguments))
    }
}

/// The file that a name stands for: with a slash the path itself, else the first in PATH that can be run.
///
/// # Errors
/// As [`Command::find`].
pub fn find_file(name: &OsStr) -> Result<PathBuf> {
    if name.as_bytes().contains(&b'/') { look_at(name) } else { search_path(name) }
}

fn look_at(name: &OsStr) -> Result<PathBuf> {
    match why_not_runnable(Path::new(name)) {
        None => Ok(PathBuf::from(name)),
        Some(why) if why.not_found => Err(not_found(name, "there is no such file")),
        Some(why) => Err(cannot_run(Path::new(name), &why.text)),
    }
}

fn search_path(name: &OsStr) -> Result<PathBuf> {
    // What execvp searches when there is no PATH.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut refused = None;
    for dir in path.as_bytes().split(|byte| *byte == b':') {
        let dir = if dir.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(dir) };
        let candidate = Path::new(dir).join(name);
        match why_not_runnable(&candidate) {
            None => return Ok(candidate),
            Some(why) if why.not_found => {}
            Some(why) => refused = refused.or(Some((candidate, why.text))),
        }
    }
    match refused {
        Some((candidate, why)) => Err(cannot_run(&candidate, &why)),
        None => Err(not_found(name, "it is not in PATH")),
    }
}

struct Why {
    not_found: bool,
    text: String,
}

fn why_not_runnable(path: &Path) -> Option<Why> {
    let why = |not_found, text: String| Some(Why { not_found, text });
    match fs::metadata(path) {
        Err(error) => {
            let absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
            why(absent, crate::error::plain(&error))
        }
        Ok(meta) if meta.is_dir() => why(false, "it is a directory".into()),
        Ok(meta) if !meta.is_file() => why(false, "it is no ordinary file".into()),
        Ok(_) => match faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
            Ok(()) => None,
            Err(nix::errno::Errno::EACCES) => why(false, "it is not executable".into()),
            Err(error) => why(false, error.desc().into()),
        },
    }
}

fn not_found(name: &OsStr, why: &str) -> Failure {
    Failure::new(format!("cannot find the command '{}': {why}", name.display()))
        .exit(Exit::NotFound)
        .help("check its spelling, or give its path")
}

fn cannot_run(path: &Path, why: &str) -> Failure {
    let help = match why {
        "it is not executable" => format!("chmod +x {}, or run it with its interpreter", path.display()),
        _ => "name a program that can be run".into(),
    };
    Failure::new(format!("cannot run '{}': {why}", path.display())).exit(Exit::CannotRun).help(help)
}

/// The failure of an exec that the checks did not foresee.
#[must_use]
pub fn exec_failed(path: &Path, error: &std::io::Error) -> Failure {
    let interpreter = error.raw_os_error() == Some(libc::ENOENT);
    let why = if interpreter { "its interpreter is missing".into() } else { crate::error::plain(error) };
    cannot_run(path, &why)
}

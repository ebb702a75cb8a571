//! The command that is to be run: found as execvp finds it, before anything is made, and looked at for whether the
//! shim can reach it.

use crate::error::{Failure, Result};
use crate::exit_code::Exit;
use chaos_table::elf::{self, First};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Scripts name interpreters which may be scripts: as deep as the kernel goes.
const MAX_SCRIPTS: usize = 4;

/// A command that can be run.
#[derive(Debug)]
pub struct Command {
    /// The file that execve gets.
    pub path: PathBuf,
    /// Name and arguments, as the user wrote them.
    pub arguments: Vec<OsString>,
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
        let path = if name.as_bytes().contains(&b'/') { look_at(name)? } else { search_path(name)? };
        Ok(Command { path, arguments: arguments.to_vec() })
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

    /// The library that the program must load before the shim, if it has one.
    #[must_use]
    pub fn first_library(&self) -> Option<First> {
        first_library(&self.path, MAX_SCRIPTS)
    }

    /// Why the shim cannot reach this program, if it cannot.
    #[must_use]
    pub fn out_of_reach(&self) -> Option<String> {
        let shown = self.path.display();
        let reason = why_out_of_reach(&self.path, MAX_SCRIPTS)?;
        Some(format!("{shown} {reason}, so the shim cannot reach it; there is no engine for it in this version"))
    }
}

/// The library that a program must load before any other, if it has one; of a script, what its interpreter must.
fn first_library(path: &Path, depth: usize) -> Option<First> {
    let file = File::open(path).ok()?;
    let start = start_of(&file)?;
    if let Some(interpreter) = interpreter_of(&start) {
        return if depth == 0 { None } else { first_library(&interpreter, depth - 1) };
    }
    elf::first_library(&start, |buffer, at| file.read_at(buffer, at).unwrap_or(0))
}

fn start_of(file: &File) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    file.take(4096).read_to_end(&mut start).ok()?;
    Some(start)
}

/// What a script's first line names.
fn interpreter_of(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
    let interpreter = line.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    Some(PathBuf::from(OsString::from_vec(interpreter.to_vec())))
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

/// Follows `#!` lines at most `depth` times.
fn why_out_of_reach(path: &Path, depth: usize) -> Option<&'static str> {
    let file = File::open(path).ok()?;
    let mode = file.metadata().ok()?.permissions().mode();
    let other_owner =
        |meta: fs::Metadata| std::os::unix::fs::MetadataExt::uid(&meta) != nix::unistd::geteuid().as_raw();
    if mode & 0o4000 != 0 && file.metadata().is_ok_and(other_owner) {
        return Some("is setuid");
    }
    let start = start_of(&file)?;
    if let Some(interpreter) = interpreter_of(&start) {
        return if depth == 0 { None } else { why_out_of_reach(&interpreter, depth - 1) };
    }
    if !start.starts_with(b"\x7fELF") {
        return None;
    }
    const CLASS_64: u8 = 2;
    const X86_64: u16 = 62;
    if start.get(4) != Some(&CLASS_64) || number::<2>(&start, 18) != Some(u64::from(X86_64)) {
        return Some("is no x86-64 program");
    }
    (!has_interpreter(&file, &start)?).then_some("is statically linked")
}

/// Whether an ELF file asks for a dynamic loader; `None` when its headers make no sense.
fn has_interpreter(file: &File, start: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    let (at, size, count) = (number::<8>(start, 32)?, number::<2>(start, 54)?, number::<2>(start, 56)?);
    for index in 0..count {
        let mut kind = [0u8; 4];
        file.read_exact_at(&mut kind, at.checked_add(index * size)?).ok()?;
        if u64::from(u32::from_le_bytes(kind)) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

/// The little-endian number of `N` bytes at an offset.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + N)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

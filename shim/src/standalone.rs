//! Without a launcher: the first process reads the table from the environment and makes the session file.

use crate::init::{give_up, map};
use crate::session::Session;
use crate::{children, clock, sys};
use chaos_table::compile::{Context, compile};
use chaos_table::environment::{Environment, from_env};
use chaos_table::errno::errno_name;
use chaos_table::live::keeps_table;
use chaos_table::rule::flag;
use chaos_table::session::{SIZE_ALONE, Start, image};
use once_cell::sync::OnceCell;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The table of this run, parsed once, on the cold path.
static CONFIGURED: OnceCell<Environment> = OnceCell::new();

/// The session that CHAOS_ variables ask for when some are set; `None` when they ask for nothing. Errors end the process with 125.
#[cold]
#[inline(never)]
pub fn open_session() -> Option<&'static Session> {
    let environment = match from_env(std::env::vars_os()) {
        Ok(environment) => environment?,
        Err(error) => give_up(&error.to_string()),
    };
    let configured = CONFIGURED.get_or_init(|| environment);
    if configured.table.enabled == Some(false) {
        return None;
    }
    match make_session(configured) {
        Ok(opened) => Some(opened),
        Err(why) => give_up(&why),
    }
}

fn make_session(configured: &Environment) -> Result<&'static Session, String> {
    let work_dir = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let seed = configured.table.seed.map_or_else(random_seed, Ok)?;
    let context = Context { work_dir: &work_dir, seed };
    let compiled = compile(&configured.table, &context).map_err(|error| error.to_string())?;
    if let Some(rule) = compiled.plan.rules.iter().find(|rule| rule.has(flag::LAUNCHER)) {
        let name = compiled.plan.text_of(rule.name);
        return Err(format!(
            "CHAOS_TABLE: the rule {name} has no calls, so only a launcher could do it; use `chaos-exec run`, or give it `calls`"
        ));
    }
    let path = session_path(configured, &work_dir)?;
    let start =
        Start { has_launcher: false, mono_ns: clock::exact(), wall_ns: clock::wall(), owner_pid: sys::getpid() };
    let head = image(&compiled.plan, start, SIZE_ALONE)?;
    publish(&path, &head)?;
    // SAFETY: the constructor calls this.
    let name = unsafe { children::keep_session(path.as_os_str().as_bytes()) };
    let name = name.ok_or_else(|| "CHAOS_LOG: the path is longer than 1083 bytes, or holds a NUL".to_owned())?;
    let session = map(name).map_err(|why| {
        format!("CHAOS_LOG: {} is no session that can be shared: {why}; name another file", path.display())
    })?;
    if !is_same_table(&path, &head, configured.table.seed.is_some()) {
        return Err(format!(
            "CHAOS_LOG: {} belongs to a run with another table; remove it or name another file",
            path.display()
        ));
    }
    Ok(session)
}

fn session_path(configured: &Environment, work_dir: &Path) -> Result<PathBuf, String> {
    match &configured.log {
        Some(path) => Ok(work_dir.join(path)),
        None => {
            let name = format!("chaos-exec-{}-{:016x}.session", sys::getpid(), random_seed()?);
            Ok(std::env::temp_dir().join(name))
        }
    }
}

/// Whether the file that is there now holds the compiled table of `head`: ours, or that of a process which came first.
fn is_same_table(path: &Path, head: &[u8], seeded: bool) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut there = vec![0; head.len()];
    if file.read_exact_at(&mut there, 0).is_err() {
        return false;
    }
    // Each process without a seed of the table's drew one of its own; that of the first counts.
    keeps_table(head, &there, seeded)
}

/// Makes the file complete under another name, then links it to its own: whoever comes second finds it whole.
fn publish(path: &Path, head: &[u8]) -> Result<(), String> {
    let place = |error: std::io::Error| {
        let reason = error.raw_os_error().and_then(errno_name).map_or_else(|| error.to_string(), str::to_owned);
        format!(
            "CHAOS_LOG: {} cannot be made: {reason}; name a file where there is room and leave to write",
            path.display()
        )
    };
    let temporary = path.with_extension(format!("{}.new", sys::getpid()));
    let written = (|| {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let length = i64::try_from(SIZE_ALONE).unwrap_or(i64::MAX);
        // SAFETY: a descriptor that is open for writing.
        let code = unsafe { libc::posix_fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), 0, length) };
        if code != 0 {
            return Err(std::io::Error::from_raw_os_error(code));
        }
        file.write_all_at(head, 0)?;
        (&file).flush()?;
        match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = std::fs::remove_file(&temporary);
    written.map_err(place)?;
    removed.map_err(place)
}

fn random_seed() -> Result<u64, String> {
    let mut bytes = [0u8; 8];
    let fd = sys::open(c"/dev/urandom", libc::O_RDONLY, 0).map_err(|_| "/dev/urandom cannot be opened".to_owned())?;
    let n = sys::pread(fd, &mut bytes, 0);
    sys::close(fd);
    if n == 8 { Ok(u64::from_le_bytes(bytes)) } else { Err("/dev/urandom cannot be read".into()) }
}

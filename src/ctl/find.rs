//! Which session `ctl` steers: the one that is named, or the only one of the user's that runs.

use crate::console::{Console, Level};
use crate::error::{Context, Failure, Result};
use crate::log_reader::Source;
use crate::session::{LATEST, META, Meta, RUNS, state_dir};
use crate::session_file::SessionFile;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Sessions that an error lists.
const MAX_LISTED: usize = 8;

/// A session that can be steered, or looked at.
pub(super) struct Found {
    pub source: Source,
    pub file: SessionFile,
    pub console: Console,
}

impl Found {
    /// Its name and a colon, where it has one.
    pub fn id(&self) -> String {
        self.source.meta.as_ref().map(|meta| format!("{}: ", meta.id)).unwrap_or_default()
    }

    /// Whether nothing will be injected any more.
    pub fn is_over(&self) -> Result<bool> {
        let ended = self.source.meta.as_ref().is_some_and(|meta| meta.end.is_some());
        Ok(ended || self.file.is_over().cannot("read the session")?)
    }
}

/// Finds it. `look`: it is only looked at, so it may be over.
pub(super) fn session(named: Option<&Path>, look: bool) -> Result<Found> {
    let place = match named {
        Some(named) => Source::place(Some(named))?,
        None => the_running_one(look)?,
    };
    let opened = Source::find(Some(&place)).and_then(|source| source.control().map(|file| (source, file)));
    let (source, file) = opened.map_err(|failure| of_another(&place).unwrap_or(failure))?;
    let found = Found { source, file, console: Console::new(Level::Normal) };
    if !look {
        refuse_what_is_over(&found)?;
    }
    Ok(found)
}

/// Why a session could not be opened, when it is somebody else's.
fn of_another(place: &Path) -> Option<Failure> {
    let owner = fs::metadata(place).ok()?.uid();
    let me = nix::unistd::geteuid();
    (!me.is_root() && owner != me.as_raw()).then(|| {
        Failure::new(format!("{} belongs to another user (uid {owner})", place.display()))
            .help("give the order as that user, or as root")
    })
}

fn refuse_what_is_over(found: &Found) -> Result<()> {
    let read = "read the session";
    let (file, log) = (&found.file, "`chaos-exec log` shows what it did");
    if found.source.meta.as_ref().is_some_and(|meta| meta.end.is_some()) {
        return Err(Failure::new("the run is over, so there is nothing to steer").help(log));
    }
    if file.is_orphaned().cannot(read)? {
        return Err(Failure::new("the launcher of the run was killed, which has ended injection for good").help(log));
    }
    if file.is_over().cannot(read)? {
        return Err(Failure::new("injection has ended for good: the log has reached its limit, or the run is ending")
            .help("see --log-limit of `chaos-exec run`"));
    }
    let dead = |pid: &u32| i32::try_from(*pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
    if !file.has_launcher() && file.pids().cannot(read)?.iter().all(dead) {
        return Err(Failure::new("no process of the session is left, so there is nothing to steer").help(log));
    }
    Ok(())
}

/// The session of this user that runs, when there is one; of several none. To look at, the latest will do.
fn the_running_one(look: bool) -> Result<PathBuf> {
    let state = state_dir()?;
    let mut running: Vec<(String, PathBuf)> = Vec::new();
    let latest = fs::canonicalize(state.join(LATEST)).ok();
    let dirs = |place: &Path| {
        let entries = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| !path.is_symlink() && path.is_dir()).collect::<Vec<_>>()
    };
    // A place of several runs holds them, one of which may go on.
    let places = dirs(&state).into_iter().chain(latest.clone());
    let all = places.flat_map(|dir| if dir.join(RUNS).exists() { dirs(&dir) } else { vec![dir] });
    for dir in all {
        if !running.iter().any(|(_, known)| *known == dir)
            && let Some(meta) = running_meta(&dir)
        {
            running.push((meta.started, dir));
        }
    }
    running.sort();
    match (running.pop(), running.is_empty()) {
        (Some((_, dir)), true) => Ok(dir),
        (None, _) if look && latest.as_ref().is_some_and(|dir| !dir.join(RUNS).exists()) => Source::place(None),
        (None, _) => Err(match latest {
            Some(_) => Failure::new("no run of yours goes on, so there is nothing to steer")
                .help("name a session: its directory, its mapped file or its ID"),
            None => return Source::place(None),
        }),
        (Some(newest), false) => {
            let all = std::iter::once(newest).chain(running.into_iter().rev());
            let listed: Vec<String> = all.map(|(_, dir)| dir.display().to_string()).collect();
            let more = if listed.len() > MAX_LISTED { ", ..." } else { "" };
            let shown = listed.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", ");
            Err(Failure::new(format!("{} runs go on: {shown}{more}", listed.len()))
                .help("say which: chaos-exec ctl SESSION ..."))
        }
    }
}

/// The description of a session whose launcher lives.
fn running_meta(dir: &Path) -> Option<Meta> {
    let meta: Meta = serde_json::from_slice(&fs::read(dir.join(META)).ok()?).ok()?;
    if meta.end.is_some() || meta.session_file.is_empty() {
        return None;
    }
    let file = SessionFile::open(&dir.join(&meta.session_file)).ok()?;
    let owner = i32::try_from(file.header_now().ok()?.owner_pid).ok()?;
    let lives = kill(Pid::from_raw(owner), None) != Err(Errno::ESRCH);
    (lives && !file.is_orphaned().ok()?).then_some(meta)
}

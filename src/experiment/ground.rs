//! Where the places of an experiment's runs are: a directory for temporary files, gone with the runner. Of one that was
//! killed the next runner takes it away.

use super::cgroup;
use crate::error::{Context, Result};
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "chaos-places-";
/// Held by the runner, and by its runs as long as they go on: where it is free nobody lives.
const LOCK: &str = "lock";

/// The directory.
pub struct Ground {
    dir: TempDir,
    _lock: Flock<File>,
}

impl Ground {
    /// Makes one, and takes away those of this user's runners that were killed.
    ///
    /// # Errors
    /// When the directory for temporary files cannot be written.
    pub fn make() -> Result<Ground> {
        let doing = "make a place for the runs";
        let within = std::env::temp_dir();
        remove_dead(&within);
        cgroup::remove_dead();
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(within).cannot(doing)?;
        // Under another name until it is held: what is free may be taken away at any moment.
        let fresh = dir.path().join("fresh");
        let lock = Flock::lock(File::create_new(&fresh).cannot(doing)?, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|(_, error)| error).cannot(doing)?;
        fs::rename(&fresh, dir.path().join(LOCK)).cannot(doing)?;
        Ok(Ground { dir, _lock: lock })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn remove_dead(within: &Path) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let is_ours = entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
        if !is_ours || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let lock = OpenOptions::new().read(true).custom_flags(flags).open(entry.path().join(LOCK));
        let dead = lock.is_ok_and(|lock| Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok());
        if dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

//! The place of one run: a fresh copy of the work directory, a directory for temporary files, and the outputs.

use super::deck::Deck;
use super::file::FileSource;
use super::fill::Filling;
use super::results::{LOCK, RESULTS};
use crate::error::{Context, Failure, Result, plain};
use crate::session::{LOG, META};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What a work directory may hold: a copy of more is most likely a mistake.
const MOST_BYTES: u64 = 1 << 30;
const MOST_FILES: u64 = 100_000;

/// Directories of one run.
#[derive(Clone, Debug)]
pub struct Place {
    /// All of it.
    pub root: PathBuf,
    /// The copy of the work directory.
    pub work: PathBuf,
    /// For temporary files.
    pub tmp: PathBuf,
    /// For what the targets write.
    pub outputs: PathBuf,
}

impl Place {
    /// Makes the place, without anything in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(root: &Path) -> Result<Place> {
        let place =
            Place { root: root.into(), work: root.join("work"), tmp: root.join("tmp"), outputs: root.join("out") };
        for dir in [&place.root, &place.work, &place.tmp, &place.outputs] {
            fs::create_dir(dir).cannot(format_args!("make {}", dir.display()))?;
        }
        Ok(place)
    }

    /// Puts in what the experiment says.
    ///
    /// # Errors
    /// When something of it is not there, or too large.
    pub fn furnish(&self, deck: &Deck, filling: &Filling) -> Result<()> {
        let (experiment, dir) = (&deck.experiment, deck.text.dir());
        if let Some(work) = &experiment.work {
            let mut room = Room { spares_results: true, ..self.room() };
            room.copy(&dir.join(work), &self.work)?;
        }
        if experiment.files.is_empty() {
            return Ok(());
        }
        // With the numbers of this run.
        for (name, source) in deck.text.experiment(filling)?.files {
            let to = self.work.join(&name);
            let parent = crate::session::parent(&to);
            fs::create_dir_all(parent).cannot(format_args!("make {}", parent.display()))?;
            match source {
                FileSource::Text(text) => fs::write(&to, text).cannot(format_args!("write {name}"))?,
                FileSource::From(from) => {
                    self.room().copy(&dir.join(from), &to)?;
                }
            }
        }
        Ok(())
    }

    fn room(&self) -> Room {
        Room { bytes: MOST_BYTES, files: MOST_FILES, not: self.root.clone(), spares_results: false }
    }

    /// Takes it away.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.root);
    }

    /// Keeps it as evidence beside the session.
    pub fn keep(&self, session: &Path) {
        let to = session.join("place");
        if fs::rename(&self.root, &to).is_err() {
            let mut room = Room { not: to.clone(), ..self.room() };
            let _ = room.copy(&self.root, &to);
            self.clear();
        }
    }
}

/// Copies a directory with all that is in it.
///
/// # Errors
/// When something of it cannot be read, or written there.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    Room { bytes: u64::MAX, files: u64::MAX, not: to.to_owned(), spares_results: false }.copy(from, to)
}

/// How much more may be copied.
struct Room {
    bytes: u64,
    files: u64,
    /// What is not copied: the copy itself may lie in what is copied.
    not: PathBuf,
    /// Nor are results of experiments and sessions.
    spares_results: bool,
}

impl Room {
    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let unreadable = |error: std::io::Error| {
            Failure::new(format!("cannot copy {}: {}", from.display(), plain(&error)))
                .help("`work` and `files` name what each run gets a copy of")
        };
        let meta = fs::symlink_metadata(from).map_err(unreadable)?;
        let Some(files) = self.files.checked_sub(1) else { return Err(too_much(from)) };
        self.files = files;
        if meta.is_symlink() {
            let target = fs::read_link(from).map_err(unreadable)?;
            return symlink(target, to).map_err(unreadable);
        }
        if meta.is_file() {
            let Some(bytes) = self.bytes.checked_sub(meta.len()) else { return Err(too_much(from)) };
            self.bytes = bytes;
            return fs::copy(from, to).map(drop).map_err(unreadable);
        }
        // Sockets, pipes and devices are no content of a directory. Neither are results: each run would copy those of all
        // before it.
        let has = |names: [&str; 2]| names.iter().all(|name| from.join(name).exists());
        let are_results = || self.spares_results && (has([LOCK, RESULTS]) || has([META, LOG]));
        if !meta.is_dir() || from == self.not || are_results() {
            return Ok(());
        }
        match fs::create_dir(to) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(unreadable(error)),
            _ => {}
        }
        for entry in fs::read_dir(from).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            self.copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        let mode = meta.permissions().mode() | 0o700;
        fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(unreadable)
    }
}

fn too_much(from: &Path) -> Failure {
    Failure::new(format!("the work directory is too large to be copied for each run (at {})", from.display()))
        .help("name a smaller one with `work`, at most 1 GB and 100,000 files; ${here} names what is only read")
}

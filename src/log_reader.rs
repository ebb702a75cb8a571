//! Reads the records of a session: what was drained to `log.bin`, then what is still in the ring. Works while the run
//! goes on, after its launcher was killed, and on files that are damaged.

use crate::error::{Failure, Result, plain};
use crate::facts::Counted;
use crate::session::{LATEST, LOG, META, META_VERSION, Meta, RUNS, state_dir};
use crate::session_file::{RuleLabel, SessionFile};
use crate::slots::{MAX_SLOTS, Seen, commit_of, look, split_record};
use chaos_table::record::{CONT, OWN, Record, SLOT};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of `log.bin` that are read at once.
const BLOCK: usize = 1 << 16;

/// The files of a session, as far as they are there and sound.
#[derive(Debug)]
pub struct Source {
    /// What `session.json` says; a run without a launcher has none.
    pub meta: Option<Meta>,
    /// Names and labels of the rules.
    pub labels: Vec<RuleLabel>,
    /// The seed.
    pub seed: Option<u64>,
    /// What is wrong with the session, when part of it can still be read.
    pub trouble: Option<String>,
    dir: Option<PathBuf>,
    log: Option<PathBuf>,
    file: Option<PathBuf>,
}

impl Source {
    /// Finds a session by its directory, its mapped file or its id; the latest without any of them.
    ///
    /// # Errors
    /// When there is none, or nothing of it can be read.
    pub fn find(session: Option<&Path>) -> Result<Source> {
        let path = Source::place(session)?;
        if path.is_dir() { Source::of_dir(&path) } else { Source::of_file(&path) }
    }

    /// Where a session is: as [`Source::find`] looks for it.
    ///
    /// # Errors
    /// When there is none.
    pub fn place(session: Option<&Path>) -> Result<PathBuf> {
        match session {
            Some(path) if path.exists() => Ok(path.to_owned()),
            Some(id) if id.components().count() == 1 => by_id(id),
            Some(path) => Err(nothing_there(path)),
            None => latest(),
        }
    }

    fn of_dir(dir: &Path) -> Result<Source> {
        let meta_path = dir.join(META);
        let text = fs::read(&meta_path).map_err(|error| match error.kind() {
            ErrorKind::NotFound if dir.join(RUNS).exists() => {
                Failure::new(format!("{} holds several runs, each with a log of its own", dir.display()))
                    .help("name one of them, such as its run-1; `chaos-exec report` takes all together")
            }
            ErrorKind::NotFound => Failure::new(format!("{} holds no session", dir.display()))
                .help(format!("a session directory has a {META}; `chaos-exec log` without a name takes the latest")),
            _ => Failure::new(format!("cannot read {}: {}", meta_path.display(), plain(&error))),
        })?;
        if text.is_empty() {
            return Err(Failure::new(format!("{} is empty: the run had not begun", meta_path.display()))
                .help("its launcher is at it, or was killed before it started the command"));
        }
        let meta: Meta = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("{} is damaged: {error}", meta_path.display()))
                .help("the mapped file itself can be given instead: chaos-exec log DIR/session")
        })?;
        if meta.version != META_VERSION {
            let (path, version) = (meta_path.display(), meta.version);
            return Err(Failure::new(format!("{path} is of version {version}, not {META_VERSION}"))
                .help("read it with the chaos-exec that wrote it"));
        }
        let file = dir.join(&meta.session_file);
        let log = Some(dir.join(LOG)).filter(|log| log.exists());
        if meta.session_file.is_empty() {
            // Drained to the end and taken away, as one of many runs.
            let (labels, seed, dir) = (meta.rules.clone(), Some(meta.seed), Some(dir.to_owned()));
            return Ok(Source { labels, seed, meta: Some(meta), trouble: None, dir, log, file: None });
        }
        let trouble = match SessionFile::open(&file).and_then(|session| session.check_ring()) {
            Ok(()) => None,
            Err(why) if log.is_none() => return Err(damaged(&file, &why)),
            Err(why) => Some(damaged(&file, &why).message),
        };
        let file = Some(file).filter(|_| trouble.is_none());
        let mut labels = meta.rules.clone();
        if let Some(now) = file.as_ref().filter(|_| meta.end.is_none()).and_then(|file| SessionFile::open(file).ok()) {
            // Rules that were added while the run goes on.
            labels.extend(now.labels().unwrap_or_default().into_iter().skip(meta.rules.len()));
        }
        let (seed, dir) = (Some(meta.seed), Some(dir.to_owned()));
        Ok(Source { labels, seed, meta: Some(meta), trouble, dir, log, file })
    }

    /// A mapped file that belongs to a directory is read with it, since most of the log is there.
    fn of_file(file: &Path) -> Result<Source> {
        let opened = SessionFile::open(file);
        let home = std::path::absolute(file).ok().and_then(|path| Some(path.parent()?.to_owned()));
        if let Some(source) = home.and_then(|home| Source::of_dir(&home).ok())
            && source.meta.as_ref().is_some_and(|meta| Some(meta.session_file.as_ref()) == file.file_name())
        {
            return Ok(source);
        }
        let session = opened.map_err(|why| damaged(file, &why))?;
        let read = |error: std::io::Error| damaged(file, &error.to_string());
        session.check_ring().map_err(|why| damaged(file, &why))?;
        let (labels, seed) = (session.labels().map_err(read)?, session.seed().map_err(read)?);
        let drained = session.tail().map_err(read)?;
        let trouble = (drained > 0).then(|| {
            format!("{}: its first {drained} records are in the {LOG} of its session directory", file.display())
        });
        Ok(Source { meta: None, labels, seed: Some(seed), trouble, dir: None, log: None, file: Some(file.to_owned()) })
    }

    /// The session directory, for a run that had a launcher.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// What the tree has counted for each rule, as far as the mapped file can be read.
    #[must_use]
    pub fn counted(&self) -> Vec<Counted> {
        let opened = self.file.as_ref().and_then(|file| SessionFile::open(file).ok());
        let counters = opened.and_then(|file| file.counters(self.labels.len()).ok()).unwrap_or_default();
        counters.into_iter().map(Counted::from).collect()
    }

    /// The mapped file, to write to it.
    ///
    /// # Errors
    /// When it belongs to somebody else, or is damaged.
    pub fn control(&self) -> Result<SessionFile> {
        let Some(file) = &self.file else {
            let over = self.meta.as_ref().is_some_and(|meta| meta.end.is_some());
            let why = if over {
                "the run is over, and its mapped file was not kept"
            } else {
                "the session has no mapped file"
            };
            return Err(Failure::new(self.trouble.clone().unwrap_or_else(|| why.into()))
                .help("`chaos-exec log` shows what it did"));
        };
        let opened = File::options().read(true).write(true).open(file).map_err(|error| plain(&error));
        opened.and_then(SessionFile::from_file).map_err(|why| damaged(file, &why))
    }

    /// A reader at the start of the log.
    ///
    /// # Errors
    /// When a file that was there is gone.
    pub fn reader(&self) -> Result<LogReader> {
        let open = |path: &PathBuf| {
            File::open(path).map_err(|error| Failure::new(format!("cannot read {}: {}", path.display(), plain(&error))))
        };
        let session = match &self.file {
            Some(file) => Some(SessionFile::open(file).map_err(|why| damaged(file, &why))?),
            None => None,
        };
        let log = self.log.as_ref().map(open).transpose()?;
        Ok(LogReader { log, offset: 0, block: Vec::new(), block_at: 0, session, next: 0, damaged: 0 })
    }
}

fn damaged(file: &Path, why: &str) -> Failure {
    Failure::new(format!("{} cannot be read: {why}", file.display()))
        .help("give the directory or the mapped file of a session that this version of chaos-exec has made")
}

fn nothing_there(path: &Path) -> Failure {
    Failure::new(format!("there is no session at {}", path.display()))
        .help("`chaos-exec log` without a name takes the latest session")
}

fn by_id(id: &Path) -> Result<PathBuf> {
    let state = state_dir()?;
    let path = state.join(id);
    if path.is_dir() {
        return Ok(path);
    }
    let entries = fs::read_dir(&state).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let nearest = chaos_table::nearest(&id.to_string_lossy(), names.iter().map(String::as_str)).map(str::to_owned);
    let failure = Failure::new(format!("there is no session '{}' in {}", id.display(), state.display()));
    Err(match nearest {
        Some(name) => failure.help(format!("did you mean '{name}'?")),
        None => failure.help("`chaos-exec log` without a name takes the latest session"),
    })
}

fn latest() -> Result<PathBuf> {
    let link = state_dir()?.join(LATEST);
    fs::canonicalize(&link).map_err(|_| {
        Failure::new(format!("there is no session yet: {} points nowhere", link.display()))
            .help("run something first, for example: chaos-exec run -f 'read=EIO@10%' -- cat FILE")
    })
}

/// Reads record after record.
pub struct LogReader {
    log: Option<File>,
    /// Of the next record in `log.bin`.
    offset: u64,
    block: Vec<u8>,
    block_at: u64,
    session: Option<SessionFile>,
    /// Ring index after the last record that was read; whatever is before it comes twice.
    next: u64,
    damaged: u64,
}

impl LogReader {
    /// How many places of `log.bin` made no sense, when everything has been read.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        // A launcher that is killed while it writes leaves part of a record, which the ring still has.
        let rest = usize::try_from(self.offset - self.block_at).ok().and_then(|at| self.block.get(at..));
        let in_the_ring = |rest: &[u8]| commit_of(rest).wrapping_sub(1) < self.next;
        let cut = rest.is_some_and(|rest| rest.len() >= 8 && !in_the_ring(rest));
        self.damaged + u64::from(cut)
    }

    /// The next record with its ring index and text.
    pub fn next_record(&mut self) -> Option<(u64, Record, Vec<u8>)> {
        loop {
            let len = self.log_len();
            if let Some(found) = self.next_in_log() {
                return Some(found);
            }
            let found = self.next_in_ring();
            // A launcher that drains meanwhile moves records from the ring to the log: look there again.
            if found.is_some() || self.log_len() <= len {
                return found;
            }
        }
    }

    fn log_len(&self) -> u64 {
        self.log.as_ref().and_then(|log| log.metadata().ok()).map_or(0, |meta| meta.len())
    }

    /// Reads on from `offset`, unless all that there is has been read; how many bytes there are from there.
    fn refill(&mut self) -> usize {
        let at_hand = self.block_at + self.block.len() as u64 - self.offset;
        let Some(log) = self.log.as_ref().filter(|_| self.log_len() > self.offset + at_hand) else {
            // At most a block.
            return at_hand as usize;
        };
        self.block.resize(BLOCK, 0);
        let mut filled = 0;
        while filled < BLOCK {
            match log.read_at(&mut self.block[filled..], self.offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.block.truncate(filled);
        self.block_at = self.offset;
        filled
    }

    fn next_in_log(&mut self) -> Option<(u64, Record, Vec<u8>)> {
        self.log.as_ref()?;
        loop {
            let at = usize::try_from(self.offset - self.block_at).ok()?;
            let at_hand = self.block.len().saturating_sub(at);
            if at_hand < MAX_SLOTS * SLOT && self.refill() < SLOT {
                return None;
            }
            let at = usize::try_from(self.offset - self.block_at).ok()?;
            let rest = &self.block[at..];
            let commit = commit_of(rest);
            let taken = match look(rest, commit.wrapping_sub(1)) {
                Seen::Complete(taken) | Seen::Unfinished(taken, _) if commit & CONT == 0 && commit != 0 => taken,
                // Cut short; the ring has it when the launcher was killed while it wrote.
                Seen::Beyond => return None,
                _ => {
                    self.damaged += 1;
                    self.offset += SLOT as u64;
                    continue;
                }
            };
            let found = split_record(rest).map(|(record, text, _)| (commit - 1, record, text));
            self.offset += (taken * SLOT) as u64;
            if commit & OWN != 0 {
                return found;
            }
            if commit > self.next {
                self.next = commit - 1 + taken as u64;
                return found;
            }
        }
    }

    fn next_in_ring(&mut self) -> Option<(u64, Record, Vec<u8>)> {
        let session = self.session.as_ref()?;
        let (head, tail) = (session.head().ok()?, session.tail().ok()?);
        session.check_ring().ok()?;
        let mut index = self.next.max(tail);
        let mut slots = [0u8; MAX_SLOTS * SLOT];
        while index < head {
            // At most MAX_SLOTS.
            let count = (head - index).min(MAX_SLOTS as u64) as usize;
            let slots = &mut slots[..count * SLOT];
            session.read_slots(index, slots).ok()?;
            if let Seen::Complete(taken) | Seen::Unfinished(taken, _) = look(slots, index) {
                self.next = index + taken as u64;
                return split_record(slots).map(|(record, text, _)| (index, record, text));
            }
            if session.tail().ok()? > index {
                return None;
            }
            // Claimed by a writer that died, or that is about to publish.
            index += 1;
        }
        None
    }
}

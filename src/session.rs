//! The session directory: made before the target starts, completed at its end, and gone again when nothing started.
//!
//! `session.json` says what was run, `session` is the file that the tree maps, `log.bin` holds what was drained. The
//! mapped file and the shim lie in the same directory when the tree can reach them there, else in a private one.

use crate::error::{Context, Failure, Result, plain};
use crate::kept_shim;
use crate::session_file::RuleLabel;
use chaos_table::session::HELPER;
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Name of the description in a session directory; its presence marks one.
pub const META: &str = "session.json";
/// Version of its layout; another one is not read.
pub const META_VERSION: u32 = 1;
/// Name of the drained log in a session directory.
pub const LOG: &str = "log.bin";
/// Name of the list of runs, in a directory that holds several.
pub const RUNS: &str = "runs.json";
/// Name of the link to the newest session.
pub const LATEST: &str = "latest";
/// Name of the unpacked shim.
const SHIM_FILE: &str = "libchaos_shim.so";
/// Where a tree can reach files when the session directory is out of its reach.
const ELSEWHERE: [&str; 2] = ["/tmp", "/var/tmp"];

/// Whether a run in this directory has begun: until then `session.json` is empty, and only holds the place.
#[must_use]
pub fn has_begun(dir: &Path) -> bool {
    fs::metadata(dir.join(META)).is_ok_and(|meta| meta.len() > 0)
}

/// What `session.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Version of this description.
    pub version: u32,
    /// Name of the session.
    pub id: String,
    /// Which chaos-exec made it.
    pub chaos_exec: String,
    /// The command; what is no UTF-8 is replaced here, `command_hex` has it.
    pub command: Vec<String>,
    /// The command's bytes, when it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_hex: Option<Vec<String>>,
    /// The launcher's working directory.
    pub cwd: String,
    /// The seed of every decision.
    pub seed: u64,
    /// The fault table, as the shim would read it.
    pub table: serde_json::Value,
    /// Names and labels of the rules.
    pub rules: Vec<RuleLabel>,
    /// When the run started, RFC 3339.
    pub started: String,
    /// The mapped file: a name in the session directory, or an absolute path.
    pub session_file: String,
    /// Pid of the target's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_pid: Option<i32>,
    /// How it ended; absent while it runs, and when the launcher was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// When, RFC 3339.
    pub ended: String,
    /// ns since the start.
    pub at_ns: u64,
    /// What the launcher exited with.
    pub exit_code: u8,
    /// The same in words.
    pub outcome: String,
    /// Injections recorded.
    pub fired: u64,
    /// Injections whose effect the caller saw.
    pub delivered: u64,
    /// Faults that did not happen because the log was full.
    pub suppressed: u64,
    /// Children that could not be followed.
    pub escapes: u64,
    /// Processes that came under the table.
    pub processes: u64,
    /// Processes that outlived the root process.
    pub survivors: u64,
}

/// A session directory under construction or in use.
#[derive(Debug)]
pub struct Session {
    /// The directory.
    pub dir: PathBuf,
    /// Where the mapped file and the shim are.
    live: PathBuf,
    /// The mapped file.
    pub file: PathBuf,
    /// The unpacked shim.
    pub shim: PathBuf,
    /// Its name.
    pub id: String,
    /// What was made, for taking it away again; the newest last.
    made: Vec<PathBuf>,
    kept: bool,
}

/// The files of a new session.
pub struct Files {
    /// The mapped file, open for reading and writing.
    pub session: File,
    /// The drained log, open for appending.
    pub log: File,
}

impl Session {
    /// Makes the directory, claims it, and unpacks the shim, unless there is one already that several sessions share.
    ///
    /// # Errors
    /// When the directory is in use, read-only or full; nothing is left then.
    pub fn create(out: Option<&Path>, shim: &[u8], shared: Option<&Path>) -> Result<Session> {
        let id = new_id()?;
        let dir = match out {
            Some(dir) => std::path::absolute(dir).cannot(format_args!("use {}", dir.display()))?,
            None => state_dir()?.join(&id),
        };
        let mut session = Session {
            live: dir.clone(),
            file: PathBuf::new(),
            shim: PathBuf::new(),
            dir,
            id,
            made: Vec::new(),
            kept: false,
        };
        session.make_dir()?;
        session.choose_live_dir()?;
        let name = if is_root() { format!("session-{}", random_hex(16)?) } else { "session".into() };
        session.file = session.live.join(name);
        if let Some(shared) = shared {
            session.shim = shared.to_owned();
            return Ok(session);
        }
        session.shim = session.live.join(SHIM_FILE);
        let path = session.shim.clone();
        if kept_shim::link(&path, shim) {
            session.made.push(path);
        } else {
            session.write_new(&path, shim_mode(), shim)?;
        }
        Ok(session)
    }

    /// Lets shims find the launcher, to hand programs over to it. Where that cannot be, they let them go.
    pub fn link_helper(&mut self) {
        let link = self.live.join(HELPER);
        if std::env::current_exe().is_ok_and(|launcher| symlink(launcher, &link).is_ok()) {
            self.made.push(link);
        }
    }

    fn make_dir(&mut self) -> Result<()> {
        let use_another = "give a directory that can be written with --out DIR";
        if self.dir.join(META).symlink_metadata().is_ok() {
            return Err(Failure::new(format!("{} already holds a session", self.dir.display()))
                .help("give another directory with --out DIR, or remove that one"));
        }
        let mut missing: Vec<&Path> = self.dir.ancestors().take_while(|dir| !dir.exists()).collect();
        missing.reverse();
        let missing: Vec<PathBuf> = missing.into_iter().map(Path::to_owned).collect();
        for dir in missing {
            let fail = |error: std::io::Error| {
                Failure::new(format!("cannot make the session directory {}: {}", dir.display(), plain(&error)))
                    .help(use_another)
            };
            match DirBuilder::new().mode(dir_mode()).create(&dir) {
                Ok(()) => {}
                // Another run has just made a common parent.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() && dir != self.dir => continue,
                Err(error) => return Err(fail(error)),
            }
            // The umask must not take away what the tree needs, nor leave more than it should.
            fs::set_permissions(&dir, Permissions::from_mode(dir_mode())).map_err(fail)?;
            self.made.push(dir);
        }
        // Claims the directory; two runs cannot both do this.
        self.write_new(&self.dir.join(META), 0o600, b"")
    }

    /// The tree must be able to open the shim and the session from wherever it goes, as whoever it becomes.
    fn choose_live_dir(&mut self) -> Result<()> {
        let ours = self.made.contains(&self.dir);
        if is_reachable(&self.dir) && (ours || !is_root()) {
            return Ok(());
        }
        // As root in a directory that others may list: one of our own, whose names they cannot learn.
        let parents = [self.dir.as_path()].into_iter().chain(ELSEWHERE.map(Path::new));
        for parent in parents.filter(|parent| is_reachable(parent)) {
            let dir = parent.join(format!("chaos-exec-{}", random_hex(16)?));
            if DirBuilder::new().mode(dir_mode()).create(&dir).is_ok() {
                self.made.push(dir.clone());
                let opened = fs::set_permissions(&dir, Permissions::from_mode(dir_mode()));
                opened.cannot(format_args!("set the mode of {}", dir.display()))?;
                self.live = dir;
                return Ok(());
            }
        }
        Err(Failure::new(format!("{} is no place for the shim, and neither is /tmp nor /var/tmp", self.dir.display()))
            .help("give a directory with --out DIR whose path has no space or colon and that is not mounted noexec"))
    }

    /// Makes the mapped file of `size` bytes that starts with `image`, and the empty log.
    ///
    /// # Errors
    /// When the file system is full, or cannot be written.
    pub fn allocate(&mut self, image: &[u8], size: u64) -> Result<Files> {
        let mode = if is_root() { 0o666 } else { 0o600 };
        let session = self.open_new(&self.file.clone(), mode)?;
        posix_fallocate(&session, 0, i64::try_from(size).unwrap_or(i64::MAX)).map_err(|error| match error {
            nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT => {
                Failure::new(format!("{} is full: a session needs {size} bytes", self.live.display()))
                    .help("give a directory on another file system with --out DIR, or a smaller --log-size")
            }
            error => Failure::new(format!("cannot make {}: {error}", self.file.display())),
        })?;
        session.write_all_at(image, 0).cannot(format_args!("write {}", self.file.display()))?;
        let log = self.dir.join(LOG);
        drop(self.open_new(&log, 0o600)?);
        let log = OpenOptions::new().append(true).open(&log).cannot(format_args!("open {}", log.display()))?;
        Ok(Files { session, log })
    }

    /// The mapped file as `session.json` names it.
    #[must_use]
    pub fn file_for_meta(&self) -> String {
        let shown =
            if self.live == self.dir { self.file.file_name().map(Path::new) } else { Some(self.file.as_path()) };
        shown.unwrap_or(&self.file).to_string_lossy().into_owned()
    }

    /// Writes `session.json` in one step.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_meta(&self, meta: &Meta) -> Result<()> {
        let path = self.dir.join(META);
        let mut text = serde_json::to_vec_pretty(meta).cannot("describe the session")?;
        text.push(b'\n');
        write_atomically(&path, &text, 0o600).cannot(format_args!("write {}", path.display()))
    }

    /// Writes the first `session.json`, in the place of the empty one that claims the directory: nobody reads that.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_first_meta(&self, meta: &Meta) -> Result<()> {
        let path = self.dir.join(META);
        let mut text = serde_json::to_vec_pretty(meta).cannot("describe the session")?;
        text.push(b'\n');
        fs::write(&path, text).cannot(format_args!("write {}", path.display()))
    }

    /// The target runs: from now on the directory stays.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Takes away the mapped file of a tree that is gone, of which the log has everything.
    pub fn forget_file(&mut self) {
        let _ = fs::remove_file(&self.file);
    }

    /// The tree is gone: the shim is needed no more, and the mapped file comes into the session directory.
    /// Returns the mapped file as `session.json` names it from now on.
    pub fn settle(&mut self) -> String {
        if self.shim.starts_with(&self.live) {
            let _ = fs::remove_file(&self.shim);
        }
        let _ = fs::remove_file(self.live.join(HELPER));
        if self.live != self.dir {
            let home = self.dir.join("session");
            let moved = fs::rename(&self.file, &home).or_else(|_| copy_private(&self.file, &home));
            if moved.is_ok() {
                let _ = fs::remove_file(&self.file);
                let _ = fs::remove_dir(&self.live);
                self.live.clone_from(&self.dir);
                self.file = home;
            }
        }
        let _ = fs::set_permissions(&self.file, Permissions::from_mode(0o600));
        self.file_for_meta()
    }

    fn open_new(&mut self, path: &Path, mode: u32) -> Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path);
        let file = file.map_err(|error| {
            let help = "give a directory that can be written with --out DIR";
            Failure::new(format!("cannot make {}: {}", path.display(), plain(&error))).help(help)
        })?;
        self.made.push(path.to_owned());
        file.set_permissions(Permissions::from_mode(mode))
            .cannot(format_args!("set the mode of {}", path.display()))?;
        Ok(file)
    }

    fn write_new(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        let written = self.open_new(path, mode)?.write_all(bytes);
        written.map_err(|error| {
            Failure::new(format!("cannot write {}: {}", path.display(), plain(&error)))
                .help("give a directory on another file system with --out DIR")
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for path in self.made.iter().rev() {
            // A parent that another run uses by now is not empty, and stays.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// Unpacks a shim that all sessions below a directory of ours can share; `None` where their trees may not reach it, so
/// that each needs its own. To write it for every run anew would cost each a millisecond and more.
#[must_use]
pub fn share_shim(dir: &Path, shim: &[u8]) -> Option<PathBuf> {
    let path = dir.join(SHIM_FILE);
    let written = is_reachable(dir).then(|| write_atomically(&path, shim, shim_mode()));
    written.is_some_and(|written| written.is_ok()).then_some(path)
}

/// Points `latest` to a session. A convenience: without it `log` needs the session's name.
pub fn link_latest(dir: &Path) {
    let link = || -> Result<()> {
        let state = state_dir()?;
        DirBuilder::new().recursive(true).mode(dir_mode()).create(&state).cannot("make the state directory")?;
        let link = state.join(format!(".{}", random_hex(16)?));
        symlink(dir, &link).cannot("make the link")?;
        fs::rename(&link, state.join(LATEST)).cannot("put the link in place")
    };
    let _ = link();
}

/// Makes the directory for several runs.
///
/// # Errors
/// When it holds something already, or cannot be written.
pub fn new_dir(out: Option<&Path>) -> Result<PathBuf> {
    let dir = match out {
        Some(dir) => std::path::absolute(dir).cannot(format_args!("use {}", dir.display()))?,
        None => state_dir()?.join(new_id()?),
    };
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!("{} holds something already", dir.display()))
            .help("give another directory with --out DIR, or empty that one"));
    }
    let made = DirBuilder::new().recursive(true).mode(dir_mode()).create(&dir);
    made.map_err(|error| {
        Failure::new(format!("cannot make {}: {}", dir.display(), plain(&error)))
            .help("give a directory that can be written with --out DIR")
    })?;
    Ok(dir)
}

/// The sessions of a directory that `--runs` or `--controls` made, in their order; `None` for any other.
///
/// # Errors
/// When its list is damaged.
pub fn runs_of(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let path = dir.join(RUNS);
    let Ok(text) = fs::read(&path) else { return Ok(None) };
    let damaged = |why: String| Failure::new(format!("{} is damaged: {why}", path.display()));
    let names: Vec<String> = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let plain = |name: &String| Path::new(name).components().count() == 1 && !name.starts_with('.');
    match names.iter().find(|name| !plain(name)) {
        Some(odd) => Err(damaged(format!("'{}' is no run of it", odd.escape_debug()))),
        None => Ok(Some(names.into_iter().map(|name| dir.join(name)).collect())),
    }
}

/// Writes a file so that a reader sees the old or the new one, never a part.
///
/// # Errors
/// What the file system says.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let path = &through_links(path);
    if is_device(path) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let mut file = tempfile::NamedTempFile::new_in(parent(path))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

/// Whether something stands there that is neither a file nor a directory, which no file may replace.
pub fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// What a path leads to, so that a link such as /dev/stdout is not replaced; the path itself where nothing is.
pub fn through_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The directory that holds the path.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where sessions are kept: `$XDG_STATE_HOME/chaos-exec`, by default in `~/.local/state`.
///
/// # Errors
/// When neither XDG_STATE_HOME nor HOME is set.
pub fn state_dir() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("chaos-exec"))
        .ok_or_else(|| {
            Failure::new("there is no place for the session: neither XDG_STATE_HOME nor HOME is an absolute path")
                .help("give a directory with --out DIR")
        })
}

/// Whether any process of a tree could load a shim from here: the dynamic loader splits LD_PRELOAD at spaces and
/// colons, a noexec mount refuses to map code, and a root that becomes somebody else must still get here.
fn is_reachable(dir: &Path) -> bool {
    let plain = !dir.as_os_str().as_bytes().iter().any(|byte| byte.is_ascii_whitespace() || b":$".contains(byte));
    let runs = statvfs(dir).is_ok_and(|fs| !fs.flags().contains(FsFlags::ST_NOEXEC));
    let open_to = |dir: &Path| dir.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0);
    plain && runs && (!is_root() || dir.ancestors().all(open_to))
}

fn copy_private(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = std::io::copy(&mut source, &mut target).map(drop);
    if copied.is_err() {
        // Half of it would only fill the disk, on which the rest of the session is still to be written.
        let _ = fs::remove_file(to);
    }
    copied
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Mode of a shim's file.
pub fn shim_mode() -> u32 {
    if is_root() { 0o755 } else { 0o700 }
}

/// Mode of the directories of sessions.
pub fn dir_mode() -> u32 {
    if is_root() { 0o711 } else { 0o700 }
}

fn new_id() -> Result<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(format!("{time}-{}", random_hex(if is_root() { 16 } else { 3 })?))
}

/// So many random bytes, as hexadecimal digits.
///
/// # Errors
/// When the system's random numbers cannot be read.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0u8; bytes];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).cannot("read /dev/urandom")?;
    Ok(hex(&random))
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

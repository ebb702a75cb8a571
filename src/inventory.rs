//! What a run left in its working directory: the files whose inode changed since it began, and whether those of a
//! known form are whole. Bounded in files and in bytes, so that it costs a moment in any directory.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Entries that are looked at.
const MAX_ENTRIES: usize = 20_000;
/// Changed files that are listed.
const MAX_CHANGED: usize = 1000;
/// Directories below each other.
const MAX_DEPTH: usize = 16;
/// A file that is larger is listed and not parsed.
const MAX_PARSED: u64 = 16 << 20;
/// A file that is larger is told from what it was by its stamps alone.
const MAX_HASHED: u64 = 1 << 20;
/// Of the clock that file systems stamp with.
const TICK: Duration = Duration::from_millis(10);
/// Directories that hold what tools made, and never a program's results.
const SKIPPED: [&str; 4] = [".git", "node_modules", "__pycache__", ".venv"];

/// What a run changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Files that were written, by path below the working directory.
    pub written: Vec<Written>,
    /// Whether there was more than could be looked at.
    pub cut: bool,
}

/// A file that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Below the working directory.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Last change of its content, RFC 3339.
    pub modified: String,
    /// What is wrong with it; absent when it is whole, or of a form that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// The read-only digest of a SQLite database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Changes {
    /// Looks for what changed below `dir` since `start`, leaving out `ours` and what is as it was `before`.
    #[must_use]
    pub fn since(dir: &Path, start: SystemTime, ours: &[PathBuf], before: &Fresh) -> Changes {
        let mut changes = Changes::default();
        changes.cut = walk(dir, start, ours, &mut |path, meta| {
            if before.files.get(&path).is_none_or(|state| *state != State::of(&path, meta)) {
                changes.written.push(written(dir, &path, meta));
            }
            changes.written.len() < MAX_CHANGED
        });
        changes.written.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    /// How many files are not whole.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.written.iter().filter(|file| file.broken.is_some()).count() as u64
    }
}

/// Files of a place that were put there just before its run: by their stamps they could be the run's own.
#[derive(Debug, Default)]
pub struct Fresh {
    files: BTreeMap<PathBuf, State>,
}

/// What tells one state of a file from another within a tick.
#[derive(Debug, PartialEq, Eq)]
struct State {
    inode: u64,
    size: u64,
    changed: Duration,
    /// Of the content, unless that is large.
    hash: Option<u64>,
}

impl Fresh {
    /// Those below `dir`, for a run that begins at `start`.
    #[must_use]
    pub fn before(dir: &Path, start: SystemTime) -> Fresh {
        let mut fresh = Fresh::default();
        walk(dir, start, &[], &mut |path, meta| {
            let state = State::of(&path, meta);
            fresh.files.insert(path, state);
            fresh.files.len() < MAX_CHANGED
        });
        fresh
    }
}

impl State {
    fn of(path: &Path, meta: &fs::Metadata) -> State {
        let content = (meta.len() <= MAX_HASHED).then(|| fs::read(path).ok()).flatten();
        let hash = content.map(|content| {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            hasher.finish()
        });
        State { inode: meta.ino(), size: meta.len(), changed: changed(meta), hash }
    }
}

/// Shows each file below `dir` that has changed since `start` until `each` wants no more; whether something was left out.
fn walk(dir: &Path, start: SystemTime, ours: &[PathBuf], each: &mut dyn FnMut(PathBuf, &fs::Metadata) -> bool) -> bool {
    let since = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // File systems stamp with the tick before.
    let since = since.saturating_sub(TICK);
    let (mut dirs, mut seen, mut is_full) = (vec![(dir.to_owned(), 0)], 0, false);
    while let Some((at, depth)) = dirs.pop() {
        let mut entries: Vec<_> = fs::read_dir(&at).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            seen += 1;
            if seen > MAX_ENTRIES || is_full {
                return true;
            }
            let path = entry.path();
            let Ok(meta) = entry.metadata() else { continue };
            if ours.contains(&path) {
            } else if meta.is_dir() {
                let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
                if depth < MAX_DEPTH && !skipped {
                    dirs.push((path, depth + 1));
                }
            } else if meta.is_file() && changed(&meta) >= since {
                is_full = !each(path, &meta);
            }
        }
    }
    false
}

fn changed(meta: &fs::Metadata) -> Duration {
    let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
    Duration::new(seconds, u32::try_from(meta.ctime_nsec()).unwrap_or(0))
}

fn written(dir: &Path, path: &Path, meta: &fs::Metadata) -> Written {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let (broken, digest) = look_inside(path, meta.len());
    Written {
        path: path.strip_prefix(dir).unwrap_or(path).display().to_string(),
        size: meta.len(),
        modified: humantime::format_rfc3339_millis(modified).to_string(),
        broken,
        digest,
    }
}

/// What is wrong with a file, and the digest of a database.
fn look_inside(path: &Path, size: u64) -> (Option<String>, Option<String>) {
    match (is_sqlite(path), size > MAX_PARSED) {
        (true, false) => return sqlite(path),
        (true, true) => return (None, Some("a SQLite database, too large to be looked into".into())),
        (false, true) => return (None, None),
        (false, false) => {}
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let Some(form) = Form::of_extension(extension) else { return (None, None) };
    (parses(path, form).err(), None)
}

/// A form that a file can be checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON value.
    Json,
    /// A JSON value on each line.
    JsonLines,
    /// YAML, of one document or several.
    Yaml,
    /// CSV whose rows have the same number of fields.
    Csv,
}

impl Form {
    fn of_extension(extension: &str) -> Option<Form> {
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Form::Json),
            "jsonl" | "ndjson" => Some(Form::JsonLines),
            "yaml" | "yml" => Some(Form::Yaml),
            "csv" => Some(Form::Csv),
            _ => None,
        }
    }
}

/// Whether a file is of a form.
///
/// # Errors
/// Why not, in a few words.
pub fn parses(path: &Path, form: Form) -> Result<(), String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| crate::error::plain(&error))?;
    file.take(MAX_PARSED + 1).read_to_end(&mut bytes).map_err(|error| crate::error::plain(&error))?;
    if bytes.len() as u64 > MAX_PARSED {
        return Err("it is too large to be parsed".into());
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| format!("it is no UTF-8: {error}"))?;
    let json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop);
    match form {
        Form::Json => json(text).map_err(|error| format!("it is no JSON: {error}")),
        Form::JsonLines => (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty())
            .try_for_each(|(number, line)| json(line).map_err(|error| format!("line {number} is no JSON: {error}"))),
        Form::Yaml => serde_saphyr::from_multiple::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|error| format!("it is no YAML: {}", first_line(&error.to_string()))),
        Form::Csv => {
            let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let broken = rows.byte_records().find_map(Result::err);
            broken.map_or(Ok(()), |error| Err(format!("it is no CSV: {error}")))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Name of the copy of a database.
const COPY: &str = "copy";

fn copy_of_database(path: &Path) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().ok()?;
    fs::copy(path, dir.path().join(COPY)).ok()?;
    for more in ["-wal", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(more);
        if fs::metadata(&name).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_PARSED) {
            fs::copy(&name, dir.path().join(format!("{COPY}{more}"))).ok()?;
        }
    }
    Some(dir)
}

fn is_sqlite(path: &Path) -> bool {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut start = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// Integrity and digest of a database through the sqlite3 program; nothing without that program. It looks at a copy, with
/// what its write-ahead log or rollback journal still holds: opening the database itself would replay that into it.
fn sqlite(path: &Path) -> (Option<String>, Option<String>) {
    let Some(dir) = copy_of_database(path) else { return (None, None) };
    let ask = |sql: &str| {
        let mut command = Command::new("sqlite3");
        command.args(["-batch", "-noheader", "-init", "/dev/null"]).arg(dir.path().join(COPY)).arg(sql);
        let output = command.stdin(Stdio::null()).output().ok()?;
        let text = if output.status.success() { output.stdout } else { output.stderr };
        Some((output.status.success(), String::from_utf8_lossy(&text).trim().to_owned()))
    };
    let Some((fine, said)) = ask("PRAGMA integrity_check(5);") else { return (None, None) };
    if !fine || said != "ok" {
        return (Some(format!("SQLite: {}", first_line(&said))), Some(said));
    }
    let mut digest = "integrity ok".to_owned();
    for pragma in ["journal_mode", "user_version", "page_count", "freelist_count"] {
        if let Some((true, value)) = ask(&format!("PRAGMA {pragma};")) {
            digest += &format!("; {pragma} {value}");
        }
    }
    let tables = ask("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' LIMIT 50;");
    for table in tables.iter().filter(|(fine, _)| *fine).flat_map(|(_, names)| names.lines()) {
        let quoted = table.replace('"', "\"\"");
        if let Some((true, rows)) = ask(&format!("SELECT count(*) FROM \"{quoted}\";")) {
            digest += &format!("; {table} {rows} rows");
        }
    }
    (None, Some(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_listed_and_what_is_cut_short_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("before.json", "{");
        std::thread::sleep(Duration::from_millis(50));
        let start = SystemTime::now();
        fs::create_dir_all(dir.path().join("out/.git")).unwrap();
        write("out/a.json", "{\"a\": 1}");
        write("out/b.json", "{\"a\": ");
        write("out/c.yaml", "a: [1, 2");
        write("out/d.csv", "a,b\n1\n");
        write("out/e.csv", "a,b\n1,2\n");
        write("out/f.jsonl", "{}\n{\n");
        write("out/g.txt", "{");
        write("out/.git/h.json", "{");
        write("ours.json", "{");
        let changes = Changes::since(dir.path(), start, &[dir.path().join("ours.json")], &Fresh::default());
        let paths: Vec<_> = changes.written.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["a.json", "b.json", "c.yaml", "d.csv", "e.csv", "f.jsonl", "g.txt"].map(|n| format!("out/{n}"))
        );
        let broken: Vec<_> =
            changes.written.iter().filter(|file| file.broken.is_some()).map(|file| &file.path[4..]).collect();
        assert_eq!(broken, ["b.json", "c.yaml", "d.csv", "f.jsonl"]);
        assert_eq!(changes.broken(), 4);
    }

    #[test]
    fn what_was_put_there_just_before_is_written_only_if_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        for name in ["kept", "rewritten", "replaced"] {
            write(name, "text");
        }
        let start = SystemTime::now();
        let before = Fresh::before(dir.path(), start);
        write("rewritten", "next");
        write("new", "text");
        fs::rename(dir.path().join("new"), dir.path().join("replaced")).unwrap();
        write("more", "text");
        let changes = Changes::since(dir.path(), start, &[], &before);
        let paths: Vec<_> = changes.written.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["more", "replaced", "rewritten"]);
    }
}

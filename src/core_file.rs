//! The core file of a crash, where the user's own limits let the kernel write one: its backtrace by gdb, or the word
//! where to look. We never ask for cores ourselves, as the limit would be seen by the target, and the file lie in its
//! directory.

use crate::judge::Judged;
use crate::outcome::Crash;
use crate::verify::shell;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long gdb may take.
const GDB: Duration = Duration::from_secs(20);
/// Bytes of what it prints.
const MOST: u64 = 256 << 10;
/// What there is to be done otherwise.
const OTHERWISE: &str = "`--backtraces` has one of every crash";

/// The backtrace of a crash that nobody traced, or why there is none.
#[must_use]
pub fn backtrace(run: &Judged, crash: &Crash) -> String {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim_end();
    if let Some(program) = pattern.strip_prefix('|') {
        let program = program.split(' ').next().unwrap_or_default();
        return format!("no backtrace: this machine gives core files to {program}; {OTHERWISE}\n");
    }
    let name = crash.process.as_deref().unwrap_or_default();
    let work_dir = run.meta.as_ref().map(|meta| PathBuf::from(&meta.cwd)).unwrap_or_default();
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").is_ok_and(|text| text.trim() == "1");
    let core = expanded(pattern, crash.pid, name, uses_pid).map(|core| work_dir.join(core));
    // One that lay there before is of another crash.
    let started = run.meta.as_ref().and_then(|meta| humantime::parse_rfc3339(&meta.started).ok());
    let is_new =
        |core: &PathBuf| fs::metadata(core).and_then(|meta| meta.modified()).is_ok_and(|at| Some(at) >= started);
    let Some(core) = core.filter(|core| is_core(core) && is_new(core)) else {
        return format!("no backtrace: no core file was written (see `ulimit -c`); {OTHERWISE}\n");
    };
    let process = run.processes.iter().rfind(|process| process.pid == crash.pid);
    let program = process.map(|process| process.executable.as_str()).unwrap_or_default();
    match by_gdb(program, &core) {
        Ok(text) => format!("core file: {}\n{text}", core.display()),
        Err(why) => format!("core file: {}\ngdb cannot read it: {why}\n", core.display()),
    }
}

/// The name of a core file; `None` where the pattern speaks of what is not known here.
fn expanded(pattern: &str, pid: u32, name: &str, uses_pid: bool) -> Option<String> {
    let (mut out, mut letters, mut has_pid) = (String::new(), pattern.chars(), false);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next()? {
            '%' => out.push('%'),
            'p' | 'P' | 'i' | 'I' => {
                out += &pid.to_string();
                has_pid = true;
            }
            'e' => out.extend(name.chars().take(15)),
            _ => return None,
        }
    }
    if uses_pid && !has_pid {
        out += &format!(".{pid}");
    }
    (!out.is_empty()).then_some(out)
}

fn is_core(path: &Path) -> bool {
    /// `ET_CORE` in the header of an ELF file.
    const CORE: [u8; 2] = 4u16.to_le_bytes();
    let mut start = [0; 18];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start.starts_with(b"\x7fELF")
        && start.ends_with(&CORE)
}

fn by_gdb(program: &str, core: &Path) -> Result<String, String> {
    let word = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    // Neither the user's settings nor a server for debugging symbols.
    let script = format!(
        "exec gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' -ex 'thread apply all bt 100' {} {}",
        word(program),
        word(&core.display().to_string())
    );
    let mut output = tempfile::tempfile().map_err(|error| error.to_string())?;
    shell(&script, &output, GDB)?;
    let mut text = Vec::new();
    let read = output.rewind().and_then(|()| output.take(MOST).read_to_end(&mut text));
    read.map(|_| String::from_utf8_lossy(&text).into_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_pattern_names_a_file_or_is_not_understood() {
        let name = |pattern: &str, uses_pid| expanded(pattern, 7, "a-name-that-is-long", uses_pid);
        assert_eq!(name("core", false).as_deref(), Some("core"));
        assert_eq!(name("core", true).as_deref(), Some("core.7"));
        assert_eq!(name("/cores/%e.%p%%", true).as_deref(), Some("/cores/a-name-that-is-.7%"));
        assert_eq!((name("core.%t", false), name("core.%", false), name("", false)), (None, None, None));
    }
}

//! The helper: the launcher's own binary in the place of a program that a shim cannot reach, until that program starts.

use super::door::Filtered;
use super::filter;
use super::lineage::Lineage;
use super::shared::{ProcessPlace, Shared};
use crate::error::{Failure, Result};
use crate::exit_code::Exit;
use crate::sys;
use chaos_table::record::{Record, escaped, kind};
use chaos_table::session::BECOME;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

/// Its name on the command line.
pub const NAME: &CStr = BECOME;

/// Puts this process under the filter and becomes the program; comes back only when that fails.
///
/// When the launcher is out of reach (it has ended, or sees no such process), or the filter is not allowed here, the
/// program runs without it.
///
/// # Errors
/// When the arguments are no good (125), or the program cannot be run (126, 127): the shim that starts the helper has
/// looked at it before.
pub fn helper(arguments: &[OsString]) -> Result<Exit> {
    let bad = || Failure::new("this is an internal command of chaos-exec");
    let [session, place, argc, program_path, rest @ ..] = arguments else { return Err(bad()) };
    let argc: usize = argc.to_str().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
    let (argv, envp) = rest.split_at_checked(argc).ok_or_else(bad)?;
    let slot = Place::parse(place.as_bytes()).ok_or_else(bad)?.slot;
    let entered = OpenOptions::new().read(true).write(true).open(session).ok().and_then(|file| {
        let shared = Shared::map(&file).ok()?;
        let program = filter::program(&filter::wanted(&shared.plan().header));
        let place = shared.process_at(slot)?;
        let shared = Arc::new(shared);
        let entered = Filtered::new(Arc::clone(&shared), place, program).enter(std::process::id());
        if let Err(errno) = entered {
            escape(&shared, place, errno, program_path);
        }
        Some(entered)
    });
    if entered == Some(Err(libc::ETIMEDOUT)) {
        sys::end_at_once(Exit::OurFailure.code());
    }
    let c_string = |text: &OsString| CString::new(text.as_bytes()).map_err(|_| bad());
    let argv = argv.iter().map(c_string).collect::<Result<Vec<_>>>()?;
    let envp = envp.iter().map(c_string).collect::<Result<Vec<_>>>()?;
    let error = sys::exec(&c_string(program_path)?, &argv, &envp);
    Err(crate::command::exec_failed(std::path::Path::new(program_path), &error))
}

/// Writes down that the program runs without the filter, and gives its place back.
fn escape(shared: &Shared, place: ProcessPlace, errno: i32, program: &OsStr) {
    let why = match errno {
        libc::ESRCH => "the launcher does not see it from where it is".to_owned(),
        libc::EAGAIN => "the launcher had no room for a supervisor".to_owned(),
        libc::EBUSY => "another supervisor has a filter over it".to_owned(),
        errno => {
            let name = chaos_table::errno::errno_name(errno).unwrap_or("an error");
            format!("no seccomp filter is allowed there ({name})")
        }
    };
    let pid = std::process::id();
    let record = Record { kind: kind::ESCAPE, effect: escaped::ITSELF, pid, tid: pid, ..Record::default() };
    let reason = format!("static or Go program: {why}\0");
    shared.publish(record, &[reason.as_bytes(), program.as_bytes(), b"\0"].concat());
    shared.free_process(place);
}

/// `text,hash,parent,process slot,...`, as shims tell a place.
struct Place {
    lineage: Lineage,
    parent: u32,
    slot: usize,
}

impl Place {
    fn parse(text: &[u8]) -> Option<Place> {
        let mut parts = std::str::from_utf8(text).ok()?.split(',');
        let text = parts.next()?.to_owned();
        let hash = u64::from_str_radix(parts.next()?, 16).ok()?;
        let parent = parts.next()?.parse().ok()?;
        let slot = parts.next()?.parse().ok()?;
        Some(Place { lineage: Lineage { text, hash }, parent, slot })
    }
}

/// Where a helper stands in the tree, by its command line: lineage, and number of the image that it was. `None` when
/// this is no helper with this slot.
#[must_use]
pub fn place_of(pid: u32, slot: usize) -> Option<(Lineage, u32)> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let is_helper = words.nth(1).is_some_and(|word| word.as_bytes() == NAME.to_bytes());
    let place = Place::parse(words.nth(1)?.as_bytes())?;
    (is_helper && place.slot == slot).then_some((place.lineage, place.parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_shims_write_it() {
        let place = Place::parse(b"0.2.1,00ff00ff00ff00ff,7,3,-").unwrap();
        assert_eq!((place.lineage.text.as_str(), place.lineage.hash), ("0.2.1", 0x00ff_00ff_00ff_00ff));
        assert_eq!((place.parent, place.slot), (7, 3));
        for bad in ["", "0", "0,x,1,2", "0,ff,1,-,-", "0,ff,-1,2"] {
            assert!(Place::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(place_of(std::process::id(), 3).is_none());
    }
}

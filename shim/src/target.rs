//! What an executable is: whether the shim will work in it, and whether it may be told about.

use crate::sys;
use chaos_table::elf::{self, First};
use std::ffi::{CStr, c_char};

/// Scripts name interpreters which may be scripts: as deep as the kernel goes.
const MAX_SCRIPTS: u32 = 4;

/// What to do for a program that is about to be started.
pub struct Verdict {
    /// Put LD_PRELOAD and our variables into its environment.
    pub add_ours: bool,
    /// Why it cannot be followed, if it cannot.
    pub escape: Option<&'static [u8]>,
    /// A library that must be loaded before ours.
    pub first: Option<First>,
}

const FOLLOWED: Verdict = Verdict { add_ours: true, escape: None, first: None };

const fn escape(reason: &'static [u8], add_ours: bool) -> Verdict {
    Verdict { add_ours, escape: Some(reason), first: None }
}

/// Looks at the program, the shim and the session, from where the child will be.
///
/// # Safety
/// `program` must be NULL or a C string.
pub unsafe fn examine(program: *const c_char, search: bool, library: &[u8], session: &[u8]) -> Verdict {
    for (path, reason) in [
        (library, &b"the shim cannot be opened from there (chroot, or another user)"[..]),
        (session, &b"the session cannot be opened from there (chroot, or another user)"[..]),
    ] {
        if !with_c_string(path, sys::readable).unwrap_or(true) {
            return escape(reason, false);
        }
    }
    // SAFETY: the program's own argument of a call that is being made.
    let Some(name) = (unsafe { sys::string(program) }) else { return FOLLOWED };
    if search && !name.to_bytes().contains(&b'/') {
        return search_path(name.to_bytes()).unwrap_or(FOLLOWED);
    }
    examine_file(name, 0).unwrap_or(FOLLOWED)
}

/// Calls `body` with a path as a C string; `None` when it is too long.
fn with_c_string<R>(path: &[u8], body: impl FnOnce(&CStr) -> R) -> Option<R> {
    let mut buffer = [0u8; 1024];
    let room = buffer.get_mut(..path.len())?;
    room.copy_from_slice(path);
    let end = path.len() + 1;
    CStr::from_bytes_with_nul(buffer.get(..end)?).ok().map(body)
}

/// The first executable of that name in PATH.
fn search_path(name: &[u8]) -> Option<Verdict> {
    // SAFETY: getenv only reads the environment, as the exec call that follows does.
    let path = unsafe { libc::getenv(c"PATH".as_ptr()) };
    let path = if path.is_null() {
        &b"/bin:/usr/bin"[..]
    } else {
        // SAFETY: getenv gives a C string.
        unsafe { CStr::from_ptr(path) }.to_bytes()
    };
    path.split(|byte| *byte == b':').find_map(|dir| {
        let mut buffer = crate::text::Text::<1024>::EMPTY;
        // An empty entry is the working directory.
        let dir = if dir.is_empty() { b"." } else { dir };
        let whole = buffer.push(dir) && buffer.push(b"/") && buffer.push(name) && buffer.push(b"\0");
        if !whole {
            return None;
        }
        examine_file(CStr::from_bytes_with_nul(buffer.bytes()).ok()?, 0)
    })
}

/// Looks at one file; `None` when it cannot be opened (the real call will say why).
fn examine_file(path: &CStr, depth: u32) -> Option<Verdict> {
    let stat = sys::stat(path)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let gains = (stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != effective_uid())
        || (stat.st_mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP
            && stat.st_gid != effective_gid());
    if gains {
        return Some(escape(b"setuid or setgid program", false));
    }
    let mut head = [0u8; 1024];
    let fd = sys::open(path, libc::O_RDONLY, 0).ok()?;
    let n = sys::pread(fd, &mut head, 0);
    let head = head.get(..n).unwrap_or(&[]);
    let first = elf::first_library(head, |buffer, at| sys::pread(fd, buffer, at));
    sys::close(fd);
    if let Some(script) = head.strip_prefix(b"#!") {
        if depth >= MAX_SCRIPTS {
            return Some(FOLLOWED);
        }
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or(&[]).trim_ascii();
        let interpreter = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or(&[]);
        return with_c_string(interpreter, |path| examine_file(path, depth + 1)).flatten();
    }
    Some(Verdict { first, ..examine_elf(head) })
}

fn effective_uid() -> u32 {
    // SAFETY: takes no pointer, cannot fail.
    unsafe { libc::geteuid() }
}

fn effective_gid() -> u32 {
    // SAFETY: takes no pointer, cannot fail.
    unsafe { libc::getegid() }
}

/// Reads an ELF head: class, machine, and whether it names an interpreter.
fn examine_elf(head: &[u8]) -> Verdict {
    let half = |at: usize| head.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
    let word = |at: usize| head.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let long = |at: usize| head.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    if !head.starts_with(b"\x7fELF") {
        // No ELF and no script: exec will refuse it, or a shell will read it.
        return FOLLOWED;
    }
    if head.get(4) != Some(&2) || half(18) != 62 {
        return escape(b"not an x86-64 program", false);
    }
    let (offset, size, count) = (long(32) as usize, usize::from(half(54)), usize::from(half(56)));
    let has_interpreter = (0..count).any(|index| {
        let at = offset.saturating_add(index.saturating_mul(size));
        at.checked_add(4).is_some_and(|end| end <= head.len()) && word(at) == libc::PT_INTERP
    });
    let headers_seen = offset.saturating_add(count.saturating_mul(size)) <= head.len();
    if has_interpreter || !headers_seen {
        return FOLLOWED;
    }
    // Its own children may be dynamic: they find our variables in the environment that it passes on.
    escape(b"static program", true)
}

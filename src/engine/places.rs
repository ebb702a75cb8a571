//! Paths and peers of another process, as the kernel would name them.

use super::decode::Name;
use super::kernel;
use super::proc::Dir;

/// The longest path.
const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;
/// As many links are followed as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A string in a process's memory, without its NUL; `None` when there is none, or it is longer than a path can be.
#[must_use]
pub fn string(tid: u32, at: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while at != 0 && bytes.len() < PATH_MAX {
        // Page by page: what lies behind the string's end may not be mapped.
        let from = at + bytes.len() as u64;
        let room = usize::try_from(PAGE - from % PAGE).unwrap_or(0).min(256);
        let mut part = [0u8; 256];
        let read = kernel::read_memory(tid, from, &mut part[..room]);
        let part = &part[..read];
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&part[..end]);
            return Some(bytes);
        }
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(part);
    }
    None
}

/// What a descriptor is: an absolute path, `socket:[...]`, `pipe:[...]`, `anon_inode:...`. Empty when it is not open.
#[must_use]
pub fn descriptor(dir: &Dir, fd: i32) -> Vec<u8> {
    let mut path = dir.descriptor(fd);
    if path.ends_with(b" (deleted)") {
        path.truncate(path.len() - b" (deleted)".len());
    }
    path
}

/// The absolute path that a name of a process leads to, links followed as far as they exist. `None` when it cannot be
/// told.
#[must_use]
pub fn path(dir: &Dir, pid: u32, tid: u32, name: Name) -> Option<Vec<u8>> {
    let given = if name.at == 0 { Vec::new() } else { string(tid, name.at)? };
    let mut base = if given.first() == Some(&b'/') {
        Vec::new()
    } else if name.dir == libc::AT_FDCWD {
        dir.work_dir(pid, tid)
    } else {
        descriptor(dir, name.dir)
    };
    if given.first() != Some(&b'/') && base.is_empty() {
        return None;
    }
    if given.is_empty() {
        return Some(base);
    }
    if base == b"/" {
        base.clear();
    }
    if dir.is_plain(&[&base[..], b"/", &given].concat(), name.follow) {
        return Some(lexical(base, &given));
    }
    walk(pid, base, given, name.follow)
}

/// Goes from `path` along `rest` where no part of it is a symbolic link.
fn lexical(mut path: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    for part in rest.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Goes from `path` along `rest`, resolving `.`, `..` and symbolic links as the process sees them.
fn walk(pid: u32, mut path: Vec<u8>, mut rest: Vec<u8>, follow: bool) -> Option<Vec<u8>> {
    let mut links = 0;
    let mut at = 0;
    while let Some((start, end)) = next_part(&rest, at) {
        at = end;
        let is_last = next_part(&rest, end).is_none();
        match &rest[start..end] {
            b"." => continue,
            b".." => {
                let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                path.truncate(parent);
                continue;
            }
            part => {
                let before = path.len();
                path.push(b'/');
                path.extend_from_slice(part);
                if path.len() > PATH_MAX {
                    return None;
                }
                let stays = is_last && !follow && rest.last() != Some(&b'/');
                let Some(link) = (!stays && !is_kernel_tree(&path)).then(|| link_at(pid, &path)).flatten() else {
                    continue;
                };
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                let tail = rest.split_off(end);
                path.truncate(if link.first() == Some(&b'/') { 0 } else { before });
                rest = link;
                rest.extend_from_slice(&tail);
                at = 0;
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Some(path)
}

/// Where a symbolic link leads, in the file system that the process sees.
fn link_at(pid: u32, path: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut whole = format!("/proc/{pid}/root").into_bytes();
    whole.extend_from_slice(path);
    std::fs::read_link(std::ffi::OsStr::from_bytes(&whole)).ok().map(|link| link.into_os_string().into_vec())
}

/// The next component of a path from `at` on: its start and end.
fn next_part(path: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = path.get(at..)?;
    let skip = rest.iter().position(|byte| *byte != b'/')?;
    let part = &rest[skip..];
    let len = part.iter().position(|byte| *byte == b'/').unwrap_or(part.len());
    Some((at + skip, at + skip + len))
}

/// /proc, /sys and /dev are told by their own names: `/dev/stdin` is not the file behind it.
fn is_kernel_tree(path: &[u8]) -> bool {
    [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|tree| path.starts_with(tree))
}

//! Paths as the kernel would name them, without allocation and without a descriptor of our own.

use crate::sys;
use crate::tree::Text;
use std::ffi::{CStr, c_char};

/// Longest path that is told apart, as the kernel has it.
pub const PATH_MAX: usize = 4096;
/// As many links are followed as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A path in a buffer on the stack.
pub type PathBuffer = Text<PATH_MAX>;

/// The path of an open descriptor, or of the working directory for AT_FDCWD. False when the kernel does not tell.
fn push_base(dirfd: i32, out: &mut PathBuffer) -> bool {
    let mut buffer = [0u8; PATH_MAX];
    if dirfd == libc::AT_FDCWD {
        return sys::getcwd(&mut buffer).is_some_and(|len| out.push(buffer.get(..len).unwrap_or(&[])));
    }
    of_descriptor(dirfd, &mut buffer).is_some_and(|path| out.push(path))
}

/// `/proc/self/fd/N` as a C string.
fn proc_link(fd: i32) -> Text<40> {
    let mut link = Text::<40>::EMPTY;
    link.push(b"/proc/self/fd/");
    link.push_number(fd.max(0) as u64);
    link.push(b"\0");
    link
}

/// What the kernel says that a descriptor is: an absolute path, `socket:[...]`, `pipe:[...]`, `anon_inode:...`.
pub fn of_descriptor(fd: i32, buffer: &mut [u8]) -> Option<&[u8]> {
    let link = proc_link(fd);
    let path = sys::readlink(CStr::from_bytes_with_nul(link.bytes()).ok()?, buffer)?;
    Some(path.strip_suffix(b" (deleted)").unwrap_or(path))
}

/// The absolute path that opening `path` would reach, links followed as far as they exist.
///
/// False when it cannot be told (no /proc, too long, or a bad pointer is the program's own affair).
///
/// # Safety
/// `path` must be NULL or a C string.
pub unsafe fn absolute(dirfd: i32, path: *const c_char, out: &mut PathBuffer) -> bool {
    if path.is_null() {
        return false;
    }
    // SAFETY: the caller says so.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if path.is_empty() || path.len() >= PATH_MAX {
        return false;
    }
    if path.first() != Some(&b'/') && !push_base(dirfd, out) {
        return false;
    }
    let mut links = 0;
    append(path, out, &mut links) && !(out.bytes().is_empty() && !out.push(b"/"))
}

/// Walks `path` from what `out` holds, resolving `.`, `..` and symbolic links.
fn append(path: &[u8], out: &mut PathBuffer, links: &mut u32) -> bool {
    if path.first() == Some(&b'/') {
        out.truncate(0);
    }
    if out.bytes() == b"/" {
        out.truncate(0);
    }
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => out.truncate(out.bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                let before = out.bytes().len();
                if !(out.push(b"/") && out.push(name)) {
                    return false;
                }
                if is_kernel_tree(out.bytes()) {
                    continue;
                }
                if let Some(followed) = follow(out, before, links) {
                    if !followed {
                        return false;
                    }
                }
            }
        }
    }
    true
}

/// /proc, /sys and /dev are told by their own names: `/dev/stdin` is not the file behind it.
fn is_kernel_tree(path: &[u8]) -> bool {
    [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|tree| path.starts_with(tree))
}

/// When `out` is a symbolic link, replaces it by where it leads; `None` when it is none.
#[inline(never)]
fn follow(out: &mut PathBuffer, parent: usize, links: &mut u32) -> Option<bool> {
    let mut target = [0u8; 1024];
    if !out.push(b"\0") {
        return None;
    }
    let length = out.bytes().len() - 1;
    let found = CStr::from_bytes_with_nul(out.bytes()).ok().and_then(|link| sys::readlink(link, &mut target));
    let found = found.map(<[u8]>::len);
    out.truncate(length);
    let target = target.get(..found?)?;
    *links += 1;
    if *links > MAX_LINKS || target.len() == 1024 {
        return Some(false);
    }
    out.truncate(parent);
    Some(append(target, out, links))
}

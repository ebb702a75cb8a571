//! Programs that are started by a descriptor, as fexecve and execveat do: only by a path can one be handed over, since
//! its descriptor may be closed on the way.

use crate::sys;
use crate::text::Text;
use std::ffi::{CStr, c_char};

/// A path, ended by NUL; what is longer is not handed over.
pub type Path = Text<1100>;

/// The path of what `name` is below a directory's descriptor; with an empty name that of the descriptor's own file.
/// `None` when no path leads there any more.
pub fn path_of(fd: i32, name: &[u8]) -> Option<Path> {
    let mut link = Text::<40>::EMPTY;
    link.push(b"/proc/self/fd/");
    link.push_number(u64::try_from(fd).ok()?);
    link.push(b"\0");
    let link = CStr::from_bytes_with_nul(link.bytes()).ok()?;
    let mut path = Path::EMPTY;
    if !path.fill(|room| sys::readlink(link, room).ok()) || !path.push(b"\0") {
        return None;
    }
    // It may have been removed, or lie outside of what this process sees.
    let (found, meant) = (sys::stat(CStr::from_bytes_with_nul(path.bytes()).ok()?)?, sys::fstat(fd)?);
    if (found.st_dev, found.st_ino) != (meant.st_dev, meant.st_ino) {
        return None;
    }
    if name.is_empty() {
        return Some(path);
    }
    path.truncate(path.bytes().len().checked_sub(1)?);
    (path.push(b"/") && path.push(name) && path.push(b"\0")).then_some(path)
}

/// As [`path_of`], for the arguments of execveat.
///
/// # Safety
/// `name` must be NULL or a C string.
pub unsafe fn path_at(fd: i32, name: *const c_char, flags: i32) -> Option<Path> {
    if name.is_null() || flags & !libc::AT_EMPTY_PATH != 0 {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if name.first() == Some(&b'/') || (fd == libc::AT_FDCWD && !name.is_empty()) {
        let mut path = Path::EMPTY;
        return (path.push(name) && path.push(b"\0")).then_some(path);
    }
    (!name.is_empty() || flags & libc::AT_EMPTY_PATH != 0).then(|| path_of(fd, name)).flatten()
}

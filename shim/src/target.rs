//! What an executable is: whether the shim will work in it, and whether it may be told about.

use crate::session::{self, Session};
use crate::sys;
use crate::text::Text;
use chaos_table::elf::{self, First};
use chaos_table::image::{self, Image};
use chaos_table::programs::{Identity, MAX_PATH, is_settled_at};
use std::ffi::{CStr, c_char};

/// Scripts name interpreters which may be scripts: as deep as the kernel goes.
const MAX_SCRIPTS: u32 = 4;

/// Address space, in bytes, below which there is none for us beside the smallest program (measured: 5.6 MB with glibc
/// 2.36): the loader would complain of us, or find no room for libc behind us.
const LEAST_SPACE: u64 = 6_000_000;

/// What to do for a program that is about to be started.
pub struct Verdict {
    /// Put LD_PRELOAD and our variables into its environment.
    pub add_ours: bool,
    /// Why it cannot be followed, if it cannot.
    pub escape: Option<&'static [u8]>,
    /// A library that must be loaded before ours.
    pub first: Option<First>,
    /// Only the seccomp engine reaches its system calls.
    pub hand_over: bool,
}

const FOLLOWED: Verdict = Verdict { add_ours: true, escape: None, first: None, hand_over: false };

const fn escape(reason: &'static [u8], add_ours: bool) -> Verdict {
    Verdict { add_ours, escape: Some(reason), first: None, hand_over: false }
}

/// Looks at the program, the shim and the session, from where the child will be. `found` gets the path, ended by NUL, of
/// a program that was looked for in PATH.
///
/// # Safety
/// `program` must be NULL or a C string.
pub unsafe fn examine(
    program: *const c_char,
    search: bool,
    library: &[u8],
    session: &[u8],
    found: &mut Text<1024>,
) -> Verdict {
    if let Some(Err(reason)) = with_c_string(library, check_library) {
        return escape(reason, false);
    }
    if !with_c_string(session, sys::readable).unwrap_or(true) {
        return escape(b"the session cannot be opened from there (chroot, or another user)", false);
    }
    if sys::address_space() < LEAST_SPACE {
        return escape(b"too little address space for the shim (ulimit -v)", false);
    }
    // SAFETY: the program's own argument of a call that is being made.
    let Some(name) = (unsafe { sys::string(program) }) else { return FOLLOWED };
    if search && !name.to_bytes().contains(&b'/') {
        return search_path(name.to_bytes(), found).unwrap_or(FOLLOWED);
    }
    examine_file(name, 0).unwrap_or(FOLLOWED)
}

/// Whether a file can be opened and is all of the library that we are; else the reason: one that was cut short the loader
/// refuses with a complaint on the program's stderr, or the program dies of it.
fn check_library(path: &CStr) -> Result<(), &'static [u8]> {
    unsafe extern "C" {
        /// The first bytes of our file, as the loader has mapped them.
        static __ehdr_start: [u8; size_of::<libc::Elf64_Ehdr>()];
    }
    let fd = match sys::open(path, libc::O_RDONLY, 0) {
        Ok(fd) => fd,
        // The program has no descriptor left.
        Err(libc::EMFILE | libc::ENFILE) if sys::readable(path) => return Ok(()),
        Err(_) => return Err(b"the shim cannot be opened from there (chroot, or another user)"),
    };
    // SAFETY: the linker puts it at the start of our first segment, which stays mapped and is never written.
    let own = unsafe { &__ehdr_start };
    // SAFETY: so many bytes, of which any make such a header.
    let header = unsafe { own.as_ptr().cast::<libc::Elf64_Ehdr>().read_unaligned() };
    // The table of sections stands at the end of the file.
    let end = header.e_shoff + u64::from(header.e_shnum) * u64::from(header.e_shentsize);
    let (mut head, mut last) = ([0u8; size_of::<libc::Elf64_Ehdr>()], [0u8]);
    sys::pread(fd, &mut head, 0);
    let has_end = sys::pread(fd, &mut last, end.saturating_sub(1)) == 1;
    sys::close(fd);
    if head == *own && has_end { Ok(()) } else { Err(b"the shim's file was changed or cut short") }
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
fn search_path(name: &[u8], found: &mut Text<1024>) -> Option<Verdict> {
    // SAFETY: getenv only reads the environment, as the exec call that follows does.
    let path = unsafe { libc::getenv(c"PATH".as_ptr()) };
    let path = if path.is_null() {
        &b"/bin:/usr/bin"[..]
    } else {
        // SAFETY: getenv gives a C string.
        unsafe { CStr::from_ptr(path) }.to_bytes()
    };
    path.split(|byte| *byte == b':').find_map(|dir| {
        found.truncate(0);
        // An empty entry is the working directory.
        let dir = if dir.is_empty() { b"." } else { dir };
        let whole = found.push(dir) && found.push(b"/") && found.push(name) && found.push(b"\0");
        if !whole {
            return None;
        }
        examine_file(CStr::from_bytes_with_nul(found.bytes()).ok()?, 0)
    })
}

/// Looks at one file; `None` when it cannot be opened (the real call will say why).
fn examine_file(path: &CStr, depth: u32) -> Option<Verdict> {
    let stat = sys::stat(path)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let key = identity(&stat).key(path.to_bytes()).filter(|_| stat.st_mode & (libc::S_ISUID | libc::S_ISGID) == 0);
    let programs = session::attached().map(Session::programs);
    if let (Some(key), Some(programs)) = (key, programs)
        && programs.is_plain(key)
    {
        return Some(FOLLOWED);
    }
    let mut head = [0u8; image::HEAD];
    let fd = sys::open(path, libc::O_RDONLY, 0).ok()?;
    let n = sys::pread(fd, &mut head, 0);
    let head = head.get(..n).unwrap_or(&[]);
    let read = |buffer: &mut [u8], at: u64| sys::pread(fd, buffer, at);
    let (image, first) = (image::image(head, read), elf::first_library(head, read));
    let gain = gain(fd, &stat).filter(|_| !matches!(image, Image::Script { .. }));
    if image == Image::Dynamic
        && first.is_none()
        && !sys::has_capabilities(fd)
        && let Some(key) = key.filter(|_| is_settled(&stat))
        && let Some(programs) = programs
    {
        programs.tell_plain(key);
    }
    sys::close(fd);
    if let Some(gain) = gain {
        return Some(escape(gain, false));
    }
    match image {
        Image::Script { .. } if depth >= MAX_SCRIPTS => Some(FOLLOWED),
        Image::Script { interpreter, .. } => with_c_string(interpreter, |path| examine_file(path, depth + 1)).flatten(),
        // exec will refuse what is neither program nor script, or a shell will read it.
        Image::Dynamic | Image::Loader | Image::Unknown => Some(Verdict { first, ..FOLLOWED }),
        Image::Foreign => Some(escape(b"not an x86-64 program", false)),
        // Its own children may be dynamic: they find our variables in the environment that it passes on.
        Image::Static => Some(Verdict { hand_over: true, ..escape(b"static program", true) }),
        Image::DynamicGo => {
            Some(Verdict { hand_over: true, ..escape(b"Go program, which makes its own system calls", true) })
        }
    }
}

/// The path of this process's executable, which it was started by `started_by`, into `path`. /proc knows it, but making
/// the files there that tell a process of itself costs the kernel 14 us: so it is asked once for each program.
#[unsafe(link_section = ".text.chaos_start")]
pub fn own_executable(session: &Session, started_by: &CStr, path: &mut Text<256>) {
    // SAFETY: getauxval takes no pointer.
    let is_loader = unsafe { libc::getauxval(libc::AT_BASE) } == 0;
    // Where the loader was told to run a program, that is what it says that the process was started by.
    let stat = if is_loader { None } else { sys::stat(started_by) };
    let key = stat.and_then(|stat| identity(&stat).key(started_by.to_bytes()));
    let mut known = [0; MAX_PATH];
    if let Some(found) = key.and_then(|key| session.programs().read(key, &mut known))
        && found.path != 0
    {
        path.push(known.get(..found.path).unwrap_or(&[]));
        return;
    }
    path.fill(|room| sys::readlink(c"/proc/self/exe", room).ok());
    if let Some(key) = key.filter(|_| stat.is_some_and(|stat| is_settled(&stat)))
        && !path.bytes().ends_with(b" (deleted)")
    {
        session.programs().tell_path(key, path.bytes());
    }
}

fn identity(stat: &libc::stat) -> Identity {
    // Where a process has another root the same path has another meaning.
    let root = sys::stat(c"/").map_or((0, 0), |root| (root.st_dev, root.st_ino));
    Identity {
        root,
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size as u64,
        changed: stat.st_ctime,
        changed_ns: stat.st_ctime_nsec,
    }
}

fn is_settled(stat: &libc::stat) -> bool {
    is_settled_at(stat.st_ctime, sys::time(libc::CLOCK_REALTIME).tv_sec)
}

/// The rights that the kernel gives to whoever starts this program, which make the loader leave our library out.
fn gain(fd: i32, stat: &libc::stat) -> Option<&'static [u8]> {
    let setuid = stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != effective_uid();
    let both = libc::S_ISGID | libc::S_IXGRP;
    let setgid = stat.st_mode & both == both && stat.st_gid != effective_gid();
    let gain = if setuid || setgid {
        &b"setuid or setgid program"[..]
    } else if effective_uid() != 0 && sys::has_capabilities(fd) {
        b"program with file capabilities"
    } else {
        return None;
    };
    (!sys::gains_nothing(fd)).then_some(gain)
}

fn effective_uid() -> u32 {
    // SAFETY: takes no pointer, cannot fail.
    unsafe { libc::geteuid() }
}

fn effective_gid() -> u32 {
    // SAFETY: takes no pointer, cannot fail.
    unsafe { libc::getegid() }
}

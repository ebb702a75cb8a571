//! How many processes the tree has, and threads this process, as the kernel counts them: for `exhaust`.

use crate::session::Session;
use crate::sys;
use crate::text::Text;
use chaos_table::session::{Header, slot_state};
use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many processes of the machine are looked at; what comes later is not counted.
const MOST: usize = 16384;
/// Bytes of a directory that are read at once.
const CHUNK: usize = 32768;

/// A process and its parent.
#[repr(C)]
#[derive(Clone, Copy)]
struct Kin {
    pid: u32,
    parent: u32,
}

/// Threads of this process: each is a directory in /proc/self/task.
pub fn threads() -> u64 {
    sys::stat(c"/proc/self/task").map_or(0, |stat| stat.st_nlink.saturating_sub(2))
}

/// Processes below the launcher, or the first process and those below it; zombies count until they are reaped, as they
/// do for the kernel's own limits.
///
/// The session knows a process only when its constructor has run, and static programs never: so /proc is asked. Where
/// there is none, what the session knows must do.
pub fn processes(session: &Session) -> u64 {
    let owner = session.header32(offset_of!(Header, owner_pid)).load(Ordering::Relaxed);
    let length = MOST * size_of::<Kin>() + CHUNK;
    let Some(memory) = sys::mmap(length, -1) else { return known(session) };
    // SAFETY: fresh memory, large enough for both and zeroed; unmapped when nothing refers to it any more.
    unsafe {
        let all = std::slice::from_raw_parts_mut(memory.cast::<Kin>(), MOST);
        let chunk = std::slice::from_raw_parts_mut(memory.add(MOST * size_of::<Kin>()), CHUNK);
        let count = list(all, chunk);
        let found = below(all.get(..count).unwrap_or(&[]), owner);
        sys::munmap(memory, length);
        match found {
            None => known(session),
            Some(count) => count + u64::from(!session.has_launcher),
        }
    }
}

/// What the session knows: slots in use whose process the kernel still has.
fn known(session: &Session) -> u64 {
    let lives = |index: &usize| {
        let slot = session.process(*index);
        // SAFETY: inside the mapping; the state is only used atomically.
        let (state, pid) =
            unsafe { (AtomicU32::from_ptr(&raw mut (*slot).state).load(Ordering::Relaxed), (*slot).pid) };
        state == slot_state::LIVE && sys::kill(pid, 0) != -libc::ESRCH as isize
    };
    (0..session.process_room()).filter(lives).count() as u64
}

/// Fills `all` with the processes of /proc; how many there are.
fn list(all: &mut [Kin], chunk: &mut [u8]) -> usize {
    let Ok(dir) = sys::open(c"/proc", libc::O_RDONLY | libc::O_DIRECTORY, 0) else { return 0 };
    let mut count = 0;
    loop {
        let filled = sys::getdents(dir, chunk);
        let mut rest = chunk.get(..filled).unwrap_or(&[]);
        if rest.is_empty() {
            break;
        }
        // struct linux_dirent64: inode, offset, then the length of the entry, its type and its name.
        while let Some(length) = rest.get(16..18).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes) {
            let name = rest.get(19..usize::from(length)).unwrap_or(&[]);
            if let (Some(pid), Some(place)) = (number(name), all.get_mut(count)) {
                *place = Kin { pid, parent: parent_of(pid) };
                count += 1;
            }
            rest = rest.get(usize::from(length).max(19)..).unwrap_or(&[]);
        }
    }
    sys::close(dir);
    count
}

/// How many descend from `owner`; `None` when it is not among them.
fn below(all: &[Kin], owner: u32) -> Option<u64> {
    // The kernel lists them by number.
    let find = |pid: u32| all.binary_search_by_key(&pid, |kin| kin.pid).ok().and_then(|at| all.get(at));
    find(owner)?;
    let descends = |kin: &&Kin| {
        let mut parent = kin.parent;
        // No chain is longer than all of them; a process that ended meanwhile breaks it.
        for _ in 0..all.len() {
            if parent == owner {
                return true;
            }
            match find(parent) {
                Some(kin) => parent = kin.parent,
                None => return false,
            }
        }
        false
    };
    Some(all.iter().filter(descends).count() as u64)
}

/// The number that a text begins with.
fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let fold = |sum: Option<u32>, byte: &u8| sum.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(byte - b'0'));
    digits.fold(None, fold)
}

/// The parent of a process, from its stat file: `PID (NAME) STATE PARENT ...`. 0 when it has gone.
fn parent_of(pid: u32) -> u32 {
    let mut path = Text::<32>::EMPTY;
    let _ = path.push(b"/proc/") && path.push_number(u64::from(pid)) && path.push(b"/stat\0");
    let mut stat = [0u8; 128];
    let Ok(path) = CStr::from_bytes_with_nul(path.bytes()) else { return 0 };
    let Ok(fd) = sys::open(path, libc::O_RDONLY, 0) else { return 0 };
    let filled = sys::pread(fd, &mut stat, 0);
    sys::close(fd);
    let stat = stat.get(..filled).unwrap_or(&[]);
    // The name may hold anything, brackets too.
    let after = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 4..));
    after.and_then(number).unwrap_or(0)
}

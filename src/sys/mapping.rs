//! A session in use, mapped by `chaos-exec ctl`: what changes a table must be seen word by word.
//!
//! `ctl` lives for a moment and is no part of the run. Should the target cut the file short just then, it says so and
//! ends; the launcher itself never reads through a mapping.

use chaos_table::live::Shared;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A whole session file, mapped for reading and writing.
#[derive(Debug)]
pub struct Mapping {
    base: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps a file of `len` bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(file: &File, len: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses; the handler makes async-signal-safe calls only.
        let base = unsafe {
            libc::signal(libc::SIGBUS, cut_short as *const () as libc::sighandler_t);
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { base: base.cast(), len })
    }

    fn place(&self, at: usize, len: usize) -> Option<*mut u8> {
        // SAFETY: the whole range lies inside the mapping.
        at.checked_add(len).filter(|end| *end <= self.len).map(|_| unsafe { self.base.add(at) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference outlives this value.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

impl Shared for Mapping {
    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.place(at, into.len()) else { return false };
        // SAFETY: inside the mapping; other processes may write there, so nothing of it is believed.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        true
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        let Some(to) = self.place(at, bytes.len()) else { return false };
        // SAFETY: inside the mapping; nobody reads there before a word says so, see `live`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        true
    }

    fn word32(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.place(at, size_of::<u32>()).filter(|_| at.is_multiple_of(align_of::<u32>()))?;
        // SAFETY: inside the mapping, which is aligned to a page, and only used atomically.
        Some(unsafe { AtomicU32::from_ptr(word.cast()) })
    }

    fn word64(&self, at: usize) -> Option<&AtomicU64> {
        let word = self.place(at, size_of::<u64>()).filter(|_| at.is_multiple_of(align_of::<u64>()))?;
        // SAFETY: as above.
        Some(unsafe { AtomicU64::from_ptr(word.cast()) })
    }

    fn wake(&self, word: &AtomicU32) {
        // SAFETY: the kernel looks at the word, which is mapped, and at nothing else.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
    }
}

extern "C" fn cut_short(_signal: i32) {
    const TEXT: &[u8] = b"chaos-exec: error: the session file was cut short by its target meanwhile\n";
    // SAFETY: both are async-signal-safe.
    unsafe {
        libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
        libc::_exit(125);
    }
}

//! A C stream as libc knows it: its descriptor, what waits in its buffer, its error flag.
//!
//! glibc and musl both keep the flags of a stream in the first 32 bits of FILE, and in both bit 5 is the error flag:
//! there it is part of the ABI, since macros of the header used to be compiled into programs. Only that bit is touched,
//! and only once ferror itself has read it in a block of ours.

use crate::sys;
pub use chaos_table::fits::condition;
use libc::{FILE, c_char, c_int};
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

/// `_IO_ERR_SEEN` of glibc, `F_ERR` of musl.
const ERROR: u32 = 0x20;

/// The upper half of the flags in glibc; musl sets no bit there.
const GLIBC: u32 = 0xfbad;
/// glibc: no buffer; the buffer is being written.
const UNBUFFERED: u32 = 2;
const PUTTING: u32 = 0x800;
/// glibc's buffers are not larger, unless the program asks for one.
const BUFSIZ: usize = 8192;

/// What a call gives to a stream.
#[derive(Clone, Copy)]
pub enum Given {
    /// Nothing, or what cannot be told.
    Unknown,
    /// So many bytes, of which one may end a line.
    Length(usize),
    /// These bytes.
    Bytes(*const c_void, usize),
    /// A C string.
    Text(*const c_char),
    /// A C string and the end of a line.
    Line(*const c_char),
    /// One byte.
    Byte(u8),
}

impl Given {
    /// How many bytes, and whether the end of a line is among them.
    fn measure(self) -> Option<(usize, bool)> {
        let ends = |bytes: &[u8]| bytes.contains(&b'\n');
        // SAFETY: what the program passes to the call that reads it.
        unsafe {
            match self {
                Given::Unknown => None,
                Given::Length(len) => Some((len, true)),
                Given::Bytes(_, 0) => Some((0, false)),
                Given::Bytes(bytes, len) => Some((len, ends(std::slice::from_raw_parts(bytes.cast(), len)))),
                Given::Text(text) => {
                    let text = CStr::from_ptr(text).to_bytes();
                    Some((text.len(), ends(text)))
                }
                Given::Line(text) => Some((CStr::from_ptr(text).to_bytes().len() + 1, true)),
                Given::Byte(byte) => Some((1, byte == b'\n')),
            }
        }
    }
}

unsafe extern "C" {
    fn __fbufsize(stream: *mut FILE) -> usize;
    fn __flbf(stream: *mut FILE) -> c_int;
    fn __fpending(stream: *mut FILE) -> usize;
    fn __fpurge(stream: *mut FILE);
    fn feof_unlocked(stream: *mut FILE) -> c_int;
    fn ferror_unlocked(stream: *mut FILE) -> c_int;
    fn ftrylockfile(stream: *mut FILE) -> c_int;
    fn funlockfile(stream: *mut FILE);
    static stdin: *mut FILE;
    static stdout: *mut FILE;
}

/// The stream that is stdin now: programs may put another one there.
pub fn standard_input() -> *mut FILE {
    // SAFETY: libc's own variable, which holds a pointer from before any constructor.
    unsafe { (&raw const stdin).read_volatile() }
}

/// The stream that is stdout now.
pub fn standard_output() -> *mut FILE {
    // SAFETY: as above.
    unsafe { (&raw const stdout).read_volatile() }
}

/// The descriptor under a stream, -1 for none: no stream, or one in memory.
#[inline]
pub fn descriptor_of(stream: *mut FILE) -> c_int {
    if stream.is_null() {
        return -1;
    }
    // SAFETY: this thread's errno; a stream that libc has made, or that the program passes to a stream call. errno is
    // looked for once: this stands on the way of every getc.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        let fd = libc::fileno(stream);
        if fd < 0 {
            *errno = saved;
        }
        fd
    }
}

/// Bits of [`condition`] of a stream that is not NULL.
pub fn condition_of(stream: *mut FILE) -> i32 {
    let bit = |is: bool, bit: i32| if is { bit } else { 0 };
    // SAFETY: the program passes this stream to a stream call, which looks at the same.
    let (ended, pending) = unsafe { (feof_unlocked(stream) != 0, __fpending(stream) != 0) };
    bit(ended, condition::AT_END) | bit(pending, condition::PENDING) | bit(!error_flag_is_known(), condition::UNKNOWN)
}

/// Whether the buffer takes all that a call gives: it writes only where the stream has none or what is in it must be
/// flushed, and only then it can fail (POSIX, fputc).
pub fn takes(stream: *mut FILE, given: Given) -> bool {
    let Some((len, ends_line)) = given.measure() else { return false };
    // SAFETY: the program passes this stream to a stream call, which looks at the same; the flags are its first word.
    let (flags, size, pending, by_lines) = unsafe {
        let flags = AtomicU32::from_ptr(stream.cast::<c_void>().cast()).load(Ordering::Relaxed);
        (flags, __fbufsize(stream), __fpending(stream), __flbf(stream) != 0)
    };
    if by_lines && ends_line {
        return false;
    }
    if flags >> 16 != GLIBC {
        return len <= size.saturating_sub(pending);
    }
    match size {
        _ if flags & UNBUFFERED != 0 => false,
        0 => len < first_buffer(descriptor_of(stream)),
        // What begins with a whole block is written at once.
        _ if flags & PUTTING == 0 => len < size,
        _ => len <= size.saturating_sub(pending),
    }
}

/// The size of the buffer that glibc will make for a descriptor, 0 where that may be one for lines.
fn first_buffer(fd: c_int) -> usize {
    match sys::fstat(fd) {
        Some(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFCHR => 0,
        Some(stat) if stat.st_blksize > 0 => BUFSIZ.min(stat.st_blksize as usize),
        _ => BUFSIZ,
    }
}

/// Whether ferror reads the bit that we would set: asked of a block of zeroes, which both libcs take for an unlocked
/// stream without errors.
fn error_flag_is_known() -> bool {
    #[repr(C, align(16))]
    struct Blank(u32, [u32; 127]);
    let mut blank = Blank(0, [0; 127]);
    let mut read = |flags| {
        blank.0 = flags;
        // SAFETY: larger than FILE of either libc; of a stream without a lock ferror reads the flags only.
        unsafe { ferror_unlocked((&raw mut blank).cast()) != 0 }
    };
    !read(0) && read(ERROR) && !read(!ERROR & 0xffff)
}

/// Sets the error flag, as a failed read or write below the stream does; clearerr takes it away again.
pub fn set_error(stream: *mut FILE) {
    // SAFETY: a stream of the program's; its flags are an aligned 32-bit word. We never wait for its lock: should
    // another thread hold it, the bit is still set in one step.
    unsafe {
        let locked = ftrylockfile(stream) == 0;
        AtomicU32::from_ptr(stream.cast::<c_void>().cast()).fetch_or(ERROR, Ordering::Relaxed);
        if locked {
            funlockfile(stream);
        }
    }
}

/// Throws away what waits to be written, as both libcs do when the write of it fails. Whether there was anything.
pub fn discard(stream: *mut FILE) -> bool {
    // SAFETY: a stream of the program's, in the call that would write the same bytes.
    unsafe {
        let pending = __fpending(stream) != 0;
        if pending {
            __fpurge(stream);
        }
        pending
    }
}

//! A C stream as libc knows it: its descriptor, what waits in its buffer, its error flag.
//!
//! glibc and musl both keep the flags of a stream in the first 32 bits of FILE, and in both bit 5 is the error flag:
//! there it is part of the ABI, since macros of the header used to be compiled into programs. Only that bit is touched,
//! and only once ferror itself has read it in a block of ours.

use libc::{FILE, c_int};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

/// `_IO_ERR_SEEN` of glibc, `F_ERR` of musl.
const ERROR: u32 = 0x20;

/// What a stream's state allows: bits that its hooks give to `effects::fitting` beside the descriptor.
pub mod condition {
    /// The end has been read: no call asks the kernel any more.
    pub const AT_END: i32 = 1;
    /// Bytes wait to be written.
    pub const PENDING: i32 = 2;
    /// This libc keeps its error flag where we do not know it.
    pub const UNKNOWN: i32 = 4;
}

unsafe extern "C" {
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

//! C streams. What libc reads and writes below a stream never comes through our names, so the stream's own calls are
//! hooked.
//!
//! A call that fails leaves the stream as a failed read or write below it would: the error flag set, nothing read and
//! nothing taken, so that no byte is lost. A failed flush loses what waited to be written, as both libcs do it.
//! Every call counts. One that reads may fail also where its data is in the buffer: had less come before, this call would
//! have asked for more, and no caller can tell. One that writes may fail only where it must write (see [`stream::takes`]).
//! A stream without a descriptor (fmemopen, open_memstream) is none of the kernel's, and passes.

use super::data::told_if_any;
use super::file::after_open;
use super::{simple, tracked, with_flags};
use crate::call::{self, Quick};
use crate::disk::Freed;
use crate::effects::{self, Bytes, Change, Outcome};
use crate::log::Ticket;
use crate::real::{hooks, null, set_errno};
use crate::select::Target;
use crate::stream::{self, Given, descriptor_of};
use crate::{fds, init, sys};
use chaos_table::calls::Op;
use libc::{FILE, c_char, c_int, c_long, c_void, fpos_t, off_t, wchar_t};

/// wint_t.
type Wide = u32;
/// What calls that tell a character or nothing return when they fail.
const EOF: c_int = -1;
const WEOF: Wide = u32::MAX;

/// What a failed call returns, as the log tells it.
trait Told: Copy {
    fn told(self) -> i64;
}

impl Told for c_int {
    fn told(self) -> i64 {
        i64::from(self)
    }
}

impl Told for Wide {
    fn told(self) -> i64 {
        i64::from(self.cast_signed())
    }
}

impl Told for isize {
    fn told(self) -> i64 {
        self as i64
    }
}

impl Told for usize {
    fn told(self) -> i64 {
        self as i64
    }
}

impl Told for *mut c_char {
    fn told(self) -> i64 {
        self as i64
    }
}

/// The quick look at the rules on a stream's call.
#[inline(never)]
fn look(op: Op, stream: *mut FILE) -> Quick {
    match descriptor_of(stream) {
        fd if fd < 0 => Quick::Pass,
        fd => call::quick(op, Target::Fd(fd)),
    }
}

/// What happens to a call that did not pass at once. `asked` is how many bytes it is about.
#[cold]
#[inline(never)]
fn outcome(quick: Quick, op: Op, stream: *mut FILE, asked: usize) -> Outcome {
    outcome_of(quick, op, stream, asked, || Given::Unknown)
}

/// As [`outcome`], of a call that writes.
#[inline(always)]
fn outcome_of(quick: Quick, op: Op, stream: *mut FILE, asked: usize, given: impl FnOnce() -> Given) -> Outcome {
    let target = Target::Fd(descriptor_of(stream));
    match quick.resolve(op, target, asked as u64) {
        None => Outcome::Go,
        Some(first) => {
            let is_taken = stream::takes(stream, given());
            let taken = if is_taken { stream::condition::TAKEN } else { 0 };
            call::deliver(first, target, asked as u64, stream::condition_of(stream) | taken)
        }
    }
}

/// The end of a call that fails.
#[cold]
#[inline(never)]
fn fail<R: Told>(stream: *mut FILE, errno: i32, ticket: &Ticket, result: R) -> R {
    stream::set_error(stream);
    effects::tell(ticket, result.told());
    set_errno(errno);
    result
}

/// A call that either happens or returns `failed`. `given` is asked only where a rule has fired.
#[inline(always)]
fn whole<R: Told>(
    op: Op,
    stream: *mut FILE,
    asked: usize,
    given: impl FnOnce() -> Given,
    failed: R,
    real: impl FnOnce() -> R,
) -> R {
    match look(op, stream) {
        Quick::Pass => real(),
        quick => match outcome_of(quick, op, stream, asked, given) {
            Outcome::Fail(errno, ticket) => fail(stream, errno, &ticket, failed),

            _ => real(),
        },
    }
}

/// As [`whole`], for formatted input and output, whose real call is made by a jump (see `formatted.rs`): 0 to go on.
pub(super) fn formatted(op: Op, stream: *mut FILE, given: impl FnOnce() -> Given) -> c_int {
    whole(op, stream, 0, given, EOF, || 0)
}

#[inline(always)]
fn getting(stream: *mut FILE, real: impl FnOnce() -> c_int) -> c_int {
    whole(Op::Getc, stream, 1, || Given::Unknown, EOF, real)
}

#[inline(always)]
fn getting_wide(stream: *mut FILE, real: impl FnOnce() -> Wide) -> Wide {
    whole(Op::Getc, stream, 1, || Given::Unknown, WEOF, real)
}

#[inline(always)]
fn putting(byte: c_int, stream: *mut FILE, real: impl FnOnce() -> c_int) -> c_int {
    whole(Op::Putc, stream, 1, || Given::Byte(byte as u8), EOF, real)
}

/// How many bytes a wide character comes to, the locale knows.
#[inline(always)]
fn putting_wide(stream: *mut FILE, real: impl FnOnce() -> Wide) -> Wide {
    whole(Op::Putc, stream, 1, || Given::Unknown, WEOF, real)
}

/// fputs and its kin. How long the text is, is asked only where a rule has fired: to measure it takes time.
#[inline(always)]
fn telling(stream: *mut FILE, text: Given, real: impl FnOnce() -> c_int) -> c_int {
    whole(Op::Fputs, stream, 0, || text, EOF, real)
}

/// fread: so many items of so many bytes.
#[inline(always)]
fn reading(to: *mut c_void, size: usize, count: usize, stream: *mut FILE, real: impl FnOnce() -> usize) -> usize {
    match look(Op::Fread, stream) {
        Quick::Pass => real(),
        quick => reading_hit(quick, to, size, count, stream, real),
    }
}

#[cold]
#[inline(never)]
fn reading_hit(
    quick: Quick,
    to: *mut c_void,
    size: usize,
    count: usize,
    stream: *mut FILE,
    real: impl FnOnce() -> usize,
) -> usize {
    match outcome(quick, Op::Fread, stream, size.saturating_mul(count)) {
        Outcome::Fail(errno, ticket) => fail(stream, errno, &ticket, 0),
        Outcome::Corrupt(change, draw, ticket) => {
            let items = real();
            let filled = items.min(count) * size;
            let at = |at| Some(to.cast::<u8>().wrapping_add(at));
            // SAFETY: the real call has filled so many bytes of the program's buffer.
            change.apply(filled, draw, &mut unsafe { Bytes::new(&at) });
            told_if_any(items as isize, &ticket);
            items
        }

        _ => real(),
    }
}

/// Changes a line that was read, `len` bytes from `line`. A delimiter neither comes nor goes: a line with one inside is
/// what no kernel could make libc return.
fn corrupt_line(line: *mut u8, len: usize, delimiter: u8, how: (Change, u64), ticket: &Ticket) {
    let (change, draw) = how;
    // SAFETY: the real call has returned a line of `len` bytes in the program's buffer.
    let text = unsafe {
        let text = if len > 0 && *line.add(len - 1) == delimiter { len - 1 } else { len };
        change.apply(text, draw, &mut Bytes::new(&|at| Some(line.add(at))));
        for at in 0..text {
            if *line.add(at) == delimiter {
                *line.add(at) ^= 0x40;
            }
        }
        text
    };
    if text > 0 {
        told_if_any(len as isize, ticket);
    }
}

/// fgets, in a buffer of so many bytes.
#[inline(always)]
fn reading_line(stream: *mut FILE, room: c_int, real: impl FnOnce() -> *mut c_char) -> *mut c_char {
    match look(Op::Fgets, stream) {
        Quick::Pass => real(),
        quick => match outcome(quick, Op::Fgets, stream, usize::try_from(room).unwrap_or(0)) {
            Outcome::Fail(errno, ticket) => fail(stream, errno, &ticket, std::ptr::null_mut()),
            Outcome::Corrupt(change, draw, ticket) => {
                let line = real();
                if !line.is_null() {
                    // SAFETY: fgets has returned a C string in the program's buffer.
                    let len = unsafe { libc::strlen(line) };
                    corrupt_line(line.cast(), len, b'\n', (change, draw), &ticket);
                }
                line
            }

            _ => real(),
        },
    }
}

/// getline and getdelim: the line lies where `place` points to afterwards.
#[inline(always)]
fn reading_delimited(
    stream: *mut FILE,
    place: *mut *mut c_char,
    delimiter: c_int,
    real: impl FnOnce() -> isize,
) -> isize {
    match look(Op::Getline, stream) {
        Quick::Pass => real(),
        quick => match outcome(quick, Op::Getline, stream, 0) {
            Outcome::Fail(errno, ticket) => fail(stream, errno, &ticket, -1),
            Outcome::Corrupt(change, draw, ticket) => {
                let len = real();
                if let Ok(size) = usize::try_from(len) {
                    // SAFETY: getdelim has put its line there.
                    let line = unsafe { *place }.cast();
                    corrupt_line(line, size, delimiter as u8, (change, draw), &ticket);
                }
                len
            }

            _ => real(),
        },
    }
}

/// fwrite: so many items of so many bytes.
#[inline(always)]
fn writing(
    from: *const c_void,
    size: usize,
    count: usize,
    stream: *mut FILE,
    real: impl Fn(*const c_void) -> usize,
) -> usize {
    match look(Op::Fwrite, stream) {
        Quick::Pass => real(from),
        quick => writing_hit(quick, from, size, count, stream, real),
    }
}

#[cold]
#[inline(never)]
fn writing_hit(
    quick: Quick,
    from: *const c_void,
    size: usize,
    count: usize,
    stream: *mut FILE,
    real: impl Fn(*const c_void) -> usize,
) -> usize {
    let len = size.saturating_mul(count);
    match outcome_of(quick, Op::Fwrite, stream, len, || Given::Bytes(from, len)) {
        Outcome::Fail(errno, ticket) => fail(stream, errno, &ticket, 0),
        Outcome::Corrupt(change, draw, ticket) => {
            let Some(copy) = sys::mmap(len.max(1), -1) else { return real(from) };
            // SAFETY: the program's buffer has `len` bytes, the copy as many; it is unmapped once the stream has them.
            let items = unsafe {
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy, len);
                change.apply(len, draw, &mut Bytes::new(&|at| Some(copy.add(at))));
                let items = real(copy.cast());
                sys::munmap(copy, len.max(1));
                items
            };
            told_if_any(items as isize, &ticket);
            items
        }

        _ => real(from),
    }
}

/// A flush, or what begins with one: fseek. What waited to be written is gone when it fails.
#[inline(always)]
fn flushing(op: Op, stream: *mut FILE, real: impl FnOnce() -> c_int) -> c_int {
    match look(op, stream) {
        Quick::Pass => real(),
        quick => match outcome(quick, op, stream, 0) {
            Outcome::Fail(errno, ticket) => {
                if stream::discard(stream) {
                    return fail(stream, errno, &ticket, EOF);
                }
                effects::fail(errno, &ticket) as c_int
            }

            _ => real(),
        },
    }
}

/// fclose always closes; when it fails, what waited to be written is gone.
#[inline(always)]
fn closing(stream: *mut FILE, real: impl FnOnce() -> c_int) -> c_int {
    let outcome = match look(Op::Fclose, stream) {
        Quick::Pass => Outcome::Go,
        quick => outcome(quick, Op::Fclose, stream, 0),
    };
    let fd = descriptor_of(stream);
    fds::forget(fd);
    let freed = Freed::by_close(fd);
    let real = || {
        let result = real();
        freed.happened();
        result
    };
    match outcome {
        Outcome::Fail(errno, ticket) => {
            stream::discard(stream);
            real();
            effects::fail(errno, &ticket) as c_int
        }

        _ => real(),
    }
}

fn null(errno: i32) -> *mut FILE {
    set_errno(errno);
    std::ptr::null_mut()
}

/// The flags of open(2) that a mode of fopen stands for.
fn flags_of(mode: *const c_char) -> c_int {
    // SAFETY: the program's own argument of a call that is being made.
    let Some(mode) = (unsafe { sys::string(mode) }) else { return 0 };
    let has = |letter: u8| mode.to_bytes().contains(&letter);
    let access = if has(b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    match (mode.to_bytes().first(), has(b'x')) {
        (Some(b'r'), _) if !has(b'+') => libc::O_RDONLY,
        (Some(b'w' | b'a'), true) => access | libc::O_CREAT | libc::O_EXCL,
        (Some(b'w' | b'a'), false) => access | libc::O_CREAT,
        _ => access,
    }
}

/// A call that opens a stream.
fn opening(
    path: *const c_char,
    mode: *const c_char,
    failed: impl FnOnce(i32) -> *mut FILE,
    real: impl FnOnce() -> *mut FILE,
) -> *mut FILE {
    init::before_open(libc::AT_FDCWD, path);
    let stream = with_flags(Op::Fopen, Target::Path(libc::AT_FDCWD, path), flags_of(mode), real, failed);
    if tracked(Op::Fopen) {
        let fd = descriptor_of(stream);
        after_open(libc::AT_FDCWD, path, fd);
    }
    stream
}

/// freopen closes what was open before, also when it fails: then it is made to fail, by a path that nobody can open.
fn reopening(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
    real: impl Fn(*const c_char) -> *mut FILE,
) -> *mut FILE {
    fds::forget(descriptor_of(stream));
    let failed = |errno| {
        real(c"".as_ptr());
        null(errno)
    };
    opening(path, mode, failed, || real(path))
}

hooks! {
    Fopen, fopen(path: *const c_char, mode: *const c_char) -> *mut FILE, real => opening(path, mode, null, || real(path, mode));
    Fopen, fopen64 or fopen(path: *const c_char, mode: *const c_char) -> *mut FILE, real =>
        opening(path, mode, null, || real(path, mode));
    Fopen, freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE, real =>
        reopening(path, mode, stream, |path| real(path, mode, stream));
    Fopen, freopen64 or freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE, real =>
        reopening(path, mode, stream, |path| real(path, mode, stream));
    Fdopen, fdopen(fd: c_int, mode: *const c_char) -> *mut FILE, real =>
        simple(Op::Fdopen, Target::Fd(fd), || real(fd, mode), null);

    Fread, fread(to: *mut c_void, size: usize, count: usize, stream: *mut FILE) -> usize, real =>
        reading(to, size, count, stream, || real(to, size, count, stream));
    Fread, fread_unlocked or fread(to: *mut c_void, size: usize, count: usize, stream: *mut FILE) -> usize, real =>
        reading(to, size, count, stream, || real(to, size, count, stream));
    Fread, __fread_chk or null(to: *mut c_void, room: usize, size: usize, count: usize, stream: *mut FILE) -> usize, real =>
        reading(to, size, count, stream, || real(to, room, size, count, stream));
    Fread, __fread_unlocked_chk or null(to: *mut c_void, room: usize, size: usize, count: usize, stream: *mut FILE) -> usize,
        real => reading(to, size, count, stream, || real(to, room, size, count, stream));

    Fgets, fgets(to: *mut c_char, room: c_int, stream: *mut FILE) -> *mut c_char, real =>
        reading_line(stream, room, || real(to, room, stream));
    Fgets, fgets_unlocked or fgets(to: *mut c_char, room: c_int, stream: *mut FILE) -> *mut c_char, real =>
        reading_line(stream, room, || real(to, room, stream));
    Fgets, __fgets_chk or null(to: *mut c_char, size: usize, room: c_int, stream: *mut FILE) -> *mut c_char, real =>
        reading_line(stream, room, || real(to, size, room, stream));
    Fgets, __fgets_unlocked_chk or null(to: *mut c_char, size: usize, room: c_int, stream: *mut FILE) -> *mut c_char, real =>
        reading_line(stream, room, || real(to, size, room, stream));

    Getc, getc(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, fgetc(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, getchar() -> c_int, real => getting(stream::standard_input(), || real());
    Getc, getc_unlocked(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, fgetc_unlocked or getc_unlocked(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, getchar_unlocked() -> c_int, real => getting(stream::standard_input(), || real());
    Getc, _IO_getc or getc(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, __uflow or getc_unlocked(stream: *mut FILE) -> c_int, real => getting(stream, || real(stream));
    Getc, fgetwc(stream: *mut FILE) -> Wide, real => getting_wide(stream, || real(stream));
    Getc, getwc(stream: *mut FILE) -> Wide, real => getting_wide(stream, || real(stream));
    Getc, getwchar() -> Wide, real => getting_wide(stream::standard_input(), || real());

    Getline, getline(place: *mut *mut c_char, size: *mut usize, stream: *mut FILE) -> isize, real =>
        reading_delimited(stream, place, c_int::from(b'\n'), || real(place, size, stream));
    Getline, getdelim(place: *mut *mut c_char, size: *mut usize, delimiter: c_int, stream: *mut FILE) -> isize, real =>
        reading_delimited(stream, place, delimiter, || real(place, size, delimiter, stream));
    Getline, __getdelim or getdelim(place: *mut *mut c_char, size: *mut usize, delimiter: c_int, stream: *mut FILE) -> isize,
        real => reading_delimited(stream, place, delimiter, || real(place, size, delimiter, stream));

    Fwrite, fwrite(from: *const c_void, size: usize, count: usize, stream: *mut FILE) -> usize, real =>
        writing(from, size, count, stream, |from| real(from, size, count, stream));
    Fwrite, fwrite_unlocked or fwrite(from: *const c_void, size: usize, count: usize, stream: *mut FILE) -> usize, real =>
        writing(from, size, count, stream, |from| real(from, size, count, stream));

    Fputs, fputs(text: *const c_char, stream: *mut FILE) -> c_int, real => telling(stream, Given::Text(text), || real(text, stream));
    Fputs, fputs_unlocked or fputs(text: *const c_char, stream: *mut FILE) -> c_int, real =>
        telling(stream, Given::Text(text), || real(text, stream));
    Fputs, puts(text: *const c_char) -> c_int, real =>
        telling(stream::standard_output(), Given::Line(text), || real(text));
    Fputs, fputws(text: *const wchar_t, stream: *mut FILE) -> c_int, real =>
        telling(stream, Given::Unknown, || real(text, stream));

    Putc, putc(byte: c_int, stream: *mut FILE) -> c_int, real => putting(byte, stream, || real(byte, stream));
    Putc, fputc(byte: c_int, stream: *mut FILE) -> c_int, real => putting(byte, stream, || real(byte, stream));
    Putc, putchar(byte: c_int) -> c_int, real => putting(byte, stream::standard_output(), || real(byte));
    Putc, putc_unlocked(byte: c_int, stream: *mut FILE) -> c_int, real => putting(byte, stream, || real(byte, stream));
    Putc, fputc_unlocked or putc_unlocked(byte: c_int, stream: *mut FILE) -> c_int, real =>
        putting(byte, stream, || real(byte, stream));
    Putc, putchar_unlocked(byte: c_int) -> c_int, real => putting(byte, stream::standard_output(), || real(byte));
    Putc, _IO_putc or putc(byte: c_int, stream: *mut FILE) -> c_int, real => putting(byte, stream, || real(byte, stream));
    Putc, __overflow(stream: *mut FILE, byte: c_int) -> c_int, real => putting(byte, stream, || real(stream, byte));
    Putc, fputwc(character: wchar_t, stream: *mut FILE) -> Wide, real => putting_wide(stream, || real(character, stream));
    Putc, putwc(character: wchar_t, stream: *mut FILE) -> Wide, real => putting_wide(stream, || real(character, stream));
    Putc, putwchar(character: wchar_t) -> Wide, real => putting_wide(stream::standard_output(), || real(character));

    Fflush, fflush(stream: *mut FILE) -> c_int, real => flushing(Op::Fflush, stream, || real(stream));
    Fflush, fflush_unlocked or fflush(stream: *mut FILE) -> c_int, real => flushing(Op::Fflush, stream, || real(stream));
    Fclose, fclose(stream: *mut FILE) -> c_int, real => closing(stream, || real(stream));
    Fseek, fseek(stream: *mut FILE, offset: c_long, whence: c_int) -> c_int, real =>
        flushing(Op::Fseek, stream, || real(stream, offset, whence));
    Fseek, fseeko(stream: *mut FILE, offset: off_t, whence: c_int) -> c_int, real =>
        flushing(Op::Fseek, stream, || real(stream, offset, whence));
    Fseek, fseeko64 or fseeko(stream: *mut FILE, offset: off_t, whence: c_int) -> c_int, real =>
        flushing(Op::Fseek, stream, || real(stream, offset, whence));
    Fseek, fsetpos(stream: *mut FILE, at: *const fpos_t) -> c_int, real =>
        flushing(Op::Fseek, stream, || real(stream, at));
    Fseek, fsetpos64 or fsetpos(stream: *mut FILE, at: *const fpos_t) -> c_int, real =>
        flushing(Op::Fseek, stream, || real(stream, at));
}

//! What a program or a test may ask of us itself: the functions of `include/chaos.h`, where they are documented.
//!
//! They are no hooks. They take the token, so that what they do is seen by no rule, and leave errno alone.

pub mod arena;
mod steer;
mod tell;

use crate::guard::{self, Thread, Token};
use crate::session::{self, Session};
use crate::{init, real, tree};
use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicU8, Ordering};

/// Longest text that is taken from the program.
const LONGEST: usize = 1024;
/// Room of [`LAST`].
const ERROR: usize = 512;

/// Why the latest call that failed did so; the last byte stays NUL.
static LAST: [AtomicU8; ERROR] = [const { AtomicU8::new(0) }; ERROR];

/// Why something could not be done: the errno. The text is in [`LAST`].
#[derive(Clone, Copy)]
struct Refused(c_int);

/// Remembers why something could not be done.
fn refused(errno: c_int, why: &str) -> Refused {
    let bytes = why.bytes().filter(|byte| *byte != 0).chain(std::iter::repeat(0));
    for (place, byte) in LAST.iter().take(ERROR - 1).zip(bytes) {
        place.store(if byte == b'\n' { b' ' } else { byte }, Ordering::Relaxed);
    }
    Refused(errno)
}

/// Does something inside the shim, and answers 0 or an errno.
fn ask(body: impl FnOnce(&'static Session, &'static Thread) -> Result<(), Refused>) -> c_int {
    let errno = real::errno();
    let done = match inside() {
        Ok((session, token)) => {
            let done = body(session, token.thread);
            token.leave();
            done
        }
        Err(refused) => Err(refused),
    };
    real::set_errno(errno);
    done.map_or_else(|Refused(errno)| errno, |()| 0)
}

fn inside() -> Result<(&'static Session, Token), Refused> {
    let Some(session) = session::attached() else {
        return Err(refused(libc::ENOSYS, "there is no session: the process was not started under a fault table"));
    };
    if tree::in_vfork_child(guard::thread()) {
        return Err(refused(libc::EBUSY, "a child of vfork has its parent's memory, so it changes nothing"));
    }
    if session.is_over() {
        return Err(refused(libc::ECANCELED, "injection has ended for good"));
    }
    // No runtime calls us while it boots.
    init::sign();
    let Some(token) = Token::enter() else {
        return Err(refused(libc::EBUSY, "a signal handler interrupted the shim itself"));
    };
    tree::here();
    Ok((session, token))
}

/// A text of the program's, as far as it is taken; NULL is empty.
///
/// # Safety
/// `text` must be NULL or a C string.
unsafe fn given<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: the caller says so; not more than up to its end is looked at.
    unsafe { std::slice::from_raw_parts(text.cast(), libc::strnlen(text, LONGEST)) }
}

/// As [`given`], for a text that must be read as a whole.
///
/// # Safety
/// As for [`given`].
unsafe fn word<'a>(text: *const c_char, what: &str) -> Result<&'a str, Refused> {
    // SAFETY: the caller says so.
    let bytes = unsafe { given(text) };
    if bytes.is_empty() || bytes.len() == LONGEST {
        let why = if bytes.is_empty() { "is empty" } else { "is longer than 1023 bytes" };
        return Err(refused(libc::EINVAL, concat(what, why).as_str()));
    }
    std::str::from_utf8(bytes).map_err(|_| refused(libc::EINVAL, concat(what, "is no UTF-8").as_str()))
}

/// "the WHAT IS", without allocation.
fn concat(what: &str, is: &str) -> Short {
    let mut text = crate::text::Text::<80>::EMPTY;
    for part in ["the ", what, " ", is] {
        text.push(part.as_bytes());
    }
    Short(text)
}

struct Short(crate::text::Text<80>);

impl Short {
    fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.bytes()).unwrap_or("")
    }
}

/// See `chaos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn chaos_error() -> *const c_char {
    LAST.as_ptr().cast()
}

//! Handing a program over to the seccomp engine: the launcher's own binary is started in its place, comes below the
//! filter there, and becomes the program.
//!
//! Without allocation, since it may be for a vfork child: what the helper is told is built on the stack, behind the
//! environment that the program gets.

use crate::sys;
use crate::text::Text;
use crate::tree::{self, Reserved};
use chaos_table::session::{BECOME, HELPER};
use std::ffi::{CStr, c_char};

/// Starts a program, with these arguments and this environment; for exec it comes back only when that fails.
pub type Start<'a> = &'a mut dyn FnMut(*const c_char, *const *const c_char, *const *mut c_char) -> isize;

/// How a program can be started by way of the helper.
pub struct Hand<'a> {
    /// The program's arguments, ended by NULL.
    pub argv: *const *const c_char,
    /// Starts the helper.
    pub start: Start<'a>,
}

/// What the helper is told.
pub struct Handing<'a> {
    /// How it is started.
    pub hand: Hand<'a>,
    /// What execve gets.
    pub program: *const c_char,
    /// Where the session's path is, ended by NUL.
    pub session: *const c_char,
    /// The place of the program in the tree, ended by NUL.
    pub place: Text<256>,
    /// A slot that was claimed for a new process.
    pub reserved: Option<Reserved>,
    /// The path of the launcher, ended by NUL.
    pub helper: Text<1100>,
    /// Number of its arguments.
    argc: usize,
}

/// Words before the arguments, and NULL behind the environment.
const WORDS: usize = 7;
/// The number of arguments as text.
const DIGITS: usize = 24;

impl<'a> Handing<'a> {
    /// Prepares it; `None` when the launcher cannot be run from there, or takes nobody in.
    pub fn prepare(hand: Hand<'a>, program: *const c_char, session: &'static CStr) -> Option<Handing<'a>> {
        let path = session.to_bytes();
        let dir = path.iter().rposition(|byte| *byte == b'/').and_then(|end| path.get(..=end))?;
        let mut helper = Text::EMPTY;
        if program.is_null() || !(helper.push(dir) && helper.push(HELPER.as_bytes()) && helper.push(b"\0")) {
            return None;
        }
        if !sys::executable(CStr::from_bytes_with_nul(helper.bytes()).ok()?) {
            return None;
        }
        let mut argc = 0;
        // SAFETY: the program's own arguments of a call that is being made end with NULL.
        unsafe {
            while !hand.argv.is_null() && !(*hand.argv.add(argc)).is_null() {
                argc += 1;
            }
        }
        let (session, place) = (session.as_ptr(), Text::EMPTY);
        Some(Handing { hand, program, session, place, reserved: None, helper, argc })
    }

    /// Room for what the helper is told of an environment with so many entries.
    pub fn bytes(&self, entries: usize) -> usize {
        (WORDS + self.argc + entries) * size_of::<*const c_char>() + DIGITS
    }

    /// Starts the helper. `None` when that has failed: the slot that was claimed is free again.
    ///
    /// # Safety
    /// `memory` must be aligned to 8 and have the room that `bytes` says for the entries of `list`, which ends with NULL.
    pub unsafe fn over(&mut self, memory: *mut u8, list: *const *mut c_char) -> Option<isize> {
        let words = memory.cast::<*const c_char>();
        let mut count = 0;
        let mut number = Text::<DIGITS>::EMPTY;
        number.push_number(self.argc as u64);
        number.push(b"\0");
        // SAFETY: the caller answers for the room: a word each, the arguments, the environment, NULL.
        let result = unsafe {
            let mut push = |word: *const c_char| {
                words.add(count).write(word);
                count += 1;
            };
            let fixed = [self.helper.bytes().as_ptr(), BECOME.as_ptr().cast(), self.session.cast()];
            fixed.into_iter().for_each(|word| push(word.cast()));
            push(self.place.bytes().as_ptr().cast());
            push(number.bytes().as_ptr().cast());
            push(self.program);
            (0..self.argc).for_each(|at| push(*self.hand.argv.add(at)));
            let mut entry = list;
            while !(*entry).is_null() {
                push(*entry);
                entry = entry.add(1);
            }
            push(std::ptr::null());
            let nothing: [*mut c_char; 1] = [std::ptr::null_mut()];
            (self.hand.start)(self.helper.bytes().as_ptr().cast(), words, nothing.as_ptr())
        };
        if result == 0 {
            return Some(0);
        }
        if let Some(reserved) = self.reserved.take() {
            tree::give_back(reserved);
        }
        None
    }
}

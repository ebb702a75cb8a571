//! What the program tells the log: marks, events, figures, recoveries of its own.

use super::{Refused, ask, given, refused};
use crate::guard::Thread;
use crate::log;
use crate::session::Session;
use chaos_table::record::{Record, kind};
use std::ffi::{c_char, c_int};

/// Longest name of a component, an event, or a figure.
const NAME: usize = 128;

fn publish(session: &Session, thread: &Thread, mut record: Record, texts: &[&[u8]]) -> Result<(), Refused> {
    match log::publish(session, thread, &mut record, texts) {
        Some(_) => Ok(()),
        None => Err(refused(libc::ENOSPC, "the log is full")),
    }
}

pub(super) fn mark(session: &Session, thread: &Thread, text: &[u8]) -> Result<(), Refused> {
    publish(session, thread, Record { kind: kind::MARK, ..Record::default() }, &[text])
}

fn event(session: &Session, thread: &Thread, component: &[u8], event: &[u8], data: &[u8]) -> Result<(), Refused> {
    let short = |text: &'_ [u8]| text.len().min(NAME);
    let (component, event) = (component.get(..short(component)), event.get(..short(event)));
    let texts = [component.unwrap_or(b""), event.unwrap_or(b""), data];
    publish(session, thread, Record { kind: kind::EVENT, ..Record::default() }, &texts)
}

/// See `chaos.h`.
///
/// # Safety
/// `text` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_mark(text: *const c_char) -> c_int {
    // SAFETY: the caller says so.
    let text = unsafe { given(text) };
    if text.is_empty() {
        return ask(|_, _| Err(refused(libc::EINVAL, "the mark says nothing")));
    }
    ask(|session, thread| mark(session, thread, text))
}

/// See `chaos.h`.
///
/// # Safety
/// Each must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_event(component: *const c_char, name: *const c_char, data: *const c_char) -> c_int {
    // SAFETY: the caller says so.
    let [component, name, data] = unsafe { [given(component), given(name), given(data)] };
    ask(|session, thread| event(session, thread, component, name, data))
}

/// See `chaos.h`.
///
/// # Safety
/// `name` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_metric(name: *const c_char, value: f64) -> c_int {
    // SAFETY: the caller says so.
    let name = unsafe { given(name) };
    let name = name.get(..name.len().min(NAME)).unwrap_or(b"");
    ask(|session, thread| {
        if name.is_empty() || !value.is_finite() {
            return Err(refused(libc::EINVAL, "a figure needs a name and a finite value"));
        }
        let record = Record { kind: kind::METRIC, result: value.to_bits() as i64, ..Record::default() };
        publish(session, thread, record, &[name])
    })
}

/// See `chaos.h`.
///
/// # Safety
/// `what` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_recovery_begin(what: *const c_char) -> c_int {
    // SAFETY: the caller says so.
    let what = unsafe { given(what) };
    ask(|session, thread| event(session, thread, what, b"recovery_begin", b""))
}

/// See `chaos.h`.
///
/// # Safety
/// `what` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_recovery_end(what: *const c_char, recovered: c_int) -> c_int {
    // SAFETY: the caller says so.
    let what = unsafe { given(what) };
    let outcome: &[u8] = if recovered != 0 { b"recovered" } else { b"failed" };
    ask(|session, thread| event(session, thread, what, b"recovery_end", outcome))
}

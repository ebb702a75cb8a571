//! What the program changes: switches, rules, and rules of its own threads.

use super::arena::within;
use super::tell::mark;
use super::{Refused, ask, refused, word};
use crate::guard::Thread;
use crate::session::Session;
use crate::text::Text;
use crate::{clock, learn, sys, tree};
use chaos_table::error::TableError;
use chaos_table::live::{Added, Adding, Held, Live, Why, change};
use chaos_table::record::MAX_TEXT;
use chaos_table::session::{Header, ProcessCounters, ThreadSlot};
use chaos_table::spec::parse_spec;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

type Steered = Live<'static, Session>;

/// Does something to the table, of which nobody else changes anything meanwhile.
fn steer(body: impl FnOnce(&Steered, &'static Session, &'static Thread) -> Result<(), Refused>) -> c_int {
    ask(|session, thread| {
        let live = Live::of(session, session.len()).map_err(|_| refused(libc::EIO, "the session is damaged"))?;
        let _held: Held<'_> = live
            .lock(tree::me().pid(), is_alive, || {
                sys::sleep(1_000_000);
            })
            .ok_or_else(|| refused(libc::EBUSY, "somebody else has been changing the session for two seconds"))?;
        let done = within(|| catch_unwind(AssertUnwindSafe(|| body(&live, session, thread))).map_err(drop));
        match done {
            Some(Ok(done)) => done,
            Some(Err(())) => Err(refused(libc::EINVAL, "the text could not be read")),
            None => Err(refused(libc::ENOMEM, "there is no memory to read the text")),
        }
    })
}

fn is_alive(pid: u32) -> bool {
    sys::kill(pid, 0) != -libc::ESRCH as isize
}

fn told(error: &TableError) -> Refused {
    let help = error.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    refused(libc::EINVAL, &format!("{}{help}", error.message))
}

/// Says in the log what was changed, by which function.
fn note(session: &Session, thread: &Thread, parts: &[&str]) {
    let mut text = Text::<MAX_TEXT>::EMPTY;
    for part in parts {
        text.push(part.as_bytes());
    }
    // What was changed is in force, whether the log has room for it or not.
    let _ = mark(session, thread, text.bytes());
}

/// See `chaos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn chaos_enable() -> c_int {
    steer(|live, session, thread| {
        let changed = !live.is_enabled();
        live.enable();
        if changed {
            note(session, thread, &["chaos_enable"]);
        }
        if live.budget() == Some(0) {
            return Err(refused(libc::ECANCELED, "the run has had all of its max_faults"));
        }
        Ok(())
    })
}

/// See `chaos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn chaos_disable() -> c_int {
    steer(|live, session, thread| {
        let changed = live.is_enabled();
        live.disable();
        if changed {
            note(session, thread, &["chaos_disable"]);
        }
        Ok(())
    })
}

/// The rule of this name or number.
fn find(live: &Steered, rule: &str) -> Result<(usize, String), Refused> {
    let names = live.names();
    let number = rule.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let index = names.iter().position(|name| name == rule).or(number.filter(|index| *index < names.len()));
    let found = index.and_then(|index| Some((index, names.get(index)?.clone())));
    found.ok_or_else(|| refused(libc::ENOENT, &format!("there is no rule `{rule}`")))
}

/// See `chaos.h`.
///
/// # Safety
/// Both must be NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_set(rule: *const c_char, assignments: *const c_char) -> c_int {
    steer(|live, session, thread| {
        // SAFETY: the caller says so.
        let (rule, assignments) = unsafe { (word(rule, "rule")?, word(assignments, "change")?) };
        let (index, name) = find(live, rule)?;
        let gone = || refused(libc::ENOENT, "the rule was removed");
        let mut changed = live.rule(index).filter(|rule| rule.enabled != 0).ok_or_else(gone)?;
        change(&mut changed, assignments, live.run_time(clock::exact())).map_err(|error| told(&error))?;
        live.replace(index, &changed);
        note(session, thread, &["chaos_set: ", &name, " ", assignments]);
        Ok(())
    })
}

/// See `chaos.h`.
///
/// # Safety
/// `rule` must be NULL or a C string, `what` a C string, `value` NULL or a place for a double.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_get(rule: *const c_char, what: *const c_char, value: *mut f64) -> c_int {
    steer(|live, session, _| {
        // SAFETY: the caller says so.
        let what = unsafe { word(what, "word") }?;
        let known = if rule.is_null() {
            of_run(live, session, what)
        } else {
            // SAFETY: the caller says so.
            let (index, _) = find(live, unsafe { word(rule, "rule") }?)?;
            of_rule(live, session, index, what)
        };
        let known = known.ok_or_else(|| refused(libc::EINVAL, &format!("there is no `{what}` to get: see chaos.h")))?;
        if value.is_null() {
            return Err(refused(libc::EINVAL, "there is no place for the value"));
        }
        // SAFETY: the caller says so.
        unsafe { *value = known };
        Ok(())
    })
}

fn of_run(live: &Steered, session: &Session, what: &str) -> Option<f64> {
    let yes = |is: bool| f64::from(u8::from(is));
    match what {
        "enabled" => Some(yes(live.is_enabled())),
        "armed" => Some(yes(live.is_armed())),
        "rules" => Some(live.rule_count() as f64),
        "injections" => Some(injections(session) as f64),
        "left" => Some(live.budget().map_or(-1.0, |left| left as f64)),
        _ => None,
    }
}

fn of_rule(live: &Steered, session: &Session, index: usize, what: &str) -> Option<f64> {
    let rule = live.rule(index)?;
    match what {
        // A rate of 1 is the largest number.
        "rate" => Some(rule.rate as f64 / u64::MAX as f64),
        "every" => Some(rule.every as f64),
        "after" => Some(rule.after as f64),
        "times" => Some(rule.times as f64),
        "delay" => Some(rule.delay.base_ns as f64 / 1e9),
        "in_force" => Some(f64::from(u8::from(session.is_in_force(index) && live.is_armed()))),
        "matched" => Some(matched(session, index) as f64),
        _ => None,
    }
}

fn slots(session: &Session) -> impl Iterator<Item = *mut ThreadSlot> + '_ {
    (0..session.thread_room()).map(|index| session.thread(index))
}

fn matched(session: &Session, index: usize) -> u64 {
    let ended = session.tree(index, offset_of!(chaos_table::session::TreeCounters, matched)).load(Ordering::Relaxed);
    // SAFETY: inside the mapping; counters of a slot that nobody has are zero or another's of before.
    let of = |slot: *mut ThreadSlot| unsafe {
        if (*slot).state == chaos_table::session::slot_state::LIVE {
            (*session.thread_counters(slot, index)).matched
        } else {
            0
        }
    };
    slots(session).map(of).fold(ended, u64::saturating_add)
}

/// Injections of the whole tree so far.
fn injections(session: &Session) -> u64 {
    let ended = session.counter(offset_of!(Header, injections)).load(Ordering::Relaxed);
    // SAFETY: inside the mapping, aligned to 8, and read atomically.
    let of = |slot: *mut ThreadSlot| unsafe {
        if (*slot).state == chaos_table::session::slot_state::LIVE {
            AtomicU64::from_ptr(&raw mut (*slot).injections).load(Ordering::Relaxed)
        } else {
            0
        }
    };
    slots(session).map(of).fold(ended, u64::saturating_add)
}

/// See `chaos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn chaos_injections() -> u64 {
    crate::session::attached().map_or(0, injections)
}

/// See `chaos.h`.
///
/// # Safety
/// `spec` must be NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chaos_begin(spec: *const c_char) -> c_int {
    steer(|live, session, thread| {
        // SAFETY: the caller says so.
        let spec = unsafe { word(spec, "spec") }?;
        if !thread.begun.get().has_room() {
            return Err(refused(
                libc::ENOSPC,
                "seven rules are begun on this thread already: chaos_end ends the latest",
            ));
        }
        let fault = parse_spec(spec, "chaos_begin").map_err(|error| told(&error))?;
        let (_, tid, image) = tree::who(thread);
        let why = Why::Thread(image, tid);
        let adding = Adding { fault: &fault, spec, why, roles: &BTreeMap::new(), mono_ns: clock::exact() };
        let rules = live.rule_count();
        let Added { index, name, .. } = live.add(&adding).map_err(|error| told(&error))?;
        // `nth` and `times` count from here.
        for field in [offset_of!(ProcessCounters, seen), offset_of!(ProcessCounters, fired)] {
            session.process_counter(tree::me().slot(), index, field).store(0, Ordering::Relaxed);
        }
        learn::take_up_own(session);
        if let Some(begun) = thread.begun.get().with(index) {
            thread.begun.set(begun);
        }
        if index >= rules {
            note(session, thread, &["chaos_begin: ", &name, ": ", spec]);
        }
        Ok(())
    })
}

/// See `chaos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn chaos_end() -> c_int {
    steer(|live, _, thread| {
        let Some((index, rest)) = thread.begun.get().pop() else {
            return Err(refused(libc::EINVAL, "nothing was begun on this thread"));
        };
        thread.begun.set(rest);
        live.pause(index);
        Ok(())
    })
}

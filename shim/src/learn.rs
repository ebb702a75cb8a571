//! Taking up rules that were added while the program runs.
//!
//! A process sees in the words that its calls look at anyway that there is a rule which it does not know. The thread that
//! sees it first prepares the process; until that is done the calls of others pass by the new rule.

use crate::guard::{self, Token};
use crate::session::{self, Session};
use crate::{fds, init, modules, real, sys, tree, wall};
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a thread that is at it is waited for: so many steps ...
const PATIENCE: u32 = 10_000;
/// ... of so many ns.
const STEP_NS: u64 = 10_000;

/// A thread of this process is at it. It lies with what a fork child writes anyway.
#[unsafe(link_section = ".data.chaos_start")]
static AT_IT: AtomicBool = AtomicBool::new(false);

/// Takes up what is there now, unless another thread does, or this one is inside the shim.
#[cold]
#[inline(never)]
pub fn take_up() {
    let Some(session) = session::attached() else { return };
    // A vfork child has its parent's memory; the parent will see the rule itself.
    if tree::in_vfork_child(guard::thread()) {
        return;
    }
    let Some(token) = Token::enter() else { return };
    tree::here();
    if !AT_IT.swap(true, Ordering::Acquire) {
        prepare(session);
        AT_IT.store(false, Ordering::Release);
    }
    token.leave();
}

/// For a call that is followed without a rule on it: its patterns may be those of rules that were added.
pub fn take_up_patterns(session: &Session) {
    if session.is_behind() {
        take_up();
    }
}

/// Takes up a rule that this process has just added itself: it waits for a thread that is at it.
pub fn take_up_own(session: &Session) {
    for _ in 0..PATIENCE {
        if !AT_IT.swap(true, Ordering::Acquire) {
            prepare(session);
            AT_IT.store(false, Ordering::Release);
            return;
        }
        sys::sleep(STEP_NS);
    }
}

/// Everything that a rule needs stands ready before this process counts it among its own.
fn prepare(session: &Session) {
    session.learn();
    init::spare_modules(session);
    // What was remembered says nothing of the new rules; neither have the threads' slots counters for them.
    fds::outdated();
    modules::outdated();
    tree::outdate_slots();
    let me = tree::me();
    me.set_rules(session);
    wall::prepare(session);
    if me.rules() | me.clocks() != 0 {
        real::turn_to(session.added_words(), session.words());
    }
}

/// In a fork child: whoever was at it in the parent is not here.
pub fn forget_parent() {
    // Looked at first: a store would copy the page for every child.
    if AT_IT.load(Ordering::Relaxed) {
        AT_IT.store(false, Ordering::Relaxed);
    }
}

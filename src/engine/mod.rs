//! The second engine: seccomp user notification, for programs that no shim reaches.
//!
//! A process installs a filter over itself that makes the kernel ask the launcher about the system calls that have
//! rules; the launcher decides with the same table, and answers. Filter and exec are the last things that happen before
//! the target's own first instruction.
//!
//! # How others use it
//!
//! * [`Engine::new`] once a run, before the target starts: maps the session, and nothing more.
//! * [`Engine::filtered`] gives what [`crate::sys::spawn`] needs to start the first process under the filter.
//! * [`Engine::look`] now and then, while the target runs: the thread at the door starts with the first process that
//!   knocks, as most runs have none. [`Engine::attend`] starts it before, where nobody can look for a while.
//! * A shim that sees an exec of a program that it cannot reach execs, in the same process, the launcher's own binary
//!   as the helper instead:
//!
//!   ```text
//!   argv = [LAUNCHER, "_become", SESSION, PLACE, ARGC, PROGRAM, ARG0 .. ARGN, ENV0 .. ENVM]   envp = []
//!   ```
//!
//!   LAUNCHER is `/proc/LAUNCHER_PID/exe` or a path; SESSION the path of the session file; PLACE the same text as in
//!   `_CHAOS_LINEAGE` for an exec in the same process (`text,hash,parent,process slot,thread slot`), whose process slot
//!   must be there; ARGC the number of arguments, ARG0 counted; PROGRAM what execve gets, not looked for in PATH; then
//!   the arguments and the environment, each string one argument. The helper's own environment is empty, so that nothing
//!   in the target's is loaded into the helper. See [`mod@helper`] for what it does and how it fails.
//! * [`unreachable()`] says which of a table's rules it cannot carry out, and why; [`crate::trial`] whether this kernel and
//!   container allow the engine at all.
//!
//! Below a filter the engine owns every fault that is a system call's, also of dynamic children; a shim there may inject
//! only what is no system call.

mod arm;
mod connects;
mod decide;
mod decode;
mod disk;
mod door;
#[expect(unsafe_code, reason = "a thread with a table of descriptors of its own")]
mod edges;
mod exhausted;
mod filter;
mod heir;
mod helper;
mod job;
#[expect(unsafe_code, reason = "the system calls of seccomp, and the memory of another process")]
mod kernel;
mod lineage;
mod names;
mod ops;
mod peers;
mod places;
mod proc;
mod reach;
mod result;
mod rules;
mod select;
#[expect(unsafe_code, reason = "the mapped session")]
mod shared;
mod supervisor;
mod there;
mod transfer;
mod tree;
mod waits;
mod watch;

pub use door::Filtered;
pub use helper::helper;
pub use reach::{Unreachable, unreachable};

use crate::error::{Context, Failure, Result};
use crate::sys::orphan;
use chaos_table::rule::Plan;
use door::Door;
use lineage::Lineage;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rules::Rules;
use shared::Shared;
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The engine of a run.
pub struct Engine {
    door: Arc<Door>,
    session: PathBuf,
    attended: Cell<Attended>,
}

/// Whether somebody is at the door.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attended {
    NotYet,
    Yes,
    /// There was no room for a thread.
    Never,
}

impl Engine {
    /// Maps the session.
    ///
    /// # Errors
    /// When that fails.
    pub fn new(session: &File, path: &Path, plan: &Plan) -> Result<Engine> {
        let shared = Arc::new(Shared::map(session).cannot("map the session")?);
        let rules = Arc::new(Rules::new(plan.clone()));
        let door = Arc::new(Door::new(shared, rules));
        Ok(Engine { door, session: path.to_owned(), attended: Cell::new(Attended::NotYet) })
    }

    /// Sees to whoever has knocked since the last time.
    pub fn look(&self) {
        if self.door.has_heard() && self.attended.get() == Attended::NotYet {
            let _ = self.attend();
        }
        if self.attended.get() == Attended::Never {
            self.door.refuse();
        }
    }

    /// Starts the thread at the door, unless it is there. It takes in whoever knocks; where it cannot, they are turned away.
    ///
    /// # Errors
    /// When there is no room for a thread.
    pub fn attend(&self) -> Result<()> {
        // Two of them would take each other's steps for those of whoever knocks, who could only end then.
        if self.attended.get() == Attended::Yes {
            return Ok(());
        }
        self.attended.set(Attended::Never);
        // Threads inherit the mask: what is sent to the launcher is for its first thread. What a thread brings on itself
        // is not blocked, as that would be its end.
        let mut deaf = SigSet::all();
        [Signal::SIGBUS, Signal::SIGSEGV, Signal::SIGFPE, Signal::SIGILL].into_iter().for_each(|own| deaf.remove(own));
        let mask = deaf.thread_swap_mask(SigmaskHow::SIG_SETMASK).cannot("block signals")?;
        let (keeper, session) = (Arc::clone(&self.door), self.session.clone());
        let started = std::thread::Builder::new().name("door".into()).spawn(move || {
            keeper.await_first();
            match keeper.open(&session) {
                Ok(()) => keeper.keep(),
                Err(_) => keeper.refuse_all(),
            }
        });
        mask.thread_set_mask().cannot("unblock signals")?;
        started.cannot("start a thread")?;
        self.attended.set(Attended::Yes);
        Ok(())
    }

    /// Tells whether some call is being answered, whose record is not complete yet.
    #[must_use]
    pub fn is_answering(&self) -> Box<dyn Fn() -> bool> {
        let door = Arc::clone(&self.door);
        Box::new(move || door.is_answering())
    }

    /// At the end of a run: what was answered is told in the log.
    pub fn settle(&self) {
        self.door.settle();
    }

    /// Nobody of the tree is left: there is nothing to inherit.
    pub fn dismiss(&self) {
        orphan::end();
    }

    /// What the first process of the run needs to come under the filter.
    ///
    /// # Errors
    /// When there is no place for it in the session, or nobody to take it in.
    pub fn filtered(&self) -> Result<Filtered> {
        self.attend()?;
        let root = Lineage::root(self.door.rules.plan.header.seed);
        self.door.expect(root).ok_or_else(|| Failure::new("there is no room for a process in the session"))
    }
}

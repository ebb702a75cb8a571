//! Where processes come under the filter: the launcher waits for them, and takes their listeners.
//!
//! A process cannot hand its listener over by a system call, since the filter may be about that call and nobody would
//! answer. So it writes the listener's number into its slot of the session, and the launcher takes the descriptor out
//! of the process.

use super::filter;
use super::heir::Heir;
use super::job::Common;
use super::kernel::{self, Listener};
use super::lineage::Lineage;
use super::proc;
use super::rules::Rules;
use super::shared::{ProcessPlace, Shared};
use super::supervisor::Supervisor;
use super::tree::Start;
use crate::error::{Context, Result};
use crate::sys;
use chaos_table::session::{ProcessSlot, hand_over};
use libc::sock_filter;
use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long, in steps of a moment, the end of a run waits for what is being answered.
const MOMENTS: u32 = 200;
const MOMENT: Duration = Duration::from_millis(1);

/// How long a process waits for a launcher that may not see it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long for one that has seen it, when there is no way back: on a machine whose disk or processors are busy.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// The door is looked after at least so often: whoever knocks may have died before the knock.
const LOOK: Duration = Duration::from_millis(100);

/// The launcher's side.
pub struct Door {
    shared: Arc<Shared>,
    pub(super) rules: Arc<Rules>,
    common: Arc<Common>,
    heir: OnceLock<Heir>,
    /// Places of processes that the launcher starts itself.
    expected: Mutex<HashMap<usize, Lineage>>,
}

impl Door {
    /// A door that nobody watches yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, rules: Arc<Rules>) -> Door {
        let common = Arc::new(Common {
            shared: Arc::clone(&shared),
            waits: Arc::default(),
            paces: Mutex::default(),
            connects: Default::default(),
            connecting: Default::default(),
            answering: AtomicUsize::new(0),
        });
        Door { shared, rules, common, heir: OnceLock::new(), expected: Mutex::default() }
    }

    /// Starts what it takes to take somebody in: the heir, as this thread's child, so that the first thread never waits for
    /// it, and the thread that looks after calls that wait.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn open(self: &Arc<Door>, session: &Path) -> Result<()> {
        sys::raise_descriptors();
        let _ = self.heir.set(Heir::start(session)?);
        let keeper = Arc::clone(self);
        let waits = std::thread::Builder::new().name("waits".into());
        waits.spawn(move || keeper.common.waits.keep(&keeper.shared)).cannot("start a thread").map(drop)
    }

    /// Waits until somebody knocks.
    pub fn await_first(&self) {
        while !self.has_heard() {
            kernel::wait_for_change(self.shared.door(), 0, LOOK);
        }
    }

    /// Turns everybody away, for as long as the launcher lives.
    pub fn refuse_all(&self) {
        loop {
            let seen = self.shared.door().load(Ordering::Acquire);
            self.refuse();
            kernel::wait_for_change(self.shared.door(), seen, LOOK);
        }
    }

    /// Whether anybody has knocked yet.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        self.shared.door().load(Ordering::Acquire) != 0
    }

    /// Turns away whoever knocks: they go on without a filter, and say so.
    pub fn refuse(&self) {
        for place in self.shared.processes() {
            let step = self.shared.process_field(place, offset_of!(ProcessSlot, hand_over));
            if step.load(Ordering::Acquire) == hand_over::ASKED {
                go_on(step, hand_over::ASKED, hand_over::REFUSED);
            }
        }
    }

    /// Whether some call is being answered.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.common.answering.load(Ordering::SeqCst) != 0
    }

    /// Waits until what was answered is told as well, a moment at most.
    pub fn settle(&self) {
        for _ in 0..MOMENTS {
            if !self.is_answering() {
                return;
            }
            std::thread::sleep(MOMENT);
        }
    }

    /// Reserves a place for a process that the launcher is about to start.
    #[must_use]
    pub fn expect(&self, lineage: Lineage) -> Option<Filtered> {
        let place = self.shared.claim_process(|_| false)?;
        let index = self.shared.process_index(place);
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(index, lineage);
        let program = filter::program(&filter::wanted(&self.rules.plan.header));
        Some(Filtered { shared: Arc::clone(&self.shared), place, program })
    }

    /// Takes whoever knocks, for as long as the launcher lives.
    pub fn keep(&self) {
        loop {
            let seen = self.shared.door().load(Ordering::Acquire);
            for place in self.shared.processes() {
                self.look_at(place);
            }
            kernel::wait_for_change(self.shared.door(), seen, LOOK);
        }
    }

    fn look_at(&self, place: ProcessPlace) {
        let step = self.shared.process_field(place, offset_of!(ProcessSlot, hand_over));
        let pid = self.shared.process_field(place, offset_of!(ProcessSlot, pid)).load(Ordering::Relaxed);
        match step.load(Ordering::Acquire) {
            hand_over::ASKED if self.lineage_of(place, pid).is_some() => {
                go_on(step, hand_over::ASKED, hand_over::AWAITED);
            }
            hand_over::OFFERED if self.take(place, pid).is_ok() => {
                go_on(step, hand_over::OFFERED, hand_over::TAKEN);
            }
            _ => {}
        }
    }

    /// Where a process that knocks stands in the tree: the launcher knows, or its command line says so. `None` for one
    /// that cannot be seen from here, or is none of ours.
    fn lineage_of(&self, place: ProcessPlace, pid: u32) -> Option<(Lineage, u32)> {
        let index = self.shared.process_index(place);
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        match expected.get(&index) {
            Some(lineage) => Some((lineage.clone(), 0)),
            None => super::helper::place_of(pid, index),
        }
    }

    /// Takes the listener of a process and answers for it from now on.
    fn take(&self, place: ProcessPlace, pid: u32) -> io::Result<()> {
        let number = self.shared.process_field(place, offset_of!(ProcessSlot, listener)).load(Ordering::Relaxed);
        let (lineage, parent) = self.lineage_of(place, pid).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = sys::pidfd(pid)?;
        let fd = kernel::descriptor_of(&pidfd, i32::try_from(number).unwrap_or(-1))?;
        if !proc::link(&format!("/proc/self/fd/{}", fd.as_raw_fd())).ends_with(b"seccomp notify") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some(heir) = self.heir.get() {
            // Should it be gone, the tree is under the launcher alone.
            let _ = heir.give(&fd, self.shared.process_index(place));
        }
        let start = Start { pid, lineage, parent, place };
        let (common, rules) = (Arc::clone(&self.common), Arc::clone(&self.rules));
        let supervisor = Supervisor::new(Listener::new(fd), common, rules, start, pidfd);
        self.shared.note_filter(&filter::wanted(&self.shared.plan().header));
        std::thread::Builder::new().name("engine".into()).spawn(move || supervisor.run())?;
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.shared.process_index(place));
        Ok(())
    }
}

/// Not where whoever knocks has gone on meanwhile, or away.
fn go_on(step: &AtomicU32, from: u32, to: u32) {
    let _ = step.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    kernel::wake(step);
}

/// The process's side: what it needs to come under the filter.
#[derive(Debug)]
pub struct Filtered {
    shared: Arc<Shared>,
    place: ProcessPlace,
    program: Vec<sock_filter>,
}

impl Filtered {
    /// What a helper needs, whose slot this is.
    #[must_use]
    pub fn new(shared: Arc<Shared>, place: ProcessPlace, program: Vec<sock_filter>) -> Filtered {
        Filtered { shared, place, program }
    }

    /// Puts the calling process under the filter, and waits until the launcher answers for it. Allocates nothing, so it
    /// may be called between fork and exec.
    ///
    /// # Errors
    /// The errno: ESRCH when no launcher sees this process, EAGAIN when it has no room for it, else what installing the
    /// filter gave. There is no filter then.
    /// ETIMEDOUT: there is one, and nobody answers, so the process must end by what is in no filter.
    pub fn enter(&self, pid: u32) -> std::result::Result<(), i32> {
        let field = |field| self.shared.process_field(self.place, field);
        let step = field(offset_of!(ProcessSlot, hand_over));
        field(offset_of!(ProcessSlot, pid)).store(pid, Ordering::Relaxed);
        // Without a launcher, or with no faults to come, it needs no filter.
        if !self.knock(step, hand_over::ASKED, hand_over::AWAITED, PATIENCE, Shared::is_over) {
            let is_refused = step.swap(hand_over::NONE, Ordering::AcqRel) == hand_over::REFUSED;
            return Err(if is_refused { libc::EAGAIN } else { libc::ESRCH });
        }
        let listener = kernel::install(&self.program);
        let Ok(number) = u32::try_from(listener) else {
            step.store(hand_over::NONE, Ordering::Release);
            return Err(-listener);
        };
        field(offset_of!(ProcessSlot, listener)).store(number, Ordering::Relaxed);
        let is_taken = self.knock(step, hand_over::OFFERED, hand_over::TAKEN, LONG_PATIENCE, Shared::is_alone);
        if is_taken { Ok(()) } else { Err(libc::ETIMEDOUT) }
    }

    /// Tells the launcher of a step, and waits for its own, until that is in vain.
    fn knock(
        &self,
        step: &AtomicU32,
        ours: u32,
        theirs: u32,
        patience: Duration,
        is_vain: fn(&Shared) -> bool,
    ) -> bool {
        step.store(ours, Ordering::Release);
        self.shared.door().fetch_add(1, Ordering::AcqRel);
        kernel::wake(self.shared.door());
        let begun = Instant::now();
        while begun.elapsed() < patience {
            match step.load(Ordering::Acquire) {
                now if now == theirs => return true,
                now if now != ours => return false,
                _ if is_vain(&self.shared) => return false,
                now => kernel::wait_for_change(step, now, LOOK),
            }
        }
        false
    }
}

//! The processes and threads under a filter: who they are in the tree, as a shim would number them.
//!
//! A thread is known by the calls that it makes. What makes threads and processes is asked about as well, so that a new
//! one is known by the thread that made it and by its number among that thread's; the kernel tells whose child it is.

use super::kernel;
use super::lineage::{Lineage, Ordinal};
use super::proc::{self, Dir, Image, Status};
use super::rules::Rules;
use super::shared::{ProcessPlace, Shared, ThreadPlace};
use super::watch::{self, Caller};
use crate::sys;
use chaos_table::decide::last_component;
use chaos_table::lineage;
use chaos_table::matching::rules_for;
use chaos_table::record::{Record, kind};
use chaos_table::session::{ProcessSlot, engine, slot_state};
use chaos_table::stream::Stream;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks for processes that have died without a word.
const SWEEP: Duration = Duration::from_millis(500);

/// What a thread has counted on a rule.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Matches.
    pub matched: u64,
    /// Matches that `protect` kept away.
    pub protected: u32,
    /// Injections, for `times` with `per: thread`.
    pub fired: u64,
    /// Its random numbers for this rule.
    pub stream: Stream,
}

/// A thread under the filter.
#[derive(Debug)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// What it has counted on each rule; empty before its first match.
    pub counts: Vec<Counts>,
    /// Its slot in the session.
    pub place: Option<ThreadPlace>,
    ordinal: Ordinal,
    children: u32,
    threads: u32,
    /// What it makes, or has made last.
    making: Option<Making>,
}

/// A process or thread that is being made.
#[derive(Debug)]
struct Making {
    is_thread: bool,
    /// Where the kernel writes the number of what was made.
    tid_at: Option<u64>,
}

/// A process under the filter.
#[derive(Debug)]
pub struct Process {
    /// Number of its image.
    pub image: u32,
    /// Its slot in the session.
    pub place: Option<ProcessPlace>,
    /// The rules that its name leaves.
    pub rules: u64,
    /// The name that it was started by.
    pub program: Vec<u8>,
    /// Its executable.
    pub executable: Vec<u8>,
    /// For its descriptors, and to see its end.
    pub pidfd: Arc<OwnedFd>,
    dir: OnceCell<Dir>,
    /// Whether faults happen to it yet.
    pub armed: Armed,
    /// Whether memory may run out: not while the code before main asks for it, which gives up without it.
    pub is_past_start: bool,
    /// Bytes of private writable memory when that was first asked for, for `exhaust`.
    pub memory_at_first: Option<u64>,
    /// Connections at which a rule has been asked that cuts them after some bytes.
    cut: HashSet<(usize, u64)>,
    lineage: Lineage,
    parent: u32,
    /// An exec is under way.
    exec: Option<Exec>,
    announced: bool,
}

impl Process {
    /// Its descriptors, as /proc shows them.
    pub fn dir(&self, pid: u32) -> &Dir {
        self.dir.get_or_init(|| Dir::of(pid))
    }

    /// Writes its record; `engine` is one of [`engine`].
    fn publish(&self, pid: u32, engine: u32, shared: &Shared) {
        let record = Record {
            kind: kind::PROCESS,
            fault: engine as u8,
            pid,
            tid: pid,
            process: self.image,
            effect: self.parent as i32,
            ..Record::default()
        };
        let text = [self.lineage.text.as_bytes(), &self.program, &self.executable];
        let text: Vec<u8> = text.iter().flat_map(|part| part.iter().copied().chain([0])).collect();
        shared.publish(record, &text);
    }
}

/// Whether faults happen to a process yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// Nothing has been asked.
    Unknown,
    /// Its loader runs.
    Loading,
    /// Its runtime boots: the first sign of the program arms it.
    Booting,
    /// Yes.
    Yes,
    /// It is our own code, before the target.
    Never,
}

/// An exec that is under way: who asked for it, what the image was before, and what it is once that is done.
#[derive(Clone, Debug)]
struct Exec {
    tid: u32,
    before: Image,
    lineage: Lineage,
    parent: u32,
    name: Vec<u8>,
}

/// Where the first process of a filter stands.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its pid.
    pub pid: u32,
    /// Its place once it is the target.
    pub lineage: Lineage,
    /// Number of its parent's image.
    pub parent: u32,
    /// Its slot.
    pub place: ProcessPlace,
}

/// All processes and threads under one filter.
#[derive(Debug)]
pub struct Tree {
    processes: HashMap<u32, Process>,
    threads: HashMap<u32, Thread>,
    /// Processes that have said that they end, and may still be seen until they are reaped.
    ended: HashSet<u32>,
    swept: Instant,
}

impl Tree {
    /// A tree of one process, which is our own code until its exec.
    #[must_use]
    pub fn new(start: Start, pidfd: OwnedFd) -> Tree {
        let exec = Exec {
            tid: start.pid,
            before: Image::of(start.pid),
            lineage: start.lineage,
            parent: start.parent,
            name: Vec::new(),
        };
        let first = Process {
            image: 0,
            place: Some(start.place),
            rules: 0,
            program: Vec::new(),
            executable: Vec::new(),
            pidfd: Arc::new(pidfd),
            dir: OnceCell::new(),
            armed: Armed::Never,
            is_past_start: false,
            memory_at_first: None,
            cut: HashSet::new(),
            lineage: Lineage::default(),
            parent: 0,
            exec: Some(exec),
            announced: false,
        };
        let thread = Thread::new(start.pid, Ordinal::default());
        Tree {
            processes: HashMap::from([(start.pid, first)]),
            threads: HashMap::from([(start.pid, thread)]),
            ended: HashSet::new(),
            swept: Instant::now(),
        }
    }

    /// The thread that makes a call, and its process; learns who they are. `None` when it is gone.
    pub fn who(&mut self, tid: u32, shared: &Shared, rules: &Rules) -> Option<u32> {
        if !self.threads.contains_key(&tid) {
            self.learn(tid, shared, rules)?;
        }
        let pid = self.threads.get(&tid)?.pid;
        let process = self.processes.get_mut(&pid)?;
        if process.exec.as_ref().is_some_and(|exec| exec.tid == tid || pid == tid) {
            self.after_exec(pid, tid, shared, rules);
        }
        Some(pid)
    }

    /// A process.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// A thread and its process, to be changed.
    pub fn both(&mut self, tid: u32) -> Option<(&mut Thread, &mut Process)> {
        let thread = self.threads.get_mut(&tid)?;
        let process = self.processes.get_mut(&thread.pid)?;
        Some((thread, process))
    }

    /// How many processes live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// A thread that is new here: its maker knows who it is.
    fn learn(&mut self, tid: u32, shared: &Shared, rules: &Rules) -> Option<()> {
        self.sweep(shared);
        let status = Status::of(tid)?;
        if self.processes.contains_key(&status.tgid) {
            let maker = self.maker_of_thread(status.tgid, tid);
            let ordinal = maker.and_then(|maker| {
                let maker = self.threads.get_mut(&maker)?;
                maker.making = None;
                Some(maker.ordinal.made(maker.threads))
            });
            self.threads.insert(tid, Thread::new(status.tgid, ordinal.unwrap_or_default()));
            return Some(());
        }
        let pidfd = sys::pidfd(status.tgid).ok()?;
        let maker = self.maker_of_process(&status);
        let (parent, lineage, armed, program) = match maker.and_then(|maker| self.both(maker)) {
            Some((thread, process)) => {
                thread.making = None;
                let lineage = process.lineage.child(&thread.ordinal, thread.children);
                (process.image, lineage, process.armed, process.program.clone())
            }
            // Whoever made it has died before we could look.
            None => (0, Lineage { text: "?".into(), hash: lineage::root(u64::from(tid)) }, Armed::Yes, Vec::new()),
        };
        let place = shared.claim_process(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists());
        let process = Process {
            image: shared.number_image(),
            place,
            rules: 0,
            program,
            executable: Vec::new(),
            pidfd: Arc::new(pidfd),
            dir: OnceCell::new(),
            armed,
            is_past_start: true,
            memory_at_first: None,
            cut: HashSet::new(),
            lineage,
            parent,
            exec: None,
            announced: false,
        };
        self.processes.insert(status.tgid, process);
        self.threads.insert(tid, Thread::new(status.tgid, Ordinal::default()));
        self.announce(status.tgid, shared, rules);
        Some(())
    }

    /// The thread of a process that is making this one. Of several the one to which the kernel has told its number.
    fn maker_of_thread(&self, pid: u32, tid: u32) -> Option<u32> {
        let makers = self.makers(true).filter(|(_, thread)| thread.pid == pid);
        let mut first = None;
        for (maker, thread) in makers {
            let told = thread.making.as_ref().and_then(|making| making.tid_at).is_some_and(|at| {
                let mut number = [0; 4];
                kernel::read_memory(pid, at, &mut number) == 4 && u32::from_ne_bytes(number) == tid
            });
            if told {
                return Some(maker);
            }
            first = first.or(Some(maker));
        }
        first
    }

    /// The thread that is making a process.
    fn maker_of_process(&self, status: &Status) -> Option<u32> {
        let mut of_parent = None;
        for (maker, thread) in self.makers(false) {
            if proc::children(thread.pid, maker).contains(&status.tgid) {
                return Some(maker);
            }
            if thread.pid == status.parent {
                of_parent = Some(maker);
            }
        }
        of_parent.or_else(|| self.makers(false).next().map(|(maker, _)| maker))
    }

    fn makers(&self, of_threads: bool) -> impl Iterator<Item = (u32, &Thread)> {
        let makes = move |thread: &Thread| thread.making.as_ref().is_some_and(|making| making.is_thread == of_threads);
        self.threads.iter().filter(move |(_, thread)| makes(thread)).map(|(tid, thread)| (*tid, thread))
    }

    /// A thread is about to make another, or a process. What it made last may not have said a word yet: it is learned now,
    /// since its number would be taken for the next one's.
    pub fn making(&mut self, tid: u32, is_thread: bool, tid_at: Option<u64>, shared: &Shared, rules: &Rules) {
        self.settle(tid, shared, rules);
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let count = if is_thread { &mut thread.threads } else { &mut thread.children };
        *count = count.wrapping_add(1);
        thread.making = Some(Making { is_thread, tid_at });
    }

    /// Learns what a thread has made last, before it makes more, ends, or becomes another image.
    fn settle(&mut self, tid: u32, shared: &Shared, rules: &Rules) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let Some(making) = &thread.making else { return };
        let pid = thread.pid;
        let made: Vec<u32> = if making.is_thread {
            let number = making.tid_at.and_then(|at| {
                let mut number = [0; 4];
                (kernel::read_memory(pid, at, &mut number) == 4).then(|| u32::from_ne_bytes(number))
            });
            number.into_iter().filter(|new| Status::of(*new).is_some_and(|status| status.tgid == pid)).collect()
        } else {
            proc::children(pid, tid)
        };
        for new in made {
            if !self.threads.contains_key(&new) && !self.ended.contains(&new) {
                self.learn(new, shared, rules);
            }
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.making = None;
        }
    }

    /// A thread is about to exec a program.
    pub fn execs(&mut self, tid: u32, name: Vec<u8>, shared: &Shared, rules: &Rules) {
        self.settle(tid, shared, rules);
        let Some((thread, process)) = self.both(tid) else { return };
        let before = Image::of(thread.pid);
        let (lineage, parent) = match process.exec.take() {
            // Our own code becomes the target.
            Some(exec) if process.armed == Armed::Never => (exec.lineage, exec.parent),
            _ => (process.lineage.after_exec(), process.image),
        };
        process.exec = Some(Exec { tid, before, lineage, parent, name });
    }

    /// An exec was under way: has the process another image now?
    fn after_exec(&mut self, pid: u32, tid: u32, shared: &Shared, rules: &Rules) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(next) = process.exec.take() else { return };
        if Image::of(pid) == next.before {
            // It has failed if the thread that asked for it goes on; others may still run meanwhile.
            if process.armed == Armed::Never || tid != next.tid {
                process.exec = Some(next);
            }
            return;
        }
        let before = process.image;
        process.lineage = next.lineage;
        process.parent = next.parent;
        process.program = last_component(&next.name).to_vec();
        process.armed = Armed::Unknown;
        process.is_past_start = false;
        process.memory_at_first = None;
        process.announced = false;
        process.image = shared.number_image();
        watch::executed(shared, Caller { pid, tid: pid, image: process.image }, before, &next.name);
        // The process keeps its slot and begins to count anew.
        if let Some(place) = process.place {
            shared.clear_process(place);
        }
        let threads: Vec<u32> =
            self.threads.iter().filter(|(_, thread)| thread.pid == pid).map(|(tid, _)| *tid).collect();
        for tid in threads {
            self.end_thread(tid, shared);
        }
        self.threads.insert(pid, Thread::new(pid, Ordinal::default()));
        self.announce(pid, shared, rules);
    }

    /// A shim has come up in a process, and takes on what is no system call: the index of the slot that it shares.
    pub fn joined_by_a_shim(&mut self, pid: u32, shared: &Shared) -> Option<usize> {
        let process = self.processes.get(&pid)?;
        let place = process.place?;
        shared.process_field(place, offset_of!(ProcessSlot, engine)).store(engine::BOTH, Ordering::Relaxed);
        process.publish(pid, engine::BOTH, shared);
        Some(shared.process_index(place))
    }

    /// The table has changed: which of its rules each process has.
    pub fn take_up(&mut self, rules: &Rules) {
        for process in self.processes.values_mut().filter(|process| process.announced) {
            process.rules = rules_for(&rules.plan.rules, rules.patterns(), &process.program, &process.executable);
        }
    }

    /// Writes a process's record.
    fn announce(&mut self, pid: u32, shared: &Shared, rules: &Rules) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if std::mem::replace(&mut process.announced, true) {
            return;
        }
        process.executable = proc::link(&format!("/proc/{pid}/exe"));
        if process.program.is_empty() {
            process.program = last_component(&process.executable).to_vec();
        }
        process.rules = rules_for(&rules.plan.rules, rules.patterns(), &process.program, &process.executable);
        if let Some(place) = process.place {
            let put = |field, value| shared.process_field(place, field).store(value, Ordering::Relaxed);
            put(offset_of!(ProcessSlot, pid), pid);
            put(offset_of!(ProcessSlot, uid), process.image);
            put(offset_of!(ProcessSlot, parent), process.parent);
            put(offset_of!(ProcessSlot, engine), engine::SECCOMP);
            shared.set_lineage(place, process.lineage.hash);
            put(offset_of!(ProcessSlot, state), slot_state::LIVE);
        }
        process.publish(pid, engine::SECCOMP, shared);
    }

    /// A thread ends, and with `all` its process.
    pub fn ends(&mut self, tid: u32, all: bool, shared: &Shared, rules: &Rules) {
        let Some(pid) = self.threads.get(&tid).map(|thread| thread.pid) else { return };
        let of_process = |tree: &Tree| -> Vec<u32> {
            tree.threads.iter().filter(|(_, thread)| thread.pid == pid).map(|(tid, _)| *tid).collect()
        };
        if !all {
            // Whether it was the last is not known: others may not have made a call yet.
            self.settle(tid, shared, rules);
            self.end_thread(tid, shared);
            return;
        }
        for tid in of_process(self) {
            self.settle(tid, shared, rules);
        }
        self.end_process(pid, shared);
        self.ended.insert(pid);
    }

    fn end_process(&mut self, pid: u32, shared: &Shared) {
        let threads: Vec<u32> =
            self.threads.iter().filter(|(_, thread)| thread.pid == pid).map(|(tid, _)| *tid).collect();
        for tid in threads {
            self.end_thread(tid, shared);
        }
        if let Some(place) = self.processes.remove(&pid).and_then(|process| process.place) {
            shared.free_process(place);
        }
    }

    fn end_thread(&mut self, tid: u32, shared: &Shared) {
        if let Some(thread) = self.threads.remove(&tid)
            && let Some(place) = thread.place
        {
            shared.free_thread(place, thread.counts.iter().map(|counts| (counts.matched, counts.protected)));
        }
    }

    /// Forgets those who died without a word, before their numbers come again.
    fn sweep(&mut self, shared: &Shared) {
        if self.swept.elapsed() < SWEEP {
            return;
        }
        self.swept = Instant::now();
        self.ended.retain(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
        let dead: Vec<u32> =
            self.processes.iter().filter(|(_, process)| sys::has_ended(&process.pidfd)).map(|(pid, _)| *pid).collect();
        for pid in dead {
            self.end_process(pid, shared);
        }
    }

    /// Everybody has ended.
    pub fn finish(&mut self, shared: &Shared) {
        let all: Vec<u32> = self.processes.keys().copied().collect();
        for pid in all {
            self.end_process(pid, shared);
        }
    }
}

impl Process {
    /// Whether a rule is asked for the first time at a connection, named by its inode.
    pub fn asked_once(&mut self, rule: usize, inode: u64) -> bool {
        self.cut.insert((rule, inode))
    }
}

impl Thread {
    fn new(pid: u32, ordinal: Ordinal) -> Thread {
        Thread { pid, counts: Vec::new(), place: None, ordinal, children: 0, threads: 0, making: None }
    }

    /// Its counters, made with its first match, and those of rules that came later.
    pub fn begin_counting(&mut self, tid: u32, process: &Process, shared: &Shared, rules: &Rules) {
        let (known, rules) = (self.counts.len(), rules.plan.rules.len());
        if known >= rules {
            return;
        }
        let key = lineage::key(process.lineage.hash, self.ordinal.hash);
        if known == 0 {
            self.place = shared.claim_thread((self.pid, tid), process.image, key);
        }
        let new = |rule| Counts { matched: 0, protected: 0, fired: 0, stream: Stream::new(key, rule) };
        self.counts.extend((known..rules).map(new));
    }
}

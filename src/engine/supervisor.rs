//! The thread that answers for the processes under one filter.

use super::decide::Asking;
use super::decode::{Call, Name, Target, number_at};
use super::disk::Freed;
use super::filter::LIFE;
use super::job::{Common, Job, Then};
use super::kernel::{Answer, Asked, Listener};
use super::names::{self, Lookup, Part};
use super::peers::Address;
use super::places;
use super::result::{self, Ends, Follow, Followed};
use super::rules::Rules;
use super::shared::ProcessPlace;
use super::there::There;
use super::transfer::How;
use super::tree::{Start, Tree};
use super::{arm, kernel};
use chaos_table::calls::{Op, Subject};
use chaos_table::fits::Kernel;
use chaos_table::rule::RULE_BITS;
use chaos_table::session::WHO_AM_I;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// So many sockets that look up names are remembered.
const RESOLVERS: usize = 4096;

/// Answers for the processes under one filter.
pub struct Supervisor {
    listener: Arc<Listener>,
    common: Arc<Common>,
    rules: Arc<Rules>,
    tree: Tree,
    /// Calls that are being followed to their end, by their threads.
    followed: HashMap<u32, Followed>,
    /// Sockets that have turned to a server of DNS, by process and descriptor.
    resolvers: RefCell<HashSet<(u32, i32)>>,
    /// How often the table had been changed when the rules were taken from it.
    changes: u32,
    /// The slot of the first process, where the number of the last call stands for the heir.
    place: ProcessPlace,
}

impl Supervisor {
    /// For the process that has installed a filter.
    #[must_use]
    pub fn new(listener: Listener, common: Arc<Common>, rules: Arc<Rules>, start: Start, pidfd: OwnedFd) -> Supervisor {
        let place = start.place;
        Supervisor {
            listener: Arc::new(listener),
            common,
            rules,
            tree: Tree::new(start, pidfd),
            changes: 0,
            followed: HashMap::new(),
            resolvers: RefCell::default(),
            place,
        }
    }

    /// Answers until the last of them has ended.
    pub fn run(mut self) {
        while let Ok(Some(asked)) = self.listener.receive() {
            self.common.shared.note_last(self.place, asked.id);
            self.answer(&asked);
        }
        self.tree.finish(&self.common.shared);
        self.common.shared.forget_filter();
    }

    fn answer(&mut self, asked: &Asked) {
        if self.is_asked_again(asked) {
            self.listener.answer(asked.id, Answer::Go);
            return;
        }
        let shared = &self.common.shared;
        let changes = shared.changes();
        if changes != self.changes {
            self.changes = changes;
            self.rules = Arc::new(Rules::new(shared.plan()));
            self.tree.take_up(&self.rules);
        }
        let Some(pid) = self.tree.who(asked.tid, shared, &self.rules) else {
            self.listener.answer(asked.id, Answer::Go);
            return;
        };
        if asked.nr == WHO_AM_I {
            let place = self.tree.joined_by_a_shim(pid, shared);
            self.listener.answer(asked.id, Answer::Value(place.map_or(0, |index| index as i64 + 1)));
            return;
        }
        if shared.awaits_sign()
            && let Some(process) = self.tree.process(pid)
        {
            arm::look_for_sign(asked, pid, process, shared, &self.rules);
        }
        if asked.nr == libc::SYS_getsockopt {
            self.look_at_connect(asked, pid);
            if self.tell_error(asked, pid) {
                return;
            }
        }
        let spared =
            self.tree.both(asked.tid).map_or(0, |(_, process)| arm::spared_memory(process, asked, &self.rules));
        let flags = clone_flags(asked);
        let in_force = |op: Op| shared.in_force(op as usize) & RULE_BITS & !spared;
        let op = self.rules.ops.of(asked.nr, &asked.args, flags, |op| in_force(op) != 0 || shared.is_watched(op));
        let can_follow = !self.followed.contains_key(&asked.tid);
        let watched = op.filter(|op| shared.is_watched(*op) && can_follow);
        let lookup = if self.rules.has_names() && can_follow { self.lookup(asked, pid) } else { None };
        let job = match op {
            Some(op) if in_force(op) != 0 && !shared.is_over() => self.ask(asked, pid, op, in_force(op)),
            _ => None,
        };
        let is_spoiled = job.as_ref().is_some_and(|job| !matches!(job.then, Then::Go | Then::Serve(How::Throttled(_))));
        let follow = if is_spoiled || !can_follow { None } else { self.follow(asked, pid, watched, lookup) };
        match job {
            None => {
                if LIFE.contains(&asked.nr) {
                    self.live(asked, flags);
                }
                match follow {
                    Some(follow) => follow.start(&self.listener, asked),
                    None => {
                        self.listener.answer(asked.id, Answer::Go);
                    }
                }
            }
            Some(mut job) => {
                job.follow = follow;
                let goes_on = matches!(job.then, Then::Go | Then::Signal(_) | Then::Freeze(_));
                if goes_on && LIFE.contains(&asked.nr) {
                    self.live(asked, flags);
                }
                job.start();
            }
        }
    }

    /// Whether a call is being followed, and the filter asks about it a second time.
    fn is_asked_again(&mut self, asked: &Asked) -> bool {
        if self.followed.is_empty() {
            return false;
        }
        self.followed.retain(|_, followed| followed.lasts());
        self.followed.get(&asked.tid).is_some_and(|followed| followed.is(asked))
    }

    /// What there is to see at the end of a call that goes on.
    fn follow(&mut self, asked: &Asked, pid: u32, watched: Option<Op>, lookup: Option<Lookup>) -> Option<Follow> {
        let process = self.tree.process(pid)?;
        let shared = &self.common.shared;
        let watching = watched.and_then(|op| self.asking(asked, pid, op).watching(process));
        let freed = Freed::by(asked, pid, process, shared).map(|freed| (freed, pid, Arc::clone(shared)));
        if watching.is_none() && lookup.is_none() && freed.is_none() {
            return None;
        }
        let (follow, followed) = result::follow(asked, Ends { watching, lookup, freed });
        self.followed.insert(asked.tid, followed);
        Some(follow)
    }

    /// What a call has to do with names that are looked up: learns from it, or from its end.
    fn lookup(&self, asked: &Asked, pid: u32) -> Option<Lookup> {
        match names::part(asked) {
            Part::None => None,
            Part::Hosts => {
                names::read_hosts(pid, &self.rules, &self.common.shared);
                None
            }
            Part::Asks(fd) => {
                let mut resolvers = self.resolvers.borrow_mut();
                if resolvers.len() < RESOLVERS {
                    resolvers.insert((pid, fd));
                }
                None
            }
            Part::Reads(fd) => {
                if !self.resolvers.borrow().contains(&(pid, fd)) {
                    return None;
                }
                // The number may be another's by now.
                let socket = There::new(pid, &self.tree.process(pid)?.pidfd).borrow(fd);
                let peer = socket.as_ref().and_then(|socket| kernel::socket_address(socket, false));
                let is_one = socket.is_some() && peer.is_none_or(|peer| names::is_server(&Address::new(peer)));
                if !is_one {
                    self.resolvers.borrow_mut().remove(&(pid, fd));
                }
                is_one.then(|| Lookup::of(asked, &self.rules, &self.common.shared))
            }
        }
    }

    /// SO_ERROR is asked for of a connect that nobody waited for: whether it has come about.
    fn look_at_connect(&self, asked: &Asked, pid: u32) {
        let fd = asked.args[0] as i32;
        let (Some(before), Some(process)) = (self.common.connecting.before((pid, fd), false), self.tree.process(pid))
        else {
            return;
        };
        let has_peer = There::new(pid, &process.pidfd).has_peer(fd);
        if has_peer {
            self.common.connecting.before((pid, fd), true);
            let asking = self.asking(asked, pid, Op::Connect);
            Asking { call: Call::on(Target::Fd(fd)), ..asking }.connected(process, before);
        }
    }

    fn asking<'a>(&'a self, asked: &'a Asked, pid: u32, op: Op) -> Asking<'a> {
        let call = Call::of(asked, op.row().subject == Subject::Fd);
        let (common, listener, processes) = (&self.common, &self.listener, self.tree.len() as u64);
        Asking { common, listener, rules: &self.rules, asked, pid, op, call, processes }
    }

    /// Puts a call to the rules.
    fn ask(&mut self, asked: &Asked, pid: u32, op: Op, in_force: u64) -> Option<Job> {
        let processes = self.tree.len() as u64;
        let (thread, process) = self.tree.both(asked.tid)?;
        let wanted = in_force & process.rules & !self.rules.out_of_reach();
        if wanted == 0 || !arm::is_armed(process, asked, pid, &self.rules) {
            return None;
        }
        let call = Call::of(asked, op.row().subject == Subject::Fd);
        let (common, listener) = (&self.common, &self.listener);
        let asking = Asking { common, listener, rules: &self.rules, asked, pid, op, call, processes };
        asking.put(wanted, thread, process)
    }

    /// SO_ERROR is asked for of a connect that was made to fail: puts the error that was meant in the place of the kernel's.
    fn tell_error(&self, asked: &Asked, pid: u32) -> bool {
        let [fd, level, name, value_at, len_at, _] = asked.args;
        let is_error = level == libc::SOL_SOCKET as u64 && name == libc::SO_ERROR as u64;
        if !is_error || self.common.connects.is_empty() {
            return false;
        }
        let (Some(process), fd) = (self.tree.process(pid), fd as i32) else { return false };
        let there = There::new(pid, &process.pidfd);
        let Some(socket) = there.borrow(fd).filter(|_| self.common.connects.has((pid, fd))) else { return false };
        let kernels = kernel::option_at(&socket, libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(0);
        drop((socket, there));
        let shown = self.common.connects.tell((pid, fd), kernels).unwrap_or(kernels);
        kernel::write_memory(asked.tid, value_at, &shown.to_ne_bytes());
        kernel::write_memory(asked.tid, len_at, &4u32.to_ne_bytes());
        self.listener.answer(asked.id, Answer::Value(0))
    }

    /// Something about who is who is going to happen.
    fn live(&mut self, asked: &Asked, flags: Option<u64>) {
        let (shared, rules) = (&self.common.shared, &self.rules);
        match asked.nr {
            libc::SYS_exit => self.tree.ends(asked.tid, false, shared, rules),
            libc::SYS_exit_group => self.tree.ends(asked.tid, true, shared, rules),
            libc::SYS_execve | libc::SYS_execveat => {
                let name = match Call::of(asked, false).target {
                    Target::Program(Name { at, .. }) => places::string(asked.tid, at).unwrap_or_default(),
                    _ => Vec::new(),
                };
                self.tree.execs(asked.tid, name, shared, rules);
            }
            _ => {
                let flags = flags.unwrap_or(0);
                let is_thread = flags & libc::CLONE_THREAD as u64 != 0;
                let tells = flags & libc::CLONE_PARENT_SETTID as u64 != 0;
                let at = match asked.nr {
                    libc::SYS_clone3 => number_at(asked.tid, asked.args[0] + 24),
                    _ => asked.args[2],
                };
                self.tree.making(asked.tid, is_thread, tells.then_some(at), shared, rules);
            }
        }
    }
}

/// The flags of a clone, without the signal; `None` for other calls.
fn clone_flags(asked: &Asked) -> Option<u64> {
    match asked.nr {
        libc::SYS_clone => Some(asked.args[0] & !0xff),
        libc::SYS_clone3 => Some(number_at(asked.tid, asked.args[0])),
        _ => None,
    }
}

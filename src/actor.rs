//! What the launcher does by itself: signals and freezes of rules without calls, so that a program asleep is hit too.

use crate::collect::Collector;
use crate::process::{Survivor, descendants};
use crate::sys::{self, Keeper};
use chaos_table::calls::FaultKind;
use chaos_table::decide::{Patterns, last_component};
use chaos_table::record::{NO_CALL, Record, kind, status};
use chaos_table::rule::{Plan, Rule, flag};
use nix::time::{ClockId, clock_gettime};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// A process that has not come under the table by then is static, or has escaped: it is hit all the same.
const ATTACHED_WITHIN: u64 = 1_000_000_000;

/// Does what the table asks of the launcher.
pub struct Actor {
    plan: Plan,
    start_ns: u64,
    /// When the tree was armed by its sign, ns since the start of the run: windows count from there.
    armed_ns: u64,
    acts: Vec<Act>,
    keepers: Vec<Keeper>,
}

/// One rule, and when it is due again.
struct Act {
    index: usize,
    rule: Rule,
    /// ns since the start of the run.
    due: u64,
    until: u64,
    left: u64,
    done: u64,
}

impl Act {
    fn is_open(&self, now: u64) -> bool {
        self.left > 0 && now < self.until
    }

    /// The next time, and one less is left; times that have passed meanwhile are not made up for.
    fn advance(&mut self, now: u64) {
        self.left -= 1;
        let period = self.rule.period_ns;
        if period > 0 {
            self.due = self.due.saturating_add(period.saturating_mul((now - self.due) / period + 1));
        }
    }
}

impl Actor {
    /// Takes the rules without calls out of a plan for a run that started at `start_ns` of CLOCK_MONOTONIC.
    #[must_use]
    pub fn new(plan: &Plan, start_ns: u64) -> Actor {
        let act = |(index, rule): (usize, &Rule)| Act {
            index,
            rule: *rule,
            due: rule.from_ns.max(plan.header.arm_ns),
            until: rule.until_ns.min(plan.header.until_ns),
            left: match (rule.times, rule.period_ns) {
                (0, 0) => 1,
                (0, _) => u64::MAX,
                (times, _) => times,
            },
            done: 0,
        };
        let ours = plan.rules.iter().enumerate().filter(|(_, rule)| rule.has(flag::LAUNCHER));
        let acts = ours.map(act).collect();
        Actor { plan: plan.clone(), start_ns, armed_ns: 0, acts, keepers: Vec::new() }
    }

    /// How long until something is due; `None` when nothing will be, or is but waits for a process that matches.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        let now = self.now();
        let due = self.acts.iter().filter(|act| act.is_open(now) && act.due > now).map(|act| act.due).min()?;
        Some(Duration::from_nanos(due - now))
    }

    /// Does what is due. A rule whose time has come and that no process matches waits for one.
    pub fn act(&mut self, collector: &mut Collector, root: i32) {
        let now = self.now();
        if !self.acts.iter().any(|act| act.is_open(now) && act.due <= now) || !self.is_in_force(collector) {
            return;
        }
        let now = self.now();
        let tree = descendants();
        let mut acts = std::mem::take(&mut self.acts);
        for act in acts.iter_mut().filter(|act| act.is_open(now) && act.due <= now) {
            if collector.session().is_removed(act.index).unwrap_or(false) {
                act.left = 0;
                continue;
            }
            let victims = self.victims(act, &tree, collector, root, now);
            if !victims.is_empty() && self.hit(act, &victims, collector) {
                act.advance(now);
            }
        }
        self.acts = acts;
    }

    /// Lets go on what still stands still, and waits until it does.
    pub fn release(&mut self) {
        self.keepers.drain(..).for_each(Keeper::release);
    }

    /// Whether the tree is armed and injection switched on; learns when it was armed.
    fn is_in_force(&mut self, collector: &Collector) -> bool {
        let session = collector.session();
        let Ok(plan) = session.plan() else { return false };
        self.armed_ns = plan.armed_ns;
        plan.armed != 0 && plan.enabled != 0 && !session.is_over().unwrap_or(true)
    }

    /// ns since injection could begin, as rules count them.
    fn now(&self) -> u64 {
        self.run_time().saturating_sub(self.armed_ns)
    }

    /// ns since the start of the run.
    fn run_time(&self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64);
        now.saturating_sub(self.start_ns)
    }

    /// Whom it hits now: the processes that match; without a pattern a signal the first process, a freeze the tree.
    fn victims<'a>(
        &self,
        act: &Act,
        tree: &'a [Survivor],
        collector: &Collector,
        root: i32,
        now: u64,
    ) -> Vec<&'a Survivor> {
        let patterns = Patterns { matchers: &self.plan.matchers, text: &self.plan.text };
        let attached = &collector.tally().processes;
        let wanted = |process: &&Survivor| {
            let record = u32::try_from(process.pid).ok().and_then(|pid| attached.get(&pid));
            if record.is_none() && now.saturating_sub(act.due) < ATTACHED_WITHIN {
                return false;
            }
            let executable = executable(process.pid);
            let executable = executable.as_os_str().as_bytes();
            let program = record.map_or("", |(_, program)| program);
            let names = [program.as_bytes(), process.name.as_bytes(), last_component(executable), executable];
            let named = match act.rule.has(flag::PROCESS) {
                true => patterns.process(act.rule.processes, &names),
                false => act.rule.fault == FaultKind::Freeze as u8 || process.pid == root,
            };
            named && !(act.rule.has(flag::EXCEPT) && patterns.process(act.rule.except.processes, &names))
        };
        let is_keeper = |process: &Survivor| self.keepers.iter().any(|keeper| keeper.pid() == process.pid);
        tree.iter().filter(|process| !is_keeper(process)).filter(wanted).collect()
    }

    /// Writes down what is about to happen, does it, and writes down where it did; false when nothing could be.
    fn hit(&mut self, act: &mut Act, victims: &[&Survivor], collector: &mut Collector) -> bool {
        let mut recorded = Vec::new();
        for victim in victims {
            if !collector.session().take_budget().unwrap_or(false) {
                break;
            }
            let record = self.record(act, victim, collector);
            if let Some(index) = collector.add(record, victim.name.as_bytes()) {
                recorded.push((victim.pid, record, index));
            }
        }
        let pids: Vec<i32> = recorded.iter().map(|(pid, ..)| *pid).collect();
        let reached = if act.rule.fault == FaultKind::Freeze as u8 {
            match sys::freeze(&pids, Duration::from_nanos(act.rule.delay.base_ns)) {
                Ok((keeper, reached)) => {
                    self.keepers.push(keeper);
                    reached
                }
                Err(_) => Vec::new(),
            }
        } else {
            pids.into_iter().filter(|pid| sys::kill(*pid, act.rule.code)).collect()
        };
        for (pid, record, index) in &recorded {
            if reached.contains(pid) {
                let told = Record { kind: kind::DELIVERY, status: status::DELIVERED, nth: *index, ..*record };
                collector.add(Record { at_ns: self.run_time(), ..told }, b"");
            }
        }
        !recorded.is_empty()
    }

    fn record(&self, act: &mut Act, victim: &Survivor, collector: &Collector) -> Record {
        let pid = u32::try_from(victim.pid).unwrap_or(0);
        act.done += 1;
        Record {
            kind: kind::INJECTION,
            status: status::PENDING,
            fault: act.rule.fault,
            op: NO_CALL,
            // At most MAX_RULES.
            rule: act.index as u16,
            at_ns: self.run_time(),
            pid,
            tid: pid,
            process: collector.tally().processes.get(&pid).map_or(0, |(image, _)| *image),
            effect: act.rule.code,
            nth: act.done,
            requested: act.rule.delay.base_ns,
            ..Record::default()
        }
    }
}

fn executable(pid: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default()
}

//! A rule that is added: compiled by itself, then grafted upon what is there.

use super::{Live, Shared, later, ops, planned, word_of};
use crate::calls::{CALLS, FaultKind, OPS};
use crate::compile::compile_one;
use crate::decide::{HASH_START, combine, hash_on};
use crate::error::{Problem, TableError, quoted};
use crate::fault::Fault;
use crate::rule::{
    MAX_HOSTS, MAX_RULES, Matcher, PlanHeader, RULE_BITS, Rule, Span, TRACK, WATCH, flag, matcher, text_of,
};
use crate::selectors::Target;
use crate::session::Header;
use crate::value::Many;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::Ordering;

/// What a rule is added for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// To stay.
    Rule,
    /// To fire once. The same spec again lets the same rule fire once more.
    Once,
    /// For one thread (number of its process image, its tid), as long as that wants it.
    Thread(u32, u32),
}

/// A rule that is to be added.
#[derive(Clone, Copy, Debug)]
pub struct Adding<'a> {
    /// What it does.
    pub fault: &'a Fault,
    /// As it was written: specs that are the same are one rule, where [`Why`] says so.
    pub spec: &'a str,
    /// What for.
    pub why: Why,
    /// The roles of the session's table.
    pub roles: &'a BTreeMap<String, Many<Target>>,
    /// CLOCK_MONOTONIC now: windows begin here.
    pub mono_ns: u64,
}

/// A rule that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its number, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

impl<S: Shared> Live<'_, S> {
    /// Adds a rule. The lock is held.
    ///
    /// # Errors
    /// What is wrong with it, or why it cannot be added while the program runs.
    pub fn add(&self, adding: &Adding<'_>) -> Result<Added, TableError> {
        let located = |problem: Problem| problem.at(adding.fault.origin.0.clone());
        refuse(adding).map_err(located)?;
        let origin = origin(adding);
        let rules = self.rules();
        if origin != 0
            && let Some(index) = rules.iter().position(|rule| rule.origin == origin && is_free(rule, adding.why))
        {
            return Ok(self.again(index, &rules, adding));
        }
        let name = self.name_for(adding).map_err(located)?;
        let work_dir = self.work_dir();
        let compiled = compile_one(adding.fault, &name, adding.roles, self.is_unprotected(), Path::new(&work_dir))?;
        let plan = compiled.plan;
        let Some(rule) = plan.rules.first() else { return Err(located(Problem::new("there is no fault"))) };
        let mut rule = *rule;
        rule.origin = origin;
        if self.is_timed() {
            rule.flags |= flag::TIMED;
        }
        self.rebase(&mut rule, adding);
        let index = self.graft(rule, &plan.matchers, &plan.text, &plan.header).map_err(located)?;
        if !matches!(adding.why, Why::Thread(..)) {
            self.count_change();
        }
        let mut warnings = compiled.warnings;
        warnings.extend(self.beyond_filters(&name, &plan.header));
        if plan.matchers.iter().any(|matcher| matcher.kind == matcher::HOST) {
            warnings.push(format!(
                "{name}: host names match from their next look-up on, which addresses are theirs is not known yet"
            ));
        }
        Ok(Added { index, name, warnings })
    }

    /// Whether calls are timed in this session.
    fn is_timed(&self) -> bool {
        self.shared.word32(offset_of!(Header, latencies)).is_some_and(|at| at.load(Ordering::Relaxed) != 0)
    }

    /// What processes under a filter of system calls cannot see of a rule: their filter was made when they began.
    fn beyond_filters(&self, name: &str, plan: &PlanHeader) -> Option<String> {
        if self.shared.word32(offset_of!(Header, filters))?.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let covered = |op: usize| {
            let word = self.shared.word64(offset_of!(Header, filtered) + op / 64 * 8);
            word.is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (op % 64) != 0)
        };
        let missed = CALLS
            .iter()
            .enumerate()
            .filter(|(op, row)| plan.planned[*op] & RULE_BITS != 0 && !row.syscalls().is_empty() && !covered(*op));
        let names: Vec<&str> = missed.map(|(_, row)| row.name()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{name}: programs under the supervisor that run already do not see it at {}: their filter lets that pass, \
                 unless there was a rule on it from the start",
                names.join(", ")
            )
        })
    }

    /// Lets a rule that is there fire once more, or for another thread.
    fn again(&self, index: usize, rules: &[Rule], adding: &Adding<'_>) -> Added {
        let mut rule = rules[index];
        match adding.why {
            Why::Rule => {}
            Why::Once => rule.times = rule.times.saturating_add(1),
            Why::Thread(image, tid) => {
                rule.owner = owner(image, tid);
                rule.enabled = 1;
            }
        }
        self.put(index, &rule);
        if adding.why == Why::Once {
            self.count_change();
        }
        Added { index, name: self.names().swap_remove(index), warnings: Vec::new() }
    }

    fn name_for(&self, adding: &Adding<'_>) -> Result<String, Problem> {
        let names = self.names();
        if let Some(label) = &adding.fault.name {
            if names.contains(&label.0) {
                let problem = Problem::new(format!("there is a rule {} already", quoted(&label.0)));
                return Err(problem.help("one that was removed keeps its name, since the report has its counts"));
            }
            return Ok(label.0.clone());
        }
        let kind = match adding.why {
            Why::Rule => adding.fault.fault.map_or("fault", FaultKind::name),
            Why::Once => "inject",
            Why::Thread(..) => "begin",
        };
        let free = (1..).map(|number| format!("{kind}-{number}")).find(|name| !names.contains(name));
        Ok(free.unwrap_or_default())
    }

    /// `from` and `for` count from now, when the tree is armed already.
    fn rebase(&self, rule: &mut Rule, adding: &Adding<'_>) {
        let now = self.run_time(adding.mono_ns);
        let is_clock = rule.fault == FaultKind::Clock as u8;
        // Calls are held against a coarse clock, which is late: without `from` a rule is in force whatever it shows.
        if is_clock || rule.from_ns != 0 {
            rule.from_ns = rule.from_ns.saturating_add(now);
        }
        if is_clock || rule.from_ns != 0 || rule.until_ns != u64::MAX {
            rule.until_ns = rule.until_ns.saturating_add(now);
        }
        match adding.why {
            Why::Rule => {}
            Why::Once => {
                // Once in the whole tree, whoever comes first.
                rule.times = 1;
                rule.per = crate::rule::per::TREE;
            }
            Why::Thread(image, tid) => rule.owner = owner(image, tid),
        }
    }

    /// Writes a rule behind those that are there, and puts it in force.
    fn graft(&self, mut rule: Rule, matchers: &[Matcher], text: &[u8], plan: &PlanHeader) -> Result<usize, Problem> {
        let index = self.rule_count();
        let room = (self.layout.rule_room as usize).min(MAX_RULES);
        if index >= room {
            let problem = Problem::new(format!("the session has room for {room} rules, and all of it is taken"));
            return Err(problem.help("a rule that was removed keeps its place, since the log refers to it"));
        }
        let (had, text_had) = (self.matchers(), self.text());
        let too_many = |what: &str| Problem::new(format!("the session has no room for more {what}"));
        if had.len() + matchers.len() > self.layout.matcher_room as usize {
            return Err(too_many("patterns"));
        }
        if text_had.len() + text.len() > self.layout.text_room as usize {
            return Err(too_many("text of patterns and names"));
        }
        // Both fit into 32 bits: so do the rooms.
        let (first, first_byte) = (had.len() as u32, text_had.len() as u32);
        let mut moved = matchers.to_vec();
        let mut hosts = Hosts::of(&had, &text_had);
        for matcher in &mut moved {
            if matcher.kind == matcher::HOST {
                matcher.host_bit = hosts.bit(text_of(text, matcher.text))?;
            }
            matcher.text = later_by(matcher.text, first_byte);
        }
        move_spans(&mut rule, first, first_byte);
        self.shared.write(self.layout.text as usize + text_had.len(), text);
        self.shared
            .write(self.layout.matchers as usize + had.len() * size_of::<Matcher>(), bytemuck::cast_slice(&moved));
        self.shared.write(self.rule_at(index), bytemuck::bytes_of(&rule));
        self.put32(offset_of!(PlanHeader, text_len), first_byte + text.len() as u32);
        self.put32(offset_of!(PlanHeader, matcher_count), first + matchers.len() as u32);
        self.set_masks(index, &rule, plan);
        self.put32(offset_of!(PlanHeader, rule_count), index as u32 + 1);
        self.show(index, plan);
        Ok(index)
    }

    /// What the rule is, in words that nobody asks before its bit is seen.
    fn set_masks(&self, index: usize, rule: &Rule, plan: &PlanHeader) {
        let bit = |word: u64| (word & 1) << index;
        self.set_kinds(index, rule);
        self.set_bits(offset_of!(PlanHeader, std_fds), bit(plan.std_fds));
        self.set_bits(offset_of!(PlanHeader, needs_fd), bit(plan.needs_fd));
        self.set_bits(offset_of!(PlanHeader, needs_path), bit(plan.needs_path));
        self.set_bits(offset_of!(PlanHeader, memory), bit(plan.memory));
        self.set_bits(offset_of!(PlanHeader, added_rules), 1 << index);
        for op in 0..OPS {
            self.set_bits(word_of(offset_of!(PlanHeader, only_files), op), bit(plan.only_files[op]));
            self.set_bits(word_of(offset_of!(PlanHeader, only_sockets), op), bit(plan.only_sockets[op]));
        }
    }

    /// Lets the calls see the rule: first what must be followed for it, then itself.
    fn show(&self, index: usize, plan: &PlanHeader) {
        let bit = |word: u64| (word & 1) << index;
        let all = |bits: &dyn Fn(usize) -> u64| {
            for op in 0..OPS {
                self.set_bits(planned(op), bits(op));
            }
            if !self.is_armed() {
                return;
            }
            let in_force = if self.is_enabled() { u64::MAX } else { !RULE_BITS };
            for op in 0..OPS {
                self.set_bits(ops(op), bits(op) & in_force);
                self.set_bits(later(op), bits(op) & in_force);
            }
        };
        all(&|op| plan.planned[op] & TRACK);
        if self.is_timed() {
            all(&|op| if plan.planned[op] & RULE_BITS == 0 { 0 } else { WATCH });
        }
        all(&|op| bit(plan.planned[op] & RULE_BITS));
    }
}

/// What cannot be added while the program runs.
fn refuse(adding: &Adding<'_>) -> Result<(), Problem> {
    let fault = adding.fault;
    if fault.is_by_launcher() {
        let kind = fault.fault.map_or("fault", FaultKind::name);
        let problem = Problem::new(format!(
            "a {kind} without `calls` is the launcher's to do, by the table that it was started with"
        ));
        return Err(problem.help(format!("name calls at which it happens: {kind} calls=write")));
    }
    let what = fault.fault.filter(|kind| *kind == FaultKind::Exhaust).and(fault.what);
    let kept = match what {
        Some(crate::words::Resource::Memory) => Some("memory that is taken and given back"),
        Some(crate::words::Resource::Disk) => Some("what each file takes"),
        _ => None,
    };
    if let Some(kept) = kept {
        let problem =
            Problem::new(format!("this cannot be added while the program runs: {kept} is counted from the start"));
        return Err(problem.help("give it in the table, with `enabled: false` or `arm: ctl` until it is wanted"));
    }
    if adding.why != Why::Rule && fault.fault == Some(FaultKind::Clock) {
        return Err(Problem::new("a clock is off for a whole process, not once or for one thread")
            .help("`chaos-exec ctl add` takes it"));
    }
    if adding.why == Why::Once && (fault.times.is_some() || fault.per.is_some()) {
        return Err(Problem::new("what is injected fires once in the tree: `times` and `per` have no place")
            .help("`chaos-exec ctl add` takes them"));
    }
    if matches!(adding.why, Why::Thread(..)) && fault.per.is_some() {
        return Err(Problem::new("it is about the calling thread alone: `per` has no place"));
    }
    Ok(())
}

/// What tells the same spec, asked for the same way.
fn origin(adding: &Adding<'_>) -> u64 {
    let salt = match adding.why {
        Why::Rule => return 0,
        Why::Once => 1,
        Why::Thread(..) => 2,
    };
    combine(hash_on(HASH_START, adding.spec.as_bytes()), salt) | 1
}

/// Whether a rule of the same spec may be used again.
fn is_free(rule: &Rule, why: Why) -> bool {
    match why {
        Why::Rule => false,
        Why::Once => rule.enabled != 0,
        // Its thread has ended it.
        Why::Thread(..) => rule.enabled == 0,
    }
}

const fn owner(image: u32, tid: u32) -> u64 {
    (image as u64) << 32 | tid as u64
}

const fn later_by(span: Span, by: u32) -> Span {
    if span.count == 0 { span } else { Span { first: span.first.saturating_add(by), count: span.count } }
}

/// The spans of a rule, for patterns and text that stand behind others.
fn move_spans(rule: &mut Rule, first: u32, first_byte: u32) {
    for span in [&mut rule.name, &mut rule.component, &mut rule.message] {
        *span = later_by(*span, first_byte);
    }
    let except = &mut rule.except;
    let of_rule = [&mut rule.paths, &mut rule.peers, &mut rule.processes, &mut rule.callers, &mut rule.points];
    let of_except = [&mut except.paths, &mut except.peers, &mut except.processes, &mut except.callers];
    for span in of_rule.into_iter().chain(of_except) {
        *span = later_by(*span, first);
    }
}

/// Which bit beside a remembered address is which host pattern's.
struct Hosts {
    known: Vec<(String, u8)>,
}

impl Hosts {
    fn of(matchers: &[Matcher], text: &[u8]) -> Hosts {
        let hosts = matchers.iter().filter(|matcher| matcher.kind == matcher::HOST);
        Hosts { known: hosts.map(|matcher| (text_of(text, matcher.text).to_owned(), matcher.host_bit)).collect() }
    }

    fn bit(&mut self, host: &str) -> Result<u8, Problem> {
        if let Some((_, bit)) = self.known.iter().find(|(known, _)| known == host) {
            return Ok(*bit);
        }
        let free = self.known.iter().map(|(_, bit)| u32::from(*bit) + 1).max().unwrap_or(0);
        let bit = u8::try_from(free).ok().filter(|bit| usize::from(*bit) < MAX_HOSTS);
        let bit = bit.ok_or_else(|| Problem::new(format!("more than {MAX_HOSTS} different host patterns")))?;
        self.known.push((host.to_owned(), bit));
        Ok(bit)
    }
}

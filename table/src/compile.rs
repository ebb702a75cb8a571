//! From the table that a user wrote to the one that the shim reads, with every check that can be made before a
//! program runs.

mod names;
mod patterns;

use crate::calls::{CALLS, Call, FaultKind, Op, Subject};
use crate::check::{self, Hit, Resolved};
use crate::decide::rate_threshold;
use crate::error::{Problem, TableError};
use crate::fault::{Fault, Not};
use crate::presets::DEFAULT_RATE;
use crate::quantities::Time;
use crate::rule::{
    ALWAYS, Delay, Kinds, MAX_RULES, OP_ROOM, Plan, PlanHeader, RULE_BITS, Rule, Span, TRACK, Weighted, arm, change,
    clocks, exhaust, flag, matcher, per, shape,
};
use crate::runtimes::{DEFAULT_PROTECT, RUNTIMES};
use crate::schema::{Arm, Protect, Table};
use crate::selectors::{Glob, Target};
use crate::value::Many;
use crate::words::{Answer, Clock, Distribution, Mode, Per, Resource, Then};
use bytemuck::Zeroable;
use patterns::Patterns;
use std::collections::BTreeMap;
use std::path::Path;

/// What a table is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where relative globs start; absolute.
    pub work_dir: &'a Path,
    /// The seed when the table has none.
    pub seed: u64,
}

/// A table that can be put into a session.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The compiled form.
    pub plan: Plan,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// The operations that change what a descriptor is, beside those that make one.
const IDENTITY: &[Op] = &[
    Op::Close,
    Op::CloseRange,
    Op::Fcntl,
    Op::Opendir,
    Op::Closedir,
    Op::Fclose,
    Op::Popen,
    Op::Pclose,
    Op::Connect,
    Op::Recvmsg,
    Op::Recvmmsg,
    Op::Listen,
    Op::Rename,
];
/// The operations that change how much memory is allocated.
const ALLOCATION: &[Op] = &[Op::Malloc, Op::Calloc, Op::Realloc, Op::Memalign, Op::PosixMemalign, Op::Free];

/// The operations that give room on a disk back, or change whose it is.
const FREEING: &[Op] =
    &[Op::Ftruncate, Op::Truncate, Op::Unlink, Op::Rename, Op::Open, Op::Fopen, Op::Close, Op::Fclose];

/// Compiles a table. Rules stand in the order of `faults`, then those of the presets: the first that fires wins.
///
/// A rule without `rate`, `every`, `nth`, `after` and `times` takes the table's `rate` (or `intensity`), when there is
/// one. Presets have that rate, or 30 %.
///
/// # Errors
/// The first thing that is wrong.
pub fn compile(table: &Table, context: &Context<'_>) -> Result<Compiled, TableError> {
    let faults = all_faults(table)?;
    if faults.len() > MAX_RULES {
        let problem = Problem::new(format!("{} rules are too many", faults.len()));
        return Err(problem.help(format!("at most {MAX_RULES}, those of presets included")).at(None));
    }
    let names = names::of(&faults)?;
    let mut warnings = Vec::new();
    if (table.rate.is_some() || table.intensity.is_some())
        && table.chaos.is_empty()
        && table.faults.iter().all(Fault::says_when)
    {
        warnings
            .push("the table's rate has no effect: there is no preset, and every fault says when it fires".to_owned());
    }
    let mut compiler = Compiler {
        patterns: Patterns::new(context.work_dir, &table.roles),
        header: header(table, context),
        rules: Vec::new(),
        warnings,
        unprotected: table.protect.as_ref().is_some_and(Protect::is_none),
    };
    for (fault, name) in faults.iter().zip(&names) {
        let located = |problem: Problem| problem.at(fault.origin.0.clone());
        let resolved = check::resolve(fault).map_err(located)?;
        compiler.rule(fault, name, &resolved).map_err(located)?;
    }
    if let Some(Arm::Path(Many(globs))) = &table.arm {
        compiler.header.arm_paths = compiler.patterns.paths(globs).map_err(|problem| problem.at(None))?;
    }
    compiler.header.roles = compiler.patterns.all_roles().map_err(|problem| problem.at(None))?;
    compiler.protect(table.protect.as_ref()).map_err(|problem| problem.at(None))?;
    compiler.finish().map_err(|problem| problem.at(None))
}

/// Compiles one fault by itself, to be added to a session: its patterns refer to each other only, and nothing says what
/// is protected. `roles` and `unprotected` are those of the session's own table.
///
/// # Errors
/// The first thing that is wrong.
pub fn compile_one(
    fault: &Fault,
    name: &str,
    roles: &BTreeMap<String, Many<Target>>,
    unprotected: bool,
    work_dir: &Path,
) -> Result<Compiled, TableError> {
    let located = |problem: Problem| problem.at(fault.origin.0.clone());
    let header = header(&Table::default(), &Context { work_dir, seed: 0 });
    let patterns = Patterns::new(work_dir, roles);
    let mut compiler = Compiler { patterns, header, rules: Vec::new(), warnings: Vec::new(), unprotected };
    let resolved = check::resolve(fault).map_err(located)?;
    compiler.rule(fault, name, &resolved).map_err(located)?;
    compiler.finish().map_err(located)
}

/// The faults of a table with those of its presets, and the table's rate where it applies.
fn all_faults(table: &Table) -> Result<Vec<Fault>, TableError> {
    let rate = table.rate.or_else(|| table.intensity.map(|intensity| crate::quantities::Rate(intensity.rate())));
    let mut faults = table.faults.clone();
    for fault in faults.iter_mut().filter(|fault| !fault.says_when() && fault.takes_rate()) {
        fault.rate = rate;
    }
    for preset in table.chaos.iter().filter_map(|name| name.preset()) {
        faults.extend(preset.faults(rate.map_or(DEFAULT_RATE, |rate| rate.0))?);
    }
    Ok(faults)
}

fn header(table: &Table, context: &Context<'_>) -> PlanHeader {
    let mut header = PlanHeader::zeroed();
    header.seed = table.seed.unwrap_or(context.seed);
    header.enabled = u32::from(table.enabled.unwrap_or(true));
    header.arm = match table.arm.as_ref().unwrap_or(&Arm::Main) {
        Arm::Main => arm::MAIN,
        Arm::Exec => arm::EXEC,
        Arm::After(Time(ns)) => {
            header.arm_ns = *ns;
            arm::AFTER
        }
        Arm::Path(_) => arm::PATH,
        Arm::Listen(ports) => {
            (header.arm_port_first, header.arm_port_last) = (ports.first.into(), ports.last.into());
            arm::LISTEN
        }
        Arm::Ctl => arm::CTL,
    };
    header.until_ns = table.r#for.map_or(u64::MAX, |lasting| lasting.0.0);
    header.max_faults = table.max_faults.unwrap_or(u64::MAX);
    header
}

struct Compiler<'a> {
    patterns: Patterns<'a>,
    header: PlanHeader,
    rules: Vec<Rule>,
    warnings: Vec<String>,
    /// `protect: none`.
    unprotected: bool,
}

impl Compiler<'_> {
    fn rule(&mut self, fault: &Fault, name: &str, resolved: &Resolved) -> Result<(), Problem> {
        let mut rule = Rule::zeroed();
        rule.enabled = 1;
        rule.name = self.patterns.text(name.as_bytes())?;
        rule.component = self.label(fault.component.as_ref().map(|label| label.0.as_str()))?;
        rule.message = self.label(fault.message.as_ref().map(|label| label.0.as_str()))?;
        set_when(&mut rule, fault);
        set_what(&mut rule, fault);
        if resolved.by_launcher {
            rule.flags |= flag::LAUNCHER;
        }
        self.set_where(&mut rule, fault, resolved)?;
        self.set_masks(&mut rule, resolved);
        self.warnings.extend(resolved.warnings.iter().map(|warning| format!("{name}: {warning}")));
        if rule.rate == 0 {
            self.warnings.push(format!("{name}: at a rate of 0 it never fires"));
        }
        if fault.fault == Some(FaultKind::Latency) && rule.delay.base_ns == 0 && rule.delay.spread_ns == 0 {
            self.warnings.push(format!("{name}: a delay of 0 changes nothing"));
        }
        self.rules.push(rule);
        Ok(())
    }

    fn label(&mut self, label: Option<&str>) -> Result<Span, Problem> {
        label.map_or(Ok(Span::default()), |label| self.patterns.text(label.as_bytes()))
    }

    fn set_where(&mut self, rule: &mut Rule, fault: &Fault, resolved: &Resolved) -> Result<(), Problem> {
        if let Some(Many(globs)) = &fault.path {
            rule.paths = self.patterns.paths(globs)?;
            rule.flags |= flag::PATH;
        }
        if let Some(Many(globs)) = &fault.point {
            rule.points = self.patterns.processes(globs)?;
            rule.flags |= flag::POINT;
        }
        if let Some(Many(targets)) = &fault.to {
            rule.peers = self.patterns.peers(targets)?;
            rule.flags |= flag::PEER;
            self.only_names(rule, resolved)?;
        }
        if let Some(Many(globs)) = &fault.process {
            rule.processes = self.patterns.processes(globs)?;
            rule.flags |= flag::PROCESS;
        }
        if let Some(range) = fault.fd {
            (rule.fd_first, rule.fd_last) = (range.first, range.last);
            rule.flags |= flag::FD;
        }
        if let Some(range) = fault.size {
            (rule.size_first, rule.size_last) = (range.first, range.last);
            rule.flags |= flag::SIZE;
        }
        if let Some(Many(globs)) = &fault.caller {
            rule.callers = self.patterns.processes(globs)?;
            rule.flags |= flag::CALLER;
        }
        if let Some(not) = &fault.not {
            self.set_except(rule, not)?;
        }
        Ok(())
    }

    /// What `not` says of calls and direction has taken its operations away already.
    fn set_except(&mut self, rule: &mut Rule, not: &Not) -> Result<(), Problem> {
        let except = &mut rule.except;
        let globs = |globs: &Option<Many<Glob>>| globs.as_ref().map_or_else(Vec::new, |globs| globs.0.clone());
        except.paths = self.patterns.paths(&globs(&not.path))?;
        except.processes = self.patterns.processes(&globs(&not.process))?;
        except.callers = self.patterns.processes(&globs(&not.caller))?;
        if let Some(Many(targets)) = &not.to {
            except.peers = self.patterns.peers(targets)?;
        }
        (except.fd_first, except.fd_last) = not.fd.map_or((0, -1), |range| (range.first, range.last));
        (except.size_first, except.size_last) = not.size.map_or((1, 0), |range| (range.first, range.last));
        rule.flags |= flag::EXCEPT;
        Ok(())
    }

    /// A look-up has a name and no address yet: a rule on look-ups alone needs a host pattern.
    fn only_names(&self, rule: &Rule, resolved: &Resolved) -> Result<(), Problem> {
        let names_alone = resolved.hits.iter().all(|hit| hit.op.row().subject == Subject::Name);
        if names_alone && !self.patterns.has_host(rule.peers) {
            let problem = Problem::new("`to` names no host, so it can never match a look-up");
            return Err(problem.help("a look-up has a name and no address or port: to=api.example.com"));
        }
        Ok(())
    }

    fn set_masks(&mut self, rule: &mut Rule, resolved: &Resolved) {
        let bit = 1u64 << self.rules.len();
        let rows = || resolved.hits.iter().map(|hit| hit.op.row());
        let about_files = resolved.hits.iter().any(Hit::may_be_on_file);
        if about_files && !rule.has(flag::PATH) && !self.unprotected {
            rule.flags |= flag::PROTECTED;
        }
        // A shell's `> file` takes as much of a disk as any other.
        let is_named_quota = rule.what == exhaust::DISK && rule.has(flag::PATH);
        if rule.has(flag::FD) || self.unprotected || is_named_quota {
            rule.flags |= flag::STD_FDS;
            self.header.std_fds |= bit;
        }
        let mut by_kind = false;
        for hit in &resolved.hits {
            let op = hit.op as usize;
            self.header.planned[op] |= bit;
            by_kind |= hit.only_files || hit.only_sockets;
            if hit.only_files {
                self.header.only_files[op] |= bit;
            }
            if hit.only_sockets {
                self.header.only_sockets[op] |= bit;
            }
        }
        let on_fd = rows().any(|row| row.subject == Subject::Fd);
        let named = rule.has(flag::PATH) || rule.has(flag::PEER) || rule.has(flag::PROTECTED);
        let spared = rule.except.paths.count != 0 || rule.except.peers.count != 0;
        if on_fd && (by_kind || named || spared) {
            self.header.needs_fd |= bit;
        }
        if on_fd && (rule.has(flag::PATH) || rule.has(flag::PROTECTED) || rule.except.paths.count != 0) {
            self.header.needs_path |= bit;
        }
        if rows().any(|row| row.subject == Subject::Memory) {
            self.header.memory |= bit;
        }
    }

    fn protect(&mut self, protect: Option<&Protect>) -> Result<(), Problem> {
        let usual = Protect { default: true, globs: Vec::new() };
        let protect = protect.unwrap_or(&usual);
        let first = self.patterns.matchers.len();
        if protect.default {
            let runtimes = RUNTIMES.iter().flat_map(|runtime| runtime.protects);
            for glob in DEFAULT_PROTECT.iter().chain(runtimes) {
                self.patterns.add(matcher::PATH, glob.as_bytes())?;
            }
            self.patterns.spare_work_dir(first);
        }
        for glob in &protect.globs {
            self.patterns.path(glob)?;
        }
        self.header.protect = self.patterns.since(first);
        self.header.work_dir = self.patterns.work_dir()?;
        Ok(())
    }

    fn finish(mut self) -> Result<Compiled, Problem> {
        let tracked = |ops: &mut [u64; OP_ROOM], which: &[Op]| which.iter().for_each(|op| ops[*op as usize] |= TRACK);
        // What is known of a descriptor - which rules match it, how much it has moved, that its wake-ups come by edges -
        // ends with it. A connect that fails later is remembered by it until its error has been told.
        let planned = self.header.planned;
        let has_rules = |call: &Call| planned[call.op as usize] & RULE_BITS != 0;
        let connects = has_rules(Op::Connect.row());
        if connects || CALLS.iter().any(|call| call.subject == Subject::Fd && has_rules(call)) {
            tracked(&mut self.header.planned, IDENTITY);
            tracked(&mut self.header.planned, check::users_of(Resource::Files));
        }
        if connects {
            tracked(&mut self.header.planned, &[Op::Getsockopt]);
        }
        if self.rules.iter().any(|rule| rule.has(flag::PATH) || rule.except.paths.count != 0) {
            // A directory's name may now be another's.
            tracked(&mut self.header.planned, &[Op::Rename, Op::Symlink]);
        }
        if self.rules.iter().any(|rule| rule.what == exhaust::MEMORY) {
            tracked(&mut self.header.planned, ALLOCATION);
        }
        if self.rules.iter().any(|rule| rule.what == exhaust::DISK) {
            tracked(&mut self.header.planned, check::users_of(Resource::Disk));
            tracked(&mut self.header.planned, FREEING);
        }
        if self.patterns.has_hosts() {
            tracked(&mut self.header.planned, &[Op::Getaddrinfo, Op::Gethostbyname]);
        }
        // What is in force at first: everything, or only what shows the sign that the tree waits for.
        let signs: &[Op] = match self.header.arm {
            arm::PATH => &[Op::Open, Op::Fopen],
            arm::LISTEN => &[Op::Listen],
            _ => &[],
        };
        self.header.armed = u32::from(!matches!(self.header.arm, arm::PATH | arm::LISTEN | arm::CTL));
        if self.header.armed != 0 {
            self.header.ops = self.header.planned;
        }
        tracked(&mut self.header.ops, signs);
        if self.header.enabled == 0 {
            self.header.ops.iter_mut().for_each(|word| *word &= !RULE_BITS);
        }
        self.warnings.append(&mut self.patterns.warnings);
        self.header.kinds = Kinds::of(&self.header, &self.rules);
        let (matchers, text) = self.patterns.into_parts();
        let narrow = |count: usize| u32::try_from(count).map_err(|_| Problem::new("the table is too large"));
        self.header.rule_count = narrow(self.rules.len())?;
        self.header.matcher_count = narrow(matchers.len())?;
        self.header.text_len = narrow(text.len())?;
        let plan = Plan { header: self.header, rules: self.rules, matchers, text };
        Ok(Compiled { plan, warnings: self.warnings })
    }
}

fn set_when(rule: &mut Rule, fault: &Fault) {
    rule.rate = fault.rate.map_or(ALWAYS, |rate| rate_threshold(rate.0));
    rule.after = fault.after.map_or(0, |after| after.0);
    rule.every = fault.every.map_or(0, |every| every.0);
    rule.times = fault.times.map_or(0, |times| times.0);
    if let Some(nth) = fault.nth {
        (rule.nth_first, rule.nth_last, rule.nth_step) = (nth.first, nth.last, nth.step);
    }
    if rule.after != 0 || rule.every != 0 || rule.nth_first != 0 {
        rule.flags |= flag::COUNTS;
    }
    rule.per = match fault.per.unwrap_or(Per::Process) {
        Per::Process => per::PROCESS,
        Per::Thread => per::THREAD,
        Per::Tree => per::TREE,
    };
    rule.from_ns = fault.from.map_or(0, |from| from.0);
    let window = fault.r#for.filter(|_| !check::for_bounds_block(fault));
    rule.until_ns = window.map_or(u64::MAX, |window| rule.from_ns.saturating_add(window.0.0));
}

fn set_what(rule: &mut Rule, fault: &Fault) {
    let Some(kind) = fault.fault else { return };
    rule.fault = kind as u8;
    match kind {
        FaultKind::Error => set_errnos(rule, fault),
        FaultKind::Latency => rule.delay = delay(fault),
        FaultKind::Hang => rule.delay.base_ns = fault.r#for.map_or(0, |longest| longest.0.0),
        FaultKind::Short => rule.keep_ppm = fault.keep.map_or(500_000, |keep| keep.0),
        FaultKind::Corrupt => set_change(rule, fault),
        FaultKind::Torn => {
            rule.keep_ppm = fault.keep.map_or(500_000, |keep| keep.0);
            set_errnos(rule, fault);
            if fault.then == Some(Then::Kill) {
                rule.flags |= flag::KILLS;
            }
        }
        FaultKind::Return => {
            rule.value = fault.value.map_or(0, |value| value.0);
            set_errnos(rule, fault);
        }
        FaultKind::Disconnect => {
            if fault.mode == Some(Mode::End) {
                rule.flags |= flag::SILENT;
            }
            rule.limit = fault.after_bytes.map_or(0, |bytes| bytes.0);
        }
        FaultKind::Refuse | FaultKind::Drop => {}
        FaultKind::Unreachable => set_unreachable(rule, fault),
        FaultKind::Throttle => rule.limit = fault.bandwidth.map_or(u64::MAX, |bandwidth| bandwidth.0),
        FaultKind::Dns => match fault.answer.unwrap_or(Answer::NotFound) {
            Answer::NotFound => rule.code = libc::EAI_NONAME,
            Answer::TryAgain => rule.code = libc::EAI_AGAIN,
            Answer::Hang => rule.delay.base_ns = fault.r#for.map_or(0, |longest| longest.0.0),
        },
        FaultKind::Exhaust => {
            rule.what = match fault.what {
                Some(Resource::Memory) => exhaust::MEMORY,
                Some(Resource::Processes) => exhaust::PROCESSES,
                Some(Resource::Threads) => exhaust::THREADS,
                Some(Resource::Disk) => exhaust::DISK,
                Some(Resource::Files) | None => exhaust::FILES,
            };
            rule.limit = fault.limit.map_or(u64::MAX, |limit| limit.amount);
        }
        FaultKind::Signal => rule.code = fault.signal.map_or(libc::SIGKILL, |signal| signal.0),
        FaultKind::Exit => rule.code = fault.code.map_or(1, |code| i32::from(code.0)),
        FaultKind::Freeze => rule.delay.base_ns = fault.r#for.map_or(check::FREEZE_NS, |lasting| lasting.0.0),
        FaultKind::Clock => set_clock(rule, fault),
    }
    rule.period_ns = fault.period.map_or(0, |period| period.0.0);
}

fn set_clock(rule: &mut Rule, fault: &Fault) {
    rule.offset_ns = fault.offset.map_or(0, |offset| offset.0);
    rule.jump_ns = fault.jump.map_or(0, |jump| jump.0);
    rule.pace_ppm = fault.pace.map_or(0, |pace| pace.0);
    let bit = |clock: &Clock| match clock {
        Clock::Realtime => clocks::REALTIME,
        Clock::Monotonic => clocks::MONOTONIC,
    };
    rule.clocks =
        fault.clocks.as_ref().map_or(clocks::REALTIME, |all| all.iter().fold(0, |bits, clock| bits | bit(clock)));
}

fn set_change(rule: &mut Rule, fault: &Fault) {
    (rule.flip_bits, rule.flip_per) = fault.flip.map_or((1, 64 << 10), |flip| (flip.bits, flip.per));
    if let Some(zero) = fault.zero {
        rule.change = change::ZERO;
        (rule.flip_bits, rule.flip_per) = (zero.len, zero.per);
    }
    if let Some(repeat) = fault.duplicate {
        (rule.change, rule.keep_ppm) = (change::DUPLICATE, repeat.0);
    }
    if let Some(cut) = fault.truncate {
        (rule.change, rule.keep_ppm) = (change::TRUNCATE, cut.0);
    }
}

/// ETIMEDOUT takes time; that there is no way is known at once.
fn set_unreachable(rule: &mut Rule, fault: &Fault) {
    rule.code = fault.errno.as_ref().and_then(|errnos| errnos.0.first()).map_or(0, |(errno, _)| errno.0);
    let usual = if matches!(rule.code, 0 | libc::ETIMEDOUT) { 1_000_000_000 } else { 0 };
    rule.delay.base_ns = fault.delay.map_or(usual, |delay| delay.0);
}

pub(crate) fn set_errnos(rule: &mut Rule, fault: &Fault) {
    let Some(errnos) = &fault.errno else { return };
    let mut cumulative = 0u32;
    rule.errno_count = 0;
    for (slot, (errno, weight)) in rule.errnos.iter_mut().zip(&errnos.0) {
        cumulative = cumulative.saturating_add(*weight);
        *slot = Weighted { code: errno.0, cumulative };
        rule.errno_count += 1;
    }
}

pub(crate) fn delay(fault: &Fault) -> Delay {
    let spread_ns = fault.jitter.map_or(0, |jitter| jitter.0);
    let shape = match (fault.distribution, fault.jitter) {
        (Some(Distribution::Normal), _) => shape::NORMAL,
        (Some(Distribution::Pareto), _) => shape::PARETO,
        (Some(Distribution::Uniform), _) | (None, Some(_)) => shape::UNIFORM,
        (Some(Distribution::Fixed), _) | (None, None) => shape::FIXED,
    };
    Delay { shape, reserved: 0, base_ns: fault.delay.map_or(500_000_000, |delay| delay.0), spread_ns }
}

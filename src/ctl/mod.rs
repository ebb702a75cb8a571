//! `chaos-exec ctl`: steers a run that goes on, through the words that every process of its tree looks at.

mod find;

use crate::cli::{CtlArgs, Order};
use crate::error::{Context, Failure, Result};
use crate::session_file::{RuleLabel, SessionFile};
use crate::slots::join_record;
use crate::sys::Mapping;
use chaos_table::calls::FaultKind;
use chaos_table::error::nearest;
use chaos_table::fault::Fault;
use chaos_table::live::{Added, Adding, Held, Live, Why, change};
use chaos_table::record::{MAX_TEXT, Record, SLOT, kind};
use chaos_table::rule::{Rule, clocks};
use chaos_table::schema::Table;
use chaos_table::spec::parse_spec;
use find::Found;
use nix::sys::signal::kill;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::io::Write;
use std::time::Duration;

/// Longest text of a mark, so that it stays one record.
const MAX_MARK: usize = 900;
/// So many milliseconds a full log is waited for.
const PATIENCE_MS: u32 = 1000;

/// Does what is ordered.
///
/// # Errors
/// When there is no such session, it is over or damaged, it belongs to somebody else, or what is ordered cannot be done.
pub fn run(args: &CtlArgs, out: &mut dyn Write) -> Result<()> {
    let found = find::session(args.session.as_deref(), args.order == Order::Status)?;
    if args.order == Order::Status {
        return status(&found, out);
    }
    let (file, len) = found.file.raw();
    let mapping = Mapping::of(file, usize::try_from(len).cannot("map the session")?).cannot("map the session")?;
    let live = Live::of(&mapping, len).map_err(|why| Failure::new(format!("the session cannot be used: {why}")))?;
    let session = Steered { found: &found, live, now: now()? };
    let said = match &args.order {
        Order::Status => None,
        Order::Arm => session.arm()?,
        Order::Disable => session.disable()?,
        Order::Enable => session.enable()?,
        Order::Add { spec } => Some(session.add(spec, Why::Rule)?),
        Order::Inject { spec } => Some(session.add(spec, Why::Once)?),
        Order::Rm { rule } => Some(session.remove(rule)?),
        Order::Set { rule, assignments } => Some(session.set(rule, &assignments.join(" "))?),
        Order::Mark { text } => session.mark(&text.join(" "))?,
    };
    match said {
        Some(said) => writeln!(out, "{said}").cannot("write to stdout"),
        None => Ok(()),
    }
}

/// Changes the table of a run that the launcher itself follows; gives `change` the moment of CLOCK_MONOTONIC.
///
/// # Errors
/// When the session is damaged.
pub fn with_live<T>(file: &SessionFile, change: impl FnOnce(&Live<Mapping>, u64) -> T) -> Result<T> {
    let (file, len) = file.raw();
    let mapping = Mapping::of(file, usize::try_from(len).cannot("map the session")?).cannot("map the session")?;
    let live = Live::of(&mapping, len).map_err(|why| Failure::new(format!("the session cannot be used: {why}")))?;
    let _held = live.lock(std::process::id(), |_| true, || std::thread::sleep(Duration::from_millis(1)));
    Ok(change(&live, now()?))
}

/// Arms a tree that waits for it, as the launcher of an experiment does once everything is ready.
///
/// # Errors
/// When the session is damaged.
pub fn arm(file: &SessionFile) -> Result<()> {
    with_live(file, |live, now| {
        live.arm(now);
    })
}

/// ns of CLOCK_MONOTONIC.
fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).cannot("read the clock")?;
    Ok(Duration::from(time).as_nanos() as u64)
}

/// A run that is being steered.
struct Steered<'a> {
    found: &'a Found,
    live: Live<'a, Mapping>,
    now: u64,
}

impl<'a> Steered<'a> {
    /// Nobody else changes the table until this is dropped.
    fn lock(&self) -> Result<Held<'a>> {
        let is_alive = |pid: u32| {
            i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH))
        };
        let pause = || std::thread::sleep(Duration::from_millis(1));
        self.live.lock(std::process::id(), is_alive, pause).ok_or_else(|| {
            Failure::new("somebody else has been changing the session for two seconds").help("try again")
        })
    }

    fn arm(&self) -> Result<Option<String>> {
        let held = self.lock()?;
        let armed = self.live.arm(self.now);
        drop(held);
        if armed {
            self.note("ctl: armed")?;
        }
        Ok(None)
    }

    fn disable(&self) -> Result<Option<String>> {
        let held = self.lock()?;
        let changed = self.live.is_enabled();
        self.live.disable();
        drop(held);
        if changed {
            self.note("ctl: disabled")?;
        }
        Ok(None)
    }

    fn enable(&self) -> Result<Option<String>> {
        let held = self.lock()?;
        let changed = !self.live.is_enabled();
        self.live.enable();
        drop(held);
        if changed {
            self.note("ctl: enabled")?;
        }
        if self.live.budget() == Some(0) {
            return Err(Failure::new("nothing more will be injected: the run has had all of its max_faults")
                .help("a run with a larger --max-faults, or without it, has more"));
        }
        if self.live.left(self.now) == Some(0) {
            return Err(Failure::new(
                "nothing more will be injected: the time that the table gives by `for` has passed",
            )
            .help("a run with a longer --for, or without it, has more"));
        }
        Ok(None)
    }

    fn add(&self, spec: &str, why: Why) -> Result<String> {
        let order = if why == Why::Once { "inject" } else { "add" };
        let fault = parse_spec(spec, order)?;
        self.found.refuse_launcher_alone(&fault)?;
        let added = {
            let _held = self.lock()?;
            let roles = self.found.roles();
            self.live.add(&Adding { fault: &fault, spec, why, roles: &roles, mono_ns: self.now })?
        };
        for warning in &added.warnings {
            self.found.console.warning(warning);
        }
        self.note(&format!("ctl: {order} {}: {spec}", added.name))?;
        let idle = match (self.live.is_enabled(), self.live.is_armed()) {
            (false, _) => " once `chaos-exec ctl enable` is given",
            (_, false) => " once the tree is armed",
            _ => "",
        };
        let Added { index, name, .. } = added;
        Ok(match why {
            Why::Once => format!("{name} (rule {}) fires at the next call that matches{idle}", index + 1),
            _ => format!("{name} (rule {}) is in force{idle}", index + 1),
        })
    }

    fn remove(&self, rule: &str) -> Result<String> {
        let _held = self.lock()?;
        let (index, name) = self.rule(rule)?;
        let is_steady = |rule: Rule| rule.fault == FaultKind::Clock as u8 && rule.clocks & clocks::MONOTONIC != 0;
        if self.live.rule(index).is_some_and(is_steady) {
            return Err(Failure::new("a monotonic clock never goes back, so this rule stays as long as the run"));
        }
        self.live.remove(index);
        self.note(&format!("ctl: rm {name}"))?;
        Ok(format!("{name} (rule {}) is no longer in force", index + 1))
    }

    fn set(&self, rule: &str, assignments: &str) -> Result<String> {
        let _held = self.lock()?;
        let (index, name) = self.rule(rule)?;
        let gone = || Failure::new("the session was damaged meanwhile");
        let mut changed = self.live.rule(index).ok_or_else(gone)?;
        change(&mut changed, assignments, self.live.run_time(self.now))?;
        self.live.replace(index, &changed);
        self.note(&format!("ctl: set {name} {assignments}"))?;
        Ok(format!("{name} (rule {}): {assignments}", index + 1))
    }

    fn mark(&self, text: &str) -> Result<Option<String>> {
        if text.trim().is_empty() {
            return Err(Failure::new("the mark says nothing").help("such as: chaos-exec ctl mark 'load begins'"));
        }
        if text.len() > MAX_MARK {
            return Err(Failure::new(format!("the mark is longer than {MAX_MARK} bytes")).help("say it in a line"));
        }
        self.note(text)?;
        Ok(None)
    }

    /// The rule of this name or number that is still there.
    fn rule(&self, word: &str) -> Result<(usize, String)> {
        let names = self.live.names();
        let number = word.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let index = names.iter().position(|name| name == word).or(number.filter(|index| *index < names.len()));
        let Some(index) = index else {
            let failure = Failure::new(format!("there is no rule '{}'", word.escape_debug()));
            return Err(match nearest(word, names.iter().map(String::as_str)) {
                Some(near) => failure.help(format!("did you mean '{near}'?")),
                None if names.is_empty() => failure.help("the run has no rules; `chaos-exec ctl add SPEC` adds one"),
                None => failure.help("`chaos-exec ctl status` lists the rules with their names and numbers"),
            });
        };
        if self.live.rule(index).is_none_or(|rule| rule.enabled == 0) {
            return Err(Failure::new(format!("the rule '{}' was removed before", names[index]))
                .help("`chaos-exec ctl add SPEC` adds another"));
        }
        Ok((index, names[index].clone()))
    }

    /// Writes a mark into the log: what it tells of is in force.
    fn note(&self, text: &str) -> Result<()> {
        let at_ns = self.live.since_start(now()?);
        let pid = std::process::id();
        let record = Record { kind: kind::MARK, at_ns, pid, tid: pid, ..Record::default() };
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // A letter that is cut in two is shown as one that is missing.
        let text = &text.as_bytes()[..text.len().min(MAX_TEXT)];
        let slots = (join_record(0, record, text).len() / SLOT) as u64;
        for _ in 0..PATIENCE_MS {
            if let Some(index) = self.live.claim(slots) {
                self.live.publish(index, &join_record(index, record, text));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::new("the log is full, so it does not say what was changed: what was ordered is in force"))
    }
}

fn status(found: &Found, out: &mut dyn Write) -> Result<()> {
    let read = "read the session";
    let file: &SessionFile = &found.file;
    let plan = file.plan().cannot(read)?;
    let state = if found.is_over()? {
        "over"
    } else if plan.enabled == 0 {
        "disabled"
    } else if plan.armed == 0 {
        "waiting to be armed"
    } else {
        "injecting"
    };
    let labels: Vec<RuleLabel> = file.labels().cannot(read)?;
    let counters = file.counters(labels.len()).cannot(read)?;
    let mut text = format!("{}{state}\n", found.id());
    for (index, (label, counted)) in labels.iter().zip(counters).enumerate() {
        let gone = if file.is_removed(index).cannot(read)? { ", removed" } else { "" };
        text += &format!("  {}  {}  {} matched{gone}\n", index + 1, label.name, counted.matched);
    }
    out.write_all(text.as_bytes()).cannot("write to stdout")
}

impl Found {
    /// What no call triggers only the launcher could do, and it acts by the table that it was started with.
    fn refuse_launcher_alone(&self, fault: &Fault) -> Result<()> {
        if fault.is_by_launcher() && !self.file.has_launcher() {
            return Err(Failure::new("there is no launcher to do this, and the fault has no `calls`")
                .help("name calls at which it happens"));
        }
        Ok(())
    }

    /// The roles of the table that the run was started with.
    fn roles(&self) -> std::collections::BTreeMap<String, chaos_table::Many<chaos_table::selectors::Target>> {
        let table = self.source.meta.as_ref().map(|meta| meta.table.clone());
        table.and_then(|table| serde_json::from_value::<Table>(table).ok()).unwrap_or_default().roles
    }
}

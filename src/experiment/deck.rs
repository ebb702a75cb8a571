//! An experiment that has been looked at as a whole: everything in it is known and fits together.

use super::common_shape::translated;
use super::counting::{counters, is_or_in_phase, only_counts};
use super::file::{Experiment, Strings, Text};
use super::fill::{Filling, Values, ports_of, rules_of};
use super::order::in_order;
use super::phases::{Schedule, schedule};
use super::stage::Stage;
use crate::error::{Failure, Result};
use crate::gate::Gate;
use crate::verify::refuse_bad_patterns;
use chaos_table::checks::{Check, CheckKind};
use chaos_table::compile::{Compiled, Context, compile};
use chaos_table::nearest;
use chaos_table::quantities::{Lasting, Rate};
use chaos_table::schema::{Arm, Fault, Table};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a run is ended that says nothing else.
const DEADLINE: Duration = Duration::from_secs(600);
/// Runs of one experiment, and those at once.
const MOST: (u64, u64) = (100_000, 256);

/// An experiment that can be run.
#[derive(Debug)]
pub struct Deck {
    /// Where it was read.
    pub text: Text,
    /// The words that stand for `${command}`.
    pub command: Vec<String>,
    /// Its name for machines.
    pub id: String,
    /// What it is.
    pub experiment: Experiment,
    /// A run of it with the lowest numbers of all ranges.
    pub stage: Stage,
    /// What its table does with them.
    pub compiled: Compiled,
    /// Its gate.
    pub gate: Option<Gate>,
    /// The ports that it speaks of.
    pub ports: Vec<String>,
    /// The rules of whose calls in the control it wants a part.
    pub measured: Vec<String>,
    /// Runs without faults that come first.
    pub controls: u64,
    /// When a run is ended.
    pub deadline: Duration,
}

impl Deck {
    /// Looks at an experiment: with the lowest numbers of all ranges, and with the highest.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn of(text: Text, command: &[String]) -> Result<Deck> {
        let text = translated(text)?;
        let file = text.path.display().to_string();
        let within = |failure: Failure| match failure.message.starts_with(&file) {
            true => failure,
            false => Failure { message: format!("{file}: {}", failure.message), ..failure },
        };
        let (highest, ..) = staged(&text, &Filling::Check { highest: true }, command).map_err(within)?;
        let (experiment, stage, compiled) =
            staged(&text, &Filling::Check { highest: false }, command).map_err(within)?;
        let gate = Gate::parse(&experiment.gate.all);
        let gate =
            gate.map_err(|wrong| within(Failure { message: wrong.message.replacen("--gate", "gate", 1), ..wrong }))?;
        let stem = text.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let id = experiment.id.clone().unwrap_or(stem);
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > 100 || id.starts_with('.') || !id.chars().all(fits) {
            let wrong = Failure::new(format!("'{id}' is no id for an experiment"));
            return Err(within(wrong.help("id: letters, digits, `.`, `_` and `-`")));
        }
        let ports = ports_of(&text);
        [&experiment, &highest].into_iter().try_for_each(|one| limits(one, &ports)).map_err(within)?;
        let measured = rules_of(&text);
        measured.iter().try_for_each(|rule| refuse_unmeasured(rule, &stage.table)).map_err(within)?;
        let controls = experiment.controls.unwrap_or(0).max(u64::from(!measured.is_empty()));
        let deadline = experiment.deadline.map_or(DEADLINE, |Lasting(time)| Duration::from_nanos(time.0));
        Ok(Deck {
            text,
            command: command.to_vec(),
            id,
            experiment,
            stage,
            compiled,
            gate,
            ports,
            measured,
            controls,
            deadline,
        })
    }

    /// What one run is to do.
    ///
    /// # Errors
    /// When what its seed has drawn does not fit together.
    pub fn stage(&self, values: Values, repeat: String, outputs: PathBuf) -> Result<Stage> {
        let (tmp, control) = (values.tmp.clone(), values.matched.is_none() && values.run == 0);
        let (_, mut stage, _) = staged(&self.text, &Filling::Run(Box::new(values)), &self.command)?;
        if control {
            self.make_harmless(&mut stage.table);
        }
        Ok(Stage { tmp, repeat, outputs, ..stage })
    }

    /// Leaves of a table what counts, and of the faults those whose calls are counted, which never fire then.
    fn make_harmless(&self, table: &mut Table) {
        let name = |fault: &Fault| fault.name.as_ref().map_or_else(String::new, |name| name.0.clone());
        let wanted = |name: &str| self.measured.iter().any(|rule| is_or_in_phase(name, rule));
        table.faults.retain(|fault| wanted(&name(fault)) || only_counts(&name(fault)));
        for fault in &mut table.faults {
            fault.rate = Some(Rate(0.0));
            (fault.every, fault.nth, fault.after, fault.times) = (None, None, None, None);
        }
        (table.chaos, table.rate, table.intensity) = (Vec::new(), None, None);
    }
}

/// What is a part of a rule's calls needs a rule that calls are put to.
fn refuse_unmeasured(rule: &str, table: &Table) -> Result<()> {
    let names = || table.faults.iter().filter_map(|fault| fault.name.as_ref()).map(|name| name.0.as_str());
    let Some(fault) =
        table.faults.iter().find(|fault| fault.name.as_ref().is_some_and(|name| is_or_in_phase(&name.0, rule)))
    else {
        let near = nearest(rule, names().map(|name| name.split('/').next().unwrap_or(name)));
        let help = near
            .map_or_else(|| "give the fault that is meant a `name`".into(), |near| format!("did you mean `{near}`?"));
        return Err(Failure::new(format!("`% of {rule}`: there is no fault of this name")).help(help));
    };
    if fault.takes_rate() {
        return Ok(());
    }
    Err(Failure::new(format!("`% of {rule}`: no call triggers this fault, so none can be counted"))
        .help("name a fault with `calls`"))
}

fn limits(experiment: &Experiment, ports: &[String]) -> Result<()> {
    if experiment.controls.is_some_and(|controls| controls > 1000) {
        return Err(Failure::new("`controls` is out of range").help("0 to 1000"));
    }
    for (key, value, most) in [("runs", experiment.runs, MOST.0), ("jobs", experiment.jobs, MOST.1)] {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            return Err(Failure::new(format!("`{key}: {value}` is out of range")).help(format!("1 to {most}")));
        }
    }
    if let Some(odd) = experiment.ports.keys().find(|name| !ports.contains(name)) {
        return Err(Failure::new(format!("`ports` has {odd}, and nothing speaks of ${{port:{odd}}}"))
            .help("use it, or leave it out: ports that nobody fixes are picked"));
    }
    if experiment.ports.values().any(|port| *port == 0) {
        return Err(Failure::new("port 0 is no port").help("leave it out of `ports`, and one is picked"));
    }
    if experiment.jobs.is_some_and(|jobs| jobs > 1) && !experiment.ports.is_empty() {
        return Err(Failure::new("several runs at once cannot share a fixed port").help("leave `ports` out, or `jobs`"));
    }
    if let Some(limit) = &experiment.limit {
        limit.refuse_hopeless()?;
    }
    for (name, source) in &experiment.files {
        refuse_leaving(name)?;
        if let super::file::FileSource::From(path) = source
            && path.trim().is_empty()
        {
            return Err(Failure::new(format!("files: {name} comes from nowhere")).help("{from: PATH} or {text: ...}"));
        }
    }
    Ok(())
}

/// What is written for a run stays in its work directory.
fn refuse_leaving(name: &str) -> Result<()> {
    let stays = |part: std::path::Component| matches!(part, std::path::Component::Normal(_));
    match !name.is_empty() && Path::new(name).components().all(stays) {
        true => Ok(()),
        false => Err(Failure::new(format!("files: '{name}' is no place within the work directory"))
            .help("a relative name without `..`")),
    }
}

/// The experiment and one run of it.
fn staged(text: &Text, filling: &Filling, command: &[String]) -> Result<(Experiment, Stage, Compiled)> {
    let mut experiment = text.experiment(filling)?;
    let mut table = experiment.table(text.dir())?;
    let mut targets = in_order(std::mem::take(&mut experiment.targets))?;
    for target in &mut targets {
        target.command = spliced(&target.command, command)?;
    }
    let wants = text.text.contains("${command}");
    if !wants && !command.is_empty() {
        return Err(
            Failure::new("the experiment takes no command").help("write `command: \"${command}\"` where it goes")
        );
    }
    for target in &mut targets {
        let name = target.name.clone();
        if let Some(health) = target.health.take() {
            if !target.service || !crate::probe::asks(&health) {
                return Err(Failure::new(format!("target {name}: `health: {health}` cannot be looked at all along"))
                    .help("http or tcp, of a target with service: true"));
            }
            experiment.checks.during.push(health);
        }
    }
    let has_control = experiment.controls.is_some_and(|controls| controls > 0) || !rules_of(text).is_empty();
    checks(&experiment, &mut table.checks, has_control)?;
    let all = table.checks.clone();
    let Schedule { whole, cues } = schedule(&mut table, &experiment.phases, counters(&all)?)?;
    let lasting = experiment.lasting.map(|Lasting(time)| time).or(whole);
    if lasting.is_none() && targets.iter().all(|target| target.service) {
        return Err(Failure::new("all targets are services, so a run has no end").help("lasting: 30s, or add a task"));
    }
    let has_services = targets.iter().any(|target| target.service);
    let arms = table.arm.is_none() && (has_services || !experiment.checks.before.is_empty());
    if arms {
        table.arm = Some(Arm::Ctl);
    }
    let compiled = compile(&table, &Context { work_dir: Path::new("/"), seed: 0 })?;
    let stage = Stage {
        targets,
        table,
        arms,
        before: experiment.checks.before.clone(),
        cues,
        lasting_ns: lasting.map(|time| time.0),
        group: None,
        tmp: PathBuf::new(),
        outputs: PathBuf::new(),
        repeat: String::new(),
    };
    Ok((experiment, stage, compiled))
}

/// A command with the user's own in the place of `${command}`.
fn spliced(words: &Strings, command: &[String]) -> Result<Strings> {
    let is_place = |word: &String| word == "${command}";
    if let Some(odd) = words.all.iter().find(|word| word.contains("${command}") && !is_place(word)) {
        return Err(Failure::new(format!("${{command}} stands for several words, and is part of '{odd}'"))
            .help("command: \"${command}\", or a word of its own in a list"));
    }
    if !words.all.iter().any(is_place) {
        return Ok(words.clone());
    }
    if command.is_empty() {
        return Err(Failure::new("the experiment needs a command").help("give one after --"));
    }
    let all = words.all.iter().flat_map(|word| if is_place(word) { command.to_vec() } else { vec![word.clone()] });
    Ok(Strings { all: all.collect(), bare: false })
}

/// All checks but those of the steady state go into the table, in this order.
fn checks(experiment: &Experiment, into: &mut Vec<Check>, has_control: bool) -> Result<()> {
    let lists = &experiment.checks;
    let kind = |check: &Check| check.check;
    if let Some(odd) = lists.during.iter().find(|check| !crate::probe::asks(check)) {
        return Err(Failure::new(format!("`during` cannot look at `{odd}` all along"))
            .help("http or tcp; others go under `after`"));
    }
    let known_only_later = |check: &&Check| {
        matches!(
            kind(check),
            Some(CheckKind::Exit | CheckKind::Stdout | CheckKind::Stderr | CheckKind::Control | CheckKind::Calls)
        )
    };
    if let Some(odd) = lists.before.iter().find(known_only_later) {
        return Err(
            Failure::new(format!("`before` cannot look at `{odd}`: nothing has run yet")).help("put it under `after`")
        );
    }
    into.extend(lists.during.iter().chain(&lists.after).cloned());
    if let Some(odd) = into.iter().find(|check| kind(check) == Some(CheckKind::Control) && !has_control) {
        return Err(Failure::new(format!("the check `{odd}` compares with a control, and there is none"))
            .help("controls: 1, or compare with a file: check: command, run: \"cmp out.txt expected.txt\""));
    }
    refuse_bad_patterns(into)?;
    refuse_bad_patterns(&lists.before)
}

/// The ports of a run: those that are fixed, and free ones.
///
/// # Errors
/// When a fixed one is in use, or there is no free one.
pub fn ports(deck: &Deck, taken: &mut std::collections::BTreeSet<u16>) -> Result<BTreeMap<String, u16>> {
    let mut found = BTreeMap::new();
    for name in &deck.ports {
        let port = match deck.experiment.ports.get(name) {
            Some(port) if is_free(*port) => *port,
            Some(port) => {
                return Err(Failure::new(format!("{}: port {port} ({name}) is in use", deck.text.path.display()))
                    .help("end what listens there, or leave it out of `ports`: a free one is picked"));
            }
            None => free_port(taken).ok_or_else(|| Failure::new("there is no free port on loopback"))?,
        };
        taken.insert(port);
        found.insert(name.clone(), port);
    }
    Ok(found)
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Below those that the kernel gives to connections, which come and go.
fn free_port(taken: &std::collections::BTreeSet<u16>) -> Option<u16> {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    let first = u16::try_from(std::process::id() * 131 % u32::from(PORTS.end - PORTS.start)).unwrap_or(0);
    let all = (0..PORTS.end - PORTS.start).map(|at| PORTS.start + (first + at) % (PORTS.end - PORTS.start));
    all.filter(|port| !taken.contains(port)).find(|port| is_free(*port))
}

//! Runs experiments: so often, so many at once, each in a place of its own; what was started is always ended.

use super::args::HowArgs;
use super::cgroup::{Cgroup, Confines};
use super::counting::{is_harmless, is_or_in_phase, only_counts};
use super::crew::last_line;
use super::deck::{Deck, ports};
use super::export::Export;
use super::fill::{Filling, Values};
use super::ground::Ground;
use super::orphans::{end_orphans, reap_orphans};
use super::place::Place;
use super::plan::Plan;
use super::results::{Results, cut_short};
use super::score::{About, Score, Status, Verdict};
use super::shard::Shard;
use super::telling::{FEW_LINES, LINES, conclusion, overview, progress};
use crate::cli::{self, Action, Cli, RunArgs};
use crate::command::Command;
use crate::console::{Console, Level, Tone};
use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::facts::{Ended, Facts};
use crate::gate::Ruling;
use crate::judge::{Judged, judge};
use crate::log_reader::Source;
use crate::options::quoted;
use crate::pool::Pool;
use crate::preload;
use crate::repeat::{derived, waited_for};
use crate::report::{Report, Wanted};
use crate::session::{has_begun, share_shim};
use crate::sys::part::{Ending, Part};
use chaos_table::decide::combine;
use chaos_table::env;
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use super::results::abort;

/// How long a run that is aborted may take to end its targets before it is killed: their grace, and some time.
const PATIENCE: Duration = Duration::from_secs(6);
/// Letters of what a target said last.
const MOST_WORDS: usize = 200;

/// Runs experiments one after the other. `again`: what names one of them on the command line.
///
/// # Errors
/// When a place or an option is no good; nothing was started then.
pub fn run(decks: &[Deck], how: &HowArgs, again: &dyn Fn(&Deck) -> String, out: &mut dyn Write) -> Result<Exit> {
    let console = Console::new(if how.results.quiet { Level::Quiet } else { Level::Normal });
    preload::refuse_to_nest()?;
    for name in env::PUBLIC.iter().filter(|name| std::env::var_os(name).is_some()) {
        console.warning(&format!("{name} is not read here: the experiment says what fails"));
    }
    let plans = decks.iter().map(|deck| Plan::of(deck, how)).collect::<Result<Vec<_>>>()?;
    let export = how.results.export.as_deref().map(Export::create).transpose()?;
    let (mut exit, mut all) = (Exit::Target(0), Vec::new());
    let signals = take_signals()?;
    let several = decks.len() > 1;
    for (deck, plan) in decks.iter().zip(plans) {
        let own = how.results.out.as_ref().map(|out| if several { out.join(&deck.id) } else { out.clone() });
        let own_reports = deck.experiment.reports.all.iter().map(|path| (PathBuf::from(path), "reports"));
        let reports =
            how.results.reports.iter().filter(|_| !several).cloned().map(|path| (path, "--report")).chain(own_reports);
        let reports = reports.map(|(path, by)| Wanted::create(&path, by)).collect::<Result<Vec<_>>>()?;
        let results = Results::create(own.as_deref(), &deck.id)?;
        let mut series = Series::new(deck, plan, console, &signals, results, again(deck), how)?;
        series.lines = if several { FEW_LINES } else { LINES };
        let ended = series.go();
        let mut done = series.finish(reports, ended)?;
        exit = worse(exit, done.exit);
        let failure = done.failure.take();
        let is_over = matches!(done.exit, Exit::Signal(_));
        all.push(done);
        if let Some(failure) = &failure {
            console.error(failure);
        }
        // What no experiment could start so far, such as a command that is not there, the others cannot either.
        let is_hopeless = failure.is_some() && all.iter().all(|done| done.score.made() == 0);
        if is_over || is_hopeless {
            break;
        }
    }
    if several {
        overview(console, all.iter().map(|done| &done.score), decks.len());
    }
    if let Some(export) = export {
        export.write(&all)?;
    }
    let scores: Vec<&Score> = all.iter().map(|done| &done.score).collect();
    if several && !how.results.reports.is_empty() {
        console.warning("--report is for one experiment; `chaos-exec report DIR...` pools several");
    }
    if how.results.json_output {
        let text = serde_json::to_string_pretty(&scores).cannot("describe the results")?;
        writeln!(out, "{text}").and_then(|()| out.flush()).cannot("write to stdout")?;
    }
    Ok(exit)
}

/// Of two ends the one that says more.
pub fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Signal(_) => 4,
        Exit::OurFailure | Exit::CannotRun | Exit::NotFound | Exit::NotCovered => 3,
        Exit::GateFailed | Exit::Timeout => 2,
        Exit::Inconclusive => 1,
        Exit::Target(_) => 0,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

fn take_signals() -> Result<SignalFd> {
    set_child_subreaper(true).cannot("become the reaper of the runs")?;
    let signals = waited_for();
    signals.thread_block().cannot("block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).cannot("wait for signals")
}

/// A run that goes on.
struct Active {
    name: String,
    number: u64,
    is_control: bool,
    child: Part,
    /// What its launcher says.
    said: File,
    place: Place,
    /// Ends what is left in it, and is gone with the run.
    _group: Option<Cgroup>,
    ports: Vec<u16>,
}

/// The runs of one experiment.
struct Series<'a> {
    deck: &'a Deck,
    plan: Plan,
    console: Console,
    signals: &'a SignalFd,
    results: Results,
    again: String,
    /// Where the places of the runs are, and the shim that they share; gone with the series.
    ground: Ground,
    /// Where the cgroups of the runs are made.
    confines: Option<Confines>,
    active: Vec<Active>,
    /// Those that are over and not judged yet.
    over: Vec<Active>,
    /// The place of the next run, made while others go on.
    ahead: Option<Place>,
    taken: BTreeSet<u16>,
    pool: Pool,
    score: Score,
    stopped: Option<(Signal, Instant)>,
    began: Instant,
    /// What each run's launcher is told; a run changes its part.
    options: RunArgs,
    /// How many of its runs are told of.
    lines: u64,
    /// How many calls the rules matched in the controls, the fewest of all.
    matched: BTreeMap<String, u64>,
}

impl<'a> Series<'a> {
    fn new(
        deck: &'a Deck,
        plan: Plan,
        console: Console,
        signals: &'a SignalFd,
        mut results: Results,
        again: String,
        how: &HowArgs,
    ) -> Result<Series<'a>> {
        if let Some((Shard { index, of }, by)) = &plan.shard {
            console.say(Tone::Plain, &format!("{}: shard {index} of {of}, by {by}", deck.id));
        }
        for warning in deck.compiled.warnings.iter().filter(|warning| !only_counts(warning)) {
            console.warning(warning);
        }
        let ground = Ground::make()?;
        let mut about = about(deck, &plan, how, &again);
        let confines = confined(deck, &ground, &mut about, console);
        let score = Score {
            id: deck.id.clone(),
            name: deck.experiment.name.clone(),
            about,
            seed: plan.seed,
            wanted: wanted(&plan),
            results: results.dir().display().to_string(),
            ..Score::default()
        };
        results.write(&score)?;
        let mut options = options(deck)?;
        options.shared_shim = share_shim(ground.path(), preload::SHIM);
        Ok(Series {
            deck,
            plan,
            console,
            signals,
            results,
            again,
            ground,
            confines,
            active: Vec::new(),
            over: Vec::new(),
            ahead: None,
            taken: BTreeSet::new(),
            pool: Pool::default(),
            score,
            stopped: None,
            began: Instant::now(),
            options,
            matched: BTreeMap::new(),
            lines: LINES,
        })
    }

    /// The controls, then all runs.
    fn go(&mut self) -> Result<()> {
        self.make(&(1..=self.deck.controls).collect::<Vec<_>>(), true)?;
        if self.stopped.is_some() {
            return Ok(());
        }
        if let Some(rule) =
            self.deck.measured.iter().find(|rule| self.matched.get(*rule).is_none_or(|calls| *calls == 0))
        {
            self.score.untested = Some(format!(
                "without faults the program makes no call that `{rule}` matches, so it has no place to hit"
            ));
            return Ok(());
        }
        self.began = Instant::now();
        let shard = self.plan.shard.as_ref().map(|(shard, _)| *shard);
        let numbers: Vec<u64> = (1..=self.plan.runs).filter(|run| shard.is_none_or(|shard| shard.has(*run))).collect();
        self.make(&numbers, false)
    }

    /// The runs of these numbers; an error ends those that go on, too.
    fn make(&mut self, numbers: &[u64], is_control: bool) -> Result<()> {
        let made = self.make_all(numbers, is_control);
        if made.is_err() {
            self.end_all();
        }
        made
    }

    fn make_all(&mut self, numbers: &[u64], is_control: bool) -> Result<()> {
        let (mut left, mut not_before) = (numbers.iter().copied().peekable(), Instant::now());
        loop {
            if self.score.made() == 0 {
                // Whether there can be a run at all is not known before.
                self.take_over()?;
            }
            while self.stopped.is_none()
                && self.active.len() < self.plan.jobs
                && Instant::now() >= not_before
                && let Some(next) = left.next()
            {
                self.start(next, is_control)?;
                not_before = Instant::now() + self.plan.delay;
            }
            // The next ones go on already: what is over need not hold them up, nor what the one after them needs.
            self.take_over()?;
            if self.active.is_empty() && (self.stopped.is_some() || left.peek().is_none()) {
                return Ok(());
            }
            if let Some(next) = left.peek().filter(|_| self.ahead.is_none() && self.stopped.is_none()) {
                self.ahead = Some(Place::make(&self.ground.path().join(self.name_of(*next, is_control)))?);
            }
            let waits = (left.peek().is_some() && self.active.len() < self.plan.jobs)
                .then(|| not_before.saturating_duration_since(Instant::now()));
            self.wait(waits.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1)));
            self.reap()?;
        }
    }

    fn name_of(&self, number: u64, is_control: bool) -> String {
        let (word, all) = if is_control { ("control", self.deck.controls) } else { ("run", self.plan.runs) };
        format!("{word}-{number:0width$}", width = all.to_string().len())
    }

    fn start(&mut self, number: u64, is_control: bool) -> Result<()> {
        let deck = self.deck;
        let role = if is_control { cli::Part::Control } else { cli::Part::Run };
        let name = self.name_of(number, is_control);
        let seed = if is_control { self.plan.seed } else { derived(self.plan.seed, number) };
        let root = self.ground.path().join(&name);
        let place = self.ahead.take().filter(|place| place.root == root);
        let place = place.map_or_else(|| Place::make(&root), Ok)?;
        let ports: BTreeMap<String, u16> = ports(deck, &mut self.taken)?;
        let values = Values {
            seed,
            run: if is_control { 0 } else { number },
            here: std::path::absolute(deck.text.dir()).cannot("use the file's directory")?,
            work: place.work.clone(),
            tmp: place.tmp.clone(),
            ports: ports.clone(),
            matched: (!is_control).then(|| self.matched.clone()),
        };
        place.furnish(deck, &Filling::Run(Box::new(values.clone())))?;
        let group = self.confines.as_ref().map(|confines| confines.make(&name)).transpose();
        let group = group.cannot("make the cgroup of a run")?;
        let mut stage = deck.stage(values, self.repeat(seed), place.outputs.clone())?;
        stage.group = group.as_ref().map(|group| group.path().to_owned());
        let main = stage.targets.iter().find(|target| !target.service).unwrap_or(&stage.targets[0]);
        let shell = if main.command.bare { &["/bin/sh", "-c"][..] } else { &[] };
        let words = shell.iter().copied().chain(main.command.all.iter().map(String::as_str));
        // As the first of its instances has it.
        let words = words.map(|word| word.replace("${instance}", "1").replace("${target}", &main.name));
        self.options.command = words.map(OsString::from).collect();
        // What a program is stays known, so that the runs, which are copies of this process, need not look again.
        let _ = Command::find(&self.options.command);
        self.options.part = Some(role);
        self.options.stage = Some(stage);
        self.options.faults.seed = Some(seed.to_string());
        self.options.out = Some(self.results.dir().join(&name));
        self.options.control_session = self.results.first_control().filter(|_| !is_control);
        let said = memfd_create("said", MFdFlags::MFD_CLOEXEC).cannot("hear what a run says")?.into();
        let child = Part::start(&said, || {
            let done = std::env::set_current_dir(&place.work)
                .cannot("go to the place of a run")
                .and_then(|()| crate::run::run(&self.options));
            let exit = done.unwrap_or_else(|failure| {
                Console::new(Level::Quiet).error(&failure);
                failure.exit
            });
            exit.code()
        });
        let child = child.cannot("start a run")?;
        let ports = ports.into_values().collect();
        self.active.push(Active { name, number, is_control, child, said, place, _group: group, ports });
        Ok(())
    }

    /// The command that repeats one run.
    fn repeat(&self, seed: u64) -> String {
        with_command(self.deck, &format!("chaos-exec {} --seed {seed} --runs 1", self.again))
    }

    /// Waits until something happens, and hands on what ends the series.
    fn wait(&mut self, longest: Duration) {
        let millis = u16::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(1000);
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(millis));
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD) else { continue };
            // Somebody who asks twice does not want to wait.
            let how = if self.stopped.is_some() { Signal::SIGKILL } else { Signal::SIGTERM };
            self.stopped.get_or_insert((signal, Instant::now()));
            self.tell_all(how);
        }
        if self.stopped.is_some_and(|(_, since)| since.elapsed() > PATIENCE) {
            self.tell_all(Signal::SIGKILL);
        }
    }

    fn tell_all(&self, signal: Signal) {
        for active in &self.active {
            // It has not been waited for, so the pid is its own.
            let _ = kill(Pid::from_raw(active.child.pid()), signal);
        }
    }

    /// Looks which runs are over.
    fn reap(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.active.len() {
            let status = self.active[at].child.try_wait().cannot("wait for a run")?;
            if let Some(status) = status {
                let active = self.active.swap_remove(at);
                self.taken.retain(|port| !active.ports.contains(port));
                if status == Ending::Signal {
                    // It could not end what it had started.
                    end_orphans(&self.active.iter().map(|active| active.child.pid()).collect::<Vec<_>>());
                }
                self.over.push(active);
            } else {
                at += 1;
            }
        }
        let runs: Vec<i32> = self.active.iter().map(|active| active.child.pid()).collect();
        reap_orphans(&runs);
        Ok(())
    }

    /// Judges the runs that are over.
    fn take_over(&mut self) -> Result<()> {
        std::mem::take(&mut self.over).iter().try_for_each(|over| self.take(over))
    }

    /// Judges a run that is over.
    fn take(&mut self, active: &Active) -> Result<()> {
        let dir = self.results.dir().join(&active.name);
        if !has_begun(&dir) {
            let mut said = String::new();
            let mut from = &active.said;
            let _ = from.rewind().and_then(|()| from.read_to_string(&mut said));
            if self.stopped.is_some() {
                active.place.clear();
                return Ok(());
            }
            return Err(from_below(&said)
                .unwrap_or_else(|| Failure::new(format!("run {} could not be started", active.number))));
        }
        self.keep_last_words(&active.place, &dir)?;
        let run = judge(&Source::find(Some(&dir))?)?;
        let setup = run.facts.as_ref().and_then(|facts| facts.setup.clone());
        if self.stopped.is_some() && (setup.is_some() || run.facts.is_none()) {
            // It was cut short: neither this nor that.
            active.place.clear();
            self.results.forget(&active.name);
            return Ok(());
        }
        if active.is_control {
            return self.take_control(active, run, setup);
        }
        let harmless = is_harmless(&self.deck.compiled.plan);
        let verdict = self.score.add(&run, harmless);
        self.results.add(&active.name);
        self.pool.add(run);
        if verdict == Verdict::Failed || setup.is_some() {
            active.place.keep(&dir);
        } else {
            active.place.clear();
        }
        if let Some(row) = self.pool.runs.last() {
            progress(self.console, (&self.score, self.lines), active.number, verdict, row, self.began.elapsed());
        }
        if let Some(why) = setup.filter(|_| self.score.made() == 1) {
            // What cannot be set up the first time will not be later.
            return Err(Failure::new(format!("{}: {why}", self.deck.text.path.display()))
                .help(format!("the outputs of the targets are in {}", dir.join("place/out").display())));
        }
        Ok(())
    }

    /// Writes down the last words of a run that ended as it should not: its outputs may not be kept.
    fn keep_last_words(&self, place: &Place, dir: &Path) -> Result<()> {
        let Some(mut facts) = Facts::read(dir)? else { return Ok(()) };
        let is_odd = match facts.root {
            Ended::Exit(code) => !facts.expected.contains(&code),
            Ended::Signal(_) => true,
            Ended::Timeout | Ended::Unseen => false,
        };
        facts.last_words = is_odd.then(|| self.last_words(place)).flatten();
        if facts.last_words.is_some() { facts.write(dir) } else { Ok(()) }
    }

    /// The last line that a task has written to stderr, of those that have written any the first.
    fn last_words(&self, place: &Place) -> Option<String> {
        let tasks = self.deck.stage.targets.iter().filter(|target| !target.service);
        let names = tasks.flat_map(|target| match target.instances {
            None | Some(1) => vec![target.name.clone()],
            Some(count) => (1..=count).map(|number| format!("{}-{number}", target.name)).collect(),
        });
        let mut said = names.map(|name| last_line(&place.outputs.join(format!("{name}.stderr"))));
        let said = said.find(|line| !line.is_empty())?;
        Some(said.chars().filter(|letter| !letter.is_control()).take(MOST_WORDS).collect())
    }

    /// A control must pass, and says how many calls there are.
    fn take_control(&mut self, active: &Active, run: Judged, setup: Option<String>) -> Result<()> {
        let dir = self.results.dir().join(&active.name);
        self.results.add(&active.name);
        let why = setup.or_else(|| run.failing.as_ref().map(|(kind, why)| format!("{}: {why}", kind.words())));
        let why = why.or_else(|| (run.figures.ended_runs == 0).then(|| "its end was not seen".to_owned()));
        for rule in &self.deck.measured {
            let own = run.rules.iter().filter(|own| is_or_in_phase(&own.name, rule));
            let count = own.map(|own| own.matched).sum();
            let fewest = self.matched.entry(rule.clone()).or_insert(count);
            *fewest = count.min(*fewest);
        }
        self.pool.add(run);
        let Some(why) = why else {
            active.place.clear();
            return Ok(());
        };
        active.place.keep(&dir);
        Err(Failure::new(format!("{}: without any fault it fails, too: {why}", self.deck.text.path.display()))
            .help(format!("the outputs of the targets are in {}", dir.join("place/out").display())))
    }

    /// Ends what goes on, at once.
    fn end_all(&mut self) {
        self.tell_all(Signal::SIGTERM);
        let since = Instant::now();
        for active in &mut self.active {
            while matches!(active.child.try_wait(), Ok(None)) {
                if since.elapsed() > PATIENCE {
                    let _ = kill(Pid::from_raw(active.child.pid()), Signal::SIGKILL);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.active.clear();
        end_orphans(&[]);
    }

    /// Writes down what came of it.
    fn finish(mut self, reports: Vec<Wanted>, ended: Result<()>) -> Result<Done> {
        end_orphans(&[]);
        self.pool.conclude();
        self.score.conclude(&self.pool);
        let ruling = self.plan.gate.as_ref().map(|gate| gate.rule(&self.pool.judgement()));
        self.score.gate = ruling.as_ref().map(Ruling::words);
        self.score.status = match (&ended, self.stopped) {
            (Err(_), _) => Status::Failed,
            (Ok(()), Some(_)) => Status::Aborted,
            (Ok(()), None) => Status::Completed,
        };
        self.results.write(&self.score)?;
        self.pool.trouble.extend(cut_short(self.results.dir()));
        let sessions: Vec<PathBuf> = self.results.sessions();
        let report = Report { pool: &self.pool, sessions: &sessions, ruling: ruling.as_ref() };
        reports.into_iter().try_for_each(|wanted| wanted.write(&report))?;
        let stopped = self.stopped.map(|(signal, _)| signal);
        conclusion(self.console, &self.score, stopped, ruling.as_ref());
        let failure = ended.err();
        let exit = match (&failure, self.stopped) {
            (Some(failure), _) => failure.exit,
            (None, Some((signal, _))) => Exit::Signal(signal as i32),
            (None, None) => self.score.exit(ruling.as_ref()),
        };
        Ok(Done { exit, score: self.score, pool: self.pool, sessions, ruling, failure })
    }
}

/// The options of a run that all runs have.
fn options(deck: &Deck) -> Result<RunArgs> {
    let deadline = format!("{}ms", deck.deadline.as_millis().max(1));
    let words = ["chaos-exec", "run", "--quiet", "--inventory", "--timeout", &deadline, "--", "target"];
    match Cli::try_parse_from(words).cannot("describe a run")?.action {
        Action::Run(args) => Ok(*args),
        _ => Err(Failure::new("cannot describe a run")),
    }
}

/// What came of the runs of one experiment.
pub struct Done {
    /// What it ends with.
    pub exit: Exit,
    /// The verdicts.
    pub score: Score,
    /// The figures.
    pub pool: Pool,
    /// The sessions.
    pub sessions: Vec<PathBuf>,
    /// What the gate says.
    pub ruling: Option<Ruling>,
    /// Why its runs could not be made to the end.
    pub failure: Option<Failure>,
}

/// Where the cgroups are made that the file's limit wants, if they can be; what came of it is told, and noted.
fn confined(deck: &Deck, ground: &Ground, about: &mut About, console: Console) -> Option<Confines> {
    let limit = deck.experiment.limit.as_ref()?;
    let found = Confines::find(limit, ground.path());
    let words = match &found {
        Ok(_) => format!("{limit}, in a cgroup"),
        Err(why) => format!("{limit} not set: {why}"),
    };
    console.say(if found.is_ok() { Tone::Faint } else { Tone::Plain }, &format!("{}: limit {words}", deck.id));
    about.limit = Some(words);
    found.ok()
}

/// Runs that this part makes.
fn wanted(plan: &Plan) -> u64 {
    let shard = plan.shard.as_ref().map(|(shard, _)| *shard);
    (1..=plan.runs).filter(|run| shard.is_none_or(|shard| shard.has(*run))).count() as u64
}

fn about(deck: &Deck, plan: &Plan, how: &HowArgs, again: &str) -> About {
    let text = [deck.text.text.as_str()].into_iter().chain(deck.command.iter().map(String::as_str));
    // Folded eight bytes at a time, a length between two texts.
    let fold = |hash: u64, text: &str| {
        let words = text.as_bytes().chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(word)
        });
        words.fold(combine(hash, text.len() as u64), combine)
    };
    let checks = deck.stage.before.iter().chain(&deck.stage.table.checks).map(ToString::to_string).collect();
    About {
        version: env!("CARGO_PKG_VERSION").into(),
        digest: format!("{:016x}", text.fold(0, fold)),
        description: deck.experiment.description.clone(),
        injects: !is_harmless(&deck.compiled.plan),
        checks,
        gate: if how.results.gates.is_empty() { deck.experiment.gate.all.clone() } else { how.results.gates.clone() },
        limit: None,
        wants_stability: how.stability,
        runs: plan.runs,
        shard: plan.shard.as_ref().map(|(shard, _)| *shard),
        verify: with_command(deck, &format!("chaos-exec {again} --seed {} --runs {}", plan.seed, plan.runs)),
        started: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
    }
}

/// A command of ours, and behind it the words that stand for `${command}`.
fn with_command(deck: &Deck, own: &str) -> String {
    let words = deck.command.iter().map(|word| quoted(OsStr::new(word)).to_string_lossy().into_owned());
    let command: Vec<String> = words.collect();
    if command.is_empty() { own.to_owned() } else { format!("{own} -- {}", command.join(" ")) }
}

/// What a run's own launcher said before it gave up, as a failure of ours.
fn from_below(said: &str) -> Option<Failure> {
    let mut lines = said.lines().skip_while(|line| !line.contains("error: "));
    let message = lines.next()?.split_once("error: ")?.1;
    let failure = Failure::new(message);
    Some(match lines.next().and_then(|line| line.strip_prefix("help: ")) {
        Some(help) => failure.help(help),
        None => failure,
    })
}

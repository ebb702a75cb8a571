//! `run --runs N --controls N`: the same program again and again, first without faults, then with seeds derived from
//! one. Each run is a launcher of its own, so nothing of one - memory, locks, orphans - is left for the next.

use crate::choice::choose;
use crate::cli::{Part, RunArgs};
use crate::command::Command as Target;
use crate::console::{Console, Tone};
use crate::error::{Context, Failure, Result, plain};
use crate::exit_code::Exit;
use crate::experiment::only_counts;
use crate::facts::Ended;
use crate::gate::percent;
use crate::judge::judge;
use crate::log_reader::Source;
use crate::options::{Options, words_of};
use crate::pool::{Pool, RunRow};
use crate::preload;
use crate::recoveries::NOT_MEASURED;
use crate::report::{Report, Wanted};
use crate::session::{RUNS, link_latest, new_dir, write_atomically};
use crate::summary::{say_ruling, verdict};
use crate::survey::Surveyed;
use crate::witness::asks_for_files;
use chaos_table::compile::{Context as Place, compile};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// Lines of progress that a number of runs may take.
const LINES: u64 = 20;

/// Runs it as often as the options say.
///
/// # Errors
/// When the command, the table or the place is no good; nothing was started then.
pub fn run(args: &RunArgs, options: &Options, console: Console) -> Result<Exit> {
    let command = Target::find(&args.command)?;
    preload::refuse_to_nest()?;
    if args.log.is_some() {
        return Err(Failure::new("--log is the log of one run, and there are several")
            .help("`chaos-exec report DIR -o FILE.csv` has the injections of all"));
    }
    refuse_passing_tables(&args.faults.tables)?;
    let work_dir = std::env::current_dir().cannot("find the working directory")?;
    let compiled = compile(&options.table, &Place { work_dir: &work_dir, seed: options.seed })?;
    let reports = args.reports.iter().map(|path| Wanted::create(path, "--report")).collect::<Result<Vec<_>>>()?;
    crate::evidence::refuse_bad_place(options.evidence.as_deref())?;
    let warnings = compiled.warnings.iter().filter(|warning| !only_counts(warning));
    options.warnings.iter().chain(warnings).for_each(|warning| console.warning(warning));
    choose(options.engine, &command.program)?.warnings.iter().for_each(|why| console.warning(why));

    let dir = new_dir(options.out.as_deref())?;
    let mut series =
        Series { args, options, console, dir, names: Vec::new(), pool: Pool::default(), rate: None, stopped: None };
    series.write_list()?;
    link_latest(&series.dir);
    let exit = series.go()?;
    let Series { dir, names, mut pool, .. } = series;
    pool.conclude();
    verdict(console, &pool);
    let ruling = options.gate.as_ref().map(|gate| gate.rule(&pool.judgement()));
    let sessions: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    let report = Report { pool: &pool, sessions: &sessions, ruling: ruling.as_ref() };
    reports.into_iter().try_for_each(|wanted| wanted.write(&report))?;
    ruling.iter().for_each(|ruling| say_ruling(console, ruling));
    console.say(Tone::Faint, &format!("runs: {} (chaos-exec report)", dir.display()));
    Ok(exit.gated(ruling.as_ref()))
}

/// A table that comes through a pipe is gone after the first run.
fn refuse_passing_tables(tables: &[PathBuf]) -> Result<()> {
    match tables.iter().find(|table| table.exists() && !table.is_file()) {
        Some(table) => Err(Failure::new(format!("{} is no file, and several runs have to read it", table.display()))
            .help("write the table to a file first")),
        None => Ok(()),
    }
}

/// What one of several runs does first: the launcher that started it waits for these signals with its mask, which was
/// inherited; a target must not find them blocked.
///
/// # Errors
/// What sigprocmask says.
pub fn unblock() -> nix::Result<()> {
    waited_for().thread_unblock()
}

/// The signals that a launcher of several runs waits for.
#[must_use]
pub fn waited_for() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect()
}

/// Runs that follow each other.
struct Series<'a> {
    args: &'a RunArgs,
    options: &'a Options,
    console: Console,
    dir: PathBuf,
    names: Vec<String>,
    pool: Pool,
    /// The rate, where the options say it as a multiple.
    rate: Option<f64>,
    /// The signal that ended the series.
    stopped: Option<Signal>,
}

impl Series<'_> {
    /// All of them; what the launcher exits with when no gate says otherwise.
    fn go(&mut self) -> Result<Exit> {
        let signals = waited_for();
        signals.thread_block().cannot("block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&signals, flags).cannot("wait for signals")?;
        let (controls, runs) = (self.options.controls, self.options.runs);
        let mut exit = Exit::Target(0);
        for number in 1..=controls {
            self.one(Part::Control, number, controls, &signals)?;
        }
        let (failed, done) = (self.pool.failed_controls(), self.pool.controls.len());
        if failed > 0 {
            let all = format!("{failed} of {done} controls failed: the program fails without any fault");
            self.console.say(Tone::Loud, &all);
        }
        if let Some(factor) = self.options.rate_factor {
            self.one(Part::Survey, 1, 1, &signals)?;
            self.rate = self.stopped.is_none().then(|| self.multiple(factor)).transpose()?;
        }
        for number in 1..=runs {
            let ended = self.one(Part::Run, number, runs, &signals)?;
            exit = match (exit, ended) {
                // One that had to be ended says most, then the first that did not do its task.
                (_, Exit::Timeout) => Exit::Timeout,
                (Exit::Target(0), ended) if self.pool.runs.last().is_some_and(|row| row.completed != Some(true)) => {
                    ended
                }
                (exit, _) => exit,
            };
        }
        if let Some(signal) = self.stopped {
            let (done, all) = (self.pool.runs.len(), runs);
            self.console.say(Tone::Loud, &format!("stopped by {signal} after {done} of {all} runs"));
            exit = Exit::Signal(signal as i32);
        }
        Ok(exit)
    }

    /// So many times the rate at which calls failed without us.
    fn multiple(&self, factor: f64) -> Result<f64> {
        let surveyed = self.pool.survey.unwrap_or_default();
        let Surveyed { calls, failed } = surveyed;
        let Some(rate) = surveyed.rate().filter(|rate| *rate > 0.0) else {
            let none = match calls {
                0 => "no call that the rules fail was seen, or nothing can be traced here".to_owned(),
                _ => format!("of {calls} calls that the rules fail none failed without us"),
            };
            let help = "say the rate itself, such as --rate 5%";
            return Err(Failure::new(format!("--rate {factor}x: {none}")).help(help));
        };
        let rate = (rate * factor).min(1.0);
        let said =
            format!("{failed} of {calls} calls that the rules fail failed without us; the rate is {}", percent(rate));
        self.console.say(Tone::Plain, &said);
        Ok(rate)
    }

    /// One run, judged and added up.
    fn one(&mut self, part: Part, number: u64, all: u64, signals: &SignalFd) -> Result<Exit> {
        if self.stopped.is_some() {
            return Ok(Exit::Target(0));
        }
        let role = match part {
            Part::Control => "control",
            Part::Survey => "survey",
            Part::Run => "run",
        };
        let what = role;
        let name = format!("{role}-{number:0width$}", width = all.to_string().len());
        let seed = if part == Part::Run { derived(self.options.seed, number) } else { self.options.seed };
        let mut child = self.command(part, role, &name, seed)?.spawn().cannot("start a run")?;
        let status = self.wait(&mut child, signals)?;
        let dir = self.dir.join(&name);
        if !crate::session::has_begun(&dir) {
            if self.stopped.is_some() {
                return Ok(Exit::Target(0));
            }
            // It has said why.
            let failure = Failure::new(format!("{what} {number} of {all} could not be started"));
            return Err(failure.help("what stands above says why").exit(match status.code() {
                Some(126) => Exit::CannotRun,
                Some(127) => Exit::NotFound,
                _ => Exit::OurFailure,
            }));
        }
        self.names.push(name);
        self.write_list()?;
        let run = judge(&Source::find(Some(&dir))?)?;
        // By what the launcher saw: its own exit code may as well be the target's.
        let ended = match run.facts.as_ref().map_or(Ended::Unseen, |facts| facts.root) {
            Ended::Exit(code) => Exit::Target(code),
            Ended::Signal(signal) => Exit::Signal(signal),
            Ended::Timeout => Exit::Timeout,
            Ended::Unseen => Exit::OurFailure,
        };
        self.pool.add(run);
        let rows = match part {
            Part::Run => &self.pool.runs,
            Part::Control => &self.pool.controls,
            Part::Survey => return Ok(ended),
        };
        if let Some(row) = rows.last().filter(|_| all <= LINES || number.is_multiple_of(all / LINES) || number == all) {
            let faint = if row.completed == Some(true) { Tone::Faint } else { Tone::Loud };
            self.console.say(faint, &progress(what, number, all, row));
        }
        Ok(ended)
    }

    fn command(&self, part: Part, role: &str, name: &str, seed: u64) -> Result<Command> {
        let own = std::env::current_exe().cannot("find chaos-exec itself")?;
        let mut command = Command::new(own);
        command.args(["run", "--quiet", "--part", role]);
        command.args(words_of(self.args, seed)).arg("--out").arg(self.dir.join(name));
        if let Some(rate) = self.rate.filter(|_| part == Part::Run) {
            command.args(["--rate", &rate.to_string()]);
        }
        if asks_for_files(self.args, self.options.gate.as_ref()) {
            command.arg("--inventory");
        }
        if let Some(control) = self.names.iter().find(|name| name.starts_with("control-") && part == Part::Run) {
            command.arg("--control-session").arg(self.dir.join(control));
        }
        if let Some(evidence) = &self.options.evidence {
            command.arg("--evidence").arg(evidence.join(name));
        }
        if self.options.latency && !self.args.latency {
            command.arg("--latency");
        }
        if self.args.backtraces {
            command.arg("--backtraces");
        }
        if self.args.last_calls {
            command.arg("--last-calls");
        }
        if let Some(own) = &self.args.evidence_command {
            command.arg("--evidence-command").arg(own);
        }
        command.arg("--").args(&self.args.command);
        Ok(command)
    }

    /// Waits for a run, and hands on what ends the series: a terminal's Ctrl-C reaches the run by itself.
    fn wait(&mut self, child: &mut Child, signals: &SignalFd) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait().cannot("wait for a run")? {
                return Ok(status);
            }
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(1000u16));
            while let Ok(Some(info)) = signals.read_signal() {
                let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD) else { continue };
                self.stopped = Some(signal);
                if info.ssi_code <= 0 {
                    // It has not been waited for, so the pid is its own.
                    let pid = i32::try_from(child.id()).cannot("signal a run")?;
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
        }
    }

    fn write_list(&self) -> Result<()> {
        let path = self.dir.join(RUNS);
        let text = serde_json::to_vec(&self.names).cannot("list the runs")?;
        let written = write_atomically(&path, &text, 0o600);
        written.map_err(|error| Failure::new(format!("cannot write {}: {}", path.display(), plain(&error))))
    }
}

fn progress(what: &str, number: u64, all: u64, row: &RunRow) -> String {
    let why = row.why.as_deref().filter(|why| *why != row.ended).map(|why| format!(" ({why})")).unwrap_or_default();
    let counts = match row.episodes {
        0 => format!("{} delivered", row.delivered),
        episodes => match row.recovered.measured() {
            Some(recovered) => format!("{} delivered, {recovered} of {episodes} recovered", row.delivered),
            None => format!("{} delivered, recoveries {NOT_MEASURED}", row.delivered),
        },
    };
    let seed = row.seed.filter(|_| what == "run").map(|seed| format!(", seed {seed}")).unwrap_or_default();
    format!("{what} {number}/{all}: {}{why}; {counts}{seed}", row.ended)
}

/// The seed of a run: the first has the seed itself, so that one run of many is like one alone.
#[must_use]
pub fn derived(seed: u64, number: u64) -> u64 {
    if number <= 1 {
        return seed;
    }
    // SplitMix64; 53 bits are exact in every JSON reader.
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) >> 11
}

/// Whether the options ask for more than one run.
#[must_use]
pub fn asked_for(options: &Options) -> bool {
    options.runs > 1 || options.controls > 0 || options.rate_factor.is_some()
}

/// The name of a run that is one of several: that of its directory.
#[must_use]
pub fn name_of(dir: &Path) -> Option<String> {
    dir.file_name().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_derived_and_differ() {
        let seeds: std::collections::HashSet<u64> = (1..=1000).map(|number| derived(42, number)).collect();
        assert_eq!((seeds.len(), derived(42, 1)), (1000, 42));
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
        assert_ne!(derived(42, 2), derived(43, 2));
        // A seed that was printed once must mean the same for ever.
        assert_eq!(derived(4, 2), 8_038_086_278_214_422);
    }
}

//! What is watched of a run beside its log - outputs, health, files - from before the target starts until the facts
//! about it are written.

use crate::capture::{Capture, Captured, Pipe, Stream};
use crate::cli::{Part, RunArgs};
use crate::collect::Collector;
use crate::error::{Context, Result};
use crate::experiment::Crew;
use crate::facts::{Counted, Ended, Facts};
use crate::gate::Gate;
use crate::inventory::{Changes, Fresh};
use crate::latency::Latencies;
use crate::options::Options;
use crate::probe::Probes;
use crate::process::Outcome;
use crate::scene::TAIL;
use crate::session::Session;
use crate::session_file::{RuleCounters, RuleLabel};
use crate::verify::{Left, captures, expected, verify};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Watches a run.
pub struct Witness<'a> {
    options: &'a Options,
    work_dir: &'a Path,
    began: SystemTime,
    /// What the runner has just put into the place of the run.
    before: Fresh,
    start: Instant,
    /// Whether the files that the run leaves are to be looked at.
    inventory: bool,
    control: Option<&'a Path>,
    is_control: bool,
    pipes: Vec<(Stream, Pipe)>,
    captures: Vec<(Stream, Capture)>,
    /// Outputs that are files of the user's, with what they held before.
    files: Vec<(Stream, u64)>,
    probes: Option<Probes>,
}

/// What takes the place of the target's stdout and stderr.
pub type Outputs = [Option<OwnedFd>; 2];

impl<'a> Witness<'a> {
    /// Prepares to watch a run that began `since_start` ago.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new(
        args: &'a RunArgs,
        options: &'a Options,
        work_dir: &'a Path,
        since_start: Duration,
    ) -> Result<(Witness<'a>, Outputs)> {
        let (now, began) = (Instant::now(), SystemTime::now());
        let before = if args.stage.is_some() { Fresh::before(work_dir, began) } else { Fresh::default() };
        let mut witness = Witness {
            options,
            work_dir,
            began,
            before,
            start: now.checked_sub(since_start).unwrap_or(now),
            inventory: args.inventory || asks_for_files(args, options.gate.as_ref()),
            control: args.control_session.as_deref(),
            is_control: matches!(args.part, Some(Part::Control | Part::Survey)),
            pipes: Vec::new(),
            captures: Vec::new(),
            files: Vec::new(),
            probes: None,
        };
        let mut outputs = [None, None];
        let by_checks = captures(&options.table.checks);
        // The targets of an experiment write to files of their own.
        let both = [Stream::Stdout, Stream::Stderr].into_iter().filter(|_| args.stage.is_none());
        for stream in both {
            let held = stream.file_len();
            witness.files.extend(held.map(|len| (stream, len)));
            // A program may behave differently when it writes to no terminal.
            let for_evidence = options.evidence.is_some() && held.is_none() && !stream.is_terminal();
            if !by_checks.contains(&stream) && !for_evidence {
                continue;
            }
            let (pipe, end) = Capture::pipe().cannot("capture the output")?;
            witness.pipes.push((stream, pipe));
            let at = match stream {
                Stream::Stdout => 0,
                Stream::Stderr => 1,
            };
            outputs[at] = Some(end);
        }
        Ok((witness, outputs))
    }

    /// The target runs, and the launcher has let go of its ends of the pipes.
    pub fn begin(&mut self) {
        let pipes = std::mem::take(&mut self.pipes);
        self.captures = pipes.into_iter().map(|(stream, pipe)| (stream, pipe.copy(stream))).collect();
        self.probes = Some(Probes::start(&self.options.table.checks, self.start));
    }

    /// The run is over: what is known of it; the ends of the outputs go to the scene. `ours` are files that we have put
    /// into the working directory.
    #[must_use]
    pub fn facts(self, outcome: &mut Outcome, collector: &Collector, session: &Session, ours: &[PathBuf]) -> Facts {
        let end_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let health = self.probes.map(Probes::finish).unwrap_or_default();
        let mut captured: Vec<(Stream, Captured)> =
            self.captures.into_iter().map(|(stream, capture)| (stream, capture.finish())).collect();
        let crew = outcome.crew.as_ref();
        let setup = crew.and_then(Crew::setup);
        let both = [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)];
        let written = crew
            .into_iter()
            .flat_map(|crew| both.map(|(name, stream)| (stream, Captured::of_file(&crew.output(name)))));
        captured.extend(written);
        let restarts = crew.map(Crew::restarts).unwrap_or_default();
        for (stream, captured) in &captured {
            outcome.scene.output(stream.name(), &captured.bytes());
        }
        for (stream, before) in &self.files {
            if captured.iter().all(|(other, _)| other != stream) {
                outcome.scene.output(stream.name(), &stream.end_of_file(*before, TAIL));
            }
        }
        let of = |wanted: Stream| captured.iter().find(|(stream, _)| *stream == wanted).map(|(_, captured)| captured);
        let checks = &self.options.table.checks;
        let expected = expected(checks);
        let labels = collector.session().labels().unwrap_or_default();
        let counters = collector.session().counters(labels.len()).unwrap_or_default();
        let total = |(label, counters): (&RuleLabel, &RuleCounters)| {
            (label.name.clone(), counters.matched.saturating_add(counters.protected))
        };
        let counted: Vec<(String, u64)> = labels.iter().zip(&counters).map(total).collect();
        let left = Left {
            root: outcome.root,
            expected: &expected,
            end_ns,
            work_dir: self.work_dir,
            stdout: of(Stream::Stdout),
            stderr: of(Stream::Stderr),
            health: &health,
            control: self.control,
            as_control: self.is_control.then_some(session.dir.as_path()),
            counted: &counted,
        };
        let checked = if setup.is_some() { Vec::new() } else { verify(checks, &left) };
        let fine = matches!(outcome.root, Ended::Exit(code) if expected.contains(&code))
            && outcome.deaths.is_empty()
            && checked.iter().all(|check| check.passed);
        let inventory = self.inventory || !fine;
        Facts {
            root: outcome.root,
            expected,
            control: self.is_control,
            deaths: outcome.deaths.clone(),
            sight: outcome.sight,
            checks: checked,
            health,
            rules: counters.into_iter().map(Counted::from).collect(),
            files: inventory.then(|| Changes::since(self.work_dir, self.began, ours, &self.before)),
            evidence: self.options.evidence.as_ref().map(|dir| dir.display().to_string()),
            survey: outcome.surveyed,
            latencies: Latencies::of(collector.session()),
            repeat: self.options.repeat.clone(),
            setup,
            restarts,
            ..Facts::default()
        }
    }
}

/// Whether a gate or a report speaks of files.
#[must_use]
pub fn asks_for_files(args: &RunArgs, gate: Option<&Gate>) -> bool {
    gate.is_some_and(Gate::asks_for_files) || !args.reports.is_empty()
}

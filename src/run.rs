//! `chaos-exec run`, as a pipeline: everything is checked before anything is made, everything is made before the
//! target starts, and everything is written down when it is over.

use crate::actor::Actor;
use crate::choice::{Way, choose};
use crate::cli::{Format, Part, RunArgs};
use crate::collect::{Collector, Tree};
use crate::command::Command;
use crate::console::Console;
use crate::deaths::Deaths;
use crate::engine::{self, Engine};
use crate::error::{Context, Failure, Result};
use crate::evidence;
use crate::exit_code::Exit;
use crate::experiment::{Crew, Ground, only_counts};
use crate::gate::Ruling;
use crate::judge::judge;
use crate::last_calls::LastCalls;
use crate::log::Output;
use crate::log_events::Events;
use crate::log_reader::Source;
use crate::metrics::Sink;
use crate::options::{Options, level_of};
use crate::pool::Pool;
use crate::preload;
use crate::process::{Outcome, Target};
use crate::repeat;
use crate::report::{Report, Wanted};
use crate::session::{End, Files, META_VERSION, Meta, Session, hex, link_latest};
use crate::session_file::{RuleLabel, SessionFile};
use crate::summary::{Summary, print_events};
use crate::survey::Survey;
use crate::sys;
use crate::tracer::Trace;
use crate::witness::Witness;
use chaos_table::calls::FaultKind;
use chaos_table::compile::{Compiled, Context as Place, compile};
use chaos_table::latency;
use chaos_table::rule::{Plan, flag};
use chaos_table::session::{Header, Start, image};
use nix::time::{ClockId, clock_gettime};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const SPOILED: &str = "the program wrote over the session: what was counted and logged from then on cannot be trusted";

/// Runs a command under a fault table.
///
/// # Errors
/// When the command, the table or the session's place is no good; the target was not started then.
pub fn run(args: &RunArgs) -> Result<Exit> {
    if args.part.is_some() {
        repeat::unblock().cannot("unblock signals")?;
    }
    let console = Console::new(level_of(args));
    let options = Options::gather(args)?;
    let metrics = options.stage.as_ref().map(|stage| Sink::new(stage.metrics())).or_else(Sink::of_environment);
    if repeat::asked_for(&options) {
        return repeat::run(args, &options, console);
    }
    let command = Command::find(&args.command)?;
    if args.part.is_none() {
        // Whoever has several runs made has looked before.
        preload::refuse_to_nest()?;
    }
    let way = choose(options.engine, &command.program)?;
    let work_dir = std::env::current_dir().cannot("find the working directory")?;
    let mut compiled = compile(&options.table, &Place { work_dir: &work_dir, seed: options.seed })?;
    if options.latency {
        latency::time_calls(&mut compiled.plan);
        if args.part == Some(Part::Control) {
            latency::mute(&mut compiled.plan);
        }
    }
    let log = options.log.as_deref().map(|path| Output::create(path, "--log")).transpose()?;
    let reports = args.reports.iter().map(|path| Wanted::create(path, "--report")).collect::<Result<Vec<_>>>()?;
    evidence::refuse_bad_place(options.evidence.as_deref())?;
    announce(console, &options, &way, &compiled);

    let mut session = Session::create(options.out.as_deref(), preload::SHIM, args.shared_shim.as_deref())?;
    if let Some(name) = repeat::name_of(&session.dir).filter(|_| args.part.is_some()) {
        session.id = name;
    }
    let start = start_now()?;
    let mut image = image(&compiled.plan, start, options.log_size)
        .map_err(|why| Failure::new(why).help("give a larger --log-size"))?;
    let size = if options.latency { latency::append(&mut image, options.log_size) } else { options.log_size };
    let Files { session: file, log: drained } = session.allocate(&image, size)?;
    let mut meta = describe(&session, &options, &command, &compiled.plan, &work_dir.to_string_lossy())?;
    session.write_first_meta(&meta)?;
    // Held until the launcher ends: its death, however it comes, disarms the tree.
    let _armed = sys::hold_mutex(&file).cannot("lock the session")?;
    let engine = way.door.then(|| Engine::new(&file, &session.file, &compiled.plan)).transpose()?;
    if let Some(engine) = &engine {
        if options.stage.is_some() {
            // Its checks keep this thread waiting, for services that may be Go programs.
            engine.attend()?;
        }
        if way.shim {
            session.link_helper();
        }
    }
    let opened =
        SessionFile::from_file(file).map_err(|why| Failure::new(format!("the new session is no good: {why}")))?;
    let mut collector = Collector::new(opened, drained, options.log_limit);
    if let Some(engine) = &engine {
        collector.heed(engine.is_answering());
    }

    let inherited = sys::environment();
    let environment = if way.shim {
        let first = command.program.first_library();
        let seed = way.filtered.then_some(options.seed);
        preload::target_environment(&inherited, &session.shim, &session.file, first.as_ref(), seed)
    } else {
        preload::own_environment(&inherited)
    };
    let filtered = engine.as_ref().filter(|_| way.filtered).map(Engine::filtered).transpose()?;
    let (mut witness, outputs) = Witness::new(args, &options, &work_dir, since(&start)?)?;
    let ends = outputs.each_ref().map(Option::as_ref);
    let trace = match (args.part, args.backtraces) {
        (Some(Part::Survey), _) => Trace::Calls(Survey::of(&compiled.plan)),
        _ if args.last_calls => Trace::LastCalls(LastCalls::since(start.mono_ns)),
        (_, true) => Trace::Crashes,
        (_, false) => Trace::Nothing,
    };
    let group = options.stage.as_ref().and_then(|stage| stage.group.clone());
    let deaths = Deaths::new(since(&start)?, group);
    let target = match options.stage.clone() {
        Some(stage) => Target::stage(stage, ground(&session, &options, &work_dir, since(&start)?), deaths)?,
        None => Target::start(&command, &environment, ends, filtered.as_ref(), deaths, trace)?,
    };
    target.untraced.iter().for_each(|why| console.warning(why));
    drop(outputs);
    witness.begin();
    session.keep();
    if args.part.is_none() {
        link_latest(&session.dir);
    }
    meta.root_pid = Some(target.pid());
    if args.part.is_none() {
        // The run goes on without it; the end writes it again.
        let _ = session.write_meta(&meta);
    }
    let mut actor = Actor::new(&compiled.plan, start.mono_ns);
    let mut outcome = target.follow(&mut collector, &mut actor, engine.as_ref(), options.timeout, options.wait);
    if let Some(engine) = &engine {
        engine.settle();
    }

    let over_ns = start_now()?.mono_ns;
    meta.root_pid = outcome.crew.as_ref().map_or(meta.root_pid, Crew::main_pid);
    // Before the checks, which look at services of an experiment that still run, unharmed. A session that the target has
    // spoiled cannot be disarmed; the lock does it when the launcher ends.
    let _ = collector.session().disarm();
    let temporary = reports.iter().filter_map(Wanted::temporary).chain(log.as_ref().and_then(Output::temporary));
    let ours: Vec<PathBuf> =
        temporary.chain([session.dir.as_path()]).filter_map(|path| std::path::absolute(path).ok()).collect();
    let mut facts = witness.facts(&mut outcome, &collector, &session, &ours);
    if outcome.crew.take().is_some() {
        outcome.survivors = Crew::end();
    }
    let counted = finish(&mut session, &mut meta, &mut collector, &outcome, (&image, over_ns), args.part.is_some())?;
    if let Some(engine) = engine.filter(|_| outcome.survivors.is_empty()) {
        engine.dismiss();
    }
    facts.spoiled = collector.trouble().or(counted.is_none().then_some(SPOILED)).map(str::to_owned);
    facts.unmapped = counted.as_ref().map_or(0, |header| header.unmapped);
    facts.booting = counted.as_ref().map_or(0, |header| header.booting);
    facts.lost_threads = counted.as_ref().map_or(0, |header| header.lost_threads);
    facts.log_limit = collector.limit_reached();
    facts.write(&session.dir)?;
    metrics.map_or(Ok(()), |metrics| metrics.keep(&session.dir))?;
    if meta.session_file.is_empty() {
        session.forget_file();
    }
    print_events(console, &session.dir);
    let source = || Source::find(Some(&session.dir));
    let logged = log.map_or(Ok(()), |log| log.fill(Format::Jsonl, &mut Events::of(&source()?)?));
    let command = args.evidence_command.as_deref();
    let judged = source().and_then(|source| judge(&source)).and_then(|mut judged| {
        evidence::keep(&mut judged, &session.dir, &outcome.scene, command)?;
        Ok(judged)
    });
    let pool = judged.map(|judged| Pool::of([judged]));
    let ruling = match (&options.gate, &pool) {
        (Some(gate), Ok(pool)) => Some(gate.rule(&pool.judgement())),
        _ => None,
    };
    let found = Found { counted: counted.as_ref(), pool: pool.as_ref().ok(), ruling: ruling.as_ref() };
    summarise(console, &options, &session, &meta, &collector, &outcome, &found);
    logged?;
    let report = Report { pool: &pool?, sessions: std::slice::from_ref(&session.dir), ruling: ruling.as_ref() };
    reports.into_iter().try_for_each(|wanted| wanted.write(&report))?;
    Ok(outcome.exit.gated(ruling.as_ref()))
}

/// What the user should know before the target starts.
fn announce(console: Console, options: &Options, way: &Way, compiled: &Compiled) {
    let compiled_warnings = compiled.warnings.iter().filter(|warning| !only_counts(warning));
    for warning in options.warnings.iter().chain(compiled_warnings).chain(&way.warnings) {
        console.warning(warning);
    }
    if way.filtered {
        for engine::Unreachable { rule, whole, why } in engine::unreachable(&compiled.plan) {
            let what = if whole { "cannot happen" } else { "happens in part" };
            console.warning(&format!("{}: {what} under the seccomp engine: {why}", compiled.plan.rule_name(rule)));
        }
    }
}

fn start_now() -> Result<Start> {
    let now = |clock| {
        let time = clock_gettime(clock).cannot("read the clock")?;
        let ns = i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec());
        u64::try_from(ns).cannot("read the clock")
    };
    Ok(Start {
        has_launcher: true,
        mono_ns: now(ClockId::CLOCK_MONOTONIC)?,
        wall_ns: now(ClockId::CLOCK_REALTIME)?,
        owner_pid: std::process::id(),
    })
}

/// Where the targets of an experiment find the session.
fn ground(session: &Session, options: &Options, work_dir: &Path, since_start: Duration) -> Ground {
    let now = Instant::now();
    Ground {
        work_dir: work_dir.to_owned(),
        shim: session.shim.clone(),
        session: session.file.clone(),
        seed: options.seed,
        start: now.checked_sub(since_start).unwrap_or(now),
    }
}

/// How long ago the run started.
fn since(start: &Start) -> Result<Duration> {
    Ok(Duration::from_nanos(start_now()?.mono_ns.saturating_sub(start.mono_ns)))
}

fn describe(session: &Session, options: &Options, command: &Command, plan: &Plan, cwd: &str) -> Result<Meta> {
    let odd = command.arguments.iter().any(|argument| argument.to_str().is_none());
    let command_hex = odd.then(|| command.arguments.iter().map(|argument| hex(argument.as_bytes())).collect());
    Ok(Meta {
        version: META_VERSION,
        id: session.id.clone(),
        chaos_exec: env!("CARGO_PKG_VERSION").into(),
        command: command.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        command_hex,
        cwd: cwd.into(),
        seed: options.seed,
        table: serde_json::from_str(&options.table.to_json()).cannot("describe the table")?,
        rules: labels(plan),
        started: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        session_file: session.file_for_meta(),
        root_pid: None,
        end: None,
    })
}

fn labels(plan: &Plan) -> Vec<RuleLabel> {
    let label = |span| Some(plan.text_of(span).to_owned()).filter(|text| !text.is_empty());
    let rule = |rule: &chaos_table::rule::Rule| RuleLabel {
        name: plan.text_of(rule.name).into(),
        fault: FaultKind::from_number(rule.fault).map_or("?", FaultKind::name).into(),
        component: label(rule.component),
        message: label(rule.message),
        by_launcher: rule.has(flag::LAUNCHER),
    };
    plan.rules.iter().map(rule).collect()
}

/// Disarms what is left, drains what is there, and writes down how it ended. Gives the header with what the tree has
/// counted; none of a session that the target has written over.
fn finish(
    session: &mut Session,
    meta: &mut Meta,
    collector: &mut Collector,
    outcome: &Outcome,
    (image, over_ns): (&[u8], u64),
    is_part: bool,
) -> Result<Option<Header>> {
    let tree = if outcome.survivors.is_empty() { Tree::Gone } else { Tree::Alive };
    collector.drain_to_the_end(tree);
    if outcome.survivors.is_empty() {
        meta.session_file = session.settle();
        if is_part && collector.is_drained() {
            // The log has everything, so the mapped file goes once the facts are written.
            meta.session_file.clear();
        }
    }
    let file = collector.session();
    let at_ns = file.since_start(over_ns);
    let header = file.header_now().ok().filter(|_| !file.is_spoiled(image));
    if header.is_some() {
        // Those that were added while it ran.
        let labels = file.labels().unwrap_or_default();
        meta.rules.extend(labels.into_iter().skip(meta.rules.len()));
    }
    let tally = collector.tally();
    meta.end = Some(End {
        ended: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        at_ns,
        exit_code: outcome.exit.code(),
        outcome: outcome.exit.in_words(),
        fired: tally.all_fired(),
        delivered: tally.all_delivered(),
        suppressed: header.map_or(0, |header| header.suppressed),
        escapes: tally.escape_count,
        processes: tally.processes.len() as u64,
        survivors: outcome.survivors.len() as u64,
    });
    session.write_meta(meta)?;
    Ok(header)
}

/// What is known once everything is over.
struct Found<'a> {
    /// What the tree has counted; nothing of a session that it has written over.
    counted: Option<&'a Header>,
    pool: Option<&'a Pool>,
    ruling: Option<&'a Ruling>,
}

fn summarise(
    console: Console,
    options: &Options,
    session: &Session,
    meta: &Meta,
    collector: &Collector,
    outcome: &Outcome,
    found: &Found,
) {
    let file = collector.session();
    let Found { counted, pool, ruling } = *found;
    Summary {
        labels: &meta.rules,
        counters: &file.counters(meta.rules.len()).unwrap_or_default(),
        tally: collector.tally(),
        suppressed: counted.map_or(0, |header| header.suppressed),
        unmapped: counted.map_or(0, |header| header.unmapped),
        booting: counted.map_or(0, |header| header.booting),
        lost_threads: counted.map_or(0, |header| header.lost_threads),
        changes: counted.map_or(0, |header| header.changes),
        survivors: &outcome.survivors,
        outcome: outcome.exit.in_words(),
        attached: !collector.tally().processes.is_empty() || file.anyone_attached().unwrap_or(false),
        trouble: collector.trouble().or(counted.is_none().then_some(SPOILED)),
        dir: &session.dir,
        log: options.log.as_deref(),
        seed: options.seed,
        seed_is_random: options.seed_is_random,
        disabled: options.table.enabled == Some(false),
        log_limit: collector.limit_reached(),
        repeat: &options.repeat,
        pool,
        ruling,
    }
    .print(console);
}

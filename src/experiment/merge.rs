//! `chaos-exec merge`: the results of shards become those that one machine would have made.

use super::args::ResultsArgs;
use super::export::Export;
use super::results::{Loaded, Results, Saved};
use super::runner::{Done, worse};
use super::score::{About, Status};
use super::telling::conclusion;
use crate::console::{Console, Level};
use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::gate::{Gate, Ruling};
use crate::report::{Report, Wanted};
use clap::{Args, ValueHint};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// `chaos-exec merge`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  chaos-exec experiment run shop.yaml --runs 50 --seed 7 --shard 1/2 --out one    # on one machine
  chaos-exec experiment run shop.yaml --runs 50 --seed 7 --shard 2/2 --out two    # on another
  chaos-exec merge one two --out all --report shop.html

Exit codes as for `experiment run`; 125 when shards are missing, doubled, cut short, or not of one experiment.")]
pub struct MergeArgs {
    /// Directories of results, one for each shard
    #[arg(required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dirs: Vec<PathBuf>,

    /// What becomes of them.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// Merges.
///
/// # Errors
/// When the shards are not all there, or do not belong together; nothing is written then.
pub fn run(args: &MergeArgs, out: &mut dyn Write) -> Result<Exit> {
    let how = &args.results;
    let console = Console::new(if how.quiet { Level::Quiet } else { Level::Normal });
    let own_gate = Gate::parse(&how.gates)?;
    let mut groups: BTreeMap<String, Vec<Loaded>> = BTreeMap::new();
    for dir in &args.dirs {
        for loaded in Loaded::all_in(dir)? {
            groups.entry(loaded.saved.id.clone()).or_default().push(loaded);
        }
    }
    let several = groups.len() > 1;
    if several && !how.reports.is_empty() {
        return Err(
            Failure::new("--report is for one experiment, and there are several").help("--export has all of them")
        );
    }
    let wholes = groups.into_values().map(whole).collect::<Result<Vec<_>>>()?;
    let reports = how.reports.iter().map(|path| Wanted::create(path, "--report")).collect::<Result<Vec<_>>>()?;
    let export = how.export.as_deref().map(Export::create).transpose()?;
    let (mut exit, mut all, mut reports) = (Exit::Target(0), Vec::new(), Some(reports));
    for mut whole in wholes {
        let place = how.out.as_ref().map(|out| if several { out.join(&whole.saved.id) } else { out.clone() });
        let mut results = Results::create(place.as_deref(), &whole.saved.id)?;
        results.take_all(&whole.sessions)?;
        whole.sessions = results.sessions();
        let (mut score, pool) = whole.judged(results.dir())?;
        if !how.gates.is_empty() {
            score.about.gate.clone_from(&how.gates);
        }
        let gate = if how.gates.is_empty() { Gate::parse(&score.about.gate)? } else { own_gate.clone() };
        let ruling = gate.map(|gate| gate.rule(&pool.judgement()));
        score.gate = ruling.as_ref().map(Ruling::words);
        results.write(&score)?;
        let report = Report { pool: &pool, sessions: &whole.sessions, ruling: ruling.as_ref() };
        reports.take().into_iter().flatten().try_for_each(|wanted| wanted.write(&report))?;
        conclusion(console, &score, None, ruling.as_ref());
        let own = score.exit(ruling.as_ref());
        exit = worse(exit, own);
        all.push(Done { exit: own, score, pool, sessions: whole.sessions, ruling, failure: None });
    }
    if let Some(export) = export {
        export.write(&all)?;
    }
    if how.json_output {
        let scores: Vec<_> = all.iter().map(|done| &done.score).collect();
        let text = serde_json::to_string_pretty(&scores).cannot("describe the results")?;
        writeln!(out, "{text}").and_then(|()| out.flush()).cannot("write to stdout")?;
    }
    Ok(exit)
}

/// The shards of one experiment as one.
fn whole(mut shards: Vec<Loaded>) -> Result<Loaded> {
    let help = "run each shard once, with the same file, command, seed and --runs";
    let Some(first) = shards.first() else { return Err(Failure::new("there is nothing to merge").help(help)) };
    let (place, saved) = (first.dir.display().to_string(), first.saved.clone());
    let wrong = |dir: &std::path::Path, why: &str| Err(Failure::new(format!("{}: {why}", dir.display())).help(help));
    let Some(of) = saved.about.shard.map(|shard| shard.of) else {
        return wrong(&first.dir, "it is no shard, but all runs of its experiment");
    };
    let mut seen: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for shard in &shards {
        let Saved { id, about, status, seed, .. } = &shard.saved;
        let same = |what: &str, own: &str, other: &str| match own == other {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{}: its {what} is {own}, and that of {place} is {other}",
                shard.dir.display()
            ))
            .help(help)),
        };
        same("version of chaos-exec", &about.version, &saved.about.version)?;
        same("experiment's text or command (as a hash)", &about.digest, &saved.about.digest)?;
        same("seed", &seed.to_string(), &saved.seed.to_string())?;
        same("number of runs", &about.runs.to_string(), &saved.about.runs.to_string())?;
        let Some(own) = about.shard else { return wrong(&shard.dir, "it is no shard, but all runs of its experiment") };
        same("number of shards", &own.of.to_string(), &of.to_string())?;
        if let Some(other) = seen.insert(own.index, shard.dir.clone()) {
            return wrong(&shard.dir, &format!("it is shard {} of {id}, and so is {}", own.index, other.display()));
        }
        let made = shard.sessions.iter().filter(|session| !is_control(session)).count() as u64;
        let is_whole = made == shard.saved.wanted || shard.saved.untested.is_some();
        if *status != Status::Completed || !is_whole {
            let wanted = shard.saved.wanted;
            return wrong(&shard.dir, &format!("shard {} of {id} was cut short: {made} of {wanted} runs", own.index));
        }
    }
    let missing: Vec<String> =
        (1..=of).filter(|index| !seen.contains_key(index)).map(|index| index.to_string()).collect();
    if !missing.is_empty() {
        let (id, missing) = (&saved.id, missing.join(", "));
        return Err(Failure::new(format!("of the {of} shards of {id} these are missing: {missing}")).help(help));
    }
    shards.sort_by_key(|shard| shard.saved.about.shard.map(|shard| shard.index));
    let dir = shards[0].dir.clone();
    // What can be set on one machine cannot on another.
    let limits: BTreeSet<String> = shards.iter().filter_map(|shard| shard.saved.about.limit.clone()).collect();
    let limit = (!limits.is_empty()).then(|| limits.into_iter().collect::<Vec<_>>().join("; "));
    // Each shard has made the same controls.
    let mut names = BTreeSet::new();
    let mut sessions: Vec<PathBuf> = shards.into_iter().flat_map(|shard| shard.sessions).collect();
    sessions.retain(|session| names.insert(session.file_name().map(ToOwned::to_owned)));
    sessions.sort_by_key(|session| (!is_control(session), session.file_name().map(ToOwned::to_owned)));
    let about = About { shard: None, limit, ..saved.about.clone() };
    let wanted = saved.about.runs;
    Ok(Loaded { dir, saved: Saved { about, wanted, ..saved }, sessions })
}

fn is_control(session: &std::path::Path) -> bool {
    session.file_name().is_some_and(|name| name.to_string_lossy().starts_with("control-"))
}

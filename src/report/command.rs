//! `chaos-exec report`: judges sessions that are over.

use super::{Form, Report, Wanted, render};
use crate::cli::ReportArgs;
use crate::console::{Console, Level, Tone};
use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::experiment::{cut_short, find_experiment};
use crate::gate::{Gate, Ruling};
use crate::judge::judge;
use crate::log_reader::Source;
use crate::pool::Pool;
use crate::session::runs_of;
use std::io::Write;
use std::path::PathBuf;

/// Reports on sessions.
///
/// # Errors
/// When one is not there or damaged: what can be read is reported first.
pub fn run(args: &ReportArgs, out: &mut dyn Write) -> Result<Exit> {
    let gate = Gate::parse(&args.gates)?;
    let wanted = args.outputs.iter().map(|path| Wanted::create(path, "-o")).collect::<Result<Vec<_>>>()?;
    let mut sessions = Vec::new();
    let by_id = args.experiment_id.as_deref().map(find_experiment).transpose()?;
    let named: Vec<PathBuf> = by_id.into_iter().chain(args.sessions.iter().cloned()).collect();
    match named.as_slice() {
        [] => sessions.extend(expanded(None)?),
        several => {
            for session in several {
                sessions.extend(expanded(Some(session))?);
            }
        }
    }
    let mut pool = Pool::default();
    for dir in if named.is_empty() { vec![Source::place(None)?] } else { named } {
        pool.trouble.extend(cut_short(&dir));
    }
    for session in &sessions {
        pool.add(judge(&Source::find(Some(session))?)?);
    }
    pool.conclude();
    let ruling = gate.map(|gate| gate.rule(&pool.judgement()));
    let report = Report { pool: &pool, sessions: &sessions, ruling: ruling.as_ref() };
    if wanted.is_empty() {
        render(Form::Markdown, &report, out)?;
        out.flush().cannot("write to stdout")?;
    }
    for one in wanted {
        one.write(&report)?;
    }
    if let Some(ruling) = &ruling {
        let tone = if matches!(ruling, Ruling::Passed(_)) { Tone::Plain } else { Tone::Loud };
        Console::new(Level::Normal).say(tone, &super::plain(&ruling.words()));
    }
    match pool.damaged {
        Some(damaged) => Err(Failure::new(damaged).help("the report says what could be read")),
        None => Ok(Exit::Target(0).gated(ruling.as_ref())),
    }
}

/// The sessions of a directory that holds several runs, else the session itself.
fn expanded(session: Option<&PathBuf>) -> Result<Vec<PathBuf>> {
    let dir = Source::place(session.map(PathBuf::as_path))?;
    Ok(runs_of(&dir)?.unwrap_or_else(|| vec![dir]))
}

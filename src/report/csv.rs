//! CSV: the injections, or the episodes, of all runs. Read again session by session, so that any number takes the
//! same memory.

use super::{Report, plain};
use crate::error::{Context, Result};
use crate::judge::judge;
use crate::log_events::{Event, Events};
use crate::log_format::{COLUMNS, row};
use crate::log_reader::Source;
use crate::traits::Traits;
use std::io::Write;

/// A row for each injection.
pub fn injections(report: &Report, out: &mut dyn Write) -> Result<()> {
    let writing = "write the report";
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(std::iter::once("session").chain(COLUMNS)).cannot(writing)?;
    for session in report.sessions {
        let source = Source::find(Some(session))?;
        let name = source.meta.as_ref().map_or_else(String::new, |meta| meta.id.clone());
        for event in Events::of(&source)? {
            if let Event::Injection(injection) = event {
                rows.write_record(std::iter::once(name.clone()).chain(row(&injection))).cannot(writing)?;
            }
        }
    }
    rows.flush().cannot(writing)
}

/// The columns of the episodes.
const EPISODE_COLUMNS: [&str; 26] = [
    "session",
    "episode",
    "outcome",
    "how",
    "ttr_ns",
    "opened_ns",
    "recovered_ns",
    "injections",
    "rule",
    "fault",
    "call",
    "error",
    "resource",
    "pid",
    "lineage",
    "process",
    "last_ns",
    "why",
    "attempts",
    "backoff",
    "longest_pause_ns",
    "calls_per_second",
    "waited_ns",
    "gave_up",
    "hung",
    "breaker",
];

/// The cells of an episode's traits, empty when it has none.
fn traits(traits: Option<&Traits>) -> [String; 8] {
    let Some(traits) = traits else { return Default::default() };
    let time = |time: Option<u64>| time.map(|ns| ns.to_string()).unwrap_or_default();
    [
        traits.attempts.to_string(),
        traits.backoff.map(|backoff| format!("{backoff:?}").to_lowercase()).unwrap_or_default(),
        time(traits.longest_pause_ns),
        traits.calls_per_second.to_string(),
        time(traits.waited_ns),
        traits.gave_up.to_string(),
        traits.hung.to_string(),
        traits.breaker.to_string(),
    ]
}

/// A row for each episode.
pub fn episodes(report: &Report, out: &mut dyn Write) -> Result<()> {
    use crate::outcome::Outcome;
    let writing = "write the report";
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(EPISODE_COLUMNS).cannot(writing)?;
    for session in report.sessions {
        let run = judge(&Source::find(Some(session))?)?;
        if run.facts.as_ref().is_some_and(|facts| facts.control) {
            continue;
        }
        for (episode, outcome) in &run.episodes {
            let (word, how, why) = match outcome {
                Outcome::Recovered { how, .. } => ("recovered", how.word().to_owned(), String::new()),
                Outcome::Tolerated => ("tolerated", String::new(), String::new()),
                Outcome::Failed { kind, why } => ("failed", format!("{kind:?}").to_lowercase(), plain(why)),
                Outcome::Unknown => ("unknown", String::new(), String::new()),
            };
            let time = |time: Option<u64>| time.map(|ns| ns.to_string()).unwrap_or_default();
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let recovered = matches!(outcome, Outcome::Recovered { .. });
            let cells = [
                run.name.clone(),
                episode.number.to_string(),
                word.to_owned(),
                how,
                time(episode.ttr_ns().filter(|_| recovered)),
                episode.opened_ns.to_string(),
                time(episode.recovered.map(|(at, _)| at)),
                episode.injections.to_string(),
                episode.rule.clone(),
                episode.fault.clone(),
                episode.call.clone(),
                episode.error.clone(),
                text(&episode.resource),
                episode.pid.to_string(),
                text(&episode.lineage),
                text(&episode.process),
                episode.last_ns.to_string(),
                why,
            ];
            rows.write_record(cells.into_iter().chain(traits(episode.traits.as_ref()))).cannot(writing)?;
        }
    }
    rows.flush().cannot(writing)
}

//! Two drawings of the page, as SVG: what happened when in which process, and how long recoveries took.

use super::plain;
use crate::gate::duration;
use crate::judge::Judged;
use crate::log_events::Injection;
use crate::outcome::Outcome;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Processes that get a row of their own.
const MAX_ROWS: usize = 40;
/// Width of the part that is time, in the units of the drawing.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const ROW: f64 = 26.0;
const TOP: f64 = 14.0;

/// A row of the timeline.
struct Row<'a> {
    pid: u32,
    lineage: Option<&'a str>,
    name: &'a str,
}

/// The faults and recoveries of a run over time, a row for each process that was hit or crashed.
pub fn timeline(run: &Judged) -> Markup {
    let rows = rows(run);
    let end = run.last_ns.max(1);
    // Times far below 2^52 ns.
    let x = |at: u64| LEFT + WIDTH * (at.min(end) as f64 / end as f64);
    let y = |row: usize| TOP + ROW * row as f64 + ROW / 2.0;
    let row_of = |pid: u32| rows.iter().position(|row| row.pid == pid);
    let height = TOP + ROW * rows.len() as f64 + 34.0;
    let view = format!("0 0 {} {height:.0}", LEFT + WIDTH + 30.0);
    html! {
        svg.timeline viewBox=(view) role="img" aria-label="Timeline of faults and recoveries" {
            @for (at, row) in rows.iter().enumerate() {
                line.grid x1=(LEFT) x2=(LEFT + WIDTH) y1=(y(at)) y2=(y(at)) {}
                text.label x=(LEFT - 8.0) y=(y(at) + 4.0) text-anchor="end" {
                    (shortened(&label(row)))
                    title { (label(row)) }
                }
            }
            @for mark in run.marks.iter().take(100) {
                line.mark x1=(x(mark.at_ns)) x2=(x(mark.at_ns)) y1=(TOP) y2=(TOP + ROW * rows.len() as f64) {
                    title { (plain(&mark.text)) " at " (duration(mark.at_ns)) }
                }
            }
            @for (episode, outcome) in run.episodes.iter().take(2000) {
                @if let Some(row) = row_of(episode.pid) {
                    (band(x(episode.opened_ns), y(row), episode, outcome, &x, end))
                }
            }
            @for (injection, count) in ticks(run, &x) {
                @if let Some(row) = row_of(injection.pid) {
                    line.fault x1=(f(x(injection.at_ns))) x2=(f(x(injection.at_ns))) y1=(y(row) - 8.0) y2=(y(row) + 8.0) {
                        title { (tick_words(injection, count)) }
                    }
                }
            }
            @for crash in &run.crashes {
                @if let Some(row) = row_of(crash.pid) {
                    path.crash d=(cross(x(crash.at_ns), y(row))) { title { "crash of " (plain(&crash.words())) } }
                }
            }
            (axis(end, TOP + ROW * rows.len() as f64))
        }
    }
}

fn label(row: &Row) -> String {
    match row.lineage {
        Some(lineage) => plain(&format!("{lineage} {} {}", row.name, row.pid)),
        None => plain(&format!("{} {}", row.name, row.pid)),
    }
}

/// So that it fits beside the drawing; the whole stands in its title.
fn shortened(label: &str) -> String {
    const LONGEST: usize = 22;
    if label.chars().count() <= LONGEST {
        return label.to_owned();
    }
    let kept: String = label.chars().take(LONGEST - 1).collect();
    format!("{kept}\u{2026}")
}

/// Two digits are enough for a drawing.
fn f(value: f64) -> String {
    format!("{value:.2}")
}

fn rows(run: &Judged) -> Vec<Row<'_>> {
    let crashed = run.crashes.iter().map(|crash| crash.pid);
    let hit: BTreeSet<u32> = run.injections.iter().map(|injection| injection.pid).chain(crashed).collect();
    let mut rows: Vec<Row> = Vec::new();
    for process in run.processes.iter().filter(|process| hit.contains(&process.pid)) {
        if let Some(row) = rows.iter_mut().find(|row| row.pid == process.pid) {
            // It has become another program.
            row.name = &process.process;
        } else if rows.len() < MAX_ROWS {
            let lineage = Some(process.lineage.as_str());
            rows.push(Row { pid: process.pid, lineage, name: &process.process });
        }
    }
    for pid in hit {
        if rows.len() < MAX_ROWS && !rows.iter().any(|row| row.pid == pid) {
            rows.push(Row { pid, lineage: None, name: "?" });
        }
    }
    rows
}

/// Injections of a process that would lie over each other are drawn once.
fn ticks<'a>(run: &'a Judged, x: &dyn Fn(u64) -> f64) -> Vec<(&'a Injection, u64)> {
    let mut ticks: Vec<(&Injection, u64)> = Vec::new();
    let mut last: std::collections::HashMap<u32, (usize, f64)> = std::collections::HashMap::new();
    for injection in &run.injections {
        let at = x(injection.at_ns);
        match last.get(&injection.pid) {
            Some((tick, before)) if at - before < 1.0 => ticks[*tick].1 += 1,
            _ => {
                last.insert(injection.pid, (ticks.len(), at));
                ticks.push((injection, 1));
            }
        }
    }
    ticks
}

fn tick_words(injection: &Injection, count: u64) -> String {
    let what = injection.errno.as_ref().or(injection.effect.as_ref()).unwrap_or(&injection.fault);
    let resource = injection.resource.as_deref().unwrap_or_default();
    let more = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
    let (call, at, rule) = (&injection.call, duration(injection.at_ns), &injection.rule);
    plain(&format!("{call}({resource}) -> {what} at {at} [{rule}]{more}"))
}

/// From the first fault of an episode to its recovery, or to the end.
fn band(
    from: f64,
    y: f64,
    episode: &crate::episode::Episode,
    outcome: &Outcome,
    x: &dyn Fn(u64) -> f64,
    end: u64,
) -> Markup {
    let (class, to) = match (outcome, episode.recovered) {
        (Outcome::Recovered { .. }, Some((at, _))) => ("good", x(at)),
        (Outcome::Failed { .. }, recovered) => ("bad", x(recovered.map_or(end, |(at, _)| at))),
        (Outcome::Tolerated, _) => ("tolerated", x(end)),
        _ => ("unknown", x(end)),
    };
    let resource = episode.resource.as_deref().unwrap_or_default();
    let words = plain(&format!("{}({resource}): {}", episode.call, outcome.words()));
    html! {
        rect class={ "band " (class) } x=(f(from)) y=(y - 4.0) width=(f((to - from).max(1.0))) height="8" rx="2" {
            title { (words) @if let Some(ttr) = episode.ttr_ns() { " after " (duration(ttr)) } }
        }
        @if class == "good" {
            circle.good cx=(f(to)) cy=(y) r="4" { title { (words) } }
        }
    }
}

fn cross(x: f64, y: f64) -> String {
    let (l, r, t, b) = (x - 5.0, x + 5.0, y - 5.0, y + 5.0);
    format!("M{l:.1} {t:.1}L{r:.1} {b:.1}M{l:.1} {b:.1}L{r:.1} {t:.1}")
}

fn axis(end: u64, y: f64) -> Markup {
    html! {
        line.axis x1=(LEFT) x2=(LEFT + WIDTH) y1=(y) y2=(y) {}
        @for part in 0..=4u64 {
            @let at = end / 4 * part;
            @let x = LEFT + WIDTH * part as f64 / 4.0;
            line.axis x1=(x) x2=(x) y1=(y) y2=(y + 5.0) {}
            text.label x=(x) y=(y + 19.0) text-anchor="middle" { (if part == 4 { duration(end) } else { duration(at) }) }
        }
    }
}

/// How long recoveries took: bars on a logarithmic scale, four to a decade.
pub fn histogram(times: &[u64]) -> Markup {
    let bucket = |ns: u64| (4.0 * (ns.max(1) as f64).log10()).floor() as usize;
    let start = |bucket: usize| 10f64.powf(bucket as f64 / 4.0) as u64;
    let (Some(low), Some(high)) = (times.iter().min(), times.iter().max()) else { return html! {} };
    let (low, high) = (bucket(*low), bucket(*high));
    let mut bars = vec![0u64; high - low + 1];
    for time in times {
        bars[bucket(*time) - low] += 1;
    }
    let most = bars.iter().copied().max().unwrap_or(1).max(1);
    // A few bars are not drawn as wide as the page.
    let width = (WIDTH / bars.len() as f64).min(64.0);
    let tall = |count: u64| 120.0 * count as f64 / most as f64;
    html! {
        svg.histogram viewBox=(format!("0 0 {} 172", LEFT + WIDTH + 30.0)) role="img" aria-label="Times to recovery" {
            @for (at, count) in bars.iter().enumerate() {
                @let x = 40.0 + width * at as f64;
                rect.bar x=(f(x + 1.0)) y=(f(140.0 - tall(*count))) width=(f(width - 2.0)) height=(f(tall(*count))) {
                    title { (duration(start(low + at))) " to " (duration(start(low + at + 1))) ": " (count) }
                }
                @if *count > 0 && width > 18.0 {
                    text.label x=(f(x + width / 2.0)) y=(f(136.0 - tall(*count))) text-anchor="middle" { (count) }
                }
                @if at % (bars.len() / 8 + 1) == 0 {
                    text.label x=(f(x)) y="158" text-anchor="start" { (duration(start(low + at))) }
                }
            }
            line.axis x1="40" x2=(LEFT + WIDTH) y1="140" y2="140" {}
        }
    }
}

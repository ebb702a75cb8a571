//! One self-contained page: no script, no font, no picture from elsewhere. Every text from the target is escaped by
//! the template, and the page's own policy forbids whatever would still be fetched or run.

use super::timeline::{histogram, timeline};
use super::{Report, html_times, markdown, plain};
use crate::figures::grade;
use crate::gate::{Ruling, duration, percent};
use crate::judge::{Judged, family};
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::recoveries::NOT_MEASURED;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Rows of a long table.
const ROWS: usize = 500;
const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub fn render(report: &Report) -> String {
    let pool = report.pool;
    let command = plain(&pool.command());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "Chaos report: " (command) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Chaos report" }
                    p.command { code { (command) } }
                    @if let Some(meta) = pool.details.iter().find_map(|run| run.meta.as_ref()) {
                        p.faint { (meta.started) ", seed " (meta.seed) ", chaos-exec " (meta.chaos_exec) }
                    }
                }
                main {
                    (headline(report, pool))
                    (tiles(pool))
                    (next(pool))
                    @if let Some(run) = worst(pool) { (timelines(run, pool)) }
                    (recovery_times(pool))
                    (rules(pool))
                    (html_times::compared(pool))
                    (html_times::latencies(pool))
                    (families(pool))
                    (checks(pool))
                    @if pool.runs.len() + pool.controls.len() > 1 { (runs(pool)) }
                    @if let Some(run) = worst(pool) { (episodes(run)) (injections(run)) (files(run)) }
                    (figures(pool))
                    (coverage(pool))
                    (again(pool))
                }
            }
        }
    }
    .into_string()
}

/// The run that is shown in full: the first that failed, else the first.
fn worst(pool: &Pool) -> Option<&Judged> {
    let failed = |run: &&Judged| run.failing.is_some() || run.figures.failed() > 0;
    pool.details.iter().find(failed).or(pool.details.first())
}

fn headline(report: &Report, pool: &Pool) -> Markup {
    let rate = pool.figures.recovery_rate();
    html! {
        @if let Some(ruling) = report.ruling {
            @let class = match ruling { Ruling::Passed(_) => "good", Ruling::Failed(_) => "bad", Ruling::Inconclusive(_) => "doubt" };
            p class={ "banner " (class) } { (plain(&ruling.words())) }
        }
        @if pool.failed_controls() > 0 {
            p.banner.bad {
                (pool.failed_controls()) " of " (pool.controls.len())
                " controls failed: the program fails without any fault."
            }
        }
        @if pool.figures.delivered == 0 {
            p.banner.doubt { "Inconclusive: no fault was delivered, so nothing was tested." }
        } @else if let Some(rate) = rate {
            p.banner.(if rate >= 0.8 { "good" } else { "bad" }) {
                "Recovery rate " strong { (percent(rate)) } ": " (grade(rate)) "."
            }
        } @else if pool.figures.unwatched > 0 {
            p.banner.doubt { "Recovery rate: " (NOT_MEASURED) "." }
        } @else {
            p.banner.doubt { "No recovery rate: what was injected only made calls slow." }
        }
        @for trouble in &pool.trouble {
            p.banner.doubt { (plain(trouble)) }
        }
    }
}

fn tiles(pool: &Pool) -> Markup {
    let figures = &pool.figures;
    let tile = |name: &str, value: String, class: &str| {
        html! { div class={ "tile " (class) } { span.value { (value) } span.name { (name) } } }
    };
    let bad = |count: u64| if count > 0 { "bad" } else { "" };
    let rate = |rate: Option<f64>| rate.map_or_else(|| "\u{2013}".into(), percent);
    let nothing = if figures.unwatched > 0 { NOT_MEASURED } else { "\u{2013}" };
    html! {
        section.tiles {
            (tile("runs", pool.runs.len().to_string(), ""))
            (tile("injections", figures.delivered.to_string(), ""))
            (tile("episodes", figures.episodes().to_string(), ""))
            (tile("recovered", figures.recovered().to_string(), if figures.recovered().seen > 0 { "good" } else { "" }))
            (tile("tolerated", figures.tolerated.to_string(), ""))
            (tile("failed", figures.failed().to_string(), bad(figures.failed())))
            (tile("unknown", figures.unknown.to_string(), ""))
            (tile("crashes", figures.crashes.to_string(), bad(figures.crashes)))
            (tile("task completion", rate(figures.completion()), ""))
            (tile("MTTR", figures.mttr().map_or_else(|| nothing.into(), |spread| duration(spread.mean)), ""))
        }
    }
}

fn next(pool: &Pool) -> Markup {
    html! {
        @if !pool.next.is_empty() || !pool.crashes.is_empty() {
            section {
                h2 { "What to look at next" }
                ul {
                    @for (session, crash) in pool.crashes.iter().take(ROWS) {
                        li { span.word.bad { "crash" } " " (plain(&crash.words())) " in " (plain(session)) }
                    }
                    @for group in pool.next.iter().take(ROWS) {
                        li {
                            span.word.(class_of_words(&group.outcome)) { (group.count) " \u{d7} " (group.outcome) }
                            " " (plain(&group.advice))
                            @if let Some(example) = &group.example { ", such as " code { (plain(example)) } }
                        }
                    }
                }
            }
        }
    }
}

fn class_of_words(words: &str) -> &'static str {
    match words {
        words if words.starts_with("failed") => "bad",
        words if words.starts_with("recovered") => "good",
        _ => "doubt",
    }
}

fn timelines(run: &Judged, pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Timeline" @if pool.runs.len() > 1 { " of " (plain(&run.name)) } }
            @if run.injections.is_empty() && run.crashes.is_empty() {
                p.faint { "Nothing was injected." }
            } @else {
                (timeline(run))
                p.legend {
                    span.key.fault {} "fault" span.key.good {} "recovered" span.key.bad {} "failed"
                    span.key.tolerated {} "tolerated" span.key.unknown {} "unknown" span.key.cross { "\u{2715}" } "crash"
                }
            }
        }
    }
}

fn recovery_times(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Time to recovery" }
            p { (markdown::mttr(&pool.figures)) }
            (histogram(&pool.figures.ttr_ns))
        }
    }
}

fn rules(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Rules" }
            @if pool.rules.is_empty() { p.faint { "The table is empty." } } @else {
                table {
                    thead { tr { th { "rule" } th { "fault" } @for name in ["matched", "fired", "delivered", "episodes", "recovered", "failed"] { th.n { (name) } } } }
                    tbody {
                        @for rule in &pool.rules {
                            tr {
                                td { (plain(&rule.name)) @if let Some(hint) = rule.hint { br; small.doubt { (hint) } } }
                                td { (rule.fault) }
                                @for count in [rule.matched, rule.fired, rule.delivered, rule.episodes] { td.n { (count) } }
                                td.n { (rule.recovered.to_string()) }
                                td.n.bad[rule.failed > 0] { (rule.failed) }
                            }
                        }
                    }
                }
                (html_times::waits(pool))
            }
        }
    }
}

fn families(pool: &Pool) -> Markup {
    html! {
        @if !pool.families.is_empty() {
            section {
                h2 { "Families" }
                table {
                    thead { tr { th { "family" } @for name in ["delivered", "episodes", "recovered", "failed"] { th.n { (name) } } } }
                    tbody {
                        @for (name, family) in &pool.families {
                            tr {
                                td { (name) }
                                td.n { (family.delivered) } td.n { (family.episodes) } td.n { (family.recovered.to_string()) }
                                td.n.bad[family.failed > 0] { (family.failed) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn checks(pool: &Pool) -> Markup {
    html! {
        @if !pool.checks.is_empty() {
            section {
                h2 { "Checks" }
                table {
                    thead { tr { th { "check" } th.n { "passed" } th.n { "failed" } th { "why" } } }
                    tbody {
                        @for row in &pool.checks {
                            tr {
                                td { code { (plain(&row.check)) } } td.n { (row.passed) }
                                td.n.bad[row.failed > 0] { (row.failed) }
                                td { (plain(row.why.as_deref().unwrap_or_default())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn runs(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Runs" }
            table {
                thead { tr { th { "run" } th.n { "seed" } th { "ended" } th.n { "time" } @for name in ["delivered", "episodes", "recovered", "failed", "crashes"] { th.n { (name) } } } }
                tbody {
                    @for row in pool.controls.iter().chain(&pool.runs).take(ROWS) {
                        tr {
                            td { (plain(&row.session)) }
                            td.n { @if let Some(seed) = row.seed { (seed) } }
                            td.bad[row.completed == Some(false)] { (plain(row.why.as_deref().unwrap_or(&row.ended))) }
                            td.n { (duration(row.duration_ns)) }
                            td.n { (row.delivered) } td.n { (row.episodes) } td.n { (row.recovered.to_string()) }
                            td.n.bad[row.failed > 0] { (row.failed) }
                            td.n.bad[row.crashes > 0] { (row.crashes) }
                        }
                    }
                }
            }
            (left_out(pool.controls.len() + pool.runs.len()))
        }
    }
}

fn episodes(run: &Judged) -> Markup {
    html! {
        @if !run.episodes.is_empty() {
            section {
                h2 { "Episodes" }
                table {
                    thead { tr { th.n { "at" } th { "family" } th { "call" } th { "error" } th.n { "faults" } th { "outcome" } th.n { "TTR" } th { "rule" } } }
                    tbody {
                        @for (episode, outcome) in run.episodes.iter().take(ROWS) {
                            tr {
                                td.n { (duration(episode.opened_ns)) }
                                td { (family(&episode.call, episode.resource.as_deref())) }
                                td { (episode.call) " " code { (plain(episode.resource.as_deref().unwrap_or_default())) } }
                                td { (episode.error) }
                                td.n { (episode.injections) }
                                td { span.word.(class_of_words(&outcome.words())) { (outcome.words()) }
                                    @if let Outcome::Failed { why, .. } = outcome { " " small { (plain(why)) } }
                                    @if let Some(traits) = &episode.traits { br; small.faint { (traits.words()) } } }
                                td.n { @if let Outcome::Recovered { ttr_ns, .. } = outcome { (duration(*ttr_ns)) } }
                                td { (plain(&episode.rule)) }
                            }
                        }
                    }
                }
                (left_out(run.episodes.len()))
            }
        }
    }
}

fn injections(run: &Judged) -> Markup {
    html! {
        @if !run.injections.is_empty() {
            section {
                h2 { "Injections" }
                    table {
                        thead { tr { th.n { "at" } th { "process" } th { "call" } th { "error" } th { "seen" } th { "rule" } } }
                        tbody {
                            @for injection in run.injections.iter().take(ROWS) {
                                tr {
                                    td.n { (duration(injection.at_ns)) }
                                    td { (plain(injection.process.as_deref().unwrap_or("?"))) " " (injection.pid) }
                                    td { (injection.call) " " code { (plain(injection.resource.as_deref().unwrap_or_default())) } }
                                    td { (injection.errno.as_ref().or(injection.effect.as_ref()).unwrap_or(&injection.fault)) }
                                    td { (if injection.delivered { "yes" } else { "no" }) }
                                    td { (plain(&injection.rule)) " #" (injection.nth) }
                                }
                            }
                        }
                    }
                    (left_out(usize::try_from(run.figures.fired).unwrap_or(usize::MAX)))
            }
        }
    }
}

fn left_out(all: usize) -> Markup {
    html! { @if all > ROWS { p.faint { "The first " (ROWS) " of " (all) "; the JSON and CSV reports have more." } } }
}

fn files(run: &Judged) -> Markup {
    let files = run.facts.as_ref().and_then(|facts| facts.files.as_ref());
    html! {
        @if let Some(files) = files.filter(|files| !files.written.is_empty()) {
            section {
                h2 { "Files that the run wrote" }
                table {
                    thead { tr { th { "file" } th.n { "bytes" } th { "modified" } th { "state" } } }
                    tbody {
                        @for file in files.written.iter().take(ROWS) {
                            tr {
                                td { code { (plain(&file.path)) } } td.n { (file.size) } td { (file.modified) }
                                td.bad[file.broken.is_some()] {
                                    (plain(file.broken.as_ref().or(file.digest.as_ref()).map_or("", String::as_str)))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn figures(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Figures" }
            table {
                tbody { @for (name, value) in markdown::lines(pool) { tr { th { (name) } td { (value) } } } }
            }
            p.faint { "Percentiles are nearest-rank. Survival runs from what is sure to what is possible." }
        }
    }
}

fn coverage(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Coverage" }
            ul { @for line in markdown::coverage_lines(pool) { li { (plain(&line)) } } }
        }
    }
}

fn again(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Evidence" }
            @for run in &pool.details {
                @if let Some(repeat) = run.facts.as_ref().map(|facts| &facts.repeat).filter(|repeat| !repeat.is_empty()) {
                    p { (plain(&run.name)) ": " (run.ended()) @if let Some((_, why)) = &run.failing { " \u{2013} " (plain(why)) } }
                    pre { (plain(repeat)) }
                    @if let Some((dir, names)) = &run.evidence {
                        p.faint { code { (plain(&dir.display().to_string())) } ": " (plain(&names.join(", "))) }
                    }
                }
            }
        }
    }
}

//! Markdown, for reading and for pull requests.

use super::{Report, plain};
use crate::figures::{Figures, SMALL, Spread, grade};
use crate::gate::{duration, percent};
use crate::judge::{Judged, family};
use crate::latency;
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::recoveries::NOT_MEASURED;
use crate::traits::Traits;
use std::fmt::Write as _;

/// Rows of a long table.
const ROWS: usize = 100;

/// The whole report.
pub fn render(report: &Report) -> String {
    let pool = report.pool;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(report, pool, &mut out);
    out
}

fn write_all(report: &Report, pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# Chaos report: {}\n", code(&pool.command()))?;
    headline(report, pool, out)?;
    figures(pool, out)?;
    next(pool, out)?;
    rules(pool, out)?;
    latencies(pool, out)?;
    families(pool, out)?;
    if let [run] = pool.details.as_slice() {
        injections(run, out)?;
    } else {
        runs(pool, out)?;
    }
    checks(pool, out)?;
    out.push_str(&pool.figures.metrics.markdown());
    coverage(pool, out)?;
    again(pool, out)
}

fn headline(report: &Report, pool: &Pool, out: &mut String) -> std::fmt::Result {
    if let Some(ruling) = report.ruling {
        writeln!(out, "**{}**\n", text(&ruling.words()))?;
    }
    if !pool.controls.is_empty() && pool.failed_controls() > 0 {
        let (failed, all) = (pool.failed_controls(), pool.controls.len());
        writeln!(out, "**{failed} of {all} controls failed: the program fails without any fault.**\n")?;
    }
    match pool.figures.recovery_rate() {
        Some(rate) => writeln!(out, "Recovery rate **{}**: {}.\n", percent(rate), grade(rate))?,
        None if pool.figures.delivered == 0 => {
            writeln!(out, "**Inconclusive: no fault was delivered, so nothing was tested.**\n")?;
        }
        None if pool.figures.unwatched > 0 => writeln!(out, "Recovery rate: **{NOT_MEASURED}**.\n")?,
        None => writeln!(out, "No recovery rate: what was injected only made calls slow.\n")?,
    }
    for trouble in &pool.trouble {
        writeln!(out, "> {}\n", text(trouble))?;
    }
    Ok(())
}

/// Name and value of each figure that there is.
pub fn lines(pool: &Pool) -> Vec<(&'static str, String)> {
    let figures = &pool.figures;
    let mut lines = vec![("Runs", runs_in_words(pool))];
    let longest: u64 = pool.runs.iter().map(|row| row.duration_ns).sum();
    lines.push(("Duration", duration(longest)));
    lines.push(("Injections", format!("{} delivered of {} fired", figures.delivered, figures.fired)));
    lines.push(("Episodes", figures.episodes().to_string()));
    let ways = [(figures.retried, "retry"), (figures.rerouted, "rerouted"), (figures.restarted, "restarted")];
    let ways: Vec<String> =
        ways.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
    let ways = if ways.is_empty() { String::new() } else { format!(" ({})", ways.join(", ")) };
    lines.push(("Recoveries", format!("{}{ways}", figures.recovered())));
    lines.push(("Tolerated", figures.tolerated.to_string()));
    // Where nobody watched, no count of failures is one of failed recoveries.
    lines.push((if figures.unwatched > 0 { "Failed" } else { "Failed recoveries" }, failed(figures)));
    lines.push(("Unknown", figures.unknown.to_string()));
    lines.push(("Crashes", figures.crashes.to_string()));
    let nothing = if figures.unwatched > 0 { NOT_MEASURED } else { "no data" };
    lines.push(("Recovery rate", figures.recovery_rate().map_or_else(|| nothing.into(), percent)));
    let survival = match (figures.survival_low(), figures.survival_high()) {
        (Some(low), Some(high)) => format!("{} to {}", percent(low), percent(high)),
        (None, Some(high)) => format!("at most {}; at least: {NOT_MEASURED}", percent(high)),
        _ => nothing.into(),
    };
    lines.push(("Survival", survival));
    lines.push(("Task completion", figures.completion().map_or_else(|| "no data".into(), percent)));
    lines.push(("MTTR", mttr(figures)));
    if pool.runs.len() + pool.controls.len() > 1 {
        lines.extend(pool.run_time().map(|time| ("Time of a run", spread(&time))));
        lines.extend(pool.control_time().map(|time| ("Time of a control", spread(&time))));
    }
    if let Some(survey) = pool.survey {
        let rate = survey.rate().map_or_else(|| "no data".into(), percent);
        let of = format!("{rate}: {} of {} calls of the kinds that the rules fail", survey.failed, survey.calls);
        lines.push(("Failure rate without us", of));
    }
    if let Some(slowdown) = pool.slowdown() {
        lines.push(("Slowdown against controls", format!("{slowdown:.2}")));
    }
    if figures.suppressed > 0 {
        lines.push(("Suppressed", format!("{} faults, because the log was full", figures.suppressed)));
    }
    lines
}

fn runs_in_words(pool: &Pool) -> String {
    match pool.controls.len() {
        0 => pool.runs.len().to_string(),
        controls => format!("{}, and {controls} controls", pool.runs.len()),
    }
}

fn failed(figures: &Figures) -> String {
    let kinds = crate::outcome::Failing::ALL.iter().zip(figures.failed_by_kind).filter(|(_, count)| *count > 0);
    let kinds: Vec<String> =
        kinds.map(|(kind, count)| format!("{count} {}", kind.words().trim_start_matches("failed: "))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{}{kinds}", figures.failed())
}

/// The times to recovery in a line.
pub fn mttr(figures: &Figures) -> String {
    let some = if figures.unwatched > 0 { "not measured, but for what a probe saw: " } else { "" };
    let Some(spread) = figures.seen_mttr() else {
        return if figures.unwatched > 0 { NOT_MEASURED } else { "no data" }.into();
    };
    format!("{some}{}", self::spread(&spread))
}

/// Times in a line.
pub fn spread(times: &Spread) -> String {
    let few = if times.n < SMALL { ", too few for percentiles to mean much" } else { "" };
    let [mean, p50, p95, p99] = [times.mean, times.p50, times.p95, times.p99].map(duration);
    format!("{mean} (P50 {p50}, P95 {p95}, P99 {p99}; n={}{few})", times.n)
}

fn figures(pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "| figure | value |\n|---|---|")?;
    for (name, value) in lines(pool) {
        writeln!(out, "| {name} | {value} |")?;
    }
    writeln!(out)
}

fn next(pool: &Pool, out: &mut String) -> std::fmt::Result {
    if pool.next.is_empty() && pool.crashes.is_empty() {
        return Ok(());
    }
    writeln!(out, "## What to look at next\n")?;
    for (session, crash) in pool.crashes.iter().take(ROWS) {
        writeln!(out, "- crash of {} in {}", text(&crash.words()), text(session))?;
    }
    for group in pool.next.iter().take(ROWS) {
        let example = group.example.as_deref().map(|example| format!(", such as {}", code(example)));
        let (count, outcome) = (group.count, &group.outcome);
        writeln!(out, "- {count} x {outcome}: {}{}", text(&group.advice), example.unwrap_or_default())?;
    }
    writeln!(out)
}

fn rules(pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Rules\n\n| rule | fault | matched | fired | delivered | episodes | recovered | failed | |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for rule in &pool.rules {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&rule.name),
            rule.fault,
            rule.matched,
            rule.fired,
            rule.delivered,
            rule.episodes,
            rule.recovered,
            rule.failed,
            rule.hint.unwrap_or_default()
        )?;
    }
    writeln!(out)?;
    waits(pool, out)
}

fn waits(pool: &Pool, out: &mut String) -> std::fmt::Result {
    let mut waits = pool.rules.iter().filter_map(|rule| Some((rule, rule.waited_ns.spread()?))).peekable();
    if waits.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "How long injected waits took their callers:\n")?;
    for (rule, times) in waits {
        writeln!(out, "- {} ({}): {}", text(&rule.name), rule.fault, spread(&times))?;
    }
    writeln!(out)
}

fn latencies(pool: &Pool, out: &mut String) -> std::fmt::Result {
    let rows = latency::rows(pool);
    if !rows.is_empty() {
        writeln!(out, "## Call latency\n\nCalls that the rules match, hit or not.\n")?;
        writeln!(out, "| call | | calls | mean | P50 | P95 | P99 | longest |\n|---|---|---|---|---|---|---|---|")?;
    }
    for row in &rows {
        for (which, times) in [("under faults", row.runs_ns), ("in controls", row.controls_ns)] {
            if let Some(Spread { n, mean, p50, p95, p99, max }) = times {
                let [mean, p50, p95, p99, max] = [mean, p50, p95, p99, max].map(duration);
                writeln!(out, "| {} | {which} | {n} | {mean} | {p50} | {p95} | {p99} | {max} |", row.call)?;
            }
        }
    }
    latency::untimed(pool).map_or(Ok(()), |untimed| writeln!(out, "\n> {untimed}"))?;
    if rows.is_empty() { Ok(()) } else { writeln!(out) }
}

fn families(pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Families\n\n| family | delivered | episodes | recovered | failed |\n|---|---|---|---|---|")?;
    for (name, family) in &pool.families {
        let crate::judge::FamilyFigures { delivered, episodes, recovered, failed } = family;
        writeln!(out, "| {name} | {delivered} | {episodes} | {recovered} | {failed} |")?;
    }
    writeln!(out)
}

fn injections(run: &Judged, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Episodes\n\n| at | family | call | error | times | recovered | TTR | outcome | traits | rule |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for (episode, outcome) in run.episodes.iter().take(ROWS) {
        let resource = episode.resource.as_deref().map(code).unwrap_or_default();
        let (mark, ttr) = match outcome {
            Outcome::Recovered { ttr_ns, .. } => ("yes", duration(*ttr_ns)),
            Outcome::Failed { .. } => ("no", String::new()),
            Outcome::Tolerated | Outcome::Unknown => ("", String::new()),
        };
        let why = match outcome {
            Outcome::Failed { why, .. } => format!(": {}", text(why)),
            _ => String::new(),
        };
        writeln!(
            out,
            "| {} | {} | {} {resource} | {} | {} | {mark} | {ttr} | {}{why} | {} | {} |",
            duration(episode.opened_ns),
            family(&episode.call, episode.resource.as_deref()),
            episode.call,
            text(&episode.error),
            episode.injections,
            outcome.words(),
            episode.traits.as_ref().map(Traits::words).unwrap_or_default(),
            text(&episode.rule)
        )?;
    }
    more(run.episodes.len(), ".episodes.csv", out)?;
    writeln!(out, "## Injections\n\n| at | process | call | error | delivered | rule |\n|---|---|---|---|---|---|")?;
    for injection in run.injections.iter().take(ROWS) {
        let resource = injection.resource.as_deref().map(code).unwrap_or_default();
        let what = injection.errno.as_ref().or(injection.effect.as_ref()).unwrap_or(&injection.fault);
        writeln!(
            out,
            "| {} | {} {} | {} {resource} | {} | {} | {} |",
            duration(injection.at_ns),
            text(injection.process.as_deref().unwrap_or("?")),
            injection.pid,
            injection.call,
            text(what),
            if injection.delivered { "yes" } else { "no" },
            text(&injection.rule)
        )?;
    }
    more(usize::try_from(run.figures.fired).unwrap_or(usize::MAX), ".csv", out)
}

fn more(all: usize, form: &str, out: &mut String) -> std::fmt::Result {
    match all.checked_sub(ROWS) {
        None | Some(0) => writeln!(out),
        Some(left) => writeln!(out, "\n... and {left} more: `chaos-exec report SESSION -o FILE{form}`\n"),
    }
}

fn runs(pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Runs\n\n| run | seed | ended | task | delivered | episodes | recovered | failed | crashes |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for row in pool.controls.iter().chain(&pool.runs).take(ROWS) {
        let seed = row.seed.map(|seed| seed.to_string()).unwrap_or_default();
        let task = row.completed.map_or("", |done| if done { "done" } else { "not done" });
        writeln!(
            out,
            "| {} | {seed} | {} | {task} | {} | {} | {} | {} | {} |",
            text(&row.session),
            row.ended,
            row.delivered,
            row.episodes,
            row.recovered,
            row.failed,
            row.crashes
        )?;
    }
    more(pool.controls.len() + pool.runs.len(), ".json", out)
}

fn checks(pool: &Pool, out: &mut String) -> std::fmt::Result {
    if pool.checks.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Checks\n\n| check | passed | failed | why |\n|---|---|---|---|")?;
    for row in &pool.checks {
        let why = row.why.as_deref().map(text).unwrap_or_default();
        writeln!(out, "| {} | {} | {} | {why} |", text(&row.check), row.passed, row.failed)?;
    }
    writeln!(out)
}

fn coverage(pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Coverage\n")?;
    for line in coverage_lines(pool) {
        writeln!(out, "- {}", text(&line))?;
    }
    writeln!(out)
}

/// What was reached and what was not.
pub fn coverage_lines(pool: &Pool) -> Vec<String> {
    use crate::facts::Sight;
    let mut lines = vec![pool.coverage.words()];
    lines.extend(pool.escapes.iter().map(|(what, count)| format!("escaped: {what}, {count} times")));
    lines.extend(pool.coverage.caveats());
    let (unsuitable, protected) = pool.left_alone;
    lines.push(format!("{protected} calls were on protected places, {unsuitable} faults did not suit their call"));
    lines.push(match pool.sight {
        Some(Sight::Full) => "crashes: of the first process, of orphans, and of every process that lived for 10 ms",
        Some(Sight::Zombies) => {
            "crashes: of the first process and of orphans; of others only by chance, since this kernel (before 6.15) \
             forgets how a process ended once its parent has reaped it"
        }
        None => "crashes: not seen, since no launcher wrote down how it ended",
    }.to_owned());
    lines
}

fn again(pool: &Pool, out: &mut String) -> std::fmt::Result {
    let failed = pool.runs.iter().find(|row| row.completed == Some(false));
    let Some(repeat) = failed.or(pool.runs.first()).and_then(|row| row.repeat.as_ref()) else { return Ok(()) };
    let which = if failed.is_some() && pool.runs.len() > 1 { " (the first run that failed)" } else { "" };
    // A fence that is longer than any in the command cannot be closed by it.
    let fence = "`".repeat(3 + repeat.matches('`').count());
    writeln!(out, "## Again{which}\n\n{fence}sh\n{}\n{fence}", plain(repeat))?;
    for (dir, names) in pool.details.iter().filter_map(|run| run.evidence.as_ref()) {
        writeln!(out, "\nEvidence in {}: {}", code(&dir.display().to_string()), text(&names.join(", ")))?;
    }
    Ok(())
}

/// A text from elsewhere, so that it neither ends a cell nor becomes markup.
fn text(text: &str) -> String {
    let mut safe = String::new();
    for c in plain(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
    }
    safe
}

/// The same as code. Backslashes escape nothing inside a code span, so what could end it is told apart.
fn code(text: &str) -> String {
    let plain = plain(text);
    if plain.contains(['`', '|']) { self::text(text) } else { format!("`{plain}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_the_target_stays_text() {
        assert_eq!(text("a|b\n<script>`x`"), "a\\|b\\\\n&lt;script&gt;\\`x\\`");
        assert_eq!(code("/data/x"), "`/data/x`");
        assert_eq!(code("`|"), "\\`\\|");
        assert_eq!(
            text("\u{1b}[31m\u{202e}"),
            "\\\\u\\{1b\\}\\[31m\\\\u\\{202e\\}".replace("\\{", "{").replace("\\}", "}")
        );
    }
}

//! What the runner says while runs go on, and at the end.

use super::score::{Score, Stability, Status, Verdict};
use crate::console::{Console, Tone};
use crate::gate::{Ruling, duration};
use crate::pool::RunRow;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Lines of progress that the runs of an experiment may take, and that they may where it is one of several.
pub const LINES: u64 = 20;
/// See [`LINES`].
pub const FEW_LINES: u64 = 2;
/// Seeds that are shown; the results have all.
const MOST_SEEDS: usize = 20;
/// Failing runs whose command is shown.
const SHOWN: usize = 3;

/// Says how a run went, and when all will be over; of many runs only of some, in about so many lines.
pub fn progress(
    console: Console,
    (score, lines): (&Score, u64),
    number: u64,
    verdict: Verdict,
    row: &RunRow,
    passed: Duration,
) {
    let (made, all) = (score.made(), score.wanted);
    let due = all <= lines || made.is_multiple_of(all / lines) || made == all;
    let is_news = verdict == Verdict::Failed && score.failed <= lines;
    if !(due || is_news) {
        return;
    }
    let word = match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Inconclusive => "inconclusive",
    };
    let odd = score.odd.last().filter(|_| verdict != Verdict::Passed);
    let why = odd.map(|odd| format!(" ({})", odd.why)).unwrap_or_default();
    let seed = row.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    // Numbers of runs are far below 2^52.
    let left = passed.as_secs_f64() / made as f64 * (all - made) as f64;
    let left = humantime::format_duration(Duration::from_secs(left.ceil() as u64));
    let eta = if made == all { String::new() } else { format!("; {made} of {all} done, about {left} left") };
    let tone = if verdict == Verdict::Passed { Tone::Faint } else { Tone::Loud };
    let text = format!("{} run {number}: {word}{why}; {} delivered{seed}{eta}", score.id, row.delivered);
    console.say(tone, &text);
}

/// Says what came of all runs; `stopped` by which signal, if by one.
pub fn conclusion(console: Console, score: &Score, stopped: Option<Signal>, ruling: Option<&Ruling>) {
    let say = |tone, text: &str| console.say(tone, &format!("{}: {text}", score.id));
    if let Some(signal) = stopped {
        let (made, all) = (score.made(), score.wanted);
        say(Tone::Loud, &format!("aborted by {signal} after {made} of {all} runs; the figures are of these"));
    }
    if let Some(why) = &score.untested {
        return say(Tone::Loud, &format!("inconclusive, and no run was made: {why}"));
    }
    let tone = if score.failed > 0 || score.success_rate.is_none() { Tone::Loud } else { Tone::Plain };
    let none = || "no run passed or failed".to_owned();
    let success = score.success_rate.map_or_else(none, |part| format!("{} passed", part.words()));
    let open = if score.inconclusive > 0 { format!(", {} inconclusive", score.inconclusive) } else { String::new() };
    say(tone, &format!("{success}{open}"));
    let recovery = score.recovery_rate.map_or_else(|| crate::recoveries::NOT_MEASURED.into(), |part| part.words());
    let times = score.mttr.map(|spread| {
        let [mean, p50, p95, p99] = [spread.mean, spread.p50, spread.p95, spread.p99].map(duration);
        format!("; MTTR {mean} (P50 {p50}, P95 {p95}, P99 {p99}, n {})", spread.n)
    });
    let (crashes, restarts) = (score.crashes, score.restarts);
    let times = times.unwrap_or_default();
    say(Tone::Plain, &format!("recovery rate {recovery}{times}; {crashes} crashes, {restarts} restarts"));
    if let Some(Stability { wanted, stable, flaky, failed_seeds }) = &score.stability {
        let wanted = format!("{:.0} % wanted", wanted * 100.0);
        let (tone, word) = match stable {
            Some(true) => (Tone::Plain, "stable"),
            Some(false) if *flaky => (Tone::Loud, "NOT STABLE: it is flaky"),
            Some(false) => (Tone::Loud, "NOT STABLE"),
            None => (Tone::Loud, "whether it is stable is not known: too many runs say nothing"),
        };
        let shown: Vec<String> = failed_seeds.iter().take(MOST_SEEDS).map(ToString::to_string).collect();
        let more = failed_seeds.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let seeds =
            if shown.is_empty() { String::new() } else { format!("; seeds that failed: {}{more}", shown.join(", ")) };
        say(tone, &format!("{word} ({} of {} passed, {wanted}){seeds}", score.passed, score.made()));
    }
    for odd in score.odd.iter().filter(|odd| odd.verdict == Verdict::Failed).take(SHOWN) {
        say(Tone::Plain, &format!("{} again: {}", odd.session, odd.repeat));
    }
    ruling.iter().for_each(|ruling| crate::summary::say_ruling(console, ruling));
    say(Tone::Faint, &format!("results: {} (chaos-exec report)", score.results));
}

/// Says what came of several experiments, of which `all` were to be run.
pub fn overview<'a>(console: Console, scores: impl Iterator<Item = &'a Score>, all: usize) {
    let scores: Vec<&Score> = scores.collect();
    let width = scores.iter().map(|score| score.id.len()).max().unwrap_or(0);
    let is_bad = |score: &&&Score| score.failed > 0 || score.status != Status::Completed;
    let is_open = |score: &&&Score| !is_bad(score) && score.passed == 0;
    let (bad, open) = (scores.iter().filter(is_bad).count(), scores.iter().filter(is_open).count());
    let good = scores.len() - bad - open;
    let not_run = all - scores.len();
    let more = if not_run > 0 { format!(", {not_run} not run") } else { String::new() };
    console.say(Tone::Plain, &format!("{all} experiments: {good} passed, {bad} failed, {open} inconclusive{more}"));
    for score in scores {
        let counts = format!("{} passed, {} failed, {} inconclusive", score.passed, score.failed, score.inconclusive);
        let worst = score.odd.iter().find(|odd| odd.verdict == Verdict::Failed).or(score.odd.first());
        let (tone, said) = match (score.status, &score.untested, worst) {
            (Status::Failed, ..) => (Tone::Loud, "could not be run".to_owned()),
            (Status::Aborted, ..) => (Tone::Loud, format!("{counts}; aborted")),
            (_, Some(why), _) => (Tone::Loud, format!("inconclusive: {why}")),
            (_, None, Some(odd)) if score.passed == 0 || score.failed > 0 => {
                (Tone::Loud, format!("{counts}; {}", odd.why))
            }
            _ => (Tone::Faint, counts),
        };
        console.say(tone, &format!("  {:width$}  {said}", score.id));
    }
}

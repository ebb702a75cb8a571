//! A table of experiments for people: what each is for, what it looks at, how often it passes, and the command that
//! verifies it. Pure.

use super::runner::Done;
use crate::exit_code::Exit;

/// Checks that are shown of an experiment.
const CHECKS: usize = 4;

/// The headings.
const HEADINGS: [&str; 8] =
    ["Scenario", "Purpose", "Key checks", "Passed", "Operations per second", "Versions", "Date", "Verified by"];

const NOTE: &str = "Passed: runs that passed among those that passed or failed, with the 95 % interval (Wilson). Operations: what \
                    the program itself counts as `operations`, else the calls that its faults were put to; per second of the runs.";

/// A line of it.
pub struct Row {
    is_good: bool,
    cells: [String; 8],
}

impl Row {
    /// Of one experiment.
    #[must_use]
    pub fn of(done: &Done) -> Row {
        let score = &done.score;
        let about = &score.about;
        let purpose = about.description.as_deref().or(score.name.as_deref()).unwrap_or("").trim();
        // Its first sentence.
        let purpose = purpose.split_inclusive(". ").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        let mut checks: Vec<String> = about.checks.iter().take(CHECKS).cloned().collect();
        if about.checks.len() > CHECKS {
            checks.push(format!("and {} more", about.checks.len() - CHECKS));
        }
        if checks.is_empty() {
            checks.push("exit codes=0".into());
        }
        checks.extend(about.limit.iter().map(|limit| format!("limit {limit}")));
        let passed = match (&score.untested, score.success_rate) {
            (Some(why), _) => format!("nothing was tested: {why}"),
            (None, None) => "nothing was tested".to_owned(),
            (None, Some(part)) => part.words(),
        };
        let open =
            if score.inconclusive > 0 { format!("; {} inconclusive", score.inconclusive) } else { String::new() };
        let seconds: f64 = done.pool.runs.iter().map(|run| run.duration_ns as f64 / 1e9).sum();
        let own = done.pool.figures.metrics.figure("operations.sum");
        // Numbers of calls are far below 2^52.
        let calls = || done.pool.rules.iter().map(|rule| rule.matched as f64).sum::<f64>();
        let operations = own.unwrap_or_else(calls);
        let operations =
            if seconds > 0.0 && operations > 0.0 { format!("{:.1}", operations / seconds) } else { "-".into() };
        let date = about.started.split('T').next().unwrap_or_default().to_owned();
        let cells = [
            score.id.clone(),
            purpose.join(" "),
            checks.join("; "),
            passed + &open,
            operations,
            format!("chaos-exec {}", about.version),
            date,
            about.verify.clone(),
        ];
        Row { is_good: done.exit == Exit::Target(0), cells }
    }
}

/// As Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let cell = |text: &String| crate::report::plain(text).replace('|', "\\|");
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = "# Chaos matrix\n\n".to_owned() + &line(&HEADINGS.map(str::to_owned));
    text += &line(&HEADINGS.map(|_| "---".to_owned()));
    for row in rows {
        let mut cells: Vec<String> = row.cells.iter().map(cell).collect();
        if let Some(command) = cells.last_mut() {
            *command = format!("`{command}`");
        }
        if let Some(passed) = cells.get_mut(3).filter(|_| !row.is_good) {
            *passed = format!("**{passed}**");
        }
        text += &line(&cells);
    }
    text + "\n" + NOTE + "\n"
}

/// As a page.
#[must_use]
pub fn html(rows: &[Row]) -> String {
    let escaped = |text: &str| {
        crate::report::plain(text)
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    let head: String = HEADINGS.iter().map(|heading| format!("<th>{heading}</th>")).collect();
    let mut body = String::new();
    for row in rows {
        let class = if row.is_good { "good" } else { "bad" };
        let cells: String = row.cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        body += &format!("<tr class=\"{class}\">{cells}</tr>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Chaos matrix</title><style>\
         body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em }} table {{ border-collapse: collapse }} \
         th, td {{ border: 1px solid #bbb; padding: .4em .6em; text-align: left; vertical-align: top }} \
         td:last-child {{ font-family: monospace; overflow-wrap: anywhere }} tr.bad td:nth-child(4) {{ font-weight: bold; color: #a00 }}\
         </style></head><body>\n<h1>Chaos matrix</h1>\n<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n<p>{}</p>\n</body></html>\n",
        escaped(NOTE)
    )
}

//! `chaos-exec compare`: what got worse between two results, and whether the numbers suffice to say so.

use super::results::Loaded;
use super::score::{Part, Score};
use super::statistics::{ALPHA, FEWEST, fisher, holm, mann_whitney, median};
use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::gate::duration;
use crate::pool::Pool;
use clap::{Args, ValueHint};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `chaos-exec compare`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  chaos-exec compare results/main results/branch

Parts (passed runs, recovered episodes, runs with a crash) are compared by Fisher's exact test, times (to recovery, of a
run) by the test of Mann and Whitney, both two-sided; p-values are corrected by Holm's method for how many there are.
Exit codes: 0 nothing is shown to be worse; 122 something is; 125 results are damaged or have nothing in common.")]
pub struct CompareArgs {
    /// Results of before: the directory of an experiment's results, or of several
    #[arg(value_name = "OLD", value_hint = ValueHint::DirPath)]
    pub old: PathBuf,

    /// Results of now
    #[arg(value_name = "NEW", value_hint = ValueHint::DirPath)]
    pub new: PathBuf,

    /// As JSON
    #[arg(long)]
    pub json_output: bool,
}

/// What is said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Worse,
    Better,
    Same,
    /// It looks worse, and may be chance.
    PerhapsWorse,
    PerhapsBetter,
    /// There are too few numbers to compare.
    Unknown,
}

/// One thing that was compared.
#[derive(Clone, Debug, Serialize)]
struct Line {
    experiment: String,
    figure: &'static str,
    old: String,
    new: String,
    /// Below 0 when the new one is worse.
    #[serde(skip)]
    direction: i8,
    method: &'static str,
    p: Option<f64>,
    /// `p` as it counts among all that were compared.
    corrected_p: Option<f64>,
    change: Option<Change>,
}

/// Compares.
///
/// # Errors
/// When results are damaged, or have no experiment in common.
pub fn run(args: &CompareArgs, out: &mut dyn Write) -> Result<Exit> {
    let (old, new) = (sides(&args.old)?, sides(&args.new)?);
    let (mut lines, mut remarks) = (Vec::new(), Vec::new());
    for (score, pool) in &new {
        let Some((before, old_pool)) = old.iter().find(|(other, _)| other.id == score.id) else {
            remarks.push(format!("{} is new", score.id));
            continue;
        };
        remarks.extend(differences(before, score));
        lines.extend(compared((before, old_pool), (score, pool)));
    }
    remarks.extend(
        old.iter()
            .filter(|(score, _)| new.iter().all(|(other, _)| other.id != score.id))
            .map(|(score, _)| format!("{} is gone", score.id)),
    );
    if lines.is_empty() {
        return Err(Failure::new(format!(
            "{} and {} have no experiment in common",
            args.old.display(),
            args.new.display()
        ))
        .help("name results of the same experiment, by its id"));
    }
    judge(&mut lines);
    let text = if args.json_output {
        let value = serde_json::json!({"compared": lines, "remarks": remarks, "alpha": ALPHA});
        serde_json::to_string_pretty(&value).cannot("describe the comparison")? + "\n"
    } else {
        in_words(&lines, &remarks)
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).cannot("write to stdout")?;
    let is_worse = lines.iter().any(|line| line.change == Some(Change::Worse));
    Ok(if is_worse { Exit::GateFailed } else { Exit::Target(0) })
}

fn sides(dir: &Path) -> Result<Vec<(Score, Pool)>> {
    Loaded::all_in(dir)?.iter().map(|loaded| loaded.judged(&loaded.dir)).collect()
}

/// What makes two results hard to compare.
fn differences(old: &Score, new: &Score) -> Vec<String> {
    let mut found = Vec::new();
    if old.about.version != new.about.version {
        found.push(format!("{}: chaos-exec {} then, {} now", new.id, old.about.version, new.about.version));
    }
    if old.about.digest != new.about.digest {
        found.push(format!("{}: the experiment or its command has changed", new.id));
    }
    for (word, score) in [("old", old), ("new", new)] {
        if score.made() < score.wanted {
            found.push(format!(
                "{}: the {word} results were cut short: {} of {} runs",
                new.id,
                score.made(),
                score.wanted
            ));
        }
    }
    found
}

fn compared((old, old_pool): (&Score, &Pool), (new, new_pool): (&Score, &Pool)) -> Vec<Line> {
    let crashed = |pool: &Pool| (pool.runs.iter().filter(|run| run.crashes > 0).count() as u64, pool.runs.len() as u64);
    let passed = |score: &Score| (score.passed, score.passed + score.failed);
    let recovered = |score: &Score| score.recovery_rate.map_or((0, 0), |part| (part.count, part.of));
    let lasted = |pool: &Pool| {
        pool.runs.iter().filter(|run| run.completed == Some(true)).map(|run| run.duration_ns).collect::<Vec<_>>()
    };
    let id = new.id.as_str();
    [
        of_parts(id, "passed runs", passed(old), passed(new), true),
        of_parts(id, "recovered episodes", recovered(old), recovered(new), true),
        of_parts(id, "runs with a crash", crashed(old_pool), crashed(new_pool), false),
        of_times(id, "time to recovery", &old_pool.figures.ttr_ns, &new_pool.figures.ttr_ns),
        of_times(id, "time of a run that passed", &lasted(old_pool), &lasted(new_pool)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_parts(id: &str, figure: &'static str, old: (u64, u64), new: (u64, u64), more_is_better: bool) -> Option<Line> {
    let (one, other) = (Part::new(old.0, old.1), Part::new(new.0, new.1));
    if one.is_none() && other.is_none() {
        return None;
    }
    let said = |part: Option<Part>| part.map_or_else(|| "none".to_owned(), |part| part.words());
    let both = one.zip(other);
    let grows = both.map_or(0, |(one, other)| sign(other.part - one.part));
    Some(Line {
        experiment: id.to_owned(),
        figure,
        old: said(one),
        new: said(other),
        direction: if more_is_better { grows } else { -grows },
        method: "Fisher",
        p: both.map(|_| fisher(old.0, old.1, new.0, new.1)),
        corrected_p: None,
        change: None,
    })
}

fn of_times(id: &str, figure: &'static str, old: &[u64], new: &[u64]) -> Option<Line> {
    if old.is_empty() && new.is_empty() {
        return None;
    }
    let said = |times: &[u64]| {
        median(times)
            .map_or_else(|| "none".to_owned(), |middle| format!("median {} (n {})", duration(middle), times.len()))
    };
    let shift = median(old).zip(median(new)).map_or(0.0, |(old, new)| new as f64 - old as f64);
    Some(Line {
        experiment: id.to_owned(),
        figure,
        old: said(old),
        new: said(new),
        direction: -sign(shift),
        method: "Mann-Whitney",
        p: mann_whitney(old, new),
        corrected_p: None,
        change: None,
    })
}

fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

/// Says of each line what it is, now that all are there.
fn judge(lines: &mut [Line]) {
    let values: Vec<f64> = lines.iter().filter_map(|line| line.p).collect();
    let mut corrected = holm(&values).into_iter();
    for line in lines {
        line.corrected_p = line.p.and_then(|_| corrected.next());
        line.change = Some(match (line.corrected_p, line.direction) {
            (None, _) => Change::Unknown,
            (Some(_), 0) => Change::Same,
            (Some(p), direction) if p < ALPHA => {
                if direction < 0 {
                    Change::Worse
                } else {
                    Change::Better
                }
            }
            (Some(_), direction) => {
                if direction < 0 {
                    Change::PerhapsWorse
                } else {
                    Change::PerhapsBetter
                }
            }
        });
    }
}

fn in_words(lines: &[Line], remarks: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let p = line.corrected_p.map_or_else(String::new, |p| format!(" (p {}, {})", p_words(p), line.method));
        let word = match line.change {
            Some(Change::Worse) => "WORSE",
            Some(Change::Better) => "better",
            Some(Change::Same) => "the same",
            Some(Change::PerhapsWorse) => "perhaps worse, but the numbers do not suffice to say so",
            Some(Change::PerhapsBetter) => "perhaps better, but the numbers do not suffice to say so",
            Some(Change::Unknown) | None => "not comparable: too few numbers",
        };
        text += &format!("{}: {}: {} -> {}: {word}{p}\n", line.experiment, line.figure, line.old, line.new);
    }
    for remark in remarks {
        text += &format!("note: {remark}\n");
    }
    text + &format!(
        "p below {ALPHA} counts, corrected for {} comparisons (Holm); times need {FEWEST} a side\n",
        lines.len()
    )
}

fn p_words(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_more_than_chance_is_worse() {
        let mut lines: Vec<Line> = [
            of_parts("a", "passed runs", (50, 50), (30, 50), true),
            of_parts("a", "passed runs", (50, 50), (48, 50), true),
            of_parts("a", "runs with a crash", (0, 50), (25, 50), false),
            of_parts("a", "runs with a crash", (25, 50), (0, 50), false),
            of_parts("a", "passed runs", (5, 5), (0, 0), true),
            of_times("a", "time to recovery", &[1, 2, 3], &[9, 9, 9]),
            of_times("a", "time to recovery", &(1..30).collect::<Vec<_>>(), &(100..130).collect::<Vec<_>>()),
            of_parts("a", "passed runs", (9, 9), (9, 9), true),
        ]
        .into_iter()
        .flatten()
        .collect();
        judge(&mut lines);
        let changes: Vec<Change> = lines.iter().map(|line| line.change.unwrap()).collect();
        let wanted = [
            Change::Worse,
            Change::PerhapsWorse,
            Change::Worse,
            Change::Better,
            Change::Unknown,
            Change::Unknown,
            Change::Worse,
            Change::Same,
        ];
        assert_eq!(changes, wanted);
        assert_eq!(of_parts("a", "recovered episodes", (0, 0), (0, 0), true).map(|line| line.figure), None);
    }
}

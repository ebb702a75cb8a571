//! `--export DIR`: figures, events and recoveries as files for other tools, a matrix for people, JUnit for CI servers.

use super::matrix;
use super::runner::Done;
use super::score::Verdict;
use crate::error::{Context, Failure, Result, plain};
use crate::exit_code::Exit;
use crate::report::{Form, Report, render};
use crate::session::write_atomically;
use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where everything goes.
pub struct Export {
    dir: PathBuf,
    stamp: String,
}

impl Export {
    /// Makes sure that there is a place, before anything is run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(dir: &Path) -> Result<Export> {
        let wrong = |error: std::io::Error| {
            Failure::new(format!("--export: cannot write to {}: {}", dir.display(), plain(&error)))
                .help("name a directory that can be written")
        };
        std::fs::create_dir_all(dir).map_err(wrong)?;
        tempfile::tempfile_in(dir).map_err(wrong)?;
        let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(['-', ':'], "");
        Ok(Export { dir: dir.to_owned(), stamp })
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When writing fails, or a session is gone.
    pub fn write(&self, all: &[Done]) -> Result<()> {
        let full = all.iter().map(full).collect::<Result<Vec<_>>>()?;
        let summary: Vec<Value> = all.iter().map(summary).collect();
        self.put("full_metrics", "json", &in_lines(&json!({"experiments": full}))?)?;
        self.put("summary", "json", &in_lines(&json!({"experiments": summary}))?)?;
        self.rows("events", Form::Csv, all)?;
        self.rows("mttr", Form::EpisodesCsv, all)?;
        let rows: Vec<matrix::Row> = all.iter().map(matrix::Row::of).collect();
        self.put("matrix", "md", &matrix::markdown(&rows))?;
        self.put("matrix", "html", &matrix::html(&rows))?;
        self.put("junit", "xml", &junit(all)?)
    }

    fn path(&self, what: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("chaos_{what}_{}.{extension}", self.stamp))
    }

    fn put(&self, what: &str, extension: &str, text: &str) -> Result<()> {
        let path = self.path(what, extension);
        write_atomically(&path, text.as_bytes(), 0o644).cannot(format_args!("write {}", path.display()))
    }

    /// The rows of all experiments, the experiment in front of each.
    fn rows(&self, what: &str, form: Form, all: &[Done]) -> Result<()> {
        let path = self.path(what, "csv");
        let doing = format!("write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).cannot(&doing)?;
        let mut into = csv::Writer::from_writer(BufWriter::new(file.as_file_mut()));
        for (at, done) in all.iter().enumerate() {
            // On disk, so that any number of rows takes the same memory.
            let mut own = tempfile::tempfile_in(&self.dir).cannot(&doing)?;
            let mut out = BufWriter::new(&mut own);
            render(form, &done.report(), &mut out)?;
            out.flush().cannot(&doing)?;
            drop(out);
            own.rewind().cannot(&doing)?;
            let mut rows = csv::Reader::from_reader(BufReader::new(own));
            if at == 0 {
                let header = rows.headers().cannot(&doing)?;
                into.write_record(std::iter::once("experiment").chain(header)).cannot(&doing)?;
            }
            for row in rows.records() {
                let row = row.cannot(&doing)?;
                into.write_record(std::iter::once(done.score.id.as_str()).chain(&row)).cannot(&doing)?;
            }
        }
        into.flush().cannot(&doing)?;
        drop(into);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).cannot(&doing)?;
        file.persist(&path).map_err(|error| error.error).cannot(&doing).map(drop)
    }
}

impl Done {
    fn report(&self) -> Report<'_> {
        Report { pool: &self.pool, sessions: &self.sessions, ruling: self.ruling.as_ref() }
    }
}

fn in_lines(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").cannot("describe the results")
}

fn full(done: &Done) -> Result<Value> {
    let mut text = Vec::new();
    render(Form::Json, &done.report(), &mut text)?;
    let report: Value = serde_json::from_slice(&text).cannot("describe the results")?;
    Ok(json!({"score": done.score, "report": report}))
}

fn summary(done: &Done) -> Value {
    let score = &done.score;
    json!({
        "id": score.id,
        "name": score.name,
        "status": score.status,
        "exit_code": done.exit.code(),
        "runs": score.made(),
        "wanted": score.wanted,
        "passed": score.passed,
        "failed": score.failed,
        "inconclusive": score.inconclusive,
        "untested": score.untested,
        "success_rate": score.success_rate,
        "recovery_rate": score.recovery_rate,
        "mttr_ns": score.mttr,
        "crashes": score.crashes,
        "restarts": score.restarts,
        "total_faults_fired": score.total_faults_fired,
        "stability": score.stability,
        "gate": score.gate,
        "metrics": done.pool.figures.metrics.summaries(),
        "seed": score.seed,
        "results": score.results,
    })
}

/// A case for each experiment.
fn junit(all: &[Done]) -> Result<String> {
    let mut suite = TestSuite::new("experiments");
    for done in all {
        let score = &done.score;
        let first = |verdict| score.odd.iter().find(|odd| odd.verdict == verdict).map(|odd| odd.why.clone());
        let bad = |kind, why: String| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(crate::report::plain(&why));
            status
        };
        let said = score.gate.clone().into_iter();
        let status = match done.exit {
            Exit::Target(0) => TestCaseStatus::success(),
            Exit::GateFailed => {
                let passed = format!("{} of {} runs passed", score.passed, score.made());
                let why = said.chain([passed]).chain(first(Verdict::Failed)).collect::<Vec<_>>();
                bad(NonSuccessKind::Failure, why.join("; "))
            }
            // What was not tested has not passed.
            _ => {
                let why = said.chain(score.untested.clone()).chain(first(Verdict::Inconclusive)).collect::<Vec<_>>();
                let word = if done.exit == Exit::Inconclusive { "inconclusive" } else { "not run to its end" };
                bad(NonSuccessKind::Error, format!("{word}: {}", why.join("; ")))
            }
        };
        let mut case = TestCase::new(score.id.clone(), status);
        case.set_classname("chaos-exec");
        case.set_time(done.pool.runs.iter().map(|run| Duration::from_nanos(run.duration_ns)).sum());
        case.set_system_out(format!("again: {}", crate::report::plain(&score.about.verify)));
        suite.add_test_case(case);
    }
    let mut junit = Junit::new("chaos-exec");
    junit.add_test_suite(suite);
    junit.to_string().cannot("write the report")
}

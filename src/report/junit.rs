//! JUnit XML, for CI servers: a suite for each run, with a case for its end, each check and each rule; the gate; and
//! what makes the verdict doubtful.

use super::{Report, plain};
use crate::error::{Context, Result};
use crate::gate::Ruling;
use crate::judge::{Judged, RuleFigures};
use crate::pool::RunRow;
use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// The whole report.
pub fn render(report: &Report) -> Result<String> {
    let mut junit = Junit::new("chaos-exec");
    if let Some(ruling) = report.ruling {
        junit.add_test_suite(gate(ruling));
    }
    if !report.pool.trouble.is_empty() {
        junit.add_test_suite(doubts(report));
    }
    for row in &report.pool.controls {
        let mut suite = TestSuite::new(format!("control {}", row.session));
        suite.add_test_case(ending(row));
        junit.add_test_suite(suite);
    }
    for row in &report.pool.runs {
        let mut suite = TestSuite::new(
            row.seed.map_or_else(|| row.session.clone(), |seed| format!("{} (seed {seed})", row.session)),
        );
        suite.add_test_case(ending(row));
        if let Some(run) = report.pool.details.iter().find(|run| run.name == row.session) {
            details(run, &mut suite);
        }
        junit.add_test_suite(suite);
    }
    junit.to_string().cannot("write the report")
}

fn gate(ruling: &Ruling) -> TestSuite {
    let status = match ruling {
        Ruling::Passed(_) => TestCaseStatus::success(),
        Ruling::Failed(why) => bad(NonSuccessKind::Failure, why),
        // Not tested is not passed.
        Ruling::Inconclusive(why) => bad(NonSuccessKind::Error, why),
    };
    let mut suite = TestSuite::new("gate");
    suite.add_test_case(case("gate", "gate", status));
    suite
}

/// A session that was spoiled is an error; what was not measured or injected is not tested, which is not passed.
fn doubts(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("doubts");
    for (number, trouble) in (1..).zip(&report.pool.trouble) {
        let status = if report.pool.damaged.as_ref() == Some(trouble) {
            bad(NonSuccessKind::Error, trouble)
        } else {
            let mut status = TestCaseStatus::skipped();
            status.set_message(plain(trouble));
            status
        };
        suite.add_test_case(case("doubts", &format!("doubt {number}"), status));
    }
    suite
}

fn bad(kind: NonSuccessKind, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(plain(why));
    // Some readers want a type.
    status.set_type(if kind == NonSuccessKind::Failure { "failure" } else { "error" });
    status
}

/// A case with a class: servers group by it, and some take none for broken.
fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(plain(name), status);
    case.set_classname(plain(class));
    case
}

fn ending(row: &RunRow) -> TestCase {
    let status = match (row.completed, &row.why) {
        (Some(true), _) => TestCaseStatus::success(),
        (Some(false), why) => bad(NonSuccessKind::Failure, why.as_deref().unwrap_or(&row.ended)),
        (None, _) => bad(NonSuccessKind::Error, "its end was not seen"),
    };
    let mut case = case(&row.session, "ends as expected", status);
    case.set_time(Duration::from_nanos(row.duration_ns));
    if let Some(repeat) = row.repeat.as_ref().filter(|_| row.completed != Some(true)) {
        case.set_system_out(format!("again: {}", plain(repeat)));
    }
    case
}

fn details(run: &Judged, suite: &mut TestSuite) {
    for check in run.facts.iter().flat_map(|facts| &facts.checks) {
        let status = if check.passed { TestCaseStatus::success() } else { bad(NonSuccessKind::Failure, &check.why) };
        suite.add_test_case(case(&run.name, &format!("check: {}", check.check), status));
    }
    for rule in &run.rules {
        suite.add_test_case(case(&run.name, &format!("rule: {}", rule.name), of_rule(rule)));
    }
}

fn of_rule(rule: &RuleFigures) -> TestCaseStatus {
    if rule.delivered == 0 {
        let mut status = TestCaseStatus::skipped();
        status.set_message(rule.hint.unwrap_or("no fault of it was delivered"));
        return status;
    }
    match rule.failed {
        0 => TestCaseStatus::success(),
        failed => bad(NonSuccessKind::Failure, &format!("{failed} of {} episodes failed", rule.episodes)),
    }
}

//! `--latency`: how long the calls took that rules match, under faults and in controls.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::dialogue::{Dialogue, READS, order, scene};
use common::{Done, Scene, guest};
use serde_json::Value;

const SLOW: &str = "latency calls=read path=data.bin delay=30ms every=10";
const MS: u64 = 1_000_000;

fn report(scene: &Scene) -> Value {
    serde_json::from_slice(&scene.read("r.json")).unwrap()
}

/// The times of a call in a report: `runs_ns` or `controls_ns`.
fn times<'a>(report: &'a Value, call: &str, which: &str) -> &'a Value {
    let calls = report["latency"]["calls"].as_array().unwrap_or_else(|| panic!("{report}"));
    calls.iter().find(|row| row["call"] == call).map_or(&Value::Null, |row| &row[which])
}

fn facts_of(done: &Done) -> Value {
    let session = done.session.as_ref().unwrap();
    serde_json::from_slice(&std::fs::read(session.join("facts.json")).unwrap()).unwrap()
}

#[test]
fn the_calls_that_rules_match_are_timed_beside_those_of_the_controls() {
    let scene = Scene::new();
    // 40 reads in each of two threads of two processes, each tenth of a process late; other calls are nobody's business.
    let command = [&guest("loop"), "-p", "2", "-t", "2", "40"];
    let options =
        ["--latency", "--controls", "2", "--runs", "2", "--report", "r.json", "--report", "r.md", "--report", "r.html"];
    let done = scene.under(&[SLOW, "lseek=EIO@0%"]).options(&options).go(&command).ended(0);
    let report = report(&scene);
    let runs = times(&report, "read", "runs_ns");
    let controls = times(&report, "read", "controls_ns");
    assert_eq!((runs["n"].as_u64(), controls["n"].as_u64()), (Some(320), Some(320)), "{}", done.story());
    let of = |times: &Value, figure: &str| times[figure].as_u64().unwrap();
    assert!((30 * MS..1000 * MS).contains(&of(runs, "p99")) && of(runs, "p95") >= 30 * MS, "{runs}");
    assert!(of(runs, "p50") < 5 * MS && of(controls, "p95") < 5 * MS, "{report}");
    assert!(of(runs, "mean") >= 3 * MS && of(runs, "mean") > of(controls, "mean"), "{report}");
    assert!(of(runs, "max") >= of(runs, "p99") && of(controls, "p50") > 0, "{report}");
    assert_eq!(report["counts"]["delivered"], 32, "{}", done.story());
    assert_eq!(
        (report["controls_failed"].as_u64(), report["latency"]["untimed_processes"].as_u64()),
        (Some(0), Some(0))
    );
    // A call that a rule matches and that is never hit is timed as well.
    assert_eq!(of(times(&report, "lseek", "runs_ns"), "n"), 320, "{report}");
    assert!(times(&report, "open", "runs_ns").is_null() && times(&report, "nanosleep", "runs_ns").is_null());
    assert!(done.err.contains("read took P50 ") && done.err.contains("; in controls P50 "), "{}", done.story());
    for form in ["r.md", "r.html"] {
        let text = String::from_utf8(scene.read(form)).unwrap();
        for part in ["Call latency", "in controls", "Slowdown against controls", "Time of a control"] {
            assert!(text.contains(part), "{part} in {form}: {text}");
        }
    }
}

#[test]
fn failures_and_hangs_are_as_long_as_the_program_saw_them() {
    let scene = Scene::new();
    let faults = ["hang name=long calls=read path=data.bin for=100ms nth=1", "read=EIO@2.."];
    let done = scene.under(&faults).options(&["--latency", "--report", "r.json"]).go(&[&guest("loop"), "20"]).ended(0);
    let report = report(&scene);
    let read = times(&report, "read", "runs_ns");
    assert_eq!(read["n"], 20, "{}", done.story());
    assert!(read["max"].as_u64() >= Some(100 * MS) && read["p50"].as_u64() < Some(50 * MS), "{read}");
    assert!(times(&report, "read", "controls_ns").is_null());
}

#[test]
fn nothing_is_timed_that_was_not_asked_for_and_a_gate_asks_for_it() {
    let scene = Scene::new();
    let command = [&guest("loop"), "20"];
    let done = scene.under(&[SLOW]).options(&["--report", "r.json"]).go(&command).ended(0);
    assert!(facts_of(&done)["latencies"].is_null() && report(&scene)["latency"].is_null());
    let gate = |gate: &str, code| scene.under(&[SLOW]).options(&["--gate", gate]).go(&command).ended(code);
    let done = gate("latency.p50<20ms,latency.max>=30ms", 0);
    assert!(done.err.contains("gate passed: latency.p50 "), "{}", done.story());
    let done = gate("latency.p99<20ms", 122);
    assert!(done.err.contains("gate failed: latency.p99 3"), "{}", done.story());
    // Judged afterwards, a run that was not timed has no such figure.
    let done = scene.under(&[SLOW]).go(&command).ended(0);
    let session = done.session.unwrap().display().to_string();
    let done = scene.chaos().go(&["report", &session, "--gate", "latency.p99<20ms"]).ended(123);
    assert!(done.err.contains("there is no figure for latency.p99"), "{}", done.story());
}

#[test]
fn below_the_supervisor_it_is_said_that_nothing_was_measured() {
    let scene = Scene::new();
    let options = ["--engine", "seccomp", "--gate", "latency.p99<20ms", "--report", "r.json"];
    let done = scene.under(&[SLOW]).options(&options).go(&[&guest("loop"), "20"]).ended(123);
    assert!(done.err.contains("latency.p99 not measured in 1 processes under the supervisor"), "{}", done.story());
    assert_eq!(report(&scene)["latency"]["untimed_processes"], 1);
}

#[test]
fn a_rule_that_comes_later_has_its_calls_timed() {
    let scene = scene();
    let run = scene.under(&["write=EIO@0%"]).options(&["--latency"]);
    let mut target = Dialogue::begin(&scene, run, READS);
    assert_eq!(target.ask("[read() for _ in range(7)].count('ok')"), "7");
    order(&scene, &["add", "pread=ENOSPC@0%"]);
    assert_eq!(target.ask("[read() for _ in range(5)].count('ok')"), "5");
    order(&scene, &["set", "error-2", "rate=100%"]);
    assert_eq!(target.ask("[read() for _ in range(3)].count(28)"), "3");
    order(&scene, &["disable"]);
    assert_eq!(target.ask("[read() for _ in range(9)].count('ok')"), "9");
    let done = target.end();
    let buckets = facts_of(&done)["latencies"]["pread"]["buckets"].clone();
    let timed: u64 = buckets.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(timed, 8, "{}", done.story());
}

//! Checks that a user gives, controls and repeated runs.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::server::serve;
use common::{CHAOS, Done, Scene, python};
use serde_json::Value;
use std::fs;
use std::path::Path;

const OPENS: &str = "error calls=open path=data.bin errno=EIO";

fn facts(session: &Path) -> Value {
    serde_json::from_slice(&fs::read(session.join("facts.json")).unwrap()).unwrap()
}

/// What each check found.
fn found(done: &Done) -> Vec<(bool, String)> {
    let facts = facts(done.session.as_ref().unwrap());
    let all = facts["checks"].as_array().unwrap();
    all.iter().map(|one| (one["passed"].as_bool().unwrap(), one["why"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn each_check_passes_and_fails() {
    let scene = Scene::new();
    let script = "echo done 5; echo warning >&2; echo '{\"a\": {\"b\": [1, \"x\"]}}' > a.json; echo '{' > half.json; \
                  echo 'a: [1' > bad.yaml; printf 'a,b\\n1\\n' > bad.csv; printf 'a,b\\n1,2\\n' > good.csv; \
                  echo 'a: 1' > good.yaml; exit 3";
    let cases = [
        ("exit codes=0,3", true, "exit 3"),
        ("exit codes=3 within=30s", true, ""),
        ("exit codes=3 within=1ms", false, "longer than 1ms"),
        ("stdout matches=\"^done \\\\d$\"", true, ""),
        ("stdout matches=^ready", false, "is not found"),
        ("stdout lacks=done", false, "done 5"),
        ("stderr lacks=Traceback", true, ""),
        ("stderr matches=warn lacks=warning", false, "warning"),
        ("file path=a.json", true, ""),
        ("file path=none.json", false, "No such file"),
        ("file path=none.json is=absent", true, ""),
        ("file path=a.json is=absent", false, "it is there"),
        ("file path=a.json is=json", true, ""),
        ("file path=half.json is=json", false, "no JSON"),
        ("file path=good.yaml is=yaml", true, ""),
        ("file path=bad.yaml is=yaml", false, "no YAML"),
        ("file path=good.csv is=csv", true, ""),
        ("file path=bad.csv is=csv", false, "no CSV"),
        ("json path=a.json pointer=/a/b/0 equals=1", true, ""),
        ("json path=a.json pointer=/a/b/1 equals=x", true, ""),
        ("json path=a.json pointer=/a/b/1 equals=y", false, "\"x\" stands"),
        ("json path=a.json pointer=/a/c", false, "nothing at /a/c"),
        ("glob path=*.csv count=2", true, "2 files"),
        ("glob path=*.csv count=3..", false, "there are 2 files"),
        ("glob path=none/* count=0", true, ""),
        ("command run=\"test -s a.json\"", true, ""),
        ("command run=\"echo it is wrong; exit 4\"", false, "it is wrong"),
        ("command run=\"sleep 60\" within=200ms", false, "it still ran"),
        ("tcp to=127.0.0.1:1", false, "never answered"),
    ];
    let options: Vec<&str> = cases.iter().flat_map(|(check, _, _)| ["--check", check]).collect();
    let done = scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", script]);
    assert_eq!((done.out.as_str(), done.code), ("done 5\n", 3), "{}", done.story());
    let found = found(&done);
    let mut complaints = Complaints::default();
    for ((check, passes, why), (passed, said)) in cases.iter().zip(&found) {
        complaints.check(passed == passes && said.contains(why), || format!("{check}: {passed}: {said}"));
    }
    complaints.none();
    assert_eq!(found.len(), cases.len());
}

#[test]
fn a_check_in_time_waits_for_what_comes_later() {
    let scene = Scene::new();
    let script = "(sleep 0.7; echo '{}' > late.json) & exit 0";
    let check = "file path=late.json is=json within=20s";
    let done = scene.under(&[OPENS]).options(&["--check", check]).go(&["/bin/sh", "-c", script]);
    assert_eq!(found(&done), [(true, "it is JSON".to_owned())], "{}", done.story());
}

#[test]
fn a_table_gives_checks_as_well() {
    let scene = Scene::new();
    scene.write("t.yaml", "faults: [{fault: error, calls: open, path: data.bin, errno: EIO}]\nchecks:\n  - {check: exit, codes: [0, 1]}\n  - stderr matches=Input/output\n");
    let done = scene.under(&[]).options(&["-t", "t.yaml", "--gate", "completion=100%"]).go(&["/bin/cat", "data.bin"]);
    assert!(found(&done).iter().all(|(passed, _)| *passed), "{}", done.story());
    assert!(done.err.contains("1 tolerated"), "{}", done.story());
    done.ended(1);
}

#[test]
fn a_check_tells_silently_wrong_from_unknown() {
    let scene = Scene::new();
    let agent =
        "try:\n  text = open('data.bin', 'rb').read()\nexcept OSError:\n  text = b''\nopen('out', 'wb').write(text)\n";
    let run = |more: &[&str]| scene.under(&[OPENS]).options(more).go(&[&python(), "-c", agent]);
    let plain = run(&[]).ended(0);
    assert!(plain.err.contains("1 unknown"), "{}", plain.story());
    let checked = run(&["--check", "command run=\"test -s out\"", "--gate", "failed=0"]).ended(122);
    assert!(checked.err.contains("check failed: command"), "{}", checked.story());
    assert!(checked.err.contains("1 failed"), "{}", checked.story());
}

#[test]
fn a_health_probe_sees_a_server_that_is_there() {
    let scene = Scene::new();
    let address = serve(b"fine");
    let (url, tcp) = (format!("http url=http://{address}/health status=200"), format!("tcp to={address}"));
    let wrong = format!("http url=http://{address}/health status=204");
    let options = ["--check", &url, "--check", &tcp, "--check", &wrong];
    let done = scene.under(&[OPENS]).options(&options).go(&["/bin/sleep", "0.5"]);
    let found = found(&done);
    assert_eq!(found.iter().map(|(passed, _)| *passed).collect::<Vec<_>>(), [true, true, false], "{found:?}");
}

#[test]
fn a_service_that_a_supervisor_brings_back_is_restarted() {
    let scene = Scene::new();
    let port = common::server::free_port();
    let server = format!(
        "import socket, os, sys\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', {port}))\ns.listen(8)\nn = 0\nwhile True:\n  c, _ = s.accept()\n  c.close()\n  n += 1\n  \
         if n == 5 and not os.path.exists('once'):\n    open('once', 'w').close()\n    open('data.bin').close()\n"
    );
    scene.write("server.py", server);
    let supervisor = format!("{} server.py; sleep 0.4; {} server.py & sleep 3; kill $! ; exit 0", python(), python());
    let health = format!("tcp to=127.0.0.1:{port} within=20s");
    let done = scene
        .under(&["signal calls=open path=data.bin signal=KILL"])
        .options(&["--check", &health, "--gate", "recovery=100%,crashes=0", "--report", "r.json"])
        .go(&["/bin/sh", "-c", &supervisor]);
    assert!(done.err.contains("1 restarted"), "{}", done.story());
    let value: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let ttr = value["verdict"]["mttr_ns"]["p50"].as_u64().unwrap();
    assert!(ttr >= 400_000_000, "it was away for 0.4 s: {ttr} ns");
    done.ended(0);
}

#[test]
fn wrong_checks_stop_before_the_program() {
    let scene = Scene::new();
    for (check, message) in [
        ("exti codes=0", "did you mean `exit`?"),
        ("stdout matches=(", "is no regular expression"),
        ("file path=a is=jsn", "did you mean `json`?"),
        ("json path=a pointer=b", "is no JSON pointer"),
    ] {
        let done = scene.under(&[OPENS]).options(&["--check", check]).go(&["/usr/bin/touch", "started"]).ended(125);
        assert!(done.err.contains(message), "{}", done.story());
        assert!(!scene.path("started").exists());
    }
}

#[test]
fn runs_are_repeated_and_compared_with_controls() {
    let scene = Scene::new();
    let faults = ["error calls=open path=data.bin errno=EIO rate=50%"];
    let options = [
        "--runs",
        "12",
        "--controls",
        "2",
        "--check",
        "control",
        "--gate",
        "runs=12,controls.failed=0,slowdown<50",
        "--report",
        "r.json",
        "--report",
        "r.csv",
    ];
    let script = "cat data.bin > /dev/null 2>&1 && echo whole || echo broken";
    let done = scene.under(&faults).options(&options).go(&["/bin/sh", "-c", script]).ended(0);
    let value: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let runs = value["runs"].as_array().unwrap();
    let seeds: std::collections::HashSet<u64> = runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert_eq!((seeds.len(), value["controls"].as_array().unwrap().len()), (12, 2), "{}", done.story());
    assert!(seeds.contains(&42));
    // What each run did is what its own output said.
    let broken = done.out.lines().filter(|line| *line == "broken").count() as u64;
    assert_eq!(done.out.lines().count(), 14);
    assert!(broken > 0 && broken < 12, "{}", done.out);
    assert_eq!(value["counts"]["delivered"].as_u64(), Some(broken));
    assert_eq!(value["counts"]["completed"].as_u64(), Some(12 - broken));
    assert_eq!(value["counts"]["failed_by_kind"]["wrong"].as_u64(), Some(broken));
    assert_eq!(scene.read("r.csv").iter().filter(|byte| **byte == b'\n').count() as u64, broken + 1);
    // The same seed gives the same, alone and afterwards.
    let session = done.session.as_ref().unwrap();
    let log = scene.chaos().go(&["log", &session.display().to_string()]).ended(125);
    assert!(log.err.contains("holds several runs"), "{}", log.story());
    let again = scene.chaos().go(&["report", &session.display().to_string(), "--gate", "runs=12", "-o", "again.json"]);
    let again_value: Value = serde_json::from_slice(&scene.read("again.json")).unwrap();
    assert_eq!(again_value["counts"], value["counts"], "{}", again.story());
    let third = &runs[2];
    let seed = third["seed"].to_string();
    let alone = scene.under(&faults).options(&["--seed", &seed]).go(&["/bin/sh", "-c", script]);
    assert_eq!(alone.injections().len() as u64, third["delivered"].as_u64().unwrap());
}

#[test]
fn the_exit_code_of_a_series_is_the_targets() {
    let scene = Scene::new();
    let count = "echo x >> count; [ $(wc -l < count) -eq 2 ] && exit 122; exit 0";
    scene.under(&[OPENS]).options(&["--runs", "3"]).go(&["/bin/sh", "-c", count]).ended(122);
    let hang = "echo x >> runs; [ $(wc -l < runs) -eq 1 ] && sleep 60; exit 0";
    let options = ["--runs", "2", "--timeout", "2s", "--gate", "crashes=1"];
    scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", hang]).ended(124);
}

#[test]
fn a_series_that_is_stopped_says_how_far_it_came() {
    let scene = Scene::new();
    let run = scene.under(&[OPENS]).options(&["--runs", "50"]);
    let mut running = run.start(&["/bin/sh", "-c", "sleep 0.3; touch begun"]);
    running.wait_until("a run is over", || scene.path("begun").exists());
    running.signal("TERM");
    let done = running.end().ended(143);
    assert!(done.err.contains("stopped by SIGTERM after") && done.err.contains("of 50 runs"), "{}", done.story());
}

#[test]
fn a_control_that_fails_is_said_before_any_fault_is_blamed() {
    let scene = Scene::new();
    let options = ["--controls", "1", "--gate", "controls.failed=0"];
    let done = scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", "cat data.bin >/dev/null; exit 6"]);
    let at = |text: &str| done.err.find(text).unwrap_or_else(|| panic!("{text}: {}", done.story()));
    assert!(at("1 of 1 controls failed") < at("run 1/1"), "{}", done.story());
    done.ended(122);
}

#[test]
fn a_program_that_cannot_be_started_ends_the_series() {
    let scene = Scene::new();
    scene.run_count("--runs", "0", "is no number of runs");
    scene.run_count("--runs", "many", "is no number of runs");
    scene.run_count("--controls", "-1", "is no number of runs");
    let done = scene.under(&[OPENS]).options(&["--runs", "3"]).go(&["/nothing/here"]).ended(127);
    assert!(done.err.contains("cannot find the command"), "{}", done.story());
    let done = scene.under(&[OPENS]).options(&["--runs", "3", "--log", "x.jsonl"]).go(&["/bin/true"]).ended(125);
    assert!(done.err.contains("--log is the log of one run"), "{}", done.story());
}

#[test]
fn a_check_that_compares_with_a_control_wants_one() {
    let scene = Scene::new();
    for check in ["control", "control path=out.txt"] {
        let done = scene.under(&[OPENS]).options(&["--check", check]).go(&["/bin/sh", "-c", "touch began"]).ended(125);
        assert!(done.err.contains("there is no control to compare with"), "{}", done.story());
        assert!(done.err.contains("give --controls 1") && !scene.path("began").exists(), "{}", done.story());
    }
    // What repeats one of several runs brings its own control along.
    let options = ["--check", "control", "--controls", "1", "--report", "r.json"];
    let done = scene.under(&[OPENS]).options(&options).go(&["/bin/echo", "x"]).ended(0);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let again = report["runs"][0]["repeat"].as_str().unwrap_or_default();
    assert!(again.contains("--check control --controls 1 -- /bin/echo x"), "{again}: {}", done.story());
}

trait RunCount {
    fn run_count(&self, option: &str, value: &str, message: &str);
}

impl RunCount for Scene {
    fn run_count(&self, option: &str, value: &str, message: &str) {
        let value = format!("{option}={value}");
        let done = std::process::Command::new(CHAOS).args(["run", &value, "--", "true"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(125) && said.contains(message), "{value}: {said}");
    }
}

//! `chaos-exec report` over sessions whose records are chosen: classes, figures, gates, damage.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::handmade::{Handmade, json_of, mixed, report, said, text_of};
use common::{CHAOS, python};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn every_class_and_its_figures() {
    let dir = TempDir::new().unwrap();
    let value = json_of(&mixed().write(&dir.path().join("s")));
    let seen: Vec<_> = value["details"][0]["episodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["outcome"].clone(), one["how"].clone(), one["ttr_ns"].clone(), one["injections"].clone()))
        .collect();
    let ms = |ms: u64| json!(ms * 1_000_000);
    let recovered = json!("recovered");
    let expected = [
        (recovered.clone(), json!("retry"), ms(250), json!(2)),
        (recovered.clone(), json!("rerouted"), ms(50), json!(1)),
        (recovered, json!("restarted"), ms(500), json!(1)),
        (json!("unknown"), Value::Null, Value::Null, json!(1)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(value["verdict"]["recovery_rate"], 0.75);
    assert_eq!(value["verdict"]["survival"], json!({"low": 0.75, "high": 1.0}));
    let mttr = json!({"n": 3, "mean": 266_666_666u64, "p50": 250_000_000u64, "p95": 500_000_000u64,
        "p99": 500_000_000u64, "max": 500_000_000u64});
    assert_eq!(value["verdict"]["mttr_ns"], mttr);
    assert_eq!((&value["counts"]["crashes"], &value["counts"]["delivered"]), (&json!(0), &json!(5)));
    let idle = &value["rules"][3];
    assert!(idle["hint"].as_str().unwrap().contains("no call matched"), "{idle}");
    assert_eq!(value["version"], 1);
}

/// As `mixed`, but nothing recovers, and nobody could see whether it did.
fn unwatched() -> Handmade {
    let mut made = Handmade::new("unwatched", &[("refused", "error"), ("bits", "corrupt")]);
    made.process(100, 100, "0", "agent");
    for (at, peer) in [(1000, &b"10.0.0.1:80"[..]), (2000, b"10.0.0.2:80")] {
        let fault = made.fails(0, "connect", libc::ECONNREFUSED, peer, at, 100);
        made.unwatched(fault);
    }
    made.hits(1, 5, "read", 0, b"/data/cfg.json", 4000, 100);
    made
}

#[test]
fn recoveries_that_nobody_watched_are_not_measured() {
    let dir = TempDir::new().unwrap();
    let said_no = unwatched().write(&dir.path().join("s"));
    {
        let session = &said_no;
        let value = json_of(session);
        let all = value["details"][0]["episodes"].as_array().unwrap();
        assert!(all.len() == 3 && all.iter().all(|one| one["outcome"] == "unknown" && one["ttr_ns"].is_null()));
        let verdict = &value["verdict"];
        for figure in ["recovery_rate", "grade", "mttr_ns"] {
            assert_eq!(verdict[figure], Value::Null, "{figure}");
        }
        assert_eq!(verdict["survival"], json!({"low": null, "high": 1.0}));
        assert_eq!(verdict["recoveries_watched"], false);
        for count in ["recovered", "retried", "rerouted"] {
            assert_eq!(value["counts"][count], Value::Null, "{count}");
        }
        assert_eq!((&value["counts"]["unknown"], &value["counts"]["unwatched"]), (&json!(3), &json!(2)));
        for place in [&value["rules"][0], &value["families"]["network"], &value["runs"][0]] {
            assert_eq!(place["recovered"], Value::Null, "{place}");
        }
        assert!(value["next"][0]["advice"].as_str().unwrap().starts_with("nobody could see"));
        let session = session.to_str().unwrap();
        for gate in ["recovery>=1%", "mttr.p95<2s", "production", "mars-rover", "survival>=1%"] {
            let done = report(&[session, "--gate", gate]);
            assert_eq!(done.status.code(), Some(123), "{gate}: {}", said(&done));
            let why = "not measured: some episodes could not be watched";
            assert!(said(&done).lines().any(|line| line.contains("gate inconclusive") && line.contains(why)), "{gate}");
        }
        assert_eq!(report(&[session, "--gate", "crashes=0,failed=0"]).status.code(), Some(0));
    }
    let markdown = text_of(&said_no, ".md");
    for part in [
        "Recovery rate: **not measured**",
        "> some episodes could not be watched: 2 of 3",
        "| Recoveries | not measured |",
        "| Failed | 0 |",
        "| Recovery rate | not measured |",
        "| Survival | at most 100%; at least: not measured |",
        "| MTTR | not measured |",
        "| refused | error | 50 | 2 | 2 | 2 | not measured | 0 |",
    ] {
        assert!(markdown.contains(part), "{part} in\n{markdown}");
    }
    let page = text_of(&said_no, ".html");
    assert!(page.contains("Recovery rate: not measured") && page.contains("could not be watched"), "{page}");
    for (name, text) in [("md", &markdown), ("html", &page)] {
        assert!(!text.contains("0%: needs work") && !text.contains(" 0%"), "{name}: {text}");
    }
}

#[test]
fn checks_and_probes_tell_what_nobody_watched() {
    let dir = TempDir::new().unwrap();
    let mut made = Handmade::new("probed", &[("wal", "signal"), ("refused", "error")]);
    made.process(100, 100, "0", "agent");
    made.hits(0, 10, "write", libc::SIGKILL, b"/data/db.wal", 3000, 101);
    let ns = |ms: u64| json!(ms * 1_000_000);
    let streak =
        |up: bool, from: u64, to: u64| json!({"check": 0, "up": up, "from_ns": ns(from), "to_ns": ns(to), "count": 10});
    made.facts["checks"] = json!([{"check": "tcp to=:1", "passed": true, "why": ""}]);
    made.facts["health"] = json!([streak(true, 0, 2900), streak(false, 3050, 3400), streak(true, 3500, 9000)]);
    let value = json_of(&made.write(&dir.path().join("restarted")));
    assert_eq!(value["details"][0]["episodes"][0]["how"], "restarted");
    assert_eq!((&value["verdict"]["recovery_rate"], &value["verdict"]["mttr_ns"]["p50"]), (&json!(1.0), &ns(500)));
    // With a fault beside it of which nothing is known, one restart is no rate.
    let fault = made.fails(1, "connect", libc::ECONNREFUSED, b"10.0.0.1:80", 4000, 100);
    made.unwatched(fault);
    let session = made.write(&dir.path().join("both"));
    let value = json_of(&session);
    assert_eq!(value["details"][0]["episodes"][1]["outcome"], "tolerated");
    assert_eq!((&value["verdict"]["recovery_rate"], &value["verdict"]["mttr_ns"]), (&Value::Null, &Value::Null));
    assert_eq!((&value["counts"]["restarted"], &value["counts"]["recovered"]), (&json!(1), &Value::Null));
    let markdown = text_of(&session, ".md");
    for part in
        ["| Recoveries | 1, the rest not measured (1 restarted) |", "not measured, but for what a probe saw: 500 ms"]
    {
        assert!(markdown.contains(part), "{part} in\n{markdown}");
    }
}

#[test]
fn traits_stand_beside_the_outcome_and_a_gate_may_ask_for_them() {
    let dir = TempDir::new().unwrap();
    let mut made = Handmade::new("traits", &[("refused", "error"), ("bits", "corrupt")]);
    made.process(100, 100, "0", "agent");
    // A back-off: two faults, a failure of its own, a success.
    let first = made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.1:80", 1000, 100);
    made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.1:80", 1100, 100);
    made.tries(first, "connect", libc::ETIMEDOUT, 1, 1300, 100);
    made.recovers(first, "connect", b"10.0.0.1:80", 1700, 100);
    // A breaker: failures in a row, silence, a probe, and calls as before.
    let second = made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.2:80", 3000, 100);
    for at in [3010, 3020, 3030] {
        made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.2:80", at, 100);
    }
    made.recovers(second, "connect", b"10.0.0.2:80", 3530, 100);
    made.tries(second, "connect", 0, 1, 3540, 100);
    made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.3:80", 5000, 100);
    made.hits(1, 5, "read", 0, b"/data/cfg.json", 6000, 100);
    let session = made.write(&dir.path().join("s"));
    let value = json_of(&session);
    let traits = |at: usize| value["details"][0]["episodes"][at]["traits"].clone();
    assert_eq!((&traits(0)["attempts"], &traits(0)["backoff"]), (&json!(4), &json!("growing")), "{value}");
    assert_eq!((&traits(1)["attempts"], &traits(1)["breaker"]), (&json!(5), &json!(true)));
    assert_eq!((&traits(2)["attempts"], &traits(2)["gave_up"]), (&json!(1), &json!(true)));
    assert_eq!(traits(3), Value::Null, "of what no success can prove");
    let all = json!({"episodes": 3, "attempts": 5, "calls_per_second": 5, "waited_ns": 0, "unpaced": 0, "constant": 0,
        "growing": 1, "gave_up": 1, "hung": 0, "breakers": 1});
    assert_eq!(value["traits"], all);
    let passing = "traits.attempts<=5,traits.rate=5,traits.growing>=1,traits.breakers=1,traits.gave_up<2,traits.hung=0";
    let path = session.to_str().unwrap();
    assert_eq!(report(&[path, "--gate", passing]).status.code(), Some(0));
    let failing = report(&[path, "--gate", "traits.attempts<=3"]);
    assert_eq!(failing.status.code(), Some(122));
    assert!(said(&failing).contains("traits.attempts 5, wanted <=3"), "{}", said(&failing));
    for (gate, message) in [
        ("traits.atempts<=3", "did you mean `traits.attempts`?"),
        ("traits=3", "unknown figure `traits`"),
        ("traits.attempts<=few", "`few` is no count"),
        ("traits.attempts<=-1", "`-1` is no count"),
        ("traits.waited<5", "traits.waited<5"),
        ("traits.backoff=growing", "unknown figure `traits.backoff`"),
    ] {
        let done = report(&[path, "--gate", gate]);
        assert_eq!(done.status.code(), Some(125), "{gate}: {}", said(&done));
        assert!(said(&done).contains(message), "{gate}: {}", said(&done));
    }
    let markdown = text_of(&session, ".md");
    assert!(markdown.contains("5 attempts, circuit breaker, at most 5 a second"), "{markdown}");
    assert!(text_of(&session, ".html").contains("4 attempts, growing pauses"));
    let rows = text_of(&session, ".episodes.csv");
    assert!(
        rows.lines()
            .next()
            .unwrap()
            .ends_with("attempts,backoff,longest_pause_ns,calls_per_second,waited_ns,gave_up,hung,breaker")
    );
    assert!(rows.lines().nth(1).unwrap().ends_with(",4,growing,400000000,4,,false,false,false"), "{rows}");
}

#[test]
fn no_trait_is_no_number() {
    let dir = TempDir::new().unwrap();
    let mut made = Handmade::new("none", &[("bits", "corrupt")]);
    made.process(100, 100, "0", "agent");
    made.hits(0, 5, "read", 0, b"/data/cfg.json", 6000, 100);
    let session = made.write(&dir.path().join("s"));
    assert_eq!(json_of(&session)["traits"], Value::Null);
    let done = report(&[session.to_str().unwrap(), "--gate", "traits.attempts<=3"]);
    assert_eq!(done.status.code(), Some(123), "{}", said(&done));
}

#[test]
fn checks_tell_tolerated_from_wrong() {
    let dir = TempDir::new().unwrap();
    let mut made = mixed();
    made.facts["checks"] = json!([{"check": "file out.json json", "passed": true, "why": ""}]);
    let value = json_of(&made.write(&dir.path().join("tolerated")));
    assert_eq!(value["details"][0]["episodes"][3]["outcome"], "tolerated");
    made.facts["checks"][0]["passed"] = json!(false);
    made.facts["checks"][0]["why"] = json!("it is cut short");
    let value = json_of(&made.write(&dir.path().join("wrong")));
    let last = &value["details"][0]["episodes"][3];
    assert_eq!((&last["outcome"], &last["kind"]), (&json!("failed"), &json!("wrong")));
    assert_eq!(value["details"][0]["episodes"][0]["outcome"], "recovered");
    assert_eq!(value["verdict"]["completion"], 0.0);
    assert!(value["next"][0]["advice"].as_str().unwrap().contains("wrong result"));
}

#[test]
fn a_gate_judges_afterwards() {
    let dir = TempDir::new().unwrap();
    let session = mixed().write(&dir.path().join("s"));
    let session = session.to_str().unwrap();
    let none = Handmade::new("none", &[("refused", "error")]).write(&dir.path().join("none"));
    for (session, gate, code, line) in [
        (session, "recovery>=75%,crashes=0,mttr.p95<=500ms,injections>=5", 0, "gate passed: recovery 75%"),
        (session, "recovery>=80%", 122, "gate failed: recovery 75%, wanted >=80%"),
        (session, "production", 122, "gate failed: recovery 75%, wanted >=80%"),
        (session, "slowdown<2", 123, "gate inconclusive: there is no figure for slowdown"),
        (session, "mars-rover", 122, "gate failed: recovery 75%"),
        (none.to_str().unwrap(), "recovery>=80%,injections>=1", 123, "no fault was delivered"),
        (none.to_str().unwrap(), "injections>=1", 123, "no fault was delivered"),
        (session, "recvery>=1%", 125, "unknown figure `recvery`"),
    ] {
        let done = report(&[session, "--gate", gate]);
        let said = said(&done);
        assert_eq!(done.status.code(), Some(code), "{gate}: {said}");
        assert!(said.contains(line), "{gate}: {said}");
    }
    assert_eq!(report(&[session, "--gate"]).status.code(), Some(122), "without conditions it is `production`");
}

#[test]
fn what_cannot_be_read_or_written_is_one_error() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let good = mixed().write(&path("good"));
    let spoil = |name: &str, spoil: &dyn Fn(&Path)| {
        let session = mixed().write(&path(name));
        spoil(&session);
        session
    };
    let garbage = spoil("garbage", &|dir| fs::write(dir.join("facts.json"), "{\"version\": 1, \"root\":").unwrap());
    let other = spoil("other", &|dir| fs::write(dir.join("facts.json"), "{\"version\": 9}").unwrap());
    let meta = spoil("meta", &|dir| fs::write(dir.join("session.json"), "[]").unwrap());
    let log = spoil("log", &|dir| {
        let mut bytes = fs::read(dir.join("log.bin")).unwrap();
        bytes[64..192].fill(0xee);
        fs::write(dir.join("log.bin"), bytes).unwrap();
    });
    let runs = path("runs");
    fs::create_dir(&runs).unwrap();
    fs::write(runs.join("runs.json"), "[\"../../etc\"]").unwrap();
    let text = |path: &Path| path.display().to_string();
    let (good, out) = (text(&good), text(&path("r.md")));
    for (args, message) in [
        (vec![text(&path("nothing/here"))], "there is no session"),
        (vec![text(&garbage)], "facts.json is damaged"),
        (vec![text(&other)], "is of version 9"),
        (vec![text(&meta)], "is damaged"),
        (vec![text(&log), "-o".into(), out.clone()], "damaged"),
        (vec![text(&runs)], "no run of it"),
        (vec![good.clone(), "-o".into(), "/proc/r.md".into()], "cannot write /proc/r.md"),
        (vec![good.clone(), "-o".into(), text(&path("no/r.md"))], "cannot write"),
        (vec![good.clone(), "-o".into(), text(&path("r.docx"))], "names no form of report"),
        (vec![good.clone(), "-o".into(), text(&path("r"))], "names no form of report"),
    ] {
        let done = report(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let said = said(&done);
        assert_eq!(done.status.code(), Some(125), "{args:?}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("chaos-exec: error:")).collect();
        assert!(errors.len() == 1 && errors[0].contains(message), "{args:?}: {said}");
    }
    // What could be read of the damaged log is there, and says so.
    assert!(fs::read_to_string(path("r.md")).unwrap().contains("places of its log are damaged"));
    let gated = report(&[&text(&log), "--gate", "recovery>=1%"]);
    assert!(said(&gated).contains("gate inconclusive"), "{}", said(&gated));
}

#[test]
fn a_run_whose_end_nobody_saw_is_never_passed() {
    let dir = TempDir::new().unwrap();
    let session = mixed().write(&dir.path().join("s"));
    fs::remove_file(session.join("facts.json")).unwrap();
    let done = report(&[session.to_str().unwrap(), "--gate", "recovery>=1%"]);
    assert_eq!(done.status.code(), Some(123), "{}", said(&done));
    let value = json_of(&session);
    assert_eq!((&value["verdict"]["completion"], &value["verdict"]["conclusive"]), (&Value::Null, &json!(false)));
}

#[test]
fn a_pool_of_a_thousand_runs_is_right_and_small() {
    let dir = TempDir::new().unwrap();
    let mut names = Vec::new();
    for number in 1..=1000u64 {
        let name = format!("run-{number:04}");
        let mut made = Handmade::new(&name, &[("refused", "error")]);
        made.meta["seed"] = json!(number);
        made.process(100, 100, "0", "agent");
        for peer in 0..40u64 {
            let at = made.fails(0, "connect", libc::ECONNREFUSED, format!("10.0.0.{peer}:80").as_bytes(), 1000, 100);
            if peer % 4 != 0 {
                made.recovers(at, "connect", format!("10.0.0.{peer}:80").as_bytes(), 1000 + number, 100);
            }
        }
        made.facts["root"] = json!({"exit": u8::from(number % 10 == 0)});
        made.write(&dir.path().join(&name));
        names.push(name);
    }
    fs::write(dir.path().join("runs.json"), json!(names).to_string()).unwrap();
    let out = dir.path().join("pool.json");
    let script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); \
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let done = Command::new(python())
        .args(["-c", script, CHAOS, "report"])
        .arg(dir.path())
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let kilobytes: u64 = String::from_utf8_lossy(&done.stdout).trim().parse().unwrap();
    assert!(kilobytes < 100_000, "{kilobytes} KB");
    let value: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!((&value["counts"]["runs"], &value["counts"]["episodes"]), (&json!(1000), &json!(40_000)));
    assert_eq!((&value["counts"]["recovered"], &value["verdict"]["completion"]), (&json!(30_000), &json!(0.9)));
    // Open episodes of the hundred runs that exited with 1 failed; those of the others are unknown.
    assert_eq!((&value["counts"]["failed"], &value["counts"]["unknown"]), (&json!(1000), &json!(9000)));
    let mttr = &value["verdict"]["mttr_ns"];
    assert_eq!((&mttr["n"], &mttr["p50"], &mttr["p95"]), (&json!(30_000), &json!(500_000_000), &json!(950_000_000)));
    assert_eq!(value["runs"].as_array().unwrap().len(), 1000);
}

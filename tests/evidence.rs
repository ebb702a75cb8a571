//! What a failure leaves behind: backtraces, descriptors and maps of crashes and hangs, the ends of outputs, databases;
//! and what runs without faults tell beside it.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Done, Scene, guest, program, python};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A rule that never fires: what is looked at is the program's own doing.
const NEVER: &str = "read=EIO@99999";

/// Names and contents of the evidence.
fn evidence(done: &Done) -> Vec<(String, String)> {
    let dir = done.session.as_ref().unwrap().join("evidence");
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{error}: {}", done.story()));
    let read = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), String::from_utf8_lossy(&bytes).into_owned())
    };
    entries.map(|entry| read(entry.unwrap())).collect()
}

/// The one file whose name ends so.
fn file(done: &Done, end: &str) -> String {
    let all = evidence(done);
    let mut found = all.iter().filter(|(name, _)| name.ends_with(end));
    let names: Vec<_> = all.iter().map(|(name, _)| name).collect();
    let (_, text) = found.next().unwrap_or_else(|| panic!("no {end} in {names:?}: {}", done.story()));
    assert!(found.next().is_none(), "several {end} in {names:?}");
    text.clone()
}

/// The same run, whose session is there.
fn with_session(mut done: Done, session: PathBuf) -> Done {
    done.session = Some(session);
    done
}

#[test]
fn the_last_calls_before_a_failure_are_kept_where_they_are_asked_for() {
    let scene = Scene::new();
    let script = |then: &str| format!("import os\ntry: open('data.bin')\nexcept OSError: {then}\n");
    let fault = "error calls=open path=data.bin errno=EMFILE";
    let go =
        |then: &str, options: &[&str]| scene.under(&[fault]).options(options).go(&[&python(), "-c", &script(then)]);
    let at = |text: &str, what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));

    let done = go("os.listdir('/etc/apt'); os.abort()", &["--last-calls"]).ended(134);
    let names: Vec<String> = evidence(&done).into_iter().map(|(name, _)| name).collect();
    let of_crash = names.iter().find(|name| name.starts_with("crash-") && name.ends_with("-last-calls"));
    let calls = file(&done, of_crash.unwrap_or_else(|| panic!("{names:?}")));
    assert!(at(&calls, "-> EMFILE  [error-1, match 1]") < at(&calls, "open(/etc/apt) = "), "{calls}");
    assert!(at(&calls, "open(/etc/apt) = ") < at(&calls, "getdents(3 /etc/apt)"), "{calls}");
    assert!(calls.lines().last().unwrap().contains("tgkill("), "{calls}");
    file(&done, "-backtrace");

    let done = go("os.read(os.pipe()[0], 1)", &["--last-calls", "--timeout", "4s"]).ended(124);
    let calls = file(&done, "last-calls");
    assert!(calls.lines().last().unwrap().ends_with("did not come back") && calls.contains("read("), "{calls}");

    let done = go("os._exit(3)", &["--last-calls"]).ended(3);
    assert!(file(&done, "last-calls").contains("open(/"), "{}", done.story());
    // Nobody asked.
    let done = go("os._exit(3)", &[]).ended(3);
    assert!(evidence(&done).iter().all(|(name, _)| !name.ends_with("last-calls")));
}

#[test]
fn a_crash_has_its_backtrace_descriptors_and_maps() {
    for (way, code, from) in [("", 139, "main"), ("thread", 139, "thread"), ("child", 3, "main")] {
        let scene = Scene::new();
        let done = scene.under(&[NEVER]).options(&["--backtraces"]).go(&[&guest("crasher"), way]);
        let frames = file(&done, "-backtrace");
        let lines: Vec<&str> = frames.lines().collect();
        assert!(lines[0].contains("by SIGSEGV at address 0x0"), "{way}: {frames}");
        for (number, function) in [(1, "innermost"), (2, "outer"), (3, from)] {
            assert!(lines[number].contains(&format!("  {function}+0x")), "{way}: {frames}");
        }
        assert!(file(&done, "-maps").contains("crasher") && file(&done, "-fds").contains("1 -> "));
        // The last byte of its life was seen, so its death was, however short it lived.
        assert!(done.err.contains("by SIGSEGV"), "{way}: {}", done.story());
        file(&done, "-locks");
        done.ended(code);
    }
}

#[test]
fn a_traced_tree_does_what_it_did() {
    let scene = Scene::new();
    let traced = |way: &str| scene.under(&[NEVER]).options(&["--backtraces"]).go(&[&guest("crasher"), way]);
    traced("caught").said("caught");
    traced("busy").said("done");
    // What is left at the end goes on by itself.
    let script = "(sleep 0.5; echo late > late) & exit 0";
    scene.under(&[NEVER]).options(&["--backtraces"]).go(&["/bin/sh", "-c", script]).ended(0);
    let mut waited = 0;
    while !scene.path("late").exists() && waited < 1000 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        waited += 1;
    }
    assert!(scene.path("late").exists());
    let done = scene.under(&["signal calls=open path=data.bin signal=SEGV"]);
    let done = done.options(&["--backtraces"]).go(&["/bin/cat", "data.bin"]);
    assert!(!done.err.contains("crash:"), "a kill that we sent is no crash: {}", done.story());
    done.ended(139);
}

#[test]
fn a_hang_shows_where_it_hangs() {
    let scene = Scene::new();
    let done = scene.under(&[NEVER]).options(&["--timeout", "2s"]).go(&[&guest("crasher"), "hang"]).ended(124);
    let frames = file(&done, "-backtrace");
    assert!(frames.contains("  pause+0x") && frames.contains("  main+0x"), "{frames}");
}

#[test]
fn without_tracing_a_core_file_serves_where_the_user_has_allowed_one() {
    let scene = Scene::new();
    let run = |limit: &str, name: &str| {
        let script = format!("ulimit -c {limit} && exec {CHAOS} run -f {NEVER} --out {name} -- {}", guest("crasher"));
        let done = scene.bare().go(&["/bin/sh", "-c", &script]);
        with_session(done, scene.path(name))
    };
    let none = run("0", "none").ended(139);
    let text = file(&none, "-backtrace");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(text.starts_with("no backtrace: ") && text.contains("--backtraces"), "{text}");
    if pattern.starts_with('|') || pattern.contains('/') {
        eprintln!("not tested: this machine puts core files elsewhere: {pattern}");
        return;
    }
    program("gdb", "gdb");
    let with = run("unlimited", "with");
    if with.err.contains("ulimit") {
        eprintln!("not tested: core files are not allowed here");
        return;
    }
    let text = file(&with, "-backtrace");
    assert!(text.contains("innermost") && text.contains("outer"), "{text}");
}

#[test]
fn outputs_leave_their_ends_without_a_check() {
    let scene = Scene::new();
    // Files: read at the end, and only what this run has added.
    let script = "echo before > out; exec chaos run -q -f read=EIO@99999 --out s1 -- sh -c 'echo after; exit 1' >> out";
    let script = script.replace("chaos", CHAOS);
    let done = with_session(scene.bare().go(&["/bin/sh", "-c", &script]).ended(1), scene.path("s1"));
    assert_eq!(file(&done, "stdout-tail"), "after\n");
    // Pipes: only for who asks for evidence elsewhere, and all comes through.
    let script =
        "chaos run -q -f read=EIO@99999 --out s2 --evidence kept -- sh -c 'echo one; echo two >&2; exit 1' | cat";
    let done = scene.bare().go(&["/bin/sh", "-c", &script.replace("chaos", CHAOS)]);
    assert_eq!(done.out, "one\n", "{}", done.story());
    assert_eq!(String::from_utf8(scene.read("kept/stdout-tail")).unwrap(), "one\n");
    let log = String::from_utf8(scene.read("kept/log.jsonl")).unwrap();
    let types: Vec<Value> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert!(types.first() == Some(&"start".into()) && types.last() == Some(&"end".into()), "{log}");
}

#[test]
fn a_database_is_looked_into_and_not_touched() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    // Killed before its write-ahead log was written back.
    let script = format!(
        "{sqlite} 'a b?.db' 'pragma journal_mode=wal; create table t(x); insert into t values(1),(2);' \
         '.shell kill -9 $PPID'; exit 1"
    );
    let done = scene.under(&[NEVER]).options(&["--report", "r.json"]).go(&["/bin/sh", "-c", &script]).ended(1);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let files = report["details"][0]["files"]["written"].as_array().unwrap().clone();
    let database = files.iter().find(|file| file["path"] == "a b?.db").unwrap_or_else(|| panic!("{}", done.story()));
    let digest = database["digest"].as_str().unwrap_or_default();
    assert!(digest.starts_with("integrity ok") && digest.ends_with("t 2 rows"), "{database}");
    let log = fs::metadata(scene.path("a b?.db-wal")).unwrap();
    assert!(log.len() > 0, "looking has replayed its log");
}

#[test]
fn the_rate_is_a_multiple_of_what_fails_anyway() {
    let scene = Scene::new();
    let script = "
import os
for number in range(200):
    try:
        os.close(os.open('/nowhere' if number % 4 == 0 else 'data.bin', os.O_RDONLY))
    except OSError:
        pass
";
    scene.write("opens.py", script);
    let run = |fault: &str, more: &[&str]| {
        let options = [&["--rate", "2x", "--report", "r.json"], more].concat();
        scene.under(&[fault]).options(&options).go(&[&python(), "opens.py"])
    };
    let done = run("error calls=open errno=ENOENT", &["--controls", "2", "--runs", "2"]).ended(0);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let verdict = &report["verdict"];
    let without = &verdict["failing_without_us"];
    let (calls, failed) = (without["calls"].as_f64().unwrap(), without["failed"].as_f64().unwrap());
    // Fifty of the script's, and those of the interpreter.
    assert!(failed >= 50.0 && calls >= 200.0 && failed < calls, "{}", done.story());
    assert!((without["rate"].as_f64().unwrap() - failed / calls).abs() < 1e-9, "{without}");
    let rate = verdict["rate"].as_f64().unwrap();
    assert!((rate - 2.0 * failed / calls).abs() < 1e-9, "{verdict}");
    assert_eq!((&report["counts"]["runs"], &verdict["run_time_ns"]["n"]), (&2.into(), &2.into()));
    assert_eq!((&report["controls"].as_array().unwrap().len(), &verdict["control_time_ns"]["n"]), (&2, &2.into()));
    // Afterwards the same, by the sessions that it left.
    let again = scene.chaos().go(&["report", &done.session.as_ref().unwrap().display().to_string()]).ended(0);
    assert!(again.out.contains("| Failure rate without us |"), "{}", again.out);
    let none = run("error calls=open errno=EXDEV", &[]).ended(125);
    assert!(none.err.contains("none failed without us"), "{}", none.story());
    for wrong in ["0x", "x", "-1x", "1e9x"] {
        let option = format!("--rate={wrong}");
        let done = scene.under(&[NEVER]).options(&[&option]).go(&["/usr/bin/touch", "started"]).ended(125);
        assert!(done.err.contains("is no multiple of a rate") && !scene.path("started").exists(), "{}", done.story());
    }
}

#[test]
fn waits_are_measured() {
    let scene = Scene::new();
    let fault = "latency calls=read path=data.bin delay=20ms";
    let script = "for n in 1 2 3; do cat data.bin > /dev/null; done";
    scene.under(&[fault]).options(&["--report", "r.json", "--report", "r.md"]).go(&["/bin/sh", "-c", script]).ended(0);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let waited = &report["rules"][0]["waited_ns"];
    assert!(waited["n"].as_u64().unwrap() >= 6 && waited["p50"].as_u64().unwrap() >= 20_000_000, "{waited}");
    let markdown = String::from_utf8(scene.read("r.md")).unwrap();
    assert!(markdown.contains("How long injected waits took their callers:"), "{markdown}");
}

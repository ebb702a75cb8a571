//! The verdict on runs of real programs: crashes anywhere in the tree, gates and their exit codes, reports beside a run.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, guest, program, python};
use serde_json::Value;
use std::fs;

/// The facts of a run.
fn facts(done: &Done) -> Value {
    let session = done.session.as_ref().unwrap();
    serde_json::from_slice(&fs::read(session.join("facts.json")).unwrap()).unwrap()
}

/// Who died, of what.
fn deaths(done: &Done) -> Vec<(String, i64)> {
    let facts = facts(done);
    let all = facts["deaths"].as_array().unwrap();
    all.iter().map(|one| (one["process"].as_str().unwrap_or("?").to_owned(), one["signal"].as_i64().unwrap())).collect()
}

/// Whether the kernel tells how a process ended after its parent has reaped it.
fn kernel_remembers(done: &Done) -> bool {
    facts(done)["sight"] == "full"
}

const OPENS: &str = "error calls=open path=data.bin errno=EIO";

#[test]
fn the_crash_of_a_grandchild_is_found_with_signal_and_process() {
    let scene = Scene::new();
    let script = "sh -c 'sleep 0.3; kill -SEGV $$'; sh -c 'cat data.bin; exit 0'; exit 0";
    let done = scene.under(&[OPENS]).options(&["--gate", "crashes=0"]).go(&["/bin/sh", "-c", script]);
    if !kernel_remembers(&done) {
        eprintln!("not tested: this kernel forgets how a process ended once it was reaped");
        return;
    }
    assert_eq!(deaths(&done), [("sh".to_owned(), 11)], "{}", done.story());
    assert!(done.err.contains("crash: sh (pid ") && done.err.contains("by SIGSEGV"), "{}", done.story());
    assert!(done.err.contains("gate failed: crashes 1, wanted =0"), "{}", done.story());
    done.ended(122);
}

#[test]
fn an_orphan_and_the_root_are_seen_on_any_kernel() {
    let scene = Scene::new();
    let script = "sh -c 'sleep 0.2; kill -ABRT $$' & exit 0";
    let done = scene.under(&[OPENS]).options(&["--wait", "tree"]).go(&["/bin/sh", "-c", script]).ended(0);
    assert_eq!(deaths(&done).iter().map(|(_, signal)| *signal).collect::<Vec<_>>(), [6], "{}", done.story());
    let done = scene.under(&[OPENS]).go(&["/bin/sh", "-c", "kill -SEGV $$"]).ended(139);
    assert_eq!(deaths(&done), [("sh".to_owned(), 11)]);
    assert!(done.err.contains("crash: sh"), "{}", done.story());
}

#[test]
fn a_kill_that_we_sent_is_no_crash() {
    let scene = Scene::new();
    let faults = ["signal calls=open path=data.bin signal=SEGV"];
    let done = scene.under(&faults).options(&["--gate", "crashes=0"]).go(&["/bin/cat", "data.bin"]);
    assert!(!done.err.contains("crash:") && done.err.contains("gate passed"), "{}", done.story());
    done.ended(139);
}

#[test]
fn a_fault_that_its_call_gave_nothing_to_do_was_not_delivered() {
    let scene = Scene::new();
    let script = "
import socket
us, them = socket.socketpair()
us.setblocking(False)
try:
    us.recv(10)
except BlockingIOError:
    print('nothing there')
";
    for fault in ["corrupt", "short", "throttle bandwidth=1KB/s", "latency delay=1ms"] {
        let fault = format!("{fault} calls=recv");
        let report = scene.text("r.json");
        let run = scene.under(&[&fault]).options(&["--gate", "crashes=0", "--report", &report]);
        let done = run.go(&[&python(), "-c", script]);
        assert_eq!(done.out, "nothing there\n", "{}", done.story());
        let is_late = fault.starts_with("latency");
        let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
        let counts = ["fired", "delivered", "episodes"].map(|count| report["counts"][count].as_u64().unwrap());
        assert_eq!(counts, [1, u64::from(is_late), 0], "{fault}: {}", done.story());
        // Nothing that the target saw: the gate has nothing to judge.
        done.ended(if is_late { 0 } else { 123 });
    }
}

#[test]
fn exit_codes_have_their_precedence() {
    let scene = Scene::new();
    let run = |gate: &str, script: &str, more: &[&str]| {
        let options = [&["--gate", gate], more].concat();
        scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", script])
    };
    run("injections>=1,crashes=0", "cat data.bin; exit 7", &[]).ended(7);
    run("failed=0", "cat data.bin; exit 7", &[]).ended(122);
    run("failed=0", "exit 7", &[]).ended(123);
    run("recovery>=90%", "cat data.bin; exit 7", &[]).ended(122);
    run("recovery>=90%", "cat data.bin; sleep 60", &["--timeout", "2s"]).ended(124);
    run("completion=100%", "exit 7", &[]).ended(122);
}

#[test]
fn a_recovery_counts_for_gates_and_what_cannot_be_seen_is_not_claimed_either_way() {
    let scene = Scene::new();
    let again = "for i in 1 2 3; do cat data.bin > /dev/null 2>&1 && exit 0; done; exit 1";
    let run = |more: &[&str]| {
        scene
            .under(&["error calls=open path=data.bin errno=EIO nth=1 per=tree"])
            .options(more)
            .go(&["/bin/sh", "-c", again])
    };
    let plain =
        run(&["--gate", "recovery=100%,mttr<50s,injections=1,traits.attempts=2", "--report", "r.json"]).ended(0);
    assert!(plain.err.contains("1 episode: 1 recovered by retry; recovery 100%"), "{}", plain.story());
    let value: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    assert_eq!((&value["verdict"]["recovery_rate"], &value["counts"]["recovered"]), (&1.0.into(), &1.into()));
    run(&["--gate", "production"]).ended(0);
    // How fprintf ends is not seen, and its arguments are for nobody to repeat.
    let printing = &[guest("calls"), "fprintf".into(), "fprintf".into(), "fprintf".into()];
    let printing: Vec<&str> = printing.iter().map(String::as_str).collect();
    for gate in ["recovery>=1%", "mttr.p95<2s", "production"] {
        let done = scene.under(&["fprintf=EIO@1"]).options(&["--gate", gate]).go(&printing).ended(123);
        let said = done.err.lines().find(|line| line.contains("gate inconclusive")).unwrap_or_default();
        assert!(said.contains("some episodes could not be watched"), "{gate}: {}", done.story());
        assert!(done.lines("event").iter().any(|line| line["event"] == "unwatched"), "{}", done.story());
    }
}

#[test]
fn a_gate_or_a_report_that_is_wrong_stops_before_the_program() {
    let scene = Scene::new();
    for (option, value, message) in [
        ("--gate", "recovry>=90%", "did you mean `recovery`?"),
        ("--gate", "", "a condition is empty"),
        ("--report", "/proc/nothing/r.md", "cannot write"),
        ("--report", "r.pdf", "names no form of report"),
        ("--report", "-", "names no form of report"),
    ] {
        let done = scene.under(&[OPENS]).options(&[option, value]).go(&["/usr/bin/touch", "started"]).ended(125);
        assert!(done.err.contains(message), "{}", done.story());
        assert!(!scene.path("started").exists() && !done.session.as_ref().unwrap().exists(), "{}", done.story());
    }
}

#[test]
fn agents_get_their_class() {
    let scene = Scene::new();
    let agent =
        |body: &str| format!("import os, sys, time\ntry:\n    open('data.bin').close()\nexcept OSError:\n    {body}\n");
    let class = |body: &str, more: &[&str]| {
        let report = scene.text("report.json");
        let options = [&["--report", report.as_str()], more].concat();
        let done = scene.under(&[OPENS]).options(&options).go(&[&python(), "-c", &agent(body)]);
        let value: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let episode = &value["details"][0]["episodes"][0];
        assert_eq!(value["details"][0]["episodes"].as_array().unwrap().len(), 1, "{}", done.story());
        format!("{} {}", episode["outcome"].as_str().unwrap(), episode["kind"].as_str().unwrap_or_default())
    };
    assert_eq!(class("pass", &[]), "unknown ");
    assert_eq!(class("sys.exit('cannot read')", &[]), "failed gracefully");
    assert_eq!(class("os.abort()", &[]), "failed crash");
    assert_eq!(class("time.sleep(60)", &["--timeout", "3s"]), "failed hang");
    assert_eq!(class("os.kill(os.getpid(), 15)", &[]), "failed exit");
}

#[test]
fn agents_in_other_languages_get_the_same_class() {
    let scene = Scene::new();
    let class = |command: &[&str], more: &[&str]| {
        let report = scene.text("report.json");
        let options = [&["--report", report.as_str()], more].concat();
        let done = scene.under(&[OPENS]).options(&options).go(command);
        let value: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let episode = &value["details"][0]["episodes"][0];
        assert!(episode.is_object(), "{}", done.story());
        format!("{} {}", episode["outcome"].as_str().unwrap(), episode["kind"].as_str().unwrap_or_default())
    };
    let agent = guest("agent");
    let c = |way: &str, more: &[&str]| class(&[&agent, way], more);
    assert_eq!(c("swallow", &[]), "unknown ");
    assert_eq!(c("swallow", &["--check", "exit codes=0"]), "tolerated ");
    assert_eq!(c("swallow", &["--check", "stdout matches=whole"]), "failed wrong");
    assert_eq!(c("quit", &[]), "failed gracefully");
    assert_eq!(c("abort", &[]), "failed crash");
    assert_eq!(c("crash", &[]), "failed crash");
    assert_eq!(c("wait", &["--timeout", "2s"]), "failed hang");
    let script = |body: &str| format!("try {{ require('fs').readFileSync('data.bin') }} catch (e) {{ {body} }}");
    let node = |body: &str, more: &[&str]| {
        let file = scene.write("agent.js", script(body));
        class(&[&program("node", "nodejs"), &file], more)
    };
    assert_eq!(node("", &[]), "unknown ");
    assert_eq!(node("process.exit(4)", &[]), "failed gracefully");
    assert_eq!(node("process.exit(4)", &["--check", "exit codes=4"]), "tolerated ");
    assert_eq!(node("process.abort()", &[]), "failed crash");
}

#[test]
fn a_truncated_file_that_is_trusted_is_silently_wrong() {
    let scene = Scene::new();
    let agent = guest("agent");
    let faults = ["corrupt calls=read path=data.bin flip=8bits"];
    let run = |more: &[&str]| scene.under(&faults).options(more).go(&[&agent]).ended(0);
    let unknown = run(&[]);
    assert!(unknown.err.contains("1 unknown"), "{}", unknown.story());
    let wrong = run(&["--check", "stdout matches=whole"]);
    assert!(wrong.err.contains("1 failed") && wrong.err.contains("check failed"), "{}", wrong.story());
}

#[test]
fn what_the_run_left_behind_is_looked_at() {
    let scene = Scene::new();
    let script = "cat data.bin; echo '{\"a\":' > half.json; echo '{}' > whole.json";
    let done = scene
        .under(&[OPENS])
        .options(&["--gate", "files.broken=0", "--report", "r.md"])
        .start(&["/bin/sh", "-c", script])
        .end()
        .ended(122);
    let files = facts(&done)["files"]["written"].clone();
    let seen: Vec<_> =
        files.as_array().unwrap().iter().map(|file| (&file["path"], file["broken"].is_string())).collect();
    assert!(seen.contains(&(&"half.json".into(), true)) && seen.contains(&(&"whole.json".into(), false)), "{seen:?}");
    assert!(!seen.iter().any(|(path, _)| path.as_str().unwrap().starts_with(".tmp")), "{seen:?}");
}

#[test]
fn a_failure_leaves_its_evidence() {
    let scene = Scene::new();
    let script = "echo started; cat data.bin; echo '{' > out.json; exit 5";
    let options = ["--check", "stdout matches=finished", "--evidence-command", "ls; echo mine", "--report", "r.md"];
    let done = scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", script]).ended(5);
    let evidence = done.session.as_ref().unwrap().join("evidence");
    let read = |name: &str| fs::read_to_string(evidence.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(read("summary.txt").contains("failed gracefully: exit 5"), "{}", read("summary.txt"));
    assert!(read("summary.txt").contains("again: chaos-exec run --seed 42 -f"));
    assert!(read("summary.txt").contains("check failed: stdout matches=finished"));
    assert!(read("last-injections.txt").contains("open(") && read("last-injections.txt").contains("EIO"));
    assert!(read("table.json").contains("data.bin"));
    assert_eq!(read("stdout-tail"), "started\n");
    assert!(read("command.txt").ends_with("mine\n"));
    assert!(read("files.json").contains("out.json"));
    let report = String::from_utf8(scene.read("r.md")).unwrap();
    assert!(report.contains("last-injections.txt"), "{report}");
    // A run that goes well leaves none.
    let fine = scene.under(&[OPENS]).go(&["/bin/sh", "-c", "cat data.bin; exit 0"]).ended(0);
    assert!(!fine.session.unwrap().join("evidence").exists());
}

#[test]
fn a_hang_is_looked_at_before_it_is_ended() {
    let scene = Scene::new();
    let elsewhere = scene.text("kept/here");
    let options = ["--timeout", "2s", "--evidence", &elsewhere];
    let done =
        scene.under(&[OPENS]).options(&options).go(&["/bin/sh", "-c", "cat data.bin; exec 7</etc/passwd; sleep 60"]);
    let names: Vec<String> =
        fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let fds = names.iter().filter(|name| name.ends_with("-fds"));
    let fds: String = fds.map(|name| fs::read_to_string(scene.path("kept/here").join(name)).unwrap()).collect();
    assert!(fds.contains("7 -> /etc/passwd"), "{names:?} {fds}");
    assert!(names.iter().any(|name| name.ends_with("-maps")), "{names:?}");
    done.ended(124);
    let done = scene.under(&[OPENS]).options(&["--evidence", "/proc/x"]).go(&["/usr/bin/touch", "started"]).ended(125);
    assert!(done.err.contains("--evidence: cannot write") && !scene.path("started").exists(), "{}", done.story());
}

#[test]
fn a_database_that_the_run_wrote_has_a_digest() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    let script = format!("{sqlite} a.db 'create table t(x); insert into t values(1),(2);'; cat data.bin; exit 1");
    let done = scene.under(&[OPENS]).go(&["/bin/sh", "-c", &script]).ended(1);
    let files = facts(&done)["files"]["written"].clone();
    let database = files.as_array().unwrap().iter().find(|file| file["path"] == "a.db").unwrap().clone();
    let digest = database["digest"].as_str().unwrap_or_default();
    assert!(digest.starts_with("integrity ok") && digest.ends_with("t 2 rows"), "{database}");
}

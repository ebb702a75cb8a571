//! Experiments that go by what the program does: phases that a mark or a count begins, calls that are counted, places
//! that are a part of what a control did.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, python};
use serde_json::Value;
use std::fs;

fn score(scene: &Scene, out: &str) -> Value {
    serde_json::from_slice(&fs::read(scene.path(out).join("experiment.json")).unwrap()).unwrap()
}

/// A target that runs this script of Python, with its file.
fn app(scene: &Scene, script: &str) -> String {
    scene.write("app.py", script);
    format!(
        "targets: [{{name: app, command: [{}, app.py]}}]\nfiles: {{app.py: {{from: app.py}}, data: {{text: x}}}}\n",
        python()
    )
}

/// Reads a file again and again, and says how that went; `step` is done before each time.
fn reader(step: &str) -> String {
    format!(
        "import ctypes, time\nown = ctypes.CDLL(None)\nfor turn in range(60):\n    {step}\n    try:\n        \
         open('data', 'rb').close(); print(turn, 'ok', flush=True)\n    except OSError:\n        print(turn, 'bad', flush=True)\n    time.sleep(0.02)\n"
    )
}

const GONE: &str = "table: {faults: [{name: gone, fault: error, calls: open, path: data, errno: EIO}]}\n";

/// Turns in which it failed.
fn bad(scene: &Scene, out: &str) -> Vec<u32> {
    let said = fs::read_to_string(scene.path(out).join("run-1/place/out/app.stdout")).unwrap();
    let turns = said.lines().filter_map(|line| line.strip_suffix(" bad")?.parse().ok());
    turns.collect()
}

#[test]
fn a_mark_begins_a_phase_and_ends_the_one_before() {
    let scene = Scene::new();
    let script = reader("turn in (10, 30) and own.chaos_mark(b'turn %d' % turn)");
    // The check keeps the outputs.
    let text = app(&scene, &script)
        + GONE
        + "phases: [{name: calm}, {name: storm, from: {mark: turn 10}, faults: all}, {name: after, from: {mark: turn 30}}]\n\
           checks: [stdout matches=never]\n";
    scene.write("e.yaml", text);
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(122);
    let bad = bad(&scene, "out");
    // The launcher looks every few ms, and a turn takes 20.
    let fits = |turn: &u32| (10..40).contains(turn);
    assert!(bad.len() >= 8 && bad.iter().all(fits) && bad.contains(&25), "{bad:?} {}", done.story());
    let log = common::read_log(&scene.path("out/run-1"));
    let marks: Vec<&str> =
        log.iter().filter(|line| line["type"] == "mark").filter_map(|line| line["text"].as_str()).collect();
    assert!(marks.contains(&"phase storm begins") && marks.contains(&"phase after begins"), "{marks:?}");
}

/// When faults were injected, in ms since the start of the run.
fn times(scene: &Scene, out: &str) -> Vec<u64> {
    let log = common::read_log(&scene.path(out).join("run-1"));
    let injections = log.iter().filter(|line| line["type"] == "injection");
    injections.map(|line| line["at_ns"].as_u64().unwrap() / 1_000_000).collect()
}

#[test]
fn faults_come_in_pulses_and_their_rate_grows_in_a_ramp() {
    let scene = Scene::new();
    let text = app(&scene, &reader("pass").replace("range(60)", "range(75)")) + GONE;
    scene.write(
        "pulse.yaml",
        text.clone()
            + "phases: [{name: calm, for: 100ms}, {name: beat, for: 5s, faults: all, pulse: {on: 200ms, off: 300ms}}]\n",
    );
    let done = scene.chaos().go(&["experiment", "run", "pulse.yaml", "--out", "pulse"]).ended(0);
    let at = times(&scene, "pulse");
    // From 100 ms on each half second begins with 200 ms of faults, and 100 ms for a busy machine.
    assert!(at.iter().all(|at| *at >= 100 && (at - 100) % 500 < 300), "{at:?}");
    let pulses: std::collections::BTreeSet<u64> = at.iter().map(|at| (at - 100) / 500).collect();
    assert!(pulses.len() >= 2, "{at:?} {}", done.story());
    scene.write(
        "ramp.yaml",
        text + "phases: [{name: up, for: 1600ms, faults: all, ramp: {from: 0%, to: 100%, steps: 4}}, {name: calm}]\n",
    );
    scene.chaos().go(&["experiment", "run", "ramp.yaml", "--seed", "2", "--out", "ramp"]).ended(0);
    let at = times(&scene, "ramp");
    // Four steps of 400 ms: none, a third, two thirds, all.
    assert!(!at.is_empty() && at.iter().all(|at| (400..=1601).contains(at)), "{at:?}");
    let log = common::read_log(&scene.path("ramp/run-1"));
    let rules: std::collections::BTreeSet<&str> = log.iter().filter_map(|line| line["rule"].as_str()).collect();
    assert!(rules.len() >= 2, "{rules:?}");
}

#[test]
fn a_restart_policy_says_whether_how_often_and_how_soon() {
    let scene = Scene::new();
    let stamp = |name: &str| format!("date +%s%N >> ${{here}}/{name}");
    let text = format!(
        "targets:\n- {{name: once, command: '{}', service: true}}\n- {{name: ever, command: '{}; sleep 0.1', service: true, restart: always, restart_delay: 50ms}}\n\
         - {{name: app, command: '{}; exit 3', restart: on-failure, restarts: 2, restart_delay: 400ms}}\nchecks: [exit codes=3]\n",
        stamp("once"),
        stamp("ever"),
        stamp("app")
    );
    scene.write("e.yaml", text);
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(0);
    let starts = |name: &str| -> Vec<u64> {
        let text = String::from_utf8(scene.read(name)).unwrap();
        text.lines().map(|line| line.parse::<u64>().unwrap() / 1_000_000).collect()
    };
    let (once, ever, app) = (starts("once"), starts("ever"), starts("app"));
    assert!(once.len() == 1 && ever.len() >= 3 && app.len() == 3, "{once:?} {ever:?} {app:?} {}", done.story());
    assert!(app.windows(2).all(|pair| pair[1] - pair[0] >= 400), "{app:?}");
    assert!(ever.windows(2).all(|pair| pair[1] - pair[0] >= 150), "{ever:?}");
    let facts: Value = serde_json::from_slice(&scene.read("out/run-1/facts.json")).unwrap();
    let restarts = facts["restarts"].as_array().unwrap();
    let of = |name: &str| restarts.iter().filter(|restart| restart["target"] == name).count();
    assert!(of("app") == 2 && of("once") == 0 && of("ever") + 1 >= ever.len(), "{facts:#}");
}

#[test]
fn a_number_of_calls_begins_a_phase() {
    let scene = Scene::new();
    let text = app(&scene, &reader("pass"))
        + GONE
        + "phases: [{name: calm}, {name: storm, from: {calls: open, path: data, count: 20}, for: 200ms, faults: all}]\n\
           checks: [stdout matches=never]\n";
    scene.write("e.yaml", text);
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(122);
    let bad = bad(&scene, "out");
    let first = bad.first().copied().unwrap_or(0);
    assert!((20..45).contains(&first) && bad.len() <= 15, "{bad:?} {}", done.story());
}

#[test]
fn calls_are_counted_all_along_and_in_a_phase() {
    let scene = Scene::new();
    let script = "import ctypes, os, subprocess, time\nown = ctypes.CDLL(None)\n\
                  for n in range(3): subprocess.run(['/bin/true'])\nown.chaos_mark(b'replay'); time.sleep(0.2)\n\
                  for n in range(int(os.environ['AGAIN'])): subprocess.run(['/bin/true'])\n";
    for (again, code, why) in [(0, 0, ""), (2, 122, "phase=replay")] {
        let text = app(&scene, script).replace("app.py]}", &format!("app.py], env: {{AGAIN: {again}}}}}"))
            + "phases: [{name: first}, {name: replay, from: {mark: replay}}]\n\
               checks: [{calls: [execve, posix_spawn], count: 3.., process: 'python*'}, {calls: [execve, posix_spawn], phase: replay, equals: 0}]\n";
        scene.write("e.yaml", text);
        let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", &format!("out-{again}")]).ended(code);
        let result = score(&scene, &format!("out-{again}"));
        let odd = result["odd"][0]["why"].as_str().unwrap_or_default();
        assert!(
            odd.contains(why) && (why.is_empty() || odd.contains("there were 2 calls")),
            "{result:#} {}",
            done.story()
        );
    }
    // Without an experiment, too.
    let open = |count: &str| format!("calls calls=open path=data.bin count={count}");
    let file = scene.text("data.bin");
    scene.under(&[]).options(&["--check", &open("1")]).go(&["/bin/cat", &file]).ended(0);
    let done = scene.under(&[]).options(&["--check", &open("2..")]).go(&["/bin/cat", &file]).ended(0);
    assert!(
        done.err.contains("there were 1 call") && !done.err.contains("it matched and never fired"),
        "{}",
        done.story()
    );
}

#[test]
fn a_place_is_a_part_of_what_the_control_did() {
    let scene = Scene::new();
    let script = "import os\nfd = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n\
                  done = os.fstat(fd).st_size\nfor n in range(done, 40): os.write(fd, b'x')\n";
    let text = app(&scene, script).replace("app.py]}", "app.py], restart: on-failure}")
        + "table: {faults: [{name: kill, fault: signal, signal: KILL, calls: write, path: '/**/work/out', nth: '${50% of kill}', per: tree, times: 1}]}\n\
           checks: [exit codes=0, control path=out, {calls: write, path: '/**/work/out', count: 40..41}]\nruns: 3\n";
    scene.write("e.yaml", &text);
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(0);
    let result = score(&scene, "out");
    assert_eq!((result["passed"].as_u64(), result["restarts"].as_u64()), (Some(3), Some(3)), "{}", done.story());
    for run in 1..=3 {
        let log = common::read_log(&scene.path(format!("out/run-{run}")));
        let kill = log.iter().find(|line| line["type"] == "injection").unwrap();
        assert_eq!(kill["nth"], 20, "{kill:#}");
    }
    let control = common::read_log(&scene.path("out/control-1"));
    assert!(control.iter().all(|line| line["type"] != "injection"));
    // The pool has it as a control.
    scene.chaos().go(&["report", "out", "--gate", "runs=3,crashes=0"]).ended(0);
    // A control that fails is the end of it.
    scene.write("e.yaml", text.replace("exit codes=0, ", "file path=none, "));
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "bad"]).ended(125);
    assert!(done.err.contains("without any fault it fails, too") && done.err.contains("path=none"), "{}", done.story());
    assert!(scene.path("bad/control-1/place/work/out").exists() && !scene.path("bad/run-1").exists());
    // What matched nothing has no place.
    scene.write(
        "e.yaml",
        text.replace("calls: write, path: '/**/work/out', nth", "calls: write, path: '/**/nowhere', nth"),
    );
    let done = scene.chaos().go(&["experiment", "run", "e.yaml"]).ended(123);
    assert!(done.err.contains("no call that `kill` matches, so it has no place to hit"), "{}", done.story());
}

#[test]
fn a_service_is_watched_and_each_instance_has_its_words() {
    let scene = Scene::new();
    let server = "import http.server, sys\nport = int(sys.argv[1])\n\
                  http.server.HTTPServer(('127.0.0.1', port), http.server.SimpleHTTPRequestHandler).serve_forever()\n";
    scene.write("server.py", server);
    let text = format!(
        "targets:\n- name: web\n  command: [{python}, server.py, '${{port:web}}']\n  service: true\n  ready: tcp to=127.0.0.1:${{port:web}}\n  \
         health: http url=http://127.0.0.1:${{port:web}}/ within=5s\n\
         - name: client\n  command: 'read word; echo $word ${{instance}} >> all; sleep 0.3'\n  stdin: word\n  instances: 3\n\
         files: {{server.py: {{from: server.py}}, word: {{text: hello}}}}\n\
         checks: [exit codes=0, {{check: command, run: 'test $(sort -u all | wc -l) = 3 && grep -q \"hello 3\" all'}}]\n",
        python = python()
    );
    scene.write("e.yaml", &text);
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(0);
    let facts: Value = serde_json::from_slice(&scene.read("out/run-1/facts.json")).unwrap();
    let health = &facts["checks"][0];
    assert!(
        health["check"].as_str().unwrap().starts_with("http") && health["passed"] == true,
        "{facts:#} {}",
        done.story()
    );
    // A service that does not answer fails the run, whatever the tasks say.
    scene.write("e.yaml", text.replace("web}/ within=5s", "web}/none within=100ms"));
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "odd"]).ended(122);
    assert!(score(&scene, "odd")["odd"][0]["why"].as_str().unwrap().contains("/none"), "{}", done.story());
}

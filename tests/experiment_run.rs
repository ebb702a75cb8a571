//! Experiments that are run: real programs, many runs, and nothing left behind.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, program, python};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The results of an experiment.
fn score(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("experiment.json")).unwrap()).unwrap()
}

/// Processes whose command line has this word.
fn alive(word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let line = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        (line.contains(word) && !line.contains("chaos-exec")).then_some(line)
    });
    lines.collect()
}

/// A word that no other process has in its command line.
fn mark(scene: &Scene) -> String {
    scene.path("").file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn each_run_has_a_place_and_a_seed_of_its_own() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("app/sub")).unwrap();
    scene.write("app/sub/seen", "0\n");
    let script = "test -s sub/seen && test ! -e left && touch left && touch \"$TMPDIR/t\" && pwd >> ${here}/places \
                  && echo ${1..1000000} >> ${here}/drawn; test \"$(ls $TMPDIR)\" = t && cat hello";
    let text = format!(
        "targets: [{{command: '{script}'}}]\nwork: app\nfiles: {{hello: {{text: 'run ${{run}}'}}}}\nchecks: ['stdout matches=^run']\n"
    );
    scene.write("e.yaml", text);
    let run = ["experiment", "run", "e.yaml", "--runs", "6", "--jobs", "2", "--seed", "7", "--out", "out"];
    let done = scene.chaos().go(&run).ended(0);
    let result = score(&scene.path("out"));
    assert_eq!(
        (result["passed"].as_u64(), result["status"].as_str()),
        (Some(6), Some("completed")),
        "{}",
        done.story()
    );
    let lines =
        |name: &str| String::from_utf8(scene.read(name)).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let unique = |name: &str| lines(name).into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!((unique("places").len(), unique("drawn").len()), (6, 6));
    assert!(!scene.path("app/left").exists(), "a copy is worked on");
    assert!(unique("places").iter().all(|place| !Path::new(place).exists()), "places are taken away");
    let drawn = unique("drawn");
    scene.chaos().go(&["experiment", "run", "e.yaml", "--runs", "6", "--seed", "7", "-q"]).ended(0);
    assert_eq!(unique("drawn"), drawn, "the same seed draws the same");
}

#[test]
fn results_below_the_work_directory_are_no_part_of_it() {
    let scene = Scene::new();
    scene.write("e.yaml", "targets: [{command: 'test -e e.yaml && test ! -e out/run-1'}]\nwork: .\nruns: 3\n");
    scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(0);
    // Neither are those of a run alone.
    scene.chaos().go(&["run", "--out", "one", "--", "true"]).ended(0);
    scene.write("f.yaml", "targets: [{command: 'test ! -e out && test ! -e one'}]\nwork: .\nruns: 2\n");
    scene.chaos().go(&["experiment", "run", "f.yaml"]).ended(0);
}

#[test]
fn a_run_without_a_fault_has_not_passed_and_a_failing_one_says_how_to_repeat_it() {
    let scene = Scene::new();
    scene.write("e.yaml", "targets: [{command: [cat, data.bin]}]\nfiles: {data.bin: {from: data.bin}}\ntable: {faults: ['read=EIO@100']}\n");
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "none"]).ended(123);
    assert_eq!(score(&scene.path("none"))["odd"][0]["why"], "no fault was delivered", "{}", done.story());
    scene.write("f.yaml", "targets: [{command: [cat, data.bin]}]\nfiles: {data.bin: {from: data.bin}}\ntable: {faults: [{fault: error, calls: read, path: data.bin, errno: EIO, rate: 50%}]}\nruns: 8\nseed: 3\n");
    let done = scene
        .chaos()
        .go(&["experiment", "run", "f.yaml", "--out", "some", "--report", "r.md", "--json-output"])
        .ended(122);
    let all: Value = serde_json::from_str(&done.out).unwrap();
    let result = &all[0];
    let failed = result["failed"].as_u64().unwrap();
    assert!(failed > 0 && result["success_rate"]["of"].as_u64() == Some(failed), "{}", done.story());
    assert_eq!(result["inconclusive"].as_u64(), Some(8 - failed));
    let odd = result["odd"].as_array().unwrap().iter().find(|odd| odd["verdict"] == "failed").unwrap();
    assert!(scene.path("some").join(odd["session"].as_str().unwrap()).join("evidence/summary.txt").exists());
    assert!(scene.path("some").join(odd["session"].as_str().unwrap()).join("place/work/data.bin").exists());
    let repeat: Vec<&str> = odd["repeat"].as_str().unwrap().split(' ').skip(1).collect();
    scene.chaos().go(&[&repeat[..], &["--out", "again"]].concat()).ended(122);
    let again = score(&scene.path("again"));
    assert_eq!((again["failed"].as_u64(), again["total_faults_fired"].as_u64()), (Some(1), Some(1)));
    assert!(String::from_utf8(scene.read("r.md")).unwrap().contains("run-"));
    // Another process reports on it later.
    let report = scene.chaos().go(&["report", "some", "--gate", "runs=8", "-o", "later.json"]).ended(0);
    assert!(report.err.contains("gate passed"), "{}", report.story());
    // With the last words of the program, which its outputs alone would not tell if they are gone.
    let words = "exit 1: cat: data.bin: Input/output error";
    assert!(odd["why"].as_str().unwrap().ends_with(words), "{odd}");
    let later: Value = serde_json::from_slice(&scene.read("later.json")).unwrap();
    let whys = later["runs"].as_array().unwrap().iter().filter(|run| run["why"] == words).count();
    assert_eq!(whys as u64, failed, "{later}");
}

#[test]
fn services_are_ready_before_tasks_and_ended_after_the_checks() {
    let redis = program("redis-server", "redis-server");
    let scene = Scene::new();
    let mark = mark(&scene);
    scene.write("conf", format!("port ${{port:db}}\nbind 127.0.0.1\nsave \"\"\nappendonly yes\n# {mark}\n"));
    scene.write("e.yaml", format!("
targets:
- name: db
  command: [{redis}, --port, '${{port:db}}', --bind, 127.0.0.1, --save, '', --appendonly, 'yes', --logfile, '{mark}.log']
  service: true
  ready: tcp to=127.0.0.1:${{port:db}}
  restart: on-failure
- name: client
  command: |
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      until redis-cli -p ${{port:db}} set k$i $i | grep -q OK; do sleep 0.05; done
    done
table:
  faults:
  - {{name: kill, fault: signal, signal: KILL, calls: [write, fdatasync], path: '*.aof', process: redis-server, nth: '${{2..10}}', per: tree, times: 1}}
checks:
  before: ['tcp to=127.0.0.1:${{port:db}}']
  after: [exit codes=0, {{check: command, run: 'test $(redis-cli -p ${{port:db}} dbsize) = 20'}}]
runs: 3
seed: 5
"));
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--jobs", "2", "--out", "out"]).ended(0);
    let result = score(&scene.path("out"));
    assert_eq!((result["passed"].as_u64(), result["restarts"].as_u64()), (Some(3), Some(3)), "{}", done.story());
    assert_eq!(result["mttr"]["n"], 3, "{}", done.story());
    assert_eq!(alive(&mark), Vec::<String>::new());
    let log = common::read_log(&scene.path("out/run-1"));
    let kills: Vec<&Value> = log.iter().filter(|line| line["type"] == "injection").collect();
    assert_eq!((kills.len(), kills[0]["process"].as_str()), (1, Some("redis-server")));
}

#[test]
fn what_cannot_be_set_up_is_one_error_and_nothing_stays() {
    let scene = Scene::new();
    let mark = mark(&scene);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let python = python();
    let sleep = format!("[{python}, -c, 'import time; time.sleep(600) # {mark}']");
    let server = format!("{{name: db, command: {sleep}, service: true");
    for (text, message) in [
        (
            format!("targets: [{server}, ready: tcp to=127.0.0.1:1 within=300ms}}, {{name: a, command: ls}}]"),
            "db was not ready",
        ),
        (
            format!(
                "targets: [{{name: db, command: 'echo no room >&2; exit 3', service: true, ready: file path=x}}, {{name: a, command: {sleep}}}]"
            ),
            "ended before it was ready (exit 3): no room",
        ),
        (
            format!("targets: [{{name: a, command: {sleep}}}]\nchecks: {{before: [file path=none]}}"),
            "the steady state does not hold: file path=none",
        ),
        (
            format!("targets: [{{name: a, command: {sleep}}}, {{name: b, command: [no-such-program]}}]"),
            "cannot find the command 'no-such-program'",
        ),
        ("targets: [{name: a, command: [no-such-program]}]".into(), "cannot find the command 'no-such-program'"),
        (format!("targets: [{{name: a, cwd: none, command: {sleep}}}]"), "is no directory"),
        (format!("targets: [{{name: a, stdin: none, command: {sleep}}}]"), "cannot read"),
        (format!("targets: [{{name: a, command: 'ls ${{port:web}}'}}]\nports: {{web: {port}}}"), "(web) is in use"),
        ("targets: [{name: a, command: ls}]\nwork: nowhere".into(), "cannot copy"),
        ("targets: [{name: a, command: ls}]\nfiles: {a: {from: nowhere}}".into(), "cannot copy"),
    ] {
        scene.write("e.yaml", &text);
        let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--runs", "3"]).ended(125);
        assert!(done.err.contains(message) && done.err.matches("error:").count() == 1, "{text}\n{}", done.story());
        assert_eq!(alive(&mark), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_interrupted_experiment_ends_its_targets_and_says_what_it_did() {
    let scene = Scene::new();
    let mark = mark(&scene);
    let python = python();
    let sleep = |long: u32, first: &str| format!("[{python}, -c, 'import time; {first} time.sleep({long}) # {mark}']");
    let targets = [
        format!("- {{name: db, command: {}, service: true}}", sleep(600, "")),
        format!("- {{name: app, command: {}}}", sleep(601, "${run} < 3 and exit(0);")),
    ];
    scene.write("e.yaml", format!("targets:\n{}\nruns: 9\n", targets.join("\n")));
    let waits = || alive(&mark).iter().any(|line| line.contains("3 < 3"));
    for (how, code) in [("INT", 130), ("TERM", 143), ("abort", 143), ("inner", 0)] {
        let out = format!("out-{how}");
        let mut going = scene.chaos().start(&["experiment", "run", "e.yaml", "--out", &out, "--report", "partial.md"]);
        going.wait_until("the third run goes on", waits);
        if how == "abort" {
            scene.chaos().go(&["experiment", "abort", &out]).ended(0);
        } else if how == "inner" {
            // The launcher of a run is killed: its targets come to the runner. The run is one of nine that has no end.
            let runner = going.child.id().to_string();
            let inner = fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
            let inner = inner.filter(|pid| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
                // A run is a copy of the runner; other children are what runs have left to end by itself.
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                parent == Some(runner.as_str()) && String::from_utf8_lossy(&line).contains("experiment\0run")
            });
            // All of them before one is killed: its targets then come to the runner, too.
            for pid in inner.collect::<Vec<i32>>() {
                assert!(
                    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success()
                );
            }
            going.wait_until("its targets are gone", || !waits());
            going.signal("TERM");
        } else {
            going.signal(how);
        }
        let done = going.end();
        assert!(done.code == code || how == "inner", "{how}: {}", done.story());
        assert_eq!(alive(&mark), Vec::<String>::new(), "{how}");
        let result = score(&scene.path(&out));
        assert_eq!(
            (result["status"].as_str(), result["wanted"].as_u64()),
            (Some("aborted"), Some(9)),
            "{how}: {}",
            done.story()
        );
        assert_eq!(result["passed"].as_u64(), Some(2), "{how}: {}", done.story());
        assert!(done.err.contains("aborted by"), "{how}: {}", done.story());
        // The report that it was asked for says so, and one that somebody asks for later.
        let later = scene.chaos().go(&["report", &out]).ended(0).out;
        for text in [String::from_utf8(scene.read("partial.md")).unwrap(), later] {
            // One whose launcher was killed counts as made, of which nothing can be said.
            let made = if how == "inner" { 3 } else { 2 };
            assert!(text.contains(&format!("was aborted: {made} of 9 runs were made")), "{how}: {text}");
        }
        scene.chaos().go(&["experiment", "abort", &out]).ended(125);
    }
}

#[test]
fn who_asks_to_end_while_servers_start_or_asks_twice_need_not_wait() {
    let scene = Scene::new();
    let (mark, python) = (mark(&scene), python());
    let deaf = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; open(\"up\", \"w\"); time.sleep(600)";
    let never = "file path=never within=60s";
    let ready = "file path=up within=60s";
    for (case, code, ready) in [("starting", "import time; time.sleep(600)", never), ("deaf", deaf, ready)] {
        let service =
            format!("- {{name: db, command: [{python}, -c, '{code} # {mark}'], service: true, ready: {ready}}}\n");
        let task = format!("- {{name: app, command: [{python}, -c, '{code} # {mark}']}}\n");
        scene.write("e.yaml", format!("targets:\n{service}{task}runs: 3\n"));
        let mut going = scene.chaos().start(&["experiment", "run", "e.yaml", "--out", case]);
        let expected = if case == "deaf" { 2 } else { 1 };
        going.wait_until("it has begun", || alive(&mark).len() == expected);
        going.signal("INT");
        if case == "deaf" {
            going.signal("INT");
        }
        let done = going.end().ended(130);
        assert_eq!(alive(&mark), Vec::<String>::new(), "{case}");
        let result = score(&scene.path(case));
        assert_eq!(
            (&result["status"], &result["passed"], &result["failed"]),
            (&"aborted".into(), &0.into(), &0.into()),
            "{case}: {}",
            done.story()
        );
        assert!(done.err.contains("aborted by SIGINT after 0 of 3 runs"), "{case}: {}", done.story());
        assert_eq!(done.err.matches("error:").count(), 0, "{case}: {}", done.story());
    }
}

#[test]
fn a_runner_that_is_killed_leaves_no_process_and_its_places_go_with_the_next_one() {
    let scene = Scene::new();
    let (mark, python) = (mark(&scene), python());
    let places = scene.path("places");
    fs::create_dir(&places).unwrap();
    let sleep = format!("[{python}, -c, 'import time; time.sleep(600) # {mark}']");
    let text = format!("targets: [{{name: db, command: {sleep}, service: true}}, {{name: app, command: {sleep}}}]\n");
    scene.write("long.yaml", text);
    scene.write("short.yaml", "targets: [{command: 'true'}]\n");
    let listed = || fs::read_dir(&places).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let two = || alive(&mark).len() == 2;
    let mut killed = scene.chaos().env("TMPDIR", &places).start(&["experiment", "run", "long.yaml"]);
    killed.wait_until("both run", two);
    killed.signal("KILL");
    // A service, a task and the launcher of the run.
    killed.wait_until("they are ended", || alive(&mark).is_empty());
    let left = listed();
    assert_eq!(left.len(), 1, "{left:?}");
    // The launcher itself ends a moment after what it started.
    let lock = fs::File::open(left[0].join("lock")).unwrap();
    killed.wait_until("nobody holds its places", || lock.try_lock().is_ok());
    drop(lock);
    killed.end();
    // The places of one that lives stay, and so does what is not a runner's.
    fs::create_dir(places.join("chaos-places-other")).unwrap();
    let mut living = scene.chaos().env("TMPDIR", &places).start(&["experiment", "run", "long.yaml"]);
    living.wait_until("both run", two);
    let own = listed();
    assert!(own.len() == 2 && !own.contains(&left[0]), "{own:?}");
    scene.chaos().env("TMPDIR", &places).go(&["experiment", "run", "short.yaml"]).ended(0);
    let (mut now, mut own) = (listed(), own);
    now.sort();
    own.sort();
    assert_eq!(now, own);
    assert!(two());
    living.signal("TERM");
    living.end().ended(143);
    assert_eq!(listed(), [places.join("chaos-places-other")]);
}

#[test]
fn a_task_that_is_killed_starts_again_until_it_is_done() {
    let scene = Scene::new();
    let script = "import json, os\nn = json.load(open('state')) if os.path.exists('state') else 0\n\
                  while n < 50:\n    n += 1\n    with open('new', 'w') as f:\n        json.dump(n, f); f.flush(); os.fsync(f.fileno())\n    os.rename('new', 'state')\n";
    scene.write("careful.py", script);
    scene.write(
        "careless.py",
        script.replace("open('new', 'w')", "open('state', 'w')").replace("    os.rename('new', 'state')\n", ""),
    );
    let text = |which: &str| {
        format!(
            "targets: [{{name: app, command: [{}, {which}.py], restart: on-failure}}]\nfiles: {{{which}.py: {{from: {which}.py}}}}\n\
             table: {{faults: [{{fault: signal, signal: KILL, calls: write, path: '/**/work/*', nth: '${{1..40}}', per: tree, times: 1}}]}}\n\
             checks: [exit codes=0, file path=state is=json]\nruns: 4\nseed: 11\n",
            python()
        )
    };
    scene.write("careful.yaml", text("careful"));
    let done = scene.chaos().go(&["experiment", "run", "careful.yaml", "--out", "careful"]).ended(0);
    let result = score(&scene.path("careful"));
    assert_eq!(
        (result["passed"].as_u64(), result["restarts"].as_u64(), result["crashes"].as_u64()),
        (Some(4), Some(4), Some(0)),
        "{}",
        done.story()
    );
    scene.write("careless.yaml", text("careless"));
    scene.chaos().go(&["experiment", "run", "careless.yaml", "--out", "careless"]).ended(122);
    let result = score(&scene.path("careless"));
    assert_eq!(result["failed"].as_u64(), Some(4), "{result:#}");
    assert!(result["odd"][0]["why"].as_str().unwrap().contains("exit 1"), "{result:#}");
}

#[test]
fn the_launcher_strikes_after_the_first_task_has_been_started_again_or_has_ended() {
    let scene = Scene::new();
    scene.write("app.py", "import time\nfor n in range(30):\n    open('out', 'a').write('x')\n    time.sleep(0.05)\n");
    let task = |name: &str| {
        format!("{{name: {name}, command: [{}, app.py], restart: on-failure, restart_delay: 1ms}}", python())
    };
    let again = "{fault: signal, signal: KILL, calls: write, nth: 3, per: tree, times: 1}, {fault: signal, signal: KILL, from: 700ms}";
    let other = "{fault: signal, signal: KILL, from: 700ms, process: 'python*'}";
    for (targets, faults, delivered) in
        [(task("app"), again, 2), (format!("{{name: first, command: 'true'}}, {}", task("second")), other, 1)]
    {
        let text = format!(
            "targets: [{targets}]\nfiles: {{app.py: {{from: app.py}}}}\ntable: {{faults: [{faults}]}}\nchecks: [exit codes=0]\n"
        );
        scene.write("e.yaml", text);
        let out = format!("out-{delivered}");
        let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", &out]).ended(0);
        assert_eq!(score(&scene.path(&out))["total_faults_fired"], delivered, "{}", done.story());
    }
}

#[test]
fn phases_keep_faults_in_their_time() {
    let scene = Scene::new();
    let script = "import time\nstart = time.monotonic()\nwhile time.monotonic() - start < 1.6:\n    try:\n        open('data', 'rb').close(); print('ok %.3f' % (time.monotonic() - start))\n    except OSError:\n        print('bad %.3f' % (time.monotonic() - start))\n    time.sleep(0.02)\n";
    scene.write("app.py", script);
    scene.write("e.yaml", format!("targets: [{{name: app, command: [{}, app.py]}}]\nfiles: {{app.py: {{from: app.py}}, data: {{text: x}}}}\n\
        table: {{faults: [{{name: gone, fault: error, calls: open, path: data, errno: EIO}}]}}\n\
        phases: [{{name: warm-up, for: 600ms}}, {{name: inject, for: 400ms, faults: all}}, {{name: recover, for: 10s}}]\nchecks: [stdout lacks=nothing]\n", python()));
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--out", "out"]).ended(0);
    let log = common::read_log(&scene.path("out/run-1"));
    let at: Vec<u64> = log
        .iter()
        .filter(|line| line["type"] == "injection")
        .map(|line| line["at_ns"].as_u64().unwrap() / 1_000_000)
        .collect();
    assert!(!at.is_empty() && at.iter().all(|ms| (600..1200).contains(ms)), "{at:?} {}", done.story());
}

#[test]
fn targets_of_many_runs_find_their_signals_as_they_were() {
    let scene = Scene::new();
    let bare = scene.bare().go(&["grep", "SigBlk", "/proc/self/status"]).ended(0).out;
    let many = scene.under(&[]).options(&["--runs", "2"]).go(&["grep", "SigBlk", "/proc/self/status"]).ended(0);
    assert_eq!(many.out, bare.repeat(2));
    let wanted = bare.trim().replace('\t', ".");
    let text = "targets: [{command: [grep, SigBlk, /proc/self/status]}]\nchecks: ['stdout matches=^WANTED$']\n";
    scene.write("e.yaml", text.replace("WANTED", &wanted));
    scene.chaos().go(&["experiment", "run", "e.yaml"]).ended(0);
}

#[test]
fn one_thread_takes_in_the_programs_below_a_filter() {
    let scene = Scene::new();
    let (mark, busybox) = (mark(&scene), program("busybox", "busybox-static"));
    let words = format!("[{busybox}, sh, -c, 'sleep 600; : {mark}']");
    let targets = format!("[{{name: db, command: {words}, service: true}}, {{name: app, command: {words}}}]");
    let table = "{faults: [{fault: error, calls: unlink, errno: EIO, rate: 0%}]}";
    scene.write("e.yaml", format!("targets: {targets}\ntable: {table}\n"));
    let mut going = scene.chaos().start(&["experiment", "run", "e.yaml"]);
    going.wait_until("both run", || alive(&mark).len() == 2);
    let stat = fs::read_dir("/proc").unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let line = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).into_owned();
        let is_target = line.contains(&mark) && line.starts_with(&busybox);
        is_target.then(|| fs::read_to_string(path.join("stat")).ok())?
    });
    let stat = stat.expect("a target");
    let launcher = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    let threads = fs::read_dir(format!("/proc/{launcher}/task")).unwrap();
    let names = threads.map(|entry| fs::read_to_string(entry.unwrap().path().join("comm")).unwrap());
    assert_eq!(names.filter(|name| name == "door\n").count(), 1);
    going.signal("TERM");
    going.end().ended(143);
}

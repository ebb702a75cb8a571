//! Many runs of experiments: whether they are stable, in shards, compared, exported; figures that the target knows.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, python};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn score(scene: &Scene, out: &str) -> Value {
    serde_json::from_slice(&fs::read(scene.path(out).join("experiment.json")).unwrap()).unwrap()
}

/// An experiment in which a fault hits at this rate, and makes a run fail that `careful` does not get over.
fn unlucky(scene: &Scene, file: &str, rate: &str, careful: bool) {
    let tries = if careful { "$(seq 30)" } else { "1" };
    scene.write(
        file,
        format!(
            "id: unlucky\nname: Reads fail\ndescription: A disk gives errors. It must be got over.\n\
             targets: [{{command: 'for n in {tries}; do head -c 9 data > copy 2>/dev/null && break; done; test -s copy && grep -q x data'}}]\n\
             files: {{data: {{text: xyz}}}}\nchecks: [exit codes=0]\n\
             table: {{faults: [{{name: bad, fault: error, calls: read, path: data, process: head, errno: EIO, rate: {rate}, component: disk}}, \
             {{name: late, fault: latency, calls: read, path: data, process: grep, delay: 1ms}}]}}\n"
        ),
    );
}

#[test]
fn what_is_flaky_is_named_with_its_seeds_which_fail_again() {
    let scene = Scene::new();
    unlucky(&scene, "flaky.yaml", "20%", false);
    let run = |file: &str, out: &str, more: &[&str], code: i32| {
        let words =
            [&["experiment", "run", file, "--stability", "--seed", "5", "--jobs", "2", "--out", out], more].concat();
        let done = scene.chaos().go(&words).ended(code);
        (score(&scene, out), done)
    };
    let (result, done) = run("flaky.yaml", "flaky", &[], 122);
    let stability = &result["stability"];
    assert_eq!(
        (result["wanted"].as_u64(), &stability["stable"], &stability["flaky"]),
        (Some(50), &Value::Bool(false), &Value::Bool(true))
    );
    let seeds: Vec<u64> =
        stability["failed_seeds"].as_array().unwrap().iter().map(|seed| seed.as_u64().unwrap()).collect();
    assert_eq!(Some(seeds.len() as u64), result["failed"].as_u64());
    assert!(
        done.err.contains("NOT STABLE: it is flaky") && done.err.contains(&seeds[0].to_string()),
        "{}",
        done.story()
    );
    assert!(done.err.contains("about") && done.err.contains(" of 50 done"), "progress: {}", done.story());
    // The command that each left behind repeats it.
    for odd in result["odd"].as_array().unwrap().iter().take(2) {
        let words: Vec<&str> = odd["repeat"].as_str().unwrap().split(' ').skip(1).collect();
        scene.chaos().go(&words).ended(122);
    }
    unlucky(&scene, "careful.yaml", "20%", true);
    let (result, done) = run("careful.yaml", "careful", &[], 0);
    assert_eq!(
        (&result["stability"]["stable"], &result["stability"]["flaky"]),
        (&Value::Bool(true), &Value::Bool(false)),
        "{}",
        done.story()
    );
    assert!(done.err.contains("stable (50 of 50 passed, 98 % wanted)"), "{}", done.story());
    // Too few hits say nothing, and fewer runs can be asked for.
    scene.write(
        "none.yaml",
        "targets: [{command: [cat, data]}]\nfiles: {data: {text: x}}\ntable: {faults: ['read=EIO@100']}\n",
    );
    let (result, _) = run("none.yaml", "none", &["--runs", "3"], 123);
    assert_eq!((result["stability"]["stable"].as_bool(), result["inconclusive"].as_u64()), (None, Some(3)));
}

/// A report without times, and without places.
fn timeless(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in [
                "cwd",
                "started",
                "results",
                "mttr",
                "modified",
                "dir",
                "report",
                "per_second",
                "run_time_ns",
                "control_time_ns",
                "slowdown",
                "waited_ns",
                // What was put there in the tick before a run began is told as written by it.
                "written",
            ] {
                map.remove(key);
            }
            map.retain(|key, _| {
                !key.ends_with("_ns")
                    && key != "pid"
                    && key != "pids"
                    && key != "calls_per_second"
                    && key != "longest_pause_ns"
            });
            map.values_mut().for_each(timeless);
        }
        Value::Array(list) => list.iter_mut().for_each(timeless),
        // The places of runs have names of their own.
        Value::String(text) => {
            if let Some((_, rest)) = text.strip_prefix("/tmp/chaos-").and_then(|rest| rest.split_once('/')) {
                *text = rest.to_owned();
            }
        }
        _ => {}
    }
}

#[test]
fn shards_become_what_one_machine_would_have_made() {
    let scene = Scene::new();
    unlucky(&scene, "e.yaml", "40%", false);
    let base = ["experiment", "run", "e.yaml", "--runs", "7", "--seed", "11", "-q"];
    scene.chaos().go(&[&base[..], &["--out", "one", "--report", "one.json"]].concat()).ended(122);
    // By the flag, by Slurm, by GitLab.
    for (number, words, variables) in [
        (1, &["--shard", "1/3"][..], &[][..]),
        (2, &[], &[("SLURM_ARRAY_TASK_ID", "6"), ("SLURM_ARRAY_TASK_MIN", "5"), ("SLURM_ARRAY_TASK_COUNT", "3")]),
        (3, &[], &[("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "3")]),
    ] {
        let mut chaos = scene.chaos();
        for (name, value) in variables {
            chaos = chaos.env(name, value);
        }
        let out = format!("shard-{number}");
        chaos.go(&[&base[..], words, &["--out", &out]].concat());
        assert_eq!(score(&scene, &out)["about"]["shard"], serde_json::json!({"index": number, "of": 3}));
    }
    let done = scene
        .chaos()
        .go(&["merge", "shard-3", "shard-1", "shard-2", "--out", "all", "--report", "all.json"])
        .ended(122);
    let (mut one, mut all) = (score(&scene, "one"), score(&scene, "all"));
    timeless(&mut one);
    timeless(&mut all);
    assert_eq!(one, all, "{}", done.story());
    let report = |name: &str| {
        let mut value: Value = serde_json::from_slice(&scene.read(name)).unwrap();
        timeless(&mut value);
        value
    };
    assert_eq!(report("one.json"), report("all.json"));
    scene.chaos().go(&["report", "all", "--gate", "runs=7"]).ended(0);

    // What does not fit together is one error, and nothing is written.
    let wrong = |dirs: &[&str], message: &str| {
        let done = scene.chaos().go(&[&["merge"], dirs, &["--out", "never"]].concat()).ended(125);
        assert!(done.err.contains(message) && done.err.matches("error:").count() == 1, "{message}: {}", done.story());
        assert!(!scene.path("never").exists());
    };
    wrong(&["shard-1", "shard-2"], "these are missing: 3");
    wrong(&["shard-1", "shard-2", "shard-2"], "it is shard 2 of unlucky, and so is shard-2");
    wrong(&["one"], "it is no shard");
    wrong(&["shard-1", "one"], "it is no shard");
    wrong(&["nowhere"], "there is no directory nowhere");
    fs::create_dir(scene.path("empty")).unwrap();
    wrong(&["empty"], "holds no results");
    let change = |from: &str, to: &str, change: &dyn Fn(&mut Value)| {
        let copied =
            std::process::Command::new("cp").arg("-a").arg(scene.path(from)).arg(scene.path(to)).status().unwrap();
        assert!(copied.success());
        let mut value = score(&scene, to);
        change(&mut value);
        scene.write(format!("{to}/experiment.json"), value.to_string());
    };
    change("shard-3", "older", &|value| value["about"]["version"] = "0.0.1".into());
    wrong(&["shard-1", "shard-2", "older"], "its version of chaos-exec is 0.0.1");
    change("shard-3", "seed", &|value| value["seed"] = 12.into());
    wrong(&["shard-1", "shard-2", "seed"], "its seed is 12");
    change("shard-3", "text", &|value| value["about"]["digest"] = "0".into());
    wrong(&["shard-1", "shard-2", "text"], "its experiment's text or command");
    change("shard-3", "count", &|value| value["about"]["shard"]["of"] = 4.into());
    wrong(&["shard-1", "shard-2", "count"], "its number of shards is 4");
    change("shard-3", "cut", &|value| value["status"] = "aborted".into());
    wrong(&["shard-1", "shard-2", "cut"], "was cut short");
    change("shard-3", "torn", &|_| ());
    scene.write("torn/experiment.json", "{\"id\": ");
    wrong(&["shard-1", "shard-2", "torn"], "experiment.json is damaged");
    change("shard-3", "less", &|_| ());
    fs::remove_dir_all(scene.path("less/run-3")).unwrap();
    wrong(&["shard-1", "shard-2", "less"], "is gone");
    // Before anything is run, too.
    for (words, message) in [
        (&["--shard", "4/3"][..], "is no part of the runs"),
        (&["--shard", "1/9"], "7 runs of unlucky cannot be shared by 9"),
        (&["--export", "/proc/none"], "--export"),
    ] {
        let done = scene.chaos().go(&[&base[..], words].concat()).ended(125);
        assert!(done.err.contains(message), "{}", done.story());
    }
    let done = scene.chaos().go(&["experiment", "run", "e.yaml", "--runs", "7", "--shard", "1/2"]).ended(125);
    assert!(done.err.contains("all shards need the same seed"), "{}", done.story());
}

#[test]
fn what_got_worse_is_told_from_chance() {
    let scene = Scene::new();
    unlucky(&scene, "e.yaml", "80%", true);
    scene.chaos().go(&[
        "experiment",
        "run",
        "e.yaml",
        "--runs",
        "15",
        "--seed",
        "1",
        "-q",
        "--jobs",
        "2",
        "--out",
        "old",
    ]);
    unlucky(&scene, "e.yaml", "80%", false);
    scene.chaos().go(&[
        "experiment",
        "run",
        "e.yaml",
        "--runs",
        "15",
        "--seed",
        "1",
        "-q",
        "--jobs",
        "2",
        "--out",
        "new",
    ]);
    let done = scene.chaos().go(&["compare", "old", "new"]).ended(122);
    let line = done.out.lines().find(|line| line.contains("passed runs")).unwrap();
    assert!(
        line.contains("WORSE")
            && line.contains("Fisher")
            && done.out.contains("the experiment or its command has changed"),
        "{}",
        done.story()
    );
    let back = scene.chaos().go(&["compare", "new", "old", "--json-output"]).ended(0);
    let back: Value = serde_json::from_str(&back.out).unwrap();
    let passed = back["compared"].as_array().unwrap().iter().find(|line| line["figure"] == "passed runs").unwrap();
    assert!(passed["change"] == "better" && passed["corrected_p"].as_f64() < Some(0.05), "{back:#}");
    let same = scene.chaos().go(&["compare", "old", "old"]).ended(0);
    assert!(same.out.contains("passed runs") && same.out.contains("the same"), "{}", same.story());
    let done = scene.chaos().go(&["compare", "old", "nowhere"]).ended(125);
    assert!(done.err.contains("there is no directory nowhere"), "{}", done.story());
    scene.write("other.yaml", "targets: [{command: ls}]\n");
    scene.chaos().go(&["experiment", "run", "other.yaml", "-q", "--out", "other"]).ended(0);
    let done = scene.chaos().go(&["compare", "old", "other"]).ended(125);
    assert!(done.err.contains("no experiment in common"), "{}", done.story());
}

#[test]
fn everything_is_exported_under_its_name() {
    let scene = Scene::new();
    unlucky(&scene, "e.yaml", "60%", true);
    scene.write("calm.yaml", "name: Nothing | at all\ntargets: [{command: ls}]\n");
    scene.write("bad.yaml", "description: Must not fail <here>.\ntargets: [{command: 'exit 3'}]\n");
    let words = [
        "experiment",
        "run",
        "e.yaml",
        "calm.yaml",
        "bad.yaml",
        "--runs",
        "4",
        "--seed",
        "2",
        "-q",
        "--out",
        "out",
        "--export",
        "files",
    ];
    scene.chaos().go(&words).ended(122);
    let names: Vec<String> = fs::read_dir(scene.path("files"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let read = |start: &str, end: &str| {
        let own: Vec<&String> = names.iter().filter(|name| name.starts_with(start) && name.ends_with(end)).collect();
        assert_eq!(own.len(), 1, "{start}*{end}: {names:?}");
        String::from_utf8(scene.read(&format!("files/{}", own[0]))).unwrap()
    };
    assert_eq!(names.len(), 7, "{names:?}");
    let full: Value = serde_json::from_str(&read("chaos_full_metrics_", ".json")).unwrap();
    assert_eq!(full["experiments"][0]["report"]["counts"]["runs"], 4);
    let summary: Value = serde_json::from_str(&read("chaos_summary_", ".json")).unwrap();
    let first = &summary["experiments"][0];
    assert_eq!(
        (first["id"].as_str(), first["passed"].as_u64(), first["exit_code"].as_u64()),
        (Some("unlucky"), Some(4), Some(0))
    );
    let rows = |text: &str| {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        (header, reader.records().map(Result::unwrap).collect::<Vec<_>>())
    };
    let (header, events) = rows(&read("chaos_events_", ".csv"));
    assert_eq!((header.get(0), header.get(1)), (Some("experiment"), Some("session")));
    assert_eq!(Some(events.len() as u64), first["total_faults_fired"].as_u64());
    let (header, episodes) = rows(&read("chaos_mttr_", ".csv"));
    assert!(
        header.iter().any(|name| name == "ttr_ns")
            && !episodes.is_empty()
            && episodes.iter().all(|row| &row[0] == "unlucky")
    );
    let markdown = read("chaos_matrix_", ".md");
    for words in [
        "| unlucky | A disk gives errors. |",
        "4 of 4 (100 %",
        "`chaos-exec experiment run e.yaml --seed 2 --runs 4`",
        "Nothing \\| at all",
        "**0 of 4",
    ] {
        assert!(markdown.contains(words), "{words}: {markdown}");
    }
    let html = read("chaos_matrix_", ".html");
    assert!(html.contains("Must not fail &lt;here&gt;.") && html.contains("class=\"bad\""), "{html}");
    let junit = quick_junit::Report::deserialize_from_str(&read("chaos_junit_", ".xml")).unwrap();
    let cases: Vec<_> = junit.test_suites[0]
        .test_cases
        .iter()
        .map(|case| (case.name.as_str().to_owned(), format!("{:?}", case.status)))
        .collect();
    let ids: BTreeSet<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["bad", "calm", "unlucky"]));
    for (name, status) in &cases {
        assert_eq!(status.contains("NonSuccess"), name == "bad", "{name}: {status}");
    }
}

#[test]
fn the_target_says_figures_of_its_own() {
    let scene = Scene::new();
    let script = "import ctypes, os\nown = ctypes.CDLL(None)\nout = open(os.environ['CHAOS_METRICS'], 'a')\n\
                  own.chaos_metric.argtypes = [ctypes.c_char_p, ctypes.c_double]\nlost = 0\n\
                  for n in range(4):\n    for turn in range(9):\n        try: open('data').close(); break\n        except OSError: lost += 1\n\
                  \x20   print('cache_hit_rate', 0.5 + n / 10, file=out)\n\
                  print('retries %d of=data' % lost, file=out)\nprint('nonsense', file=out)\nown.chaos_metric(b'accuracy', 0.97)\n";
    scene.write("app.py", script);
    let text = format!(
        "id: figures\ntargets: [{{name: app, command: [{}, app.py]}}]\nfiles: {{app.py: {{from: app.py}}, data: {{text: x}}}}\n\
         table: {{faults: [{{fault: error, calls: open, path: data, errno: EIO, nth: 1..2}}]}}\nruns: 2\n",
        python()
    );
    scene.write("e.yaml", &text);
    let gate = "metric.cache_hit_rate>=60%,metric.cache_hit_rate.max in 0.7..0.9,metric.accuracy>0.9,metric.retries.recovered=2";
    let done = scene
        .chaos()
        .go(&["experiment", "run", "e.yaml", "--out", "out", "--gate", gate, "--report", "r.json", "--report", "r.md"])
        .ended(0);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    let hits = &report["metrics"]["cache_hit_rate"];
    assert_eq!(
        (hits["n"].as_u64(), hits["min"].as_f64(), hits["max"].as_f64()),
        (Some(8), Some(0.5), Some(0.8)),
        "{}",
        done.story()
    );
    assert_eq!(report["details"][0]["metrics"]["cache_hit_rate"]["n"], 4);
    let trouble = report["trouble"].to_string();
    assert!(trouble.contains("run-1/metrics:6: 'nonsense' has no value"), "{trouble}");
    assert!(String::from_utf8(scene.read("r.md")).unwrap().contains("| cache_hit_rate | 8 | 0.65 |"));
    // Later, by another process; and what does not hold, or was not said.
    scene.chaos().go(&["report", "out", "--gate", "metric.cache_hit_rate>=66%"]).ended(122);
    let done = scene.chaos().go(&["report", "out", "--gate", "metric.cache_hit_rte>=66%"]).ended(123);
    assert!(done.err.contains("the program said no figure metric.cache_hit_rte"), "{}", done.story());
    let done = scene.chaos().go(&["report", "out", "--gate", "metric.x in 3..1"]).ended(125);
    assert!(done.err.contains("the range is reversed"), "{}", done.story());
    // Without an experiment the user's own variable counts, from what is in the file before.
    scene.write("mine", "old 1\n");
    let mine = scene.text("mine");
    let run = ["--gate", "metric.accuracy>0.9,metric.cache_hit_rate.n=4,injections>=1"];
    scene.write("data", "x");
    scene
        .under(&["error calls=open path=data errno=EIO nth=1..2"])
        .options(&run)
        .env("CHAOS_METRICS", &mine)
        .go(&[&python(), "app.py"])
        .ended(0);
}

#[test]
fn one_fault_goes_into_a_run_in_the_words_of_others() {
    let scene = Scene::new();
    scene.write("app.py", "import time\nprint('ready', flush=True)\nfor n in range(400):\n    try:\n        open('data').close()\n    except OSError as error:\n        print(error.errno); break\n    time.sleep(0.02)\n");
    scene.write("data", "x");
    let mut going = scene.under(&["latency calls=connect delay=1ms"]).start(&[&python(), "app.py"]);
    let inject = |words: &[&str]| scene.chaos().go(&[&["inject"], words].concat());
    let session = scene.text("session-0");
    let out = going.out.clone();
    going.wait_until("it is at work", || fs::read_to_string(&out).is_ok_and(|said| said.contains("ready")));
    inject(&["--fault", "error", "--error-code", "5", "--message", "disk is \"bad\"", "--target", "disk", &session])
        .ended(0);
    let done = going.end();
    assert_eq!(done.out, "ready\n5\n", "{}", done.story());
    for (words, message) in [
        (&["--fault", "latancy"][..], "did you mean `latency`?"),
        (&["--fault", "latency", "--error-code", "5"], "only a fault of type `error`"),
        (&["--fault", "error", "--error-code", "503"], "is a status of HTTP"),
        (&["--fault", "error", "--duration", "5"], "only `latency` and `timeout`"),
        (&["--fault", "error", "--error-code", "EIO"], "over"),
        (&[], "--fault"),
    ] {
        let done = inject(&[words, &[session.as_str()]].concat()).ended(125);
        assert!(done.err.contains(message), "{words:?}: {}", done.story());
    }
}

//! The library of scenarios, on programs that stand it and on programs that do not.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, program, python};
use serde_json::Value;

fn score(scene: &Scene, out: &str) -> Value {
    serde_json::from_slice(&scene.read(&format!("{out}/experiment.json"))).unwrap()
}

#[test]
fn the_library_is_listed_and_each_file_is_an_experiment() {
    let scene = Scene::new();
    let listed = scene.chaos().go(&["scenario", "list", "--json-output"]).ended(0);
    let listed: Vec<Value> = serde_json::from_str(&listed.out).unwrap();
    assert!(listed.len() > 20);
    for one in &listed {
        let name = one["name"].as_str().unwrap();
        let text = scene.chaos().go(&["scenario", "show", name]).ended(0).out;
        scene.write("shown.yaml", text);
        scene.chaos().go(&["experiment", "check", "shown.yaml"]).ended(0);
    }
    let alias = scene.chaos().go(&["scenario", "show", "ProductCrashMidUpload"]).ended(0);
    assert!(alias.out.starts_with("id: kill-9-recovery\n"), "{}", alias.story());
    let alias = scene.chaos().go(&["scenario", "show", "cascadefailure"]).ended(0);
    assert!(alias.out.starts_with("id: cascade\n"), "{}", alias.story());
}

#[test]
fn what_is_wrong_is_said_before_anything_starts() {
    let scene = Scene::new();
    scene.write("table.yaml", "targets: [{command: ls}]\ntable: {faults: [dns]}\n");
    for (words, message) in [
        (&["show", "kill9-recovery"][..], "did you mean kill-9-recovery?"),
        (&["show", "banana"], "`chaos-exec scenario list`"),
        (&["run", "disk-ful", "--", "ls"], "did you mean disk-full?"),
        (&["show", "CascadeFailur"], "did you mean CascadeFailure?"),
        (&["run", "storm.refusd", "--", "ls"], "did you mean storm.refused?"),
        (&["run", "storm.", "--", "ls"], "it has refused, late"),
        (&["run", "disk-full", "--on", "no.yaml"], "no.yaml"),
        (&["run", "disk-full", "--on", "table.yaml"], "`table` is given"),
        (&["run", "disk-full", "--check", "fil path=a", "--", "ls"], "did you mean"),
        (&["run", "disk-full", "--all", "--", "ls"], "--all"),
        (&["run", "disk-full"], "CMD"),
        (&["run", "--", "ls"], "NAME"),
        (&["run", "disk-full", "--runs", "0", "--", "ls"], "no number of runs"),
        (&["run", "disk-full", "--jobs", "x", "--", "ls"], "no number of runs"),
        (&["run", "disk-full", "--seed", "x", "--", "ls"], "is no seed"),
        (&["run", "disk-full", "--", "no-such-program"], "cannot find the command"),
    ] {
        let done = scene.chaos().go(&[&["scenario"], words].concat()).ended(125);
        assert!(done.err.contains(message), "{words:?}: {}", done.story());
    }
}

#[test]
fn a_careful_database_survives_being_killed_and_torn() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    scene.write(
        "add.sql",
        "PRAGMA busy_timeout=5000;\nCREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY);\n".to_owned()
            + &"INSERT INTO t DEFAULT VALUES;\n".repeat(12),
    );
    let script =
        format!("{sqlite} -bail a.db '.read add.sql' && test \"$({sqlite} a.db 'PRAGMA integrity_check')\" = ok");
    for name in ["kill-9-recovery", "torn-writes"] {
        let done = scene
            .chaos()
            .go(&["scenario", "run", name, "--runs", "4", "--seed", "3", "--out", name, "--", "/bin/sh", "-c", &script])
            .ended(0);
        let result = score(&scene, name);
        assert!(result["failed"] == 0 && result["passed"].as_u64() > Some(0), "{name}: {}", done.story());
        assert!(result["total_faults_fired"].as_u64() > Some(0), "{name}: {}", done.story());
    }
    assert!(!scene.path("a.db").exists(), "runs work on copies");
}

/// Scenarios with the kind of twin in `tests/twins/twin.py` that they tell apart, and what the bad one is found out by.
/// Those of the second list take long.
const QUICK: [(&str, &str, &str); 27] = [
    ("kill-9-recovery", "writer", "exit 1"),
    ("crash-half-way", "writer", "exit 1"),
    ("graceful-restart", "graceful", "exit 1"),
    ("crash-during-request", "requests", "exit 1"),
    ("cascade", "writer", "exit 1"),
    ("spawn-failures", "spawner", "exit 1"),
    ("oom-kill", "heavy", "exit 1"),
    ("lease-expiry", "leases", "exit 1"),
    ("delayed-recovery", "beating", "exit 1"),
    ("connect-refused", "client", "exit 1"),
    ("dns-failure", "names", "exit 1"),
    ("latency-100ms", "patient", "exit 1"),
    ("timeout-after-handoff", "client", "exit 1"),
    ("handoff-corruption", "handoff", "exit 1"),
    ("disk-full", "log", "exit 1"),
    ("disk-slow", "slow-disk", "exit 1"),
    ("disk-errors", "disk", "exit 1"),
    ("short-writes", "short", "exit 1"),
    ("torn-writes", "writer", "exit 1"),
    ("concurrent-writers", "together", "exit 1"),
    ("cache-load", "cache", "metric.cache_hit_rate"),
    ("tool-replay", "replay", "phase=replay"),
    ("mixed-results", "mixed", "SIGABRT"),
    ("fallback", "fallback", "exit 1"),
    ("allocation-failure", "allocate", "exit 1"),
    ("memory-limit", "large", "exit 1"),
    ("storm", "storm", "exit 1"),
];
const SLOW: [(&str, &str, &str); 22] = [
    ("lying-fsync", "writer", "exit 1"),
    ("memory-pressure", "beside", "exit 1"),
    ("rate-limiter", "limiter", "traits.rate"),
    ("retry", "paced", "traits.unpaced"),
    ("truncated-reply", "careless", "exit 1"),
    ("drop-mid-request", "client", "exit 1"),
    ("ungraceful-restart", "slow-writer", "exit 1"),
    ("freeze-past-lease", "fenced", "exit 1"),
    ("recovery-sweep", "sweep", "longer than 6s"),
    ("connect-timeout", "client", "exit 1"),
    ("intermittent", "slow-client", "exit 1"),
    ("partition", "slow-client", "exit 1"),
    ("latency-1s", "patient", "exit 1"),
    ("latency-5s", "patient", "exit 1"),
    ("slow-replies-1s", "patient", "exit 1"),
    ("slow-replies-5s", "patient", "exit 1"),
    ("slow-replies-10s", "patient", "exit 1"),
    ("fail-fast", "fail-fast", "it still ran"),
    ("timeout", "impatient", "longer than 12s"),
    ("circuit-breaker", "breaker", "traits.breakers"),
    ("cpu-pressure", "busy", "exit 1"),
    ("disk-pressure", "beside", "exit 1"),
];

/// What is wrong with how a scenario judges a twin.
fn misjudged((name, kind, why): (&str, &str, &str), good: bool) -> Option<String> {
    let scene = Scene::new();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twins/twin.py"), scene.path("twin.py")).unwrap();
    let which = if good { "good" } else { "bad" };
    let run = ["scenario", "run", name, "--runs", "2", "--jobs", "2", "--seed", "5", "--out", "results"];
    let done = scene.chaos().words(&run).go(&["--", &python(), "twin.py", kind, which]);
    let result = score(&scene, "results");
    let reasons = format!("{} {}", result["odd"], result["gate"]);
    let right = match good {
        true => done.code == 0 && result["passed"] == 2,
        false => done.code == 122 && reasons.contains(why),
    };
    // Pressure is no fault.
    let hit = result["total_faults_fired"].as_u64() > Some(0) || name.ends_with("-pressure");
    (!right || !hit).then(|| format!("{name} {kind} {which}: {}\n{result:#}", done.story()))
}

/// Four at a time: most of them wait for most of their time.
fn tell_apart(scenarios: &[(&'static str, &'static str, &'static str)]) {
    let all: Vec<_> = scenarios.iter().flat_map(|one| [(*one, true), (*one, false)]).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((one, good)) = all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(misjudged(*one, *good));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn scenarios_tell_good_programs_from_bad_ones() {
    tell_apart(&QUICK);
}

#[test]
#[ignore = "two minutes: make chaos"]
fn slow_scenarios_tell_good_programs_from_bad_ones() {
    tell_apart(&SLOW);
}

#[test]
#[ignore = "ten seconds: make chaos"]
fn a_program_that_does_nothing_has_shown_nothing() {
    let done =
        Scene::new().chaos().go(&["scenario", "run", "--all", "--runs", "1", "--json-output", "--", "true"]).ended(123);
    let all: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    assert!(all.len() > 40, "{}", done.story());
    for one in &all {
        // Pressure is no fault: it was there.
        let passed = u64::from(one["id"].as_str().unwrap().ends_with("-pressure"));
        assert_eq!((one["passed"].as_u64(), one["failed"].as_u64()), (Some(passed), Some(0)), "{one:#}");
    }
}

#[test]
fn every_scenario_has_its_twins() {
    let listed = Scene::new().chaos().go(&["scenario", "list", "--json-output"]).ended(0);
    let listed: Vec<Value> = serde_json::from_str(&listed.out).unwrap();
    let mut listed: Vec<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    let mut twins: Vec<&str> = QUICK.iter().chain(&SLOW).map(|(name, ..)| *name).collect();
    listed.sort_unstable();
    twins.sort_unstable();
    assert_eq!(twins, listed);
}

#[test]
fn a_storm_comes_as_a_whole_or_one_fault_at_a_time() {
    let scene = Scene::new();
    // Longer than what is asked for at a time: a read that is cut short is one that the program sees.
    scene.write("long.txt", "a line of text\n".repeat(20_000));
    let script = "for n in $(seq 25); do grep -c line long.txt > count && grep -q 20000 count || exit 3; done";
    let run = ["scenario", "run", "storm", "--each", "--runs", "2", "--seed", "1", "--json-output", "--", "sh", "-c"];
    let done = scene.chaos().words(&run).go(&[script]);
    let all: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    let ids: Vec<&str> = all.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let wanted =
        ["storm.refused", "storm.late", "storm.io", "storm.short", "storm.no-process", "storm.no-memory", "storm"];
    assert_eq!(ids, wanted, "{}", done.story());
    let of = |id: &str| all.iter().find(|one| one["id"] == id).unwrap();
    // Nobody connects, and what is short is borne; of 50 forks one fails, which ends the shell.
    assert_eq!(of("storm.refused")["inconclusive"], 2);
    assert_eq!(of("storm.short")["passed"], 2, "{:#}", of("storm.short"));
    assert_eq!(of("storm.no-process")["failed"], 2, "{:#}", of("storm.no-process"));
    let again = of("storm.no-process")["odd"][0]["repeat"].as_str().unwrap();
    assert!(again.starts_with("chaos-exec scenario run storm.no-process --seed"), "{again}");
    scene
        .chaos()
        .go(&["scenario", "run", "storm.no-process", "--runs", "1", "--seed", "1", "--", "sh", "-c", script])
        .ended(122);
}

#[test]
fn a_scenario_runs_on_the_targets_of_a_file_with_checks_of_its_own() {
    let scene = Scene::new();
    let text = "id: two\ntargets:\n- {name: one, command: 'cp data.bin copy; for n in $(seq 20); do cmp data.bin copy || exit 1; done'}\n- {name: other, command: 'sleep 0.1; cmp copy data.bin', after: one}\nfiles: {data.bin: {from: data.bin}}\nchecks: ['file path=copy is=exists']\n";
    scene.write("two.yaml", text);
    let run = ["scenario", "run", "short-writes", "--on", "two.yaml", "--runs", "2", "--seed", "4", "--out"];
    scene.chaos().words(&run).go(&["a"]).ended(0);
    assert_eq!(score(&scene, "a")["passed"], 2);
    let done = scene.chaos().words(&run).go(&["b", "--check", "glob path=* count=7"]).ended(122);
    let result = score(&scene, "b");
    let odd = &result["odd"][0];
    assert!(odd["why"].as_str().unwrap().contains("glob path=* count=7"), "{}", done.story());
    let again = odd["repeat"].as_str().unwrap();
    assert!(again.contains("short-writes --on two.yaml --check 'glob path=* count=7' --seed"), "{again}");
}

/// Processes that make a load for a run in this scene.
fn loads(scene: &Scene) -> Vec<u32> {
    running(scene, |line| line.contains(" load --"))
}

/// Processes of this scene with such a command line.
fn running(scene: &Scene, is_such: impl Fn(&str) -> bool) -> Vec<u32> {
    let place = scene.text("");
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        is_such(line.trim_end()) && String::from_utf8_lossy(&read("environ")).contains(place.trim_end_matches('/'))
    };
    pids.filter(is_one).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs() < 20, "{what} did not come about");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_load_ends_with_the_run_whatever_dies() {
    let scene = Scene::new();
    let run = ["scenario", "run", "cpu-pressure", "--runs", "1", "--", "sleep"];
    scene.chaos().words(&run).go(&["0.1"]).ended(0);
    assert_eq!(loads(&scene), [0u32; 0]);
    let running = scene.chaos().words(&run).start(&["30"]);
    until("a load", || loads(&scene).len() == 2);
    running.signal("KILL");
    running.end();
    until("the end of the load", || loads(&scene).is_empty());
}

/// Sends a signal by which programs crash.
fn crash(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGABRT).unwrap();
}

#[test]
fn a_load_that_crashes_is_no_crash_of_the_program() {
    let scene = Scene::new();
    let run = ["scenario", "run", "cpu-pressure", "--runs", "1", "--out", "out", "--"];
    let going = scene.chaos().words(&run).start(&["sleep", "2"]);
    until("the program beside the load", || !running(&scene, |line| line == "sleep 2").is_empty());
    crash(loads(&scene)[0]);
    going.end().ended(0);
    let score = score(&scene, "out");
    assert_eq!((&score["crashes"], &score["restarts"]), (&0.into(), &1.into()), "{score:#}");
}

#[test]
fn whether_a_limit_is_set_and_why_not_is_told() {
    let scene = Scene::new();
    for (name, limit) in
        [("memory-pressure", "memory 640MB"), ("cpu-pressure", "cpu 50%"), ("disk-pressure", "disk 20MB/s")]
    {
        let done =
            scene.chaos().words(&["scenario", "run", name, "--runs", "1", "--out", name]).go(&["--", "true"]).ended(0);
        let score = score(&scene, name);
        let said = score["about"]["limit"].as_str().unwrap();
        assert!(done.err.contains(&format!("{name}: limit {said}")), "{}", done.story());
        // Which of the two depends on the machine.
        let why = said.strip_prefix(limit).and_then(|rest| rest.strip_prefix(" not set: "));
        assert!(said == format!("{limit}, in a cgroup") || why.is_some_and(|why| why.len() > 10), "{said}");
    }
}

#[test]
fn a_load_that_dies_is_back_and_goes_with_the_launcher_of_its_run() {
    let scene = Scene::new();
    let run = ["scenario", "run", "cpu-pressure", "--runs", "1", "--", "sleep"];
    let going = scene.chaos().words(&run).start(&["30"]);
    // One that dies before it is ready has not been set up: the program beside it shows that it was.
    until("the program beside the load", || {
        loads(&scene).len() == 2 && !running(&scene, |line| line == "sleep 30").is_empty()
    });
    let kill = |pid: i32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    let first = loads(&scene)[0];
    kill(i32::try_from(first).unwrap()).unwrap();
    until("another load", || loads(&scene).len() == 2 && !loads(&scene).contains(&first));
    let status = std::fs::read_to_string(format!("/proc/{}/status", loads(&scene)[0])).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    kill(parent).unwrap();
    until("the end of the load", || loads(&scene).is_empty());
    let done = going.end();
    assert_eq!(done.code, 123, "{}", done.story());
}

#[test]
fn a_scenario_that_finds_no_place_to_hit_is_inconclusive_and_the_others_go_on() {
    let scene = Scene::new();
    let names = ["scenario", "run", "crash-half-way", "short-writes", "disk-slow", "--runs", "2", "--seed", "1"];
    let more = ["--out", "out", "--export", "ex", "--json-output", "--", "head", "-c", "1", "data.bin"];
    let done = scene.chaos().go(&[&names[..], &more].concat()).ended(123);
    let all: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    let why = all[0]["untested"].as_str().unwrap_or_default();
    assert!(why.contains("`half-way`") && all[0]["status"] == "completed", "{}", done.story());
    // Of the two runs of the last one, one draws a delay.
    assert_eq!((all.len(), &all[1]["inconclusive"], &all[2]["passed"]), (3, &2.into(), &1.into()), "{}", done.story());
    // The table at the end, and every form of what is exported or reported on later.
    assert!(done.err.contains("3 experiments: 1 passed, 0 failed, 2 inconclusive"), "{}", done.story());
    assert!(done.err.contains(&format!("crash-half-way  inconclusive: {why}")), "{}", done.story());
    let exported = |part: &str| {
        let mut files = std::fs::read_dir(scene.path("ex")).unwrap().map(|file| file.unwrap().path());
        let file = files.find(|file| file.to_string_lossy().contains(part)).unwrap();
        std::fs::read_to_string(file).unwrap()
    };
    for part in ["full_metrics", "summary", "matrix_2", "junit"] {
        assert!(exported(part).contains("`half-way`"), "{part}: {}", exported(part));
    }
    assert!(exported("junit").contains("errors=\"2\""), "{}", exported("junit"));
    for form in ["md", "json", "html", "xml", "sarif"] {
        let file = format!("later.{form}");
        scene.chaos().go(&["report", "out/crash-half-way", "-o", &file]).ended(0);
        assert!(
            String::from_utf8(scene.read(&file))
                .unwrap()
                .contains("crash-half-way is inconclusive, and no run was made"),
            "{form}"
        );
    }
}

#[test]
fn one_scenario_that_cannot_be_run_does_not_keep_the_others_from_it() {
    let scene = Scene::new();
    // Without faults it fails the second time that it is started, which only a control and a run after it see.
    scene.write("once", "");
    let script = format!("rm {} && cat data.bin > copy", scene.text("once"));
    let run = ["scenario", "run", "disk-slow", "crash-half-way", "short-writes", "--runs", "1", "--out", "out", "--"];
    let done = scene.chaos().words(&run).go(&["sh", "-c", &script]).ended(125);
    assert_eq!(score(&scene, "out/crash-half-way")["status"], "failed", "{}", done.story());
    assert_eq!(score(&scene, "out/short-writes")["status"], "completed", "{}", done.story());
    assert!(done.err.contains("without any fault it fails, too"), "{}", done.story());
    assert!(done.err.contains("crash-half-way  could not be run"), "{}", done.story());
    // Of what no scenario can start there is one error.
    let done = scene.chaos().go(&["scenario", "run", "--all", "--", "no-such-program"]).ended(125);
    assert_eq!(done.err.matches("error:").count(), 1, "{}", done.story());
    assert!(done.err.contains("48 not run"), "{}", done.story());
}

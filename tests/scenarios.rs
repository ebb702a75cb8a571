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
}

#[test]
fn what_is_wrong_is_said_before_anything_starts() {
    let scene = Scene::new();
    for (words, message) in [
        (&["show", "kill9-recovery"][..], "did you mean kill-9-recovery?"),
        (&["show", "banana"], "`chaos-exec scenario list`"),
        (&["run", "disk-ful", "--", "ls"], "did you mean disk-full?"),
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

#[test]
fn short_writes_tell_a_careful_writer_from_a_careless_one() {
    let scene = Scene::new();
    let careless = "import os\nfor i in range(30):\n    fd = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n    os.write(fd, b'x' * 1000); os.close(fd)\n    if os.path.getsize('out') != 1000: exit(9)\n";
    let careful = careless.replace(
        "os.write(fd, b'x' * 1000)",
        "left = b'x' * 1000\n    while left: left = left[os.write(fd, left):]\n    0",
    );
    scene.write("careless.py", careless);
    scene.write("careful.py", careful);
    let run = |which: &str, code: i32| {
        let script = format!("{which}.py");
        let words =
            ["scenario", "run", "short-writes", "--runs", "3", "--seed", "1", "--out", which, "--", &python(), &script];
        let done = scene.chaos().go(&words).ended(code);
        let result = score(&scene, which);
        assert!(result["total_faults_fired"].as_u64() > Some(0), "{}", done.story());
        result
    };
    assert_eq!(run("careful", 0)["passed"], 3);
    let result = run("careless", 122);
    assert!(result["failed"] == 3 && result["odd"][0]["why"].as_str().unwrap().contains("exit 9"), "{result:#}");
}

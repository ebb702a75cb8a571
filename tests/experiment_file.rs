//! Experiment files: what is wrong with them is one error that names its place.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::Scene;
use common::complaints::Complaints;
use serde_json::Value;

/// What is wrong, where, and what the help says.
const WRONG: &[(&str, &str, &str)] = &[
    ("targts: []", ":1:1: unknown key `targts`", "did you mean `targets`?"),
    ("banana: 3", ":1:1: unknown key `banana`", "one of id, name"),
    ("id: x", "the experiment has no targets", "targets: ["),
    ("targets: []", "the experiment has no targets", "targets: ["),
    ("- 1", "a map is wanted here", "{key: value}"),
    ("targets: 3", ":1:10: a list is wanted here", "[one, other]"),
    ("targets:\n- {comand: ls}", ":2:4: unknown key `comand`", "did you mean `command`?"),
    ("targets:\n- {command: ls, cwd: a, cwd: b}", "`cwd` is given twice", "leave one"),
    ("targets: [{name: a}]", "target a: it has no command", "command: ["),
    ("targets: [{command: []}]", "target target: it has no command", ""),
    ("targets: [{command: ls}, {command: ls}]", "a target has no name", "letters"),
    ("targets: [{name: a/b, command: ls}]", "'a/b' is no name for a target", "letters"),
    ("targets: [{name: a, command: ls}, {name: a, command: ls}]", "there are two of this name", "instances"),
    ("targets: [{name: a, command: ls, after: a}]", "it waits for itself", ""),
    (
        "targets: [{name: db, command: ls, service: true}, {name: a, command: ls, after: dbb}]",
        "dbb, which is no target",
        "did you mean `db`?",
    ),
    (
        "targets:\n- {name: a, command: ls, after: b}\n- {name: b, command: ls, after: [c]}\n- {name: c, command: ls, after: a}",
        "goes in a circle: a after b after c after a",
        "take one `after` out",
    ),
    ("targets: [{command: ls, restart: allways}]", "unknown word `allways`", "did you mean `always`?"),
    ("targets: [{command: ls, restart: always}]", "never ends", "on-failure"),
    ("targets: [{command: ls, restarts: 3}]", "for one that restarts", "restart: on-failure"),
    ("targets: [{command: ls, instances: 0}]", "starts nothing", ""),
    ("targets: [{command: ls, instances: -1}]", ":1:36: this is no whole number, or out of range", "0 and up"),
    ("targets: [{command: ls, instances: 1000}]", "1000 processes", "200 at most"),
    ("targets: [{command: ls, ready: tcp to=localhost:1}]", "`ready` is for a service", "service: true"),
    ("targets: [{command: ls, service: true, ready: tpc to=a:1}]", "unknown check `tpc`", "did you mean `tcp`?"),
    ("targets: [{command: ls, service: true, ready: exit codes=0}]", "`ready` cannot be", "tcp, http"),
    ("targets: [{command: ls, service: true}]", "so a run has no end", "lasting: 30s"),
    (
        "targets: [{command: ls}]\ntable:\n  faults:\n  - {fault: eror, calls: read}",
        ":4:13: unknown fault `eror`",
        "did you mean `error`?",
    ),
    ("targets: [{command: ls}]\ntable: {fualts: []}", ":2:9: unknown key `fualts`", "did you mean `faults`?"),
    ("targets: [{command: ls}]\ntable: none.yaml", "none.yaml: the table cannot be read", "spelling"),
    ("targets: [{command: ls}]\ntable: 3", "expected a fault table, or the name", ""),
    ("targets: [{command: ls}]\ntable: {faults: [{fault: short, calls: fsync}]}", "fsync", ""),
    ("targets: [{command: ls}]\nchecks: [{check: exti}]", "unknown check `exti`", "did you mean `exit`?"),
    ("targets: [{command: ls}]\nchecks: {befor: []}", "unknown key `befor`", "did you mean `before`?"),
    ("targets: [{command: ls}]\nchecks: {before: [exit codes=0]}", "nothing has run yet", "after"),
    (
        "targets: [{command: ls}]\nchecks: {during: [file path=a]}",
        "cannot look at `file path=a` all along",
        "http or tcp",
    ),
    ("targets: [{command: ls}]\nchecks: [control]", "compares with a control, and there is none", "controls: 1"),
    ("targets: [{command: ls}]\nchecks: ['stdout matches=(']", "no regular expression", ""),
    (
        "targets: [{command: ls}]\nphases: [{name: a, for: 5s}, {name: b, from: 2s, for: 1s}]",
        "overlaps a",
        "leave `from` out",
    ),
    ("targets: [{command: ls}]\nphases: [{name: a}, {name: b, for: 1s}]", "phase a has no end", ""),
    ("targets: [{command: ls}]\nphases: [{name: a, from: {mark: m}}, {name: b, for: 1s}]", "phase a has no end", ""),
    ("targets: [{command: ls}]\nphases: [{name: a, from: {mrak: m}}]", "unknown key `mrak`", "did you mean `mark`?"),
    ("targets: [{command: ls}]\nphases: [{name: a, from: {calls: write}}]", "{calls: write, count: 100}", ""),
    (
        "targets: [{command: ls}]\nphases: [{name: a, from: {calls: wriet, count: 1}}]",
        "phase a: ",
        "did you mean `write`?",
    ),
    ("targets: [{command: ls}]\nphases: [{name: a, from: {mark: m, count: 1}}]", "{mark: TEXT}", ""),
    ("targets: [{command: ls}]\nphases: [{name: a, from: 5}]", "has no unit", ""),
    ("targets: [{command: ls}]\nchecks: [{calls: execve}]", "says not how many", "equals=0"),
    ("targets: [{command: ls}]\nchecks: [{calls: excve, equals: 0}]", "excve", "did you mean `execve`?"),
    (
        "targets: [{command: ls}]\nphases: [{name: replay, for: 1s}]\nchecks: [{calls: execve, phase: repaly, equals: 0}]",
        "in the phase repaly, and there is none",
        "did you mean `replay`?",
    ),
    ("targets: [{command: ls}]\nchecks: {before: [{calls: execve, equals: 0}]}", "nothing has run yet", "after"),
    ("targets: [{command: ls}]\ncontrols: 5000", "`controls` is out of range", "0 to 1000"),
    (
        "targets: [{command: ls}]\ntable: {faults: [{name: kill, fault: error, calls: read, nth: '${50% of kil}'}]}",
        "there is no fault of this name",
        "did you mean `kill`?",
    ),
    (
        "targets: [{command: ls}]\ntable: {faults: [{name: kill, fault: error, calls: read, nth: '${500% of kill}'}]}",
        "is no part: 0% to 100%",
        "nth: ${50% of kill}",
    ),
    (
        "targets: [{command: ls}]\ntable: {faults: [{name: k, fault: signal, signal: KILL, from: 1s}, {name: r, fault: error, calls: read, nth: '${50% of k}'}]}",
        "no call triggers this fault",
        "with `calls`",
    ),
    ("targets: [{command: ls, health: tcp to=localhost:1}]", "cannot be looked at all along", "service: true"),
    (
        "targets: [{command: ls, service: true, health: file path=a}]\nlasting: 1s",
        "cannot be looked at all along",
        "http or tcp",
    ),
    ("targets: [{command: ls}]\nphases: [{name: a, for: 5s, faults: slow}]", "there is no fault 'slow'", "no faults"),
    ("targets: [{command: ls}]\nphases: [{name: a, for: 5}]", "", "unit"),
    ("targets: [{command: ls}]\nphases: [{name: a, for: 5s, ramp: {from: 1%}}]", "missing field `to`", ""),
    ("targets: [{command: ls}]\nruns: 0", "`runs: 0` is out of range", "1 to 100000"),
    ("targets: [{command: ls}]\njobs: 1000", "`jobs: 1000` is out of range", "1 to 256"),
    ("targets: [{command: ls}]\ndeadline: 0s", "zero", ""),
    ("targets: [{command: ls}]\nlimit: {}", "`limit` limits nothing", "limit: {memory: 640MB"),
    ("targets: [{command: ls}]\nlimit: 1GB", "", ""),
    ("targets: [{command: ls}]\nlimit: {mem: 1GB}", "unknown key `mem`", "one of memory, cpu, disk"),
    ("targets: [{command: ls}]\nlimit: {memory: lots}", ":2:", ""),
    ("targets: [{command: ls}]\nlimit: {memory: 0}", "has no unit", "MB"),
    ("targets: [{command: ls}]\nlimit: {memory: 100KB}", "memory 100KB is too little", "4MB and up"),
    ("targets: [{command: ls}]\nlimit: {memory: '${1..8}MB'}", "memory 1MB is too little", "4MB and up"),
    ("targets: [{command: ls}]\nlimit: {cpu: 0%}", "cpu 0% is too little", "1% to 100%"),
    ("targets: [{command: ls}]\nlimit: {cpu: 200%}", "is not between 0% and 100%", "30%"),
    ("targets: [{command: ls}]\nlimit: {disk: 20MB}", "is not per second", "/s"),
    ("targets: [{command: ls}]\nlimit: {disk: 0B/s}", "nothing would ever move", ""),
    ("targets: [{command: ls}]\ngate: crahses=0", "crahses", "did you mean `crashes`?"),
    ("id: a b\ntargets: [{command: ls}]", "'a b' is no id", "letters"),
    ("id: ..\ntargets: [{command: ls}]", "'..' is no id", "letters"),
    ("targets: [{command: ls}]\nports: {db: 5432}", "nothing speaks of ${port:db}", "leave it out"),
    ("targets: [{command: 'x ${port:db}'}]\nports: {db: 0}", "port 0 is no port", ""),
    ("targets: [{command: 'x ${port:db}'}]\nports: {db: 70000}", "this is no whole number, or out of range", ""),
    ("targets: [{command: 'x ${port:db}'}]\nports: {db: 5432}\njobs: 2", "cannot share a fixed port", "jobs"),
    ("targets: [{command: ls}]\nfiles: {../x: {text: a}}", "'../x' is no place within", "without `..`"),
    ("targets: [{command: ls}]\nfiles: {/etc/x: {text: a}}", "'/etc/x' is no place within", "relative"),
    ("targets: [{command: ls}]\nfiles: {x: {txt: a}}", "unknown word `txt`", "did you mean `text`?"),
    ("targets: [{command: 'echo ${HOME}'}]", ":1:27: unknown placeholder `${HOME}`", "write $${HOME}"),
    ("targets: [{command: ls}]\nruns: ${5..1}", ":2:7: the range `${5..1}` is reversed", ""),
    ("targets: [{command: ls}]\nruns: ${1..200000}", "`runs: 200000` is out of range", ""),
    ("targets: [{command: 'a ${command} b'}]", "is part of 'a ${command} b'", "a word of its own"),
    ("targets: [{command: ls}", "", ""),
];

#[test]
fn each_mistake_names_its_place_and_what_would_be_right() {
    let scene = Scene::new();
    let mut complaints = Complaints::default();
    for (number, (text, message, help)) in WRONG.iter().enumerate() {
        let file = scene.write(format!("e{number}.yaml"), text);
        let done = scene.chaos().go(&["experiment", "check", &file]);
        let fits = done.code == 125
            && done.out.is_empty()
            && done.err.starts_with("chaos-exec: error: ")
            && done.err.contains(&file)
            && done.err.contains(message)
            && done.err.contains(help)
            && done.err.lines().count() <= 2;
        complaints.check(fits, || format!("{text}\n  wanted {message} / {help}\n  {}", done.err));
    }
    complaints.none();
}

#[test]
fn a_file_that_is_none_is_said_to_be_none() {
    let scene = Scene::new();
    scene.write("empty.yaml", "");
    scene.write("binary.yaml", b"targets\0");
    scene.write("large.yaml", "#".repeat(2 << 20));
    for (file, message) in [
        ("none.yaml", "No such file"),
        (".", "directory"),
        ("empty.yaml", "empty"),
        ("binary.yaml", "binary"),
        ("large.yaml", "larger than 1 MiB"),
    ] {
        let done = scene.chaos().go(&["experiment", "check", file]).ended(125);
        assert!(done.err.contains(message) && !done.err.contains("fault table"), "{}", done.story());
    }
}

#[test]
fn the_same_experiment_in_three_formats_is_the_same() {
    let scene = Scene::new();
    scene.write(
        "e.yaml",
        "id: same\ntargets:\n- {name: db, command: [sleep, 9], service: true}\n- name: app\n  command: [cat, data]\n  env: {N: 3}\n\
         table: {faults: [{name: slow, fault: latency, calls: read, delay: \"${10..20}ms\"}]}\n\
         phases: [{name: warm-up, for: 1s}, {name: inject, for: 2s, faults: all}]\nchecks: [exit codes=0]\nruns: 5\n",
    );
    scene.write(
        "e.toml",
        "id = \"same\"\nruns = 5\nchecks = [\"exit codes=0\"]\n[[targets]]\nname = \"db\"\ncommand = [\"sleep\", 9]\nservice = true\n\
         [[targets]]\nname = \"app\"\ncommand = [\"cat\", \"data\"]\nenv = {N = 3}\n[[table.faults]]\nname = \"slow\"\nfault = \"latency\"\n\
         calls = \"read\"\ndelay = \"${10..20}ms\"\n[[phases]]\nname = \"warm-up\"\nfor = \"1s\"\n[[phases]]\nname = \"inject\"\nfor = \"2s\"\nfaults = \"all\"\n",
    );
    scene.write(
        "e.json",
        r#"{"id": "same", "runs": 5, "checks": ["exit codes=0"], "targets": [{"name": "db", "command": ["sleep", 9], "service": true},
        {"name": "app", "command": ["cat", "data"], "env": {"N": 3}}], "table": {"faults": [{"name": "slow", "fault": "latency", "calls": "read",
        "delay": "${10..20}ms"}]}, "phases": [{"name": "warm-up", "for": "1s"}, {"name": "inject", "for": "2s", "faults": "all"}]}"#,
    );
    let said = |file: &str| scene.chaos().go(&["experiment", "check", file]).ended(0).out;
    let yaml = said("e.yaml");
    assert!(yaml.contains("slow/inject") && yaml.contains("app: a task, after db"), "{yaml}");
    assert_eq!((said("e.toml"), said("e.json")), (yaml.clone(), yaml));
    let listed = scene.chaos().go(&["experiment", "list", "e.yaml", "e.json", "--json-output"]).ended(0);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!((listed[0]["id"].as_str(), listed[1]["runs"].as_u64()), (Some("same"), Some(5)));
    assert_eq!(listed[0]["targets"], serde_json::json!(["db", "app"]));
}

#[test]
fn the_common_shape_is_taken_as_it_is() {
    let scene = Scene::new();
    scene.write(
        "common.json",
        r#"{"experiment_id": "shop-1", "name": "Shop", "description": "d", "duration_seconds": 30, "target_components": ["store", "network"],
        "components": {"store": {"path": "*.db"}},
        "faults": [{"fault_type": "latency", "probability": 0.5, "duration_ms": 20, "affected_components": ["network"]},
                   {"fault_type": "error", "error_code": 5, "error_message": "disk is bad", "affected_components": ["store"]},
                   {"fault_type": "timeout"}, {"fault_type": "partial_failure"},
                   {"fault_type": "resource_exhaustion", "affected_components": ["worker*"]}, {"fault_type": "data_corruption"}]}"#,
    );
    let said = scene.chaos().go(&["experiment", "check", "common.json"]).ended(0);
    for words in ["shop-1  Shop", "9 rules on target", "EIO", "EMFILE", "process worker*", "50% of the matches"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    scene.write(
        "run.yaml",
        "experiment_id: one\nfaults:\n- {fault_type: error, error_code: EIO, error_message: lost, affected_components: [data]}\ncomponents: {data: {path: data.bin}}\n",
    );
    let file = scene.text("data.bin");
    let run = ["run", "--experiment", "run.yaml", "--out", "out", "--", "/bin/cat", &file];
    scene.chaos().go(&run).ended(122);
    let result: Value = serde_json::from_slice(&scene.read("out/experiment.json")).unwrap();
    assert_eq!((result["status"].as_str(), result["total_faults_fired"].as_u64()), (Some("completed"), Some(1)));
    let seen = &result["observations"][0];
    assert_eq!((seen["component"].as_str(), seen["message"].as_str()), (Some("data"), Some("lost")), "{result:#}");
    let done =
        scene.chaos().go(&["run", "--experiment", "run.yaml", "--json-output", "--", "/bin/cat", &file]).ended(122);
    let printed: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((printed[0]["id"].as_str(), printed[0]["failed"].as_u64()), (Some("one"), Some(1)));
    scene.chaos().go(&["report", "--experiment-id", "one", "--gate", "runs=1,crashes=0"]).ended(0);
    let none = scene.chaos().go(&["report", "--experiment-id", "onee"]).ended(125);
    assert!(none.err.contains("did you mean 'one'?"), "{}", none.story());
    for (text, message) in [
        ("experiment_id: x\nfault: []", "unknown key `fault`"),
        ("faults: [{fault_type: latancy}]", "did you mean `latency`?"),
        ("faults: [{fault_type: error, error_code: 503}]", "is a status of HTTP"),
        ("faults: [{fault_type: error, error_code: EIOO}]", "did you mean"),
        ("faults: [{fault_type: error, error_code: -1}]", "is no errno"),
        ("faults: [{fault_type: latency, error_code: 5}]", "only a fault of type `error`"),
        ("faults: [{fault_type: error, duration_ms: 5}]", "only `latency` and `timeout`"),
        ("faults: [{fault_type: error, probability: 2}]", "is no probability"),
        ("experiment_id: x\nduration_seconds: 0", "is no duration"),
        ("experiment_id: x\ncomponents: {a: {pth: b}}", "did you mean `path`?"),
        ("experiment_id: a/b\nfaults: [{fault_type: latency}]", "is no id"),
    ] {
        scene.write("wrong.yaml", text);
        let done = scene.chaos().go(&["experiment", "check", "wrong.yaml"]).ended(125);
        assert!(done.err.contains(message) && done.err.contains("wrong.yaml"), "{text}: {}", done.story());
    }
}

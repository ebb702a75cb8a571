//! Small agents in Python, Node and C that do what agents do when something fails: each gets the right class, with checks
//! and without, and its way of trying is recognised. And a real service that a supervisor brings back.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::server::{free_port, greet};
use common::{Done, Scene, guest, program, python};
use serde_json::Value;
use std::fs;

/// A run with its report.
struct Verdict {
    done: Done,
    report: Value,
}

impl Verdict {
    fn of(scene: &Scene, faults: &[&str], options: &[&str], command: &[&str]) -> Verdict {
        let file = scene.text("report.json");
        let options = [&["--report", file.as_str()], options].concat();
        let done = scene.under(faults).options(&options).go(command);
        let report = fs::read(&file).unwrap_or_else(|_| panic!("no report\n{}", done.story()));
        Verdict { report: serde_json::from_slice(&report).unwrap(), done }
    }

    fn episodes(&self) -> &[Value] {
        self.report["details"][0]["episodes"].as_array().unwrap()
    }

    /// Outcome, and how or of which kind, of the only episode.
    fn class(&self) -> String {
        let [one] = self.episodes() else { panic!("{} episodes\n{}", self.episodes().len(), self.done.story()) };
        let word = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}{}", word("outcome"), word("how"), word("kind")).trim().to_owned()
    }

    fn traits(&self) -> &Value {
        &self.episodes()[0]["traits"]
    }
}

/// Two servers on loopback: the first and the one to fall back to.
const CLIENT: &str = r#"
import json, os, socket, sys, time
way, first, second = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def ask(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        return s.recv(64) or b""
answer = None
if way == "retry":
    for attempt in range(5):
        try: answer = ask(first); break
        except OSError: time.sleep(0.02 * 2 ** attempt)
elif way == "fallback":
    for port in (first, second):
        try: answer = ask(port); break
        except OSError: pass
elif way == "cache":
    try: answer = ask(first)
    except OSError: answer = b"remembered"
elif way == "swallow":
    try: answer = ask(first)
    except OSError: pass
elif way == "raise":
    answer = ask(first)
elif way == "crash":
    try: answer = ask(first)
    except OSError: os.abort()
elif way == "hang":
    try: answer = ask(first)
    except OSError: time.sleep(60)
with open("out.json", "w") as out:
    out.write(json.dumps({"answer": answer.decode()}) if answer else "")
"#;

const NODE: &str = r#"
const net = require('net'), fs = require('fs');
const [way, first, second] = [process.argv[2], +process.argv[3], +process.argv[4]];
const ask = (port) => new Promise((good, bad) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('data', (data) => { socket.destroy(); good(String(data)); });
  socket.on('error', bad);
});
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  let answer = '';
  if (way === 'retry') {
    for (let i = 0; i < 5 && !answer; i++) answer = await ask(first).catch(() => pause(20 << i).then(() => ''));
  } else if (way === 'fallback') {
    answer = await ask(first).catch(() => ask(second));
  } else if (way === 'cache') {
    answer = await ask(first).catch(() => 'remembered');
  } else if (way === 'swallow') {
    answer = await ask(first).catch(() => '');
  } else if (way === 'raise') {
    answer = await ask(first);
  } else if (way === 'crash') {
    answer = await ask(first).catch(() => process.abort());
  } else if (way === 'hang') {
    answer = await ask(first).catch(() => pause(60000));
  }
  fs.writeFileSync('out.json', answer ? JSON.stringify({ answer }) : '');
})();
"#;

/// What each agent is judged as, without checks and with one on its result.
const CLASSES: [(&str, &str, &str); 7] = [
    ("retry", "recovered retry", "recovered retry"),
    ("fallback", "recovered rerouted", "recovered rerouted"),
    ("cache", "unknown", "tolerated"),
    ("swallow", "unknown", "failed wrong"),
    ("raise", "failed gracefully", "failed gracefully"),
    ("crash", "failed crash", "failed crash"),
    ("hang", "failed hang", "failed hang"),
];

fn network_agents(scene: &Scene, command: &[&str]) {
    let ports = [greet(b"hello"), greet(b"hello")];
    let members = format!("\"127.0.0.1:{}\", \"127.0.0.1:{}\"", ports[0], ports[1]);
    // The first two calls to the first server fail.
    let table = format!(
        "roles: {{llm: [{members}]}}\nfaults: [{{fault: refuse, to: \"127.0.0.1:{}\", nth: 1..2}}]\n",
        ports[0]
    );
    let table = scene.write("table.yaml", table);
    for (way, unchecked, checked) in CLASSES {
        for (options, expected) in [(&[][..], unchecked), (&["--check", "file path=out.json is=json"][..], checked)] {
            let _ = fs::remove_file(scene.path("out.json"));
            let options = [&["-t", &table, "--timeout", if way == "hang" { "3s" } else { "40s" }], options].concat();
            let command = [command, &[way, &ports[0], &ports[1]]].concat();
            let verdict = Verdict::of(scene, &[], &options, &command);
            assert_eq!(verdict.class(), expected, "{way} {options:?}: {}", verdict.done.story());
            if way == "retry" {
                assert_eq!(verdict.traits()["attempts"], 3, "{}", verdict.done.story());
            }
        }
    }
}

#[test]
fn python_agents_get_their_class() {
    let scene = Scene::new();
    let file = scene.write("agent.py", CLIENT);
    network_agents(&scene, &[&python(), &file]);
}

#[test]
fn node_agents_get_their_class() {
    let scene = Scene::new();
    let file = scene.write("agent.js", NODE);
    network_agents(&scene, &[&program("node", "nodejs"), &file]);
}

#[test]
fn a_truncated_file_that_is_trusted_is_wrong_only_where_somebody_looks() {
    let scene = Scene::new();
    let faults = ["corrupt calls=read path=data.bin truncate=50%"];
    let copy = "import sys\nopen('copy', 'wb').write(open('data.bin', 'rb').read())\n";
    for (options, expected) in
        [(&[][..], "unknown"), (&["--check", "command run=\"cmp -s data.bin copy\""][..], "failed wrong")]
    {
        let verdict = Verdict::of(&scene, &faults, options, &[&python(), "-c", copy]);
        let outcome =
            |one: &Value| format!("{} {}", one["outcome"].as_str().unwrap(), one["kind"].as_str().unwrap_or(""));
        let all: Vec<String> = verdict.episodes().iter().map(|one| outcome(one).trim().to_owned()).collect();
        assert!(!all.is_empty() && all.iter().all(|one| one == expected), "{all:?} {}", verdict.done.story());
    }
}

/// How a C agent goes about a file that cannot be opened so often.
fn tries(way: &str, fault: &str) -> Verdict {
    let scene = Scene::new();
    Verdict::of(&scene, &[fault], &[], &[&guest("watched"), way])
}

#[test]
fn ways_of_trying_are_told_apart() {
    let growing = tries("backoff", "error calls=open path=data.bin errno=EIO times=4");
    assert_eq!((growing.class().as_str(), &growing.traits()["backoff"]), ("recovered retry", &"growing".into()));
    assert_eq!((&growing.traits()["attempts"], &growing.traits()["breaker"]), (&5.into(), &false.into()));
    let busy = tries("busy", "error calls=open path=data.bin errno=EIO times=20");
    assert_eq!((&busy.traits()["attempts"], &busy.traits()["backoff"]), (&21.into(), &"none".into()));
    let breaker = tries("breaker", "error calls=open path=data.bin errno=EIO times=4");
    assert_eq!(breaker.traits()["breaker"], true, "{}\n{}", breaker.traits(), breaker.done.story());
    assert_eq!((breaker.class().as_str(), &breaker.traits()["attempts"]), ("recovered retry", &5.into()));
    let limited = tries("limited", "error calls=open path=data.bin errno=EIO");
    assert_eq!((limited.class().as_str(), &limited.traits()["gave_up"]), ("unknown", &true.into()));
    assert_eq!((&limited.traits()["attempts"], &limited.traits()["backoff"]), (&12.into(), &"constant".into()));
    let most = limited.traits()["calls_per_second"].as_u64().unwrap();
    assert!((2..=10).contains(&most), "a call each 100 ms: {}", limited.traits());
    let patient = tries("patience", "hang calls=recv times=1");
    let waited = patient.traits()["waited_ns"].as_u64().unwrap();
    assert!(waited >= 200_000_000, "its own timeout ends it: {}", patient.traits());
    assert_eq!(patient.class(), "recovered retry", "{}", patient.done.story());
}

#[test]
fn a_gate_may_ask_how_a_program_tries() {
    let scene = Scene::new();
    let run = |gate: &str, way: &str| {
        let faults = ["error calls=open path=data.bin errno=EIO times=4"];
        scene.under(&faults).options(&["--gate", gate]).go(&[&guest("watched"), way])
    };
    run("traits.attempts<=5,traits.growing=1,traits.gave_up=0", "backoff").ended(0);
    let failed = run("traits.unpaced=0", "busy").ended(122);
    assert!(failed.err.contains("traits.unpaced 1, wanted =0"), "{}", failed.story());
    run("traits.breakers>=1", "breaker").ended(0);
}

/// Starts redis, and again when it was ended; a client writes until it has said enough.
const SUPERVISOR: &str = r#"
import socket, subprocess, sys, time
port, redis = int(sys.argv[1]), sys.argv[2]
def start():
    return subprocess.Popen([redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
        "--appendfsync", "always", "--dir", ".", "--daemonize", "no"], stdout=subprocess.DEVNULL)
def say(text):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(text.encode()); return s.recv(100)
server, restarts, done, end = start(), 0, 0, time.time() + 40
while done < 40 and time.time() < end:
    if server.poll() is not None:
        server, restarts = start(), restarts + 1
    try:
        if say("SET key-%d value\r\n" % done).startswith(b"+OK"): done += 1
    except OSError: time.sleep(0.02)
    time.sleep(0.005)
server.terminate(); server.wait()
print(done, "done,", restarts, "restarts")
"#;

#[test]
fn redis_that_a_supervisor_brings_back_is_restarted_with_its_time() {
    let redis = program("redis-server", "redis-server");
    let scene = Scene::new();
    let file = scene.write("supervisor.py", SUPERVISOR);
    let fault = "signal calls=write path=*.aof signal=KILL nth=12 per=tree process=redis-server";
    let verdict = Verdict::of(&scene, &[fault], &[], &[&python(), &file, &free_port().to_string(), &redis]);
    assert_eq!(verdict.done.out, "40 done, 1 restarts\n", "{}", verdict.done.story());
    assert_eq!(verdict.class(), "recovered restarted", "{}", verdict.done.story());
    let ttr = verdict.episodes()[0]["ttr_ns"].as_u64().unwrap();
    assert!((1_000_000..30_000_000_000).contains(&ttr), "{ttr}");
    assert_eq!(verdict.report["counts"]["crashes"], 0, "a kill that we sent is no crash");
}

#[test]
fn redis_that_the_launcher_kills_is_restarted_as_its_probe_sees_it() {
    let redis = program("redis-server", "redis-server");
    let scene = Scene::new();
    let (file, port) = (scene.write("supervisor.py", SUPERVISOR), free_port().to_string());
    let check = format!("tcp to=127.0.0.1:{port} within=20s");
    let fault = "signal signal=KILL process=redis-server from=1s times=1";
    let slow = SUPERVISOR.replace("time.sleep(0.005)", "time.sleep(0.1)");
    fs::write(&file, slow).unwrap();
    let verdict = Verdict::of(&scene, &[fault], &["--check", &check], &[&python(), &file, &port, &redis]);
    assert_eq!(verdict.class(), "recovered restarted", "{}", verdict.done.story());
}

#[test]
fn many_runs_are_pooled_correctly() {
    let scene = Scene::new();
    let again = "for i in 1 2 3; do cat data.bin > /dev/null 2>&1 && exit 0; done; exit 1";
    let options = ["--runs", "40", "--rate", "60%", "--report", "pool.json"];
    let done =
        scene.under(&["error calls=open path=data.bin errno=EIO"]).options(&options).go(&["/bin/bash", "-c", again]);
    let pool: Value = serde_json::from_slice(&scene.read("pool.json")).unwrap();
    let count = |field: &str| pool["counts"][field].as_u64().unwrap();
    let runs = pool["runs"].as_array().unwrap();
    let with = |fits: &dyn Fn(&Value) -> bool| runs.iter().filter(|run| fits(run)).count() as u64;
    assert_eq!((runs.len(), count("runs")), (40, 40), "{}", done.story());
    // Each run has one file to open: it is got over where the task was done, else the program has said that it gave up.
    let hit = |run: &Value| run["delivered"].as_u64().unwrap() > 0;
    assert_eq!(count("recovered"), with(&|run| hit(run) && run["completed"] == true));
    assert_eq!(count("failed"), with(&|run| run["completed"] == false));
    assert_eq!(count("episodes"), with(&hit));
    assert!(count("recovered") > 0 && count("failed") > 0, "{pool}");
    assert_eq!(pool["verdict"]["mttr_ns"]["n"], count("recovered"));
    assert_eq!(pool["traits"]["gave_up"], count("failed"));
    assert!(pool["traits"]["attempts"].as_u64().unwrap() <= 3);
}

//! The cases of `tests/chaos/`: clients with a retry, a timeout, a circuit breaker and a rate limiter, in Python and in
//! static Go, each beside a twin that does without and must fail. And servers that are killed, of `tests/servers/`.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, go, program, python};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// The experiment files of the three directories; the first word of a name is what guards the client.
fn cases() -> Vec<PathBuf> {
    let dirs = ["network", "service", "partial"].map(|dir| Path::new(HERE).join("chaos").join(dir));
    let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files
}

/// What is wrong with how a case judges a client.
fn misjudged(scene: &Scene, at: usize, file: &Path, client: &[&str], has_guard: bool) -> Option<String> {
    let guard = file.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
    let mode = if has_guard { guard.to_owned() } else { format!("no-{guard}") };
    let out = format!("results-{at}");
    let words = ["experiment", "run", file.to_str().unwrap(), "--seed", "3", "--jobs", "2", "--out", &out, "--"];
    let done = scene.chaos().words(&words).words(client).go(&[&mode]);
    let result: Value = serde_json::from_slice(&scene.read(&format!("{out}/experiment.json"))).unwrap_or_default();
    // A client without a guard is found out at each run, or by all of them together.
    let right = if has_guard {
        done.code == 0 && result["failed"] == 0 && result["inconclusive"] == 0
    } else {
        done.code == 122 && result["inconclusive"] == 0
    };
    let hit = result["total_faults_fired"].as_u64() > Some(0);
    (!right || !hit).then(|| format!("{} {client:?} {mode}: {}\n{result:#}", file.display(), done.story()))
}

/// Of each guard one case, and one that harms only a part.
const QUICK: [&str; 5] = ["retry-reset", "timeout-late", "breaker-broken-disk", "limiter-no-files", "retry-corrupt"];

#[test]
fn clients_are_told_from_their_bare_twins() {
    let mut cases = cases();
    cases.retain(|case| QUICK.iter().any(|name| case.file_stem().unwrap() == *name));
    assert_eq!(cases.len(), QUICK.len());
    tell_apart(&cases);
}

#[test]
#[ignore = "a minute: make chaos"]
fn all_clients_are_told_from_their_bare_twins() {
    let cases = cases();
    // In two languages.
    assert!((10..=15).contains(&cases.len()), "{cases:?}");
    tell_apart(&cases);
}

fn tell_apart(cases: &[PathBuf]) {
    program("node", "nodejs");
    let scene = Scene::new();
    let source = std::fs::read_to_string(format!("{HERE}/chaos/client.go")).unwrap();
    let static_go = go(&scene, "client", &source, "0", &[]);
    let (python, script) = (python(), format!("{HERE}/chaos/client.py"));
    let clients: [&[&str]; 2] = [&[&python, &script], &[&static_go]];
    let runs: Vec<_> = cases
        .iter()
        .flat_map(|case| clients.iter().flat_map(move |client| [(case, *client, true), (case, *client, false)]))
        .collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((case, client, has_guard)) = runs.get(at) else { break };
                    let odd = misjudged(&scene, at, case, client, *has_guard);
                    wrong.lock().unwrap().extend(odd);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The results of a scenario on a server; the word `.` stands for a place that everybody may write to.
fn killed(scenario: &str, server: &str, runs: &str, words: &[&str], code: i32) -> Value {
    let scene = Scene::new();
    let file = format!("{HERE}/servers/{server}.yaml");
    let run = ["scenario", "run", scenario, "--on", &file, "--runs", runs, "--seed", "3", "--out", "results"];
    let place = scene.text("");
    let words: Vec<&str> = words.iter().map(|word| if *word == "." { &*place } else { word }).collect();
    scene.open_to_all();
    let done = scene.chaos().words(&run).words(&["--jobs", "2", "--"]).go(&words).ended(code);
    let result: Value = serde_json::from_slice(&scene.read("results/experiment.json")).unwrap();
    assert!(result["total_faults_fired"].as_u64() > Some(0), "{}\n{result:#}", done.story());
    result
}

#[test]
fn redis_keeps_what_it_has_said_ok_to_if_it_has_a_log() {
    program("redis-server", "redis-server");
    assert_eq!(killed("kill-9-recovery", "redis", "2", &["yes"], 0)["passed"], 2);
    let without = killed("kill-9-recovery", "redis", "2", &["no"], 122);
    assert_eq!(without["failed"], 2, "{without:#}");
}

#[test]
fn sqlite_keeps_its_books_if_it_has_a_journal() {
    program("sqlite3", "sqlite3");
    assert_eq!(killed("kill-9-recovery", "sqlite", "2", &["wal"], 0)["passed"], 2);
    let without = killed("kill-9-recovery", "sqlite", "2", &["off"], 122);
    assert_eq!(without["failed"], 2, "{without:#}");
}

#[test]
#[ignore = "half a minute, and PostgreSQL: make chaos"]
fn the_books_of_postgres_balance_if_they_are_kept_in_transactions() {
    assert_eq!(killed("kill-9-recovery", "postgres", "2", &["."], 0)["passed"], 2);
    // Half-way the clients are at work, whatever the start of the server writes.
    let without = killed("crash-half-way", "postgres", "1", &[".", "careless"], 122);
    assert!(without["odd"].to_string().contains("exit 1"), "{without:#}");
}

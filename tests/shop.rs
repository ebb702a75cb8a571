//! The shop of agents in `tests/shop/`: scenarios of the library tell its careful variant from its careless one.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Scene, program};
use serde_json::Value;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop/shop.yaml");

/// What the audit says of the careless variant: that something was uploaded or advertised 2 times.
const TWICE: &[&str] = &[" times"];
const DAMAGED: &[&str] = &["and costs", "with a damaged text"];

/// A scenario of the library, and what the careless variant does wrong in it.
const SCENARIOS: [(&str, &[&str]); 7] = [
    ("kill-9-recovery", TWICE),
    ("crash-half-way", TWICE),
    ("timeout-after-handoff", TWICE),
    ("lease-expiry", TWICE),
    ("handoff-corruption", DAMAGED),
    ("delayed-recovery", TWICE),
    ("cascade", TWICE),
];

/// The results of a scenario on a variant.
fn shop(scenario: &str, variant: &str, runs: u32, options: &[&str], code: i32) -> Value {
    program("node", "nodejs");
    let scene = Scene::new();
    let (runs, jobs) = (runs.to_string(), runs.min(8).to_string());
    // Without the helpers' limit of a minute: fifty runs take longer.
    let done = std::process::Command::new(CHAOS)
        .args(["scenario", "run", scenario, "--on", SHOP, "--seed", "11", "--runs", &runs, "--jobs", &jobs])
        .args(["--out", "out"])
        .args(options)
        .args(["--", variant])
        .current_dir(scene.path(""))
        .env("XDG_STATE_HOME", scene.path("state"))
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&scene.read("out/experiment.json")).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{scenario} {variant}: {said}\n{result:#}");
    result
}

fn stands(scenario: &str, runs: u32) -> Value {
    let result = shop(scenario, "careful", runs, &[], 0);
    assert_eq!(result["passed"], runs, "{scenario}: {result:#}");
    assert!(result["total_faults_fired"].as_u64() >= Some(u64::from(runs)), "{scenario}: {result:#}");
    result
}

/// The results, and how many runs failed with one of these complaints of the audit.
fn falls(scenario: &str, runs: u32, wrongs: &[&str]) -> (Value, usize) {
    let result = shop(scenario, "careless", runs, &[], 122);
    let reasons = result["odd"].as_array().unwrap().iter().filter_map(|odd| odd["why"].as_str());
    let known = reasons.filter(|why| why.contains("audit.py") && wrongs.iter().any(|wrong| why.contains(wrong)));
    let known = known.count();
    (result, known)
}

/// The scenario of this number, in few runs.
fn told_apart(number: usize) {
    let (scenario, wrongs) = SCENARIOS[number];
    stands(scenario, 2);
    let (result, known) = falls(scenario, 3, wrongs);
    // Where a kill falls before the first item or after the last, or falls so often that nobody starts the agents
    // again, there is nothing to complain of.
    assert!(known >= 2, "{scenario}: not for {wrongs:?}: {result:#}");
}

#[test]
fn work_is_not_done_twice_after_a_kill() {
    told_apart(0);
}

#[test]
fn work_is_not_done_twice_after_a_kill_half_way() {
    told_apart(1);
}

#[test]
fn a_lost_answer_does_not_make_two_of_one() {
    told_apart(2);
}

#[test]
fn a_jump_of_the_clock_takes_no_lease_away() {
    told_apart(3);
}

#[test]
fn what_is_damaged_is_handed_over_again() {
    told_apart(4);
}

#[test]
fn slow_is_not_dead() {
    told_apart(5);
}

#[test]
fn one_that_falls_takes_no_other_with_it() {
    told_apart(6);
}

#[test]
fn the_careful_shop_could_go_to_mars() {
    let gate = ["--gate", "mars-rover,completion=100%"];
    let careful = shop("connect-refused", "careful", 3, &gate, 0);
    assert_eq!(careful["passed"], 3, "{careful:#}");
    // Its agents fall at each refusal and are started again, until nobody does.
    let careless = shop("connect-refused", "careless", 3, &gate, 122);
    assert!(careless["gate"].as_str().unwrap().contains("gate failed: completion"), "{careless:#}");
}

#[test]
#[ignore = "several minutes: make shop"]
fn fifty_runs_of_each() {
    for (scenario, wrongs) in SCENARIOS {
        let began = std::time::Instant::now();
        let careful = stands(scenario, 50);
        let (careless, known) = falls(scenario, 50, wrongs);
        let faults = |result: &Value| result["total_faults_fired"].as_u64().unwrap_or(0);
        println!(
            "{scenario}: careful passed {} of 50 ({} faults), careless failed {} of 50 ({} faults), {known} of them as \
             {wrongs:?}, {:.0} s",
            careful["passed"],
            faults(&careful),
            careless["failed"],
            faults(&careless),
            began.elapsed().as_secs_f64()
        );
        assert!(known >= 45, "{scenario}: {careless:#}");
    }
    let careful = shop("connect-refused", "careful", 50, &["--gate", "mars-rover"], 0);
    println!("connect-refused: careful {}", careful["gate"]);
}

//! Draws that are made ahead: every call meets the fault that the draw of its number gives, whatever came between, and
//! every call is counted. What each draw is, is worked out here a second time.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::decide::{rate_threshold, stream_seed};
use chaos_table::lineage;
use common::dialogue::order;
use common::{Done, Scene, guest};
use serde_json::Value;

/// Marsaglia's xorshift of 128 bits ("Xorshift RNGs", Journal of Statistical Software 8(14), 2003), triple (11, 8, 19).
struct Stream([u32; 4]);

impl Stream {
    fn of(place: u64, ordinal: u64) -> Stream {
        let seed = stream_seed(lineage::key(place, ordinal), 0);
        Stream([0, 4, 8, 12].map(|at| u32::from_le_bytes(seed[at..at + 4].try_into().unwrap())))
    }

    /// Which of so many matches fail, as the guest tells it.
    fn falls(&mut self, rate: f64, count: usize) -> String {
        let fails = |_| {
            let [x, y, z, w] = self.0;
            let t = x ^ (x << 11);
            let next = w ^ (w >> 19) ^ t ^ (t >> 8);
            self.0 = [y, z, w, next];
            if u64::from(next) << 32 < rate_threshold(rate) { '1' } else { '0' }
        };
        (0..count).map(fails).collect()
    }
}

const SEED: u64 = 11;

fn go(scene: &Scene, fault: &str, steps: &[&str]) -> Done {
    let guest = guest("ahead");
    let command: Vec<&str> = [guest.as_str()].into_iter().chain(steps.iter().copied()).collect();
    scene.under(&[fault]).options(&["--seed", &SEED.to_string()]).go(&command)
}

/// What one of the guest's processes and threads says.
fn told<'a>(done: &'a Done, who: &str) -> &'a str {
    let line = done.out.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{who}: {}", done.story()))
}

fn rule(scene: &Scene, done: &Done) -> Value {
    let session = done.session.as_ref().unwrap().display().to_string();
    let report = scene.chaos().go(&["report", &session, "-o", "r.json"]).ended(0);
    let report: Value = serde_json::from_slice(&scene.read("r.json")).expect(&report.err);
    report["rules"][0].clone()
}

/// The numbers of the calls that failed.
fn ones(results: &str) -> Vec<usize> {
    results.match_indices('1').map(|(at, _)| at + 1).collect()
}

/// The steps' own calls are all that match: their results are the draws of the main thread, in turn.
#[track_caller]
fn falls_as_drawn(fault: &str, rate: f64, steps: &[&str]) {
    let scene = Scene::new();
    let done = go(&scene, &format!("{fault} rate={}%", rate * 100.0), steps).ended(0);
    let results = told(&done, "main");
    let drawn = Stream::of(lineage::root(SEED), 0).falls(rate, results.len());
    assert_eq!(ones(results), ones(&drawn), "{steps:?}: {}", done.err);
    let rule = rule(&scene, &done);
    let fired = drawn.matches('1').count() as u64;
    assert_eq!((rule["matched"].as_u64(), rule["fired"].as_u64()), (Some(results.len() as u64), Some(fired)), "{rule}");
}

const BOTH: &str = "error calls=read,pread,readv,write path=/dev/{zero,null} errno=EIO";

#[test]
fn every_call_meets_the_draw_of_its_number() {
    for rate in [0.0, 0.004, 0.05, 0.5, 0.97] {
        falls_as_drawn("error calls=read,pread,readv,write path=/dev/null errno=EIO", rate, &["w3000"]);
        falls_as_drawn("error calls=malloc process=ahead", rate, &["m3000"]);
    }
}

#[test]
fn what_is_slow_is_what_was_drawn() {
    let scene = Scene::new();
    let done = go(&scene, "latency calls=clock_gettime delay=1ns process=ahead rate=1%", &["c3000"]).ended(0);
    let nth = |line: &Value| line["nth"].as_u64().unwrap() as usize;
    let slow: Vec<usize> = done.injections().iter().map(nth).collect();
    assert_eq!(slow, ones(&Stream::of(lineage::root(SEED), 0).falls(0.01, 3000)), "{}", done.err);
}

#[test]
fn calls_of_one_rule_take_turns() {
    let mut steps = Vec::new();
    // A guest's own look at the other descriptor is the first match.
    for (index, count) in [1, 2, 700, 3, 1, 1, 40, 255, 256, 257, 1000, 1, 8, 9, 16, 512].iter().enumerate() {
        steps.push(format!("{}{count}", ["r", "w", "p", "v", "w", "z"][index % 6]));
    }
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    for rate in [0.0, 0.01, 0.3] {
        let scene = Scene::new();
        let done = go(&scene, &format!("{BOTH} rate={}%", rate * 100.0), &steps).ended(0);
        let results = told(&done, "main");
        let mut stream = Stream::of(lineage::root(SEED), 0);
        stream.falls(rate, 1);
        let mut at = 0;
        for step in &steps {
            let count: usize = step[1..].parse().unwrap();
            // What is no match meets nothing and takes no draw.
            let drawn = if step.starts_with('z') { "0".repeat(count) } else { stream.falls(rate, count) };
            assert_eq!(ones(&results[at..at + count]), ones(&drawn), "{rate} {step} at {at}: {}", done.err);
            at += count;
        }
    }
}

#[test]
fn children_and_threads_have_draws_of_their_own() {
    let scene = Scene::new();
    let rate = 0.02;
    let steps = ["r500", "F", "r100", "B", "r77", "T", "r300"];
    let fault = "error calls=read path=/dev/zero errno=EIO rate=2%";
    let done = go(&scene, fault, &steps).ended(0);
    let root = lineage::root(SEED);
    let mut main = Stream::of(root, 0);
    main.falls(rate, 1);
    assert_eq!(ones(told(&done, "main")), ones(&main.falls(rate, 500 + 100 + 77 + 300)), "{}", done.err);
    let drawn = |mut stream: Stream| ones(&stream.falls(rate, 300));
    assert_eq!(ones(told(&done, "fork")), drawn(Stream::of(lineage::child(root, 0, 1), 0)), "{}", done.err);
    assert_eq!(ones(told(&done, "thread")), drawn(Stream::of(root, lineage::thread(0, 1))), "{}", done.err);
    // Which child of its parent's one is that nobody has seen made, is not known. But its draws are not the parent's.
    let unseen = told(&done, "unseen");
    assert_eq!(unseen.len(), 300);
    assert_eq!(rule(&scene, &done)["matched"].as_u64(), Some(1 + 977 + 3 * 300), "{}", done.story());
}

#[test]
fn what_is_killed_has_counted_every_call() {
    for count in [1, 7, 8, 9, 100, 1000, 1037] {
        let scene = Scene::new();
        let done = go(&scene, "error calls=write path=/dev/null rate=0%", &[&format!("w{count}"), "K"]);
        assert_eq!(rule(&scene, &done)["matched"].as_u64(), Some(count), "{}", done.story());
    }
}

#[test]
fn handlers_that_call_as_well_spoil_nothing() {
    let scene = Scene::new();
    let done = go(&scene, "error calls=read path=/dev/zero errno=EIO rate=1%", &["i200000", "w1"]).ended(0);
    let rule = rule(&scene, &done);
    let (matched, fired) = (rule["matched"].as_u64().unwrap(), rule["fired"].as_u64().unwrap());
    // Only the first draws are looked at: those that the handlers took are part of the stream.
    let drawn = Stream::of(lineage::root(SEED), 0).falls(0.01, matched as usize).matches('1').count() as u64;
    assert!(matched > 200_000, "{}", done.story());
    assert!(fired.abs_diff(drawn) < 100, "{fired} of {drawn}: {}", done.story());
}

#[test]
fn a_rate_that_is_changed_holds_from_the_next_call_on() {
    let scene = Scene::new();
    let guest = guest("ahead");
    let faults = ["error name=it calls=write path=/dev/null errno=EIO rate=0%"];
    let mut going = scene.under(&faults).start(&[&guest, "w3000", "u", "w20"]);
    going.wait_until("its first calls are made", || scene.path("waits").exists());
    order(&scene, &["set", "it", "rate=100%"]);
    order(&scene, &["set", "it", "rate=50%"]);
    order(&scene, &["set", "it", "rate=100%"]);
    scene.write("go", "");
    let done = going.end().ended(0);
    assert_eq!(told(&done, "main")[3000..], "1".repeat(20), "{}", done.story());
}

//! How soon a change of a run that goes on is obeyed, from the moment when it was published, by the log's own times.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::dialogue::{Dialogue, READS, ctl, order, scene};
use common::{Done, guest};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const ORDERS: usize = 12;
/// What a quiet machine keeps, in ns ...
const PROMISED: i64 = 1_000_000;
/// ... and what half of the orders must keep on one whose cores are taken by others.
const BUSY: i64 = 15_000_000;

/// When each order was in force, by the rule that it names, in ns.
fn marks(done: &Done) -> BTreeMap<String, i64> {
    let told = done.lines("mark");
    let rule = |text: &str| text.split_whitespace().nth(2).map(|name| name.trim_end_matches(':').to_owned());
    told.iter().filter_map(|mark| Some((rule(mark["text"].as_str()?)?, mark["at_ns"].as_i64()?))).collect()
}

/// Half of the times are within what a busy machine keeps, and the shortest within the promise.
fn judge(what: &str, mut times: Vec<i64>) {
    times.sort_unstable();
    println!("{what}: {} us", times.iter().map(|ns| (ns / 1000).to_string()).collect::<Vec<_>>().join(" "));
    assert!(times[times.len() / 2] < BUSY && times[0] < PROMISED, "{what}: {times:?} ns");
}

#[test]
fn every_process_obeys_a_new_rule_at_its_next_call() {
    let scene = scene();
    let processes = 3;
    let run = scene.under(&["nanosleep=EINTR@0%"]);
    let mut running = run.start(&[&guest("loop"), "-p", "3", "-s", "50", "1000000"]);
    let session = scene.text("session-0");
    running.wait_until("it takes orders", || ctl(&scene, &[&session, "mark", "x"]).status.success());
    for number in 0..ORDERS {
        let spec = format!("error name=r{number} calls=read path=data.bin errno=EIO times=1");
        order(&scene, &[&session, "add", &spec]);
        std::thread::sleep(Duration::from_millis(20));
    }
    order(&scene, &[&session, "add", "exit name=end calls=read path=data.bin code=0"]);
    let done = running.end().ended(0);
    let marks = marks(&done);
    let mut by_process: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for injection in done.injections().iter().filter(|injection| injection["rule"] != "end") {
        let since = injection["at_ns"].as_i64().unwrap() - marks[injection["rule"].as_str().unwrap()];
        by_process.entry(injection["pid"].as_u64().unwrap()).or_default().push(since);
    }
    assert_eq!(by_process.len(), processes, "{}", done.story());
    for (pid, times) in by_process {
        assert_eq!(times.len(), ORDERS, "{pid}: {}", done.story());
        judge("a rule that was added", times);
    }
}

#[test]
fn a_call_that_hangs_is_let_go_at_once() {
    let scene = scene();
    let ready = "
import select
pipe = os.pipe()
poll = select.poll()
poll.register(pipe[0])
def wait():
    return attempt(lambda: poll.poll(10_000))
";
    let mut target = Dialogue::start(&scene, &["pread=EIO@0%"], &format!("{READS}{ready}"));
    let session = scene.path("session-0");
    let start = start_of(&session);
    let mut returned = Vec::new();
    let hanging = || common::read_log(&session).iter().filter(|line| line["type"] == "injection").count();
    for number in 0..ORDERS {
        let name = format!("r{number}");
        let (fault, call) = match number % 3 {
            0 => ("hang calls=pread path=data.bin", "read()"),
            1 => ("latency calls=pread path=data.bin delay=1h", "read()"),
            _ => ("hang calls=poll", "(os.write(pipe[1], b'x'), wait(), os.read(pipe[0], 1))[1]"),
        };
        order(&scene, &["add", &format!("{fault} name={name}")]);
        target.ask_without_waiting(&format!("[{call}, time.monotonic_ns()]"));
        target.wait_until("it waits", || hanging() > number);
        order(&scene, &["rm", &name]);
        let answer = target.answer();
        let at = answer.strip_prefix("['ok', ").and_then(|rest| rest.strip_suffix("]")?.parse::<i64>().ok());
        returned.push((name, at.unwrap_or_else(|| panic!("{answer}")) - start));
    }
    let done = target.end();
    // The mark of `rm` comes last, so it is the one that is kept of each name.
    let marks = marks(&done);
    judge("a wait whose rule was taken away", returned.iter().map(|(name, at)| at - marks[name]).collect());
}

/// CLOCK_MONOTONIC when the run of a session directory started, in ns: the fourth word of its file.
fn start_of(session: &Path) -> i64 {
    let entries = std::fs::read_dir(session).unwrap().flatten();
    let file = entries.map(|entry| std::fs::read(entry.path()).unwrap_or_default());
    let file = file.into_iter().find(|bytes| bytes.starts_with(b"CHAOSEXC")).unwrap();
    i64::from_ne_bytes(file[24..32].try_into().unwrap())
}

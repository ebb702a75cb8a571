//! When a rule fires: positions, windows, counters and their scopes, and the order of it all.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Complaints, Scene, guest};

/// The positions at which `loop` failed, worker by worker.
fn positions(out: &str) -> Vec<(String, Vec<u64>)> {
    let mut workers: Vec<(String, Vec<u64>)> = out
        .lines()
        .map(|line| {
            let (worker, rest) = line.split_once(':').unwrap_or_else(|| panic!("{out}"));
            let numbers = rest.split_whitespace().map(|hit| hit.split_once('@').unwrap().1.parse().unwrap()).collect();
            (worker.to_owned(), numbers)
        })
        .collect();
    workers.sort();
    workers
}

fn single(out: &str) -> Vec<u64> {
    positions(out).into_iter().flat_map(|(_, numbers)| numbers).collect()
}

#[test]
fn positions_are_as_the_table_says() {
    let cases: &[(&str, &[u64])] = &[
        ("read=EIO@3", &[3]),
        ("read=EIO@3..5", &[3, 4, 5]),
        ("read=EIO@2..+3", &[2, 5, 8, 11]),
        ("error calls=read errno=EIO nth=1", &[1]),
        ("error calls=read errno=EIO nth=12", &[12]),
        ("error calls=read errno=EIO nth=13", &[]),
        ("error calls=read errno=EIO every=5", &[5, 10]),
        ("error calls=read errno=EIO every=1 times=2", &[1, 2]),
        ("error calls=read errno=EIO after=10", &[11, 12]),
        ("error calls=read errno=EIO after=2 every=3", &[5, 8, 11]),
        ("error calls=read errno=EIO after=2 nth=1..2", &[3, 4]),
        ("error calls=read errno=EIO after=3 times=2", &[4, 5]),
        ("error calls=read errno=EIO nth=2..+2 times=3", &[2, 4, 6]),
        ("error calls=read errno=EIO rate=0%", &[]),
        ("error calls=read errno=EIO rate=100% times=1", &[1]),
        ("error calls=read errno=EIO nth=4 rate=100%", &[4]),
        ("error calls=read errno=EIO nth=4 rate=0%", &[]),
        ("error calls=read errno=EIO nth=5..2000000000", &[5, 6, 7, 8, 9, 10, 11, 12]),
    ];
    let scene = Scene::new();
    let mut complaints = Complaints::default();
    for (fault, wanted) in cases {
        let done = scene.under(&[fault]).go(&[&guest("loop"), "12"]);
        complaints.expect(fault, single(&done.out), wanted.to_vec());
        let logged: Vec<u64> = done.injections().iter().filter_map(|line| line["nth"].as_u64()).collect();
        complaints.expect(&format!("{fault}: nth in the log"), logged, wanted.to_vec());
        complaints.expect(fault, done.code, 0);
    }
    complaints.none();
}

#[test]
fn counters_are_kept_per_thread_process_or_tree() {
    let scene = Scene::new();
    let go = |scope: &str, arguments: &[&str]| {
        let fault = format!("error calls=read errno=EIO nth=2..3 {scope}");
        let loop_guest = guest("loop");
        let mut command = vec![loop_guest.as_str(), "10"];
        command.extend(arguments);
        let done = scene.under(&[&fault]).go(&command).ended(0);
        positions(&done.out).into_iter().map(|(_, numbers)| numbers).collect::<Vec<_>>()
    };
    let count = |workers: Vec<Vec<u64>>| workers.iter().map(Vec::len).sum::<usize>();
    assert_eq!(go("per=thread", &["-t", "3"]), [[2, 3], [2, 3], [2, 3]]);
    assert_eq!(count(go("per=process", &["-t", "3"])), 2);
    assert_eq!(count(go("", &["-t", "3"])), 2, "per process is the default");
    assert_eq!(go("per=process", &["-p", "3"]), [[2, 3], [2, 3], [2, 3]]);
    assert_eq!(count(go("per=tree", &["-p", "3"])), 2);
    assert_eq!(count(go("per=tree", &["-t", "2", "-p", "3"])), 2);
}

#[test]
fn times_heals_in_its_scope() {
    let scene = Scene::new();
    for (scope, wanted) in [("per=tree", 3), ("per=process", 6), ("per=thread", 12)] {
        let fault = format!("error calls=read errno=EIO times=3 {scope}");
        let done = scene.under(&[&fault]).go(&[&guest("loop"), "10", "-t", "2", "-p", "2"]).ended(0);
        assert_eq!(done.injections().len(), wanted, "{scope}: {}", done.story());
    }
}

#[test]
fn windows_open_and_close() {
    let scene = Scene::new();
    // 1.5 s in steps of 10 ms and more: what lies far enough on either side of a border is sure.
    let early = scene.under(&["error calls=read errno=EIO for=300ms"]).go(&[&guest("loop"), "150", "-s", "10000"]);
    let hits = single(&early.out);
    assert!(hits.first() == Some(&1) && hits.len() <= 31, "for=300ms: {hits:?}");
    let late = scene.under(&["error calls=read errno=EIO from=500ms"]).go(&[&guest("loop"), "150", "-s", "10000"]);
    let hits = single(&late.out);
    assert!(hits.first() > Some(&1) && hits.last() == Some(&150), "from=500ms: {hits:?}");
    for line in late.injections() {
        assert!(line["at_ns"].as_u64() >= Some(500_000_000), "{line}");
    }
    let between = scene
        .under(&["error calls=read errno=EIO from=400ms for=300ms"])
        .go(&[&guest("loop"), "150", "-s", "10000"])
        .ended(0);
    for line in between.injections() {
        let at = line["at_ns"].as_u64().unwrap();
        // The guest goes on for 1.5 s; a record is written a moment after its decision, on a busy machine a long one.
        assert!((400_000_000..=1_200_000_000).contains(&at), "{line}");
    }
    assert!(!between.injections().is_empty(), "{}", between.story());
}

#[test]
fn a_run_injects_only_as_long_as_its_for() {
    let scene = Scene::new();
    let run = scene.under(&["read=EIO"]).options(&["--for", "300ms"]);
    let hits = single(&run.go(&[&guest("loop"), "150", "-s", "10000"]).ended(0).out);
    assert!(hits.first() == Some(&1) && hits.len() <= 31, "{hits:?}");
}

#[test]
fn max_faults_is_the_most_for_the_whole_tree() {
    let scene = Scene::new();
    let run = scene.under(&["read=EIO", "close=EIO"]).options(&["--max-faults", "7"]);
    let done = run.go(&[&guest("loop"), "10", "-t", "2", "-p", "3"]).ended(0);
    assert_eq!(done.injections().len(), 7, "{}", done.story());
    assert_eq!(single(&done.out).len(), 7, "{}", done.story());
}

#[test]
fn latencies_add_up_and_the_first_other_fault_wins() {
    let scene = Scene::new();
    let faults = [
        "latency calls=read delay=40ms",
        "error calls=read errno=EIO nth=2..3",
        "latency calls=read delay=50ms",
        "error calls=read errno=ENOSPC nth=3..4",
    ];
    let done = scene.under(&faults).go(&[&guest("timed"), "5"]).ended(0);
    let lines: Vec<Vec<&str>> = done.out.lines().map(|line| line.split(' ').collect()).collect();
    let errnos: Vec<&str> = lines.iter().map(|line| line[2]).collect();
    assert_eq!(errnos, ["0", "EIO", "EIO", "ENOSPC", "0"], "{}", done.story());
    for at in [0, 4] {
        assert!(lines[at][0].parse::<u64>().unwrap() >= 90, "both delays: {}", done.story());
    }
}

#[test]
fn a_rule_that_lost_the_call_still_advances() {
    let scene = Scene::new();
    let faults = ["error calls=read errno=EIO nth=1..2", "error calls=read errno=ENOSPC every=2"];
    let done = scene.under(&faults).go(&[&guest("loop"), "6"]);
    done.said("0.0: EIO@1 EIO@2 ENOSPC@4 ENOSPC@6");
}

#[test]
fn arming_waits_for_main_unless_told_otherwise() {
    let scene = Scene::new();
    let table = |arm: &str| format!("arm: {arm}\nfaults:\n  - {{fault: error, calls: pread, errno: EIO}}\n");
    let edges = |arm: &str| {
        let file = scene.write("table.yaml", table(arm));
        scene.under(&[]).options(&["--table", &file]).go(&[&guest("edges")])
    };
    edges("main").said("constructor ok\nmain EIO\nkey EIO\natexit EIO\ndestructor EIO");
    edges("exec").said("constructor EIO\nmain EIO\nkey EIO\natexit EIO\ndestructor EIO");
    edges("{after: 1h}").said("constructor ok\nmain ok\nkey ok\natexit ok\ndestructor ok");
}

#[test]
fn a_disabled_table_injects_nothing() {
    let scene = Scene::new();
    let file = scene.write("off.yaml", "enabled: false\nfaults:\n  - {fault: error, calls: read, errno: EIO}\n");
    let done = scene.under(&[]).options(&["--table", &file]).go(&[&guest("loop"), "10"]).said("0.0:");
    assert_eq!(done.followed().injections().len(), 0);
}

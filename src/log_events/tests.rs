use super::*;
use crate::cli::Format;
use crate::collect::{Collector, Tree};
use crate::testing::{Fake, injection};

fn read(fake: &Fake) -> Vec<serde_json::Value> {
    let source = Source::find(Some(fake.dir.path())).unwrap();
    let mut out = Vec::new();
    crate::log_format::write(Format::Jsonl, &mut Events::of(&source).unwrap(), &mut out).unwrap();
    out.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn injections(fake: &Fake) -> Vec<serde_json::Value> {
    read(fake).into_iter().filter(|line| line["type"] == "injection").collect()
}

fn process(fake: &mut Fake) {
    let record = Record { kind: kind::PROCESS, process: 1, pid: 7, ..Record::default() };
    fake.write(record, b"0.2\0worker\0/usr/bin/worker\0");
}

#[test]
fn an_injection_has_every_field_with_its_names() {
    let mut fake = Fake::new();
    fake.describe();
    process(&mut fake);
    fake.write(injection(3), b"/data/x");
    let lines = read(&fake);
    assert_eq!(lines[0]["type"], "start");
    assert_eq!(lines[1]["executable"], "/usr/bin/worker");
    let expected = serde_json::json!({
        "type": "injection", "seq": 1, "at_ns": 0, "pid": std::process::id(), "tid": std::process::id(),
        "lineage": "0.2", "process": "worker", "rule": "rule-a", "fault": "error", "call": "read", "errno": "EIO",
        "effect": null, "resource": "/data/x", "nth": 3, "requested": 0, "result": -1, "delivered": true,
    });
    assert_eq!(lines[2], expected);
}

#[test]
fn a_resource_that_is_no_utf8_keeps_its_bytes() {
    let mut fake = Fake::new();
    fake.describe();
    fake.write(injection(1), b"/\xff\n");
    assert_eq!(injections(&fake)[0]["resource_hex"], "2fff0a");
}

#[test]
fn a_slow_injection_is_joined_with_its_end_across_log_and_ring() {
    let mut fake = Fake::new();
    fake.describe();
    let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
    let pending = Record { status: status::PENDING, fault: 2, effect: 0, requested: 5, ..injection(1) };
    let first = fake.write(pending, b"");
    let second = fake.write(pending, b"");
    fake.write(injection(2), b"");
    collector.drain(Tree::Alive);
    let end = |nth, result| Record { kind: kind::DELIVERY, status: status::DELIVERED, nth, result, ..injection(0) };
    fake.write(end(second, 22), b"");
    collector.drain(Tree::Alive);
    fake.write(end(first, 11), b"");
    let seen: Vec<_> = injections(&fake).iter().map(|line| line["result"].as_i64()).collect();
    assert_eq!(seen, [Some(11), Some(22), Some(-1)]);
    // Who waits has met its fault; that its end comes as well is not one more.
    assert_eq!(collector.tally().delivered[0], 3);
    collector.drain(Tree::Alive);
    assert_eq!((collector.tally().fired[0], collector.tally().delivered[0]), (3, 3));
}

#[test]
fn a_launcher_that_died_while_it_wrote_lost_nothing() {
    let mut fake = Fake::new();
    fake.describe();
    let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
    for nth in 0..10 {
        fake.write(injection(nth), &[b'x'; 300]);
    }
    collector.drain(Tree::Alive);
    for nth in 10..20 {
        fake.write(injection(nth), b"in the ring");
    }
    // It was killed after writing part of what it had read, and before it moved the tail.
    let log = std::fs::read(fake.log_path()).unwrap();
    fake.open().set_tail(0).unwrap();
    for cut in [log.len(), log.len() - 64, log.len() - 100, 1000, 64, 0] {
        std::fs::write(fake.log_path(), &log[..cut]).unwrap();
        let nths: Vec<_> = injections(&fake).iter().map(|line| line["nth"].as_u64().unwrap()).collect();
        assert_eq!(nths, (0..20).collect::<Vec<_>>(), "cut at {cut}");
    }
}

#[test]
fn a_damaged_log_gives_what_it_can() {
    let mut fake = Fake::new();
    fake.describe();
    let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
    for nth in 0..10 {
        fake.write(injection(nth), b"");
    }
    collector.drain(Tree::Alive);
    let mut log = std::fs::read(fake.log_path()).unwrap();
    log[128..192].fill(0xee);
    std::fs::write(fake.log_path(), &log).unwrap();
    let source = Source::find(Some(fake.dir.path())).unwrap();
    let mut events = Events::of(&source).unwrap();
    assert_eq!(events.by_ref().filter(|event| matches!(event, Event::Injection(_))).count(), 9);
    assert_eq!(events.damaged(), 1);
}

#[test]
fn a_session_file_alone_is_a_log() {
    let mut fake = Fake::new();
    process(&mut fake);
    fake.write(injection(3), b"/data/x");
    let source = Source::find(Some(&fake.dir.path().join("session"))).unwrap();
    assert_eq!(source.seed, Some(42));
    let rules: Vec<_> = Events::of(&source)
        .unwrap()
        .filter_map(|event| if let Event::Injection(injection) = event { Some(injection.rule) } else { None })
        .collect();
    assert_eq!(rules, ["rule-a"]);
}

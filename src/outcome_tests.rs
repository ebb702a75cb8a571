//! Every class of outcome, with and without checks.

use super::*;
use crate::episode::Episodes;
use crate::facts::{Checked, Death};
use crate::log_events::{Injection, Recovery};

const ROOT: u32 = 7;

fn hit(index: u64, fault: &str, resource: &str, pid: u32) -> Injection {
    Injection {
        index,
        at_ns: index * 100,
        pid,
        image: pid,
        fault: fault.into(),
        call: "connect".into(),
        resource: Some(resource.into()),
        result: Some(-1),
        delivered: true,
        ..Injection::default()
    }
}

fn good(of: u64, at_ns: u64, resource: &str) -> Recovery {
    Recovery { of, at_ns, call: "connect".into(), resource: Some(resource.into()), image: ROOT, ..Recovery::default() }
}

fn episodes(hits: &[Injection], goods: &[Recovery]) -> Vec<Episode> {
    let mut episodes = Episodes::default();
    hits.iter().for_each(|hit| episodes.injected(hit));
    goods.iter().for_each(|good| episodes.recovered(good));
    episodes.finish()
}

fn ended(root: Ended) -> Facts {
    Facts { root, expected: vec![0], ..Facts::default() }
}

fn check(passed: bool) -> Checked {
    Checked { check: "file a.json json".into(), passed, why: "it is cut short".into() }
}

fn words(hits: &[Injection], goods: &[Recovery], facts: &Facts, kills: &[Kill]) -> Vec<String> {
    let outcomes = classify(&mut episodes(hits, goods), Some(facts), kills, Some(ROOT));
    outcomes.iter().map(Outcome::words).collect()
}

#[test]
fn a_retry_recovers_and_what_stays_open_is_unknown_or_tolerated() {
    let hits = [hit(1, "refuse", "a:1", ROOT), hit(2, "refuse", "b:1", ROOT)];
    let goods = [good(1, 400, "a:1")];
    let fine = ended(Ended::Exit(0));
    assert_eq!(words(&hits, &goods, &fine, &[]), ["recovered (retry)", "unknown"]);
    let checked = Facts { checks: vec![check(true)], ..fine };
    assert_eq!(words(&hits, &goods, &checked, &[]), ["recovered (retry)", "tolerated"]);
}

#[test]
fn a_failure_falls_to_what_is_open_and_to_all_when_nothing_is() {
    let hits = [hit(1, "refuse", "a:1", ROOT), hit(2, "corrupt", "b:1", ROOT)];
    let goods = [good(1, 400, "a:1")];
    let wrong = Facts { checks: vec![check(true), check(false)], ..ended(Ended::Exit(0)) };
    assert_eq!(words(&hits, &goods, &wrong, &[]), ["recovered (retry)", "failed: silently wrong"]);
    assert_eq!(words(&hits[..1], &goods, &wrong, &[]), ["failed: silently wrong"]);
    assert_eq!(words(&hits, &goods, &ended(Ended::Exit(3)), &[]), ["recovered (retry)", "failed gracefully"]);
    assert_eq!(words(&hits, &goods, &ended(Ended::Timeout), &[]), ["recovered (retry)", "failed: hang"]);
    let other = Facts { expected: vec![3], ..ended(Ended::Exit(0)) };
    assert_eq!(words(&hits, &goods, &other, &[]), ["recovered (retry)", "failed: unexpected end"]);
    let three = Facts { expected: vec![0, 3], ..ended(Ended::Exit(3)) };
    assert_eq!(words(&hits, &goods, &three, &[]), ["recovered (retry)", "unknown"]);
}

#[test]
fn a_crash_fails_the_open_episodes_of_its_process_alone() {
    let hits = [hit(1, "refuse", "a:1", ROOT), hit(2, "refuse", "b:1", 8), hit(3, "refuse", "c:1", 8)];
    let goods = [good(2, 250, "b:1"), good(3, 900, "c:1")];
    let death = Death { at_ns: 500, pid: 8, process: Some("worker".into()), signal: libc::SIGSEGV, ..Death::default() };
    let facts = Facts { deaths: vec![death], ..ended(Ended::Exit(0)) };
    // The third was got over by somebody else, after the crash: failed beats recovered.
    assert_eq!(words(&hits, &goods, &facts, &[]), ["unknown", "recovered (retry)", "failed: crash"]);
    assert_eq!(crashes(&facts, &[])[0].words(), "worker (pid 8) by SIGSEGV");
}

#[test]
fn only_what_nobody_sent_is_a_crash() {
    let death = |pid, signal| Death { at_ns: 500, pid, signal, ..Death::default() };
    let deaths = vec![
        death(1, libc::SIGSEGV),
        death(2, libc::SIGKILL),
        death(3, libc::SIGTERM),
        Death { oom: true, ..death(4, libc::SIGKILL) },
        Death { ours: true, ..death(5, libc::SIGABRT) },
        death(6, libc::SIGABRT),
    ];
    let facts = Facts { deaths, ..ended(Ended::Exit(0)) };
    let kill = |at_ns, pid, signal| Kill { at_ns, pid, signal };
    let found = |kills: &[Kill]| crashes(&facts, kills).iter().map(|crash| crash.pid).collect::<Vec<_>>();
    assert_eq!(found(&[]), [1, 4, 6]);
    assert_eq!(found(&[kill(400, 1, libc::SIGSEGV)]), [4, 6]);
    // Another signal, another process, or too late.
    let others = [kill(400, 1, libc::SIGTERM), kill(400, 9, libc::SIGSEGV), kill(600, 6, libc::SIGABRT)];
    assert_eq!(found(&others), [1, 4, 6]);
}

#[test]
fn a_killed_service_is_restarted_when_its_probe_passes_three_times() {
    let hits = [hit(10, "signal", "/db", 8)];
    let streak = |up, from_ns, to_ns, count| Streak { check: 0, up, from_ns, to_ns, count };
    let with = |health: Vec<Streak>| Facts { health, ..ended(Ended::Exit(0)) };
    let kills = [Kill { at_ns: 1000, pid: 8, signal: libc::SIGKILL }];
    let back = with(vec![streak(true, 0, 900, 10), streak(false, 1100, 1400, 4), streak(true, 1500, 1700, 3)]);
    let mut built = episodes(&hits, &[]);
    let outcomes = classify(&mut built, Some(&back), &kills, Some(ROOT));
    assert_eq!(outcomes, [Outcome::Recovered { how: How::Restarted, ttr_ns: 500 }]);
    let twice = with(vec![streak(false, 1100, 1400, 4), streak(true, 1500, 1600, 2)]);
    assert_eq!(words(&hits, &[], &twice, &kills), ["unknown"]);
    let between = with(vec![streak(true, 0, 2000, 21)]);
    assert_eq!(words(&hits, &[], &between, &kills), ["recovered (restarted)"]);
    let too_early = with(vec![streak(true, 0, 1100, 12)]);
    assert_eq!(words(&hits, &[], &too_early, &kills), ["unknown"]);
}

#[test]
fn a_root_that_we_killed_is_no_crash_and_did_not_survive() {
    let hits = [hit(1, "signal", "/db", ROOT)];
    let death = Death { at_ns: 500, pid: ROOT, signal: libc::SIGSEGV, ..Death::default() };
    let facts = Facts { deaths: vec![death], ..ended(Ended::Signal(libc::SIGSEGV)) };
    let kills = [Kill { at_ns: 100, pid: ROOT, signal: libc::SIGSEGV }];
    assert_eq!(words(&hits, &[], &facts, &kills), ["failed: unexpected end"]);
    assert_eq!(words(&hits, &[], &facts, &[]), ["failed: crash"]);
}

#[test]
fn without_facts_nothing_is_claimed() {
    let hits = [hit(1, "refuse", "a:1", ROOT), hit(2, "refuse", "b:1", ROOT)];
    let mut built = episodes(&hits, &[good(1, 400, "a:1")]);
    let outcomes = classify(&mut built, None, &[], None);
    assert_eq!(outcomes[0], Outcome::Recovered { how: How::Retry, ttr_ns: 300 });
    assert_eq!(outcomes[1], Outcome::Unknown);
}

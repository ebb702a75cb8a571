use super::*;

const MS: u64 = 1_000_000;

/// The traits of attempts with these pauses between them, in ms, of which the last succeeds.
fn after_pauses(pauses: &[u64]) -> Traits {
    Traits::of(&calls(pauses), Ending::Recovered)
}

fn calls(pauses: &[u64]) -> Calls {
    let mut calls = Calls::default();
    let mut at = 1000 * MS;
    calls.injected(at, at);
    for (index, pause) in pauses.iter().enumerate() {
        at += pause * MS;
        if index + 1 == pauses.len() { calls.recovered(at, 1) } else { calls.injected(at, at) }
    }
    calls
}

fn backoff_of(pauses: &[u64]) -> Option<Backoff> {
    after_pauses(pauses).backoff
}

#[test]
fn pauses_tell_the_backoff() {
    assert_eq!(backoff_of(&[100]), None);
    assert_eq!(backoff_of(&[0, 0, 1, 0]), Some(Backoff::None));
    assert_eq!(backoff_of(&[100, 104, 99, 101]), Some(Backoff::Constant));
    assert_eq!(backoff_of(&[100, 200, 400, 800]), Some(Backoff::Growing));
    assert_eq!(backoff_of(&[100, 200]), Some(Backoff::Growing));
    assert_eq!(backoff_of(&[110, 190, 420, 370, 900]), Some(Backoff::Growing), "jitter");
    assert_eq!(backoff_of(&[100, 200, 400, 400, 400]), Some(Backoff::Growing), "a cap");
    assert_eq!(backoff_of(&[100, 200, 300, 400]), Some(Backoff::Growing), "linear");
    assert_eq!(backoff_of(&[800, 10, 500, 20, 90]), Some(Backoff::Uneven));
    assert_eq!(backoff_of(&[800, 400, 200, 100]), Some(Backoff::Uneven));
}

#[test]
fn attempts_are_counted_also_when_not_all_are_told() {
    let mut calls = calls(&[10, 10]);
    assert_eq!(Traits::of(&calls, Ending::Recovered).attempts, 3);
    calls.failed(0, 500);
    assert_eq!(Traits::of(&calls, Ending::Recovered).attempts, 502);
    calls.failed(0, u64::MAX);
    calls.failed(0, 7);
    assert_eq!(Traits::of(&calls, Ending::Recovered).attempts, u64::MAX);
    (0..3000).for_each(|at| calls.injected(at, at));
    assert_eq!(calls.moments.len(), KEPT);
}

#[test]
fn the_busiest_second_is_what_a_rate_limiter_shows() {
    assert_eq!(after_pauses(&[200; 20]).calls_per_second, 5);
    assert_eq!(after_pauses(&[1000; 4]).calls_per_second, 1);
    assert_eq!(after_pauses(&[0; 9]).calls_per_second, 10);
    assert_eq!(after_pauses(&[2000, 10, 10, 2000]).calls_per_second, 3);
}

#[test]
fn a_breaker_is_failures_silence_one_probe_and_then_silence_or_calls_as_before() {
    let with_after = |pauses: &[u64], after: &[u64]| {
        let mut calls = calls(pauses);
        let end = calls.moments.last().unwrap().0;
        after.iter().for_each(|ms| calls.after(end + ms * MS));
        Traits::of(&calls, Ending::Recovered).breaker
    };
    assert!(with_after(&[10, 10, 10, 500], &[10, 20]), "the first probe succeeds, calls resume");
    assert!(with_after(&[10, 12, 9, 500, 510], &[11]), "the second does");
    assert!(with_after(&[0, 0, 0, 0, 300], &[1]));
    assert!(!with_after(&[10, 10, 10, 500], &[600]), "one more retry, at the same long pause");
    assert!(!with_after(&[10, 10, 10, 500, 10, 10], &[10]), "the probe was not alone");
    assert!(!with_after(&[10, 100, 1000], &[10]), "a steep back-off");
    assert!(!with_after(&[100, 200, 400, 800, 1600], &[10]));
    assert!(!with_after(&[100, 100, 100, 100], &[10]));
    assert!(!with_after(&[500], &[10]) && !with_after(&[10, 500], &[10]), "too few failures to tell");
    // Never recovered: two lonely probes are needed.
    let lost = |pauses: &[u64]| Traits::of(&calls(pauses), Ending::GaveUp).breaker;
    assert!(lost(&[10, 10, 500, 500]) && !lost(&[10, 10, 500]));
}

#[test]
fn endings_and_waits_are_told() {
    let mut calls = Calls::default();
    calls.injected(1000 * MS, 3000 * MS);
    calls.injected(3100 * MS, 5100 * MS);
    calls.injected(5200 * MS, 7200 * MS);
    let traits = Traits::of(&calls, Ending::GaveUp);
    assert_eq!((traits.waited_ns, traits.backoff, traits.gave_up), (Some(2000 * MS), Some(Backoff::Constant), true));
    assert_eq!(traits.words(), "3 attempts, constant pauses, at most 1 a second, waited 2.00 s, gave up");
    let hung = Traits::of(&self::calls(&[]), Ending::Hung);
    assert_eq!((hung.hung, hung.gave_up, hung.words().as_str()), (true, false, "1 attempt, hung"));
    let died = Traits::of(&self::calls(&[]), Ending::Died);
    assert!(!died.hung && !died.gave_up);
}

#[test]
fn figures_keep_the_most_and_count_the_rest() {
    let mut all = TraitFigures::default();
    all.count(&after_pauses(&[100, 200, 400]));
    all.count(&Traits::of(&calls(&[0, 0]), Ending::GaveUp));
    assert_eq!((all.episodes, all.attempts, all.growing, all.unpaced, all.gave_up), (2, 4, 1, 1, 1));
    let mut twice = all.clone();
    twice.add(&all);
    assert_eq!((twice.episodes, twice.attempts, twice.growing), (4, 4, 2));
}

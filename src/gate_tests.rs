use super::*;
use crate::episode::How;
use crate::outcome::Outcome;

fn gate(text: &str) -> Gate {
    Gate::parse(&[text.to_owned()]).unwrap().unwrap()
}

fn figures(recovered: u64, unknown: u64) -> Figures {
    let mut figures =
        Figures { runs: 1, ended_runs: 1, completed: 1, delivered: recovered + unknown, ..Figures::default() };
    for nth in 0..recovered {
        figures.count(&Outcome::Recovered { how: How::Retry, ttr_ns: (nth + 1) * 1_000_000 });
    }
    (0..unknown).for_each(|_| figures.count(&Outcome::Unknown));
    figures
}

fn rule(text: &str, figures: &Figures) -> Ruling {
    gate(text).rule(&Judgement { figures, controls: None, rate: None, slowdown: None, damaged: None })
}

fn word(text: &str, figures: &Figures) -> &'static str {
    rule(text, figures).word()
}

#[test]
fn conditions_hold_or_not() {
    let nine = figures(9, 1);
    for text in [
        "recovery>=90%",
        "recovery >= 0.9 , crashes = 0",
        "crashes==0",
        "mttr.p95<2s",
        "mttr.p50<=5ms",
        "injections>=1",
        "unknown=1",
        "unknown!=2",
        "recovered>8",
        "survival.high=100%",
        "production",
        "completion=100%,production",
    ] {
        assert_eq!(word(text, &nine), "passed", "{text}: {:?}", rule(text, &nine));
    }
    for text in ["recovery>90%", "mttr<1ms", "crashes>=1", "survival>=95%", "injections>=11", "runs=2"] {
        assert_eq!(word(text, &nine), "failed", "{text}");
    }
    let said = rule("recovery>=95%,mttr.p95<2ms,crashes=0", &nine).words();
    assert_eq!(said, "gate failed: recovery 90%, wanted >=95%; mttr.p95 9.00 ms (n=9), wanted <2.00 ms");
}

#[test]
fn nothing_delivered_is_inconclusive_whatever_was_asked() {
    let none = figures(0, 0);
    for text in ["recovery>=90%", "injections>=1", "crashes=0", "failed=0", "production", "mars-rover", "injections=0"]
    {
        assert_eq!(word(text, &none), "inconclusive", "{text}");
    }
    // A program that crashes by itself has failed all the same.
    let crashed = Figures { crashes: 1, ..none };
    assert_eq!(word("crashes=0,injections>=1", &crashed), "failed");
}

#[test]
fn no_data_is_inconclusive_and_never_zero() {
    let unknown = figures(0, 3);
    assert_eq!(word("mttr.p95<2s", &unknown), "inconclusive");
    assert_eq!(word("checks.failed=0", &unknown), "inconclusive");
    assert_eq!(word("slowdown<2", &unknown), "inconclusive");
    assert_eq!(word("recovery>=1%", &unknown), "failed");
    assert_eq!(word("recovery>=1%,mttr.p95<2s", &unknown), "failed", "a failure is more than a gap");
    let unseen = Figures { ended_runs: 0, completed: 0, ..figures(9, 0) };
    assert_eq!(word("recovery>=90%", &unseen), "inconclusive");
    let nine = figures(9, 1);
    let spoiled = Judgement { figures: &nine, controls: None, rate: None, slowdown: None, damaged: Some("its log") };
    assert_eq!(gate("recovery>=90%").rule(&spoiled).word(), "inconclusive");
}

#[test]
fn what_nobody_watched_is_inconclusive_and_says_so() {
    let unwatched = Figures { unwatched: 3, files_broken: Some(0), ..figures(0, 3) };
    let on = |figures: &Figures, text: &str| {
        let judgement = Judgement { figures, controls: None, rate: Some(0.3), slowdown: None, damaged: None };
        gate(text).rule(&judgement)
    };
    for text in ["recovery>=0%", "recovery<=100%", "recovered=0", "survival>=0%", "production", "mars-rover"]
        .into_iter()
        .chain(["mttr<1s", "mttr.mean<1s", "mttr.p50<1s", "mttr.p95<1s", "mttr.p99<1s", "mttr.max<1s"])
    {
        let ruling = on(&unwatched, text);
        assert_eq!(ruling.word(), "inconclusive", "{text}: {ruling:?}");
        let why = "not measured: some episodes could not be watched";
        assert!(ruling.words().contains(why) && !ruling.words().contains("there is no figure"), "{text}: {ruling:?}");
    }
    let said = on(&unwatched, "recovery>=80%,mttr.p95<2s,slowdown<2").words();
    let reason = "some episodes could not be watched";
    let expected =
        format!("gate inconclusive: there is no figure for slowdown; recovery, mttr.p95 not measured: {reason}");
    assert_eq!(said, expected);
    // What is known decides, some restarts are not all recoveries, and what needs no watching is judged.
    assert_eq!(on(&Figures { crashes: 1, ..unwatched.clone() }, "production").word(), "failed");
    let some = Figures { unwatched: 1, ..figures(9, 1) };
    assert_eq!((on(&some, "recovery>=90%").word(), on(&some, "mttr<1s").word()), ("inconclusive", "inconclusive"));
    assert_eq!(on(&unwatched, "crashes=0,failed=0,unknown=3,survival.high=100%,injections>=3").word(), "passed");
}

#[test]
fn mars_rover_asks_for_a_rate_and_whole_files() {
    let fine = Figures { files_broken: Some(0), ..figures(9, 1) };
    let on = |figures: &Figures, rate| {
        gate("mars-rover").rule(&Judgement { figures, controls: None, rate, slowdown: None, damaged: None })
    };
    assert_eq!(on(&fine, Some(0.3)).word(), "passed");
    assert_eq!(on(&fine, Some(0.1)).word(), "failed");
    assert_eq!(on(&fine, None).word(), "inconclusive");
    assert_eq!(on(&Figures { files_broken: Some(1), ..fine.clone() }, Some(0.3)).word(), "failed");
    assert_eq!(on(&Figures { files_broken: None, ..fine }, Some(0.3)).word(), "inconclusive");
    assert!(gate("mars-rover").asks_for_files() && !gate("production").asks_for_files());
}

#[test]
fn what_does_not_parse_says_why_and_what_would_be_right() {
    for (text, message, help) in [
        ("", "a condition is empty", "recovery>=90%"),
        ("recovery>=90%,", "a condition is empty", "such as"),
        ("recovry>=90%", "unknown figure `recovry`", "did you mean `recovery`?"),
        ("mttr.p96<2s", "unknown figure `mttr.p96`", "did you mean `mttr.p9"),
        ("prodution", "unknown figure or gate `prodution`", "did you mean `production`?"),
        ("zzzzzzzz=1", "unknown figure `zzzzzzzz`", "one of recovery, survival"),
        ("recovery", "`recovery` compares with nothing", "such as"),
        ("recovery=>90%", "`recovery=>90%` compares twice", ">= <="),
        ("production>3", "production is a gate of its own and no figure", "give `production` alone"),
        ("zzzzzzzz", "unknown figure or gate `zzzzzzzz`", "production, mars-rover"),
        ("latency.p96<2s", "unknown figure `latency.p96`", "did you mean `latency.p9"),
        ("latency.p95<2", "has no unit", "add one of"),
        ("recovery>=", "has no value", "such as"),
        ("recovery>=90", "`recovery>=90`: the rate", "90%"),
        ("recovery>=ninety%", "`recovery>=ninety%`", "30%"),
        ("crashes=-1", "`-1` is no count", "not negative"),
        ("crashes=0.5", "`0.5` is no count", "whole"),
        ("mttr.p95<2", "has no unit", "add one of"),
        ("mttr.p95<2parsecs", "unknown unit", "one of"),
        ("slowdown<fast", "`fast` is no factor", "such as"),
        ("=3", "unknown figure ``", "one of"),
    ] {
        let failure = Gate::parse(&[text.to_owned()]).unwrap_err();
        assert!(failure.message.starts_with("--gate: ") && failure.message.contains(message), "{text}: {failure:?}");
        assert!(failure.help.as_deref().unwrap_or_default().contains(help), "{text}: {failure:?}");
    }
    assert!(Gate::parse(&[]).unwrap().is_none());
}

#[test]
fn figures_are_shown_without_flattery() {
    assert_eq!([0.8996, 0.9, 1.0, 0.0, 0.29].map(percent), ["89.9%", "90%", "100%", "0%", "29%"]);
    let shown = [0, 999, 1500, 12_345_678, 999_000_000, 2_500_000_000, 61_500_000_000].map(duration);
    assert_eq!(shown, ["0 ns", "999 ns", "1.50 us", "12.3 ms", "999 ms", "2.50 s", "1m 1s"]);
}

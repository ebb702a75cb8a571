//! Sessions that somebody has spoiled, in every way that chance finds: a report is made or there is one error, and what
//! was lost is never passed over in silence.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::CHAOS;
use common::handmade::Handmade;
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A session with some of everything.
fn session(dir: &Path) {
    let mut made = Handmade::new("s", &[("refused", "error"), ("slow", "latency")]);
    made.process(100, 100, "0", "agent");
    for number in 0..20u64 {
        let at = made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.1:80 and a longer name", number * 10, 100);
        made.recovers(at, "connect", b"10.0.0.1:80 and a longer name", number * 10 + 5, 100);
    }
    made.meta["end"]["fired"] = json!(20);
    made.facts["deaths"] = json!([{"at_ns": 5, "pid": 7, "process": "x", "signal": 11, "oom": false, "ours": false}]);
    made.facts["health"] = json!([{"check": 0, "up": true, "from_ns": 0, "to_ns": 9, "count": 3}]);
    made.facts["checks"] = json!([{"check": "tcp to=:1", "passed": true, "why": ""}]);
    made.write(dir);
}

fn report(session: &Path, form: &str, gate: &str) -> Output {
    let out = session.with_extension(form);
    Command::new(CHAOS).arg("report").arg(session).arg("-o").arg(out).args(["--gate", gate]).output().unwrap()
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Cut(f64),
    Change(f64, u8),
    Insert(f64, Vec<u8>),
    Repeat(f64, f64),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (0.0..1.0).prop_map(Harm::Cut),
        (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Harm::Change(at, byte)),
        (0.0..1.0, prop::collection::vec(any::<u8>(), 1..100)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (0.0..1.0, 0.0..1.0).prop_map(|(from, to)| Harm::Repeat(from, to)),
    ]
}

fn spoil(bytes: &mut Vec<u8>, harm: &Harm) {
    // A part of a length that is far below 2^52.
    let place = |part: f64| (part * bytes.len() as f64) as usize;
    match harm {
        Harm::Cut(at) => bytes.truncate(place(*at)),
        Harm::Change(at, byte) => {
            let at = place(*at);
            bytes.iter_mut().skip(at).take(1).for_each(|old| *old = *byte);
        }
        Harm::Insert(at, more) => {
            let at = place(*at);
            bytes.splice(at..at, more.iter().copied());
        }
        Harm::Repeat(from, to) => {
            let (from, to) = (place(from.min(*to)), place(from.max(*to)));
            let again = bytes[from..to].to_vec();
            bytes.splice(to..to, again);
        }
    }
}

proptest! {
    // Each case starts the launcher.
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spoiled_session_is_reported_or_refused(
        file in prop::sample::select(vec!["session.json", "facts.json", "log.bin"]),
        form in prop::sample::select(vec!["md", "json", "html", "xml", "sarif", "csv", "episodes.csv"]),
        harms in prop::collection::vec(harm(), 1..4),
    ) {
        let dir = TempDir::new().unwrap();
        let session_dir = dir.path().join("s");
        session(&session_dir);
        let path = session_dir.join(file);
        let mut bytes = fs::read(&path).unwrap();
        harms.iter().for_each(|harm| spoil(&mut bytes, harm));
        fs::write(&path, bytes).unwrap();
        let done = report(&session_dir, form, "injections>=1");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        prop_assert!(matches!(done.status.code(), Some(0 | 122 | 123 | 125)), "{:?}: {}", done.status, said);
        let errors = said.lines().filter(|line| line.starts_with("chaos-exec: error: ")).count();
        prop_assert_eq!(errors, usize::from(done.status.code() == Some(125)), "{}", said);
        prop_assert!(!said.contains("panicked"), "{}", said);
    }
}

#[test]
fn a_log_that_was_cut_never_passes() {
    let dir = TempDir::new().unwrap();
    let whole = dir.path().join("whole");
    session(&whole);
    assert_eq!(report(&whole, "json", "injections>=1").status.code(), Some(0));
    let log = fs::read(whole.join("log.bin")).unwrap();
    // Between two records and inside of one.
    for cut in [0, 64, 128, 1000, log.len() / 2, log.len() - 1, log.len() - 64, log.len() - 200] {
        let spoilt = dir.path().join(format!("cut-{cut}"));
        session(&spoilt);
        fs::write(spoilt.join("log.bin"), &log[..cut]).unwrap();
        let done = report(&spoilt, "md", "injections>=1");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if log.len() - cut > 128 {
            assert_eq!(done.status.code(), Some(125), "{cut} of {}: {said}", log.len());
            assert!(said.contains("gate inconclusive") || said.contains("no fault was delivered"), "{cut}: {said}");
        } else {
            assert_ne!(done.status.code(), Some(101), "{cut}: {said}");
        }
    }
}

#[test]
fn a_session_of_another_version_is_refused() {
    let dir = TempDir::new().unwrap();
    for (file, own, version) in [("session.json", 1, "9"), ("facts.json", 2, "9"), ("session.json", 1, "0")] {
        let other = dir.path().join(format!("{file}-{version}"));
        session(&other);
        let text = fs::read_to_string(other.join(file)).unwrap();
        fs::write(other.join(file), text.replacen(&format!("\"version\":{own}"), &format!("\"version\":{version}"), 1))
            .unwrap();
        let done = report(&other, "md", "injections>=1");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(125), "{file}: {said}");
        assert!(said.contains(&format!("{file} is of version {version}, not {own}")), "{said}");
    }
}

#[test]
fn a_place_whose_run_never_began_says_so() {
    let dir = TempDir::new().unwrap();
    let claimed = dir.path().join("claimed");
    session(&claimed);
    // As a launcher leaves it that is killed while it prepares.
    fs::write(claimed.join("session.json"), "").unwrap();
    let done = report(&claimed, "md", "injections>=1");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(125), "{said}");
    assert!(said.contains("session.json is empty: the run had not begun"), "{said}");
}

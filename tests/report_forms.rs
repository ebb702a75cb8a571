//! The forms of a report: each is what it says, is read by what reads such files, and whatever a target says stays text.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::handmade::{Handmade, json_of, mixed, report, said, text_of};
use common::{CHAOS, python};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn the_log_shows_recoveries() {
    let dir = TempDir::new().unwrap();
    let session = mixed().write(&dir.path().join("s"));
    let lines = common::read_log(&session);
    let recovery = lines.iter().find(|line| line["type"] == "recovery").unwrap();
    assert_eq!((&recovery["injection"], &recovery["resource"]), (&json!(1), &json!("10.0.0.1:80")));
    assert_eq!((&recovery["call"], &recovery["rule"]), (&json!("connect"), &json!("refused")));
    let text = Command::new(CHAOS).arg("log").arg(&session).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("connect(10.0.0.1:80) succeeded again"), "{text}");
}

#[test]
fn every_form_is_what_it_says() {
    let dir = TempDir::new().unwrap();
    let session = mixed().write(&dir.path().join("s"));
    let markdown = text_of(&session, ".md");
    for part in ["Recovery rate **75%**: needs work", "| MTTR | 267 ms", "rerouted", "no call matched", "n=3"] {
        assert!(markdown.contains(part), "{part} in\n{markdown}");
    }
    let injections = text_of(&session, ".csv");
    assert_eq!(injections.lines().count(), 1 + 5, "{injections}");
    let episodes = text_of(&session, ".episodes.csv");
    assert_eq!(episodes.lines().count(), 1 + 4, "{episodes}");
    assert!(episodes.lines().nth(1).unwrap().starts_with("mixed,1,recovered,retry,250000000,1000000000,1250000000,2,"));
    let sarif: Value = serde_json::from_str(&text_of(&session, ".sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
    let page = text_of(&session, ".html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("75%") && page.contains("<svg"), "{page}");
    // It asks for nothing from elsewhere.
    for outside in ["http://", "https://", "<script", "<link", "<img", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    let cases = junit_cases(&text_of(&session, ".xml"), &dir);
    assert_eq!(cases.len(), 5, "{cases:?}");
    assert!(cases.iter().all(|case| case.starts_with("mixed/")), "{cases:?}");
    assert_eq!(cases.iter().filter(|case| case.contains("Skipped")).count(), 1, "{cases:?}");
}

/// The cases of a JUnit file as a reader of such files has them: class/name, results with their type and message.
fn junit_cases(text: &str, dir: &TempDir) -> Vec<String> {
    const READ: &str = "
import sys, junitparser
xml = junitparser.JUnitXml.fromfile(sys.argv[1])
assert isinstance(xml, junitparser.JUnitXml)
seen = [0, 0, 0]
for suite in xml:
    for case in suite:
        kinds = [type(result).__name__ for result in case.result]
        seen = [count + (kind in kinds) for count, kind in zip(seen, ('Failure', 'Error', 'Skipped'))]
        told = ' '.join(f'{type(r).__name__}:{r.type}:{r.message}' for r in case.result)
        print(f'{case.classname}/{case.name} {told}')
# The counts that the file tells are those of its cases.
assert (xml.failures, xml.errors) == (seen[0], seen[1]), (xml.failures, xml.errors, seen)
";
    let file = dir.path().join("r.xml");
    fs::write(&file, text).unwrap();
    let read = Command::new(python()).args(["-c", READ]).arg(&file).output().unwrap();
    assert!(read.status.success(), "{}\n{text}", said(&read));
    String::from_utf8(read.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_ci_server_sees_gates_failures_and_doubts_as_cases() {
    let dir = TempDir::new().unwrap();
    let mut made = mixed();
    made.facts["root"] = json!({"exit": 3});
    made.facts["checks"] = json!([{"check": "exit codes=0", "passed": false, "why": "exit 3"}]);
    made.facts["unmapped"] = json!(2);
    let session = made.write(&dir.path().join("s"));
    let gated = |gate: &str| {
        let file = dir.path().join("gated.xml");
        let args = [session.to_str().unwrap(), "-o", file.to_str().unwrap(), "--gate", gate];
        let code = report(&args).status.code();
        (code, junit_cases(&fs::read_to_string(file).unwrap(), &dir))
    };
    let (code, cases) = gated("production");
    assert_eq!(code, Some(122));
    let with = |start: &str| cases.iter().find(|case| case.starts_with(start)).unwrap_or_else(|| panic!("{cases:?}"));
    assert!(with("gate/gate Failure:failure:recovery ").contains("wanted >=80%"), "{cases:?}");
    assert!(with("doubts/doubt 1 Skipped").contains("2 programs had no address space"), "{cases:?}");
    assert!(with("mixed/ends as expected Failure:failure:").contains("exit"), "{cases:?}");
    assert!(with("mixed/check: exit codes=0 Failure:failure:").contains("exit 3"), "{cases:?}");
    let (code, cases) = gated("latency.p95<1s");
    assert_eq!(code, Some(123));
    assert!(cases[0].starts_with("gate/gate Error:error:there is no figure"), "{cases:?}");
}

#[test]
fn what_the_target_says_stays_text() {
    const NASTY: &str = "</title></style><script>document.title='gone'</script><img src=x onerror=alert(1)>\"'`|\u{1b}[31m\u{0}\r\n]]>&amp;";
    let dir = TempDir::new().unwrap();
    let mut made = Handmade::new("nasty", &[("refused", "error")]);
    made.meta["command"] = json!([NASTY]);
    made.meta["id"] = json!("<b>id</b>");
    made.facts["repeat"] = json!(format!("chaos-exec run -- {NASTY}```"));
    made.facts["root"] = json!({"exit": 1});
    made.facts["checks"] = json!([{"check": NASTY, "passed": false, "why": NASTY}]);
    made.facts["deaths"] = json!([
        {"at_ns": 5, "pid": 100, "process": NASTY, "signal": 11, "oom": false, "ours": false},
    ]);
    let name = NASTY.replace('\0', "");
    made.process(100, 100, &name, &name);
    made.fails(0, "open", libc::EIO, NASTY.as_bytes(), 1, 100);
    made.fails(0, "open", libc::EIO, b"\xff\xfe<script>", 2, 100);
    let session = made.write(&dir.path().join("s"));
    let page = text_of(&session, ".html");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(!page.contains('\u{1b}') && !page.contains('\0'));
    // It closes and opens nothing: each title, also of the drawing, has its own end, and there is one style.
    assert_eq!(page.matches("</title>").count(), page.matches("<title>").count(), "{page}");
    assert!(page.matches("</style>").count() == 1 && !page.contains("<b>") && !page.contains("alert(1)>"), "{page}");
    assert!(page.contains("<title>Chaos report: &lt;/title&gt;") && page.contains("default-src 'none'"), "{page}");
    let markdown = text_of(&session, ".md");
    assert!(
        !markdown.contains('\u{1b}') && !markdown.lines().any(|line| line.trim_start().starts_with("<")),
        "{markdown}"
    );
    let table = markdown.lines().skip_while(|line| !line.starts_with("## Episodes")).nth(4).unwrap();
    assert_eq!(table.replace("\\|", "").matches('|').count(), 11, "{table}");
    serde_json::from_str::<Value>(&text_of(&session, ".sarif")).unwrap();
    assert_eq!(json_of(&session)["command"], NASTY);
    assert!(!junit_cases(&text_of(&session, ".xml"), &dir).is_empty());
}

#[test]
fn the_json_has_the_fields_that_its_page_names() {
    let dir = TempDir::new().unwrap();
    let value = json_of(&mixed().write(&dir.path().join("s")));
    let page = include_str!("../src/report/schema.md");
    let named = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<(Vec<String>, Vec<String>)> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split_once("` | ").map(|(left, right)| (named(&format!("{left}`")), named(right))).unwrap())
        .collect();
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let fields: Vec<String> = rows.iter().flat_map(|(left, _)| left.clone()).collect();
    for key in keys(&value).iter().filter(|key| !["schema", "version"].contains(&key.as_str())) {
        assert!(fields.contains(key), "{key} is not on the page");
    }
    for (fields, words) in &rows {
        for field in fields {
            assert!(value.get(field).is_some(), "{field} is not in the report");
            let first = value[field].get(0).unwrap_or(&value[field]);
            let first = if field == "families" { &first["disk"] } else { first };
            for key in keys(first) {
                assert!(words.contains(&key), "{field}: {key} is not on the page");
            }
        }
    }
    let about = named(page.split("An episode has").nth(1).unwrap());
    for episode in value["details"][0]["episodes"].as_array().unwrap() {
        for key in keys(episode) {
            assert!(about.contains(&key), "episode: {key} is not on the page");
        }
    }
}

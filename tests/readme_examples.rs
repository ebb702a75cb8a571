//! The examples of the README: `chaos-exec check` takes every table and every fault that it shows, and the log has the
//! fields that it names.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use std::collections::BTreeSet;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// The texts of the fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if fence == language {
            found.push(block.join("\n") + "\n");
        }
    }
    found
}

/// What stands in single quotes after `-f`, `--fault` and `CHAOS_TABLE=`, several specs of one value apart.
fn specs(script: &str) -> Vec<String> {
    let after = |lead: &str| {
        let values = script.split(lead).skip(1).filter_map(|rest| rest.split('\'').next());
        values.flat_map(|value| value.split(';')).map(|spec| spec.trim().to_owned()).collect::<Vec<_>>()
    };
    ["-f '", "--fault '", "CHAOS_TABLE='"].into_iter().flat_map(after).collect()
}

/// What `chaos-exec check` says against its arguments; a warning counts.
fn complaint(arguments: &[&str]) -> Option<String> {
    let done = Command::new(common::CHAOS).arg("check").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (!done.status.success() || !said.is_empty()).then_some(said)
}

fn complaint_about_table(table: &str) -> Option<String> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), table).unwrap();
    complaint(&[file.path().to_str().unwrap()])
}

#[test]
fn every_table_is_taken() {
    let tables = blocks(README, "yaml");
    assert!(!tables.is_empty(), "README.md shows no table");
    let mut complaints = Complaints::default();
    for table in &tables {
        let said = complaint_about_table(table);
        complaints.check(said.is_none(), || format!("{}\nin\n{table}", said.clone().unwrap_or_default()));
    }
    complaints.none();
}

#[test]
fn every_fault_is_taken() {
    let all: Vec<String> = blocks(README, "sh").iter().flat_map(|script| specs(script)).collect();
    // As many as are written in any way, so that one in other quotes is not passed over.
    let scripts = blocks(README, "sh").concat();
    let written: usize = ["-f ", "--fault ", "CHAOS_TABLE="].iter().map(|lead| scripts.matches(lead).count()).sum();
    assert!(all.len() >= written && written > 5, "{written} faults are written, {} were found", all.len());
    let mut complaints = Complaints::default();
    for spec in &all {
        let said = complaint(&["-f", spec]);
        complaints.check(said.is_none(), || format!("{spec}: {}", said.clone().unwrap_or_default()));
    }
    complaints.none();
}

#[test]
fn a_wrong_example_is_noticed() {
    let page =
        "```yaml\nfaults: [{fault: eror, calls: read}]\n```\n```sh\nchaos-exec run -f 'read=EIOO' -- true\n```\n";
    let said = complaint_about_table(&blocks(page, "yaml").concat()).unwrap();
    assert!(said.contains("eror"), "{said}");
    let wrong: Vec<String> = blocks(page, "sh").iter().flat_map(|script| specs(script)).collect();
    assert_eq!(wrong, ["read=EIOO"]);
    let said = complaint(&["-f", &wrong[0]]).unwrap();
    assert!(said.contains("EIOO"), "{said}");
}

#[test]
fn the_log_has_the_fields_that_the_readme_names() {
    let dir = tempfile::tempdir().unwrap();
    let (out, log) = (dir.path().join("session"), dir.path().join("log.jsonl"));
    // The labels and a path that is no UTF-8 bring the fields that are not always there.
    let odd = std::ffi::OsString::from(dir.path().join("odd-"));
    let odd = [odd.as_encoded_bytes(), b"\xff"].concat();
    std::fs::write(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&odd), "x").unwrap();
    let spec = "error calls=open path=odd-* errno=EIO component=store message=lost";
    let done = Command::new(common::CHAOS)
        .args(["run", "-q", "-f", spec, "--out"])
        .arg(&out)
        .arg("--log")
        .arg(&log)
        .args(["--", "/bin/cat"])
        .arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&odd))
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&log).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let injections = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let injection = injections.into_iter().find(|line| line["type"] == "injection").expect(&text);
    let written: BTreeSet<String> =
        injection.as_object().unwrap().keys().filter(|key| *key != "type").cloned().collect();
    let rows = README.lines().skip_while(|line| !line.starts_with("| field of an injection")).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
    let named: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(named, written);
}

#[test]
fn every_experiment_is_taken() {
    let all: Vec<String> = blocks(README, "yml").into_iter().filter(|text| text.contains("targets:")).collect();
    assert!(!all.is_empty(), "README.md shows no experiment");
    for text in all {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let done = Command::new(common::CHAOS).args(["experiment", "check"]).arg(file.path()).output().unwrap();
        assert!(done.status.success(), "{}\nin\n{text}", String::from_utf8_lossy(&done.stderr));
    }
}

//! What the README and the binary's symbols say is what the code does.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::calls::{CALLS, Call, Family, FaultKind};
use common::complaints::Complaints;
use common::{program, shim};
use std::collections::BTreeSet;
use std::process::Command;

fn readme() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the first table under the heading that has this text, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = readme();
    let mut lines = text.lines().skip_while(|line| {
        !(line.starts_with('#') && line.trim_start_matches('#').trim().eq_ignore_ascii_case(heading))
    });
    assert!(lines.next().is_some(), "README.md has no heading \"{heading}\"");
    let rows: Vec<Vec<String>> = lines
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "README.md has no table under \"{heading}\"");
    rows
}

/// The words in back-quotes of a cell.
fn code(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn first_column(heading: &str) -> BTreeSet<String> {
    table(heading).iter().flat_map(|row| code(&row[0])).collect()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_readme_lists_every_fault() {
    assert_eq!(first_column("Faults"), set(FaultKind::ALL.iter().map(|(name, _, _)| *name)));
}

#[test]
fn the_readme_lists_every_variable() {
    assert_eq!(first_column("Environment"), set(chaos_table::env::PUBLIC.iter().copied()));
}

#[test]
fn the_readme_lists_every_call_under_its_family() {
    let rows = table("Calls");
    let mut complaints = Complaints::default();
    let mut families = BTreeSet::new();
    for row in &rows {
        let Some(name) = code(&row[0]).into_iter().next() else { continue };
        let Some(family) = Family::by_name(&name) else {
            complaints.check(false, || format!("`{name}` is no family"));
            continue;
        };
        let wanted = set(CALLS.iter().filter(|call| call.is_in(family)).map(Call::name));
        complaints.expect(&format!("calls of `{name}`"), code(&row[1]), wanted);
        families.insert(name);
    }
    let used = Family::ALL.iter().filter(|(_, family)| CALLS.iter().any(|call| call.is_in(*family)));
    complaints.expect("families", families, set(used.map(|(name, _)| *name)));
    complaints.none();
}

#[test]
fn the_readme_lists_every_exit_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/exit_code.rs");
    let source = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let number = |line: &str| line.split_once("=> ")?.1.strip_suffix(',')?.parse::<u8>().ok();
    let codes: BTreeSet<String> = source.lines().filter_map(number).map(|code| code.to_string()).collect();
    assert!(codes.contains("125"), "{path} is not what this test reads: {codes:?}");
    let listed = first_column("Exit codes");
    let numbers: BTreeSet<String> = listed.iter().filter(|word| word.parse::<u8>().is_ok()).cloned().collect();
    assert_eq!(numbers, codes);
    assert!(listed.iter().any(|word| word.replace(' ', "") == "128+N"), "signals: {listed:?}");
}

#[test]
fn the_make_targets_of_the_readme_exist() {
    let makefile = include_str!("../Makefile");
    let text = readme();
    let targets: BTreeSet<&str> = text
        .split("make ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(|word| ["test", "demo", "install", "bench", "lint", "build", "setup", "clean"].contains(word))
        .collect();
    assert!(targets.contains("test") && targets.contains("demo"), "the two commands of the README: {targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "README.md says `make {target}`");
    }
}

#[test]
fn exports_match_the_table() {
    let nm = program("nm", "binutils");
    let listed = Command::new(nm).args(["-D", "--defined-only", "--format=posix", &shim()]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).unwrap();
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(|symbol| symbol.split('@').next().unwrap_or(symbol).to_owned())
        .collect();
    let mut wanted = set(CALLS.iter().flat_map(Call::symbols));
    wanted.extend(set(["__libc_start_main", "syscall"]));
    // What a program may call by itself is declared in the header.
    let header = include_str!("../shim/include/chaos.h");
    let declared = header.split("\nCHAOS_FUNCTION(").skip(1).filter_map(|rest| rest.split(", ").nth(1));
    wanted.extend(set(declared));
    assert_eq!(header.matches("\nCHAOS_FUNCTION(").count(), 14, "every function of the header is looked for");
    let missing: Vec<_> = wanted.difference(&exported).collect();
    let extra: Vec<_> = exported.difference(&wanted).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "in the table and not exported: {missing:?}\nexported and not in the table: {extra:?}"
    );
}

#[test]
fn list_says_what_the_table_has() {
    let list = |what: &str| {
        let done = Command::new(common::CHAOS).args(["list", what]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let calls = list("calls");
    for call in CALLS {
        assert!(calls.split_whitespace().any(|word| word == call.name()), "list calls: no {}\n{calls}", call.name());
    }
    let faults = list("faults");
    for (name, _, _) in FaultKind::ALL {
        assert!(faults.split_whitespace().any(|word| word == *name), "list faults: no {name}\n{faults}");
    }
    for name in ["network", "disk", "timeout", "memory", "process", "time"] {
        assert!(list("presets").contains(name), "list presets: no {name}");
    }
    for name in ["python", "node", "java"] {
        assert!(list("runtimes").contains(name), "list runtimes: no {name}");
    }
}

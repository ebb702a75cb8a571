//! What is written reads back to the same, and no text whatever makes a parser panic.

use chaos_table::calls::{CALLS, Call, FaultKind};
use chaos_table::compile::{Context, compile};
use chaos_table::environment::from_env;
use chaos_table::files::{from_toml, from_yaml};
use chaos_table::schema::{Fault, Table};
use chaos_table::spec::{parse_spec, parse_specs};
use proptest::prelude::*;
use std::path::Path;

/// A quoted value of a one-line spec, with every character that means something.
fn quoted() -> impl Strategy<Value = String> {
    "[a-z ,;='\"\\\\#@%:.*/\u{e9}-]{0,12}".prop_map(|text| {
        // Labels may not be blank, nor globs end with a slash.
        let text = format!("x{text}y");
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    })
}

fn given(key: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(0.4, value.prop_map(move |value| format!("{key}={value}")))
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(values).prop_map(str::to_owned)
}

/// A spec with keys and values that are right by themselves; together they may still be refused.
fn spec_text() -> impl Strategy<Value = String> {
    let kinds: Vec<&str> = FaultKind::ALL.iter().map(|(name, _, _)| *name).collect();
    let mut calls: Vec<&str> = CALLS.iter().map(Call::name).collect();
    calls.extend(["disk", "network", "memory", "process", "stdio", "openat", "fopen64", "disk_io"]);
    let calls = proptest::collection::vec(proptest::sample::select(calls), 1..4).prop_map(|names| names.join(","));
    let selectors = (
        given("path", prop_oneof![quoted(), one_of(&["*.db", "\"{a,b}/**\",c", "/var/**/x?"])]),
        given(
            "to",
            one_of(&["llm", ":5432", "10.0.0.0/8:1..9", "\"[::1]:80\"", "*.example.com", "unix:/run/x", "fd00::/8"]),
        ),
        given("process", quoted()),
        given("fd", one_of(&["3", "3..9", "7.."])),
    );
    let when = (
        given("rate", (0.0f64..=1.0).prop_map(|rate| rate.to_string())),
        given("rate", one_of(&["30%", "0.1%", "33.333%", "0", "1"])),
        given("nth", one_of(&["3", "3..7", "2..+3", "5.."])),
        given("times", (1u64..).prop_map(|n| n.to_string())),
        given("from", (0u64..).prop_map(|n| format!("{n}ns"))),
        given("for", one_of(&["1.5s", "90m", "1h", "3us", "1500ms"])),
        given("per", one_of(&["process", "thread", "tree"])),
    );
    let what = (
        given("errno", one_of(&["EIO", "EIO,ENOSPC:3", "EAI_AGAIN", "EWOULDBLOCK"])),
        given("delay", one_of(&["1ms", "2s"])),
        given("jitter", one_of(&["1ms", "0.3s"])),
        given("distribution", one_of(&["normal", "uniform", "fixed", "pareto"])),
        given("keep", (0.001f64..0.999).prop_map(|part| part.to_string())),
        given("flip", one_of(&["1bit/64KB", "3bits", "2bits/1B"])),
        given("limit", one_of(&["10MB", "7", "1GB"])),
        given("message", quoted()),
        given("name", quoted()),
    );
    (proptest::sample::select(kinds), proptest::option::weighted(0.8, calls), selectors, when, what).prop_map(
        |(kind, calls, (a, b, c, d), (e, _, f, g, h, i, j), (k, l, m, n, o, p, q, r, s))| {
            let calls = calls.map(|calls| format!("calls={calls}"));
            let all = [calls, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s];
            let words: Vec<String> = all.into_iter().flatten().collect();
            format!("{kind} {}", words.join(" "))
        },
    )
}

/// The same with only the parameters that a fault has, so that most of them are accepted.
fn good_spec() -> impl Strategy<Value = Fault> {
    let what = one_of(&[
        "error calls=read,write",
        "error calls=disk errno=ENOSPC:3,EIO",
        "error calls=getaddrinfo errno=EAI_AGAIN",
        "error calls=read,write size=1KB.. direction=in caller=\"lib{a,b}*\"",
        "error calls=disk not.path=*.log not.to=:80 not.fd=5.. not.size=..9 not.calls=close,open not.direction=out",
        "latency calls=network delay=1.5s",
        "latency calls=openat jitter=3ms distribution=normal",
        "hang calls=recv",
        "short",
        "short keep=12.3456% calls=disk",
        "corrupt flip=3bits",
        "corrupt flip=2bits/4KB",
        "corrupt zero=512B/64KB",
        "corrupt calls=read,write zero=3B",
        "corrupt duplicate=12.5%",
        "corrupt calls=write duplicate=100%",
        "corrupt truncate=33.3333%",
        "drop",
        "drop to=:53",
        "torn keep=10% errno=ENOSPC,EIO:3",
        "torn then=kill",
        "return calls=read value=0",
        "return calls=write value=-1 errno=EIO",
        "exhaust what=disk limit=10MB",
        "latency calls=read jitter=3ms distribution=pareto",
        "refuse",
        "disconnect mode=end",
        "disconnect after_bytes=1536B",
        "unreachable",
        "unreachable errno=EHOSTUNREACH delay=1.5s",
        "throttle bandwidth=64KB/s",
        "dns answer=try-again",
        "exhaust what=memory limit=10MB",
        "exhaust what=files limit=64",
        "signal calls=write signal=TERM",
        "signal calls=write signal=40",
        "exit calls=read code=3",
    ]);
    let when = (
        given("rate", (0.0f64..=1.0).prop_map(|rate| rate.to_string())),
        given("nth", one_of(&["3", "3..7", "2..+3", "5.."])),
        given("after", (0u64..).prop_map(|n| n.to_string())),
        given("times", (1u64..).prop_map(|n| n.to_string())),
        given("from", (0u64..).prop_map(|n| format!("{n}ns"))),
        given("for", (1u64..).prop_map(|n| format!("{n}ns"))),
        given("per", one_of(&["process", "thread", "tree"])),
        given("process", quoted()),
        given("message", quoted()),
        given("component", quoted()),
    );
    (what, when).prop_filter_map("refused", |(what, (a, b, c, d, e, f, g, h, i, j))| {
        let words: Vec<String> = [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect();
        parse_spec(&format!("{what} {}", words.join(" ")), "").ok()
    })
}

fn context() -> Context<'static> {
    Context { work_dir: Path::new("/srv/app"), seed: 7 }
}

proptest! {
    #[test]
    fn a_fault_reads_back_from_its_one_line_form(fault in good_spec()) {
        prop_assert_eq!(parse_spec(&fault.to_string(), "").unwrap(), fault);
    }

    #[test]
    fn any_accepted_spec_reads_back(text in spec_text()) {
        if let Ok(fault) = parse_spec(&text, "") {
            prop_assert_eq!(parse_spec(&fault.to_string(), "").unwrap(), fault.clone());
            let _ = compile(&Table { faults: vec![fault], ..Table::default() }, &context());
        }
    }

    #[test]
    fn a_table_reads_back_from_its_json_and_json_is_yaml(faults in proptest::collection::vec(good_spec(), 0..4), seed: Option<u64>,
        rate in proptest::option::of(0.0f64..=1.0), settings in proptest::sample::select(vec![
            "{}", "{\"arm\": \"ctl\"}", "{\"arm\": {\"path\": [\"a\", \"b/**\"]}}", "{\"arm\": {\"listen\": 8080}}", "{\"arm\": {\"listen\": \"80..90\"}}",
            "{\"faults\": [{\"fault\": \"error\", \"calls\": \"read\", \"size\": \"1KB..\", \"caller\": \"libx*\", \"not\": {\"path\": \"*.log\", \"fd\": \"3..\"}}]}",
            "{\"arm\": \"exec\", \"protect\": \"none\"}", "{\"arm\": {\"after\": \"2s\"}, \"protect\": [\"default\", \"/opt/**\"]}",
            "{\"chaos\": \"disk,network\", \"for\": \"3m\", \"enabled\": false}", "{\"roles\": {\"db\": [\":5432\", \"a.b\"]}, \"max_faults\": 3}",
        ])) {
        let mut table = Table::from_json(settings, "t").unwrap();
        table.faults.extend(faults);
        table.seed = seed;
        table.rate = rate.map(chaos_table::quantities::Rate);
        prop_assert_eq!(&Table::from_json(&table.to_json(), "t").unwrap(), &table);
        prop_assert_eq!(&from_yaml(&table.to_json(), "t").unwrap(), &table);
        prop_assert!(compile(&table, &context()).is_ok());
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,80}", other in "[a-z:\\[\\]{}\",=;@%*\\\\ \n0-9.#&|>-]{0,60}") {
        for text in [&text, &other] {
            let _ = parse_specs(text, "").map(|faults| compile(&Table { faults, ..Table::default() }, &context()));
            let _ = Table::from_json(text, "");
            let _ = from_yaml(text, "");
            let _ = from_toml(text, "");
            let _ = parse_spec(&format!("error calls=connect,read to={text}"), "");
            let _ = parse_spec(&format!("error calls=read path={text}"), "").map(|fault| compile(&Table { faults: vec![fault], ..Table::default() }, &context()));
            let _ = from_env([("CHAOS_TABLE".into(), text.into())].into_iter());
            for key in ["rate", "for", "delay", "nth", "keep", "flip", "limit", "errno", "signal", "code", "fd", "every", "zero",
                "duplicate", "truncate", "then", "value"] {
                for fault in ["error", "short", "corrupt", "exhaust what=memory", "signal", "exit", "latency", "torn", "return"] {
                    let _ = parse_spec(&format!("{fault} calls=read {key}={text}"), "");
                }
                let _ = Table::from_json(&format!("{{\"faults\": [{{\"fault\": \"error\", \"calls\": \"read\", \"{key}\": {text:?}}}]}}"), "");
            }
        }
    }
}

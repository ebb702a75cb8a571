//! Sessions made by hand: a log of chosen records and the facts beside it, as a run leaves them.

use super::CHAOS;
use chaos_table::calls::Op;
use chaos_table::record::{CONT, CONT_TEXT, Continuation, Record, kind, slots_for, status};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A session that is being written.
pub struct Handmade {
    log: Vec<u8>,
    index: u64,
    /// Attempts since the fault with this index.
    tries: HashMap<u64, u64>,
    /// `session.json`.
    pub meta: Value,
    /// `facts.json`.
    pub facts: Value,
}

impl Handmade {
    /// A run that ended with 0, whose rules have these names and faults.
    pub fn new(name: &str, rules: &[(&str, &str)]) -> Handmade {
        let rules: Vec<Value> = rules.iter().map(|(name, fault)| json!({"name": name, "fault": fault})).collect();
        let counted: Vec<Value> =
            rules.iter().map(|_| json!({"matched": 50, "protected": 0, "unsuitable": 0})).collect();
        Handmade {
            log: Vec::new(),
            index: 0,
            tries: HashMap::new(),
            meta: json!({
                "version": 1, "id": name, "chaos_exec": "0.1.0", "command": ["./agent", "--fast"], "cwd": "/", "seed": 7,
                "table": {"seed": 7, "faults": [{"fault": "error", "rate": "30%"}]}, "rules": rules,
                "started": "2026-01-01T00:00:00Z", "session_file": "", "root_pid": 100,
                "end": {
                    "ended": "2026-01-01T00:00:09Z", "at_ns": 9_000_000_000u64, "exit_code": 0, "outcome": "exit 0",
                    "fired": 0, "delivered": 0, "suppressed": 0, "escapes": 0, "processes": 1, "survivors": 0,
                },
            }),
            facts: json!({
                "version": 2, "root": {"exit": 0}, "expected": [0], "control": false, "deaths": [], "sight": "full",
                "checks": [], "health": [], "rules": counted, "repeat": "chaos-exec run --seed 7 -- ./agent --fast",
            }),
        }
    }

    /// Writes a record; gives its index.
    pub fn record(&mut self, mut record: Record, text: &[u8]) -> u64 {
        let index = self.index;
        let slots = slots_for(text.len());
        record.slots = u8::try_from(slots).unwrap();
        record.commit = index + 1;
        self.log.extend(bytemuck::bytes_of(&record));
        for (number, part) in (1u64..).zip(text.chunks(CONT_TEXT)) {
            let mut slot = Continuation { commit: (index + number + 1) | CONT, text: [0; CONT_TEXT] };
            slot.text[..part.len()].copy_from_slice(part);
            self.log.extend(bytemuck::bytes_of(&slot));
        }
        self.index += slots as u64;
        index
    }

    /// A process image.
    pub fn process(&mut self, pid: u32, image: u32, lineage: &str, name: &str) {
        let record = Record { kind: kind::PROCESS, pid, process: image, ..Record::default() };
        self.record(record, format!("{lineage}\0{name}\0/usr/bin/{name}\0").as_bytes());
    }

    /// A delivered error; gives its index.
    pub fn fails(&mut self, rule: u16, call: &str, errno: i32, resource: &[u8], at_ms: u64, pid: u32) -> u64 {
        self.hits(rule, 1, call, errno, resource, at_ms, pid)
    }

    /// A delivered fault of any kind; gives its index.
    #[expect(clippy::too_many_arguments, reason = "one for each column of a record")]
    pub fn hits(
        &mut self,
        rule: u16,
        fault: u8,
        call: &str,
        effect: i32,
        resource: &[u8],
        at_ms: u64,
        pid: u32,
    ) -> u64 {
        let record = Record {
            kind: kind::INJECTION,
            status: status::DELIVERED,
            fault,
            rule,
            op: Op::by_name(call).unwrap() as u16,
            effect,
            result: -1,
            at_ns: at_ms * 1_000_000,
            pid,
            tid: pid,
            process: pid,
            nth: 1,
            ..Record::default()
        };
        self.record(record, resource)
    }

    /// A call that succeeded again.
    pub fn recovers(&mut self, of: u64, call: &str, resource: &[u8], at_ms: u64, pid: u32) {
        let record = Record {
            kind: kind::RECOVERY,
            op: Op::by_name(call).unwrap() as u16,
            nth: of,
            requested: self.tries.get(&of).copied().unwrap_or(0) + 1,
            at_ns: at_ms * 1_000_000,
            pid,
            tid: pid,
            process: pid,
            ..Record::default()
        };
        self.record(record, resource);
    }

    /// Nobody can see a recovery from this injection.
    pub fn unwatched(&mut self, of: u64) {
        let record = Record { kind: kind::UNWATCHED, nth: of, ..Record::default() };
        self.record(record, b"too many episodes were open");
    }

    /// A call that failed by itself, or after the recovery, the `number`th of these.
    pub fn tries(&mut self, of: u64, call: &str, errno: i32, number: u64, at_ms: u64, pid: u32) {
        self.tries.insert(of, number);
        let record = Record {
            kind: kind::ATTEMPT,
            op: Op::by_name(call).unwrap() as u16,
            nth: of,
            requested: number,
            effect: errno,
            at_ns: at_ms * 1_000_000,
            pid,
            tid: pid,
            process: pid,
            ..Record::default()
        };
        self.record(record, b"");
    }

    /// Writes the session; gives its directory.
    pub fn write(&self, dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("session.json"), self.meta.to_string()).unwrap();
        fs::write(dir.join("facts.json"), self.facts.to_string()).unwrap();
        fs::write(dir.join("log.bin"), &self.log).unwrap();
        dir.to_owned()
    }
}

/// Runs `chaos-exec report`.
pub fn report(args: &[&str]) -> Output {
    Command::new(CHAOS).arg("report").args(args).output().unwrap()
}

/// What it said on stderr.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One report of a session, as text.
pub fn text_of(session: &Path, form: &str) -> String {
    let file = tempfile::Builder::new().suffix(form).tempfile().unwrap();
    let done = report(&[session.to_str().unwrap(), "-o", file.path().to_str().unwrap()]);
    assert!(done.status.success(), "{}", said(&done));
    fs::read_to_string(file.path()).unwrap()
}

/// The JSON report of a session.
pub fn json_of(session: &Path) -> Value {
    serde_json::from_str(&text_of(session, ".json")).unwrap()
}

/// A run with an episode of each class but failed ones.
pub fn mixed() -> Handmade {
    let mut made =
        Handmade::new("mixed", &[("refused", "error"), ("wal", "signal"), ("bits", "corrupt"), ("idle", "dns")]);
    made.facts["rules"][3] = json!({"matched": 0, "protected": 0, "unsuitable": 0});
    made.process(100, 100, "0", "agent");
    made.process(101, 101, "0.1", "store");
    made.process(102, 102, "0.2", "store");
    let first = made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.1:80", 1000, 100);
    made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.1:80", 1100, 100);
    made.recovers(first, "connect", b"10.0.0.1:80", 1250, 100);
    let second = made.fails(0, "connect", libc::ECONNREFUSED, b"10.0.0.2:80", 2000, 100);
    made.recovers(second, "connect", b"10.0.0.3:80", 2050, 100);
    let killed = made.hits(1, 10, "write", libc::SIGKILL, b"/data/db.wal", 3000, 101);
    made.recovers(killed, "write", b"/data/db.wal", 3500, 102);
    made.hits(2, 5, "read", 0, b"/data/cfg.json", 4000, 100);
    made.facts["deaths"] = json!([
        {"at_ns": 3_001_000_000u64, "pid": 101, "process": "store", "signal": 9, "oom": false, "ours": false},
    ]);
    made
}

//! For unit tests: a session file, and a writer that fills its ring as the shim does.

use crate::session::{LOG, META};
use crate::session_file::SessionFile;
use bytemuck::Zeroable;
use chaos_table::record::{CONT, CONT_TEXT, Continuation, Record, SLOT, kind, slots_for, status};
use chaos_table::rule::{Plan, PlanHeader, Rule, Span};
use chaos_table::session::{Header, SIZE_MIN, Start, image};
use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// A session directory whose ring is written by the test.
pub struct Fake {
    /// Taken away with the value.
    pub dir: TempDir,
    file: File,
    header: Header,
    head: u64,
}

impl Fake {
    /// The smallest session, with one rule.
    pub fn new() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(dir.path().join("session")).unwrap();
        file.set_len(SIZE_MIN).unwrap();
        let mut plan = Plan {
            header: PlanHeader::zeroed(),
            rules: vec![Rule::zeroed()],
            matchers: vec![],
            text: b"rule-a".into(),
        };
        plan.header.rule_count = 1;
        plan.header.seed = 42;
        plan.rules[0].fault = 1;
        plan.rules[0].name = Span { first: 0, count: 6 };
        let start = Start { has_launcher: true, mono_ns: 0, wall_ns: 0, owner_pid: std::process::id() };
        let image = image(&plan, start, SIZE_MIN).unwrap();
        file.write_all_at(&image, 0).unwrap();
        let header = bytemuck::pod_read_unaligned(&image[..size_of::<Header>()]);
        Fake { dir, file, header, head: 0 }
    }

    /// Describes the session as `run` does.
    pub fn describe(&self) {
        let meta = serde_json::json!({
            "version": 1, "id": "test", "chaos_exec": "0", "command": ["ls"], "cwd": "/", "seed": 42, "table": {},
            "rules": [{"name": "rule-a", "fault": "error"}], "started": "now", "session_file": "session",
        });
        std::fs::write(self.dir.path().join(META), meta.to_string()).unwrap();
    }

    /// Path of the drained log.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    /// An empty drained log, open for appending.
    pub fn log(&self) -> File {
        OpenOptions::new().append(true).create(true).open(self.log_path()).unwrap()
    }

    /// The session, opened a second time.
    pub fn open(&self) -> SessionFile {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.path().join("session")).unwrap();
        SessionFile::from_file(file).unwrap()
    }

    /// Slots of the ring.
    pub fn ring_slots(&self) -> u64 {
        u64::from(self.header.layout.ring_slots)
    }

    /// Claims so many slots; gives back the first index.
    pub fn claim(&mut self, slots: u64) -> u64 {
        let index = self.head;
        self.set_head(index + slots);
        index
    }

    /// Stores `head`, whatever it is.
    pub fn set_head(&mut self, head: u64) {
        self.head = head;
        self.file.write_all_at(bytemuck::bytes_of(&head), offset_of!(Header, head) as u64).unwrap();
    }

    /// Stores bytes in a slot.
    pub fn put(&self, index: u64, slot: &[u8]) {
        let at = u64::from(self.header.layout.ring) + index % self.ring_slots() * SLOT as u64;
        self.file.write_all_at(slot, at).unwrap();
    }

    /// Publishes a record in claimed slots.
    pub fn publish(&self, index: u64, mut record: Record, text: &[u8]) {
        record.slots = u8::try_from(slots_for(text.len())).unwrap();
        record.commit = index + 1;
        for (number, part) in (1u64..).zip(text.chunks(CONT_TEXT)) {
            let mut slot = Continuation { commit: (index + number + 1) | CONT, text: [0; CONT_TEXT] };
            slot.text[..part.len()].copy_from_slice(part);
            self.put(index + number, bytemuck::bytes_of(&slot));
        }
        self.put(index, bytemuck::bytes_of(&record));
    }

    /// Claims and publishes; gives back the index.
    pub fn write(&mut self, record: Record, text: &[u8]) -> u64 {
        let index = self.claim(slots_for(text.len()) as u64);
        self.publish(index, record, text);
        index
    }
}

/// A delivered injection of this process.
pub fn injection(nth: u64) -> Record {
    let pid = std::process::id();
    let (kind, status) = (kind::INJECTION, status::DELIVERED);
    Record {
        kind,
        status,
        fault: 1,
        effect: libc::EIO,
        nth,
        pid,
        tid: pid,
        process: 1,
        result: -1,
        ..Record::default()
    }
}

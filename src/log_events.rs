//! The events of a log: records with the names of their rules, calls and processes, in the order of the ring, each
//! slow injection joined with its end. The field names are those of the JSON Lines.

use crate::error::Result;
use crate::log_reader::{LogReader, Source};
use crate::session::{End, hex};
use crate::session_file::RuleLabel;
use chaos_table::calls::{Failure as Fails, FaultKind, Op};
use chaos_table::errno::{eai_name, errno_name, signal_name};
use chaos_table::record::{NO_CALL, Record, kind, status};
use chaos_table::rule::change;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Injections whose numbers are remembered for the recoveries that follow.
const MAX_NUMBERS: usize = 1 << 16;

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// What was run.
    Start(Start),
    /// A process came under the table.
    Process(Process),
    /// A fault was injected.
    Injection(Box<Injection>),
    /// A call that had been made to fail succeeded again.
    Recovery(Recovery),
    /// A child cannot be followed.
    Escape(Escape),
    /// A moment worth knowing.
    Mark(Mark),
    /// Something else worth knowing.
    #[serde(rename = "event")]
    Remark(Remark),
    /// How the run ended.
    End(End),
}

/// What was run; the fields are those of `session.json`, and documented there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Start {
    pub session: Option<String>,
    pub chaos_exec: Option<String>,
    pub started: Option<String>,
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_hex: Option<Vec<String>>,
    pub cwd: Option<String>,
    pub seed: Option<u64>,
    pub rules: Vec<RuleLabel>,
    pub table: Option<serde_json::Value>,
}

/// A process came under the table; a new program in the same process is a new line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// ns since the start of the run.
    pub at_ns: u64,
    /// As the process sees it.
    pub pid: u32,
    /// Its place in the tree: "0.2.1" is the first child of the second child of the root.
    pub lineage: String,
    /// Its program's name.
    pub process: String,
    /// Its program's path.
    pub executable: String,
    /// Number of the process image; a pid may come again, this does not.
    pub image: u32,
    /// Number of the image that made it.
    pub parent: Option<u32>,
}

/// A fault was injected.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Injection {
    /// From 1, in the order of the log.
    pub seq: u64,
    /// ns since the start of the run.
    pub at_ns: u64,
    /// Process of the caller.
    pub pid: u32,
    /// Thread of the caller.
    pub tid: u32,
    /// Place of the process in the tree.
    pub lineage: Option<String>,
    /// Its program's name.
    pub process: Option<String>,
    /// Name of the rule.
    pub rule: String,
    /// Kind of the fault.
    pub fault: String,
    /// The call that was hit; `launcher` when the launcher acted by itself.
    pub call: String,
    /// What the call failed with, when it failed.
    pub errno: Option<String>,
    /// What was done instead of failing the call.
    pub effect: Option<String>,
    /// Path, peer or name; what is no UTF-8 is replaced here.
    pub resource: Option<String>,
    /// The resource's bytes, when they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_hex: Option<String>,
    /// Which match of the rule it was.
    pub nth: u64,
    /// Bytes that were asked for, or ns of a delay.
    pub requested: u64,
    /// What the caller got; unknown when it never got anything.
    pub result: Option<i64>,
    /// Whether the caller saw the effect.
    pub delivered: bool,
    /// The table's own label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The table's own label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Index of its record, which a recovery names.
    #[serde(skip)]
    pub index: u64,
    /// Number of the process image.
    #[serde(skip)]
    pub image: u32,
    /// Whether it blocks its caller, who has not come back.
    #[serde(skip)]
    pub blocked: bool,
}

/// A call that had been made to fail succeeded again; the fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    /// ns since the start of the run.
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    pub rule: String,
    pub call: String,
    /// What succeeded: the resource that was hit, or another member of its role.
    pub resource: Option<String>,
    /// `seq` of the injection that is got over; unknown when that is long ago.
    pub injection: Option<u64>,
    /// Index of that injection's record.
    #[serde(skip)]
    pub of: u64,
    /// Number of the process image.
    #[serde(skip)]
    pub image: u32,
}

/// A child cannot be followed; the fields are those of a process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Escape {
    pub at_ns: u64,
    pub pid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    /// Why.
    pub reason: String,
    /// What is being run there.
    pub program: String,
}

/// A moment worth knowing, such as that the tree was armed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mark {
    pub at_ns: u64,
    pub pid: u32,
    pub process: Option<String>,
    /// What happened.
    pub text: String,
}

/// A fault that fired where no kernel could produce it, so it was not injected; the fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Remark {
    /// `unsuitable`.
    pub event: String,
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub process: Option<String>,
    pub rule: String,
    pub fault: String,
    pub call: String,
    /// Why.
    pub reason: String,
}

/// Reads a session as events.
pub struct Events {
    reader: LogReader,
    /// Runs ahead to find the ends of slow injections.
    scout: Option<LogReader>,
    /// Ends that the scout has passed: ring index of the injection -> result.
    ends: HashMap<u64, i64>,
    images: HashMap<u32, (String, String)>,
    labels: Vec<RuleLabel>,
    seq: u64,
    /// (index, seq) of the latest injections.
    numbers: VecDeque<(u64, u64)>,
    start: Option<Start>,
    end: Option<End>,
}

impl Events {
    /// The events of a session, from its start.
    ///
    /// # Errors
    /// When a file of the session is gone.
    pub fn of(source: &Source) -> Result<Events> {
        let mut start = Start { seed: source.seed, rules: source.labels.clone(), ..Start::default() };
        if let Some(meta) = source.meta.clone() {
            start.session = Some(meta.id);
            start.chaos_exec = Some(meta.chaos_exec);
            start.started = Some(meta.started);
            start.command = meta.command;
            start.command_hex = meta.command_hex;
            start.cwd = Some(meta.cwd);
            start.table = Some(meta.table);
        }
        Ok(Events {
            reader: source.reader()?,
            scout: Some(source.reader()?),
            ends: HashMap::new(),
            images: HashMap::new(),
            labels: source.labels.clone(),
            seq: 0,
            numbers: VecDeque::new(),
            start: Some(start),
            end: source.meta.as_ref().and_then(|meta| meta.end.clone()),
        })
    }

    /// How many slots of the log made no sense.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.reader.damaged()
    }

    fn process(&mut self, record: &Record, text: &[u8]) -> Event {
        let [lineage, process, executable] = strings(text);
        self.images.insert(record.process, (lineage.clone(), process.clone()));
        let parent = u32::try_from(record.effect).ok().filter(|parent| *parent != 0 && *parent != record.process);
        let (at_ns, pid, image) = (record.at_ns, record.pid, record.process);
        Event::Process(Process { at_ns, pid, lineage, process, executable, image, parent })
    }

    fn injection(&mut self, index: u64, record: &Record, text: &[u8]) -> Event {
        self.seq += 1;
        if self.numbers.len() == MAX_NUMBERS {
            self.numbers.pop_front();
        }
        self.numbers.push_back((index, self.seq));
        let label = self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default();
        let result = match record.status {
            status::DELIVERED => Some(record.result),
            status::PENDING => self.end_of(index),
            _ => None,
        };
        let (lineage, process) = self.who(record);
        let (errno, effect) = effect_of(record);
        let resource = String::from_utf8_lossy(text).into_owned();
        let resource_hex = std::str::from_utf8(text).is_err().then(|| hex(text));
        Event::Injection(Box::new(Injection {
            seq: self.seq,
            at_ns: record.at_ns,
            pid: record.pid,
            tid: record.tid,
            lineage,
            process,
            rule: label.name,
            fault: fault_name(record),
            call: call_name(record),
            errno,
            effect,
            resource: Some(resource).filter(|resource| !resource.is_empty()),
            resource_hex,
            nth: record.nth,
            requested: record.requested,
            result,
            delivered: result.is_some(),
            component: label.component,
            message: label.message,
            index,
            image: record.process,
            blocked: record.status == status::PENDING && result.is_none(),
        }))
    }

    fn recovery(&self, record: &Record, text: &[u8]) -> Event {
        let (lineage, process) = self.who(record);
        let resource = String::from_utf8_lossy(text).into_owned();
        let number = self.numbers.binary_search_by_key(&record.nth, |(index, _)| *index).ok();
        Event::Recovery(Recovery {
            at_ns: record.at_ns,
            pid: record.pid,
            tid: record.tid,
            lineage,
            process,
            rule: self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default().name,
            call: call_name(record),
            resource: Some(resource).filter(|resource| !resource.is_empty()),
            injection: number.and_then(|at| self.numbers.get(at)).map(|(_, seq)| *seq),
            of: record.nth,
            image: record.process,
        })
    }

    /// What the caller of a slow injection got in the end.
    fn end_of(&mut self, index: u64) -> Option<i64> {
        if let Some(result) = self.ends.remove(&index) {
            return Some(result);
        }
        while let Some(scout) = &mut self.scout {
            match scout.next_record() {
                Some((_, record, _)) if record.kind == kind::DELIVERY && record.nth == index => {
                    return Some(record.result);
                }
                Some((_, record, _)) if record.kind == kind::DELIVERY => {
                    self.ends.insert(record.nth, record.result);
                }
                Some(_) => {}
                None => self.scout = None,
            }
        }
        None
    }

    fn who(&self, record: &Record) -> (Option<String>, Option<String>) {
        self.images.get(&record.process).cloned().unzip()
    }

    fn event(&mut self, index: u64, record: &Record, text: &[u8]) -> Option<Event> {
        match record.kind {
            kind::PROCESS => Some(self.process(record, text)),
            kind::INJECTION => Some(self.injection(index, record, text)),
            kind::RECOVERY => Some(self.recovery(record, text)),
            kind::ESCAPE => {
                let (lineage, process) = self.who(record);
                let [reason, program] = strings(text);
                let (at_ns, pid) = (record.at_ns, record.pid);
                Some(Event::Escape(Escape { at_ns, pid, lineage, process, reason, program }))
            }
            kind::UNSUITABLE => {
                let label = self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default();
                Some(Event::Remark(Remark {
                    event: "unsuitable".into(),
                    at_ns: record.at_ns,
                    pid: record.pid,
                    tid: record.tid,
                    process: self.who(record).1,
                    rule: label.name,
                    fault: fault_name(record),
                    call: call_name(record),
                    reason: String::from_utf8_lossy(text).into_owned(),
                }))
            }
            kind::MARK => Some(Event::Mark(Mark {
                at_ns: record.at_ns,
                pid: record.pid,
                process: self.who(record).1,
                text: String::from_utf8_lossy(text).into_owned(),
            })),
            // A DELIVERY was joined with its injection.
            _ => None,
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(start) = self.start.take() {
            return Some(Event::Start(start));
        }
        while let Some((index, record, text)) = self.reader.next_record() {
            if let Some(event) = self.event(index, &record, &text) {
                return Some(event);
            }
        }
        self.end.take().map(Event::End)
    }
}

/// The first parts of a text whose parts end with NUL.
fn strings<const N: usize>(text: &[u8]) -> [String; N] {
    let mut parts = text.split(|byte| *byte == 0);
    std::array::from_fn(|_| parts.next().map(|part| String::from_utf8_lossy(part).into_owned()).unwrap_or_default())
}

fn fault_name(record: &Record) -> String {
    FaultKind::from_number(record.fault).map_or_else(|| format!("#{}", record.fault), |fault| fault.name().into())
}

fn call_name(record: &Record) -> String {
    if record.op == NO_CALL {
        return "launcher".into();
    }
    Op::from_number(record.op).map_or_else(|| format!("#{}", record.op), |op| op.row().name().into())
}

/// The errno, or what was done instead.
fn effect_of(record: &Record) -> (Option<String>, Option<String>) {
    let code = record.effect;
    let eai = Op::from_number(record.op).is_some_and(|op| op.row().fails == Fails::Eai);
    let name = if eai { eai_name(code) } else { errno_name(code) };
    let errno = || Some(name.map_or_else(|| code.to_string(), str::to_owned));
    let signal = || signal_name(code).map_or_else(|| format!("signal {code}"), str::to_owned);
    match FaultKind::from_number(record.fault) {
        Some(FaultKind::Dns) if code == 0 => (None, Some("hang".into())),
        Some(FaultKind::Exhaust) if code == 0 => (None, Some("short".into())),
        Some(FaultKind::Disconnect) if code == 0 => (None, Some("end".into())),
        Some(
            FaultKind::Error
            | FaultKind::Refuse
            | FaultKind::Unreachable
            | FaultKind::Exhaust
            | FaultKind::Dns
            | FaultKind::Disconnect,
        ) => (errno(), None),
        Some(FaultKind::Throttle) => (None, Some("throttle".into())),
        Some(FaultKind::Latency) => {
            let delay = Duration::from_nanos(record.requested);
            (None, Some(format!("delay {}", humantime::format_duration(delay))))
        }
        Some(FaultKind::Hang) => (None, Some("hang".into())),
        Some(FaultKind::Short) => (None, Some("short".into())),
        Some(FaultKind::Corrupt) => (None, Some(corruption(code).into())),
        Some(FaultKind::Drop) => (None, Some("drop".into())),
        Some(FaultKind::Torn) if code == 0 => (None, Some("torn, then killed".into())),
        Some(FaultKind::Torn) => (errno(), Some("torn".into())),
        Some(FaultKind::Return) if code == 0 => (None, Some("return".into())),
        Some(FaultKind::Return) => (errno(), Some("return".into())),
        Some(FaultKind::Signal) => (None, Some(signal())),
        Some(FaultKind::Exit) => (None, Some(format!("exit {code}"))),
        Some(FaultKind::Clock) => {
            let sign = if record.result < 0 { '-' } else { '+' };
            let off = Duration::from_nanos(record.result.unsigned_abs());
            (None, Some(format!("clock {sign}{}", humantime::format_duration(off))))
        }
        Some(FaultKind::Freeze) => {
            let length = Duration::from_nanos(record.requested);
            (None, Some(format!("freeze {}", humantime::format_duration(length))))
        }
        None => (None, Some(format!("#{code}"))),
    }
}

/// What was done to the data.
fn corruption(code: i32) -> &'static str {
    match u32::try_from(code).unwrap_or(0) {
        change::ZERO => "zero",
        change::DUPLICATE => "duplicate",
        change::TRUNCATE => "truncate",
        _ => "corrupt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;
    use crate::collect::{Collector, Tree};
    use crate::testing::{Fake, injection};

    fn read(fake: &Fake) -> Vec<serde_json::Value> {
        let source = Source::find(Some(fake.dir.path())).unwrap();
        let mut out = Vec::new();
        crate::log_format::write(Format::Jsonl, &mut Events::of(&source).unwrap(), &mut out).unwrap();
        out.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    fn injections(fake: &Fake) -> Vec<serde_json::Value> {
        read(fake).into_iter().filter(|line| line["type"] == "injection").collect()
    }

    fn process(fake: &mut Fake) {
        let record = Record { kind: kind::PROCESS, process: 1, pid: 7, ..Record::default() };
        fake.write(record, b"0.2\0worker\0/usr/bin/worker\0");
    }

    #[test]
    fn an_injection_has_every_field_with_its_names() {
        let mut fake = Fake::new();
        fake.describe();
        process(&mut fake);
        fake.write(injection(3), b"/data/x");
        let lines = read(&fake);
        assert_eq!(lines[0]["type"], "start");
        assert_eq!(lines[1]["executable"], "/usr/bin/worker");
        let expected = serde_json::json!({
            "type": "injection", "seq": 1, "at_ns": 0, "pid": std::process::id(), "tid": std::process::id(),
            "lineage": "0.2", "process": "worker", "rule": "rule-a", "fault": "error", "call": "read", "errno": "EIO",
            "effect": null, "resource": "/data/x", "nth": 3, "requested": 0, "result": -1, "delivered": true,
        });
        assert_eq!(lines[2], expected);
    }

    #[test]
    fn a_resource_that_is_no_utf8_keeps_its_bytes() {
        let mut fake = Fake::new();
        fake.describe();
        fake.write(injection(1), b"/\xff\n");
        assert_eq!(injections(&fake)[0]["resource_hex"], "2fff0a");
    }

    #[test]
    fn a_slow_injection_is_joined_with_its_end_across_log_and_ring() {
        let mut fake = Fake::new();
        fake.describe();
        let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
        let pending = Record { status: status::PENDING, fault: 2, effect: 0, requested: 5, ..injection(1) };
        let first = fake.write(pending, b"");
        let second = fake.write(pending, b"");
        fake.write(injection(2), b"");
        collector.drain(Tree::Alive);
        let end = |nth, result| Record { kind: kind::DELIVERY, status: status::DELIVERED, nth, result, ..injection(0) };
        fake.write(end(second, 22), b"");
        collector.drain(Tree::Alive);
        fake.write(end(first, 11), b"");
        let seen: Vec<_> = injections(&fake).iter().map(|line| line["result"].as_i64()).collect();
        assert_eq!(seen, [Some(11), Some(22), Some(-1)]);
        assert_eq!(collector.tally().delivered[0], 2);
    }

    #[test]
    fn a_launcher_that_died_while_it_wrote_lost_nothing() {
        let mut fake = Fake::new();
        fake.describe();
        let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
        for nth in 0..10 {
            fake.write(injection(nth), &[b'x'; 300]);
        }
        collector.drain(Tree::Alive);
        for nth in 10..20 {
            fake.write(injection(nth), b"in the ring");
        }
        // It was killed after writing part of what it had read, and before it moved the tail.
        let log = std::fs::read(fake.log_path()).unwrap();
        fake.open().set_tail(0).unwrap();
        for cut in [log.len(), log.len() - 64, log.len() - 100, 1000, 64, 0] {
            std::fs::write(fake.log_path(), &log[..cut]).unwrap();
            let nths: Vec<_> = injections(&fake).iter().map(|line| line["nth"].as_u64().unwrap()).collect();
            assert_eq!(nths, (0..20).collect::<Vec<_>>(), "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_log_gives_what_it_can() {
        let mut fake = Fake::new();
        fake.describe();
        let mut collector = Collector::new(fake.open(), fake.log(), u64::MAX);
        for nth in 0..10 {
            fake.write(injection(nth), b"");
        }
        collector.drain(Tree::Alive);
        let mut log = std::fs::read(fake.log_path()).unwrap();
        log[128..192].fill(0xee);
        std::fs::write(fake.log_path(), &log).unwrap();
        let source = Source::find(Some(fake.dir.path())).unwrap();
        let mut events = Events::of(&source).unwrap();
        assert_eq!(events.by_ref().filter(|event| matches!(event, Event::Injection(_))).count(), 9);
        assert_eq!(events.damaged(), 1);
    }

    #[test]
    fn a_session_file_alone_is_a_log() {
        let mut fake = Fake::new();
        process(&mut fake);
        fake.write(injection(3), b"/data/x");
        let source = Source::find(Some(&fake.dir.path().join("session"))).unwrap();
        assert_eq!(source.seed, Some(42));
        let rules: Vec<_> = Events::of(&source)
            .unwrap()
            .filter_map(|event| if let Event::Injection(injection) = event { Some(injection.rule) } else { None })
            .collect();
        assert_eq!(rules, ["rule-a"]);
    }
}

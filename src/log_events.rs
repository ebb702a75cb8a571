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
use chaos_table::session::engine;
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
    /// A call on a resource that was made to fail: one that failed by itself, or one after the recovery.
    Attempt(Attempt),
    /// A child cannot be followed.
    Escape(Escape),
    /// A moment worth knowing.
    Mark(Mark),
    /// Something else worth knowing.
    #[serde(rename = "event")]
    Remark(Remark),
    /// What the program tells itself.
    #[serde(rename = "event")]
    Told(Told),
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
    /// `preload`: the shim, inside it; `seccomp`: the launcher, which the kernel asks about its system calls; `both`: the
    /// latter, and the shim for what is no system call.
    pub engine: &'static str,
    /// As the record has it.
    #[serde(skip)]
    pub engine_number: u32,
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
    /// Whether the caller saw the effect. One that waits sees it even if it never comes back.
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
    /// When it let its caller go on, of faults that take time, in ns since the start of the run.
    #[serde(skip)]
    pub ended_ns: Option<u64>,
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
    /// Calls on the resource by then into which no fault was injected, this one included.
    pub tries: u64,
    /// Index of that injection's record.
    #[serde(skip)]
    pub of: u64,
    /// Number of the process image.
    #[serde(skip)]
    pub image: u32,
}

/// A call, into which no fault was injected, on a resource that was made to fail; the fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Attempt {
    /// ns since the start of the run.
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub lineage: Option<String>,
    pub process: Option<String>,
    pub rule: String,
    pub call: String,
    /// What it failed with; none when it succeeded, after the recovery.
    pub errno: Option<String>,
    /// The how manieth such call it is, since the fault or since the recovery; of very many only some are told.
    pub number: u64,
    /// `seq` of the injection that began it; unknown when that is long ago.
    pub injection: Option<u64>,
    /// Index of that injection's record.
    #[serde(skip)]
    pub of: u64,
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
    /// One of [`chaos_table::record::escaped`].
    #[serde(skip)]
    pub what: i32,
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

/// What the program tells itself, by the functions of `chaos.h`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// Its own word, `recovery_begin`, `recovery_end`, or `metric`.
    pub event: String,
    pub at_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub process: Option<String>,
    /// What of the program it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// `metric`: of what ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ... and how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

impl From<Told> for Mark {
    /// As it stands in a timeline.
    fn from(told: Told) -> Mark {
        let parts = [told.component, Some(told.event), told.data];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Mark { at_ns: told.at_ns, pid: told.pid, process: told.process, text }
    }
}

/// `unsuitable`: a fault that fired where no kernel could produce it, so it was not injected. `unwatched`: nobody will see
/// a recovery from an injection. The fields are those of an injection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Remark {
    /// Which of them.
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
    /// Index of the injection's record, of what is not watched.
    #[serde(skip)]
    pub of: Option<u64>,
}

/// Reads a session as events.
pub struct Events {
    reader: LogReader,
    /// Runs ahead to find the ends of slow injections.
    scout: Option<LogReader>,
    /// Ends that the scout has passed: ring index of the injection -> result and moment.
    ends: HashMap<u64, (i64, u64)>,
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
        let engine_number = u32::from(record.fault);
        let engine = engine_name(engine_number);
        Event::Process(Process { at_ns, pid, lineage, process, executable, image, parent, engine, engine_number })
    }

    fn injection(&mut self, index: u64, record: &Record, text: &[u8]) -> Event {
        self.seq += 1;
        if self.numbers.len() == MAX_NUMBERS {
            self.numbers.pop_front();
        }
        self.numbers.push_back((index, self.seq));
        let label = self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default();
        let (result, ended_ns) = match record.status {
            status::DELIVERED => (Some(record.result), None),
            status::PENDING => self.end_of(index).unzip(),
            _ => (None, None),
        };
        let blocked = result.is_none() && is_wait(record);
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
            delivered: result.is_some() || blocked,
            component: label.component,
            message: label.message,
            index,
            image: record.process,
            ended_ns,
            blocked,
        }))
    }

    fn recovery(&self, record: &Record, text: &[u8]) -> Event {
        let (lineage, process) = self.who(record);
        let resource = String::from_utf8_lossy(text).into_owned();
        Event::Recovery(Recovery {
            at_ns: record.at_ns,
            pid: record.pid,
            tid: record.tid,
            lineage,
            process,
            rule: self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default().name,
            call: call_name(record),
            resource: Some(resource).filter(|resource| !resource.is_empty()),
            injection: self.number_of(record.nth),
            tries: record.requested,
            of: record.nth,
            image: record.process,
        })
    }

    fn attempt(&self, record: &Record) -> Event {
        let (lineage, process) = self.who(record);
        Event::Attempt(Attempt {
            at_ns: record.at_ns,
            pid: record.pid,
            tid: record.tid,
            lineage,
            process,
            rule: self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default().name,
            call: call_name(record),
            errno: (record.effect != 0).then(|| code_name(record)),
            number: record.requested,
            injection: self.number_of(record.nth),
            of: record.nth,
        })
    }

    /// `seq` of the injection with this record.
    fn number_of(&self, index: u64) -> Option<u64> {
        let at = self.numbers.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.numbers.get(at).map(|(_, seq)| *seq)
    }

    /// What the caller of a slow injection got in the end, and when.
    fn end_of(&mut self, index: u64) -> Option<(i64, u64)> {
        if let Some(result) = self.ends.remove(&index) {
            return Some(result);
        }
        while let Some(scout) = &mut self.scout {
            match scout.next_record() {
                Some((_, record, _)) if record.kind == kind::DELIVERY && record.nth == index => {
                    return Some((record.result, record.at_ns));
                }
                Some((_, record, _)) if record.kind == kind::DELIVERY => {
                    self.ends.insert(record.nth, (record.result, record.at_ns));
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

    fn told(&self, record: &Record, text: &[u8]) -> Told {
        let (at_ns, pid, tid, process) = (record.at_ns, record.pid, record.tid, self.who(record).1);
        let told = Told { at_ns, pid, tid, process, ..Told::default() };
        if record.kind == kind::METRIC {
            let name = Some(String::from_utf8_lossy(text).into_owned());
            let value = Some(f64::from_bits(record.result.cast_unsigned())).filter(|value| value.is_finite());
            return Told { event: "metric".into(), name, value, ..told };
        }
        let [component, event, data] = strings(text);
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Told { event, component: given(component), data: given(data), ..told }
    }

    fn remark(&self, event: &str, record: &Record, text: &[u8], of: Option<u64>) -> Event {
        let label = self.labels.get(usize::from(record.rule)).cloned().unwrap_or_default();
        Event::Remark(Remark {
            event: event.into(),
            at_ns: record.at_ns,
            pid: record.pid,
            tid: record.tid,
            process: self.who(record).1,
            rule: label.name,
            fault: if of.is_none() { fault_name(record) } else { label.fault },
            call: call_name(record),
            reason: String::from_utf8_lossy(text).into_owned(),
            of,
        })
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
                let what = record.effect;
                Some(Event::Escape(Escape { at_ns, pid, lineage, process, reason, program, what }))
            }
            kind::ATTEMPT => Some(self.attempt(record)),
            kind::UNSUITABLE => Some(self.remark("unsuitable", record, text, None)),
            kind::UNWATCHED => Some(self.remark("unwatched", record, text, Some(record.nth))),
            kind::EVENT | kind::METRIC => Some(Event::Told(self.told(record, text))),
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

fn engine_name(engine: u32) -> &'static str {
    match engine {
        engine::SECCOMP => "seccomp",
        engine::BOTH => "both",
        _ => "preload",
    }
}

fn fault_name(record: &Record) -> String {
    FaultKind::from_number(record.fault).map_or_else(|| format!("#{}", record.fault), |fault| fault.name().into())
}

/// Whether an injection, by its record, makes its caller wait: then it is met as soon as it is recorded, whether or not
/// the caller ever comes back. Of all others, one whose end was not told met a call that gave it nothing to do.
pub fn is_wait(record: &Record) -> bool {
    let takes_time = matches!(
        FaultKind::from_number(record.fault),
        Some(FaultKind::Latency | FaultKind::Hang | FaultKind::Dns | FaultKind::Unreachable | FaultKind::Freeze)
    );
    // The launcher tells at once whether its own reached anybody.
    takes_time && record.status == status::PENDING && record.op != NO_CALL
}

fn call_name(record: &Record) -> String {
    if record.op == NO_CALL {
        return "launcher".into();
    }
    Op::from_number(record.op).map_or_else(|| format!("#{}", record.op), |op| op.row().name().into())
}

/// The name of an errno, or of a resolver's code.
fn code_name(record: &Record) -> String {
    let code = record.effect;
    let eai = Op::from_number(record.op).is_some_and(|op| op.row().fails == Fails::Eai);
    let name = if eai { eai_name(code) } else { errno_name(code) };
    name.map_or_else(|| code.to_string(), str::to_owned)
}

/// The errno, or what was done instead.
fn effect_of(record: &Record) -> (Option<String>, Option<String>) {
    let code = record.effect;
    let errno = || Some(code_name(record));
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
#[path = "log_events_tests.rs"]
mod tests;

//! The events of a log: records with the names of their rules, calls and processes, in the order of the ring, each
//! slow injection joined with its end. The field names are those of the JSON Lines.

mod kinds;
mod names;

use crate::error::Result;
use crate::log_reader::{LogReader, Source};
use crate::session::{End, hex};
use crate::session_file::RuleLabel;
use chaos_table::record::{Record, kind, status};
use std::collections::{HashMap, VecDeque};

pub use kinds::{Attempt, Escape, Event, Injection, Mark, Process, Recovery, Remark, Start, Told};
pub use names::is_wait;
use names::{call_name, code_name, effect_of, engine_name, fault_name, strings};

/// Injections whose numbers are remembered for the recoveries that follow.
const MAX_NUMBERS: usize = 1 << 16;

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

#[cfg(test)]
mod tests;

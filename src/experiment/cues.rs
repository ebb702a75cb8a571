//! Begins phases that wait for a mark or for a number of calls: when the sign is seen, their rules get their times.

use super::counting::is_or_in_phase;
use super::phases::{Cue, Sign};
use crate::collect::Collector;
use crate::ctl::with_live;
use crate::error::Result;
use chaos_table::record::{Record, kind};
use std::collections::VecDeque;

/// The phases that have not begun.
#[derive(Debug, Default)]
pub struct Cues {
    left: VecDeque<Cue>,
}

impl Cues {
    /// In this order.
    #[must_use]
    pub fn new(cues: &[Cue]) -> Cues {
        Cues { left: cues.iter().cloned().collect() }
    }

    /// Begins what is due.
    ///
    /// # Errors
    /// When the session is damaged.
    pub fn look(&mut self, collector: &mut Collector) -> Result<()> {
        let mut marks = collector.new_marks().into_iter();
        while let Some(cue) = self.left.front() {
            let is_due = match &cue.sign {
                Sign::Mark(text) => marks.any(|mark| mark == *text),
                Sign::Calls { rule, count } => counted(collector, rule) >= *count,
            };
            if !is_due {
                return Ok(());
            }
            begin(&self.left, collector)?;
            self.left.pop_front();
        }
        Ok(())
    }
}

fn counted(collector: &Collector, rule: &str) -> u64 {
    let labels = collector.session().labels().unwrap_or_default();
    let counters = collector.session().counters(labels.len()).unwrap_or_default();
    let own = labels.iter().zip(counters).filter(|(label, _)| is_or_in_phase(&label.name, rule));
    own.map(|(_, counters)| counters.matched + counters.protected).sum()
}

/// Ends the phases before the first of these, and begins it.
fn begin(left: &VecDeque<Cue>, collector: &mut Collector) -> Result<()> {
    let Some(cue) = left.front() else { return Ok(()) };
    let later = |name: &str| left.iter().flat_map(|cue| &cue.windows).any(|(own, ..)| own == name);
    let at_ns = with_live(collector.session(), |live, now| {
        let time = live.run_time(now);
        for (index, name) in live.names().iter().enumerate() {
            let Some(mut rule) = live.rule(index).filter(|rule| rule.enabled != 0) else { continue };
            let window = cue.windows.iter().find(|(own, ..)| own == name);
            if let Some((_, from, lasting)) = window {
                rule.from_ns = time.saturating_add(*from);
                rule.until_ns = lasting.map_or(u64::MAX, |lasting| rule.from_ns.saturating_add(lasting));
            } else if name.contains('/') && !later(name) {
                rule.until_ns = rule.until_ns.min(time);
            } else {
                continue;
            }
            live.replace(index, &rule);
        }
        live.since_start(now)
    })?;
    let pid = std::process::id();
    let record = Record { kind: kind::MARK, at_ns, pid, tid: pid, ..Record::default() };
    let _ = collector.add(record, format!("phase {} begins", cue.phase).as_bytes());
    Ok(())
}

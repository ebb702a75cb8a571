//! Figures that a program knows itself: lines `NAME VALUE [of=RESOURCE]` that it appends to the file named by
//! `CHAOS_METRICS`, and what it says by `chaos_metric`. Pure but for reading the file.

use crate::error::{Failure, Result, plain};
use crate::gate::percent;
use chaos_table::env;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The file of a session directory that keeps the lines.
const KEPT_FILE: &str = "metrics";
/// Bytes of it that are read.
const MOST_BYTES: u64 = 64 << 20;
/// Names in one pool, and letters of one.
const MOST_NAMES: usize = 1000;
const LONGEST: usize = 128;
/// Values of a name that are kept for its percentiles; the others still count.
const KEPT: usize = 100_000;
/// Bad lines that are named; the others are counted.
const SHOWN: usize = 20;

/// Where a program's own figures go, and how much was in it before.
#[derive(Clone, Debug)]
pub struct Sink {
    path: PathBuf,
    from: u64,
}

impl Sink {
    /// A file; what it holds by now is of another run.
    #[must_use]
    pub fn new(path: PathBuf) -> Sink {
        let from = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        Sink { path, from }
    }

    /// The one that the user's environment names.
    #[must_use]
    pub fn of_environment() -> Option<Sink> {
        std::env::var_os(env::METRICS).filter(|path| !path.is_empty()).map(|path| Sink::new(path.into()))
    }

    /// Keeps what was appended in a session directory.
    ///
    /// # Errors
    /// When it cannot be copied; none when there is nothing.
    pub fn keep(&self, session: &Path) -> Result<()> {
        let copy = || -> std::io::Result<()> {
            let mut file = match File::open(&self.path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            };
            if !file.metadata()?.is_file() {
                return Ok(());
            }
            file.seek(SeekFrom::Start(self.from))?;
            let mut kept = File::create(session.join(KEPT_FILE))?;
            std::io::copy(&mut file.take(MOST_BYTES + 1), &mut kept).map(drop)
        };
        copy().map_err(|error| {
            Failure::new(format!("cannot keep the program's own figures, {}: {}", self.path.display(), plain(&error)))
        })
    }
}

/// Figures of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    by_name: BTreeMap<String, Values>,
    /// Lines that say nothing that can be counted, the first of them by their place.
    bad: Vec<String>,
    bad_count: u64,
}

/// The values of one figure.
#[derive(Clone, Debug, Default, PartialEq)]
struct Values {
    n: u64,
    sum: f64,
    min: f64,
    max: f64,
    kept: Vec<f64>,
    /// Those that belong to an episode, until it is known what became of that.
    open: Vec<(String, f64)>,
    /// Of recovered episodes: how many values, and their sum.
    recovered: (u64, f64),
    /// Of all episodes.
    episodes: (u64, f64),
}

/// What is said about a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Values.
    pub n: u64,
    /// Their sum.
    pub sum: f64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The middle one.
    pub p50: f64,
    /// 95 % are not greater.
    pub p95: f64,
    /// Mean of those that belong to a recovered episode.
    pub recovered: Option<f64>,
    /// Mean of those that belong to any episode.
    pub episodes: Option<f64>,
}

impl Values {
    fn add(&mut self, value: f64) {
        (self.min, self.max) = match self.n {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.n += 1;
        self.sum += value;
        if self.kept.len() < KEPT {
            self.kept.push(value);
        }
    }

    fn merge(&mut self, other: &Values) {
        if other.n > 0 {
            (self.min, self.max) = match self.n {
                0 => (other.min, other.max),
                _ => (self.min.min(other.min), self.max.max(other.max)),
            };
        }
        self.n += other.n;
        self.sum += other.sum;
        let room = KEPT.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.iter().take(room));
        for (own, more) in [(&mut self.recovered, other.recovered), (&mut self.episodes, other.episodes)] {
            *own = (own.0 + more.0, own.1 + more.1);
        }
    }

    fn summary(&self) -> Option<Summary> {
        let mut sorted = self.kept.clone();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank, as everywhere; counts far below 2^52.
        let at = |part: f64| sorted.get(((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1)).copied();
        let mean = |(n, sum): (u64, f64)| (n > 0).then(|| sum / n as f64);
        Some(Summary {
            n: self.n,
            sum: self.sum,
            mean: mean((self.n, self.sum))?,
            min: self.min,
            max: self.max,
            p50: at(0.5)?,
            p95: at(0.95)?,
            recovered: mean(self.recovered),
            episodes: mean(self.episodes),
        })
    }
}

impl Metrics {
    /// What a session's own lines say.
    #[must_use]
    pub fn of_session(session: &Path) -> Metrics {
        let mut metrics = Metrics::default();
        let path = session.join(KEPT_FILE);
        let Ok(file) = File::open(&path) else { return metrics };
        if file.metadata().is_ok_and(|meta| meta.len() > MOST_BYTES) {
            metrics.refuse(format!("{}: only its first {MOST_BYTES} bytes count", path.display()));
        }
        let mut lines = BufReader::new(file.take(MOST_BYTES));
        for number in 1.. {
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    metrics.refuse(format!("{}:{number}: {}", path.display(), plain(&error)));
                    break;
                }
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if !text.is_empty()
                && !text.starts_with('#')
                && let Err(why) = metrics.line(text)
            {
                metrics.refuse(format!("{}:{number}: {why}", path.display()));
            }
        }
        metrics
    }

    /// A line such as `cache_hit_rate 0.93` or `from_checkpoint 1 of=orders.db`.
    fn line(&mut self, text: &str) -> std::result::Result<(), String> {
        let mut words = text.splitn(3, char::is_whitespace);
        let name = words.next().unwrap_or_default();
        let value = words.next().ok_or_else(|| format!("'{}' has no value: NAME VALUE is wanted", shown(text)))?;
        let value = number(value).ok_or_else(|| format!("'{}' is no number", shown(value)))?;
        self.take(name, value, words.next().map(str::trim).filter(|rest| !rest.is_empty()))
    }

    /// What `chaos_metric` said: the name may have ` of=RESOURCE` behind it.
    pub fn told(&mut self, text: &str, value: f64) {
        let (name, rest) = text.split_once(' ').map_or((text, None), |(name, rest)| (name, Some(rest.trim())));
        if let Err(why) = self.take(name, value, rest) {
            self.refuse(format!("chaos_metric: {why}"));
        }
    }

    fn take(&mut self, name: &str, value: f64, rest: Option<&str>) -> std::result::Result<(), String> {
        if !is_name(name) {
            return Err(format!("'{}' is no name for a figure: letters, digits, `_`, `-`, `.`", shown(name)));
        }
        let of = match rest {
            None => None,
            Some(rest) => match rest.strip_prefix("of=").filter(|of| !of.is_empty()) {
                Some(of) => Some(of.trim_matches('"').to_owned()),
                None => return Err(format!("'{}' says nothing that is known: of=RESOURCE", shown(rest))),
            },
        };
        if self.by_name.len() >= MOST_NAMES && !self.by_name.contains_key(name) {
            return Err(format!("there are more than {MOST_NAMES} names"));
        }
        let values = self.by_name.entry(name.to_owned()).or_default();
        values.add(value);
        if let Some(of) = of.filter(|_| values.open.len() < KEPT) {
            values.open.push((of, value));
        }
        Ok(())
    }

    fn refuse(&mut self, why: String) {
        self.bad_count += 1;
        if self.bad.len() < SHOWN {
            self.bad.push(why);
        }
    }

    /// Adds those of another run, or of another source of the same.
    pub fn merge(&mut self, other: &Metrics) {
        for (name, values) in &other.by_name {
            if self.by_name.len() < MOST_NAMES || self.by_name.contains_key(name) {
                let own = self.by_name.entry(name.clone()).or_default();
                own.merge(values);
                own.open.extend(values.open.iter().cloned());
            }
        }
        self.bad_count += other.bad_count;
        let room = SHOWN.saturating_sub(self.bad.len());
        self.bad.extend(other.bad.iter().take(room).cloned());
    }

    /// Says what became of the episodes: their resources, and whether each recovered; of several on one the last counts.
    pub fn settle(&mut self, episodes: &[(Option<&str>, bool)]) {
        let mut lost = Vec::new();
        for (name, values) in &mut self.by_name {
            for (of, value) in std::mem::take(&mut values.open) {
                let is_meant = |resource: &str| {
                    resource == of || resource.strip_suffix(of.as_str()).is_some_and(|rest| rest.ends_with('/'))
                };
                let found = episodes.iter().rev().find(|(resource, _)| resource.is_some_and(is_meant));
                let Some((_, recovered)) = found else {
                    lost.push(format!("{name}: of={}: nothing was injected there", shown(&of)));
                    continue;
                };
                values.episodes = (values.episodes.0 + 1, values.episodes.1 + value);
                if *recovered {
                    values.recovered = (values.recovered.0 + 1, values.recovered.1 + value);
                }
            }
        }
        lost.into_iter().for_each(|why| self.refuse(why));
    }

    /// The names and what is said about each.
    #[must_use]
    pub fn summaries(&self) -> BTreeMap<String, Summary> {
        self.by_name.iter().filter_map(|(name, values)| Some((name.clone(), values.summary()?))).collect()
    }

    /// What could not be counted.
    #[must_use]
    pub fn trouble(&self) -> Vec<String> {
        let more = self.bad_count.saturating_sub(self.bad.len() as u64);
        let rest = (more > 0).then(|| format!("{more} more lines of the program's own figures were left out"));
        self.bad.iter().cloned().chain(rest).collect()
    }

    /// One number of a figure: `NAME` (its mean), `NAME.p95`, `NAME.recovered` ...
    #[must_use]
    pub fn figure(&self, key: &str) -> Option<f64> {
        if let Some(values) = self.by_name.get(key) {
            return values.summary().map(|summary| summary.mean);
        }
        let (name, what) = key.rsplit_once('.')?;
        let summary = self.by_name.get(name)?.summary()?;
        match what {
            // Counts far below 2^52.
            "n" => Some(summary.n as f64),
            "sum" => Some(summary.sum),
            "mean" => Some(summary.mean),
            "min" => Some(summary.min),
            "max" => Some(summary.max),
            "p50" => Some(summary.p50),
            "p95" => Some(summary.p95),
            "recovered" => summary.recovered,
            "episodes" => summary.episodes,
            _ => None,
        }
    }

    /// A table for a report in Markdown; nothing when there are none.
    #[must_use]
    pub fn markdown(&self) -> String {
        let all = self.summaries();
        if all.is_empty() {
            return String::new();
        }
        let mut text = "\n## The program's own figures\n\n\
                        | figure | n | mean | min | P50 | P95 | max | of recovered episodes |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for (name, figure) in all {
            let Summary { n, mean, min, max, p50, p95, recovered, .. } = figure;
            let recovered = recovered.map_or_else(|| "-".into(), digits);
            let [mean, min, p50, p95, max] = [mean, min, p50, p95, max].map(digits);
            text += &format!("| {name} | {n} | {mean} | {min} | {p50} | {p95} | {max} | {recovered} |\n");
        }
        text
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= LONGEST && name.chars().all(fits)
}

/// A number, also with `%` behind it.
fn number(text: &str) -> Option<f64> {
    let value = match text.strip_suffix('%') {
        Some(part) => part.parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    value.is_finite().then_some(value)
}

/// A number for reading: at most six digits behind the point.
fn digits(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// A condition on such a figure: `metric.cache_hit_rate>=80%`, `metric.retries.p95 in 1..3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    key: String,
    low: f64,
    high: f64,
    /// Whether the ends themselves are left out.
    open: (bool, bool),
    unequal: bool,
    text: String,
    percent: bool,
}

impl Condition {
    /// Reads one; `None` for a text that speaks of no such figure.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Condition>> {
        let Some(rest) = text.trim().strip_prefix("metric.") else { return Ok(None) };
        let example = "such as metric.cache_hit_rate>=80% or metric.retries.p95 in 1..3";
        let wrong = |why: &str| Failure::new(format!("--gate: `{}`: {why}", text.trim())).help(example);
        let bound = |text: &str| number(text.trim()).ok_or_else(|| wrong(&format!("'{}' is no number", text.trim())));
        let at = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).unwrap_or(rest.len());
        let (key, rest) = (&rest[..at], rest[at..].trim());
        if !is_name(key) {
            return Err(wrong("it names no figure"));
        }
        let signs = [">=", "<=", "==", "!=", "=", "<", ">"];
        let all = f64::INFINITY;
        let (low, high, open, unequal, value) = if let Some(range) = rest.strip_prefix("in ") {
            let Some((low, high)) = range.split_once("..") else { return Err(wrong("a range is LOW..HIGH")) };
            let (low, high) = (bound(low)?, bound(high)?);
            if low > high {
                return Err(wrong("the range is reversed"));
            }
            (low, high, (false, false), false, range)
        } else {
            let Some(sign) = signs.into_iter().find(|sign| rest.starts_with(sign)) else {
                return Err(wrong("it compares with nothing"));
            };
            let text = &rest[sign.len()..];
            let value = bound(text)?;
            let (low, high, open, unequal) = match sign {
                ">=" => (value, all, (false, false), false),
                ">" => (value, all, (true, false), false),
                "<=" => (-all, value, (false, false), false),
                "<" => (-all, value, (false, true), false),
                "!=" => (value, value, (false, false), true),
                _ => (value, value, (false, false), false),
            };
            (low, high, open, unequal, text)
        };
        let (key, text) = (key.to_owned(), rest.to_owned());
        Ok(Some(Condition { key, low, high, open, unequal, percent: value.trim().ends_with('%'), text }))
    }

    /// Whether it holds, and in words; `None` when the program said no such figure.
    #[must_use]
    pub fn judge(&self, metrics: &Metrics) -> Option<(bool, String)> {
        let value = metrics.figure(&self.key)?;
        let above = if self.open.0 { value > self.low } else { value >= self.low };
        let below = if self.open.1 { value < self.high } else { value <= self.high };
        let said = if self.percent { percent(value) } else { digits(value) };
        let holds = (above && below) != self.unequal;
        let wanted = if holds { String::new() } else { format!(", wanted {}", self.text) };
        Some((holds, format!("metric.{} {said}{wanted}", self.key)))
    }

    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Metrics {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEPT_FILE), text).unwrap();
        Metrics::of_session(dir.path())
    }

    #[test]
    fn lines_are_added_up_and_bad_ones_are_named() {
        let metrics = of("hits 0.5\nhits 70%\n\n# a remark\nretries 3\nhits\nhits x\nhits nan\nhits 1 off=2\na/b 1\n");
        let hits = metrics.summaries()["hits"];
        assert_eq!((hits.n, hits.min, hits.max, hits.p50, hits.mean), (2, 0.5, 0.7, 0.5, 0.6));
        let trouble = metrics.trouble();
        assert_eq!(trouble.len(), 5, "{trouble:?}");
        for (line, why) in [(6, "has no value"), (7, "is no number"), (8, "is no number"), (9, "of="), (10, "no name")]
        {
            assert!(
                trouble.iter().any(|said| said.contains(&format!("metrics:{line}: ")) && said.contains(why)),
                "{why}: {trouble:?}"
            );
        }
        assert_eq!(of(&"x y\n".repeat(50)).trouble().len(), SHOWN + 1);
    }

    #[test]
    fn values_of_episodes_give_rates_over_recoveries() {
        let mut metrics = of("from_checkpoint 1 of=a.db\nfrom_checkpoint 0 of=/x/b.db\nfrom_checkpoint 1 of=c.db\n");
        metrics.settle(&[(Some("/x/a.db"), true), (Some("/x/b.db"), true), (None, false)]);
        assert_eq!(metrics.figure("from_checkpoint.recovered"), Some(0.5));
        assert_eq!(metrics.figure("from_checkpoint.n"), Some(3.0));
        assert!(metrics.trouble()[0].contains("of=c.db: nothing was injected there"), "{:?}", metrics.trouble());
    }

    #[test]
    fn conditions_hold_or_say_why_not() {
        let metrics = of("hits 0.8\nretries 2\n");
        for (text, holds) in [
            ("metric.hits>=80%", true),
            ("metric.hits>80%", false),
            ("metric.retries in 1..3", true),
            ("metric.retries in 3..4", false),
            ("metric.retries!=2", false),
            ("metric.retries.max<=2", true),
            ("metric.retries.n=1", true),
        ] {
            let condition = Condition::parse(text).unwrap().unwrap();
            assert_eq!(condition.judge(&metrics).unwrap().0, holds, "{text}");
        }
        assert_eq!(Condition::parse("metric.none=1").unwrap().unwrap().judge(&metrics), None);
        assert_eq!(Condition::parse("crashes=0").unwrap(), None);
        for text in
            ["metric.", "metric.hits", "metric.hits>=x", "metric.hits in 3..1", "metric.hits in 3", "metric.a/b=1"]
        {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}

//! The experiment file as a user writes it. Every key stands in `schema.json` beside this file, too.

use super::fill::{Filling, fill};
use super::limit::Limit;
use crate::error::{Failure, Result};
use chaos_table::checks::Check;
use chaos_table::error::TableError;
use chaos_table::files::{load_file, parse_as, read_text};
use chaos_table::nearest;
use chaos_table::quantities::{Lasting, Rate, Time};
use chaos_table::schema::Table;
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A whole experiment. What is `None` or empty was not given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an experiment: a map such as {targets: [{name: app, command: ./app}]}")]
pub struct Experiment {
    /// Its name for machines (the file's name without its extension).
    pub id: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
    /// What it simulates, why that matters, what failing means.
    pub description: Option<String>,
    /// What is run.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// The directory that each run gets a copy of; from the file's own directory.
    pub work: Option<String>,
    /// Files that each run finds in its work directory.
    #[serde(default)]
    pub files: BTreeMap<String, FileSource>,
    /// What fails: a table, or the name of its file.
    pub table: Option<TableSource>,
    /// When it fails.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// What must be true.
    #[serde(default)]
    pub checks: Checks,
    /// Ports that must be these; others are picked.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// The seed of every decision and of every range.
    pub seed: Option<u64>,
    /// How often it is run (1).
    pub runs: Option<u64>,
    /// How many at once (1).
    pub jobs: Option<u64>,
    /// Runs without faults that come first, and must pass (0; 1 when a place is a part of what they do).
    pub controls: Option<u64>,
    /// Between two runs.
    pub delay_between: Option<Lasting>,
    /// How long a run without a task goes on, from when its services are ready.
    pub lasting: Option<Lasting>,
    /// What all targets of a run have together, where a cgroup can be had.
    pub limit: Option<Limit>,
    /// When a run is ended and counts as a hang (10 minutes).
    pub deadline: Option<Lasting>,
    /// What must hold of all runs together.
    #[serde(default)]
    pub gate: Strings,
    /// Reports to write, from the working directory of chaos-exec.
    #[serde(default)]
    pub reports: Strings,
}

/// A process that is started.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a target: a map such as {name: app, command: [./app, --fast]}")]
pub struct Target {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Program and arguments, or a text for `sh -c`.
    #[serde(default)]
    pub command: Strings,
    /// Where it runs, from the run's work directory.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables beside those of chaos-exec; without a value: taken away.
    #[serde(default)]
    pub env: BTreeMap<String, Option<Scalar>>,
    /// A file that it reads as stdin, from the run's work directory.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Whether it runs for as long as the others need it.
    #[serde(default)]
    pub service: bool,
    /// What is true once it can be used; `within` 30 s.
    #[serde(default)]
    pub ready: Option<Check>,
    /// What is true of a service all along; `within`: how long it may be away.
    #[serde(default)]
    pub health: Option<Check>,
    /// Targets that must be ready, or have ended well, before it starts.
    #[serde(default)]
    pub after: Strings,
    /// Whether it is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How often at most (10).
    #[serde(default)]
    pub restarts: Option<u32>,
    /// How long after its end (100 ms).
    #[serde(default)]
    pub restart_delay: Option<Lasting>,
    /// How many of it (1).
    #[serde(default)]
    pub instances: Option<u32>,
}

impl Target {
    /// Whether it is the load that chaos-exec itself makes.
    #[must_use]
    pub fn is_load(&self) -> bool {
        self.command.all.iter().take(2).eq(["${chaos}", "load"])
    }
}

/// When a process is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    Never,
    /// When a signal or an exit code other than 0 ended it.
    OnFailure,
    /// However it ended; a service only.
    Always,
}

/// A file for the work directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", expecting = "a file: {from: PATH} or {text: ...}")]
pub enum FileSource {
    /// A copy of this one; from the experiment file's directory.
    From(String),
    /// With this content.
    Text(String),
}

/// A stretch of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a phase: a map such as {name: inject, for: 10s, faults: all}")]
pub struct Phase {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// When it begins; right after the one before when left out.
    pub from: Option<Begin>,
    /// How long it is; only the last, and one before a mark or a count, may go on.
    pub r#for: Option<Lasting>,
    /// What fails in it: `all`, `none` (the default), or names of faults.
    #[serde(default)]
    pub faults: Strings,
    /// The rate grows evenly from the first to the second in it.
    pub ramp: Option<Ramp>,
    /// Faults come and go in it.
    pub pulse: Option<Pulse>,
}

/// When a phase begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// So long after the phases before it began to count.
    At(Time),
    /// When this text is set as a mark, by `chaos-exec ctl mark` or by the program itself.
    Mark(String),
    /// When the program has made so many calls of a kind.
    Calls(Counting),
}

/// Calls that are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// How many, from when injection is armed.
    pub count: u64,
    /// Selectors of a fault that say which: `calls`, `path`, `to`, `process`.
    pub selectors: serde_json::Map<String, serde_json::Value>,
}

/// The map form of [`Begin`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "when a phase begins")]
struct BeginMap {
    mark: Option<Scalar>,
    count: Option<u64>,
    calls: Option<Strings>,
    path: Option<Strings>,
    to: Option<Strings>,
    process: Option<Strings>,
}

struct BeginVisitor;

impl<'de> Visitor<'de> for BeginVisitor {
    type Value = Begin;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 5s, {mark: TEXT} or {calls: write, count: 100}")
    }
    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Begin, E> {
        Time::deserialize(text.into_deserializer()).map(Begin::At)
    }
    fn visit_i64<E: Error>(self, number: i64) -> std::result::Result<Begin, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_u64<E: Error>(self, number: u64) -> std::result::Result<Begin, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Begin, A::Error> {
        let BeginMap { mark, count, calls, path, to, process } =
            BeginMap::deserialize(MapAccessDeserializer::new(map))?;
        let given = [("calls", &calls), ("path", &path), ("to", &to), ("process", &process)];
        let selectors: serde_json::Map<_, _> = given
            .iter()
            .filter_map(|(key, value)| Some(((*key).to_owned(), value.as_ref()?.all.clone().into())))
            .collect();
        match (mark, count) {
            (Some(Scalar(mark)), None) if selectors.is_empty() && !mark.trim().is_empty() => Ok(Begin::Mark(mark)),
            (None, Some(count)) if calls.is_some() && count > 0 => Ok(Begin::Calls(Counting { count, selectors })),
            _ => Err(A::Error::custom("a phase begins by {mark: TEXT} or by {calls: write, count: 100}")),
        }
    }
}

impl<'de> Deserialize<'de> for Begin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Begin, D::Error> {
        deserializer.deserialize_any(BeginVisitor)
    }
}

/// A rate that grows or falls.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a ramp: {from: 0%, to: 50%, steps: 5}")]
pub struct Ramp {
    /// At first.
    pub from: Rate,
    /// At last.
    pub to: Rate,
    /// In so many steps (5).
    #[serde(default)]
    pub steps: Option<u32>,
}

/// Faults that come and go.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a pulse: {on: 500ms, off: 1s}")]
pub struct Pulse {
    /// So long they are there.
    pub on: Lasting,
    /// So long they are not.
    pub off: Lasting,
}

/// What must be true, and when.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Before anything fails: the steady state.
    pub before: Vec<Check>,
    /// All along.
    pub during: Vec<Check>,
    /// At the end.
    pub after: Vec<Check>,
}

/// What fails.
#[derive(Debug)]
pub enum TableSource {
    /// As it stands.
    Inline(Box<Table>),
    /// In another file.
    File(String),
}

/// A text, number or switch, as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

/// One text, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    /// The texts.
    pub all: Vec<String>,
    /// Whether it was one without brackets.
    pub bare: bool,
}

/// Reads any scalar as its text.
struct AsText<T>(&'static str, PhantomData<T>);

impl<'de> Visitor<'de> for AsText<Scalar> {
    type Value = Scalar;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Scalar, E> {
        match text.contains('\0') {
            true => Err(E::custom("the text has a NUL inside")),
            false => Ok(Scalar(text.to_owned())),
        }
    }
    fn visit_i64<E: Error>(self, number: i64) -> std::result::Result<Scalar, E> {
        Ok(Scalar(number.to_string()))
    }
    fn visit_u64<E: Error>(self, number: u64) -> std::result::Result<Scalar, E> {
        Ok(Scalar(number.to_string()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> std::result::Result<Scalar, E> {
        Ok(Scalar(number.to_string()))
    }
    fn visit_bool<E: Error>(self, switch: bool) -> std::result::Result<Scalar, E> {
        Ok(Scalar(switch.to_string()))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Scalar, D::Error> {
        deserializer.deserialize_any(AsText::<Scalar>("a text or a number", PhantomData))
    }
}

impl<'de> Visitor<'de> for AsText<Strings> {
    type Value = Strings;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Strings, E> {
        let Scalar(one) = Scalar::deserialize(text.into_deserializer())?;
        Ok(Strings { all: vec![one], bare: true })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Strings, A::Error> {
        let mut all = Vec::new();
        while let Some(Scalar(one)) = list.next_element()? {
            all.push(one);
        }
        Ok(Strings { all, bare: false })
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strings, D::Error> {
        deserializer.deserialize_any(AsText::<Strings>("a text, or a list of texts", PhantomData))
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = TableSource;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault table, or the name of its file")
    }
    fn visit_str<E: Error>(self, file: &str) -> std::result::Result<TableSource, E> {
        Ok(TableSource::File(file.to_owned()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<TableSource, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(TableSource::Inline)
    }
}

impl<'de> Deserialize<'de> for TableSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<TableSource, D::Error> {
        deserializer.deserialize_any(TableVisitor)
    }
}

/// The three lists of [`Checks`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "checks")]
struct ThreeLists {
    #[serde(default)]
    before: Vec<Check>,
    #[serde(default)]
    during: Vec<Check>,
    #[serde(default)]
    after: Vec<Check>,
}

struct ChecksVisitor;

impl<'de> Visitor<'de> for ChecksVisitor {
    type Value = Checks;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of checks, or {before: [...], during: [...], after: [...]}")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Checks, A::Error> {
        let mut after = Vec::new();
        while let Some(check) = list.next_element()? {
            after.push(check);
        }
        Ok(Checks { after, ..Checks::default() })
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Checks, A::Error> {
        let ThreeLists { before, during, after } = ThreeLists::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Checks { before, during, after })
    }
}

impl<'de> Deserialize<'de> for Checks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Checks, D::Error> {
        deserializer.deserialize_any(ChecksVisitor)
    }
}

/// A text from which experiments are read, with the place that errors name.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file, or what stands for it.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Text {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no text.
    pub fn read(path: &Path) -> Result<Text> {
        let text = read_text(path).map_err(|mut error| {
            // The same limits hold for both.
            error.message = error.message.replace("fault table", "experiment file").replace("the table", "the file");
            error.help = error.help.filter(|help| !help.contains("faults:"));
            error
        })?;
        Ok(Text { path: path.to_owned(), text })
    }

    /// The experiment, with everything filled in.
    ///
    /// # Errors
    /// The first thing that is wrong, with line and column.
    pub fn experiment(&self, filling: &Filling) -> Result<Experiment> {
        let filled = fill(self, filling)?;
        parse_as(&filled, &self.path).map_err(|error| in_our_words(error).into())
    }

    /// The directory that relative names in it start from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        crate::session::parent(&self.path)
    }
}

impl Experiment {
    /// The whole table that it names.
    ///
    /// # Errors
    /// What is wrong with the table's file.
    pub fn table(&mut self, dir: &Path) -> Result<Table> {
        match self.table.take() {
            None => Ok(Table::default()),
            Some(TableSource::Inline(table)) => Ok(*table),
            Some(TableSource::File(file)) => load_file(&dir.join(file)).map_err(Failure::from),
        }
    }
}

/// serde's own words for a wrong key, as tables say it: with the nearest right word.
#[must_use]
pub fn in_our_words(error: TableError) -> TableError {
    let first = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    for (start, kind) in [("unknown field ", "key"), ("unknown variant ", "word")] {
        let Some(rest) = error.message.strip_prefix(start) else { continue };
        let odd = first(rest);
        let known = rest.split_once(", expected ").map_or("", |(_, known)| known).trim_start_matches("one of ");
        let known = known.replace('`', "").replace(" or ", ", ");
        let near = nearest(&odd, known.split(", "));
        let help = near.map_or_else(|| format!("one of {known}"), |near| format!("did you mean `{near}`?"));
        return TableError { message: format!("unknown {kind} `{odd}`"), help: Some(help), ..error };
    }
    // What the reader of YAML says when a value is of another sort.
    let plain = [
        ("expected mapping start", "a map is wanted here", "such as {key: value}"),
        ("expected sequence start", "a list is wanted here", "such as [one, other]"),
        ("invalid u", "this is no whole number, or out of range", "0 and up"),
    ];
    if let Some((_, message, help)) = plain.iter().find(|(start, ..)| error.message.starts_with(start)) {
        return TableError { message: (*message).to_owned(), help: Some((*help).to_owned()), ..error };
    }
    if let Some(rest) = error.message.strip_prefix("duplicate field ") {
        let message = format!("`{}` is given twice", first(rest));
        return TableError { message, help: Some("leave one of them out".to_owned()), ..error };
    }
    error
}

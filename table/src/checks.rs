//! What a user says must be true of a run: `checks:` of a table, and the one-line form `file path=out.json is=json`.
//! Nothing here looks at anything; the launcher does.

use crate::counts::ExitCode;
use crate::error::{Place, Problem, TableError, quoted};
use crate::fault::{keyed, type_of};
use crate::quantities::{Lasting, Seconds};
use crate::spec::words_of;
use crate::value::{Field, Key, Keys, Many, Value, Word, set_once, values};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// How the first process ended.
    Exit,
    /// What the run wrote to stdout.
    Stdout,
    /// What the run wrote to stderr.
    Stderr,
    /// A file.
    File,
    /// A place in a JSON file.
    Json,
    /// How many files match.
    Glob,
    /// That stdout, or a file, is as the control left it.
    Control,
    /// A command, which must exit with 0.
    Command,
    /// A web server, for as long as the run goes on.
    Http,
    /// A listening port, for as long as the run goes on.
    Tcp,
    /// How many calls the program made.
    Calls,
}

/// A kind of check: its name, the keys that it needs, and those that it may have.
type Row = (&'static str, CheckKind, &'static [&'static str], &'static [&'static str]);

const KINDS: [Row; 11] = [
    ("exit", CheckKind::Exit, &["codes"], &[]),
    ("stdout", CheckKind::Stdout, &[], &["matches", "lacks"]),
    ("stderr", CheckKind::Stderr, &[], &["matches", "lacks"]),
    ("file", CheckKind::File, &["path"], &["is"]),
    ("json", CheckKind::Json, &["path", "pointer"], &["equals"]),
    ("glob", CheckKind::Glob, &["path", "count"], &[]),
    ("control", CheckKind::Control, &[], &["path"]),
    ("command", CheckKind::Command, &["run"], &[]),
    ("http", CheckKind::Http, &["url"], &["status"]),
    ("tcp", CheckKind::Tcp, &["to"], &[]),
    ("calls", CheckKind::Calls, &["calls"], &["equals", "count", "path", "process", "phase"]),
];

impl Value for CheckKind {
    const EXPECTED: &'static str = "a check such as exit, file or http";
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = || KINDS.iter().map(|(name, _, _, _)| *name);
        let found = KINDS.iter().find(|(name, _, _, _)| *name == text).map(|(_, kind, _, _)| *kind);
        found.ok_or_else(|| Problem::unknown("check", text, known()).or_help(&known().collect::<Vec<_>>().join(", ")))
    }
    fn to_text(&self) -> String {
        KINDS.iter().find(|(_, kind, _, _)| kind == self).map_or("?", |(name, _, _, _)| name).to_owned()
    }
}

/// What a file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileIs {
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It is one JSON value.
    Json,
    /// It is YAML.
    Yaml,
    /// It is CSV, with as many fields in each row.
    Csv,
}

const FILES: [(&str, FileIs); 5] = [
    ("exists", FileIs::Exists),
    ("absent", FileIs::Absent),
    ("json", FileIs::Json),
    ("yaml", FileIs::Yaml),
    ("csv", FileIs::Csv),
];

impl Value for FileIs {
    const EXPECTED: &'static str = "what a file is: exists, absent, json, yaml or csv";
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = || FILES.iter().map(|(name, _)| *name);
        let found = FILES.iter().find(|(name, _)| *name == text).map(|(_, is)| *is);
        found.ok_or_else(|| Problem::unknown("state of a file", text, known()))
    }
    fn to_text(&self) -> String {
        FILES.iter().find(|(_, is)| is == self).map_or("?", |(name, _)| name).to_owned()
    }
}

/// Any text that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Value for Text {
    const EXPECTED: &'static str = "a text";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() || text.contains('\0') {
            return Err(Problem::new("the text is empty, or has a NUL inside").help("leave the key out"));
        }
        Ok(Text(text.to_owned()))
    }
    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// How many: `3`, `3..5`, `3..`, `..5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HowMany {
    /// At least.
    pub first: u64,
    /// At most; `u64::MAX` for no end.
    pub last: u64,
}

impl Value for HowMany {
    const EXPECTED: &'static str = "how many: 3, \"3..5\" or \"3..\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let number = |part: &str, open: u64| match part.trim() {
            "" => Ok(open),
            part => crate::counts::whole(part, "count"),
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first, 0)?, number(last, u64::MAX)?),
            None => {
                let only = crate::counts::whole(text, "count")?;
                (only, only)
            }
        };
        if last < first {
            let problem = Problem::new(format!("the range {} is reversed", quoted(text)));
            return Err(problem.help(format!("write {last}..{first}")));
        }
        Ok(HowMany { first, last })
    }
    fn to_text(&self) -> String {
        match (self.first, self.last) {
            (first, u64::MAX) => format!("{first}.."),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}..{last}"),
        }
    }
}

/// A status of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Value for Status {
    const EXPECTED: &'static str = "a status of HTTP such as 200";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let status = text.trim().parse().ok().filter(|status| (100..=599).contains(status)).map(Status);
        status.ok_or_else(|| Problem::new(format!("{} is no status of HTTP", quoted(text))).help("100 to 599"))
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

values! { CheckKind FileIs Text HowMany Status }

keyed! {
    /// Something that must be true of a run.
    Check {}
    /// What is looked at. Never `None` in a check that was read.
    check: CheckKind = "check" | "type" | "kind";
    /// `exit`: the codes that count as success.
    codes: Many<ExitCode> = "codes" | "code";
    /// `stdout`, `stderr`: a regular expression that is found.
    matches: Text = "matches" | "match";
    /// `stdout`, `stderr`: a regular expression that is not found.
    lacks: Text = "lacks" | "not_matches";
    /// A file, or for `glob` a pattern; from the working directory. `calls`: those on files that match it.
    path: Text = "path" | "file";
    /// `file`: what it is (exists).
    is: FileIs = "is" | "parses";
    /// `json`: a place in it, as in RFC 6901.
    pointer: Text = "pointer";
    /// `json`: what stands there; that something does, when this is absent. `calls`: how many, as `count`.
    equals: Text = "equals" | "value";
    /// `glob`: how many files. `calls`: how many calls.
    count: HowMany = "count";
    /// `command`: for `sh -c`.
    run: Text = "run" | "command" | "cmd";
    /// `http`: what is asked for.
    url: Text = "url";
    /// `http`: what may be answered (200 to 399).
    status: Many<Status> = "status";
    /// `tcp`: host and port.
    to: Text = "to" | "address";
    /// `calls`: operations or families of them.
    calls: Many<Text> = "calls" | "call";
    /// `calls`: those of these programs.
    process: Many<Text> = "process";
    /// `calls`: those in this phase of an experiment.
    phase: Text = "phase";
    /// How long it may take to become true.
    within: Lasting = "within" | "within_seconds" as Seconds;
}

impl Keys for Check {
    const WHAT: &'static str = "a check";
    const KNOWN: &'static [&'static str] = Check::KEYS;
    const LATER: &'static [&'static str] = &[];
    fn elsewhere(_key: &str) -> Option<String> {
        None
    }
}

impl Check {
    /// Whether everything that the kind needs is there, and nothing that it does not know.
    fn resolve(&mut self) -> Result<(), Problem> {
        if self.check.is_none() && self.calls.is_some() {
            // Nothing else has `calls`.
            self.check = Some(CheckKind::Calls);
        }
        let Some(row) = self.check.and_then(|kind| KINDS.iter().find(|(_, known, _, _)| *known == kind)) else {
            return Err(Problem::new("a check says not what it looks at").help("such as check: exit, codes: [0, 3]"));
        };
        let (name, kind, needs, may) = row;
        let given: Vec<&str> = self.plain_words().iter().map(|(key, _)| *key).collect();
        let known = |key: &&&str| !["check", "within"].contains(*key) && !needs.contains(key) && !may.contains(key);
        if let Some(odd) = given.iter().find(known) {
            let all: Vec<&str> = needs.iter().chain(*may).copied().collect();
            let help = format!("{name} takes {}, and `within`", all.join(", "));
            return Err(Problem::new(format!("the check `{name}` takes no `{odd}`")).help(help));
        }
        if let Some(missing) = needs.iter().find(|key| !given.contains(key)) {
            let help = example(*kind);
            return Err(Problem::new(format!("the check `{name}` needs `{missing}`")).help(help));
        }
        let output = matches!(kind, CheckKind::Stdout | CheckKind::Stderr);
        if output && self.matches.is_none() && self.lacks.is_none() {
            return Err(Problem::new(format!("the check `{name}` says not what it looks for")).help(example(*kind)));
        }
        if *kind == CheckKind::Calls {
            self.said_how_many()?;
        }
        let wrong = |text: &str, why: &str| Err(Problem::new(format!("{} {why}", quoted(text))).help(example(*kind)));
        match (&self.url, &self.to, &self.pointer) {
            (Some(Text(url)), _, _) if !url.starts_with("http://") => wrong(url, "is no address of HTTP (no TLS here)"),
            (_, Some(Text(to)), _)
                if !to
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)) =>
            {
                wrong(to, "is no host:port")
            }
            (_, _, Some(Text(pointer))) if !pointer.starts_with('/') => wrong(pointer, "is no JSON pointer"),
            _ => Ok(()),
        }
    }
}

impl Check {
    /// `calls`: how many there must be. Never `None` in such a check that was read.
    #[must_use]
    pub fn how_many(&self) -> Option<HowMany> {
        self.said_how_many().ok()
    }

    fn said_how_many(&self) -> Result<HowMany, Problem> {
        match (&self.equals, self.count) {
            (Some(Text(text)), None) => HowMany::from_text(text),
            (None, Some(count)) => Ok(count),
            (None, None) => Err(Problem::new("the check `calls` says not how many").help(example(CheckKind::Calls))),
            (Some(_), Some(_)) => Err(Problem::new("`equals` and `count` both say how many").help("give one of them")),
        }
    }
}

fn example(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Exit => "such as exit codes=0,3",
        CheckKind::Stdout => "such as stdout matches=^done",
        CheckKind::Stderr => "such as stderr lacks=Traceback",
        CheckKind::File => "such as file path=out.json is=json",
        CheckKind::Json => "such as json path=out.json pointer=/state equals=done",
        CheckKind::Glob => "such as glob path=out/*.json count=3..5",
        CheckKind::Control => "such as control, or control path=out.json",
        CheckKind::Command => "such as command run=\"make verify\"",
        CheckKind::Http => "such as http url=http://localhost:8080/health status=200",
        CheckKind::Tcp => "such as tcp to=localhost:6379",
        CheckKind::Calls => "such as calls calls=execve equals=0",
    }
}

/// Reads the one-line form.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_check(text: &str, source: &str) -> Result<Check, TableError> {
    let place = || Some(Place { source: source.to_owned(), line: None, column: None });
    read(text).map_err(|problem| problem.at(place()))
}

fn read(text: &str) -> Result<Check, Problem> {
    let mut check = Check::default();
    for (number, (key, value)) in words_of(text)?.iter().enumerate() {
        match key {
            None if number == 0 => check.check = Some(CheckKind::from_text(&value.whole)?),
            None => {
                let problem = Problem::new(format!("{} has no `=`", quoted(&value.whole)));
                return Err(problem.help("after the first word come key=value words; put spaces in double quotes"));
            }
            Some(key) => check.set_plain_word(&Check::key(&key.whole)?, value)?,
        }
    }
    check.resolve()?;
    Ok(check)
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (key, items)) in self.plain_words().into_iter().enumerate() {
            let items: Vec<String> = items.iter().map(|item| crate::spec::in_quotes(item)).collect();
            let items = items.join(",");
            if number == 0 { f.write_str(&items)? } else { write!(f, " {key}={items}")? }
        }
        Ok(())
    }
}

struct CheckVisitor;

impl<'de> Visitor<'de> for CheckVisitor {
    type Value = Check;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a check: a map such as {check: exit, codes: [0, 3]}, or a text such as \"file path=a.json is=json\"",
        )
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Check, E> {
        read(text).map_err(E::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Check, A::Error> {
        let mut check = Check::default();
        while let Some(Key(key, _)) = map.next_key::<Key<Check>>()? {
            check.take(&key, &mut map)?;
        }
        check.resolve().map_err(Error::custom)?;
        Ok(check)
    }
}

impl<'de> Deserialize<'de> for Check {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckVisitor)
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_plain(&mut map)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Table;

    #[test]
    fn checks_read_back_in_both_forms() {
        for text in [
            "exit codes=0",
            "exit codes=0,3",
            "stdout matches=\"^done \\\\d+$\" within=5s",
            "stderr lacks=Traceback",
            "file path=out.json",
            "file path=out.csv is=csv within=2s",
            "json path=out.json pointer=/a/0 equals=3",
            "glob path=\"out/*.{json,yaml}\" count=3..5",
            "glob path=tmp/* count=0",
            "control",
            "control path=out.json",
            "command run=\"make verify\"",
            "http url=http://localhost:8080/health status=200,204",
            "tcp to=[::1]:6379",
            "calls calls=execve,posix_spawn process=worker* phase=replay equals=0",
            "calls calls=write path=*.wal count=3..",
        ] {
            let check = parse_check(text, "--check").unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parse_check(&check.to_string(), "--check").unwrap(), check, "{text}");
            let table = Table { checks: vec![check], ..Table::default() };
            assert_eq!(Table::from_json(&table.to_json(), "t").unwrap(), table, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_names_what_would_be_right() {
        for (text, message, help) in [
            ("", "says not what it looks at", "check: exit"),
            ("exti codes=0", "unknown check `exti`", "did you mean `exit`?"),
            ("banana", "unknown check `banana`", "one of exit"),
            ("exit", "needs `codes`", "exit codes=0,3"),
            ("exit codes=256", "is no exit code", "0 to 255"),
            ("exit codes=0 path=x", "takes no `path`", "exit takes codes"),
            ("stdout", "says not what it looks for", "matches="),
            ("file path=a is=jsn", "unknown state of a file `jsn`", "did you mean `json`?"),
            ("file pth=a", "unknown key `pth`", "did you mean `path`?"),
            ("file path", "has no `=`", "key=value"),
            ("file path=", "empty", ""),
            ("json path=a pointer=b", "is no JSON pointer", "pointer=/state"),
            ("glob path=* count=5..3", "reversed", "3..5"),
            ("glob path=* count=-1", "is no count", "not negative"),
            ("http url=https://x/", "is no address of HTTP", "http://"),
            ("http url=http://x/ status=99", "is no status", "100 to 599"),
            ("calls equals=0", "needs `calls`", "calls=execve"),
            ("calls calls=execve", "says not how many", "equals=0"),
            ("calls calls=execve equals=x", "is no count", ""),
            ("calls calls=execve equals=1 count=2", "both say how many", "one of them"),
            ("calls calls=execve equals=1 to=:80", "takes no `to`", "calls takes"),
            ("tcp to=6379", "is no host:port", "localhost:6379"),
            ("tcp to=localhost:99999", "is no host:port", ""),
            ("file path=a within=5", "has no unit", "one of"),
            ("file path=a path=b", "given twice", ""),
        ] {
            let error = parse_check(text, "--check").expect_err(text);
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.help.as_deref().unwrap_or_default().contains(help), "{text}: {error}");
        }
    }
}

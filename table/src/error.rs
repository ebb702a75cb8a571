//! What is wrong with a fault table: one message, where it is, and what would be right.

use std::fmt;

/// Where in what a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A file's name, `--fault 1`, `CHAOS_TABLE`, ...
    pub source: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in bytes or characters as the format's parser counts them, from 1.
    pub column: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

/// The one thing that is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// What is wrong.
    pub message: String,
    /// Where, as far as it is known.
    pub place: Option<Place>,
    /// What would be right.
    pub help: Option<String>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "{HELP}{help}"))
    }
}

impl std::error::Error for TableError {}

impl TableError {
    /// From the text that a format's parser made of a [`Problem`] or of its own findings.
    pub(crate) fn from_text(text: &str, source: &str, line: Option<usize>, column: Option<usize>) -> TableError {
        let (message, help) = match text.split_once(HELP) {
            Some((message, help)) => (message, Some(help.to_owned())),
            None => (text, None),
        };
        let place = Place { source: source.to_owned(), line, column };
        TableError { message: message.to_owned(), place: Some(place), help }
    }

    /// From what the parser of JSON says.
    pub(crate) fn from_json(error: &serde_json::Error, source: &str) -> TableError {
        let all = error.to_string();
        let (line, column) = (error.line(), error.column());
        let message = all.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&all);
        TableError::from_text(message, source, (line > 0).then_some(line), (line > 0).then_some(column))
    }
}

/// What stands between a message and its help, also inside the errors of format parsers.
const HELP: &str = "\n  help: ";

/// A [`TableError`] that does not know yet where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// A word that is none of the known ones; suggests the nearest, or lists them when they are few.
    pub fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
        let problem = Problem::new(format!("unknown {what} {}", quoted(word)));
        if let Some(near) = nearest(word, known.clone()) {
            return problem.help(format!("did you mean `{near}`?"));
        }
        let all: Vec<&str> = known.take(13).collect();
        if all.len() > 12 {
            return problem;
        }
        problem.help(format!("one of {}", all.join(", ")))
    }

    /// Says what to do about it where nothing better is known.
    pub fn or_help(self, help: &str) -> Problem {
        if self.help.is_some() { self } else { self.help(help) }
    }

    pub fn at(self, place: Option<Place>) -> TableError {
        TableError { message: self.message, place, help: self.help }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "{HELP}{help}"))
    }
}

/// A user's word for a message: in backticks, on one line, and not endless.
pub(crate) fn quoted(word: &str) -> String {
    let mut shown: String = word.chars().take(60).flat_map(shown_char).collect();
    if word.chars().nth(60).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

fn shown_char(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

/// The candidate that a mistyped word most likely means; `None` when nothing is near.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&word, &plain(candidate));
    // About one letter in three may be wrong; beyond that a suggestion confuses.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(&candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_none() {
        let words = ["read", "write", "connect", "ECONNREFUSED"];
        assert_eq!(nearest("reed", words.into_iter()), Some("read"));
        assert_eq!(nearest("conect", words.into_iter()), Some("connect"));
        assert_eq!(nearest("econnrefused", words.into_iter()), Some("ECONNREFUSED"));
        assert_eq!(nearest("banana", words.into_iter()), None);
        assert_eq!(nearest("", words.into_iter()), None);
    }

    #[test]
    fn an_error_names_its_place_and_its_help() {
        let place = Place { source: "faults.yaml".into(), line: Some(3), column: Some(5) };
        let error = Problem::unknown("call", "reed", ["read"].into_iter()).at(Some(place));
        assert_eq!(error.to_string(), "faults.yaml:3:5: unknown call `reed`\n  help: did you mean `read`?");
    }
}

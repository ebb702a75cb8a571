//! Fault tables in files.

use crate::error::{Place, TableError};
use std::fs;
use std::io::Read;
use std::path::Path;

#[cfg(feature = "files")]
use crate::schema::Table;
#[cfg(feature = "files")]
use serde::de::DeserializeOwned;

/// The largest table in bytes.
pub const LARGEST: u64 = 1 << 20;

/// Reads the text of a file that can be a table.
///
/// # Errors
/// When it cannot be read, or is a directory, empty, larger than [`LARGEST`], binary or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, TableError> {
    let source = path.display().to_string();
    let wrong = |message: String, help: Option<&str>| TableError {
        message,
        place: Some(Place { source: source.clone(), line: None, column: None }),
        help: help.map(str::to_owned),
    };
    let unreadable = |error: std::io::Error| {
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or(&why);
        wrong(format!("the table cannot be read: {why}"), Some("check its spelling and its permissions"))
    };
    let kind = fs::metadata(path).map_err(unreadable)?;
    if kind.is_dir() {
        return Err(wrong("this is a directory, not a fault table".into(), Some("name a file in it")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    // Not the size that the directory tells: a pipe or a file in /proc has none.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong("the table is larger than 1 MiB".into(), Some("is this the right file?")));
    }
    if bytes.contains(&0) {
        return Err(wrong("the file is binary, not a fault table".into(), Some("YAML, TOML or JSON in UTF-8")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        wrong(
            format!("the file is not UTF-8 (byte {})", error.utf8_error().valid_up_to() + 1),
            Some("save it as UTF-8"),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(wrong(
            "the file is empty".into(),
            Some("a table has `faults:` or `chaos:`; see `chaos-exec list presets`"),
        ));
    }
    Ok(text.to_owned())
}

/// Reads a table from a YAML, TOML or JSON file, told apart by extension, else by content.
///
/// # Errors
/// The first thing that is wrong, with line and column where the parser tells them.
#[cfg(feature = "files")]
pub fn load_file(path: &Path) -> Result<Table, TableError> {
    let mut table: Table = parse_as(&read_text(path)?, path)?;
    table.set_source(&path.display().to_string());
    Ok(table)
}

/// Reads anything from the text of a YAML, TOML or JSON file, told apart by extension, else by content.
///
/// # Errors
/// The first thing that is wrong, with line and column where the parser tells them.
#[cfg(feature = "files")]
pub fn parse_as<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, TableError> {
    let source = path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase();
    let form = match extension.as_str() {
        "json" => Guess::Json,
        "yaml" | "yml" => Guess::Yaml,
        "toml" => Guess::Toml,
        _ => guess(text),
    };
    match form {
        Guess::Json => serde_json::from_str(text).map_err(|error| TableError::from_json(&error, &source)),
        Guess::Toml => parse_toml(text, &source),
        Guess::Yaml => parse_yaml(text, &source),
    }
}

#[cfg(feature = "files")]
enum Guess {
    Json,
    Toml,
    Yaml,
}

/// By the first line that says something: JSON begins with a bracket, TOML has `key = value` or a `[[section]]`.
#[cfg(feature = "files")]
fn guess(text: &str) -> Guess {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or("");
    let is_key =
        |text: &str| text.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.');
    let is_section = first.starts_with("[[")
        || first.starts_with('[') && first.ends_with(']') && is_key(first.trim_matches(['[', ']']));
    if is_section || first.split_once('=').is_some_and(|(key, _)| is_key(key)) {
        Guess::Toml
    } else if first.starts_with(['{', '[']) {
        Guess::Json
    } else {
        Guess::Yaml
    }
}

/// Reads YAML.
///
/// # Errors
/// The first thing that is wrong, with line and column.
#[cfg(feature = "files")]
pub fn from_yaml(text: &str, source: &str) -> Result<Table, TableError> {
    let mut table: Table = parse_yaml(text, source)?;
    table.set_source(source);
    Ok(table)
}

#[cfg(feature = "files")]
fn parse_yaml<T: DeserializeOwned>(text: &str, source: &str) -> Result<T, TableError> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| yaml_error(&error, text, source))
}

#[cfg(feature = "files")]
fn yaml_error(error: &serde_saphyr::Error, text: &str, source: &str) -> TableError {
    let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
    let location = error.location();
    let line = location.as_ref().and_then(|location| number(location.line()));
    let column = location.as_ref().and_then(|location| number(location.column()));
    let plain = match error.without_snippet() {
        serde_saphyr::Error::Message { msg, .. } | serde_saphyr::Error::ExternalMessage { msg, .. } => msg.clone(),
        serde_saphyr::Error::NullIntoString { .. } => {
            "the key has no value\n  help: give it one, or leave the key out".into()
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "a second YAML document begins\n  help: one table a file".into()
        }
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            format!("`{}` is given twice\n  help: leave one of them out", key.as_deref().unwrap_or("a key"))
        }
        other => other.to_string(),
    };
    // Other errors name their place in the text too, in words.
    let plain = plain.split(" at line ").next().unwrap_or(&plain).to_owned();
    let mut wrong = TableError::from_text(&plain, source, line, column);
    let written = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or("");
    if wrong.help.is_none() {
        wrong.help = yaml_help(error.without_snippet(), &plain, written, column);
    }
    wrong
}

/// What most likely went wrong where YAML reads a character in its own way.
#[cfg(feature = "files")]
fn yaml_help(error: &serde_saphyr::Error, message: &str, line: &str, column: Option<usize>) -> Option<String> {
    let at: String = line.chars().skip(column.unwrap_or(1).saturating_sub(1)).collect();
    let word = at.split([',', '}', ']', ' ']).next().unwrap_or("").trim();
    let alias = matches!(error, serde_saphyr::Error::UnknownAnchor { .. })
        || message.contains("alias")
        || message.contains("anchor")
        || message.contains("unknown value");
    // The parser may point at the key or past the value; any bare star on the line is the culprit.
    let star = line.split([' ', ',', '[', '{', ']', '}']).find(|word| word.starts_with('*'));
    match (alias, star) {
        (true, Some(star)) => {
            Some(format!("YAML takes an unquoted * for an alias: put the pattern in quotes, \"{star}\""))
        }
        (true, None) => Some("YAML takes an unquoted * or & for an alias: put the pattern in quotes".to_owned()),
        (false, Some(star)) => Some(format!("put the pattern in quotes: \"{star}\"")),
        (false, None) if message.starts_with("while parsing a flow") => {
            Some("a value with [ ] { } or , in it goes in quotes".to_owned())
        }
        (false, None) if word.starts_with(['%', '@', '`', '!']) => Some(format!("put it in quotes: \"{word}\"")),
        (false, None) => None,
    }
}

/// Reads TOML.
///
/// # Errors
/// The first thing that is wrong, with line and column.
#[cfg(feature = "files")]
pub fn from_toml(text: &str, source: &str) -> Result<Table, TableError> {
    let mut table: Table = parse_toml(text, source)?;
    table.set_source(source);
    Ok(table)
}

#[cfg(feature = "files")]
fn parse_toml<T: DeserializeOwned>(text: &str, source: &str) -> Result<T, TableError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let column = before.map(|before| before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        TableError::from_text(error.message(), source, line, column)
    })
}

//! The one-line form of a fault: `error calls=connect errno=ECONNRESET rate=30%`, and the short form
//! `connect=ECONNRESET@30%`.

use crate::calls::{Family, FaultKind, Op};
use crate::counts::Nth;
use crate::errnos::Errnos;
use crate::error::{Place, Problem, TableError, quoted};
use crate::fault::{Fault, Origin};
use crate::quantities::Rate;
use crate::value::{Field, Many, Value, Word};
use crate::words::{CallName, Resource};
use std::fmt;

/// Reads one spec.
///
/// # Errors
/// The first thing that is wrong, with its column.
pub fn parse_spec(text: &str, source: &str) -> Result<Fault, TableError> {
    let mut specs = split(text).map_err(|located| located.at(source))?;
    match (specs.pop(), specs.last()) {
        (Some(spec), None) => parse(&spec, source),
        (Some(second), Some(_)) => {
            let problem =
                Problem::new("a second spec follows").help("one spec at a time; or put a value with `;` in quotes");
            Err(Located { problem, offset: second.first().map_or(0, |token| token.start) }.at(source))
        }
        (None, _) => Err(Located { problem: empty(), offset: 0 }.at(source)),
    }
}

/// Reads several specs, split at `;` or line ends outside quotes. Lines that start with `#` are comments.
///
/// # Errors
/// The first thing that is wrong, with its column; also when there is no spec at all.
pub fn parse_specs(text: &str, source: &str) -> Result<Vec<Fault>, TableError> {
    let specs = split(text).map_err(|located| located.at(source))?;
    if specs.is_empty() {
        return Err(Located { problem: empty(), offset: 0 }.at(source));
    }
    specs.iter().map(|spec| parse(spec, source)).collect()
}

/// Reads a spec that stands as a text in a file, whose parser knows the place.
pub(crate) fn parse_in_file(text: &str) -> Result<Fault, Problem> {
    parse_spec(text, "").map_err(|error| Problem { message: error.message, help: error.help })
}

/// The words of a text in the one-line form: key, where there is one, and value.
pub(crate) fn words_of(text: &str) -> Result<Vec<(Option<Word>, Word)>, Problem> {
    let mut specs = split(text).map_err(|located| located.problem)?;
    if specs.len() > 1 {
        return Err(
            Problem::new("a second line or `;` follows").help("one at a time; or put a value with `;` in quotes")
        );
    }
    Ok(specs.pop().unwrap_or_default().into_iter().map(|token| (token.key, token.value)).collect())
}

fn empty() -> Problem {
    Problem::new("there is no fault").help("such as read=EIO@10%, or error calls=read errno=EIO rate=10%")
}

/// A problem and the byte at which it is.
struct Located {
    problem: Problem,
    offset: usize,
}

impl Located {
    fn at(self, source: &str) -> TableError {
        self.problem.at(Some(Place { source: source.to_owned(), line: None, column: Some(self.offset + 1) }))
    }
}

/// A word between spaces: `key=value`, or only a value.
struct Token {
    start: usize,
    key: Option<Word>,
    value: Word,
}

/// Takes a text apart into specs and those into words.
fn split(text: &str) -> Result<Vec<Vec<Token>>, Located> {
    let mut lexer = Lexer { text, at: 0 };
    let mut specs = vec![Vec::new()];
    while let Some(c) = lexer.peek() {
        if c == ';' || c == '\n' {
            specs.push(Vec::new());
            lexer.at += 1;
        } else if c.is_whitespace() {
            lexer.at += c.len_utf8();
        } else if c == '#' && specs.last().is_some_and(Vec::is_empty) {
            lexer.at = text[lexer.at..].find('\n').map_or(text.len(), |end| lexer.at + end);
        } else {
            let token = lexer.token()?;
            if let Some(spec) = specs.last_mut() {
                spec.push(token);
            }
        }
    }
    specs.retain(|spec| !spec.is_empty());
    Ok(specs)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn token(&mut self) -> Result<Token, Located> {
        let start = self.at;
        let mut key = None;
        let mut word = Word { whole: String::new(), items: vec![String::new()] };
        // Commas inside {} and [] belong to a glob.
        let mut depth = 0usize;
        while let Some(c) = self.peek() {
            if c.is_whitespace() || c == ';' {
                break;
            }
            if c == '"' {
                self.quotes(&mut word)?;
                continue;
            }
            // Taken as it stands it would be part of a pattern that matches nothing.
            if c == '\'' && word.whole.is_empty() {
                let problem = Problem::new("a single quote does not quote here").help("use double quotes");
                return Err(Located { problem, offset: self.at });
            }
            self.at += c.len_utf8();
            match c {
                '=' if key.is_none() => {
                    key = Some(std::mem::replace(&mut word, Word { whole: String::new(), items: vec![String::new()] }));
                    depth = 0;
                    continue;
                }
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    word.whole.push(c);
                    word.items.push(String::new());
                    continue;
                }
                _ => {}
            }
            push(&mut word, c);
        }
        Ok(Token { start, key, value: word })
    }

    /// A part in double quotes, in which backslash escapes a quote or itself.
    fn quotes(&mut self, word: &mut Word) -> Result<(), Located> {
        let start = self.at;
        self.at += 1;
        loop {
            let at = self.at;
            let c = self.peek();
            self.at += c.map_or(0, char::len_utf8);
            match c {
                None => {
                    let problem = Problem::new("the quote is not closed").help("a quote inside quotes is written \\\"");
                    return Err(Located { problem, offset: start });
                }
                Some('"') => return Ok(()),
                Some('\\') => {
                    let escaped = self.peek().filter(|c| matches!(c, '"' | '\\'));
                    let Some(escaped) = escaped else {
                        let problem = Problem::new("only \\\" and \\\\ are escapes inside quotes");
                        return Err(Located { problem: problem.help("write \\\\ for a backslash"), offset: at });
                    };
                    self.at += 1;
                    push(word, escaped);
                }
                Some(c) => push(word, c),
            }
        }
    }
}

fn push(word: &mut Word, c: char) {
    word.whole.push(c);
    if let Some(item) = word.items.last_mut() {
        item.push(c);
    }
}

fn parse(tokens: &[Token], source: &str) -> Result<Fault, TableError> {
    let start = tokens.first().map_or(0, |token| token.start);
    let fault = read(tokens).and_then(|fault| match crate::check::resolve(&fault) {
        Ok(_) => Ok(fault),
        Err(problem) => Err(Located { problem, offset: start }),
    });
    let mut fault = fault.map_err(|located| located.at(source))?;
    fault.origin = Origin(Some(Place { source: source.to_owned(), line: None, column: Some(start + 1) }));
    Ok(fault)
}

fn read(tokens: &[Token]) -> Result<Fault, Located> {
    let mut fault = Fault::default();
    let Some((first, rest)) = tokens.split_first() else {
        return Err(Located { problem: empty(), offset: 0 });
    };
    let located = |token: &Token| {
        let offset = token.start;
        move |problem| Located { problem, offset }
    };
    match &first.key {
        None => {
            let kind = FaultKind::from_text(&first.value.whole).map_err(|problem| first_word(first, problem));
            fault.fault = Some(kind.map_err(located(first))?);
        }
        Some(key) if Fault::is_key(&key.whole) => set(&mut fault, first).map_err(located(first))?,
        Some(calls) => short_form(&mut fault, calls, &first.value).map_err(located(first))?,
    }
    for token in rest {
        set(&mut fault, token).map_err(located(token))?;
    }
    Ok(fault)
}

/// A first word that is no fault may be a call whose effect is missing.
fn first_word(token: &Token, problem: Problem) -> Problem {
    match CallName::from_text(&token.value.whole) {
        Ok(_) => Problem::new(format!("the spec says not what happens to {}", quoted(&token.value.whole)))
            .help(format!("such as {}=latency:200ms@10%", token.value.whole)),
        Err(_) => problem,
    }
}

fn set(fault: &mut Fault, token: &Token) -> Result<(), Problem> {
    let Some(key) = &token.key else {
        let problem = Problem::new(format!("{} has no `=`", quoted(&token.value.whole)));
        return Err(problem.help("after the first word come key=value words; a value with spaces goes in quotes"));
    };
    if token.value.whole.is_empty() {
        return Err(Problem::new(format!("`{}=` has no value", key.whole)).help("leave it out, or give it a value"));
    }
    fault.set_word(&key.whole, &token.value)
}

/// `CALLS=EFFECT[@WHEN]`.
fn short_form(fault: &mut Fault, calls: &Word, right: &Word) -> Result<(), Problem> {
    fault.calls = Some(Many::from_word(calls).map_err(|problem: Problem| {
        if calls.items.len() == 1 && problem.help.is_none() {
            return problem.help("a spec is CALLS=EFFECT[@WHEN], or FAULT key=value ...");
        }
        problem
    })?);
    let (effect, when) = match right.whole.rsplit_once('@') {
        Some((effect, when)) => (effect, Some(when)),
        None => (right.whole.as_str(), None),
    };
    effect_of(fault, effect, &calls.whole)?;
    when.map_or(Ok(()), |when| when_of(fault, when, &format!("{}={effect}", calls.whole)))
}

fn effect_of(fault: &mut Fault, effect: &str, calls: &str) -> Result<(), Problem> {
    let (name, parameter) = effect.split_once(':').map_or((effect, None), |(name, parameter)| (name, Some(parameter)));
    if name.is_empty() {
        return Err(Problem::new(format!("`{calls}=` has no effect")).help(format!("such as {calls}=latency:200ms")));
    }
    if name.starts_with('E') {
        fault.fault = Some(FaultKind::Error);
        fault.errno = Some(Errnos::from_list(effect)?);
        return Ok(());
    }
    let kind = FaultKind::from_text(name).map_err(|problem| {
        let message = problem.message.replacen("unknown fault", "unknown effect", 1);
        // In small letters an errno is a common slip.
        match Errnos::from_list(&effect.to_uppercase()) {
            Ok(_) => Problem::new(message).help(format!("did you mean `{}`?", effect.to_uppercase())),
            Err(_) => Problem { message, ..problem },
        }
    })?;
    fault.fault = Some(kind);
    if kind == FaultKind::Exhaust {
        fault.what = Some(exhausted(fault));
    }
    let Some(parameter) = parameter else { return Ok(()) };
    let key = match kind {
        FaultKind::Error | FaultKind::Unreachable => "errno",
        FaultKind::Latency => "delay",
        FaultKind::Hang | FaultKind::Freeze => "for",
        FaultKind::Short | FaultKind::Torn => "keep",
        FaultKind::Corrupt => "flip",
        FaultKind::Disconnect => "mode",
        FaultKind::Dns => "answer",
        FaultKind::Exhaust => "limit",
        FaultKind::Signal => "signal",
        FaultKind::Exit => "code",
        FaultKind::Return => "value",
        FaultKind::Refuse | FaultKind::Drop => {
            return Err(Problem::new(format!("{} takes no parameter", kind.name())));
        }
        FaultKind::Throttle => "bandwidth",
        // Its calls are refused in a moment, with a better message.
        FaultKind::Clock => "offset",
    };
    let items = parameter.split(',').map(str::to_owned).collect();
    fault.set_word(key, &Word { whole: parameter.to_owned(), items })
}

/// What runs out when calls are named in the short form: memory, disk, threads, processes, or descriptors.
fn exhausted(fault: &Fault) -> Resource {
    let named = |wanted: fn(&CallName) -> bool| fault.calls.as_ref().is_some_and(|calls| calls.iter().any(wanted));
    let is_disk = |name: &CallName| match name {
        CallName::Op(op) => crate::check::users_of(Resource::Disk).contains(op),
        CallName::Family(family) => *family == Family::Disk,
    };
    if named(|name| is_of(name, Family::Memory)) {
        Resource::Memory
    } else if named(is_disk) {
        Resource::Disk
    } else if named(|name| *name == CallName::Op(Op::PthreadCreate)) {
        Resource::Threads
    } else if named(|name| is_of(name, Family::Process)) {
        Resource::Processes
    } else {
        Resource::Files
    }
}

fn is_of(name: &CallName, family: Family) -> bool {
    match name {
        CallName::Op(op) => op.row().is_in(family),
        CallName::Family(named) => *named == family,
    }
}

fn when_of(fault: &mut Fault, when: &str, before: &str) -> Result<(), Problem> {
    if let Some(rate) = Rate::from_percent(when) {
        fault.rate = Some(rate?);
        return Ok(());
    }
    let rate = when.parse::<f64>().ok().filter(|rate| when.contains('.') && !when.contains("..") && rate.is_finite());
    if let Some(rate) = rate {
        let problem =
            Problem::new(format!("{} is neither a rate nor the number of a match", quoted(&format!("@{when}"))));
        let percent = Rate(rate.clamp(0.0, 1.0)).to_text();
        let percent = if percent.ends_with('%') { percent } else { format!("{}%", rate * 100.0) };
        return Err(problem.help(format!("a rate needs `%`: {before}@{percent}")));
    }
    fault.nth = Some(Nth::from_text(when).map_err(|problem| {
        if problem.message.contains("is no number of a match") {
            return Problem::new(format!("{} is not understood", quoted(&format!("@{when}"))))
                .help("@10% is a rate; @3, @3..5 and @2..+3 are numbers of matches");
        }
        problem
    })?);
    Ok(())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, items)) in self.words().into_iter().enumerate() {
            let items: Vec<String> = items.iter().map(|item| in_quotes(item)).collect();
            let items = items.join(",");
            // The first key is always `fault`, which stands alone.
            if index == 0 {
                write!(f, "{items}")?;
            } else {
                write!(f, " {key}={items}")?;
            }
        }
        Ok(())
    }
}

/// An item as it must be written so that it reads back: in quotes when a character in it has a meaning.
pub(crate) fn in_quotes(item: &str) -> String {
    let special = |c: char| c.is_whitespace() || c.is_control() || ",;=\"{}[]".contains(c);
    if !item.is_empty() && !item.contains(special) {
        return item.to_owned();
    }
    format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
}

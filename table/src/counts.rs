//! Whole numbers in a fault table: counts, numbers of matches, exit codes.

use crate::error::{Problem, quoted};
use crate::value::{Value, values};

/// A whole number without a sign.
pub(crate) fn whole(text: &str, what: &str) -> Result<u64, Problem> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let problem = Problem::new(format!("{} is no {what}", quoted(text)));
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::new(format!("{} is too large", quoted(text))).help(format!("at most {}", u64::MAX)));
    }
    Err(problem.help("a whole number, not negative"))
}

/// A number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl Value for Count {
    const EXPECTED: &'static str = "a whole number from 1";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        match whole(text, "count")? {
            0 => Err(Problem::new("0 would never fire").help("counting starts at 1")),
            number => Ok(Count(number)),
        }
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
    fn integer(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// A number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl Value for Number {
    const EXPECTED: &'static str = "a whole number";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        whole(text, "number").map(Number)
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
    fn integer(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// Which matches fire: `3`, `3..7`, `3..`, `2..+3` (the second and every third after).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth {
    /// The first, from 1.
    pub first: u64,
    /// The last; `u64::MAX` for no end.
    pub last: u64,
    /// Every so many.
    pub step: u64,
}

impl Value for Nth {
    const EXPECTED: &'static str = "which matches: 3, \"3..7\" or \"2..+3\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let number = |part: &str| match whole(part, "number of a match") {
            Ok(0) => {
                Err(Problem::new(format!("nth {} names match 0", quoted(text))).help("matches are counted from 1"))
            }
            other => other,
        };
        let Some((first, rest)) = text.split_once("..") else {
            let only = number(text)?;
            return Ok(Nth { first: only, last: only, step: 1 });
        };
        let first = number(first)?;
        let rest = rest.trim();
        if rest.is_empty() {
            return Ok(Nth { first, last: u64::MAX, step: 1 });
        }
        if let Some(step) = rest.strip_prefix('+') {
            return match whole(step, "step")? {
                0 => Err(Problem::new(format!("the step of {} is 0", quoted(text)))),
                step => Ok(Nth { first, last: u64::MAX, step }),
            };
        }
        let last = number(rest)?;
        if last < first {
            let problem = Problem::new(format!("the range {} is reversed", quoted(text)));
            return Err(problem.help(format!("write {last}..{first}")));
        }
        Ok(Nth { first, last, step: 1 })
    }
    fn to_text(&self) -> String {
        let Nth { first, last, step } = *self;
        match (last, step) {
            (u64::MAX, 1) => format!("{first}.."),
            (u64::MAX, step) => format!("{first}..+{step}"),
            (last, _) if last == first => first.to_string(),
            (last, _) => format!("{first}..{last}"),
        }
    }
}

/// The exit code of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl Value for ExitCode {
    const EXPECTED: &'static str = "an exit code from 0 to 255";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let code = text.trim().parse().map(ExitCode);
        code.map_err(|_| Problem::new(format!("{} is no exit code", quoted(text))).help("0 to 255"))
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
    fn integer(&self) -> Option<u64> {
        Some(u64::from(self.0))
    }
}

/// What a call returns in place of being made: -1 or more, as far as an int goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned(pub i32);

impl Value for Returned {
    const EXPECTED: &'static str = "a number to return, such as 0 or -1";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let value = text.trim().parse().ok().filter(|value| *value >= -1);
        value.map(Returned).ok_or_else(|| {
            Problem::new(format!("{} is no value that a call returns", quoted(text)))
                .help(format!("a whole number from -1 to {}", i32::MAX))
        })
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
    fn integer(&self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

values! { Count Number Nth ExitCode Returned }

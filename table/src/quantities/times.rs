//! Durations, and by what a clock is off.

use super::{in_largest_unit, number_and_unit, scaled, with_unit};
use crate::error::{Problem, quoted};
use crate::value::Value;

const TIMES: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const MORE_TIMES: &[(&str, u64)] = &[
    ("min", 60_000_000_000),
    ("sec", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("minutes", 60_000_000_000),
    ("\u{b5}s", 1_000),
];

/// A duration in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

impl Value for Time {
    const EXPECTED: &'static str = "a duration such as \"50ms\" or \"1.5s\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        with_unit(text, "duration", TIMES, MORE_TIMES).map(Time)
    }
    fn to_text(&self) -> String {
        in_largest_unit(self.0, TIMES)
    }
}

/// How long something lasts: a [`Time`] that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting(pub Time);

fn lasting(time: Time, text: &str) -> Result<Lasting, Problem> {
    if time.0 == 0 {
        return Err(Problem::new(format!("the duration {} is zero, so it would be over at once", quoted(text))));
    }
    Ok(Lasting(time))
}

impl Value for Lasting {
    const EXPECTED: &'static str = Time::EXPECTED;
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        lasting(Time::from_text(text)?, text)
    }
    fn to_text(&self) -> String {
        self.0.to_text()
    }
}

/// A [`Time`] whose unit may be left out: seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub Time);

/// A [`Time`] whose unit may be left out: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(pub Time);

fn or_unit(text: &str, unit: &str) -> Result<Time, Problem> {
    let (number, found) = number_and_unit(text);
    if found.is_empty() && !number.is_empty() {
        Time::from_text(&format!("{number}{unit}"))
    } else {
        Time::from_text(text)
    }
}

impl Value for Seconds {
    const EXPECTED: &'static str = "a number of seconds";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let time = or_unit(text, "s")?;
        lasting(time, text).map(|lasting| Seconds(lasting.0))
    }
    fn to_text(&self) -> String {
        self.0.to_text()
    }
}

impl Value for Millis {
    const EXPECTED: &'static str = "a number of milliseconds";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        or_unit(text, "ms").map(Millis)
    }
    fn to_text(&self) -> String {
        self.0.to_text()
    }
}

impl From<Seconds> for Lasting {
    fn from(seconds: Seconds) -> Self {
        Lasting(seconds.0)
    }
}

impl From<Millis> for Time {
    fn from(millis: Millis) -> Self {
        millis.0
    }
}

/// How far a clock is off in nanoseconds: ahead, or behind when negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub i64);

impl Offset {
    /// A century: a clock that was never set shows 1970, and tests of 2038 look ahead.
    const MOST: i64 = 100 * 365 * 24 * 3_600_000_000_000;
}

impl Value for Offset {
    const EXPECTED: &'static str = "how far the clock is off, such as \"+1h\" or \"-30s\"";
    fn from_text(text: &str) -> Result<Self, Problem> {
        let trimmed = text.trim();
        let (sign, amount) = match trimmed.strip_prefix('-') {
            Some(amount) => (-1, amount),
            None => (1, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        if !amount.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(Problem::new(format!("{} is no offset", quoted(text))).help("such as +1h or -30s"));
        }
        let Time(ns) = Time::from_text(amount)?;
        match i64::try_from(ns) {
            Ok(0) => Err(Problem::new(format!("{} changes nothing", quoted(text))).help("such as +1h or -30s")),
            Ok(ns) if ns <= Self::MOST => Ok(Offset(sign * ns)),
            _ => Err(Problem::new(format!("{} is too far off", quoted(text))).help("at most a century, 876000h")),
        }
    }
    fn to_text(&self) -> String {
        let sign = if self.0 < 0 { '-' } else { '+' };
        format!("{sign}{}", in_largest_unit(self.0.unsigned_abs(), TIMES))
    }
}

/// How fast a clock goes, in millionths of its true pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub u64);

impl Value for Pace {
    const EXPECTED: &'static str = "how fast the clock goes, such as \"2x\" or \"0.5x\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let number = text.trim();
        let number = number.strip_suffix(['x', 'X']).unwrap_or(number).trim_end();
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let ppm = if plain { scaled(number, 1_000_000) } else { None };
        match ppm {
            None => Err(Problem::new(format!("{} is no pace", quoted(text))).help("such as 2x or 0.5x")),
            Some(1_000_000) => {
                Err(Problem::new(format!("the pace {} changes nothing", quoted(text))).help("such as 2x or 0.5x"))
            }
            Some(ppm) if (10_000..=1_000_000_000).contains(&ppm) => Ok(Pace(ppm)),
            Some(_) => {
                Err(Problem::new(format!("the pace {} is out of range", quoted(text))).help("from 0.01x to 1000x"))
            }
        }
    }
    fn to_text(&self) -> String {
        let fraction = format!("{:06}", self.0 % 1_000_000);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{}{dot}{fraction}x", self.0 / 1_000_000)
    }
}

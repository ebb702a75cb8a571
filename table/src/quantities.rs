//! Amounts in a fault table: rates, durations, sizes.

use crate::counts::whole;
use crate::error::{Problem, quoted};
use crate::value::{Value, values};

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
const SIZES: &[(&str, u64)] = &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];
const MORE_SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("kB", 1 << 10),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("bytes", 1),
    ("byte", 1),
];

/// The number and the unit of a text such as `1.5s`; the unit is what follows digits and dot.
fn number_and_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A decimal number times `unit`, exact but for what lies below one; `None` when it is no number or too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(u128::from) }
    };
    let unit = u128::from(unit);
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value = digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)?.checked_mul(unit)? / scale)?;
    u64::try_from(value).ok()
}

fn with_unit(text: &str, what: &str, units: &[(&str, u64)], more: &[(&str, u64)]) -> Result<u64, Problem> {
    let (number, unit) = number_and_unit(text);
    let example: Vec<&str> = units.iter().rev().map(|(name, _)| *name).collect();
    let example = example.join(" ");
    if number.is_empty() {
        return Err(
            Problem::new(format!("{} is no {what}", quoted(text))).help(format!("a number and one of {example}"))
        );
    }
    if unit.is_empty() {
        let problem = Problem::new(format!("the {what} {} has no unit", quoted(text)));
        return Err(problem.help(format!("add one of {example}")));
    }
    let known = units.iter().chain(more).find(|(name, _)| *name == unit);
    let Some((_, factor)) =
        known.or_else(|| units.iter().find(|(name, _)| unit.len() > 1 && name.eq_ignore_ascii_case(unit)))
    else {
        let problem = Problem::new(format!("unknown unit {} in the {what} {}", quoted(unit), quoted(text)));
        return Err(problem.help(format!("one of {example}")));
    };
    scaled(number, *factor).ok_or_else(|| {
        Problem::new(format!("the {what} {} is malformed or too large", quoted(text)))
            .help("a number below 2^64 in the smallest unit")
    })
}

fn in_largest_unit(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) =
        units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)).unwrap_or(&("", 1));
    if name.is_empty() {
        return format!("0{}", units.last().map_or("", |(name, _)| name));
    }
    format!("{}{name}", value / factor)
}

/// A number of bytes, with a unit or without.
pub(crate) fn bytes(text: &str) -> Result<u64, Problem> {
    match number_and_unit(text) {
        (number, "") if !number.is_empty() => whole(text, "size"),
        _ => with_unit(text, "size", SIZES, MORE_SIZES),
    }
}

/// As [`bytes`] reads it.
pub(crate) fn in_bytes(size: u64) -> String {
    in_largest_unit(size, SIZES)
}

/// A chance from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl Rate {
    /// Percent, as the short form wants it; `None` when it has no `%`.
    pub(crate) fn from_percent(text: &str) -> Option<Result<Rate, Problem>> {
        let number = text.trim().strip_suffix('%')?.trim_end();
        let rate = number.parse::<f64>().map(|percent| percent / 100.0);
        Some(match rate {
            Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(Rate(rate)),
            _ => Err(Problem::new(format!("the rate {} is not between 0% and 100%", quoted(text))).help("such as 30%")),
        })
    }
}

impl Value for Rate {
    const EXPECTED: &'static str = "a rate such as 0.3 or \"30%\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(rate) = Rate::from_percent(text) {
            return rate;
        }
        let Ok(rate) = text.trim().parse::<f64>() else {
            let problem = Problem::new(format!("{} is no rate", quoted(text)));
            let help = if text.trim().ends_with("/s") { "a bandwidth is `bandwidth`" } else { "0 to 1, or 0% to 100%" };
            return Err(problem.help(help));
        };
        if (0.0..=1.0).contains(&rate) {
            return Ok(Rate(rate));
        }
        let problem = Problem::new(format!("the rate {} is not between 0 and 1", quoted(text)));
        Err(if (1.0..=100.0).contains(&rate) { problem.help(format!("write {rate}% for percent")) } else { problem })
    }
    fn to_text(&self) -> String {
        // Percent reads better; but it must read back to the very same number.
        let rounded = (self.0 * 1e8).round() / 1e6;
        if rounded / 100.0 == self.0 { format!("{rounded}%") } else { self.0.to_string() }
    }
}

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

fn parts(text: &str) -> Result<u32, Problem> {
    let part = Rate::from_text(text).map_err(|problem| Problem::new(problem.message.replace("rate", "part")))?;
    Ok((part.0 * 1e6).round() as u32)
}

fn parts_text(ppm: u32) -> String {
    let fraction = format!("{:04}", ppm % 10_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}%", ppm / 10_000)
}

/// What stays of a shortened request, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(pub u32);

impl Value for Part {
    const EXPECTED: &'static str = "the part that stays, such as \"50%\" or 0.5";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let ppm = parts(text)?;
        if ppm == 0 || ppm == 1_000_000 {
            let problem = Problem::new(format!("to keep {} is no short read or write", quoted(text)));
            return Err(problem.help("more than 0% and less than 100%"));
        }
        Ok(Part(ppm))
    }
    fn to_text(&self) -> String {
        parts_text(self.0)
    }
}

/// The part of the data that is cut off, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut(pub u32);

impl Value for Cut {
    const EXPECTED: &'static str = "the part that is cut off, such as \"50%\" or 0.5";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        match parts(text)? {
            0 | 1_000_000 => Err(Problem::new(format!("to cut off {} is no truncation", quoted(text)))
                .help("more than 0% and less than 100%; all of it lost is the fault drop")),
            ppm => Ok(Cut(ppm)),
        }
    }
    fn to_text(&self) -> String {
        parts_text(self.0)
    }
}

/// The part of the data that comes twice, in parts per million: up to half in place, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat(pub u32);

impl Repeat {
    /// The whole is written twice.
    pub const WHOLE: u32 = 1_000_000;
}

impl Value for Repeat {
    const EXPECTED: &'static str = "the part that comes twice, such as \"10%\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        match parts(text)? {
            ppm @ (1..=500_000 | Repeat::WHOLE) => Ok(Repeat(ppm)),
            _ => Err(Problem::new(format!("{} of the data cannot come twice", quoted(text)))
                .help("up to 50%, over what follows it; or 100%: all is written twice")),
        }
    }
    fn to_text(&self) -> String {
        parts_text(self.0)
    }
}

/// How many bytes are zeroed, in each so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zero {
    /// Bytes that are zeroed.
    pub len: u32,
    /// Bytes; 0 for each call.
    pub per: u32,
}

impl Value for Zero {
    const EXPECTED: &'static str = "what is zeroed, such as \"512B/64KB\" or \"4KB\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let (len, per) = text.split_once('/').map_or((text, None), |(len, per)| (len, Some(per)));
        let narrow = |text: &str| {
            u32::try_from(size(text)?)
                .map_err(|_| Problem::new(format!("{} is too large", quoted(text))).help("below 4GB"))
        };
        let (len, per) = (narrow(len)?, per.map_or(Ok(0), narrow)?);
        if per != 0 && len > per {
            let problem = Problem::new(format!("{} zeroes more than there is", quoted(text)));
            return Err(problem.help("the first size is zeroed in each of the second: 512B/64KB"));
        }
        Ok(Zero { len, per })
    }
    fn to_text(&self) -> String {
        let len = in_largest_unit(u64::from(self.len), SIZES);
        if self.per == 0 { len } else { format!("{len}/{}", in_largest_unit(u64::from(self.per), SIZES)) }
    }
}

/// How many bits are flipped, in each so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Bits.
    pub bits: u32,
    /// Bytes; 0 for each call.
    pub per: u32,
}

impl Value for Flip {
    const EXPECTED: &'static str = "what is flipped, such as \"1bit/64KB\" or \"3bits\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let malformed = || Problem::new(format!("{} says not what to flip", quoted(text))).help(Self::EXPECTED);
        let (bits, per) =
            text.trim().split_once('/').map_or((text.trim(), None), |(bits, per)| (bits.trim(), Some(per.trim())));
        let number = bits.strip_suffix("bits").or_else(|| bits.strip_suffix("bit")).ok_or_else(malformed)?;
        let bits = match whole(number, "number of bits")? {
            0 => return Err(Problem::new("to flip 0 bits is no corruption").help("the fewest is 1bit")),
            bits => u32::try_from(bits).map_err(|_| malformed())?,
        };
        let per = match per {
            None => 0,
            // "1bit/KB" means each KB.
            Some(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => size(&format!("1{unit}"))?,
            Some(text) => size(text)?,
        };
        let per = u32::try_from(per).map_err(|_| Problem::new(format!("{} is too large", quoted(text))))?;
        if per != 0 && u64::from(bits) > u64::from(per) * 8 {
            let problem = Problem::new(format!("{} flips more bits than there are", quoted(text)));
            return Err(problem.help("a byte has 8 bits: at most 8bits/1B"));
        }
        Ok(Flip { bits, per })
    }
    fn to_text(&self) -> String {
        let bits = if self.bits == 1 { "1bit".to_owned() } else { format!("{}bits", self.bits) };
        if self.per == 0 { bits } else { format!("{bits}/{}", in_largest_unit(u64::from(self.per), SIZES)) }
    }
}

/// An amount of bytes that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    const EXPECTED: &'static str = "a size such as \"64KB\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        size(text).map(Bytes)
    }
    fn to_text(&self) -> String {
        in_largest_unit(self.0, SIZES)
    }
}

/// Bytes a second; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth(pub u64);

impl Value for Bandwidth {
    const EXPECTED: &'static str = "a bandwidth such as \"64KB/s\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let Some(amount) = text.trim().strip_suffix("/s") else {
            let problem = Problem::new(format!("the bandwidth {} is not per second", quoted(text)));
            return Err(problem.help("a size and `/s`, such as 64KB/s or 1MB/s"));
        };
        match with_unit(amount.trim_end(), "bandwidth", SIZES, MORE_SIZES)? {
            0 => {
                let problem = Problem::new(format!("at the bandwidth {} nothing would ever move", quoted(text)));
                Err(problem.help("that is the fault hang; the smallest bandwidth is 1B/s"))
            }
            bytes => Ok(Bandwidth(bytes)),
        }
    }
    fn to_text(&self) -> String {
        format!("{}/s", in_largest_unit(self.0, SIZES))
    }
}

/// A size that is not zero.
fn size(text: &str) -> Result<u64, Problem> {
    match with_unit(text, "size", SIZES, MORE_SIZES)? {
        0 => Err(Problem::new(format!("the size {} is zero", quoted(text))).help("such as 1B or 64KB")),
        size => Ok(size),
    }
}

/// Where a resource ends: a size in bytes, or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes, or how many.
    pub amount: u64,
    /// Whether it was given as a size.
    pub is_size: bool,
}

impl Value for Limit {
    const EXPECTED: &'static str = "a limit: a size such as \"10MB\", or a count";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let (_, unit) = number_and_unit(text);
        if unit.is_empty() && !text.trim().is_empty() {
            return whole(text, "count").map(|amount| Limit { amount, is_size: false });
        }
        with_unit(text, "size", SIZES, MORE_SIZES).map(|amount| Limit { amount, is_size: true })
    }
    fn to_text(&self) -> String {
        if self.is_size { in_largest_unit(self.amount, SIZES) } else { self.amount.to_string() }
    }
    fn integer(&self) -> Option<u64> {
        (!self.is_size).then_some(self.amount)
    }
}

values! { Rate Time Lasting Seconds Millis Offset Pace Part Cut Repeat Zero Flip Limit Bytes Bandwidth }

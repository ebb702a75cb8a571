//! Sizes, bandwidths and limits.

use super::{in_largest_unit, number_and_unit, with_unit};
use crate::counts::whole;
use crate::error::{Problem, quoted};
use crate::value::Value;

pub(super) const SIZES: &[(&str, u64)] =
    &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];
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
pub(super) fn size(text: &str) -> Result<u64, Problem> {
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

//! Parts of what is moved, and how it is changed.

use super::sizes::{SIZES, size};
use super::{Rate, in_largest_unit};
use crate::counts::whole;
use crate::error::{Problem, quoted};
use crate::value::Value;

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

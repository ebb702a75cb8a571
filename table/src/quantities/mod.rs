//! Amounts in a fault table: rates, durations, sizes.

mod parts;
mod sizes;
mod times;

use crate::error::{Problem, quoted};
use crate::value::{Value, values};

pub use parts::{Cut, Flip, Part, Repeat, Zero};
pub use sizes::{Bandwidth, Bytes, Limit};
pub(crate) use sizes::{bytes, in_bytes};
pub use times::{Lasting, Offset, Pace, Time};
pub(crate) use times::{Millis, Seconds};

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

values! { Rate Time Lasting Seconds Millis Offset Pace Part Cut Repeat Zero Flip Limit Bytes Bandwidth }

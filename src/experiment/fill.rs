//! What stands in `${...}` of an experiment file, filled in before it is read: numbers of a range, ports, places. As it
//! is done in the text, a range may stand wherever a number may.

use super::file::Text;
use crate::error::{Failure, Result};
use chaos_table::decide::{combine, mix};
use chaos_table::nearest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Placeholders that are filled in when a process is started.
const LATER: [&str; 4] = ["instance", "target", "command", "chaos"];
/// Those that stand for one thing each.
const NAMES: [&str; 7] = ["seed", "run", "here", "work", "tmp", "port:NAME", "50% of RULE"];

/// What is filled in.
#[derive(Clone, Debug)]
pub enum Filling {
    /// For a look at the file: the lowest number of each range, or the highest.
    Check {
        /// Whether it is the highest.
        highest: bool,
    },
    /// For a run.
    Run(Box<Values>),
}

/// What one run fills in.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Its seed.
    pub seed: u64,
    /// Which one it is, from 1.
    pub run: u64,
    /// The directory of the experiment file.
    pub here: PathBuf,
    /// Its work directory.
    pub work: PathBuf,
    /// Its directory for temporary files.
    pub tmp: PathBuf,
    /// Its ports.
    pub ports: BTreeMap<String, u16>,
    /// How many calls the rules matched in the control; `None` for the control itself.
    pub matched: Option<BTreeMap<String, u64>>,
}

/// The text with everything filled in that can be by now.
///
/// # Errors
/// A placeholder that is unknown, not closed, or no range.
pub fn fill(text: &Text, filling: &Filling) -> Result<String> {
    let mut filled = String::with_capacity(text.text.len());
    let mut rest = text.text.as_str();
    let mut count = 0;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(escaped) = before.strip_suffix('$') {
            filled.push_str(escaped);
            filled.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        filled.push_str(before);
        let place = || {
            let done = text.text.len() - from.len();
            let line = text.text.get(..done).unwrap_or_default();
            let column = line.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!("{}:{}:{column}", text.path.display(), line.matches('\n').count() + 1)
        };
        let close = from.find(['}', '\n']).filter(|close| from[*close..].starts_with('}'));
        let Some(close) = close else {
            return Err(Failure::new(format!("{}: `${{` is not closed", place())).help("write $${ for a plain ${"));
        };
        let name = from[2..close].trim();
        count += 1;
        match value(name, filling, count, text.dir()).map_err(|why| why.at(&place()))? {
            Some(value) => filled.push_str(&value),
            None => filled.push_str(&from[..=close]),
        }
        rest = &from[close + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The names of the ports that it speaks of.
#[must_use]
pub fn ports_of(text: &Text) -> Vec<String> {
    let mut names: Vec<String> = text
        .text
        .split("${port:")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The rules of whose calls in the control it wants a part.
#[must_use]
pub fn rules_of(text: &Text) -> Vec<String> {
    let inside = text.text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    let mut names: Vec<String> = inside.filter_map(|(inside, _)| Some(part_of(inside)?.1.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

/// The part and the rule of a placeholder such as `50% of kill` or `10%..90% of kill`.
fn part_of(inside: &str) -> Option<(&str, &str)> {
    let (part, rule) = inside.trim().split_once("% of ")?;
    Some((part.trim(), rule.trim()))
}

struct Wrong {
    message: String,
    help: String,
}

impl Wrong {
    fn at(self, place: &str) -> Failure {
        Failure::new(format!("{place}: {}", self.message)).help(self.help)
    }
}

/// The value of a placeholder; `None` for one that is filled in later.
fn value(name: &str, filling: &Filling, count: u64, dir: &Path) -> std::result::Result<Option<String>, Wrong> {
    if LATER.contains(&name) {
        return Ok(None);
    }
    if let Some((part, rule)) = part_of(name) {
        return position(name, part, rule, filling, count).map(Some);
    }
    if let Some((low, high)) = name.split_once("..") {
        return range(name, low.trim(), high.trim(), filling, count).map(Some);
    }
    if let Some(port) = name.strip_prefix("port:") {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if port.is_empty() || !port.chars().all(fits) {
            return Err(Wrong {
                message: format!("`{port}` is no name for a port"),
                help: "letters, digits, `_` and `-`, such as ${port:db}".into(),
            });
        }
        return match filling {
            Filling::Check { .. } => Ok(Some("1".into())),
            Filling::Run(values) => Ok(values.ports.get(port).map(ToString::to_string)),
        };
    }
    let Filling::Run(values) = filling else {
        return match name {
            "seed" | "run" => Ok(Some("1".into())),
            "here" => path(&std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())).map(Some),
            "work" | "tmp" => Ok(Some("/tmp".into())),
            odd => Err(unknown(odd)),
        };
    };
    match name {
        "seed" => Ok(Some(values.seed.to_string())),
        "run" => Ok(Some(values.run.to_string())),
        "here" => path(&values.here).map(Some),
        "work" => path(&values.work).map(Some),
        "tmp" => path(&values.tmp).map(Some),
        odd => Err(unknown(odd)),
    }
}

fn unknown(odd: &str) -> Wrong {
    let known = NAMES.into_iter().chain(LATER);
    let near = match odd.split_once(':') {
        Some((_, port)) => Some(format!("port:{port}")),
        None => nearest(odd, known.clone()).map(str::to_owned),
    };
    let near = near.map(|near| format!("did you mean ${{{near}}}? "));
    let all: Vec<&str> = known.collect();
    Wrong {
        message: format!("unknown placeholder `${{{odd}}}`"),
        help: format!(
            "{}one of {} or a range such as ${{1..50}}; write $${{{odd}}} for the shell's own",
            near.unwrap_or_default(),
            all.join(", ")
        ),
    }
}

/// A path goes into the text as it is, so it must mean nothing to YAML, TOML or JSON.
fn path(path: &Path) -> std::result::Result<String, Wrong> {
    let text = path.to_str().filter(|text| !text.chars().any(|c| c.is_control() || "\"'\\:#{}[]$`,".contains(c)));
    text.map(str::to_owned).ok_or_else(|| Wrong {
        message: format!("the path {} has characters that cannot stand in an experiment file", path.display()),
        help: "use a directory whose name has only letters, digits, `_`, `-`, `.` and spaces".into(),
    })
}

/// Which of the calls that a rule matched in the control stands at a part of them, or at one drawn from two.
fn position(name: &str, part: &str, rule: &str, filling: &Filling, count: u64) -> std::result::Result<String, Wrong> {
    let wrong = |why: String| Wrong {
        message: format!("`${{{name}}}` {why}"),
        help: "such as nth: ${50% of kill}, where `kill` is the name of a fault with `calls`".into(),
    };
    let percent = match part.split_once("%..") {
        Some((low, high)) => range(name, low.trim(), high.trim(), filling, count)?,
        None => part.to_owned(),
    };
    let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let Some(percent) = percent else { return Err(wrong("is no part: 0% to 100%".into())) };
    let Filling::Run(values) = filling else { return Ok("1".into()) };
    let Some(matched) = &values.matched else { return Ok("1".into()) };
    match matched.get(rule).copied().unwrap_or(0) {
        0 => Err(wrong(format!("has no place: `{rule}` matched no call in the control"))),
        // Numbers of calls are far below 2^52.
        calls => Ok(((calls as f64 * percent / 100.0).round() as u64).clamp(1, calls).to_string()),
    }
}

/// A number of a range, drawn by the seed; each place in the file draws its own.
fn range(name: &str, low: &str, high: &str, filling: &Filling, count: u64) -> std::result::Result<String, Wrong> {
    let wrong = |why: &str| Wrong {
        message: format!("the range `${{{name}}}` {why}"),
        help: "such as ${1..50} or ${0.1..0.5}".into(),
    };
    let digits = |text: &str| text.split_once('.').map_or(0, |(_, after)| after.len());
    let decimals = digits(low).max(digits(high));
    if decimals > 6 {
        return Err(wrong("has more than six decimals"));
    }
    let scale = 10i64.pow(u32::try_from(decimals).unwrap_or(0));
    let number = |text: &str| -> Option<i64> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(part) {
            return None;
        }
        let part: i64 = format!("{part:0<decimals$}").parse().unwrap_or(0);
        let value = whole.parse::<i64>().ok()?.checked_mul(scale)?.checked_add(part)?;
        Some(if negative { -value } else { value })
    };
    let (Some(low), Some(high)) = (number(low), number(high)) else { return Err(wrong("is no range of numbers")) };
    if low > high {
        return Err(wrong("is reversed"));
    }
    let drawn = match filling {
        Filling::Check { highest: false } => low,
        Filling::Check { highest: true } => high,
        Filling::Run(values) => {
            let width = u64::try_from(i128::from(high) - i128::from(low) + 1).unwrap_or(u64::MAX);
            let offset = combine(mix(values.seed), count) % width;
            // Within the width, so within what i64 holds.
            low.wrapping_add_unsigned(offset)
        }
    };
    if decimals == 0 {
        return Ok(drawn.to_string());
    }
    let sign = if drawn < 0 { "-" } else { "" };
    let (drawn, scale) = (drawn.unsigned_abs(), scale.unsigned_abs());
    Ok(format!("{sign}{}.{:0decimals$}", drawn / scale, drawn % scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, filling: &Filling) -> Result<String> {
        fill(&Text { path: "e.yaml".into(), text: text.into() }, filling)
    }

    fn run(seed: u64) -> Filling {
        let ports = [("db".to_owned(), 4242)].into_iter().collect();
        Filling::Run(Box::new(Values { seed, run: 3, here: "/h".into(), ports, ..Values::default() }))
    }

    #[test]
    fn everything_is_filled_in_and_the_rest_is_left() {
        let text = "${port:db} ${run} ${here}/a $${HOME} ${instance} $x $";
        assert_eq!(filled(text, &run(1)).unwrap(), "4242 3 /h/a ${HOME} ${instance} $x $");
        assert_eq!(filled("a: ${1..5}\nb: ${-3..7}", &Filling::Check { highest: false }).unwrap(), "a: 1\nb: -3");
        assert_eq!(filled("${0.1..0.50}", &Filling::Check { highest: true }).unwrap(), "0.50");
    }

    #[test]
    fn ranges_are_drawn_by_the_seed_within_their_bounds() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..500 {
            let drawn: i64 = filled("${-2..3}", &run(seed)).unwrap().parse().unwrap();
            assert!((-2..=3).contains(&drawn));
            seen.insert(drawn);
            assert_eq!(filled("${1..1000000}", &run(seed)).unwrap(), filled("${1..1000000}", &run(seed)).unwrap());
        }
        assert_eq!(seen.len(), 6);
        let both = filled("${1..1000000} ${1..1000000}", &run(1)).unwrap();
        let (one, other) = both.split_once(' ').unwrap();
        assert_ne!(one, other, "each place draws its own");
    }

    #[test]
    fn a_part_of_the_control_is_one_of_its_calls() {
        let matched = |calls: Option<u64>| {
            let matched = calls.map(|calls| [("kill".to_owned(), calls)].into_iter().collect());
            Filling::Run(Box::new(Values { seed: 5, matched, ..Values::default() }))
        };
        let text = "nth: ${50% of kill}";
        assert_eq!(filled(text, &matched(Some(40))).unwrap(), "nth: 20");
        assert_eq!(filled(text, &matched(Some(1))).unwrap(), "nth: 1");
        assert_eq!(filled(text, &matched(None)).unwrap(), "nth: 1");
        assert_eq!(filled("${0% of kill} ${100% of kill}", &matched(Some(7))).unwrap(), "1 7");
        let drawn: u64 = filled("${10%..90% of kill}", &matched(Some(1000))).unwrap().parse().unwrap();
        assert!((100..=900).contains(&drawn), "{drawn}");
        for (text, message) in [
            ("${50% of other}", "`other` matched no call"),
            ("${150% of kill}", "is no part"),
            ("${-5% of kill}", "is no part"),
            ("${x% of kill}", "is no part"),
            ("${90%..10% of kill}", "is reversed"),
        ] {
            let wrong = filled(text, &matched(Some(9))).unwrap_err();
            assert!(wrong.message.contains(message) && wrong.help.is_some(), "{text}: {}", wrong.message);
        }
        let text = Text { path: "e".into(), text: "${50% of kill} ${1..5} ${1%..2% of a b} ${50% of kill}".into() };
        assert_eq!(rules_of(&text), ["a b", "kill"]);
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for (text, place, message) in [
            ("a\n  ${sed}", "e.yaml:2:3", "unknown placeholder `${sed}`"),
            ("${HOME}", "e.yaml:1:1", "unknown placeholder"),
            ("x ${5..1}", "e.yaml:1:3", "is reversed"),
            ("${1..b}", "e.yaml:1:1", "is no range of numbers"),
            ("${..}", "e.yaml:1:1", "is no range of numbers"),
            ("${0.1234567..1}", "e.yaml:1:1", "six decimals"),
            ("${1..99999999999999999999}", "e.yaml:1:1", "is no range"),
            ("${port:}", "e.yaml:1:1", "no name for a port"),
            ("${port:a b}", "e.yaml:1:1", "no name for a port"),
            ("${seed", "e.yaml:1:1", "is not closed"),
            ("${se\ned}", "e.yaml:1:1", "is not closed"),
        ] {
            let wrong = filled(text, &run(1)).unwrap_err();
            assert!(wrong.message.starts_with(place) && wrong.message.contains(message), "{text}: {}", wrong.message);
            assert!(wrong.help.is_some(), "{text}");
        }
    }
}

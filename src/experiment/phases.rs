//! The schedule: phases become windows of the faults, so both hang on the same clock. Pure.

use super::counting::{counter, of_phase};
use super::file::{Begin, Phase, Pulse};
use crate::error::{Failure, Result};
use chaos_table::calls::FaultKind;
use chaos_table::nearest;
use chaos_table::quantities::{Lasting, Rate, Time};
use chaos_table::rule::MAX_RULES;
use chaos_table::schema::{Fault, Table};
use chaos_table::words::Label;

/// Steps of a ramp that does not say.
const STEPS: u32 = 5;

/// When rules begin that wait for a mark or a count: longer than any run.
const NEVER: Time = Time(1 << 62);

/// What begins some of the phases, and what they are then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// The phase that begins by it; those without a sign of their own follow.
    pub phase: String,
    /// What it is.
    pub sign: Sign,
    /// The rules of these phases, with where their windows begin after it and how long they are, in ns.
    pub windows: Vec<(String, u64, Option<u64>)>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A mark.
    Mark(String),
    /// So many matches of a rule that only counts.
    Calls {
        /// Its name.
        rule: String,
        /// How many.
        count: u64,
    },
}

/// The times of a table's faults.
#[derive(Debug, Default)]
pub struct Schedule {
    /// How long all phases take; `None` when that is not known, or there are none.
    pub whole: Option<Time>,
    /// What the launcher has to begin, in this order.
    pub cues: Vec<Cue>,
}

/// Puts the faults of a table into the windows of the phases, and `counters`, each into that of its phase.
///
/// # Errors
/// Phases that overlap, that name no fault of the table, or that make too many rules.
pub fn schedule(table: &mut Table, phases: &[Phase], counters: Vec<(Fault, Option<&str>)>) -> Result<Schedule> {
    let known = |name: &str| phases.iter().any(|phase| phase.name == name);
    if let Some(odd) = counters.iter().filter_map(|(_, phase)| *phase).find(|phase| !known(phase)) {
        let near = nearest(odd, phases.iter().map(|phase| phase.name.as_str()));
        let help = near.map_or_else(|| "name one of `phases`".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(Failure::new(format!("a check counts calls in the phase {odd}, and there is none")).help(help));
    }
    if phases.is_empty() {
        table.faults.extend(counters.into_iter().map(|(fault, _)| fault));
        return Ok(Schedule::default());
    }
    refuse_own_windows(table)?;
    let named = names(table)?;
    let (mut faults, mut end, mut last) = (Vec::new(), Some(0), "the start");
    let mut cues: Vec<Cue> = Vec::new();
    for (at, phase) in phases.iter().enumerate() {
        if phase.name.trim().is_empty() {
            return Err(
                Failure::new(format!("phase {} has no name", at + 1)).help("{name: inject, for: 10s, faults: all}")
            );
        }
        let cue = sign_of(phase)?;
        if let Some((sign, counter)) = cue {
            cues.push(Cue { phase: phase.name.clone(), sign, windows: Vec::new() });
            faults.extend(counter);
            // Times count from it.
            end = Some(0);
            last = "the phase itself";
        }
        let Some(before) = end else {
            return Err(Failure::new(format!("phase {last} has no end, and {} comes after it", phase.name))
                .help("give it `for`, or let the next one begin by {mark: TEXT} or {calls: write, count: 100}"));
        };
        let from = match &phase.from {
            Some(Begin::At(from)) => from.0,
            _ => before,
        };
        if from < before {
            return Err(Failure::new(format!(
                "phase {} begins at {} and overlaps {last}, which ends at {}",
                phase.name,
                Time(from),
                Time(before)
            ))
            .help("leave `from` out: a phase begins when the one before ends"));
        }
        end = phase.r#for.map(|lasting| from.saturating_add(lasting.0.0));
        let mut own = chosen(phase, &named)?;
        let name = |fault: &Fault| fault.name.as_ref().map_or_else(String::new, |Label(name)| name.clone());
        let counting = counters.iter().filter(|(_, within)| *within == Some(phase.name.as_str()));
        let counting: Vec<(String, &Fault)> = counting.map(|(fault, _)| (name(fault), fault)).collect();
        let plain = Phase { ramp: None, pulse: None, ..phase.clone() };
        let chosen_count = own.len();
        own.extend(counting.iter().map(|(name, fault)| (name.as_str(), *fault)));
        for (at, (name, fault)) in own.into_iter().enumerate() {
            // What counts does so all the time.
            let phase = if at < chosen_count { phase } else { &plain };
            for (number, window) in windows(phase, from)?.into_iter().enumerate() {
                let number = if number == 0 { String::new() } else { format!("-{}", number + 1) };
                if window.rate == Some(0.0) {
                    continue;
                }
                let label = Label(format!("{name}/{}{number}", phase.name));
                let mut begin = Time(window.from);
                if let Some(cue) = cues.last_mut() {
                    cue.windows.push((label.0.clone(), window.from, window.lasting.map(|lasting| lasting.0.0)));
                    begin = NEVER;
                }
                let mut fault = Fault { name: Some(label), from: Some(begin), r#for: window.lasting, ..fault.clone() };
                if let Some(rate) = window.rate {
                    fault.rate = Some(Rate(rate));
                }
                faults.push(fault);
            }
        }
        last = &phase.name;
    }
    faults.extend(counters.iter().filter(|(_, phase)| phase.is_none()).map(|(fault, _)| fault.clone()));
    if faults.len() > MAX_RULES {
        return Err(Failure::new(format!(
            "the phases make {} rules, and a table has at most {MAX_RULES}",
            faults.len()
        ))
        .help("use fewer pulses, fewer steps of ramps, or fewer faults in them"));
    }
    table.faults = faults;
    let whole = end.filter(|_| cues.is_empty()).map(Time);
    Ok(Schedule { whole, cues })
}

/// What a phase waits for, when that is no time, and the rule that counts for it.
fn sign_of(phase: &Phase) -> Result<Option<(Sign, Option<Fault>)>> {
    match &phase.from {
        None | Some(Begin::At(_)) => Ok(None),
        Some(Begin::Mark(mark)) => Ok(Some((Sign::Mark(mark.clone()), None))),
        Some(Begin::Calls(counting)) => {
            let rule = of_phase(&phase.name);
            let fault = counter(&rule, counting)
                .map_err(|why| Failure { message: format!("phase {}: {}", phase.name, why.message), ..why })?;
            Ok(Some((Sign::Calls { rule, count: counting.count }, Some(fault))))
        }
    }
}

/// One part of a phase in which a fault is in force.
struct Window {
    from: u64,
    lasting: Option<Lasting>,
    rate: Option<f64>,
}

fn refuse_own_windows(table: &Table) -> Result<()> {
    if !table.chaos.is_empty() {
        return Err(Failure::new("`phases` and the presets of `chaos` do not go together in this version")
            .help("write the preset out: `chaos-exec list presets` prints it"));
    }
    if table.r#for.is_some() {
        return Err(Failure::new("the table's own `for` and `phases` both say when").help("leave one of them out"));
    }
    let own = |fault: &&Fault| fault.from.is_some() || fault.r#for.is_some();
    match table.faults.iter().find(own) {
        Some(fault) if matches!(fault.fault, Some(FaultKind::Hang | FaultKind::Freeze)) => {
            Err(Failure::new("a hang or a freeze whose length `for` says cannot stand in `phases`")
                .help("use `latency` with `delay`, or leave `phases` out and give the fault `from`"))
        }
        Some(_) => Err(Failure::new("a fault has its own `from` or `for`, and `phases` say when")
            .help("leave them out of the fault")),
        None => {
            let lasting = |fault: &&Fault| matches!(fault.fault, Some(FaultKind::Hang | FaultKind::Freeze));
            match table.faults.iter().find(lasting) {
                Some(_) => {
                    Err(Failure::new("a hang or a freeze cannot stand in `phases`: its `for` is its own length")
                        .help("use `latency` with `delay`, or leave `phases` out and give the fault `from`"))
                }
                None => Ok(()),
            }
        }
    }
}

/// The faults with the names that phases call them by.
fn names(table: &Table) -> Result<Vec<(String, &Fault)>> {
    let mut named: Vec<(String, &Fault)> = Vec::new();
    for (at, fault) in table.faults.iter().enumerate() {
        let kind = fault.fault.map_or("fault", FaultKind::name);
        let name = fault.name.as_ref().map_or_else(|| format!("{kind}-{}", at + 1), |Label(name)| name.clone());
        if named.iter().any(|(other, _)| *other == name) {
            return Err(Failure::new(format!("two faults are called {name}")).help("phases need a name for each"));
        }
        named.push((name, fault));
    }
    Ok(named)
}

fn chosen<'a>(phase: &Phase, named: &'a [(String, &'a Fault)]) -> Result<Vec<(&'a str, &'a Fault)>> {
    let all = || named.iter().map(|(name, fault)| (name.as_str(), *fault));
    match phase.faults.all.as_slice() {
        [] => Ok(Vec::new()),
        [word] if word == "none" => Ok(Vec::new()),
        [word] if word == "all" && !named.is_empty() => Ok(all().collect()),
        words => words
            .iter()
            .map(|word| {
                all().find(|(name, _)| name == word).ok_or_else(|| {
                    let near = nearest(word, named.iter().map(|(name, _)| name.as_str()).chain(["all", "none"]));
                    let known: Vec<&str> = all().map(|(name, _)| name).collect();
                    let known = if known.is_empty() {
                        "the table has no faults".into()
                    } else {
                        format!("all, none, or of {}", known.join(", "))
                    };
                    Failure::new(format!("phase {}: there is no fault '{word}'", phase.name))
                        .help(near.map_or(known, |near| format!("did you mean `{near}`?")))
                })
            })
            .collect(),
    }
}

fn windows(phase: &Phase, from: u64) -> Result<Vec<Window>> {
    let name = &phase.name;
    if phase.ramp.is_some() && phase.pulse.is_some() {
        return Err(Failure::new(format!("phase {name} has a ramp and pulses")).help("make two phases of it"));
    }
    let needs_end = |what: &str| {
        phase
            .r#for
            .map(|lasting| lasting.0.0)
            .ok_or_else(|| Failure::new(format!("phase {name} has {what} and no end")).help("give it `for`"))
    };
    if let Some(ramp) = phase.ramp {
        let length = needs_end("a ramp")?;
        let steps = ramp.steps.unwrap_or(STEPS);
        if !(2..=MAX_RULES as u32).contains(&steps) {
            return Err(Failure::new(format!("phase {name}: a ramp of {steps} steps")).help("2 to 60"));
        }
        let part = length / u64::from(steps);
        let step = |at: u32| Window {
            from: from + part * u64::from(at),
            lasting: Some(Lasting(Time(part.max(1)))),
            rate: Some(ramp.from.0 + (ramp.to.0 - ramp.from.0) * f64::from(at) / f64::from(steps - 1)),
        };
        return Ok((0..steps).map(step).collect());
    }
    if let Some(Pulse { on, off }) = phase.pulse {
        let length = needs_end("pulses")?;
        let (on, whole) = (on.0.0, on.0.0.saturating_add(off.0.0));
        if length.div_ceil(whole) > MAX_RULES as u64 {
            return Err(Failure::new(format!("phase {name} has {} pulses", length.div_ceil(whole)))
                .help(format!("at most {MAX_RULES}: make them longer, or the phase shorter")));
        }
        let pulse = |at: u64| Window {
            from: from + at * whole,
            lasting: Some(Lasting(Time(on.min(length - at * whole)))),
            rate: None,
        };
        return Ok((0..length.div_ceil(whole)).map(pulse).collect());
    }
    Ok(vec![Window { from, lasting: phase.r#for, rate: None }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scheduled(table: &serde_json::Value, phases: &serde_json::Value) -> Result<(Table, Option<Time>)> {
        let mut table = Table::from_json(&table.to_string(), "t").unwrap();
        let phases: Vec<Phase> = serde_json::from_value(phases.clone()).unwrap();
        let end = schedule(&mut table, &phases, Vec::new())?;
        Ok((table, end.whole))
    }

    fn windows_of(table: &Table) -> Vec<(String, u64, Option<u64>)> {
        let window = |fault: &Fault| {
            let ms = |ns: u64| ns / 1_000_000;
            let name = fault.name.clone().unwrap().0;
            (name, ms(fault.from.unwrap().0), fault.r#for.map(|lasting| ms(lasting.0.0)))
        };
        table.faults.iter().map(window).collect()
    }

    #[test]
    fn phases_become_windows() {
        let table = json!({"faults": [{"name": "slow", "fault": "latency", "calls": "read"}, "write=EIO@10%"]});
        let phases = json!([
            {"name": "warm-up", "for": "2s"},
            {"name": "inject", "for": "3s", "faults": "all"},
            {"name": "recover", "for": "1s", "faults": "none"},
            {"name": "pulses", "from": "10s", "for": "2500ms", "faults": ["slow"], "pulse": {"on": "500ms", "off": "500ms"}},
        ]);
        let (table, end) = scheduled(&table, &phases).unwrap();
        assert_eq!(end, Some(Time(12_500_000_000)));
        let wanted = [
            ("slow/inject", 2000, 3000),
            ("error-2/inject", 2000, 3000),
            ("slow/pulses", 10_000, 500),
            ("slow/pulses-2", 11_000, 500),
            ("slow/pulses-3", 12_000, 500),
        ];
        let wanted: Vec<_> = wanted.iter().map(|(name, from, long)| ((*name).to_owned(), *from, Some(*long))).collect();
        assert_eq!(windows_of(&table), wanted);
    }

    #[test]
    fn a_ramp_grows_and_what_never_fires_is_left_out() {
        let phases =
            json!([{"name": "up", "for": "10s", "faults": "all", "ramp": {"from": "0%", "to": "50%", "steps": 3}}]);
        let (table, _) = scheduled(&json!({"faults": ["read=EIO"]}), &phases).unwrap();
        let rates: Vec<f64> = table.faults.iter().map(|fault| fault.rate.unwrap().0).collect();
        assert_eq!(rates, [0.25, 0.5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let read = json!({"faults": [{"name": "slow", "fault": "latency", "calls": "read"}]});
        for (table, phases, message) in [
            (&read, json!([{"name": "a", "for": "5s"}, {"name": "b", "from": "4s", "for": "1s"}]), "overlaps a"),
            (&read, json!([{"name": "a"}, {"name": "b", "for": "1s"}]), "has no end"),
            (&read, json!([{"for": "1s"}]), "has no name"),
            (&read, json!([{"name": "a", "for": "1s", "faults": "slwo"}]), "there is no fault 'slwo'"),
            (&read, json!([{"name": "a", "faults": "slow", "pulse": {"on": "1s", "off": "1s"}}]), "no end"),
            (
                &read,
                json!([{"name": "a", "for": "1h", "faults": "slow", "pulse": {"on": "1s", "off": "1s"}}]),
                "1800 pulses",
            ),
            (
                &read,
                json!([{"name": "a", "for": "1h", "faults": "slow", "ramp": {"from": 0, "to": 1, "steps": 1}}]),
                "1 steps",
            ),
            (&json!({}), json!([{"name": "a", "for": "1s", "faults": "all"}]), "there is no fault 'all'"),
            (&json!({"chaos": ["disk"]}), json!([{"name": "a", "for": "1s"}]), "presets"),
            (&json!({"for": "3s"}), json!([{"name": "a", "for": "1s"}]), "both say when"),
            (
                &json!({"faults": [{"fault": "latency", "calls": "read", "from": "1s"}]}),
                json!([{"name": "a", "for": "1s"}]),
                "its own `from`",
            ),
            (
                &json!({"faults": [{"fault": "hang", "calls": "read"}]}),
                json!([{"name": "a", "for": "1s"}]),
                "cannot stand",
            ),
            (
                &json!({"faults": [{"name": "x", "fault": "latency", "calls": "read"}, {"name": "x", "fault": "short"}]}),
                json!([{"name": "a", "for": "1s"}]),
                "two faults are called x",
            ),
        ] {
            let wrong = scheduled(table, &phases).map(drop).unwrap_err();
            assert!(wrong.message.contains(message) && wrong.help.is_some(), "{phases}: {}", wrong.message);
        }
    }
}

//! The findings for reading.

use super::Diagnosis;
use crate::ability::Ability;
use crate::program::{Engine, Kind};
use crate::reach::{Chance, Reach};
use chaos_table::calls::{Call, Family};

/// Room for the words before each part.
const MARGIN: usize = 10;

/// The whole text.
pub fn render(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let mut part = |name: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            text += format!("{name:MARGIN$}{line}").trim_end();
            text += "\n";
        }
    };
    part("program", program(diagnosis));
    part("engine", vec![engine(diagnosis)]);
    part("calls", calls(diagnosis));
    part("rules", diagnosis.rules.iter().map(|(name, chance)| rule(name, chance)).collect());
    part("escapes", diagnosis.escapes.iter().map(|escape| format!("{} ({})", escape.what, escape.why)).collect());
    part("here", here(&diagnosis.ability));
    let problems = &diagnosis.problems;
    part(
        "problem",
        problems.iter().flat_map(|problem| [problem.what.clone(), format!("  fix: {}", problem.fix)]).collect(),
    );
    part("verdict", vec![verdict(diagnosis)]);
    text
}

fn program(diagnosis: &Diagnosis) -> Vec<String> {
    let steps = &diagnosis.command.program.steps;
    let width = steps.iter().map(|step| step.path.display().to_string().len()).max().unwrap_or(0);
    let line = |step: &crate::program::Step| {
        let gain = step.gain.map_or(String::new(), |gain| format!("; {}", gain.words()));
        format!("{:width$}  {}{gain}", step.path.display().to_string(), step.kind.words())
    };
    let mut lines: Vec<String> = steps.iter().map(line).collect();
    if let Some(Reach::Shim(imports)) = &diagnosis.reach {
        let count = imports.libraries.len();
        let names = imports.libraries.iter().take(8).cloned().collect::<Vec<_>>().join(" ");
        let more = if count > 8 { format!(" and {} more", count - 8) } else { String::new() };
        lines.push(format!("with {names}{more}"));
    }
    lines
}

fn engine(diagnosis: &Diagnosis) -> String {
    match diagnosis.engine {
        Some(Engine::Preload) => "preload: the shim, which the loader brings".into(),
        Some(Engine::Seccomp) => "seccomp: the supervisor, which the kernel asks about system calls".into(),
        None => "none".into(),
    }
}

/// How many calls of each family there are among these.
fn by_family(calls: &[&Call]) -> String {
    let count = |family: &Family| calls.iter().filter(|call| call.is_in(*family)).count();
    let families = Family::ALL.iter().map(|(name, family)| (name, count(family))).filter(|(_, count)| *count > 0);
    families.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn calls(diagnosis: &Diagnosis) -> Vec<String> {
    let [seen, perhaps, unseen] = diagnosis.calls();
    let mut lines = Vec::new();
    let mut line = |calls: &[&Call], what: &str| {
        if !calls.is_empty() {
            lines.push(format!("{} {what}: {}", calls.len(), by_family(calls)));
        }
    };
    match &diagnosis.reach {
        Some(Reach::Shim(imports)) => {
            line(&seen, "imported");
            line(&perhaps, "not imported, but possible");
            line(&unseen, "not made");
            if !imports.raw.is_empty() {
                lines.push(format!("libc's syscall() is called by {}: the shim sees that too", imports.raw.join(", ")));
            }
            if !imports.loads.is_empty() {
                lines.push(format!("more code is loaded while it runs by {} (dlopen)", imports.loads.join(", ")));
            }
        }
        Some(Reach::Kernel) => {
            line(&seen, "are system calls");
            line(&unseen, "are libc's own, unseen");
        }
        None => {}
    }
    lines
}

fn rule(name: &str, chance: &Chance) -> String {
    match chance {
        Chance::Yes(at) => format!("{name}: can fire: {at}"),
        Chance::Perhaps(why) => format!("{name}: may fire: {why}"),
        Chance::No(why) => format!("{name}: CANNOT FIRE: {why}"),
    }
}

fn here(ability: &Ability) -> Vec<String> {
    let place = &ability.place;
    let number = |value: Option<u32>| value.map_or("?".to_owned(), |value| value.to_string());
    let filters = match place.seccomp {
        Some(0) => "no seccomp filter".into(),
        Some(1) => "seccomp's strict mode".into(),
        _ => format!("under {} seccomp filters", number(place.filters)),
    };
    let rights = if place.no_new_privs == Some(true) { ", no_new_privs" } else { "" };
    let yama = place.ptrace_scope.map_or(String::new(), |scope| format!(", ptrace_scope {scope}"));
    let mut lines = vec![format!("Linux {}, {filters}{rights}{yama}", ability.kernel)];
    lines.push(match &ability.preload {
        Ok(()) => "preload works".into(),
        Err(problem) => format!("preload does not work: {}; {}", problem.what, problem.fix),
    });
    lines.push(match &ability.seccomp {
        Ok(extras) => {
            let all = [
                (extras.addfd, "ADDFD"),
                (extras.wait_killable, "WAIT_KILLABLE_RECV"),
                (extras.sync_wake_up, "SYNC_WAKE_UP"),
            ];
            let names =
                |has: bool| all.iter().filter(|(there, _)| *there == has).map(|(_, name)| *name).collect::<Vec<_>>();
            let lacks =
                if names(false).is_empty() { String::new() } else { format!(", without {}", names(false).join(" ")) };
            format!("seccomp works, with {}{lacks}", names(true).join(" "))
        }
        Err(problem) => format!("seccomp does not work: {}; {}", problem.what, problem.fix),
    });
    lines
}

fn verdict(diagnosis: &Diagnosis) -> String {
    if diagnosis.is_covered() {
        return match diagnosis.rules.iter().filter(|(_, chance)| matches!(chance, Chance::No(_))).count() {
            0 => "it can be covered".into(),
            1 => "it can be covered, but one rule cannot fire in it".into(),
            count => format!("it can be covered, but {count} rules cannot fire in it"),
        };
    }
    let only_text = diagnosis.command.program.steps.iter().all(|step| matches!(step.kind, Kind::Script | Kind::Text));
    match (diagnosis.engine, diagnosis.problems.is_empty()) {
        (_, true) => "nothing can be injected: none of the rules can fire in it".into(),
        (None, _) if only_text => "it cannot be started".into(),
        (None, _) => "it cannot be covered: no engine reaches it".into(),
        (Some(_), false) => "it cannot be covered here".into(),
    }
}

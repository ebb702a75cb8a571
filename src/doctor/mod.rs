//! `chaos-exec doctor`: what a program is, which engine reaches it here, what that sees, and what would escape.

mod json;
mod text;

use crate::ability::{Ability, Problem};
use crate::cli::DoctorArgs;
use crate::command::Command;
use crate::console::{Console, Level};
use crate::error::{Context, Result};
use crate::exit_code::Exit;
use crate::options::table_of;
use crate::program::{Engine, Gain, Kind, Step};
use crate::reach::{Chance, Reach};
use chaos_table::calls::{CALLS, Call};
use chaos_table::compile::{Compiled, Context as Place, compile};
use chaos_table::environment::from_env;
use chaos_table::schema::Table;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Everything that was found.
struct Diagnosis {
    command: Command,
    ability: Ability,
    /// The engine that reaches the program, were it allowed here; none when none does.
    engine: Option<Engine>,
    /// What that sees.
    reach: Option<Reach>,
    /// The rules, each with its chance.
    rules: Vec<(String, Chance)>,
    escapes: Vec<Escape>,
    problems: Vec<Problem>,
}

/// What no engine would see.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Escape {
    what: String,
    why: String,
}

/// Looks at a program.
///
/// # Errors
/// When there is no such program, or the table is wrong.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<Exit> {
    let mut table = from_env(std::env::vars_os())?.map_or_else(Table::default, |environment| environment.table);
    table.merge(table_of(&args.faults)?);
    let work_dir = std::env::current_dir().cannot("find the working directory")?;
    let compiled = compile(&table, &Place { work_dir: &work_dir, seed: table.seed.unwrap_or(0) })?;
    let console = Console::new(Level::Normal);
    compiled.warnings.iter().for_each(|warning| console.warning(warning));
    let diagnosis = Diagnosis::of(Command::find(&args.command)?, &compiled, Ability::here());
    let text = if args.json { json::render(&diagnosis)? } else { text::render(&diagnosis) };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).cannot("write to stdout")?;
    Ok(if diagnosis.is_covered() { Exit::Target(0) } else { Exit::NotCovered })
}

impl Diagnosis {
    fn of(command: Command, compiled: &Compiled, ability: Ability) -> Diagnosis {
        let program = &command.program;
        let mut problems: Vec<Problem> = program.trouble.iter().map(|what| cannot_start(what)).collect();
        let last = program.last().filter(|_| program.trouble.is_none());
        let reachable = last.filter(|step| step.out_of_reach().is_none());
        let engine = reachable.and_then(|step| step.kind.engine());
        problems.extend(last.and_then(out_of_reach));
        let works = |engine| match engine {
            Engine::Preload => ability.preload.as_ref().err(),
            Engine::Seccomp => ability.preload.as_ref().err().or(ability.seccomp.as_ref().err()),
        };
        problems.extend(engine.and_then(works).cloned());
        let reach = engine.zip(last).map(|(engine, step)| Reach::of(engine, &step.path));
        if let Some(Reach::Shim(imports)) = &reach {
            problems.extend(imports.missing.iter().map(|library| missing(library)));
        }
        let rules = match (&reach, last) {
            (Some(reach), Some(step)) => chances(compiled, reach, &step.path),
            _ => Vec::new(),
        };
        let escapes = engine.map(|engine| escapes(engine, reach.as_ref(), &ability)).unwrap_or_default();
        Diagnosis { ability, engine, reach, rules, escapes, problems, command }
    }

    /// Whether faults can be injected into this program here.
    fn is_covered(&self) -> bool {
        let hopeless = !self.rules.is_empty() && self.rules.iter().all(|(_, chance)| matches!(chance, Chance::No(_)));
        self.engine.is_some() && self.problems.is_empty() && !hopeless
    }

    /// The calls that the engine may see, the others, and those of which one cannot tell.
    fn calls(&self) -> [Vec<&'static Call>; 3] {
        let mut calls: [Vec<&'static Call>; 3] = Default::default();
        for call in self.reach.iter().flat_map(|_| CALLS) {
            let place = match self.reach.as_ref().map(|reach| reach.chance(call)) {
                Some(Chance::Yes(_)) => 0,
                Some(Chance::Perhaps(_)) => 1,
                _ => 2,
            };
            calls[place].push(call);
        }
        calls
    }
}

fn chances(compiled: &Compiled, reach: &Reach, program: &Path) -> Vec<(String, Chance)> {
    let plan = &compiled.plan;
    let chance = |index| (plan.rule_name(index).to_owned(), reach.rule(plan, index, program));
    (0..plan.rules.len()).map(chance).collect()
}

fn cannot_start(what: &str) -> Problem {
    Problem { what: what.to_owned(), fix: "see that what its first line or its header names is installed".into() }
}

fn missing(library: &str) -> Problem {
    Problem {
        what: format!("its loader will not find {library}"),
        fix: "install it, or name its directory in LD_LIBRARY_PATH".into(),
    }
}

/// Why neither engine reaches a program, and what to do about it.
fn out_of_reach(step: &Step) -> Option<Problem> {
    let what = step.out_of_reach()?;
    let shown = step.path.display();
    let fix = match (step.gain, &step.kind) {
        (Some(Gain::Setuid | Gain::Setgid), _) => {
            format!("run chaos-exec as the user that it becomes, or a copy without that bit: cp {shown} .")
        }
        (Some(Gain::Capabilities), _) => {
            format!("run chaos-exec as root, or a copy without capabilities: cp {shown} .")
        }
        (None, Kind::Foreign(_)) => "build it for x86-64".into(),
        (None, _) => "see above".into(),
    };
    Some(Problem { what, fix })
}

/// What an engine does not see of such a program and of its children.
fn escapes(engine: Engine, reach: Option<&Reach>, ability: &Ability) -> Vec<Escape> {
    let escape = |what: &str, why: &str| Escape { what: what.into(), why: why.into() };
    let mut all = Vec::new();
    match engine {
        Engine::Preload => {
            if let Some(Reach::Shim(imports)) = reach
                && imports.libraries.iter().any(|name| name.starts_with("liburing"))
            {
                all.push(escape("what goes through io_uring", "it makes no calls; -f io_uring_setup=ENOSYS ends that"));
            }
            if let Some(Reach::Shim(imports)) = reach
                && !imports.loads.is_empty()
            {
                all.push(escape("libraries that it opens with RTLD_DEEPBIND", "they find libc before the shim"));
            }
            all.push(escape("system calls that it makes without libc", "the shim stands between program and libc"));
            match &ability.seccomp {
                Ok(_) => {}
                Err(problem) => all.push(Escape {
                    what: "children that are static, or Go".into(),
                    why: format!("they need the supervisor, and {}", problem.what),
                }),
            }
            all.push(escape("setuid children, and those with capabilities", "the loader leaves the shim out of them"));
        }
        Engine::Seccomp => {
            all.push(escape("what it reads of the clock", "the vDSO answers without a system call"));
            all.push(escape("its own allocations and look-ups of names", "they are no system calls"));
            all.push(escape("what goes through io_uring", "it makes no calls; -f io_uring_setup=ENOSYS ends that"));
        }
    }
    all.push(escape("32-bit children", "neither engine knows their system calls"));
    all
}

//! Which engine a run begins with, and whether programs may be handed over to the other.

use crate::ability::{self, Problem};
use crate::cli::Choice;
use crate::error::{Failure, Result};
use crate::program::{Engine, Kind, Program, Step};

/// How a run reaches its programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The supervisor waits for whoever is handed over.
    pub door: bool,
    /// The first process comes under its filter.
    pub filtered: bool,
    /// Programs find the shim in their environment.
    pub shim: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Chooses, by what the user says and what the program is.
///
/// # Errors
/// When `--engine seccomp` cannot work here.
pub fn choose(choice: Choice, program: &Program) -> Result<Way> {
    let mut way = Way { door: choice != Choice::Preload, shim: choice != Choice::Seccomp, ..Way::default() };
    let first = program.first();
    match choice {
        Choice::Seccomp => {
            ability::seccomp().map_err(|Problem { what, fix }| {
                Failure::new(format!("--engine seccomp cannot work: {what}"))
                    .help(format!("{fix}; or use --engine preload"))
            })?;
            way.filtered = true;
        }
        Choice::Auto if first.and_then(reached_by) == Some(Engine::Seccomp) => match ability::seccomp() {
            Ok(()) => way.filtered = true,
            Err(problem) => {
                let what = first.map(unreached).unwrap_or_default();
                let Problem { what: why, fix } = problem;
                way.warnings.push(format!("{what}, and the supervisor, which would, cannot: {why}; {fix}"));
                way.door = false;
            }
        },
        Choice::Preload if first.and_then(reached_by) == Some(Engine::Seccomp) => {
            let what = first.map(unreached).unwrap_or_default();
            way.warnings.push(format!("{what}; --engine auto has one that does"));
        }
        Choice::Auto | Choice::Preload => {}
    }
    if let Some(why) = first.and_then(Step::out_of_reach) {
        way.warnings.push(match choice {
            Choice::Seccomp => format!("{why}: below the supervisor it runs without what that gives"),
            _ => format!("{why}, so no engine can reach it"),
        });
    }
    Ok(way)
}

/// Whether only the supervisor reaches a program.
#[must_use]
pub fn needs_supervisor(program: &Program) -> bool {
    program.first().and_then(reached_by) == Some(Engine::Seccomp)
}

/// The engine for a program that one reaches.
fn reached_by(step: &Step) -> Option<Engine> {
    step.kind.engine().filter(|_| step.out_of_reach().is_none())
}

/// Why the shim does not reach a program.
fn unreached(step: &Step) -> String {
    let shown = step.path.display();
    match &step.kind {
        Kind::Dynamic { .. } => {
            format!("{shown} is a Go program with system calls of its own, which the shim cannot reach")
        }
        _ => format!("{shown} is statically linked, so the shim cannot reach it"),
    }
}

//! The findings for programs. Fields are only ever added.

use super::Diagnosis;
use crate::ability::Problem;
use crate::error::{Context, Result};
use crate::program::{Engine, Kind, Step};
use crate::reach::Reach;
use chaos_table::calls::Call;
use serde_json::{Value, json};

/// One object.
pub fn render(diagnosis: &Diagnosis) -> Result<String> {
    let [seen, perhaps, unseen] = diagnosis.calls().map(|calls| calls.into_iter().map(Call::name).collect::<Vec<_>>());
    let ability = &diagnosis.ability;
    let imports = match &diagnosis.reach {
        Some(Reach::Shim(imports)) => Some(imports),
        _ => None,
    };
    let value = json!({
        "command": diagnosis.command.arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        "program": diagnosis.command.program.steps.iter().map(step).collect::<Vec<_>>(),
        "engine": diagnosis.engine.map(Engine::name),
        "covered": diagnosis.is_covered(),
        "libraries": imports.map(|imports| &imports.libraries),
        "calls": {"seen": seen, "possible": perhaps, "unseen": unseen},
        "uses_syscall": imports.map(|imports| &imports.raw),
        "loads_code": imports.map(|imports| &imports.loads),
        "rules": diagnosis.rules.iter().map(|(name, chance)| {
            let mut rule = json!(chance);
            rule["rule"] = json!(name);
            rule
        }).collect::<Vec<_>>(),
        "escapes": diagnosis.escapes,
        "problems": diagnosis.problems,
        "kernel": ability.kernel,
        "place": ability.place,
        "engines": {
            "preload": works(ability.preload.as_ref().err()),
            "seccomp": works(ability.seccomp.as_ref().err()),
        },
        "seccomp_features": ability.seccomp.as_ref().ok().map(|extras| json!({
            "addfd": extras.addfd,
            "wait_killable": extras.wait_killable,
            "sync_wake_up": extras.sync_wake_up,
        })),
    });
    serde_json::to_string_pretty(&value).map(|text| text + "\n").cannot("describe the program")
}

fn works(problem: Option<&Problem>) -> Value {
    json!({"works": problem.is_none(), "problem": problem})
}

fn step(step: &Step) -> Value {
    let (kind, go) = match &step.kind {
        Kind::Script => ("script", None),
        Kind::Text => ("text", None),
        Kind::Dynamic { go, .. } => ("dynamic", go.as_ref()),
        Kind::Loader => ("loader", None),
        Kind::Static { pie: true, go } => ("static-pie", go.as_ref()),
        Kind::Static { pie: false, go } => ("static", go.as_ref()),
        Kind::Foreign(_) => ("foreign", None),
    };
    let loader = match &step.kind {
        Kind::Dynamic { loader, .. } => Some(loader.display().to_string()),
        _ => None,
    };
    json!({
        "path": step.path.display().to_string(),
        "kind": kind,
        "words": step.kind.words(),
        "loader": loader,
        "go": go.map(|go| go.0.clone()),
        "gains": step.gain.map(crate::program::Gain::words),
    })
}

//! JSON, for programs. `src/report/schema.md` describes it; `version` changes when a field changes its meaning or goes.

use super::Report;
use crate::episode::Episode;
use crate::error::{Context, Result};
use crate::figures::grade;
use crate::judge::Judged;
use crate::latency;
use crate::outcome::Outcome;
use serde_json::{Value, json};

/// Version of the form.
const VERSION: u32 = 1;

/// The whole report.
pub fn render(report: &Report) -> Result<String> {
    let pool = report.pool;
    let figures = &pool.figures;
    // What happens inside the program, and is not known when nobody watched.
    let inside = |count: u64| (figures.unwatched == 0).then_some(count);
    let value = json!({
        "schema": "chaos-exec/report",
        "version": VERSION,
        "command": pool.command(),
        "verdict": {
            "recovery_rate": figures.recovery_rate(),
            "grade": figures.recovery_rate().map(grade),
            "survival": figures.survival_high().map(|high| json!({"low": figures.survival_low(), "high": high})),
            "completion": figures.completion(),
            "mttr_ns": figures.mttr(),
            "recoveries_watched": figures.unwatched == 0,
            "conclusive": figures.delivered > 0 && figures.ended_runs == figures.runs,
            "slowdown": pool.slowdown(),
            "failing_without_us": pool.survey.map(|survey| json!({
                "calls": survey.calls, "failed": survey.failed, "rate": survey.rate(),
            })),
            "run_time_ns": pool.run_time(),
            "control_time_ns": pool.control_time(),
            "rate": pool.rate(),
        },
        "gate": report.ruling.map(|ruling| json!({"result": ruling.word(), "why": ruling.words()})),
        "counts": {
            "runs": figures.runs,
            "ended_runs": figures.ended_runs,
            "completed": figures.completed,
            "undelivered_runs": figures.undelivered_runs,
            "limited_runs": figures.limited_runs,
            "fired": figures.fired,
            "delivered": figures.delivered,
            "episodes": figures.episodes(),
            "recovered": figures.recovered(),
            "retried": inside(figures.retried),
            "rerouted": inside(figures.rerouted),
            "restarted": figures.restarted,
            "unwatched": figures.unwatched,
            "tolerated": figures.tolerated,
            "failed": figures.failed(),
            "failed_by_kind": failed_by_kind(figures),
            "unknown": figures.unknown,
            "crashes": figures.crashes,
            "checks_passed": figures.checks_passed,
            "checks_failed": figures.checks_failed,
            "files_broken": figures.files_broken,
            "escapes": figures.escapes,
            "suppressed": figures.suppressed,
        },
        "traits": (figures.traits.episodes > 0).then_some(&figures.traits),
        "latency": figures.latencies.as_ref().map(|_| json!({
            "calls": latency::rows(pool), "untimed_processes": figures.untimed,
        })),
        "rules": pool.rules,
        "families": pool.families,
        "metrics": figures.metrics.summaries(),
        "next": pool.next,
        "crashes": pool.crashes.iter().map(|(session, crash)| {
            let mut value = json!(crash);
            value["session"] = json!(session);
            value
        }).collect::<Vec<_>>(),
        "checks": pool.checks,
        "coverage": {
            "processes": pool.coverage,
            "escapes": pool.escapes,
            "unsuitable": pool.left_alone.0,
            "protected": pool.left_alone.1,
            "deaths_seen": pool.sight,
        },
        "trouble": pool.trouble,
        "runs": pool.runs,
        "controls": pool.controls,
        "controls_failed": (!pool.controls.is_empty()).then(|| pool.failed_controls()),
        "details": pool.details.iter().map(detail).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&value).map(|text| text + "\n").cannot("write the report")
}

fn failed_by_kind(figures: &crate::figures::Figures) -> Value {
    let kinds = crate::outcome::Failing::ALL.iter().zip(figures.failed_by_kind);
    kinds
        .map(|(kind, count)| (format!("{kind:?}").to_lowercase(), json!(count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn detail(run: &Judged) -> Value {
    let meta = run.meta.as_ref();
    json!({
        "session": run.name,
        "seed": run.seed(),
        "started": meta.map(|meta| meta.started.clone()),
        "chaos_exec": meta.map(|meta| meta.chaos_exec.clone()),
        "cwd": meta.map(|meta| meta.cwd.clone()),
        "table": meta.map(|meta| meta.table.clone()),
        "ended": run.ended(),
        "failing": run.failing.as_ref().map(|(kind, why)| json!({"kind": kind, "why": why})),
        "episodes": run.episodes.iter().map(|(episode, outcome)| episode_value(episode, outcome)).collect::<Vec<_>>(),
        "evidence": run.evidence.as_ref().map(|(dir, names)| json!({"dir": dir.display().to_string(), "files": names})),
        "metrics": run.figures.metrics.summaries(),
        "health": run.facts.as_ref().map(|facts| facts.health.clone()),
        "files": run.facts.as_ref().and_then(|facts| facts.files.clone()),
    })
}

fn episode_value(episode: &Episode, outcome: &Outcome) -> Value {
    let (mut value, more) = (json!(episode), json!(outcome));
    let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) else { return value };
    fields.remove("recovered");
    fields.insert("recovered_ns".into(), json!(episode.recovered.map(|(at, _)| at)));
    fields.extend(more);
    value
}

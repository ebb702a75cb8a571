//! SARIF 2.1.0, for code scanning: a result for each sort of episode that was not got over, and for each crash. They
//! have no place in a source file, since the program is only seen from outside.

use super::{Report, plain};
use crate::error::{Context, Result};
use serde_json::json;

/// The whole report.
pub fn render(report: &Report) -> Result<String> {
    let pool = report.pool;
    let groups = pool.next.iter().map(|group| {
        let failed = group.outcome.starts_with("failed");
        let text = format!("{} x {}: {}", group.count, group.outcome, group.advice);
        json!({
            "ruleId": format!("{}/{}", group.call, group.error),
            "level": if failed { "error" } else { "note" },
            "message": {"text": plain(&text)},
            "locations": [{"logicalLocations": [{
                "name": group.call, "kind": "function",
                "fullyQualifiedName": plain(group.example.as_deref().unwrap_or(&group.call)),
            }]}],
        })
    });
    let crashes = pool.crashes.iter().map(|(session, crash)| {
        json!({
            "ruleId": "crash",
            "level": "error",
            "message": {"text": plain(&format!("crash of {} in {session}", crash.words()))},
            "locations": [{"logicalLocations": [{"name": crash.process.as_deref().unwrap_or("?"), "kind": "module"}]}],
        })
    });
    let notes = pool.trouble.iter().map(|trouble| json!({"level": "warning", "message": {"text": plain(trouble)}}));
    let value = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "chaos-exec", "version": env!("CARGO_PKG_VERSION"),
            }},
            // What makes the verdict doubtful is said of the tool's own work.
            "invocations": [{
                "executionSuccessful": pool.damaged.is_none(),
                "toolExecutionNotifications": notes.collect::<Vec<_>>(),
            }],
            "results": groups.chain(crashes).collect::<Vec<_>>(),
        }],
    });
    serde_json::to_string_pretty(&value).map(|text| text + "\n").cannot("write the report")
}

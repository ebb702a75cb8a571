//! What the page tells of times: of runs, of calls, of injected waits.

use super::{markdown, plain};
use crate::gate::duration;
use crate::latency;
use crate::pool::Pool;
use maud::{Markup, html};

/// What only several runs tell: how long they took, against controls, and how often the calls fail anyway.
pub fn compared(pool: &Pool) -> Markup {
    const OF_SEVERAL: [&str; 4] =
        ["Time of a run", "Time of a control", "Slowdown against controls", "Failure rate without us"];
    let rows: Vec<_> = markdown::lines(pool).into_iter().filter(|(name, _)| OF_SEVERAL.contains(name)).collect();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Runs and controls" }
                table { tbody { @for (name, value) in &rows { tr { td { (name) } td { (value) } } } } }
            }
        }
    }
}

/// How long calls took, under faults and in controls.
pub fn latencies(pool: &Pool) -> Markup {
    let rows = latency::rows(pool);
    html! {
        @if !rows.is_empty() || latency::untimed(pool).is_some() {
            section {
                h2 { "Call latency" }
                p.faint { "Calls that the rules match, hit or not." }
                table {
                    thead { tr { th { "call" } th {} @for name in ["calls", "mean", "P50", "P95", "P99", "longest"] { th.n { (name) } } } }
                    tbody {
                        @for row in &rows {
                            @for (which, times) in [("under faults", row.runs_ns), ("in controls", row.controls_ns)] {
                                @if let Some(times) = times {
                                    tr {
                                        td { (row.call) } td { (which) } td.n { (times.n) }
                                        @for time in [times.mean, times.p50, times.p95, times.p99, times.max] { td.n { (duration(time)) } }
                                    }
                                }
                            }
                        }
                    }
                }
                @if let Some(untimed) = latency::untimed(pool) { p.doubt { (untimed) } }
            }
        }
    }
}

/// How long injected waits took.
pub fn waits(pool: &Pool) -> Markup {
    html! {
        @let waits = || pool.rules.iter().filter_map(|rule| Some((rule, rule.waited_ns.spread()?)));
        @if waits().next().is_some() {
            h3 { "How long injected waits took their callers" }
            table {
                thead { tr { th { "rule" } @for name in ["waits", "mean", "P50", "P95", "P99", "longest"] { th.n { (name) } } } }
                tbody {
                    @for (rule, times) in waits() {
                        tr {
                            td { (plain(&rule.name)) } td.n { (times.n) }
                            @for time in [times.mean, times.p50, times.p95, times.p99, times.max] { td.n { (duration(time)) } }
                        }
                    }
                }
            }
        }
    }
}

//! `chaos-exec check`: what a fault table will do, in plain words, from its compiled form - so defaults are spelt out.

use crate::cli::{CheckArgs, FaultArgs};
use crate::console::{Console, Level};
use crate::error::{Context, Result};
use crate::options::table_of;
use crate::verify::refuse_bad_patterns;
use chaos_table::calls::{CALLS, Call, FaultKind};
use chaos_table::compile::{Context as Place, compile};
use chaos_table::errno::{eai_name, errno_name, signal_name};
use chaos_table::rule::{
    ALWAYS, Delay, Except, Matcher, Plan, Rule, Span, arm, change, clocks, exhaust, flag, matcher, per, shape,
};
use humantime::format_duration;
use std::io::Write;
use std::time::Duration;

/// Checks tables and says what they will do.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<()> {
    let faults = FaultArgs { tables: args.files.clone(), faults: args.faults.clone(), ..FaultArgs::default() };
    let table = table_of(&faults)?;
    let work_dir = std::env::current_dir().cannot("find the working directory")?;
    let compiled = compile(&table, &Place { work_dir: &work_dir, seed: table.seed.unwrap_or(0) })?;
    let console = Console::new(Level::Normal);
    for warning in &compiled.warnings {
        console.warning(warning);
    }
    refuse_bad_patterns(&table.checks)?;
    let text = if args.json { table.to_json() } else { in_words(&compiled.plan, table.seed) };
    let checks = table.checks.iter().filter(|_| !args.json).map(|check| format!("\nchecked when it is over: {check}"));
    let text = text + &checks.collect::<String>();
    writeln!(out, "{text}").cannot("write to stdout")
}

/// The whole table: one line for the whole, one for each rule.
#[must_use]
pub fn in_words(plan: &Plan, seed: Option<u64>) -> String {
    let mut lines = vec![head(plan, seed)];
    if plan.rules.is_empty() {
        lines.push("no rules: nothing will be injected".into());
    }
    lines.extend(plan.rules.iter().enumerate().map(|(index, rule)| rule_in_words(plan, index, rule)));
    lines.join("\n")
}

fn head(plan: &Plan, seed: Option<u64>) -> String {
    let header = &plan.header;
    let seed = seed.map_or("a random seed".into(), |seed| format!("seed {seed}"));
    let start = match header.arm {
        arm::EXEC => "from the first instruction of each program".to_owned(),
        arm::AFTER => format!("from {} after the start", time(header.arm_ns)),
        arm::PATH => format!("once the tree opens {}", patterns(plan, header.arm_paths).join(" or ")),
        arm::LISTEN => format!("once the tree listens on port {}", range(header.arm_port_first, header.arm_port_last)),
        arm::CTL => "once `chaos-exec ctl arm` says so".to_owned(),
        _ => "from main on".to_owned(),
    };
    let mut line = format!("{seed}, {start}");
    if header.until_ns != u64::MAX {
        line += &format!(
            ", until {} after {}",
            time(header.until_ns),
            if header.armed == 0 { "that" } else { "the start" }
        );
    }
    if header.max_faults != u64::MAX {
        line += &format!(", at most {} faults", header.max_faults);
    }
    if header.enabled == 0 {
        line += ", DISABLED: nothing will be injected";
    }
    line
}

fn rule_in_words(plan: &Plan, index: usize, rule: &Rule) -> String {
    let bit = 1u64 << index;
    let calls: Vec<&str> =
        CALLS.iter().filter(|call| plan.header.planned[call.op as usize] & bit != 0).map(Call::name).collect();
    let place = if rule.has(flag::LAUNCHER) { "by the launcher".into() } else { format!("at {}", calls.join(", ")) };
    let mut line = format!("{}: {} {place}", plan.rule_name(index), what(rule));
    let only = |masks: &[u64]| masks.iter().any(|mask| mask & bit != 0);
    match (only(&plan.header.only_files), only(&plan.header.only_sockets)) {
        (true, false) => line += " on files",
        (false, true) => line += " on sockets",
        _ => {}
    }
    let selectors =
        [(rule.paths, "path"), (rule.peers, "to"), (rule.processes, "in process"), (rule.callers, "called by")];
    for selector in selectors.into_iter().filter_map(|(span, before)| selector_in_words(plan, span, before)) {
        line += &format!(", {selector}");
    }
    if rule.has(flag::FD) {
        line += &format!(", fd {}", range(rule.fd_first, rule.fd_last));
    }
    if rule.has(flag::SIZE) {
        line += &format!(", of {} bytes", range(rule.size_first, rule.size_last));
    }
    if rule.has(flag::EXCEPT) {
        line += &spared(plan, &rule.except);
    }
    line += &when(rule);
    if rule.has(flag::PROTECTED) {
        line += "; system files and runtimes are protected";
    }
    line
}

fn selector_in_words(plan: &Plan, span: Span, before: &str) -> Option<String> {
    let patterns = patterns(plan, span);
    (!patterns.is_empty()).then(|| format!("{before} {}", patterns.join(" or ")))
}

/// A range of numbers, the end left out where it is as large as a number can be.
fn range<N: Copy + PartialEq + std::fmt::Display + Into<i128>>(first: N, last: N) -> String {
    match last {
        last if last == first => first.to_string(),
        last if [i128::from(i32::MAX), i128::from(u64::MAX)].contains(&last.into()) => format!("{first} and more"),
        last => format!("{first} to {last}"),
    }
}

/// What `not` leaves alone; what it says of calls and direction has narrowed the calls.
fn spared(plan: &Plan, except: &Except) -> String {
    let spans =
        [(except.paths, "path"), (except.peers, "to"), (except.processes, "in process"), (except.callers, "called by")];
    let mut all: Vec<String> =
        spans.into_iter().filter_map(|(span, before)| selector_in_words(plan, span, before)).collect();
    if except.fd_first <= except.fd_last {
        all.push(format!("fd {}", range(except.fd_first, except.fd_last)));
    }
    if except.size_first <= except.size_last {
        all.push(format!("of {} bytes", range(except.size_first, except.size_last)));
    }
    if all.is_empty() { String::new() } else { format!(", but not {}", all.join(", not ")) }
}

fn what(rule: &Rule) -> String {
    let hang =
        |delay: &Delay| if delay.base_ns == 0 { "without end".into() } else { format!("for {}", time(delay.base_ns)) };
    match FaultKind::from_number(rule.fault) {
        Some(FaultKind::Error) => format!("fail with {}", errnos(rule)),
        Some(FaultKind::Latency) => match rule.delay.shape {
            shape::UNIFORM => format!("delay by {} +/- {}", time(rule.delay.base_ns), time(rule.delay.spread_ns)),
            shape::NORMAL => {
                format!("delay by {}, normal with sigma {}", time(rule.delay.base_ns), time(rule.delay.spread_ns))
            }
            shape::PARETO => {
                let (base, spread) = (time(rule.delay.base_ns), time(rule.delay.spread_ns));
                format!("delay by {base} and a long tail of {spread} on average")
            }
            _ => format!("delay by {}", time(rule.delay.base_ns)),
        },
        Some(FaultKind::Hang) => format!("block {}", hang(&rule.delay)),
        Some(FaultKind::Short) => format!("shorten to {}% of the bytes", f64::from(rule.keep_ppm) / 10_000.0),
        Some(FaultKind::Corrupt) => corruption(rule),
        Some(FaultKind::Drop) => "say success and do nothing".into(),
        Some(FaultKind::Torn) => {
            let errno = if rule.errno_count == 0 { "EIO".into() } else { errnos(rule) };
            let then = if rule.has(flag::KILLS) { "kill the process".into() } else { format!("fail with {errno}") };
            format!("write {}% of the bytes, then {then}", f64::from(rule.keep_ppm) / 10_000.0)
        }
        Some(FaultKind::Return) => format!("return {} without making the call", rule.value),
        Some(FaultKind::Refuse) => "refuse the connection (ECONNREFUSED)".into(),
        Some(FaultKind::Disconnect) => {
            let how = if rule.has(flag::SILENT) { "end the connection silently" } else { "reset the connection" };
            if rule.limit == 0 { how.into() } else { format!("{how} once {} bytes have moved over it", rule.limit) }
        }
        Some(FaultKind::Unreachable) => {
            let errno = if rule.code == 0 {
                "ETIMEDOUT (datagrams: EHOSTUNREACH)"
            } else {
                errno_name(rule.code).unwrap_or("?")
            };
            format!("reach nobody: {errno} after {}", time(rule.delay.base_ns))
        }
        Some(FaultKind::Throttle) => format!("move {} bytes a second", rule.limit),
        Some(FaultKind::Dns) if rule.code == 0 => format!("block the look-up {}", hang(&rule.delay)),
        Some(FaultKind::Dns) => format!("answer {}", eai_name(rule.code).unwrap_or("an error")),
        Some(FaultKind::Exhaust) if rule.what == exhaust::MEMORY => {
            format!("run out of memory at {} bytes", rule.limit)
        }
        Some(FaultKind::Exhaust) if rule.what == exhaust::DISK => format!("run out of disk at {} bytes", rule.limit),
        Some(FaultKind::Exhaust) => {
            let what = match rule.what {
                exhaust::PROCESSES => "processes",
                exhaust::THREADS => "threads",
                _ => "descriptors",
            };
            format!("run out of {what} at {}", rule.limit)
        }
        Some(FaultKind::Signal) => format!("send {}", signal_name(rule.code).unwrap_or("a signal")),
        Some(FaultKind::Exit) => format!("exit with {}", rule.code),
        Some(FaultKind::Freeze) => format!("stand still for {}", time(rule.delay.base_ns)),
        Some(FaultKind::Clock) => clock(rule),
        None => "nothing".into(),
    }
}

fn clock(rule: &Rule) -> String {
    let signed = |ns: i64| format!("{}{}", if ns < 0 { '-' } else { '+' }, time(ns.unsigned_abs()));
    let which = if rule.clocks & clocks::MONOTONIC == 0 { "the wall clock" } else { "the wall and monotonic clocks" };
    let which = if rule.clocks == clocks::MONOTONIC { "the monotonic clock" } else { which };
    let mut parts = Vec::new();
    if rule.offset_ns != 0 {
        parts.push(format!("off by {}", signed(rule.offset_ns)));
    }
    match (rule.jump_ns, rule.period_ns) {
        (0, _) => {}
        (jump, 0) => parts.push(format!("jumping by {}", signed(jump))),
        (jump, period) => parts.push(format!("jumping by {} for {} and back", signed(jump), time(period))),
    }
    if rule.pace_ppm != 0 {
        parts.push(format!("{} times as fast", rule.pace_ppm as f64 / 1e6));
    }
    format!("put {which} {}", parts.join(" and "))
}

fn corruption(rule: &Rule) -> String {
    let each = if rule.flip_per == 0 { String::new() } else { format!("in each {} bytes ", rule.flip_per) };
    let part = f64::from(rule.keep_ppm) / 10_000.0;
    match rule.change {
        change::ZERO => format!("zero {} bytes {each}of the data", rule.flip_bits),
        change::DUPLICATE => format!("let {part}% of the data come twice"),
        change::TRUNCATE => format!("cut off {part}% of the data"),
        _ => format!("flip {} bits {each}of the data", rule.flip_bits),
    }
}

fn errnos(rule: &Rule) -> String {
    let used = rule.errnos.get(..rule.errno_count as usize).unwrap_or(&[]);
    if used.is_empty() {
        return "one of the call's usual errnos".into();
    }
    let name = |code: i32| errno_name(code).or_else(|| eai_name(code)).map_or_else(|| code.to_string(), str::to_owned);
    used.iter().map(|weighted| name(weighted.code)).collect::<Vec<_>>().join(" or ")
}

fn patterns(plan: &Plan, span: Span) -> Vec<String> {
    let first = span.first as usize;
    let found = plan.matchers.get(first..first.saturating_add(span.count as usize)).unwrap_or(&[]);
    found.iter().map(|pattern| pattern_in_words(plan, pattern)).collect()
}

fn pattern_in_words(plan: &Plan, pattern: &Matcher) -> String {
    let text = plan.text_of(pattern.text);
    let ports = match (pattern.port_first, pattern.port_last) {
        (0, u16::MAX) => String::new(),
        (first, last) if first == last => format!(":{first}"),
        (first, last) => format!(":{first}-{last}"),
    };
    match (pattern.kind, pattern.family) {
        (matcher::CIDR, 4) => {
            let address = pattern.address.first_chunk::<4>().map(|bytes| std::net::Ipv4Addr::from(*bytes));
            format!("{}/{}{ports}", address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED), pattern.prefix)
        }
        (matcher::CIDR, 6) => format!("[{}/{}]{ports}", std::net::Ipv6Addr::from(pattern.address), pattern.prefix),
        (matcher::CIDR, _) => format!("any address{ports}"),
        (matcher::HOST, _) => format!("{text}{ports}"),
        (matcher::UNIX, _) => format!("unix:{text}"),
        _ => text.to_owned(),
    }
}

fn when(rule: &Rule) -> String {
    if rule.has(flag::LAUNCHER) {
        return launcher_when(rule);
    }
    if rule.fault == FaultKind::Clock as u8 {
        return clock_when(rule);
    }
    let mut line = match rule.rate {
        ALWAYS => String::new(),
        // 2^64 stands for 100 %.
        rate => format!(", {:.4}% of the matches", rate as f64 / 18_446_744_073_709_551_616.0 * 100.0)
            .replace(".0000%", "%"),
    };
    if rule.after > 0 {
        line += &format!(", after the first {}", rule.after);
    }
    if rule.nth_first > 0 {
        line += &match (rule.nth_last, rule.nth_step) {
            (last, _) if last == rule.nth_first => format!(", match {last}"),
            (u64::MAX, step) => format!(", match {} and every {step} after", rule.nth_first),
            (last, _) => format!(", matches {} to {last}", rule.nth_first),
        };
    }
    if rule.every > 0 {
        line += &format!(", every {} matches", rule.every);
    }
    if rule.times > 0 {
        line += &format!(", {} times", rule.times);
    }
    if rule.from_ns > 0 {
        line += &format!(", from {}", time(rule.from_ns));
    }
    if rule.until_ns != u64::MAX {
        line += &format!(", until {}", time(rule.until_ns));
    }
    let counted = rule.has(flag::COUNTS) || rule.times > 0;
    match rule.per {
        per::THREAD if counted => line += ", counted per thread",
        per::TREE if counted => line += ", counted over the whole tree",
        _ if counted => line += ", counted per process",
        _ => {}
    }
    if line.is_empty() { ", every match".into() } else { line }
}

/// When the launcher acts.
fn launcher_when(rule: &Rule) -> String {
    let whom = match rule.has(flag::PROCESS) {
        true => "",
        false if rule.fault == FaultKind::Freeze as u8 => ", to the whole tree",
        false => ", to the first process",
    };
    let mut line = format!("{whom}, from {}", time(rule.from_ns));
    if rule.period_ns > 0 {
        line += &format!(", every {}", time(rule.period_ns));
    }
    line += &match (rule.times, rule.period_ns) {
        (0 | 1, 0) => ", once".to_owned(),
        (0, _) => String::new(),
        (times, _) => format!(", {times} times"),
    };
    if rule.until_ns != u64::MAX {
        line += &format!(", until {}", time(rule.until_ns));
    }
    line
}

/// When a clock is off.
fn clock_when(rule: &Rule) -> String {
    let mut line = match (rule.period_ns, rule.rate) {
        (0, _) => String::new(),
        (_, ALWAYS) => ", every second time".into(),
        (_, rate) => format!(", {:.4}% of the times", rate as f64 / 18_446_744_073_709_551_616.0 * 100.0),
    };
    line += &format!(", from {}", time(rule.from_ns));
    if rule.until_ns != u64::MAX {
        line += &format!(", until {}", time(rule.until_ns));
    }
    line
}

fn time(ns: u64) -> String {
    format_duration(Duration::from_nanos(ns)).to_string()
}

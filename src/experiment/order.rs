//! In which order targets start. Pure.

use super::file::{Restart, Strings, Target};
use crate::error::{Failure, Result};
use chaos_table::checks::CheckKind;
use chaos_table::nearest;

/// Processes of all targets together.
const MOST: u32 = 200;

/// The targets so that each comes after those that it waits for; every wait is written out in `after`.
///
/// A task that names none waits for all services, unless one of them waits for the task.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn in_order(targets: Vec<Target>) -> Result<Vec<Target>> {
    if targets.is_empty() {
        return Err(Failure::new("the experiment has no targets").help("targets: [{name: app, command: [./app]}]"));
    }
    let mut targets = targets;
    name_the_only_one(&mut targets);
    targets.iter().try_for_each(|target| check(target, &targets))?;
    let total: u32 = targets.iter().map(|target| target.instances.unwrap_or(1)).sum();
    if total > MOST {
        return Err(Failure::new(format!("the instances of all targets are {total} processes")).help("200 at most"));
    }
    for at in 0..targets.len() {
        if !targets[at].service && targets[at].after.all.is_empty() {
            let own = targets[at].name.clone();
            let services = targets.iter().filter(|other| other.service && !waits_for(&targets, &other.name, &own));
            targets[at].after = Strings { all: services.map(|other| other.name.clone()).collect(), bare: false };
        }
    }
    let mut placed: Vec<Target> = Vec::new();
    while !targets.is_empty() {
        let is_placed = |name: &String| placed.iter().any(|target| target.name == *name);
        let Some(next) = targets.iter().position(|target| target.after.all.iter().all(is_placed)) else {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(Failure::new(format!("the start order goes in a circle: {}", circle(&targets, names[0])))
                .help("take one `after` out"));
        };
        placed.push(targets.remove(next));
    }
    Ok(placed)
}

fn name_the_only_one(targets: &mut [Target]) {
    if let [only] = targets
        && only.name.is_empty()
    {
        only.name = "target".into();
    }
}

fn check(target: &Target, all: &[Target]) -> Result<()> {
    let name = &target.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let which =
            if name.is_empty() { "a target has no name".into() } else { format!("'{name}' is no name for a target") };
        return Err(Failure::new(which).help("letters, digits, `_` and `-`"));
    }
    let wrong = |why: String, help: &str| Err(Failure::new(format!("target {name}: {why}")).help(help));
    if all.iter().filter(|other| other.name == *name).count() > 1 {
        return wrong("there are two of this name".into(), "give each a name of its own, or use `instances`");
    }
    if target.command.all.first().is_none_or(|program| program.trim().is_empty()) {
        return wrong("it has no command".into(), "command: [./app, --fast], or a text for sh -c");
    }
    for other in &target.after.all {
        if other == name {
            return wrong("it waits for itself".into(), "take it out of its `after`");
        }
        if !all.iter().any(|target| target.name == *other) {
            let near = nearest(other, all.iter().map(|target| target.name.as_str()));
            let help = near
                .map_or_else(|| "name a target of this experiment".into(), |near| format!("did you mean `{near}`?"));
            return wrong(format!("`after` names {other}, which is no target"), &help);
        }
    }
    if target.restart == Restart::Always && !target.service {
        return wrong("a task that always starts again never ends".into(), "restart: on-failure, or service: true");
    }
    if target.restart == Restart::Never && (target.restarts.is_some() || target.restart_delay.is_some()) {
        return wrong("`restarts` and `restart_delay` are for one that restarts".into(), "restart: on-failure");
    }
    if target.instances == Some(0) {
        return wrong("`instances: 0` starts nothing".into(), "leave the target out");
    }
    if target.ready.is_some() && !target.service {
        return wrong("`ready` is for a service".into(), "service: true, or leave it out");
    }
    if let Some(ready) = &target.ready
        && matches!(ready.check, Some(CheckKind::Exit | CheckKind::Control | CheckKind::Calls))
    {
        return wrong(format!("`ready` cannot be `{ready}`"), "tcp, http, stdout, stderr, file, json, glob or command");
    }
    Ok(())
}

/// Whether a target waits for another, be it by way of others.
fn waits_for(targets: &[Target], name: &str, other: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    let mut left = vec![name];
    while let Some(next) = left.pop() {
        let after = targets.iter().filter(|target| target.name == next).flat_map(|target| &target.after.all);
        for waited in after.map(String::as_str) {
            if waited == other {
                return true;
            }
            if !seen.contains(&waited) {
                seen.push(waited);
                left.push(waited);
            }
        }
    }
    false
}

/// A circle that the target leads into, in words.
fn circle(targets: &[Target], from: &str) -> String {
    let mut path = vec![from];
    while let Some(target) = targets.iter().find(|target| Some(&target.name.as_str()) == path.last()) {
        let open = |name: &&String| targets.iter().any(|target| target.name == **name);
        let Some(next) = target.after.all.iter().find(open) else { break };
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            return path[start..].iter().chain([&next.as_str()]).copied().collect::<Vec<_>>().join(" after ");
        }
        path.push(next);
    }
    path.join(" after ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, service: bool, after: &[&str]) -> Target {
        let words = |words: &[&str]| Strings { all: words.iter().map(ToString::to_string).collect(), bare: false };
        Target { name: name.into(), service, after: words(after), command: words(&["true"]), ..Target::default() }
    }

    fn names(targets: Vec<Target>) -> String {
        let placed = in_order(targets).unwrap_or_else(|error| panic!("{}", error.message));
        placed.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_comes_after_what_it_waits_for() {
        let all = vec![
            target("client", false, &[]),
            target("web", true, &["db"]),
            target("db", true, &["init"]),
            target("init", false, &[]),
        ];
        assert_eq!(names(all), "init db web client");
        assert_eq!(names(vec![target("", false, &[])]), "target");
        assert_eq!(names(vec![target("b", false, &["a"]), target("a", false, &[])]), "a b");
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let refused = |targets: Vec<Target>| in_order(targets).unwrap_err().message;
        assert!(refused(vec![]).contains("no targets"));
        let circle = refused(vec![target("a", true, &["b"]), target("b", true, &["c"]), target("c", true, &["a"])]);
        assert!(circle.contains("a after b after c after a"), "{circle}");
        let tail = refused(vec![target("x", true, &["a"]), target("a", true, &["b"]), target("b", true, &["a"])]);
        assert!(tail.contains("a after b after a") && !tail.contains("x after"), "{tail}");
        assert!(refused(vec![target("a", true, &["a"])]).contains("waits for itself"));
        assert!(refused(vec![target("a", true, &["bb"]), target("b", true, &[])]).contains("no target"));
        assert!(refused(vec![target("a", true, &[]), target("a", true, &[])]).contains("two of this name"));
        assert!(refused(vec![target("a b", true, &[])]).contains("no name for a target"));
        assert!(refused(vec![Target { command: Strings::default(), ..target("a", true, &[]) }]).contains("no command"));
        assert!(refused(vec![Target { instances: Some(0), ..target("a", true, &[]) }]).contains("starts nothing"));
        assert!(refused(vec![Target { instances: Some(500), ..target("a", true, &[]) }]).contains("500 processes"));
        assert!(refused(vec![Target { restart: Restart::Always, ..target("a", false, &[]) }]).contains("never ends"));
        assert!(
            refused(vec![Target { restarts: Some(3), ..target("a", true, &[]) }]).contains("for one that restarts")
        );
    }
}

//! A scenario that is changed for a run of it: on the targets of a user's own file, with checks beside its own, or one
//! of its faults alone. What comes out is an experiment file again.

use crate::error::{Failure, Result};
use crate::experiment::Text;
use chaos_table::files::parse_as;
use chaos_table::nearest;
use serde_json::{Map, Value, json};

/// Keys that a scenario says and a file of targets does not: when things fail, and how often it is tried.
const OF_THE_SCENARIO: [&str; 2] = ["table", "phases"];

/// What is changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// The file with the targets.
    pub on: Option<&'a Text>,
    /// Checks beside those of the scenario.
    pub checks: &'a [String],
    /// The one fault that is kept.
    pub only: Option<&'a str>,
}

impl Changes<'_> {
    /// The scenario with the changes.
    ///
    /// # Errors
    /// When the file does not fit, or there is no such fault.
    pub fn apply(&self, scenario: Text) -> Result<Text> {
        if self.on.is_none() && self.checks.is_empty() && self.only.is_none() {
            // As it stands: line numbers, and what each range draws, stay those of the file that `show` prints.
            return Ok(scenario);
        }
        let mut whole = read(&scenario)?;
        if let Some(only) = self.only {
            keep_one(&mut whole, only)?;
        }
        let path = match self.on {
            Some(file) => {
                onto(&mut whole, read(file)?).map_err(|failure| Failure {
                    message: format!("{}: {}", file.path.display(), failure.message),
                    ..failure
                })?;
                file.path.clone()
            }
            None => scenario.path,
        };
        if !self.checks.is_empty() {
            let mut all = three_lists(whole.remove("checks"));
            push(&mut all, "after", self.checks.iter().cloned().map(Value::String));
            whole.insert("checks".into(), Value::Object(all));
        }
        let text = Value::Object(whole).to_string();
        // The name says how the text is read.
        Ok(Text { path: path.with_extension("json"), text })
    }
}

/// The names of the faults of a scenario.
///
/// # Errors
/// When it is no map.
pub fn faults_of(scenario: &Text) -> Result<Vec<String>> {
    let whole = read(scenario)?;
    Ok(faults(&whole).iter().filter_map(name_of).map(str::to_owned).collect())
}

fn read(text: &Text) -> Result<Map<String, Value>> {
    match parse_as(&text.text, &text.path)? {
        Value::Object(whole) => Ok(whole),
        _ => Err(Failure::new(format!("{}: this is no experiment", text.path.display()))
            .help("a map such as {targets: [{name: app, command: ./app}]}")),
    }
}

fn faults(whole: &Map<String, Value>) -> &[Value] {
    whole.get("table").and_then(|table| table.get("faults")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name_of(fault: &Value) -> Option<&str> {
    fault.get("name").and_then(Value::as_str)
}

fn keep_one(whole: &mut Map<String, Value>, only: &str) -> Result<()> {
    let id = whole.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(one) = faults(whole).iter().find(|fault| name_of(fault) == Some(only)).cloned() else {
        let names: Vec<&str> = faults(whole).iter().filter_map(name_of).collect();
        let near = nearest(only, names.iter().copied()).map(|near| format!("did you mean {id}.{near}?"));
        return Err(Failure::new(format!("the scenario {id} has no fault '{only}'"))
            .help(near.unwrap_or_else(|| format!("it has {}", names.join(", ")))));
    };
    whole.insert("id".into(), json!(format!("{id}.{only}")));
    if let Some(table) = whole.get_mut("table") {
        table["faults"] = json!([one]);
    }
    Ok(())
}

/// Puts the targets of a file, and what else it says, in the place of the scenario's own.
fn onto(scenario: &mut Map<String, Value>, file: Map<String, Value>) -> Result<()> {
    if let Some(odd) = OF_THE_SCENARIO.iter().find(|key| file.contains_key(**key)) {
        return Err(Failure::new(format!("`{odd}` is given, and the scenario says what fails and when"))
            .help("leave it out, or run the file as it is with `experiment run`"));
    }
    let Some(Value::Array(mut targets)) = file.get("targets").cloned() else {
        return Err(Failure::new("it has no targets").help("targets: [{name: app, command: ./app}]"));
    };
    let Some(Value::Array(own)) = scenario.remove("targets") else { return Err(Failure::new("no targets")) };
    for target in own {
        if target.get("command").and_then(Value::as_str) == Some("${command}") {
            // How the scenario starts a program again holds for each that does not say it itself.
            let said = target.as_object().cloned().unwrap_or_default();
            let policy = said.into_iter().filter(|(key, _)| key.starts_with("restart"));
            let policy: Map<String, Value> = policy.collect();
            for target in targets.iter_mut().filter_map(Value::as_object_mut) {
                if !target.contains_key("restart") {
                    target.extend(policy.clone());
                }
            }
        } else {
            targets.push(target);
        }
    }
    let mut checks = three_lists(scenario.remove("checks"));
    for (when, more) in three_lists(file.get("checks").cloned()) {
        let more = if let Value::Array(more) = more { more } else { vec![more] };
        push(&mut checks, &when, more.into_iter());
    }
    scenario.remove("work");
    let own = |key: &str| ["targets", "checks", "id", "name", "description", "runs", "gate"].contains(&key);
    scenario.extend(file.into_iter().filter(|(key, _)| !own(key)));
    scenario.insert("targets".into(), Value::Array(targets));
    scenario.insert("checks".into(), Value::Object(checks));
    Ok(())
}

/// Checks as before, during and after.
fn three_lists(checks: Option<Value>) -> Map<String, Value> {
    match checks {
        Some(Value::Object(lists)) => lists,
        Some(list) => [("after".to_owned(), list)].into_iter().collect(),
        None => Map::new(),
    }
}

fn push(lists: &mut Map<String, Value>, when: &str, more: impl Iterator<Item = Value>) {
    if let Value::Array(list) = lists.entry(when).or_insert_with(|| json!([])) {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, text: &str) -> Text {
        Text { path: path.into(), text: text.into() }
    }

    const SCENARIO: &str = "id: s\nruns: 3\ntargets:\n- {name: load, command: [load], service: true}\n- {name: target, command: \"${command}\", restart: on-failure, restarts: 4}\nwork: .\ntable: {faults: [{name: a, fault: refuse}, {name: b, fault: dns}]}\nchecks: [exit codes=0]\n";

    fn changed(changes: &Changes) -> Result<Value> {
        let text = changes.apply(text("s.yaml", SCENARIO))?;
        Ok(serde_json::from_str(&text.text).unwrap())
    }

    #[test]
    fn the_targets_of_a_file_take_the_place_of_the_command() {
        let file = text(
            "dir/shop.yaml",
            "id: shop\ndeadline: 9s\ntargets: [{name: db, command: db, restart: always}, {name: app, command: app}]\nchecks: {before: [tcp to=:1], after: [stdout matches=x]}\n",
        );
        let changes = Changes { on: Some(&file), checks: &["json path=a".to_owned()], only: None };
        let applied = changes.apply(text("s.yaml", SCENARIO)).unwrap();
        assert_eq!(applied.path, std::path::Path::new("dir/shop.json"));
        let made: Value = serde_json::from_str(&applied.text).unwrap();
        assert_eq!(made["id"], "s");
        assert_eq!((&made["runs"], &made["deadline"], &made["work"]), (&json!(3), &json!("9s"), &Value::Null));
        assert_eq!(made["targets"][0], json!({"name": "db", "command": "db", "restart": "always"}));
        assert_eq!(
            made["targets"][1],
            json!({"name": "app", "command": "app", "restart": "on-failure", "restarts": 4})
        );
        assert_eq!(made["targets"][2]["name"], "load");
        assert_eq!(made["checks"]["before"], json!(["tcp to=:1"]));
        assert_eq!(made["checks"]["after"], json!(["exit codes=0", "stdout matches=x", "json path=a"]));
    }

    #[test]
    fn one_fault_alone_has_a_name_of_its_own() {
        let made = changed(&Changes { only: Some("b"), ..Changes::default() }).unwrap();
        assert_eq!((&made["id"], &made["table"]["faults"]), (&json!("s.b"), &json!([{"name": "b", "fault": "dns"}])));
        let wrong = changed(&Changes { only: Some("bb"), ..Changes::default() }).unwrap_err();
        assert!(wrong.message.contains("no fault 'bb'") && wrong.help.is_some(), "{}", wrong.message);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (file, message) in [
            ("targets: [{command: a}]\ntable: {faults: [dns]}\n", "f.yaml: `table` is given"),
            ("targets: [{command: a}]\nphases: []\n", "f.yaml: `phases` is given"),
            ("id: a\n", "f.yaml: it has no targets"),
            ("[1, 2]\n", "this is no experiment"),
        ] {
            let file = text("f.yaml", file);
            let wrong = changed(&Changes { on: Some(&file), ..Changes::default() }).unwrap_err();
            assert!(wrong.message.contains(message) && wrong.help.is_some(), "{}", wrong.message);
        }
    }
}

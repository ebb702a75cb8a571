//! The names of rules: given, or by fault and number.

use crate::error::{Problem, TableError, quoted};
use crate::fault::Fault;
use std::collections::BTreeSet;

/// A unique name for each fault.
pub(super) fn of(faults: &[Fault]) -> Result<Vec<String>, TableError> {
    // Not hashed: std would draw random numbers by `getrandom`, weakly, and make the shim's own export of it weak.
    let mut taken = BTreeSet::new();
    for fault in faults {
        let Some(name) = &fault.name else { continue };
        if !taken.insert(name.0.clone()) {
            let problem = Problem::new(format!("two rules are called {}", quoted(&name.0)));
            return Err(problem.help("give each rule its own `name`").at(fault.origin.0.clone()));
        }
    }
    let mut names: Vec<String> = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let name = match &fault.name {
            Some(name) => name.0.clone(),
            None => {
                let kind = fault.fault.map_or("fault", |kind| kind.name());
                let earlier =
                    faults[..index].iter().filter(|other| other.fault == fault.fault && other.name.is_none()).count();
                let mut number = earlier + 1;
                // A user may have called a rule "error-2".
                while !taken.insert(format!("{kind}-{number}")) {
                    number += 1;
                }
                format!("{kind}-{number}")
            }
        };
        names.push(name);
    }
    Ok(names)
}

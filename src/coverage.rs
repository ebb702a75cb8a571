//! How far a run was covered: which engine had each process, and what got past both.

use chaos_table::record::escaped;
use chaos_table::session::engine;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Reasons that are told apart.
const REASONS: usize = 100;

/// Processes by what became of them; one that execs is still one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Under the shim.
    pub preload: u64,
    /// Under the supervisor.
    pub seccomp: u64,
    /// Under the supervisor, and under the shim for what is no system call.
    pub both: u64,
    /// Those that escaped, by the reason.
    pub escaped: BTreeMap<String, u64>,
    /// How often something of a process that is covered otherwise got past: io_uring.
    pub parts: BTreeMap<String, u64>,
}

impl Coverage {
    /// Processes in all.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.preload + self.seccomp + self.both + self.escaped.values().sum::<u64>()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Coverage) {
        self.preload += other.preload;
        self.seccomp += other.seccomp;
        self.both += other.both;
        for (sums, more) in [(&mut self.escaped, &other.escaped), (&mut self.parts, &other.parts)] {
            more.iter().for_each(|(reason, count)| count_reason(sums, reason, *count));
        }
    }

    /// In one line: "3 processes: 2 under the shim, 1 escaped (setuid or setgid program)".
    #[must_use]
    pub fn words(&self) -> String {
        let all = self.processes();
        let engines = [
            (self.preload, "under the shim"),
            (self.seccomp, "under the supervisor"),
            (self.both, "under the supervisor and the shim"),
        ];
        let escaped = self.escaped.iter().map(|(reason, count)| (*count, format!("escaped ({reason})")));
        let parts: Vec<String> = engines
            .into_iter()
            .map(|(count, what)| (count, what.to_owned()))
            .chain(escaped)
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let processes = if all == 1 { "1 process".to_owned() } else { format!("{all} processes") };
        match parts.is_empty() {
            true => "no process came under the table".into(),
            false => format!("{processes}: {}", parts.join(", ")),
        }
    }

    /// What that means for what was counted, where it means something.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.escaped.is_empty() {
            lines.push("what escaped processes call is neither hit nor counted".to_owned());
        }
        lines.extend(self.parts.iter().map(|(what, count)| format!("{what}, in {count} cases")));
        lines
    }
}

fn count_reason(sums: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    let known = sums.len() < REASONS || sums.contains_key(reason);
    *sums.entry(if known { reason } else { "other reasons" }.to_owned()).or_default() += count;
}

/// Puts it together as the records come by.
#[derive(Clone, Debug, Default)]
pub struct Census {
    done: Coverage,
    living: HashMap<u32, Living>,
}

#[derive(Clone, Debug)]
struct Living {
    image: u32,
    engine: u32,
    escaped: Option<String>,
}

impl Census {
    /// A process came under an engine (one of [`chaos_table::session::engine`]): as a new one, or as the next image of the
    /// one with this pid, whose number its `parent` then is, or the same image under both.
    pub fn came(&mut self, pid: u32, image: u32, parent: u32, engine: u32) {
        let before = self.living.insert(pid, Living { image, engine, escaped: None });
        if let Some(other) = before.filter(|before| before.image != parent && before.image != image) {
            count(&mut self.done, other);
        }
    }

    /// Something escaped; `scope` is one of [`escaped`].
    pub fn escaped(&mut self, pid: u32, scope: i32, reason: &str) {
        match (scope, self.living.get_mut(&pid)) {
            (escaped::ITSELF, Some(process)) => process.escaped = Some(reason.to_owned()),
            (escaped::PART, _) => count_reason(&mut self.done.parts, reason, 1),
            _ => count_reason(&mut self.done.escaped, reason, 1),
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let mut coverage = self.done.clone();
        self.living.values().for_each(|process| count(&mut coverage, process.clone()));
        coverage
    }
}

fn count(coverage: &mut Coverage, process: Living) {
    match (process.escaped, process.engine) {
        (Some(reason), _) => count_reason(&mut coverage.escaped, &reason, 1),
        (None, engine::SECCOMP) => coverage.seccomp += 1,
        (None, engine::BOTH) => coverage.both += 1,
        (None, _) => coverage.preload += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_counted_once_and_its_last_state_counts() {
        let mut census = Census::default();
        census.came(10, 1, 0, engine::PRELOAD);
        // It execs, and makes two children: one leaves, one execs on and on.
        census.came(10, 2, 1, engine::PRELOAD);
        census.came(11, 3, 2, engine::PRELOAD);
        census.escaped(11, escaped::ITSELF, "static program");
        census.came(12, 4, 2, engine::PRELOAD);
        census.came(12, 5, 4, engine::SECCOMP);
        census.came(13, 7, 5, engine::SECCOMP);
        census.came(13, 7, 5, engine::BOTH);
        // A child that was never seen, and a part of one that is.
        census.escaped(10, escaped::CHILD, "setuid or setgid program");
        census.escaped(10, escaped::PART, "io_uring");
        let coverage = census.coverage();
        assert_eq!((coverage.preload, coverage.seccomp, coverage.both), (1, 1, 1));
        assert_eq!(coverage.processes(), 5);
        assert_eq!(
            coverage.words(),
            "5 processes: 1 under the shim, 1 under the supervisor, 1 under the supervisor and the shim, \
             1 escaped (setuid or setgid program), 1 escaped (static program)"
        );
        assert_eq!(coverage.caveats().len(), 2);
        // What escaped comes back when it execs a program that finds us in its environment.
        census.came(11, 6, 2, engine::PRELOAD);
        assert_eq!(census.coverage().preload, 2);
    }

    #[test]
    fn a_pid_that_comes_again_is_another_process() {
        let mut census = Census::default();
        census.came(10, 1, 0, engine::PRELOAD);
        census.came(11, 2, 1, engine::PRELOAD);
        census.came(11, 3, 1, engine::PRELOAD);
        assert_eq!(census.coverage().words(), "3 processes: 3 under the shim");
        let mut sum = Coverage::default();
        assert_eq!(sum.words(), "no process came under the table");
        sum.add(&census.coverage());
        sum.add(&census.coverage());
        assert_eq!(sum.processes(), 6);
    }
}

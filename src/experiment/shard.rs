//! A part of the runs, for one of several machines: `--shard 2/4`, or what the engine that started us says. Pure but for
//! looking at the environment.

use crate::error::{Failure, Result};
use serde::{Deserialize, Serialize};

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 1.
    pub index: u64,
    /// Of so many.
    pub of: u64,
}

/// Where an engine says which part we are: its name, the variables of index and count, and the first index (`None`: in a
/// variable of its own).
struct Engine {
    name: &'static str,
    index: &'static str,
    count: &'static str,
    first: First,
}

enum First {
    Is(u64),
    In(&'static str),
}

const ENGINES: [Engine; 6] = [
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        count: "SLURM_ARRAY_TASK_COUNT",
        first: First::In("SLURM_ARRAY_TASK_MIN"),
    },
    // Kubernetes says no count: the job's file does.
    Engine { name: "Kubernetes", index: "JOB_COMPLETION_INDEX", count: "JOB_COMPLETIONS", first: First::Is(0) },
    Engine { name: "CircleCI", index: "CIRCLE_NODE_INDEX", count: "CIRCLE_NODE_TOTAL", first: First::Is(0) },
    Engine {
        name: "Buildkite",
        index: "BUILDKITE_PARALLEL_JOB",
        count: "BUILDKITE_PARALLEL_JOB_COUNT",
        first: First::Is(0),
    },
    Engine { name: "GitLab", index: "CI_NODE_INDEX", count: "CI_NODE_TOTAL", first: First::Is(1) },
    Engine { name: "GNU parallel", index: "PARALLEL_SEQ", count: "PARALLEL_JOBS", first: First::Is(1) },
];

impl Shard {
    /// What the option says, else what the environment does, with whose word it is. `1/1` is all of it.
    ///
    /// # Errors
    /// When it is no part of anything.
    pub fn find(option: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<(Shard, String)>> {
        if let Some(text) = option {
            let wrong = || {
                Failure::new(format!("--shard: '{text}' is no part of the runs")).help("I/N, such as 2/4; 1/1 for all")
            };
            let (index, of) = text.split_once('/').ok_or_else(wrong)?;
            let number = |text: &str| text.trim().parse::<u64>().ok();
            let shard = Shard { index: number(index).ok_or_else(wrong)?, of: number(of).ok_or_else(wrong)? };
            return if shard.fits() { Ok(shard.unless_whole("--shard")) } else { Err(wrong()) };
        }
        for engine in &ENGINES {
            let Some(index) = variable(engine.index) else { continue };
            let Some(count) = variable(engine.count) else {
                if engine.name == "Kubernetes" {
                    return Err(Failure::new(format!("{} is set, and {} is not", engine.index, engine.count))
                        .help("give the container JOB_COMPLETIONS, as scripts/ci/kubernetes.yaml does, or --shard I/N; 1/1 for all"));
                }
                continue;
            };
            let wrong = |name: &str, text: &str| {
                Failure::new(format!("{name}={text} is no number of a {} job", engine.name))
                    .help("--shard I/N says it; 1/1 for all")
            };
            let number = |name: &str, text: &str| text.trim().parse::<u64>().map_err(|_| wrong(name, text));
            let first = match engine.first {
                First::Is(first) => first,
                First::In(name) => variable(name).map_or(Ok(0), |text| number(name, &text))?,
            };
            let own = number(engine.index, &index)?;
            let of = number(engine.count, &count)?;
            let shard = Shard { index: own.wrapping_sub(first).wrapping_add(1), of };
            return match shard.fits() {
                true => Ok(shard.unless_whole(&format!("{} ({})", engine.index, engine.name))),
                false => {
                    Err(Failure::new(format!("{}={index} is not among the {of} of {}", engine.index, engine.count))
                        .help("tasks of an array must follow each other; --shard I/N says it; 1/1 for all"))
                }
            };
        }
        Ok(None)
    }

    fn fits(self) -> bool {
        (1..=100_000).contains(&self.of) && (1..=self.of).contains(&self.index)
    }

    fn unless_whole(self, by: &str) -> Option<(Shard, String)> {
        (self.of > 1).then(|| (self, by.to_owned()))
    }

    /// Whether a run, from 1, is in it.
    #[must_use]
    pub fn has(self, run: u64) -> bool {
        (run - 1) % self.of == self.index - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(option: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<(u64, u64)>> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Ok(Shard::find(option, &variable)?.map(|(Shard { index, of }, _)| (index, of)))
    }

    #[test]
    fn each_engine_is_understood() {
        for (variables, wanted) in [
            (
                &[("SLURM_ARRAY_TASK_ID", "12"), ("SLURM_ARRAY_TASK_MIN", "10"), ("SLURM_ARRAY_TASK_COUNT", "4")][..],
                Some((3, 4)),
            ),
            (&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "3")], Some((1, 3))),
            (&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "2")], Some((2, 2))),
            (&[("CI_NODE_TOTAL", "1")], None),
            (&[("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "4")], Some((2, 4))),
            (&[("CIRCLE_NODE_INDEX", "0"), ("CIRCLE_NODE_TOTAL", "1")], None),
            (&[("BUILDKITE_PARALLEL_JOB", "3"), ("BUILDKITE_PARALLEL_JOB_COUNT", "4")], Some((4, 4))),
            (&[("PARALLEL_SEQ", "3")], None),
            (&[], None),
        ] {
            assert_eq!(find(None, variables).unwrap(), wanted, "{variables:?}");
            assert_eq!(find(Some("1/5"), variables).unwrap(), Some((1, 5)));
            assert_eq!(find(Some("1/1"), variables).unwrap(), None);
        }
        for text in ["", "2", "0/4", "5/4", "a/4", "1/0", "-1/4", "1/2/3"] {
            assert!(find(Some(text), &[]).is_err(), "{text}");
        }
        for variables in [
            &[("JOB_COMPLETION_INDEX", "0")][..],
            &[("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "2")],
            &[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "2")],
            &[("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_MIN", "2"), ("SLURM_ARRAY_TASK_COUNT", "4")],
        ] {
            assert!(find(None, variables).is_err(), "{variables:?}");
        }
    }

    #[test]
    fn each_run_is_in_one_shard() {
        for run in 1..=50 {
            let having = (1..=7).filter(|index| Shard { index: *index, of: 7 }.has(run)).count();
            assert_eq!(having, 1);
        }
    }
}

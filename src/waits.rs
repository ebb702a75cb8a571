//! How long injected waits took their callers: measured, from the moment when the fault fired until it let its caller go
//! on. Of calls that no rule hits nothing is measured, as that would cost each of them.

use crate::figures::Spread;
use serde::{Serialize, Serializer};

/// Waits of a rule that are kept, from the first on: a thousand runs must fit into memory.
const KEPT: usize = 20_000;
/// Faults that are there to take time; of throttled calls the real call is part.
const TAKE_TIME: [&str; 4] = ["latency", "hang", "throttle", "freeze"];

/// The waits of a rule, in ns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits(Vec<u64>);

impl Waits {
    /// Adds one of a fault of this kind.
    pub fn add(&mut self, fault: &str, from_ns: u64, to_ns: Option<u64>) {
        if let Some(to_ns) = to_ns.filter(|_| TAKE_TIME.contains(&fault) && self.0.len() < KEPT) {
            self.0.push(to_ns.saturating_sub(from_ns));
        }
    }

    /// Adds those of another run.
    pub fn extend(&mut self, more: &Waits) {
        let room = KEPT.saturating_sub(self.0.len());
        self.0.extend(more.0.iter().take(room));
    }

    /// How they are spread; `None` when there are none.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.0.clone())
    }
}

impl Serialize for Waits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spread().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_faults_that_take_time() {
        let mut waits = Waits::default();
        waits.add("latency", 10, Some(60));
        waits.add("error", 10, Some(60));
        waits.add("hang", 10, None);
        assert_eq!(waits.spread().map(|spread| (spread.n, spread.p99)), Some((1, 50)));
        let mut many = Waits(vec![1; KEPT]);
        many.extend(&waits);
        many.add("latency", 0, Some(9));
        assert_eq!(many.spread().map(|spread| (spread.n, spread.max)), Some((KEPT, 1)));
    }
}

//! How many episodes recovered, as far as somebody watched: a count that is never shown as less than it may be.

use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::AddAssign;

/// Why a figure is not measured.
pub const NOT_WATCHED: &str = "some episodes could not be watched";
/// What stands in the place of such a figure.
pub const NOT_MEASURED: &str = "not measured";

/// Recoveries among some episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Episodes that were seen to recover.
    pub seen: u64,
    /// Episodes that may have recovered with nobody watching.
    pub unwatched: u64,
}

impl Recoveries {
    /// How many there are; `None` when that was not watched.
    #[must_use]
    pub fn measured(self) -> Option<u64> {
        (self.unwatched == 0).then_some(self.seen)
    }
}

impl AddAssign for Recoveries {
    fn add_assign(&mut self, more: Recoveries) {
        self.seen += more.seen;
        self.unwatched += more.unwatched;
    }
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.measured(), self.seen) {
            (Some(seen), _) => write!(f, "{seen}"),
            (None, 0) => f.write_str(NOT_MEASURED),
            (None, seen) => write!(f, "{seen}, the rest {NOT_MEASURED}"),
        }
    }
}

impl Serialize for Recoveries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.measured().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_watched_is_no_number() {
        let shown = |seen, unwatched| {
            let count = Recoveries { seen, unwatched };
            (count.to_string(), serde_json::to_value(count).unwrap())
        };
        assert_eq!(shown(0, 0), ("0".into(), 0.into()));
        assert_eq!(shown(2, 0), ("2".into(), 2.into()));
        assert_eq!(shown(0, 3), ("not measured".into(), serde_json::Value::Null));
        assert_eq!(shown(2, 3), ("2, the rest not measured".into(), serde_json::Value::Null));
        let mut sum = Recoveries { seen: 1, unwatched: 0 };
        sum += Recoveries { seen: 2, unwatched: 1 };
        assert_eq!(sum.measured(), None);
    }
}

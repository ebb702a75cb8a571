//! Judging a table of cases as a whole.

/// Collects what went wrong in a table of cases, so that one run shows all of it.
#[derive(Default)]
pub struct Complaints(Vec<String>);

impl Complaints {
    /// Remembers a complaint unless the two are equal.
    #[expect(clippy::needless_pass_by_value, reason = "callers give literals and fresh values")]
    pub fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, got: T, wanted: T) {
        if got != wanted {
            self.0.push(format!("{what}: got {got:?}, wanted {wanted:?}"));
        }
    }

    /// Remembers where two texts begin to differ, if they do.
    pub fn same_text(&mut self, what: &str, got: &str, wanted: &str) {
        let (mut left, mut right) = (got.lines(), wanted.lines());
        loop {
            match (left.next(), right.next()) {
                (None, None) => return,
                (one, other) if one == other => {}
                (one, other) => return self.0.push(format!("{what}: got {one:?}, wanted {other:?}")),
            }
        }
    }

    /// Remembers a complaint unless the condition holds.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// Fails the test if there was any complaint.
    #[track_caller]
    pub fn none(self) {
        assert!(self.0.is_empty(), "{} complaints:\n{}", self.0.len(), self.0.join("\n"));
    }
}

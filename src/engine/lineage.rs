//! Places in the tree, and of threads in their process, told as shims tell them.

use chaos_table::lineage;

/// A place in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// As the log shows it.
    pub text: String,
    /// What decisions hang on.
    pub hash: u64,
}

impl Lineage {
    /// The first process of a run.
    #[must_use]
    pub fn root(seed: u64) -> Lineage {
        Lineage { text: "0".into(), hash: lineage::root(seed) }
    }

    /// The `count`th child that a thread makes.
    #[must_use]
    pub fn child(&self, creator: &Ordinal, count: u32) -> Lineage {
        let by = if creator.text.is_empty() { String::new() } else { format!("{}:", creator.text) };
        let text = cut(format!("{}.{by}{count}", self.text), lineage::TEXT);
        Lineage { text, hash: lineage::child(self.hash, creator.hash, count) }
    }

    /// The next image in the same place.
    #[must_use]
    pub fn after_exec(&self) -> Lineage {
        Lineage { text: self.text.clone(), hash: lineage::after_exec(self.hash) }
    }
}

/// What does not fit is told by a `+` at the end.
fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(longest - 1);
        text.push('+');
    }
    text
}

/// Which thread of its process a thread is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordinal {
    /// As the log shows it; empty for the main thread.
    pub text: String,
    /// What decisions hang on.
    pub hash: u64,
}

impl Ordinal {
    /// The `count`th thread that this one makes.
    #[must_use]
    pub fn made(&self, count: u32) -> Ordinal {
        let before = if self.text.is_empty() { String::new() } else { format!("{}-", self.text) };
        let text = cut(format!("{before}{count}"), lineage::ORDINAL_TEXT);
        Ordinal { text, hash: lineage::thread(self.hash, count) }
    }
}

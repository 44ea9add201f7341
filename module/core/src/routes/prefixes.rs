//! Longest-prefix search.

/// Sorted prefixes, each with a link to the longest other entry that is a prefix of it.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<Prefix>);

#[derive(Debug)]
struct Prefix {
    text: String,
    pattern: usize,
    parent: Option<usize>,
}

impl Prefixes {
    /// Adds a prefix. [`Prefixes::link`] must be called before the prefixes are searched.
    pub(super) fn add(&mut self, text: &str, pattern: usize) {
        self.0.push(Prefix {
            text: text.to_owned(),
            pattern,
            parent: None,
        });
    }

    /// Sorts and links the prefixes.
    pub(super) fn link(&mut self) {
        self.0.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        for at in 1..self.0.len() {
            self.0[at].parent = longest(&self.0, Some(at - 1), &self.0[at].text);
        }
    }

    /// The pattern with the longest prefix of `name`.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        // All entries that sort between a prefix of the name and the name begin with that prefix.
        // So the links of the last entry that does not sort after the name lead to the longest
        // prefix.
        let behind = self.0.partition_point(|prefix| *prefix.text <= *name);
        let at = longest(&self.0, behind.checked_sub(1), name)?;
        Some(self.0[at].pattern)
    }
}

/// The first prefix of `name` in the chain of links that starts at `at`.
fn longest(all: &[Prefix], mut at: Option<usize>, name: &str) -> Option<usize> {
    while let Some(prefix) = at.map(|at| &all[at]) {
        if name.starts_with(&prefix.text) {
            break;
        }
        at = prefix.parent;
    }
    at
}

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
    pub(super) fn new(mut stated: Vec<(String, usize)>) -> Self {
        stated.sort_unstable();
        let mut all: Vec<Prefix> = Vec::with_capacity(stated.len());
        for (text, pattern) in stated {
            let before = all.len().checked_sub(1);
            let parent = longest(&all, before, &text);
            all.push(Prefix {
                text,
                pattern,
                parent,
            });
        }
        Self(all)
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

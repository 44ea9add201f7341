//! Names that clients use for models.

use std::collections::HashMap;

/// A name for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// What clients ask for.
    pub name: String,
    /// What goes upstream.
    pub model: String,
    /// Whether the answer names the alias again.
    pub restore: bool,
}

/// All aliases of a block.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    all: Vec<Alias>,
    by_name: HashMap<String, usize>,
}

impl Aliases {
    /// Adds one; `false` when the name is taken.
    pub(super) fn add(&mut self, alias: Alias) -> bool {
        if self.by_name.contains_key(&alias.name) {
            return false;
        }
        self.by_name.insert(alias.name.clone(), self.all.len());
        self.all.push(alias);
        true
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Alias> {
        self.all.get(at)
    }

    pub(super) fn all(&self) -> &[Alias] {
        &self.all
    }
}

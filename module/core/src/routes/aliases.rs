//! Aliases of models.

use std::collections::HashMap;

/// An alias of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name in requests.
    pub name: String,
    /// The model that is sent upstream.
    pub model: String,
    /// Whether responses name the alias instead of the model.
    pub restore: bool,
}

/// The aliases of an `openai_routes` block.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    all: Vec<Alias>,
    by_name: HashMap<String, usize>,
}

impl Aliases {
    /// Adds an alias; `false` when the name exists.
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

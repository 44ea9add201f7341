//! Routing by model: the targets that serve the model of a request.
//!
//! A pattern is a name (`gpt-4o`), a prefix (`gpt-*`; `*` is any model) or a regular expression
//! (`~^o[0-9]`, `~*` without regard to case). Their precedence is as for nginx's locations with
//! `^~`: the exact name first, then the longest prefix, then the first regular expression in the
//! order of the configuration. So the order of lines matters only between regular expressions.
//!
//! An alias is another name of a model. It is looked up first and only once: its model is not
//! looked up among the aliases again.

mod aliases;
mod error;
mod lines;
mod prefixes;
mod table;
mod target;
#[cfg(test)]
mod tests;

pub use aliases::Alias;
pub use error::RouteError;
pub use lines::RouteLines;
pub use target::{MAX_UPSTREAM, TargetName};

use aliases::Aliases;
use openai_wire::head::{Captured, MAX_MODEL};
use table::PatternTable;

/// The routes of an `openai_routes` block.
#[derive(Debug, Default)]
pub struct Routes {
    aliases: Aliases,
    table: PatternTable,
    /// Index of the target list for models without a matching pattern.
    otherwise: Option<usize>,
    /// Target lists, in the order of the configuration.
    lists: Vec<Vec<TargetName>>,
}

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    alias: Option<usize>,
    /// `None` for `otherwise`, or without a model.
    pattern: Option<usize>,
    /// Index in [`Routes::lists`].
    pub list: usize,
}

impl Routes {
    /// Finds the route for a request's model. A model whose name is too long to be stored goes to
    /// the targets of the pattern `*`, or to `otherwise`. A request without a model goes to
    /// `otherwise`, or to the first targets if there is none. `None` when no target serves the
    /// model.
    #[must_use]
    pub fn find(&self, model: &Captured<MAX_MODEL>) -> Option<Routed> {
        let unnamed = |pattern, list| Routed {
            alias: None,
            pattern,
            list,
        };
        let asked = match model {
            Captured::Text(text) => text,
            Captured::TooLong => {
                let any = self
                    .table
                    .any()
                    .map(|(pattern, list)| unnamed(Some(pattern), list));
                return any.or_else(|| Some(unnamed(None, self.otherwise?)));
            }
            Captured::Absent => return Some(unnamed(None, self.otherwise.unwrap_or(0))),
        };
        let alias = self.aliases.find(asked);
        let model = alias.and_then(|at| self.aliases.get(at));
        let model = model.map_or(&**asked, |alias| &alias.model);
        let found = self.table.find(model);
        let list = found.map(|(_, list)| list).or(self.otherwise)?;
        Some(Routed {
            alias,
            pattern: found.map(|(pattern, _)| pattern),
            list,
        })
    }

    /// The target lists, each in the order of preference.
    #[must_use]
    pub fn lists(&self) -> &[Vec<TargetName>] {
        &self.lists
    }

    /// The alias of the request, if it used one.
    #[must_use]
    pub fn alias(&self, routed: Routed) -> Option<&Alias> {
        self.aliases.get(routed.alias?)
    }

    /// The matching pattern, or `otherwise`; `None` for a request without a model if there is no
    /// `otherwise`.
    #[must_use]
    pub fn pattern(&self, routed: Routed) -> Option<&str> {
        match routed.pattern {
            Some(pattern) => self.table.text(pattern),
            None => (self.otherwise == Some(routed.list)).then_some("otherwise"),
        }
    }
}

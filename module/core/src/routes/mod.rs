//! Routing by model: which targets serve the model that a request names.
//!
//! A pattern is a name (`gpt-4o`), a prefix (`gpt-*`; `*` is any model) or a regular
//! expression (`~^o[0-9]`, `~*` without regard to case). They rank as nginx's
//! locations do: the exact name first, then the longest prefix, then the first
//! regular expression in the order of statement. A prefix thus comes before every
//! regular expression, as nginx's `^~` does: which of two routes serves a model does
//! not depend on the order of lines, unless both are regular expressions.
//!
//! An alias is a name that clients use for a model: it is looked up first, and only
//! once, so the model it stands for is not looked for among the aliases again.

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
use table::Table;

/// The routes of a block.
#[derive(Debug)]
pub struct Routes {
    aliases: Aliases,
    table: Table,
    /// The list of targets that serves what no pattern matches.
    otherwise: Option<usize>,
    /// Lists of targets, in the order of statement.
    lists: Vec<Vec<TargetName>>,
}

/// Where a request is routed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    alias: Option<usize>,
    /// None: by `otherwise`, or for want of a model.
    pattern: Option<usize>,
    /// Which of [`Routes::lists`] serves it.
    pub list: usize,
}

impl Routes {
    /// Routes a request by the model that it names. A request that names none goes to
    /// `otherwise`, without which the targets stated first serve it. `None` when nobody
    /// serves the model.
    #[must_use]
    pub fn find(&self, model: &Captured<MAX_MODEL>) -> Option<Routed> {
        let unmatched = |list| Routed {
            alias: None,
            pattern: None,
            list,
        };
        let asked = match model {
            Captured::Text(text) => text,
            // No pattern is that long.
            Captured::TooLong => return self.otherwise.map(unmatched),
            Captured::Absent => return Some(unmatched(self.otherwise.unwrap_or(0))),
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

    /// The lists of targets, each in the order of preference.
    #[must_use]
    pub fn lists(&self) -> &[Vec<TargetName>] {
        &self.lists
    }

    /// The alias that was asked for.
    #[must_use]
    pub fn alias(&self, routed: Routed) -> Option<&Alias> {
        self.aliases.get(routed.alias?)
    }

    /// The pattern that matched, or `otherwise`.
    #[must_use]
    pub fn pattern(&self, routed: Routed) -> Option<&str> {
        match routed.pattern {
            Some(pattern) => self.table.text(pattern),
            None => (self.otherwise == Some(routed.list)).then_some("otherwise"),
        }
    }
}

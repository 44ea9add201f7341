//! What has been counted of a service, for listings.

use super::board::{Board, Table};
use super::record::OUTCOMES;

/// What has been counted of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name; empty for requests without a client.
    pub name: String,
    /// Requests by outcome: those that came about.
    pub requests: Vec<(&'static str, u64)>,
    /// Tokens of prompts.
    pub prompt: u64,
    /// Tokens of completions.
    pub completion: u64,
    /// In units of [`crate::prices`].
    pub cost: u64,
    /// Requests that used tokens without a price.
    pub unpriced: u64,
    /// Times that requests were sent again.
    pub retries: u64,
}

impl Board<'_> {
    /// All services that there are.
    #[must_use]
    pub fn services(&self) -> Vec<Summary> {
        let summary = |name: &str, c: &super::row::Counters| Summary {
            name: name.to_owned(),
            requests: OUTCOMES
                .into_iter()
                .zip(c.requests)
                .filter(|&(_, count)| count > 0)
                .map(|(outcome, count)| (outcome.as_str(), count))
                .collect(),
            prompt: c.prompt,
            completion: c.completion,
            cost: c.cost,
            unpriced: c.unpriced,
            retries: c.retries,
        };
        let rows = self.used(Table::Services);
        rows.map(|(row, _)| summary(row.label.name(), &row.counters))
            .collect()
    }
}

//! What is counted of requests that did not pass through the gateway, and who is seen.

use openai_wire::Tokens;
use openai_wire::usage::Source;

use super::board::{Board, TABLES, Table};
use super::day::Day;
use super::record::{OUTCOMES, Outcome, Request};
use super::row::Counters;

/// What a service says it has done with a key that it had locked. The request for the lock
/// has been counted when it was answered.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The client.
    pub service: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The key.
    pub key: &'a str,
    /// What it used: of no known model, and of no known kind.
    pub tokens: u64,
    /// Whether it failed.
    pub failed: bool,
}

impl Board<'_> {
    /// Adds a report: its tokens, as those of a prompt to an unknown model; and one that
    /// failed as an error of the upstream's.
    pub fn report(&mut self, day: Day, report: &Report<'_>) {
        self.turn(day);
        let request = Request {
            service: report.service,
            pool: report.pool,
            key: report.key,
            model: "",
            known_model: false,
            outcome: Outcome::UpstreamError,
            attempts: 0,
            tokens: Tokens {
                prompt: report.tokens,
                ..Tokens::default()
            },
            source: Source::Exact,
            cost: None,
            wait_ms: None,
            hold_ms: None,
            first_token_ms: None,
        };
        let mut counters = Counters::of(&request);
        if !report.failed {
            counters.requests = [0; OUTCOMES.len()];
        }
        let more = counters.more();
        for table in TABLES {
            let at = self.place(table, &request);
            self.add_to_row(at, &more);
        }
        self.close();
    }

    /// Notes that a request of a service has ended, in seconds since 1970.
    pub fn see(&mut self, service: &str, at_s: u64) {
        let row = self.claim(Table::Services, service);
        self.seen[row] = at_s;
    }

    /// How many services have been seen since a moment.
    #[must_use]
    pub fn seen_since(&self, at_s: u64) -> usize {
        self.seen.iter().filter(|&&seen| seen >= at_s).count()
    }
}

//! Usage that services report, and the times of services' last requests.

use openai_wire::Tokens;

use super::day::Day;
use super::record::{OUTCOMES, PoolRequest};
use super::row::Counters;
use super::words::add;
use super::zone::{MetricsTable, MetricsZone, TABLES};

/// Usage that a service reports with the release of a lock. The request for the lock itself is
/// counted separately.
#[derive(Debug, Clone, Copy)]
pub struct UsageReport<'a> {
    /// The client.
    pub service: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The key.
    pub key: &'a str,
    /// Tokens used, of an unknown model and kind.
    pub tokens: u64,
    /// Whether the work failed.
    pub failed: bool,
}

impl MetricsZone<'_> {
    /// Adds a report. Its tokens count as prompt tokens of an unknown model. It does not count as a
    /// request.
    pub fn report(&mut self, day: Day, report: &UsageReport<'_>) {
        self.turn(day);
        let tokens = Tokens {
            prompt: report.tokens,
            ..Tokens::default()
        };
        let request = PoolRequest {
            service: report.service,
            pool: report.pool,
            key: report.key,
            tokens,
            ..PoolRequest::default()
        };
        let mut counters = Counters::of(&request);
        counters.requests = [0; OUTCOMES.len()];
        counters.failed_locks = report.failed.into();
        for table in TABLES {
            let at = self.place(table, &request);
            add(&mut self.rows[at].counters, &counters);
        }
    }

    /// Stores the time of a service's last request, in seconds since 1970.
    pub fn seen(&mut self, service: &str, at_s: u64) {
        let row = self.claim(MetricsTable::Services, service);
        self.seen[row] = at_s;
    }

    /// Number of services with a request since that time.
    #[must_use]
    pub fn seen_since(&self, at_s: u64) -> usize {
        self.seen.iter().filter(|&&seen| seen >= at_s).count()
    }
}

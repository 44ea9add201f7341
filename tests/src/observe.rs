//! What a gateway shows of itself: its gauges and its access log.

use std::fs;

use crate::call::Call;
use crate::gateway::Gateway;
use crate::log_line::LogLine;
use crate::wait::{wait_for, wait_until};

/// How busy a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Slots that are held.
    pub held: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Slots that there are.
    pub slots: usize,
}

impl Gateway {
    /// How busy a pool is now.
    #[track_caller]
    pub fn held(&self, pool: &str) -> Held {
        let url = format!("http://127.0.0.1:{}/held/{pool}", self.status_port);
        let answer = Call::new("GET", url).send().expect_status(200);
        let mut numbers = answer.text().split(' ').map(|n| {
            n.trim()
                .parse()
                .unwrap_or_else(|_| panic!("pool gauges: {:?}", answer.text()))
        });
        let mut next = || numbers.next().expect("three gauges");
        Held {
            held: next(),
            waiting: next(),
            slots: next(),
        }
    }

    /// Waits until so many slots of the pool `main` are held and so many requests wait.
    #[track_caller]
    pub fn wait_held(&self, held: usize, waiting: usize) {
        let what = format!("{held} slots are held and {waiting} requests wait");
        wait_until(&what, || {
            let now = self.held("main");
            (now.held, now.waiting) == (held, waiting)
        });
    }

    /// Waits until the mock has so many requests in flight.
    #[track_caller]
    pub fn wait_in_flight(&self, requests: u64) {
        wait_until(
            &format!("{requests} requests are in flight upstream"),
            || self.mock().stats().totals.in_flight == requests,
        );
    }

    /// Waits until so many requests have been logged; gives them in the order of their ends.
    #[track_caller]
    pub fn logged(&self, requests: usize) -> Vec<LogLine> {
        wait_for(&format!("{requests} requests are logged"), || {
            let lines = LogLine::read_all(&self.dir().join("access.log"));
            (lines.len() >= requests).then_some(lines)
        })
    }

    /// The access log as it is.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.dir().join("access.log")).unwrap_or_default()
    }
}

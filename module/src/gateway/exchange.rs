//! A request with its context and configuration.

use nginx_safe::Request;
use openai_core::attempts::{Prospect, choose, no_key};
use openai_core::circuit::CircuitId;
use openai_core::lease::Outlook;
use openai_wire::ApiError;

use super::Context;
use crate::config::{Location, Main, Pool, Target};
use crate::pool::{self, circuits};
use crate::telemetry::now;

/// A request with its context and configuration.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    pub request: Request<'a>,
    pub ctx: &'a Context,
    pub location: &'a Location,
    pub main: &'a Main,
}

impl<'a> Exchange<'a> {
    /// The exchange of a request that has a context.
    pub fn of(request: Request<'a>) -> Option<Self> {
        Some(Self {
            request,
            ctx: request.recalled::<Context>()?,
            location: request.location::<Location>()?,
            main: request.main_conf::<Main>()?,
        })
    }

    /// The circuit of the upstream that a target goes to.
    fn circuit_of(self, target: &Target) -> Option<CircuitId> {
        let upstream = self.location.upstream_of(target)?;
        *pool::taken_over()?.circuits.get(upstream)?
    }

    /// The circuit of the chosen target's upstream.
    pub fn circuit(self) -> Option<CircuitId> {
        let route = self.ctx.route.borrow();
        self.circuit_of(route.targets.as_ref()?.get(route.chosen?)?)
    }

    /// The target of the next attempt, if there is one: see [`choose`].
    pub fn next_target(self) -> Result<usize, ApiError> {
        let targets = self.ctx.targets().ok_or(ApiError::Internal)?;
        let (failed, spent) = {
            let retries = self.ctx.retries.borrow();
            (retries.failed, retries.spent)
        };
        choose(targets.len(), failed, spent, |at| {
            self.prospect(&targets[at])
        })
    }

    /// Whether the request can expect a key at a target.
    fn prospect(self, target: &Target) -> Prospect {
        let Some(pool) = self.main.pools.get(target.pool) else {
            return Prospect::None;
        };
        if let Some(ms) = circuits::open_for(self.circuit_of(target)) {
            return Prospect::Open { ms };
        }
        match self.outlook(target.pool) {
            None | Some(Outlook::Busy) => Prospect::Key,
            Some(Outlook::CoolingDown { soonest_ms }) => Prospect::CoolingDown {
                soonest_ms,
                in_time: soonest_ms <= self.wait_ms(pool),
            },
            Some(Outlook::Unhealthy { soonest_ms }) => Prospect::Unhealthy { soonest_ms },
            Some(Outlook::Tried) => Prospect::None,
        }
    }

    /// Whether and when the request can get a key of a pool.
    pub fn outlook(self, pool: usize) -> Option<Outlook> {
        let avoid = self.ctx.retries.borrow().avoid;
        pool::outlook(pool, avoid)
    }

    /// The refusal of a request that got no key of the chosen target's pool.
    pub fn no_key(self, queue_full: bool) -> ApiError {
        match self.ctx.pool(self.main) {
            Some((at, pool)) => no_key(self.outlook(at), queue_full, pool.wait_ms),
            None => ApiError::Internal,
        }
    }

    /// Delay before an attempt at this target, in milliseconds.
    pub fn pause_ms(self, at: usize) -> u64 {
        let (_, upstream) = self.ctx.same_upstream(Some(at));
        let left_ms = self.attempts_end_in_ms();
        let retries = self.ctx.retries.borrow();
        retries.errors.pause_ms(upstream, left_ms, pool::random())
    }

    /// Remaining time in which an attempt may begin, in milliseconds.
    fn attempts_end_in_ms(self) -> u64 {
        let timeout_ms = self.location.next_key.timeout_ms();
        let first_asked_ms = self.ctx.retries.borrow().first_asked_ms;
        timeout_ms.saturating_sub(now().mono_ms.saturating_sub(first_asked_ms))
    }

    /// Longest time to wait for a key of the pool, in milliseconds. After the first
    /// attempt, the wait ends when no further attempt may begin.
    pub fn wait_ms(self, pool: &Pool) -> u64 {
        if let Some(requested) = self.ctx.requested() {
            return requested.wait_ms.min(pool.wait_ms);
        }
        if self.ctx.retries.borrow().attempts == 0 {
            return pool.wait_ms;
        }
        pool.wait_ms.min(self.attempts_end_in_ms())
    }
}

//! A request, with what decides about it.

use nginx_safe::Request;
use openai_core::circuit::CircuitId;

use super::Context;
use crate::config::{Location, Main, Pool, Target};
use crate::telemetry::now;

/// A request, with its context and the configuration that it is served by.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    pub request: Request<'a>,
    pub ctx: &'a Context,
    pub location: &'a Location,
    pub main: &'a Main,
}

impl<'a> Exchange<'a> {
    /// That of a request which has a context.
    pub fn of(request: Request<'a>) -> Option<Self> {
        Some(Self {
            request,
            ctx: request.recalled::<Context>()?,
            location: request.location::<Location>()?,
            main: request.main_conf::<Main>()?,
        })
    }

    /// The circuit of the upstream that a target goes to.
    pub fn circuit_of(self, target: &Target) -> Option<CircuitId> {
        let upstream = self.location.upstream_of(target)?;
        *self.main.taken_over()?.circuits.get(upstream)?
    }

    /// The circuit of the chosen target's upstream.
    pub fn circuit(self) -> Option<CircuitId> {
        let route = self.ctx.route.borrow();
        self.circuit_of(route.targets.as_ref()?.get(route.chosen?)?)
    }

    /// For how long further attempts may begin.
    pub fn attempts_end_in_ms(self) -> u64 {
        let first_asked_ms = self.ctx.retries.borrow().first_asked_ms;
        let since = now().mono_ms.saturating_sub(first_asked_ms);
        self.location.next_key().timeout_ms().saturating_sub(since)
    }

    /// How long the request may wait for a key of the pool: no longer than further
    /// attempts may go on.
    pub fn wait_ms(self, pool: &Pool) -> u64 {
        if let Some(wishes) = self.ctx.wishes.get() {
            return wishes.wait_ms.min(pool.wait_ms);
        }
        if self.ctx.retries.borrow().attempts == 0 {
            return pool.wait_ms;
        }
        pool.wait_ms.min(self.attempts_end_in_ms())
    }
}

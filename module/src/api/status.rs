//! The data of the status page.

use std::collections::BTreeMap;

use nginx_safe::{Answer, nginx_version};
use openai_core::admin::{
    CircuitStatus, GatewayStatus, KeyStatus, NodeStatus, PoolStatus, Problem, ServiceMetrics,
    Waiters,
};
use openai_core::circuit::CircuitView;
use openai_core::lease::{Cause, KeyView, Waiting, holder_of};
use openai_core::metrics::{Counters, OUTCOMES};
use openai_core::prices::UNITS_PER_DOLLAR;
use openai_wire::Verdict;

use super::reports::{self, Clock, health_of};
use super::{json, unavailable};
use crate::config::{Pool, Store};
use crate::gateway::Exchange;
use crate::pool::{self, in_zone, locks};
use crate::telemetry::metrics;

pub(super) fn status(here: Exchange<'_>) -> Result<Answer, Problem> {
    let clock = Clock::now();
    let standing = pool::standing(here.main).ok_or_else(unavailable)?;
    let health = health_of(here, &standing);
    let pools: Vec<_> = here.pools().collect();
    let ids: Vec<_> = pools.iter().map(|&(_, _, id)| id).collect();
    let waiting = in_zone(|zone| zone.waiters(&ids)).ok_or_else(unavailable)?;
    let pools = pools
        .iter()
        .zip(health.pools)
        .map(|(&(at, pool, id), does)| {
            let keys = standing.pools.get(at).map_or(&[][..], |pool| &pool.keys);
            let keys = keys
                .iter()
                .map(|(pool_key, view)| key(pool_key.id.clone(), view, clock));
            let mut keys: Vec<_> = keys.collect();
            keys.sort_by(|a, b| a.key_id.cmp(&b.key_id));
            let waiting = waiting.iter().filter(|waiter| waiter.pool == id);
            PoolStatus {
                pool: does.pool,
                backend: reports::backend(pool).to_owned(),
                status: does.status,
                slots: does.slots,
                held: does.held,
                waiting: does.waiting,
                waiters: waiters(here, waiting),
                keys,
                recent_requests: does.recent_requests,
                recent_failed: does.recent_failed,
                nodes: nodes(pool),
            }
        });
    let pools = pools.collect();
    let circuits = standing.circuits.iter();
    let circuits = circuits.map(|(_, upstream, view)| circuit(upstream, view, clock));
    let answer = GatewayStatus {
        status: health.status,
        findings: health.findings,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nginx: nginx_version(),
        uptime_seconds: reports::uptime_seconds(clock).ok_or_else(unavailable)?,
        pools,
        locks: reports::held(here, clock)?,
        circuits: circuits.collect(),
        services: metrics::services(here.main)
            .into_iter()
            .map(service)
            .collect(),
        timestamp: clock.timestamp(),
    };
    json(200, &answer)
}

fn key(id: String, view: &KeyView, clock: Clock) -> KeyStatus {
    let attempts = Verdict::ALL.into_iter().zip(view.attempts);
    let attempts = attempts.filter(|&(_, count)| count > 0);
    KeyStatus {
        key_id: id,
        state: view.state().as_str().to_owned(),
        cause: view.cause.map(|cause: Cause| cause.as_str().to_owned()),
        until: view.cause.map(|_| clock.after(view.left_ms)),
        in_flight: view.in_use,
        slots: view.slots,
        may_have: view.cap,
        requests_left: view.requests,
        tokens_left: view.tokens,
        last_error: Some(view.last_error).filter(|&status| status != 0),
        failures: view.failures,
        attempts: attempts
            .map(|(verdict, n)| (verdict.as_str().to_owned(), n))
            .collect(),
    }
}

/// Waiting requests by priority and client; the highest priority first.
fn waiters<'w>(here: Exchange<'_>, waiting: impl Iterator<Item = &'w Waiting>) -> Vec<Waiters> {
    let mut counts = BTreeMap::<_, u32>::new();
    for waiter in waiting {
        *counts
            .entry((-i64::from(waiter.priority), waiter.holder))
            .or_default() += 1;
    }
    let clients = here
        .main
        .clients
        .iter()
        .flat_map(|clients| clients.as_slice());
    let names: BTreeMap<_, _> = clients
        .map(|c| (holder_of(&c.name), c.name.clone()))
        .collect();
    let counts = counts
        .into_iter()
        .map(|((priority, holder), count)| Waiters {
            client: names.get(&holder).cloned(),
            priority: -priority as i32,
            count,
        });
    counts.collect()
}

fn nodes(pool: &Pool) -> Vec<NodeStatus> {
    let Store::Redlock { group, names, .. } = &pool.store else {
        return vec![];
    };
    locks::node_states(*group, names).unwrap_or_default()
}

fn circuit(upstream: &str, status: &CircuitView, clock: Clock) -> CircuitStatus {
    CircuitStatus {
        upstream: upstream.to_owned(),
        state: status.state.as_str().to_owned(),
        attempts: status.all,
        failures: status.failed,
        recent_attempts: status.recent.all,
        recent_failed: status.recent.failed,
        trips: status.trips,
        until: status.until_ms.map(|until| clock.time(until)),
    }
}

fn service((name, told): (String, Counters)) -> ServiceMetrics {
    let requests = OUTCOMES.into_iter().zip(told.requests);
    let requests = requests.filter(|&(_, count)| count > 0);
    ServiceMetrics {
        service: name,
        requests: requests
            .map(|(outcome, n)| (outcome.as_str().to_owned(), n))
            .collect(),
        prompt_tokens: told.prompt,
        completion_tokens: told.completion,
        cost_dollars: told.cost as f64 / UNITS_PER_DOLLAR as f64,
        unpriced_requests: told.unpriced,
        retries: told.retries,
    }
}

//! The data of the status page.

use std::collections::BTreeMap;

use nginx_safe::{Answer, nginx_version};
use openai_core::admin::{
    CircuitStatus, GatewayStatus, KeyStatus, PoolStatus, Problem, ServiceMetrics, Waiters,
};
use openai_core::circuit::CircuitView;
use openai_core::lease::{Cause, KeyView, Now, Waiting, holder_of};
use openai_core::metrics::{Counters, OUTCOMES};
use openai_core::prices::UNITS_PER_DOLLAR;
use openai_wire::Verdict;

use super::reports::{self, clients, health_of, pool_views};
use super::{json, unavailable};
use crate::gateway::Exchange;
use crate::pool::{self, in_zone};
use crate::telemetry::{metrics, now};

pub(super) fn status(here: Exchange<'_>) -> Result<Answer, Problem> {
    let clock = now();
    let standing = pool::standing(here.main).ok_or_else(unavailable)?;
    let views = pool_views(here, &standing);
    let health = health_of(here, &views, &standing);
    let ids: Vec<_> = here.pools().map(|(_, _, id)| id).collect();
    let waiting = in_zone(|zone| zone.waiters(&ids)).ok_or_else(unavailable)?;
    let pools = here.pools().zip(health.pools).zip(views);
    let pools = pools.map(|(((_, pool, id), health), mut view)| {
        view.keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        let keys = view
            .keys
            .into_iter()
            .map(|(id, view)| key(id, &view, clock));
        let waiting = waiting.iter().filter(|waiter| waiter.pool == id);
        PoolStatus {
            pool: health.pool,
            backend: reports::backend(pool),
            status: health.status,
            slots: health.slots,
            held: health.held,
            waiting: health.waiting,
            waiters: waiters(here, waiting),
            keys: keys.collect(),
            recent_requests: health.recent_requests,
            recent_failed: health.recent_failed,
            nodes: view.nodes,
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

fn key(id: String, view: &KeyView, clock: Now) -> KeyStatus {
    let attempts = Verdict::ALL.into_iter().zip(view.attempts);
    let attempts = attempts.filter(|&(_, count)| count > 0);
    KeyStatus {
        key_id: id,
        state: view.state().as_str(),
        cause: view.cause.map(Cause::as_str),
        until: view.cause.map(|_| clock.timestamp_after(view.left_ms)),
        in_flight: view.in_use,
        slots: view.slots,
        may_have: view.cap,
        requests_left: view.requests,
        tokens_left: view.tokens,
        last_error: Some(view.last_error).filter(|&status| status != 0),
        failures: view.failures,
        attempts: attempts.map(|(it, n)| (it.as_str(), n)).collect(),
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
    let clients = clients(here.main).iter();
    let names = clients.map(|client| (holder_of(&client.name), &client.name));
    let names: BTreeMap<_, _> = names.collect();
    let counts = counts.into_iter();
    let waiters = counts.map(|((priority, holder), count)| Waiters {
        client: names.get(&holder).map(|&name| name.clone()),
        priority: -priority as i32,
        count,
    });
    waiters.collect()
}

fn circuit(upstream: &str, status: &CircuitView, clock: Now) -> CircuitStatus {
    CircuitStatus {
        upstream: upstream.to_owned(),
        state: status.state.as_str(),
        attempts: status.all,
        failures: status.failed,
        recent_attempts: status.recent.all,
        recent_failed: status.recent.failed,
        trips: status.trips,
        until: status.until_ms.map(|until| clock.timestamp_of(until)),
    }
}

fn service((name, counters): (String, Counters)) -> ServiceMetrics {
    let requests = OUTCOMES.into_iter().zip(counters.requests);
    let requests = requests.filter(|&(_, count)| count > 0);
    ServiceMetrics {
        service: name,
        requests: requests.map(|(it, n)| (it.as_str(), n)).collect(),
        prompt_tokens: counters.prompt,
        completion_tokens: counters.completion,
        cost_dollars: counters.cost as f64 / UNITS_PER_DOLLAR as f64,
        unpriced_requests: counters.unpriced,
        retries: counters.retries,
    }
}

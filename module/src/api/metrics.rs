//! The metrics in the format of Prometheus.

use nginx_safe::{Answer, Request};
use openai_core::clients::Client;
use openai_core::metrics::{
    ACTIVE_SECONDS, CONTENT_TYPE, Day, Live, LiveCircuit, LiveKey, LivePool, LiveQuota, render,
};

use crate::config::{Main, Pool, Store};
use crate::gateway::Context;
use crate::pool::{self, PoolStanding, locks};
use crate::telemetry::metrics::{self, change};
use crate::telemetry::now;

/// The metrics that the request's client may see.
pub(super) fn answer(request: Request<'_>) -> Answer {
    // Without a token check, the location's configuration decides who sees all metrics.
    let client = request
        .main_conf::<Main>()
        .zip(request.recalled::<Context>());
    let client = client.and_then(|(main, ctx)| ctx.client(main));
    let service = client.and_then(Client::sees_only);
    let text = request
        .main_conf::<Main>()
        .and_then(|main| text(main, service));
    match text {
        Some(text) => Answer {
            status: 200,
            media_type: CONTENT_TYPE.as_bytes(),
            headers: vec![],
            body: text.into_bytes().into(),
        },
        None => Answer {
            status: 503,
            media_type: b"text/plain",
            headers: vec![],
            body: [].as_slice().into(),
        },
    }
}

/// All metrics, or those of one service.
fn text(main: &Main, service: Option<&str>) -> Option<String> {
    let standing = pool::standing(main)?;
    let named = || main.pools.iter().zip(&standing.pools);
    let pools: Vec<_> = named()
        .map(|(pool, PoolStanding { gauges, .. })| LivePool {
            name: &pool.name,
            held: gauges.held,
            waiting: gauges.waiting,
            slots: gauges.slots,
            nodes: nodes(pool),
        })
        .collect();
    let keys = named().flat_map(|(pool, standing)| {
        let keys = standing.keys.iter();
        keys.map(|(key, view)| LiveKey {
            pool: &pool.name,
            id: &key.id,
            view: *view,
        })
    });
    let keys: Vec<_> = keys.collect();
    let circuits = standing.circuits.iter();
    let circuits = circuits.map(|(_, upstream, status)| LiveCircuit {
        upstream,
        status: *status,
    });
    let circuits: Vec<_> = circuits.collect();
    let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
    let bounded: Vec<_> = clients.filter(|c| !c.quota.limits().is_empty()).collect();
    let today = Day::of(now().wall_us);
    let (used, active_users) = change(main.metrics.shared?, |metrics| {
        let used = bounded
            .iter()
            .map(|client| metrics.used_by(&client.name, today));
        let used: Vec<_> = used.collect();
        let since = (now().wall_us / 1_000_000).saturating_sub(ACTIVE_SECONDS);
        (used, metrics.seen_since(since.max(1)))
    })?;
    let quotas = bounded.iter().zip(&used).flat_map(|(client, used)| {
        client.quota.limits().iter().map(|limit| LiveQuota {
            service: &client.name,
            limit: *limit,
            used: limit.used(used),
        })
    });
    let quotas: Vec<_> = quotas.collect();
    let live = Live {
        version: env!("CARGO_PKG_VERSION"),
        pools: &pools,
        keys: &keys,
        circuits: &circuits,
        quotas: &quotas,
        active_users,
        keys_refused: pool::key_files::are_refused(),
    };
    // The text is made from a copy, so that other workers do not wait for the mutex.
    let mut copy = metrics::copy(main.metrics.shared?)?;
    Some(render(&copy.metrics().ok()?, &live, service))
}

/// Number of the pool's nodes that can vote according to this worker, and of all its nodes.
fn nodes(pool: &Pool) -> Option<(u32, u32)> {
    let Store::Redlock { group, names, .. } = &pool.store else {
        return None;
    };
    let told = locks::nodes(*group, names)?;
    let up = told.split(',').filter(|&state| state == "up").count();
    Some((up as u32, told.split(',').count() as u32))
}

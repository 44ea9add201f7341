//! The metrics, as Prometheus reads them.

use nginx_safe::{Answer, Request};
use openai_core::clients::Client;
use openai_core::metrics::{
    ACTIVE_SECONDS, CONTENT_TYPE, Day, Live, LiveCircuit, LiveKey, LivePool, LiveQuota,
};

use crate::config::{Main, Pool, Store};
use crate::gateway::Context;
use crate::pool::{self, locks};
use crate::telemetry::metrics::change;
use crate::telemetry::now;

/// The metrics, or those that the request's client may see.
pub(super) fn answer(request: Request<'_>) -> Answer {
    // Where no token is asked for, the location says who may see all of it.
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

/// The metrics, or those that are about one service.
fn text(main: &Main, service: Option<&str>) -> Option<String> {
    let standing = pool::standing(main.taken_over()?)?;
    let pools = main.pools.iter().zip(&standing.gauges);
    let pools: Vec<_> = pools
        .map(|(pool, now)| LivePool {
            name: &pool.name,
            held: now.held,
            waiting: now.waiting,
            slots: now.slots,
            nodes: nodes(pool),
        })
        .collect();
    let keys: Vec<_> = standing
        .keys
        .iter()
        .filter_map(|&(at, view)| {
            let pool = main.pools.get(at)?;
            Some((pool, pool.keys.get(view.key)?, view))
        })
        .collect();
    let keys: Vec<_> = keys
        .iter()
        .map(|(pool, key, view)| LiveKey {
            pool: &pool.name,
            id: &key.id,
            view: *view,
        })
        .collect();
    let upstreams = main.upstreams.borrow();
    let circuits: Vec<_> = upstreams
        .iter()
        .zip(&standing.circuits)
        .filter_map(|(upstream, status)| {
            Some(LiveCircuit {
                upstream: &upstream.name,
                status: (*status)?,
            })
        })
        .collect();
    let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
    let bounded: Vec<_> = clients.filter(|c| !c.quota.limits().is_empty()).collect();
    let today = Day::of(now().wall_us);
    // The text is made of a copy: nobody waits for it.
    let (copy, used, active_users) = change(main.metrics.shared?, |board| {
        let used = bounded
            .iter()
            .map(|client| board.used_by(&client.name, today));
        let used: Vec<_> = used.collect();
        let since = (now().wall_us / 1_000_000).saturating_sub(ACTIVE_SECONDS);
        (board.copy(), used, board.seen_since(since.max(1)))
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
    };
    copy.render(&live, service)
}

/// How many nodes of its group can vote as this worker sees them, and how many there are.
fn nodes(pool: &Pool) -> Option<(u32, u32)> {
    let Store::Redlock { group, names, .. } = &pool.store else {
        return None;
    };
    let told = locks::nodes(*group, names)?;
    let up = told.split(',').filter(|&state| state == "up").count();
    Some((up as u32, told.split(',').count() as u32))
}

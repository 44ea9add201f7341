//! The metrics in the format of Prometheus.

use nginx_safe::{Answer, Request};
use openai_core::clients::Client;
use openai_core::metrics::{ACTIVE_SECONDS, CONTENT_TYPE, Day, Live, LiveQuota, render};

use super::plain;
use super::reports::{clients, pool_view, upstreams};
use crate::config::Main;
use crate::gateway::Context;
use crate::pool;
use crate::telemetry::metrics::{self, change};
use crate::telemetry::now;

/// The metrics that the request's client may see.
pub(super) fn answer(request: Request<'_>) -> Answer {
    let main = request.main_conf::<Main>();
    // Without a token check, the location's configuration decides who sees all metrics.
    let client = main.zip(request.recalled::<Context>());
    let client = client.and_then(|(main, ctx)| ctx.client(main));
    let service = client.and_then(Client::sees_only);
    match main.and_then(|main| text(main, service)) {
        Some(text) => plain(200, CONTENT_TYPE.as_bytes(), text.into_bytes()),
        None => plain(503, b"text/plain", vec![]),
    }
}

/// All metrics, or those of one service.
fn text(main: &Main, service: Option<&str>) -> Option<String> {
    let standing = pool::standing(main)?;
    let pools = main.pools.iter().zip(&standing.pools);
    let pools = pools.map(|(pool, standing)| pool_view(main, pool, Some(standing)));
    let pools: Vec<_> = pools.collect();
    let clients = clients(main).iter();
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
        upstreams: &upstreams(&standing, |_| true),
        quotas: &quotas,
        active_users,
        keys_refused: pool::key_files::are_refused(),
    };
    // The text is made from a copy, so that other workers do not wait for the mutex.
    let mut copy = metrics::copy(main.metrics.shared?)?;
    Some(render(&copy.metrics().ok()?, &live, service))
}

//! Reports on the gateway: its health, pools, locks and stats.

use std::rc::Rc;

use nginx_safe::{Answer, nginx_version};
use openai_core::admin::{
    ActiveLock, ActiveLocks, Health, HealthStatus, LockContext, LockKind, PoolInfo, Problem,
    RECENT_DAYS, Stats, StatsQuery, SystemInfo, lock_id,
};
use openai_core::clients::Client;
use openai_core::lease::{HeldBy, Holding, Now, PoolGauges, PoolId, ServiceLock, holder_of};
use openai_core::metrics::Day;
use openai_core::view::{PoolView, UpstreamView};

use super::{json, unavailable};
use crate::config::{Main, Pool, PoolKey, Store};
use crate::gateway::Exchange;
use crate::pool::{self, PoolStanding, Standing, in_zone, locks};
use crate::telemetry::{metrics, now};

/// The clients of the configuration.
pub(super) fn clients(main: &Main) -> &[Client] {
    let clients = main.clients.as_ref();
    clients.map_or(&[], |clients| clients.as_slice())
}

/// The configured pool and key with these ids in the zone.
pub(super) fn key_of(main: &Main, pool: PoolId, key: u32) -> Option<(&Pool, Rc<PoolKey>)> {
    let (at, pool) = pool_of(main, pool)?;
    Some((pool, pool::key(at, key)?))
}

fn pool_of(main: &Main, pool: PoolId) -> Option<(usize, &Pool)> {
    let known = pool::taken_over()?;
    let at = known.pools.iter().position(|known| known.id == pool)?;
    Some((at, main.pools.get(at)?))
}

/// A service lock as listings show it.
pub(super) fn lock(main: &Main, lock: &ServiceLock, clock: Now) -> Option<ActiveLock> {
    let context = LockContext::from_text(&lock.context);
    Some(ActiveLock {
        lock_id: lock_id(lock.handle.nonce()),
        kind: LockKind::Lock,
        service_name: Some(lock.service.clone()),
        client: Some(lock.client.clone()),
        request_id: Some(lock.request.clone()),
        pool: pool_of(main, lock.pool)?.1.name.clone(),
        key_id: key_of(main, lock.pool, lock.key).map(|(_, key)| key.id.clone()),
        slot: lock.ordinal,
        fence: lock.fence,
        acquired_at: clock.timestamp_of(lock.taken_ms),
        expires_at: clock.timestamp_of(lock.until_ms),
        context: context.fields,
        context_truncated: context.truncated,
    })
}

fn holding(main: &Main, held: &Holding, clock: Now) -> Option<ActiveLock> {
    let of = match &held.holder {
        HeldBy::Service(service) => return lock(main, service, clock),
        HeldBy::Request(of) => *of,
    };
    let mut clients = clients(main).iter();
    let client = clients.find(|client| holder_of(&client.name) == of);
    let client = client.map(|client| client.name.clone());
    Some(ActiveLock {
        lock_id: lock_id(held.id),
        kind: LockKind::Request,
        service_name: client.clone(),
        client,
        request_id: None,
        pool: pool_of(main, held.pool)?.1.name.clone(),
        key_id: key_of(main, held.pool, held.key).map(|(_, key)| key.id.clone()),
        slot: held.ordinal,
        fence: held.fence,
        acquired_at: clock.timestamp_of(held.since_ms),
        expires_at: clock.timestamp_of(held.until_ms),
        context: Default::default(),
        context_truncated: false,
    })
}

impl<'a> Exchange<'a> {
    /// The pools of the location, with their positions and their ids in the zone.
    pub(super) fn pools(self) -> impl Iterator<Item = (usize, &'a Pool, PoolId)> {
        let known = pool::taken_over();
        let positions = self.location.api.pools().iter();
        positions.filter_map(move |&at| {
            let id = known.as_ref()?.pools.get(at)?.id;
            Some((at, self.main.pools.get(at)?, id))
        })
    }

    fn holdings(self) -> Option<Vec<Holding>> {
        let pools: Vec<_> = self.pools().map(|(_, _, id)| id).collect();
        in_zone(|zone| {
            zone.expire(now());
            zone.holdings(&pools)
        })
    }
}

/// All leases and service locks of the location's pools, sorted by pool, key and slot.
pub(super) fn held(here: Exchange<'_>, clock: Now) -> Result<Vec<ActiveLock>, Problem> {
    let held = here.holdings().ok_or_else(unavailable)?;
    let held = held
        .iter()
        .filter_map(|held| holding(here.main, held, clock));
    let mut locks: Vec<_> = held.collect();
    locks.sort_by(|a, b| (&a.pool, &a.key_id, a.slot).cmp(&(&b.pool, &b.key_id, b.slot)));
    Ok(locks)
}

pub(super) fn active(here: Exchange<'_>) -> Result<Answer, Problem> {
    let clock = now();
    let mut locks = held(here, clock)?;
    if let Some(service) = here.caller()?.sees_only() {
        locks.retain(|lock| lock.client.as_deref() == Some(service));
    }
    let answer = ActiveLocks {
        count: locks.len(),
        locks,
        timestamp: clock.timestamp(),
    };
    json(200, &answer)
}

/// The error for an id that is not a service lock's: it may be that of a request's lease.
pub(super) fn none_but_a_request(here: Exchange<'_>, id: u128) -> Problem {
    let held = here.holdings().unwrap_or_default();
    if held.iter().any(|held| held.id == id) {
        return Problem::held_by_request();
    }
    Problem::no_such_lock()
}

pub(super) fn health(here: Exchange<'_>) -> Result<Answer, Problem> {
    let standing = pool::standing(here.main).unwrap_or_default();
    let health = health_of(here, &pool_views(here, &standing), &standing);
    let code = if health.status == HealthStatus::Unhealthy {
        503
    } else {
        200
    };
    json(code, &health)
}

pub(super) fn health_of(here: Exchange<'_>, pools: &[PoolView], standing: &Standing) -> Health {
    // The upstreams to which requests with keys of the location's pools go.
    let served = here.main.served.borrow();
    let is_here = |at: usize| {
        let mut pools = served.iter().filter(|&&(upstream, _)| upstream == at);
        pools.any(|(_, pool)| here.location.api.pools().contains(pool))
    };
    let upstreams = upstreams(standing, is_here);
    Health::of(pools, &upstreams, now().timestamp())
}

/// The pools of the location.
pub(super) fn pool_views(here: Exchange<'_>, standing: &Standing) -> Vec<PoolView> {
    let pools = here.pools();
    let views = pools.map(|(at, pool, _)| pool_view(here.main, pool, standing.pools.get(at)));
    let mut views: Vec<_> = views.collect();
    let recent = metrics::recent(here.main, here.pools().map(|(_, pool, _)| pool));
    for (view, recent) in views.iter_mut().zip(recent) {
        view.recent = recent;
    }
    views
}

/// The state of a pool, without its requests of the last minute.
pub(super) fn pool_view(main: &Main, pool: &Pool, standing: Option<&PoolStanding>) -> PoolView {
    let keys = standing.into_iter().flat_map(|standing| &standing.keys);
    let mut view = PoolView {
        name: pool.name.clone(),
        gauges: standing.map_or_else(Default::default, |standing| standing.gauges),
        keys: keys.map(|(key, view)| (key.id.clone(), *view)).collect(),
        ..PoolView::default()
    };
    if let Store::Redlock {
        group,
        names,
        fallback,
        ..
    } = &pool.store
    {
        view.nodes = locks::node_states(*group, names).unwrap_or_default();
        let group = main.groups.get(*group);
        view.needed = group.map_or(1, |group| group.quorum.needed().into());
        view.falls_back = *fallback;
    }
    view
}

/// The upstreams with a circuit whose positions are wanted.
pub(super) fn upstreams(
    standing: &Standing,
    is_wanted: impl Fn(usize) -> bool,
) -> Vec<UpstreamView> {
    let circuits = standing.circuits.iter();
    let circuits = circuits.filter(|(at, ..)| is_wanted(*at));
    let views = circuits.map(|(_, name, circuit)| UpstreamView {
        name: name.clone(),
        circuit: *circuit,
    });
    views.collect()
}

/// Where a pool's slots are exclusive.
pub(super) fn backend(pool: &Pool) -> &'static str {
    match pool.store {
        Store::Redlock { .. } => "redlock",
        _ => "shm",
    }
}

/// Age of the zone, in seconds.
pub(super) fn uptime_seconds(clock: Now) -> Option<u64> {
    let wall_us = clock.wall_us;
    let started_us = in_zone(|zone| zone.started_us(wall_us))?;
    Some(wall_us.saturating_sub(started_us) / 1_000_000)
}

pub(super) fn system_info(here: Exchange<'_>) -> Result<Answer, Problem> {
    let clock = now();
    let uptime_seconds = uptime_seconds(clock).ok_or_else(unavailable)?;
    let standing = pool::standing(here.main).ok_or_else(unavailable)?;
    let info = |(at, pool, _): (usize, &Pool, PoolId)| {
        let standing = standing.pools.get(at);
        let gauges = standing.map_or_else(PoolGauges::default, |standing| standing.gauges);
        PoolInfo {
            pool: pool.name.clone(),
            backend: backend(pool),
            keys: pool::key_ids_of(at).unwrap_or_default(),
            slots: gauges.slots,
            held: gauges.held,
            waiting: gauges.waiting,
        }
    };
    let answer = SystemInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nginx: nginx_version(),
        uptime_seconds,
        pools: here.pools().map(info).collect(),
        timestamp: clock.timestamp(),
    };
    json(200, &answer)
}

pub(super) fn stats(here: Exchange<'_>) -> Result<Answer, Problem> {
    let asked = StatsQuery::parse(here.request.query())?;
    let client = here.caller()?;
    let service = match (client.sees_only(), asked.service.as_deref()) {
        (None, service) => service,
        (Some(own), asked) if asked.is_none_or(|name| name == own) => Some(own),
        (Some(_), _) => return Err(Problem::not_your_service()),
    };
    let figures = metrics::stats(here.main, asked.since, service).ok_or_else(unavailable)?;
    let mut clients = clients(here.main).iter();
    let mut is_client = |name: &str| clients.any(|client| client.name == name);
    if figures.services.is_empty() && service.is_some_and(|name| !is_client(name)) {
        return Err(Problem::no_such_service());
    }
    let clock = now();
    let recent = Day::of(clock.wall_us).before(RECENT_DAYS - 1);
    let recent = metrics::stats(here.main, Some(recent), service).ok_or_else(unavailable)?;
    json(
        200,
        &Stats::of(&figures, &recent, service, clock.timestamp()),
    )
}

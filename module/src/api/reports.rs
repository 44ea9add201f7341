//! What there is to tell of the gateway: who holds what, and how it does.

use std::rc::Rc;

use nginx_safe::{Answer, nginx_version};
use openai_core::admin::{
    ActiveLock, ActiveLocks, Context, Health, HealthStatus, LockKind, PoolFacts, PoolInfo, Problem,
    RECENT_DAYS, Stats, StatsQuery, SystemInfo, UpstreamFacts, lock_id, rfc3339,
};
use openai_core::circuit::Counts;
use openai_core::lease::{
    Avoid, HeldBy, Holding, Outlook, PoolGauges, PoolId, ServiceLock, holder_of,
};
use openai_core::metrics::Day;
use openai_wire::ApiError;

use super::{Here, json};
use crate::config::{Main, Pool, PoolKey, Store};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::{metrics, now};

/// Both clocks, to tell a moment of one in terms of the other.
#[derive(Clone, Copy)]
pub(super) struct Clock(openai_core::lease::Now);

impl Clock {
    pub(super) fn now() -> Self {
        Self(now())
    }

    pub(super) fn timestamp(self) -> String {
        rfc3339(self.0.wall_us)
    }

    /// So many milliseconds from now.
    pub(super) fn after(self, ms: u64) -> String {
        self.time(self.0.mono_ms.saturating_add(ms))
    }

    /// A moment of the monotonic clock.
    pub(super) fn time(self, mono_ms: u64) -> String {
        let ahead = mono_ms.saturating_sub(self.0.mono_ms) * 1_000;
        let ago = self.0.mono_ms.saturating_sub(mono_ms) * 1_000;
        rfc3339((self.0.wall_us + ahead).saturating_sub(ago))
    }
}

/// The pool and the key that the zone means, in the configuration.
pub(super) fn key_of(main: &Main, pool: PoolId, key: u32) -> Option<(&Pool, Rc<PoolKey>)> {
    let pool = pool_of(main, pool)?;
    Some((pool, pool.keys.get(key)?))
}

fn pool_of(main: &Main, pool: PoolId) -> Option<&Pool> {
    let at = main
        .taken_over()?
        .pools
        .iter()
        .position(|known| known.id == pool)?;
    main.pools.get(at)
}

/// A lock as listings show it.
pub(super) fn lock(main: &Main, lock: &ServiceLock, clock: Clock) -> Option<ActiveLock> {
    let context = Context::from_text(&lock.context);
    Some(ActiveLock {
        lock_id: lock_id(lock.handle.nonce()),
        kind: LockKind::Lock,
        service_name: Some(lock.service.clone()),
        client: Some(lock.client.clone()),
        request_id: Some(lock.request.clone()),
        pool: pool_of(main, lock.pool)?.name.clone(),
        key_id: key_of(main, lock.pool, lock.key).map(|(_, key)| key.id.clone()),
        slot: lock.ordinal,
        fence: lock.fence,
        acquired_at: clock.time(lock.taken_ms),
        expires_at: clock.time(lock.until_ms),
        context: context.fields,
        context_truncated: context.truncated,
    })
}

fn holding(main: &Main, held: &Holding, clock: Clock) -> Option<ActiveLock> {
    let of = match &held.holder {
        HeldBy::Service(service) => return lock(main, service, clock),
        HeldBy::Request(of) => *of,
    };
    let clients = main
        .clients
        .as_ref()
        .map_or(&[][..], |clients| clients.as_slice());
    let client = clients.iter().find(|client| holder_of(&client.name) == of);
    let client = client.map(|client| client.name.clone());
    Some(ActiveLock {
        lock_id: lock_id(held.id),
        kind: LockKind::Request,
        service_name: client.clone(),
        client,
        request_id: None,
        pool: pool_of(main, held.pool)?.name.clone(),
        key_id: key_of(main, held.pool, held.key).map(|(_, key)| key.id.clone()),
        slot: held.ordinal,
        fence: held.fence,
        acquired_at: clock.time(held.since_ms),
        expires_at: clock.time(held.until_ms),
        context: Default::default(),
        context_truncated: false,
    })
}

pub(super) fn unavailable() -> Problem {
    Problem::of(ApiError::LockUnavailable { retry_after: 1 })
}

impl<'a> Here<'a> {
    /// Whether all keys of a pool are revoked or out of quota, and not just over their
    /// rates.
    fn is_unusable(self, at: usize) -> bool {
        let outlook = self.main.taken_over();
        let outlook = outlook.and_then(|known| pool::outlook(known, at, Avoid::default()));
        matches!(outlook, Some(Outlook::Unhealthy { .. }))
    }

    /// The pools of the location: their positions, and how the zone knows them.
    pub(super) fn pools(self) -> impl Iterator<Item = (usize, &'a Pool, PoolId)> {
        let known = self.main.taken_over().map_or(&[][..], |known| &known.pools);
        let positions = self.location.api.pools().iter();
        positions.filter_map(|&at| Some((at, self.main.pools.get(at)?, known.get(at)?.id)))
    }

    fn gauges(self, at: usize) -> Option<PoolGauges> {
        pool::gauges(self.main.taken_over()?, at)
    }

    fn holdings(self) -> Option<Vec<Holding>> {
        let pools: Vec<_> = self.pools().map(|(_, _, id)| id).collect();
        in_zone(|zone| {
            zone.expire(now());
            zone.holdings(&pools)
        })
    }
}

/// What is held, by pool, key and slot.
pub(super) fn held(here: Here<'_>, clock: Clock) -> Result<Vec<ActiveLock>, Problem> {
    let held = here.holdings().ok_or_else(unavailable)?;
    let held = held
        .iter()
        .filter_map(|held| holding(here.main, held, clock));
    let mut locks: Vec<_> = held.collect();
    locks.sort_by(|a, b| (&a.pool, &a.key_id, a.slot).cmp(&(&b.pool, &b.key_id, b.slot)));
    Ok(locks)
}

pub(super) fn active(here: Here<'_>) -> Result<Answer, Problem> {
    let clock = Clock::now();
    let mut locks = held(here, clock)?;
    if let Some(service) = here.client()?.sees_only() {
        locks.retain(|lock| lock.client.as_deref() == Some(service));
    }
    let answer = ActiveLocks {
        count: locks.len(),
        locks,
        timestamp: clock.timestamp(),
    };
    json(200, &answer)
}

/// There is no lock of that name; but a request may have a lease.
pub(super) fn none_but_a_request(here: Here<'_>, id: u128) -> Problem {
    let held = here.holdings().unwrap_or_default();
    if held.iter().any(|held| held.id == id) {
        return Problem::held_by_request();
    }
    Problem::no_such_lock()
}

pub(super) fn health(here: Here<'_>) -> Result<Answer, Problem> {
    let health = health_of(here);
    let code = if health.status == HealthStatus::Unhealthy {
        503
    } else {
        200
    };
    json(code, &health)
}

pub(super) fn health_of(here: Here<'_>) -> Health {
    let pools = here.pools().map(|(_, pool, _)| pool);
    let recent = metrics::recent(here.main, pools);
    let recent = recent
        .into_iter()
        .chain(std::iter::repeat(Counts::default()));
    let pools = here.pools().zip(recent);
    let pools: Vec<_> = pools
        .map(|((at, pool, id), recent)| pool_facts(here, at, pool, id, recent))
        .collect();
    Health::of(&pools, &upstreams(here), Clock::now().timestamp())
}

fn pool_facts(here: Here<'_>, at: usize, pool: &Pool, id: PoolId, recent: Counts) -> PoolFacts {
    let (keys_cooling_down, keys) = in_zone(|zone| zone.cooling_of(id)).unwrap_or_default();
    let mut facts = PoolFacts {
        pool: pool.name.clone(),
        gauges: here.gauges(at),
        keys,
        keys_cooling_down,
        is_unusable: keys > 0 && keys_cooling_down == keys && here.is_unusable(at),
        recent,
        ..PoolFacts::default()
    };
    if let Store::Redlock {
        group,
        names,
        fallback,
        ..
    } = &pool.store
    {
        facts.nodes = locks::node_states(*group, names).unwrap_or_default();
        let group = here.main.groups.get(*group);
        facts.needed = group.map_or(1, |group| group.quorum.needed().into());
        facts.falls_back = *fallback;
    }
    facts
}

/// The upstreams that requests of the location's pools go to.
pub(super) fn upstreams(here: Here<'_>) -> Vec<UpstreamFacts> {
    let main = here.main;
    let Some(known) = main.taken_over() else {
        return vec![];
    };
    let served = main.served.borrow();
    let here_too = |at: usize| {
        let mut pools = served.iter().filter(|&&(upstream, _)| upstream == at);
        pools.any(|(_, pool)| here.location.api.pools().contains(pool))
    };
    let now = now();
    let circuits = in_zone(|zone| {
        let circuits = known.circuits.iter();
        let circuits = circuits.map(|&id| zone.circuit_status(id?, now));
        circuits.collect::<Vec<_>>()
    });
    let upstreams = main.upstreams.borrow();
    let known = upstreams.iter().zip(circuits.unwrap_or_default());
    let known = known.enumerate().filter(|&(at, _)| here_too(at));
    let facts = known.filter_map(|(_, (upstream, circuit))| {
        Some(UpstreamFacts {
            upstream: upstream.name.clone(),
            circuit: circuit?,
        })
    });
    facts.collect()
}

/// Where a pool's slots are exclusive.
pub(super) fn backend(pool: &Pool) -> &'static str {
    match pool.store {
        Store::Redlock { .. } => "redlock",
        _ => "shm",
    }
}

/// How long the zone has been there.
pub(super) fn uptime_seconds(clock: Clock) -> Option<u64> {
    let wall_us = clock.0.wall_us;
    let started_us = in_zone(|zone| zone.started_us(wall_us))?;
    Some(wall_us.saturating_sub(started_us) / 1_000_000)
}

pub(super) fn system_info(here: Here<'_>) -> Result<Answer, Problem> {
    let clock = Clock::now();
    let uptime_seconds = uptime_seconds(clock).ok_or_else(unavailable)?;
    let info = |(at, pool, _): (usize, &Pool, PoolId)| {
        let gauges = here.gauges(at).unwrap_or_default();
        PoolInfo {
            pool: pool.name.clone(),
            backend: backend(pool).to_owned(),
            keys: pool
                .keys
                .newest()
                .iter()
                .map(|key| key.id.clone())
                .collect(),
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

pub(super) fn stats(here: Here<'_>) -> Result<Answer, Problem> {
    let asked = StatsQuery::parse(here.request.query())?;
    let client = here.client()?;
    let service = match (client.sees_only(), asked.service.as_deref()) {
        (None, service) => service,
        (Some(own), asked) if asked.is_none_or(|name| name == own) => Some(own),
        (Some(_), _) => return Err(Problem::not_your_service()),
    };
    let figures = metrics::stats(here.main, asked.since, service).ok_or_else(unavailable)?;
    let is_client = |name: &str| {
        let clients = here.main.clients.iter().flat_map(|all| all.as_slice());
        clients.into_iter().any(|client| client.name == name)
    };
    if figures.services.is_empty() && service.is_some_and(|name| !is_client(name)) {
        return Err(Problem::no_such_service());
    }
    let clock = Clock::now();
    let recent = Day::of(clock.0.wall_us).before(RECENT_DAYS - 1);
    let recent = metrics::stats(here.main, Some(recent), service).ok_or_else(unavailable)?;
    json(
        200,
        &Stats::of(&figures, &recent, service, clock.timestamp()),
    )
}

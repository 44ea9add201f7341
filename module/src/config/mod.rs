//! The directives, and the configuration they make.

mod abort;
mod api;
mod clients;
mod event_log;
mod keys;
mod location;
mod next_key;
mod policy;
mod pool;
mod probe;
mod redlock;
mod routes;
mod source;
mod tls;
mod trace;
mod upstream;
mod usage;
mod values;
mod watch;
mod zone;

pub use abort::{ClientAbort, OnClientAbort};
pub use api::{LockKey, LockTtl, OpenaiApi};
pub use clients::ClientsBlock;
pub use event_log::EventLog;
pub use keys::{KeyTable, PoolKey, Sources};
pub use location::{
    Answers, Auth, Inspect, InspectInvalid, InspectMaxSize, InspectOversize, Location, OpenaiPool,
    OpenaiRoute, Otherwise,
};
pub use next_key::{AttemptsHeader, NextKeyOn, NextKeyTimeout, NextKeyTries};
pub use pool::{Pool, PoolBlock, Store};
pub use probe::ProbeSettings;
pub use redlock::{NodeAddress, RedlockBlock, RedlockGroup};
pub use routes::{RouteBlock, RoutesBlock, Target};
pub use source::Stamp;
pub use trace::{ProcessTimeHeader, TraceOn};
pub use upstream::{Upstream, UpstreamBlock};
pub use usage::{
    IncludeUsage, Metrics, MetricsConfig, PricesFile, SnapshotSettings, StatsFile, StatsZone,
    UsageOn,
};
pub use watch::KeyWatch;
pub use zone::ZoneSize;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use nginx_safe::{Conf, ConfResult, LineLog, MainConf, SharedZone};
use openai_core::circuit::CircuitId;
use openai_core::clients::{Clients, Measure};
use openai_core::lease::{PoolConfig, PoolId};
use openai_core::prices::Prices;

/// What the `http` block says.
#[derive(Default)]
pub struct Main {
    pub zone: zone::Declared,
    pub pools: Vec<Pool>,
    pub groups: Vec<RedlockGroup>,
    pub routes: Vec<RouteBlock>,
    pub clients: Option<Clients>,
    pub prices: Option<Prices>,
    pub metrics: usage::MetricsConfig,
    /// Where events go besides nginx's error log.
    pub event_log: Option<LineLog>,
    /// Locations add those that only they name.
    pub upstreams: RefCell<Vec<Upstream>>,
    /// Which upstreams are asked with the keys of which pools.
    pub served: RefCell<Vec<(usize, usize)>>,
    pub shared: Option<SharedZone>,
    /// How often key files are looked at, unless they are not.
    key_watch: watch::Interval,
    /// Where keys come from, if they are watched.
    pub sources: Option<Arc<Sources>>,
    channels: usize,
    taken_over: OnceCell<TakenOver>,
}

/// The configuration as the shared zone knows it.
pub struct TakenOver {
    pub generation: u64,
    /// Names this machine in the queues of Redlock pools, with this configuration.
    pub instance: String,
    pub pools: Vec<KnownPool>,
    /// The circuits of the upstreams, in the configuration's order; those that there was
    /// room for.
    pub circuits: Vec<Option<CircuitId>>,
}

/// A pool as the shared zone knows it.
pub struct KnownPool {
    pub id: PoolId,
}

impl Main {
    /// The position of the pool of this name.
    pub fn pool_named(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name == name)
    }

    /// The pool of the first target of all requests of a location, and its position.
    pub fn first_pool(&self, place: &Location) -> Option<(usize, &Pool)> {
        let at = place.targets()?.first()?.pool;
        self.pools.get(at).map(|pool| (at, pool))
    }

    /// How the shared zone knows this configuration.
    pub fn taken_over(&self) -> Option<&TakenOver> {
        self.taken_over.get()
    }

    /// Whether machines tell each other of their totals.
    pub fn shares_stats(&self) -> bool {
        self.pools.iter().any(|pool| match &pool.store {
            Store::Redlock { group, .. } => {
                let group = self.groups.get(*group);
                group.is_some_and(|group| group.stats_ms.is_some())
            }
            _ => false,
        })
    }

    /// The pools with their newest keys, for the zone.
    pub fn for_zone(&self) -> Vec<PoolConfig> {
        self.pools.iter().map(Pool::for_zone).collect()
    }

    /// Notes how the shared zone knows this configuration: once.
    pub fn take_over(&self, known: TakenOver) {
        let _ = self.taken_over.set(known);
    }

    /// How many workers may want to be woken.
    pub fn channels(&self) -> usize {
        self.channels
    }
}

impl MainConf for Main {
    fn complete(&mut self, conf: &Conf) -> ConfResult {
        self.warn_of_shared_keys(conf);
        self.check_quotas()?;
        self.resolve_stores()?;
        self.resolve_routes()?;
        if self.pools.is_empty() {
            return Ok(());
        }
        self.watch_keys(conf);
        self.channels = (4 * conf.workers()).max(16);
        let zone = SharedZone::declare(conf, self.zone.name(), self.zone.size(), self);
        self.shared = Some(zone.map_err(|e| format!("openai_zone: {e}"))?);
        self.metrics.declare(conf)
    }
}

impl Main {
    /// Exclusivity is kept within a pool: a key in two of them is leased by both.
    fn warn_of_shared_keys(&self, conf: &Conf) {
        for (at, pool) in self.pools.iter().enumerate() {
            for other in &self.pools[..at] {
                let others = other.keys.newest();
                let known = |f| others.iter().any(|k| k.fingerprint == f);
                if let Some(key) = pool.keys.newest().iter().find(|k| known(k.fingerprint)) {
                    conf.warn(&format!(
                        "openai_pool: the key \"{}\" of pool \"{}\" is also in pool \"{}\"; \
                         each pool leases it on its own",
                        key.id, pool.name, other.name
                    ));
                }
            }
        }
    }
}

impl Main {
    /// Nothing would ever come to a bound of costs that nobody knows.
    fn check_quotas(&self) -> ConfResult {
        let mut clients = self.clients.iter().flat_map(|clients| clients.as_slice());
        let by_cost = clients.find(|client| {
            let mut limits = client.quota.limits().iter();
            limits.any(|limit| limit.measure == Measure::Cost)
        });
        match by_cost.filter(|_| self.prices.is_none()) {
            Some(client) => Err(format!(
                "openai_clients: the quota of \"{}\" has a cost, which needs \"openai_prices\"",
                client.name
            )),
            None => Ok(()),
        }
    }

    fn resolve_stores(&mut self) -> ConfResult {
        let groups = &self.groups;
        for pool in &mut self.pools {
            pool.resolve_store(groups)
                .map_err(|e| format!("openai_pool \"{}\": {e}", pool.name))?;
        }
        // A node that lost its memory must not vote on locks that it may have known.
        for (at, group) in self.groups.iter_mut().enumerate() {
            let uses =
                |pool: &&Pool| matches!(&pool.store, Store::Redlock { group, .. } if *group == at);
            let ttls = self.pools.iter().filter(uses).map(|pool| pool.ttl_ms);
            let (longest, shortest) = (ttls.clone().max(), ttls.min());
            if let (Some(renewal), Some(shortest)) = (group.renewal_ms, shortest)
                && renewal > shortest / 2
            {
                return Err(format!(
                    "openai_redlock \"{}\": renew: {renewal}ms is more than half of a lease_ttl, {shortest}ms",
                    group.name
                ));
            }
            if let (Some(stated), Some(longest)) = (group.quarantine_ms, longest)
                && stated < longest
            {
                return Err(format!(
                    "openai_redlock \"{}\": quarantine: {stated}ms is shorter than a lease_ttl, {longest}ms",
                    group.name
                ));
            }
            group.quarantine_ms = group.quarantine_ms.or(longest);
        }
        Ok(())
    }
}

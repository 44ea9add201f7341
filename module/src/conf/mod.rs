//! The directives, and the configuration they make.

mod clients;
mod location;
mod next_key;
mod policy;
mod pool;
mod probe;
mod redlock;
mod routes;
mod source;
mod tls;
mod upstream;
mod usage;
mod values;
mod zone;

pub use clients::ClientsBlock;
pub use location::{
    Auth, Inspect, InspectInvalid, InspectMaxSize, InspectOversize, Location, OpenaiPool,
    OpenaiRoute, Otherwise,
};
pub use next_key::{AttemptsHeader, Fault, NextKeyOn, NextKeyTimeout, NextKeyTries};
pub use pool::{Pool, PoolBlock, Store};
pub use probe::ProbeSettings;
pub use redlock::{RedlockBlock, RedlockGroup};
pub use routes::{RouteBlock, RoutesBlock, Target};
pub use upstream::{Upstream, UpstreamBlock};
pub use usage::{IncludeUsage, Metrics, PricesFile, StatsZone, UsageOn};
pub use zone::ZoneSize;

use std::cell::{OnceCell, RefCell};

use openai_core::circuit::CircuitId;
use openai_core::clients::Clients;
use openai_core::lease::{PoolConfig, PoolId, ReconcileError};
use openai_core::prices::Prices;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::adapter::now;
use crate::ffi::{Conf, ConfResult, MainConf, SharedZone};

/// What the `http` block says.
#[derive(Default)]
pub struct Main {
    pub zone: zone::Declared,
    pub pools: Vec<Pool>,
    pub groups: Vec<RedlockGroup>,
    pub routes: Vec<RouteBlock>,
    pub clients: Option<Clients>,
    pub prices: Option<Prices>,
    pub totals: usage::Totals,
    /// Locations add those that only they name.
    pub upstreams: RefCell<Vec<Upstream>>,
    /// Which upstreams are asked with the keys of which pools.
    pub served: RefCell<Vec<(usize, usize)>>,
    pub shared: Option<SharedZone>,
    channels: usize,
    taken_over: OnceCell<TakenOver>,
}

/// The configuration as the shared zone knows it.
pub struct TakenOver {
    pub generation: u64,
    /// Names this machine in the queues of Redlock pools, with this configuration.
    pub instance: String,
    pub pools: Vec<KnownPool>,
    /// The circuits of the upstreams, in the configuration's order.
    pub circuits: Vec<CircuitId>,
}

/// A pool as the shared zone knows it.
pub struct KnownPool {
    pub id: PoolId,
    /// For each key of the zone that the pool has, its position in the
    /// configuration; ordered by the former.
    keys: Vec<(u32, usize)>,
}

impl KnownPool {
    fn new(id: PoolId, keys: Vec<u32>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().zip(0..).collect();
        keys.sort_unstable();
        Self { id, keys }
    }

    /// Its keys: their indexes in the zone, and positions in the configuration.
    pub fn keys(&self) -> impl Iterator<Item = (u32, usize)> {
        self.keys.iter().copied()
    }

    /// The position in the configuration of a key of the zone.
    pub fn position(&self, key: u32) -> Option<usize> {
        let at = self
            .keys
            .binary_search_by_key(&key, |&(index, _)| index)
            .ok()?;
        Some(self.keys[at].1)
    }
}

impl Main {
    /// The position of the pool of this name.
    pub fn pool_named(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name == name)
    }

    /// How the shared zone knows this configuration.
    pub fn taken_over(&self) -> Option<&TakenOver> {
        self.taken_over.get()
    }

    fn for_zone(&self) -> Vec<PoolConfig> {
        self.pools.iter().map(Pool::for_zone).collect()
    }

    /// Takes the shared zone over from the configuration before. From here on
    /// nothing can fail that would leave the old one in use.
    pub fn commit(&self) -> ConfResult {
        let Some(shared) = self.shared else {
            return Ok(());
        };
        let pools = self.for_zone();
        let accepted = crate::adapter::change(shared, |zone| {
            let accepted = zone.accept(&pools, now())?;
            let circuit = |u: &Upstream| zone.circuit(&u.name, &u.circuit, now());
            Ok((
                accepted,
                self.upstreams.borrow().iter().map_while(circuit).collect(),
            ))
        });
        let accepted = accepted.ok_or("openai_zone: the zone is not there")?;
        let (accepted, circuits) =
            accepted.map_err(|e: ReconcileError| format!("openai_zone: {e}"))?;
        let known = accepted
            .pools
            .into_iter()
            .map(|(id, keys)| KnownPool::new(id, keys));
        let generation = accepted.generation;
        let _ = self.taken_over.set(TakenOver {
            generation,
            instance: format!("{:016x}", StdRng::from_os_rng().next_u64()),
            pools: known.collect(),
            circuits,
        });
        crate::totals::introduce(self);
        Ok(())
    }
}

impl MainConf for Main {
    fn complete(&mut self, conf: &Conf) -> ConfResult {
        self.warn_of_shared_keys(conf);
        self.resolve_stores()?;
        self.resolve_routes()?;
        if self.pools.is_empty() {
            return Ok(());
        }
        self.channels = (4 * conf.workers()).max(16);
        let zone = SharedZone::declare(conf, self.zone.name(), self.zone.size(), self);
        self.shared = Some(zone.map_err(|e| format!("openai_zone: {e}"))?);
        self.totals.declare(conf)
    }
}

impl Main {
    /// Exclusivity is kept within a pool: a key in two of them is leased by both.
    fn warn_of_shared_keys(&self, conf: &Conf) {
        for (at, pool) in self.pools.iter().enumerate() {
            for other in &self.pools[..at] {
                let known = |f| other.keys.iter().any(|k| k.fingerprint == f);
                if let Some(key) = pool.keys.iter().find(|k| known(k.fingerprint)) {
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

impl crate::ffi::ZoneContent for Main {
    const DIRECTIVE: &'static str = "openai_zone";
    const KIND: usize = 0;

    fn channels(&self) -> usize {
        self.channels
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let zone = openai_core::lease::Zone::format(bytes).map_err(|e| self.misfit(&e))?;
        zone.check(&self.for_zone()).map_err(|e| self.misfit(&e))
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let mut zone = openai_core::lease::Zone::open(bytes).map_err(|e| self.misfit(&e))?;
        if interrupted {
            zone.recover(now());
        }
        zone.check(&self.for_zone()).map_err(|e| self.misfit(&e))
    }
}

impl Main {
    fn misfit(&self, error: &dyn std::error::Error) -> String {
        format!("openai_zone \"{}\": {error}", self.zone.name())
    }
}

//! The directives, and the configuration that they make.

#[macro_use]
mod lines;

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

pub use abort::ClientAbort;
pub use keys::{PoolKey, Sources};
pub use location::{Answers, Location, Otherwise};
pub use pool::{Pool, Store};
pub use probe::ProbeSettings;
pub use redlock::{NodeAddress, RedlockGroup};
pub use routes::{RouteBlock, Target};
pub use source::Stamp;
pub use upstream::Upstream;
pub use usage::{MetricsContent, SnapshotSettings};
pub use zone::Needs;

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::Arc;

use nginx_safe::{
    Args, Conf, Directive, Directives, MainConf, Mistake, Scope, SharedZone, directive_entry,
};
use openai_core::clients::Clients;
use openai_core::lease::PoolConfig;
use openai_core::prices::Prices;
use openai_core::redlock::{TimesError, check_times};

use lines::Placed;
use values::DAY;
use zone::ZoneSize;

/// Makes the table of directives.
macro_rules! directives {
    ($($name:literal $scope:ident $args:ident $target:ident $read:expr;)+) => {
        Directives::new([$({
            struct Entry;
            impl Directive for Entry {
                type Settings = $target;
                const NAME: &'static CStr = $name;
                const SCOPE: Scope = Scope::$scope;
                const ARGS: Args = Args::$args;
                fn read(conf: &mut Conf, target: &mut $target) -> lines::Read {
                    let read: fn(&mut Conf, &mut $target) -> lines::Read = $read;
                    read(conf, target)
                }
            }
            directive_entry::<Entry>()
        },)+])
    };
}

/// Stores the arguments of a directive in a field; `placed`: with its position.
macro_rules! note {
    (placed $($field:ident).+, $read:expr) => {
        |conf, target| lines::one(conf, &mut target.$($field).+, lines::placed(conf, $read))
    };
    ($how:ident $($field:ident).+, $read:expr) => {
        |conf, target| lines::$how(conf, &mut target.$($field).+, $read)
    };
}

/// The directives: levels, number of arguments, target, and reader.
pub const DIRECTIVES: Directives<31> = directives! {
    c"openai_zone" Http One Main note!(placed zone, zone::zone);
    c"openai_pool" Http NamedBlock Main pool::read;
    c"openai_redlock" Http NamedBlock Main redlock::read;
    c"openai_key_watch" Http One Main note!(one key_watch, values::or_off(values::time(100..=DAY)));
    c"openai_upstream" Http NamedBlock Main upstream::read;
    c"openai_clients" Http Block Main clients::read;
    c"openai_routes" Http NamedBlock Main routes::read;
    c"openai_prices" Http One Main usage::prices;
    c"openai_stats" Http One Main note!(placed metrics.zone, usage::zone);
    c"openai_stats_file" Http Many Main usage::stats_file;
    c"openai_event_log" Http Many Main event_log::read;
    c"openai" Everywhere Many Location location::openai;
    c"openai_route" Everywhere One Location location::route;
    c"openai_auth" Everywhere Flag Location note!(placed auth, values::flag);
    c"openai_inspect" Everywhere Flag Location note!(one inspects, values::flag);
    c"openai_inspect_max_size" Everywhere One Location note!(one inspect_max, values::size);
    c"openai_inspect_oversize" Everywhere One Location note!(one oversize, location::otherwise);
    c"openai_inspect_invalid" Everywhere One Location note!(one invalid, location::otherwise);
    c"openai_api" Location Many Location api::read;
    c"openai_lock_ttl" Everywhere Two Location note!(many api.ttl_ms, api::ttl);
    c"openai_lock_key" Everywhere Flag Location note!(one api.shows_key, values::flag);
    c"openai_next_key" Everywhere Many Location note!(many next_key.conditions, next_key::conditions);
    c"openai_next_key_tries" Everywhere One Location note!(one next_key.tries, next_key::tries);
    c"openai_next_key_timeout" Everywhere One Location note!(one next_key.timeout_ms, next_key::timeout_ms);
    c"openai_attempts_header" Everywhere Flag Location note!(one next_key.adds_header, values::flag);
    c"openai_usage" Everywhere Flag Location note!(one usage.is_read, values::flag);
    c"openai_include_usage" Everywhere Flag Location note!(one usage.include, values::flag);
    c"openai_metrics" Location None Location usage::metrics;
    c"openai_client_abort" Everywhere Many Location note!(many client_abort, ClientAbort::parse);
    c"openai_trace" Everywhere Flag Location note!(one trace.is_on, values::flag);
    c"openai_process_time_header" Everywhere Flag Location note!(one trace.adds_time, values::flag);
};

/// Settings of the `http` block.
#[derive(Default)]
pub struct Main {
    zone: Option<Placed<ZoneSize>>,
    pub pools: Vec<Pool>,
    pub groups: Vec<RedlockGroup>,
    pub routes: Vec<RouteBlock>,
    pub clients: Option<Clients>,
    /// Name in the first quota that limits costs.
    by_cost: Option<Placed<String>>,
    pub prices: Option<Prices>,
    pub metrics: usage::MetricsConfig,
    /// Whether events go to a separate log besides nginx's error log.
    has_event_log: bool,
    /// Locations add upstreams that only they use.
    pub upstreams: RefCell<Vec<Upstream>>,
    /// Pairs of positions: an upstream, and a pool whose keys are sent there.
    pub served: RefCell<Vec<(usize, usize)>>,
    pub shared: Option<SharedZone>,
    /// Interval for checking key files, in milliseconds; `Some(None)` if they are not watched.
    key_watch: Option<Option<u64>>,
    /// Sources of the keys, if they are watched.
    pub sources: Option<Arc<Sources>>,
}

impl Main {
    /// The pool of the first target, and its position, if all requests of the location have
    /// the same targets.
    pub fn first_pool(&self, place: &Location) -> Option<(usize, &Pool)> {
        let at = place.targets.as_ref()?.first()?.pool;
        self.pools.get(at).map(|pool| (at, pool))
    }

    /// Whether machines share their stats through a group.
    pub fn shares_stats(&self) -> bool {
        self.pools.iter().any(|pool| match &pool.store {
            Store::Redlock { group, .. } => {
                let group = self.groups.get(*group);
                group.is_some_and(|group| group.stats_ms.is_some())
            }
            _ => false,
        })
    }

    /// The pools with their keys, for the zone.
    pub fn for_zone(&self) -> Vec<PoolConfig> {
        self.pools.iter().map(Pool::for_zone).collect()
    }
}

impl MainConf for Main {
    fn complete(&mut self, conf: &Conf) -> Result<(), Mistake> {
        self.warn_of_shared_keys(conf);
        self.check_quotas()?;
        self.resolve_stores()?;
        self.resolve_routes()?;
        if self.pools.is_empty() {
            return Ok(());
        }
        self.watch_keys(conf);
        let needs = Needs {
            channels: (4 * conf.workers()).max(16),
            pools: self.for_zone(),
            at: self.zone.as_ref().map(|zone| zone.at.clone()),
        };
        let default = ("openai", 8 << 20);
        self.shared = Some(zone::declare(conf, self.zone.as_ref(), default, needs)?);
        self.metrics.declare(conf)
    }
}

impl Main {
    /// Warns of a key in two pools: each pool leases its slots independently.
    fn warn_of_shared_keys(&self, conf: &Conf) {
        for (at, pool) in self.pools.iter().enumerate() {
            for other in &self.pools[..at] {
                let known = |f| other.keys.iter().any(|k| k.fingerprint == f);
                if let Some(key) = pool.keys.iter().find(|k| known(k.fingerprint)) {
                    conf.warn(&format!(
                        "openai_pool: the key \"{}\" of pool \"{}\" is also in pool \"{}\"; \
                         the pools lease it independently of each other",
                        key.id, pool.name, other.name
                    ));
                }
            }
        }
    }

    /// Without prices, costs are unknown and a quota of costs would never be reached.
    fn check_quotas(&self) -> Result<(), Mistake> {
        match self.by_cost.as_ref().filter(|_| self.prices.is_none()) {
            Some(quota) => Err(quota.mistake(format!(
                "openai_clients: quota: the cost limit of \"{}\" needs \
                 \"openai_prices PATH;\" in http",
                quota.value
            ))),
            None => Ok(()),
        }
    }

    fn resolve_stores(&mut self) -> Result<(), Mistake> {
        let groups = &self.groups;
        for pool in &mut self.pools {
            pool.resolve_store(groups)?;
        }
        for (at, group) in self.groups.iter_mut().enumerate() {
            let uses =
                |pool: &&Pool| matches!(&pool.store, Store::Redlock { group, .. } if *group == at);
            let ttls = self.pools.iter().filter(uses).map(|pool| pool.ttl_ms);
            let checked = check_times(group.renewal_ms, group.quarantine_ms, ttls);
            group.quarantine_ms = checked.map_err(|e| {
                let e = match e {
                    TimesError::RenewalTooLong { ms, most_ms } => format!(
                        "renew: {} is too long, it must be up to {}, half of the shortest lease_ttl",
                        values::as_time(ms),
                        values::as_time(most_ms)
                    ),
                    TimesError::QuarantineTooShort { ms, least_ms } => format!(
                        "quarantine: {} is too short, it must be {} or more, the longest lease_ttl",
                        values::as_time(ms),
                        values::as_time(least_ms)
                    ),
                };
                let name = &group.name;
                group.at.mistake(format!("openai_redlock \"{name}\": {e}"))
            })?;
        }
        Ok(())
    }
}

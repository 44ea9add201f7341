//! Gauges: the current state of pools, keys and circuits.

use openai_wire::Verdict;

use super::exposition::{Exposition, Labels, by_name, labels, values};
use crate::clients::QuotaLimit;
use crate::lease::{KeyView, PoolGauges};
use crate::view::{PoolView, UpstreamView};

/// A quota of a client.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuota<'a> {
    /// The client.
    pub service: &'a str,
    /// The limit.
    pub limit: QuotaLimit,
    /// The amount used.
    pub used: u64,
}

/// How long a client counts as active after its last request, in seconds.
pub const ACTIVE_SECONDS: u64 = 300;

/// Current state of the gateway.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live<'a> {
    /// The module's version.
    pub version: &'a str,
    /// All pools of the configuration.
    pub pools: &'a [PoolView],
    /// All upstreams with a circuit.
    pub upstreams: &'a [UpstreamView],
    /// All quotas.
    pub quotas: &'a [LiveQuota<'a>],
    /// Clients with a request in the last [`ACTIVE_SECONDS`].
    pub active_users: usize,
    /// Whether changed key files have an error, so that the keys stayed as they were.
    pub keys_refused: bool,
}

impl Live<'_> {
    /// Writes all gauges, or those that a service may see: the pools, and its own quotas.
    pub(super) fn add_to(&self, all: &mut Exposition, service: Option<&str>) {
        self.add_pools(all);
        if service.is_none() {
            self.add_keys(all);
            self.add_circuits(all);
        }
        self.add_quotas(all, service);
        if service.is_none() {
            let refused = f64::from(u8::from(self.keys_refused));
            all.add("active_users", [("", self.active_users as f64)]);
            all.add("openai_keys_refused", [("", refused)]);
        }
        let version = labels([("version", self.version)]);
        all.add("openai_gateway_info", [(&*version, 1.0)]);
    }

    fn add_pools(&self, all: &mut Exposition) {
        let pools = self.pools.iter();
        let pools = pools.map(|pool| (labels([("pool", &pool.name)]), pool));
        let pools: Vec<_> = pools.collect();
        let gauge = |pick: fn(&PoolGauges) -> u32| {
            values(&pools, move |pool| Some(pick(&pool.gauges).into()))
        };
        let nodes = |count: fn(&PoolView) -> usize| {
            let has_nodes = |pool: &&PoolView| !pool.nodes.is_empty();
            values(&pools, move |pool| {
                has_nodes(pool).then(|| count(pool) as f64)
            })
        };
        all.add("openai_service_active_locks", gauge(|pool| pool.held));
        all.add("openai_pool_slots", gauge(|pool| pool.slots));
        all.add("openai_pool_waiting", gauge(|pool| pool.waiting));
        let voting = nodes(|pool| pool.nodes_in(&["up"]));
        all.add("openai_redlock_nodes_voting", voting);
        all.add("openai_redlock_nodes", nodes(|pool| pool.nodes.len()));
    }

    fn add_keys(&self, all: &mut Exposition) {
        let keys = self.pools.iter().flat_map(|pool| {
            let keys = pool.keys.iter();
            keys.map(|(id, view)| ([("pool", &*pool.name), ("key", id)], view))
        });
        let states = keys.clone().map(|([pool, key], view)| {
            let state = ("state", view.state().as_str());
            match view.cause {
                Some(cause) => labels([pool, key, state, ("cause", cause.as_str())]),
                None => labels([pool, key, state]),
            }
        });
        let states: Vec<_> = states.map(|labels| (labels, ())).collect();
        all.add("openai_key_state", values(&states, |()| Some(1.0)));
        let keys: Vec<_> = keys.map(|(names, view)| (labels(names), view)).collect();
        let value = |pick: fn(&KeyView) -> Option<f64>| values(&keys, move |view| pick(view));
        all.add("openai_key_in_flight", value(|key| Some(key.in_use.into())));
        let left = value(|key| key.cause.map(|_| key.left_ms as f64 / 1e3));
        all.add("openai_key_cooldown_seconds", left);
        let requests = value(|key| key.requests.map(|left| left as f64));
        all.add("openai_key_remaining_requests", requests);
        let tokens = value(|key| key.tokens.map(|left| left as f64));
        all.add("openai_key_remaining_tokens", tokens);
        let attempts = by_name(&keys, "verdict", 1, |view| {
            let verdicts = Verdict::ALL.into_iter().zip(view.attempts);
            verdicts.map(|(verdict, count)| (verdict.as_str(), count.into()))
        });
        all.add("openai_key_attempts_total", attempts);
    }

    fn add_circuits(&self, all: &mut Exposition) {
        let circuits = self.upstreams.iter();
        let circuits = circuits.map(|it| (labels([("upstream", &it.name)]), it.circuit));
        let circuits: Vec<_> = circuits.collect();
        let states = circuits.iter().map(|(labels, circuit)| {
            let state = circuit.state.as_str();
            (Labels::with(labels, "state", state), 1.0)
        });
        all.add("openai_circuit_state", states);
        let attempts = values(&circuits, |circuit| Some(circuit.all.into()));
        all.add("openai_circuit_attempts", attempts);
        let failures = values(&circuits, |circuit| Some(circuit.failed.into()));
        all.add("openai_circuit_failures", failures);
        let trips = values(&circuits, |circuit| Some(circuit.trips.into()));
        all.add("openai_circuit_trips", trips);
    }

    fn add_quotas(&self, all: &mut Exposition, service: Option<&str>) {
        let quotas = self.quotas.iter();
        let quotas = quotas.filter(|quota| service.is_none_or(|name| name == quota.service));
        let quotas = quotas.map(|quota| {
            let kind = ("kind", quota.limit.measure());
            let period = ("period", quota.limit.period());
            (labels([("service", quota.service), kind, period]), quota)
        });
        let quotas: Vec<_> = quotas.collect();
        let most = values(&quotas, |it| Some(it.limit.shown(it.limit.most)));
        all.add("openai_service_quota", most);
        let used = values(&quotas, |it| Some(it.limit.shown(it.used)));
        all.add("openai_service_quota_used", used);
    }
}

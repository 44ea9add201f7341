//! Gauges: the current state of pools, keys and circuits.

use openai_wire::Verdict;

use super::exposition::{Exposition, Labels, labels};
use crate::circuit::CircuitView;
use crate::clients::QuotaLimit;
use crate::lease::KeyView;

/// Current state of a pool.
#[derive(Debug, Clone, Copy)]
pub struct LivePool<'a> {
    /// Name.
    pub name: &'a str,
    /// Held leases.
    pub held: u32,
    /// Number of waiting requests.
    pub waiting: u32,
    /// Number of slots.
    pub slots: u32,
    /// For pools with locks: the nodes of its group that can vote, and all of its nodes.
    pub nodes: Option<(u32, u32)>,
}

/// Current state of a key.
#[derive(Debug, Clone, Copy)]
pub struct LiveKey<'a> {
    /// The pool.
    pub pool: &'a str,
    /// The id.
    pub id: &'a str,
    /// State and counts from the zone.
    pub view: KeyView,
}

/// Current state of the circuit of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct LiveCircuit<'a> {
    /// The upstream.
    pub upstream: &'a str,
    /// State and counts from the zone.
    pub status: CircuitView,
}

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
    pub pools: &'a [LivePool<'a>],
    /// All keys of the pools.
    pub keys: &'a [LiveKey<'a>],
    /// All circuits.
    pub circuits: &'a [LiveCircuit<'a>],
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
            all.gauges(
                "active_users",
                "Clients with a request that ended in the last 5 minutes.",
                std::iter::once((&String::new(), self.active_users as f64)),
            );
            all.gauges(
                "openai_keys_refused",
                "1 while changed key files have an error and the keys stay as they were.",
                std::iter::once((&String::new(), f64::from(u8::from(self.keys_refused)))),
            );
        }
        all.gauges(
            "openai_gateway_info",
            "Always 1; the label version is the version of the module.",
            std::iter::once((&labels([("version", self.version)]), 1.0)),
        );
    }

    fn add_pools(&self, all: &mut Exposition) {
        let pools = named(self.pools, |pool| labels([("pool", pool.name)]));
        let mut of = |name: &str, help: &str, pick: fn(&LivePool<'_>) -> Option<u32>| {
            let told = pools
                .iter()
                .filter_map(|(labels, pool)| Some((labels, pick(pool)?.into())));
            all.gauges(name, help, told);
        };
        of(
            "openai_service_active_locks",
            "Held leases by pool.",
            |pool| Some(pool.held),
        );
        of("openai_pool_slots", "Slots by pool.", |pool| {
            Some(pool.slots)
        });
        of("openai_pool_waiting", "Waiting requests by pool.", |pool| {
            Some(pool.waiting)
        });
        of(
            "openai_redlock_nodes_voting",
            "Redis servers of the pool's group that can vote.",
            |pool| pool.nodes.map(|(voting, _)| voting),
        );
        of(
            "openai_redlock_nodes",
            "Redis servers of the pool's group.",
            |pool| pool.nodes.map(|(_, all)| all),
        );
    }

    fn add_keys(&self, all: &mut Exposition) {
        let keys = named(self.keys, |key| {
            labels([("pool", key.pool), ("key", key.id)])
        });
        let states: Vec<_> = self.keys.iter().map(LiveKey::state_labels).collect();
        all.gauges(
            "openai_key_state",
            "1 for the state of the key: active, cooling_down (with its cause) or probation. Others are absent.",
            states.iter().map(|labels| (labels, 1.0)),
        );
        let mut of = |name: &str, help: &str, pick: fn(&KeyView) -> Option<f64>| {
            let told = keys
                .iter()
                .filter_map(|(labels, key)| Some((labels, pick(&key.view)?)));
            all.gauges(name, help, told);
        };
        of("openai_key_in_flight", "Held leases on the key.", |view| {
            Some(view.in_use.into())
        });
        of(
            "openai_key_cooldown_seconds",
            "Remaining cool-down of the key; absent when it is not cooling down.",
            |view| view.cause.map(|_| view.left_ms as f64 / 1e3),
        );
        of(
            "openai_key_remaining_requests",
            "Requests left of the provider's limit for the key; absent when unknown.",
            |view| view.requests.map(|left| left as f64),
        );
        of(
            "openai_key_remaining_tokens",
            "Tokens left of the provider's limit for the key; absent when unknown.",
            |view| view.tokens.map(|left| left as f64),
        );
        let attempts = keys.iter().flat_map(|(labels, key)| {
            let told = Verdict::ALL.into_iter().zip(key.view.attempts);
            // The series `ok` always exists, so that a rate has a first value.
            told.filter(|&(verdict, count)| count > 0 || verdict == Verdict::Ok)
                .map(|(verdict, count)| {
                    let labels = Labels::with(labels, "verdict", verdict.as_str());
                    (labels, count.into())
                })
        });
        all.counters(
            "openai_key_attempts_total",
            "Attempts with the key, by verdict.",
            attempts,
        );
    }

    fn add_circuits(&self, all: &mut Exposition) {
        let circuits = named(self.circuits, |it| labels([("upstream", it.upstream)]));
        all.gauges(
            "openai_circuit_state",
            "1 for the state of the upstream's circuit: closed, open or half_open. Others are absent.",
            circuits.iter().map(|(labels, circuit)| {
                let state = circuit.status.state.as_str();
                (Labels::with(labels, "state", state), 1.0)
            }),
        );
        let mut of = |name: &str, help: &str, pick: fn(&CircuitView) -> u32| {
            let told = circuits.iter();
            let told = told.map(|(labels, circuit)| (labels, pick(&circuit.status).into()));
            all.gauges(name, help, told);
        };
        of(
            "openai_circuit_attempts",
            "Attempts in the window of the upstream's circuit, without repeated failures of the same request.",
            |status| status.all,
        );
        of(
            "openai_circuit_failures",
            "Failed attempts in the window of the upstream's circuit, without repeated failures of the same request.",
            |status| status.failed,
        );
        of(
            "openai_circuit_trips",
            "How often the upstream's circuit has opened since it was last closed.",
            |status| status.trips,
        );
    }
}

impl Live<'_> {
    fn add_quotas(&self, all: &mut Exposition, service: Option<&str>) {
        let mut quotas = named(self.quotas, |quota| {
            let (kind, period) = (quota.limit.measure(), quota.limit.period());
            labels([
                ("service", quota.service),
                ("kind", kind),
                ("period", period),
            ])
        });
        quotas.retain(|(_, quota)| service.is_none_or(|name| name == quota.service));
        let mut of = |name: &str, help: &str, amount: fn(&LiveQuota<'_>) -> u64| {
            let told = quotas.iter();
            let told = told.map(|(labels, quota)| (labels, quota.limit.shown(amount(quota))));
            all.gauges(name, help, told);
        };
        of(
            "openai_service_quota",
            "Quota of a service per day or month, in UTC; costs in dollars.",
            |quota| quota.limit.most,
        );
        of(
            "openai_service_quota_used",
            "Used part of the quota.",
            |quota| quota.used,
        );
    }
}

impl LiveKey<'_> {
    /// Labels of the key's state, with the cause of a cool-down.
    fn state_labels(&self) -> String {
        let [pool, key, state] = [
            ("pool", self.pool),
            ("key", self.id),
            ("state", self.view.state().as_str()),
        ];
        match self.view.cause {
            Some(cause) => labels([pool, key, state, ("cause", cause.as_str())]),
            None => labels([pool, key, state]),
        }
    }
}

/// Items with their labels.
fn named<T>(all: &[T], name: impl Fn(&T) -> String) -> Vec<(String, &T)> {
    all.iter().map(|one| (name(one), one)).collect()
}

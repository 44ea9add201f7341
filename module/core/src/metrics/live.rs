//! What is so at the moment: pools, keys, circuits.

use openai_wire::Verdict;

use super::sheet::{Labels, Sheet, labels};
use crate::circuit::Status;
use crate::clients::Limit;
use crate::lease::KeyView;

/// What a pool holds now.
#[derive(Debug, Clone, Copy)]
pub struct LivePool<'a> {
    /// Its name.
    pub name: &'a str,
    /// Leases.
    pub held: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Slots.
    pub slots: u32,
    /// Nodes of its group that can vote, and all; for pools with locks.
    pub nodes: Option<(u32, u32)>,
}

/// How a key does.
#[derive(Debug, Clone, Copy)]
pub struct LiveKey<'a> {
    /// Its pool.
    pub pool: &'a str,
    /// Its id.
    pub id: &'a str,
    /// What the zone tells of it.
    pub view: KeyView,
}

/// How the circuit of an upstream stands.
#[derive(Debug, Clone, Copy)]
pub struct LiveCircuit<'a> {
    /// The upstream.
    pub upstream: &'a str,
    /// What the zone tells of it.
    pub status: Status,
}

/// A bound of what a client may use.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuota<'a> {
    /// The client.
    pub service: &'a str,
    /// The bound.
    pub limit: Limit,
    /// How much of it is used.
    pub used: u64,
}

/// For how long a client counts as active after its last request.
pub const ACTIVE_SECONDS: u64 = 300;

/// What is so at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live<'a> {
    /// The module's version.
    pub version: &'a str,
    /// All pools of the configuration.
    pub pools: &'a [LivePool<'a>],
    /// All keys of those.
    pub keys: &'a [LiveKey<'a>],
    /// All circuits.
    pub circuits: &'a [LiveCircuit<'a>],
    /// All quotas.
    pub quotas: &'a [LiveQuota<'a>],
    /// Clients that have been seen in the last [`ACTIVE_SECONDS`].
    pub active_users: usize,
}

impl Live<'_> {
    /// Adds all of it, or what a service may see: the pools, and its own quotas.
    pub(super) fn add_to(&self, all: &mut Sheet, service: Option<&str>) {
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
        }
        all.gauges(
            "openai_gateway_info",
            "The version of the module.",
            std::iter::once((&labels([("version", self.version)]), 1.0)),
        );
    }

    fn add_pools(&self, all: &mut Sheet) {
        let pools = named(self.pools, |pool| labels([("pool", pool.name)]));
        let mut of = |name: &str, help: &str, pick: fn(&LivePool<'_>) -> Option<u32>| {
            let told = pools
                .iter()
                .filter_map(|(labels, pool)| Some((labels, pick(pool)?.into())));
            all.gauges(name, help, told);
        };
        of(
            "openai_service_active_locks",
            "Leases that are held now, by pool.",
            |pool| Some(pool.held),
        );
        of(
            "openai_pool_slots",
            "Slots of the keys of a pool.",
            |pool| Some(pool.slots),
        );
        of(
            "openai_pool_waiting",
            "Requests that wait for a lease now, by pool.",
            |pool| Some(pool.waiting),
        );
        of(
            "openai_redlock_nodes_voting",
            "Redis servers that can vote on locks of the pool.",
            |pool| pool.nodes.map(|(voting, _)| voting),
        );
        of(
            "openai_redlock_nodes",
            "Redis servers of the group that the pool is locked on.",
            |pool| pool.nodes.map(|(_, all)| all),
        );
    }

    fn add_keys(&self, all: &mut Sheet) {
        let keys = named(self.keys, |key| {
            labels([("pool", key.pool), ("key", key.id)])
        });
        all.gauges(
            "openai_key_state",
            "1 for the state that the key is in: in, trial, or why it is out. Others are absent.",
            keys.iter()
                .map(|(labels, key)| (Labels::with(labels, "state", key.state()), 1.0)),
        );
        let mut of = |name: &str, help: &str, pick: fn(&KeyView) -> Option<f64>| {
            let told = keys
                .iter()
                .filter_map(|(labels, key)| Some((labels, pick(&key.view)?)));
            all.gauges(name, help, told);
        };
        of(
            "openai_key_in_flight",
            "Leases on the key that are held now.",
            |view| Some(view.in_use.into()),
        );
        of(
            "openai_key_cooldown_seconds",
            "For how long the key is left alone yet; absent when it is not out.",
            |view| view.cause.map(|_| view.left_ms as f64 / 1e3),
        );
        of(
            "openai_key_remaining_requests",
            "Requests that the provider has left for the key, where that is known.",
            |view| view.requests.map(|left| left as f64),
        );
        of(
            "openai_key_remaining_tokens",
            "Tokens that the provider has left for the key, where that is known.",
            |view| view.tokens.map(|left| left as f64),
        );
        let attempts = keys.iter().flat_map(|(labels, key)| {
            let told = Verdict::ALL.into_iter().zip(key.view.attempts);
            // As of requests: that of good ones is there from the start.
            told.filter(|&(verdict, count)| count > 0 || verdict == Verdict::Sound)
                .map(|(verdict, count)| {
                    let labels = Labels::with(labels, "verdict", verdict.as_str());
                    (labels, count.into())
                })
        });
        all.counters(
            "openai_key_attempts_total",
            "Attempts that were sent with the key, by what their answer, or its absence, told.",
            attempts,
        );
    }

    fn add_circuits(&self, all: &mut Sheet) {
        let circuits = named(self.circuits, |it| labels([("upstream", it.upstream)]));
        all.gauges(
            "openai_circuit_state",
            "1 for the state that the upstream's circuit is in: closed, open, half_open. Others are absent.",
            circuits.iter().map(|(labels, circuit)| {
                let phase = circuit.status.phase.as_str();
                (Labels::with(labels, "state", phase), 1.0)
            }),
        );
        let mut of = |name: &str, help: &str, pick: fn(&Status) -> u32| {
            let told = circuits.iter();
            let told = told.map(|(labels, circuit)| (labels, pick(&circuit.status).into()));
            all.gauges(name, help, told);
        };
        of(
            "openai_circuit_attempts",
            "Attempts in the window of the upstream's circuit.",
            |status| status.all,
        );
        of(
            "openai_circuit_failures",
            "Failed attempts in the window of the upstream's circuit.",
            |status| status.faulty,
        );
        of(
            "openai_circuit_trips",
            "How often in a row the upstream's circuit has opened.",
            |status| status.trips,
        );
    }
}

impl Live<'_> {
    fn add_quotas(&self, all: &mut Sheet, service: Option<&str>) {
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
            "What a service may use in the day or month, in UTC; costs in dollars.",
            |quota| quota.limit.most,
        );
        of(
            "openai_service_quota_used",
            "What it has used of that.",
            |quota| quota.used,
        );
    }
}

impl LiveKey<'_> {
    fn state(&self) -> &'static str {
        match self.view.cause {
            Some(cause) => cause.as_str(),
            None => self.view.state(),
        }
    }
}

/// Things beside the labels that name them.
fn named<T>(all: &[T], name: impl Fn(&T) -> String) -> Vec<(String, &T)> {
    all.iter().map(|one| (name(one), one)).collect()
}

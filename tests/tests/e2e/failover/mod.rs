//! Failover: an attempt that another key may cure is made again, before the client has seen a byte.

mod attempts;
mod bodies;
mod judging;
mod odd_upstreams;
mod storm;

use e2e::{Gateway, Plan};
use mock_upstream::Scenario;

/// The name of the n-th key.
pub fn key(n: usize) -> String {
    format!("sk-e2e-failover-{n:04}")
}

/// A pool of so many keys, `k1` and on.
pub fn keys(count: usize) -> String {
    (1..=count)
        .map(|n| format!("key {} id=k{n};\n", key(n)))
        .collect()
}

/// A gateway with so many keys before a mock with this scenario, in TOML.
pub fn plan(count: usize, scenario: &str) -> Plan {
    let scenario = Scenario::from_toml(&format!("delay = 0\n{scenario}")).expect("a scenario");
    Plan::new().pool("main", &keys(count)).scenario(scenario)
}

/// Of the scenario: the n-th key is in this state.
pub fn key_is(n: usize, state: &str) -> String {
    format!("[[key]]\ntoken = \"{}\"\nstate = \"{state}\"\n", key(n))
}

/// How often each of the first keys was used.
pub fn uses(gateway: &Gateway, keys: usize) -> Vec<u64> {
    let stats = gateway.mock().stats();
    let uses = (1..=keys).map(|n| stats.key(&format!("Bearer {}", key(n))).requests);
    uses.collect()
}

/// Of the scenario: requests with the n-th key are answered so.
pub fn key_gets(n: usize, settings: &str) -> String {
    format!("[[fault]]\nkey = \"{}\"\n{settings}\n", key(n))
}

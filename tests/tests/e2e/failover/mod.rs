//! Failover: an attempt that another key may cure is made again, before the client has seen a byte.

mod attempts;
mod bodies;
mod judging;
mod keys;
mod odd_upstreams;
mod storm;

use e2e::{Gateway, Plan};
use mock_upstream::Scenario;

pub use keys::{key, key_gets, key_is, keys};

/// A gateway with so many keys before a mock with this scenario, in TOML.
pub fn plan(count: usize, scenario: &str) -> Plan {
    let scenario = Scenario::from_toml(&format!("delay = 0\n{scenario}")).expect("a scenario");
    Plan::new().pool("main", &keys(count)).scenario(scenario)
}

/// How often each of the first keys was used.
pub fn uses(gateway: &Gateway, keys: usize) -> Vec<u64> {
    let stats = gateway.mock().stats();
    let uses = (1..=keys).map(|n| stats.key(&format!("Bearer {}", key(n))).requests);
    uses.collect()
}

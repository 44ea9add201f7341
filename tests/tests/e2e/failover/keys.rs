//! Pools of several keys, and what the upstream does to one of them.

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

/// Of the scenario: the n-th key is in this state.
pub fn key_is(n: usize, state: &str) -> String {
    format!("[[key]]\ntoken = \"{}\"\nstate = \"{state}\"\n", key(n))
}

/// Of the scenario: requests with the n-th key are answered so.
pub fn key_gets(n: usize, settings: &str) -> String {
    format!("[[fault]]\nkey = \"{}\"\n{settings}\n", key(n))
}

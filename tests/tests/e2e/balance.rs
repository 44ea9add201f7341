//! Which of several free keys is taken.

use std::collections::BTreeMap;

use e2e::{Gateway, Plan, RawUpstream};

fn start(pool: &str) -> Gateway {
    Plan::new().workers(2).pool("main", pool).start()
}

/// The keys of so many requests, one after the other.
fn keys_of(gateway: &Gateway, requests: usize) -> Vec<String> {
    let call = gateway.get("/v1/models");
    for number in 1..=requests {
        call.send().expect_status(200);
        // The slot is given back when the request is logged, just after the answer.
        gateway.logged(number);
    }
    gateway
        .logged(requests)
        .into_iter()
        .map(|line| line.key_id)
        .collect()
}

fn counted(keys: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.as_str()).or_default() += 1;
    }
    counts
}

const THREE: &str = "key sk-e2e-a id=a; key sk-e2e-b id=b; key sk-e2e-c id=c;";

#[test]
fn round_robin_takes_the_keys_in_turn() {
    for balance in ["", "balance round_robin;"] {
        let gateway = start(&format!("{THREE} {balance}"));
        let keys = keys_of(&gateway, 9);
        assert_eq!(keys[..3], ["a", "b", "c"], "the order of the configuration");
        assert_eq!(keys[..3], keys[3..6]);
        assert_eq!(keys[..3], keys[6..]);
    }
}

#[test]
fn weighted_takes_the_keys_by_their_weights() {
    let gateway = start(
        "key sk-e2e-a id=a weight=5; key sk-e2e-b id=b weight=1; key sk-e2e-c id=c weight=2;
         balance weighted;",
    );
    let keys = keys_of(&gateway, 40);
    let counts = counted(&keys);
    for (key, expected) in [("a", 25), ("b", 5), ("c", 10)] {
        let count = counts.get(key).copied().unwrap_or(0);
        assert!(count.abs_diff(expected) <= 2, "{counts:?}");
    }
}

#[test]
fn least_busy_takes_the_key_with_the_fewest_leases() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .workers(2)
        .pool(
            "main",
            "key sk-e2e-a slots=4; key sk-e2e-b slots=4; key sk-e2e-c slots=4;
             balance least_busy;",
        )
        .upstream(upstream.address())
        .start();
    let clients: Vec<_> = (0..6).map(|_| gateway.chat().spawn()).collect();
    let exchanges: Vec<_> = (0..6).map(|_| upstream.accept()).collect();
    let keys: Vec<String> = exchanges
        .iter()
        .map(|e| e.header("authorization").unwrap_or_default().into())
        .collect();
    assert_eq!(counted(&keys).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    for mut exchange in exchanges {
        exchange.answer();
    }
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn random_takes_every_key_at_some_time() {
    let gateway = start(&format!("{THREE} balance random;"));
    let keys = keys_of(&gateway, 60);
    assert_eq!(counted(&keys).len(), 3, "{keys:?}");
    let in_turn = keys.windows(4).all(|four| four[0] == four[3]);
    assert!(!in_turn, "random is not round robin");
}

#[test]
fn a_busy_key_is_passed_over_by_every_balance() {
    for balance in ["round_robin", "weighted", "least_busy", "random"] {
        let upstream = RawUpstream::bind();
        let pool = format!("{THREE} balance {balance};");
        let gateway = Plan::new()
            .pool("main", &pool)
            .upstream(upstream.address())
            .start();
        let clients: Vec<_> = (0..3).map(|_| gateway.chat().spawn()).collect();
        let exchanges: Vec<_> = (0..3).map(|_| upstream.accept()).collect();
        let keys: Vec<String> = exchanges
            .iter()
            .map(|e| e.header("authorization").unwrap_or_default().into())
            .collect();
        assert_eq!(counted(&keys).len(), 3, "{balance}: each key once");
        for mut exchange in exchanges {
            exchange.answer();
        }
        for client in clients {
            client.join().expect("an answer").expect_status(200);
        }
    }
}

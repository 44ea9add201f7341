//! Whether a service receives the key.

use mock_upstream::Scenario;
use serde_json::{Value, json};

use super::{Bed, STORES, Store, TOKEN, code, is_same_time, some};
use e2e::wait_until;

#[test]
fn the_key_is_shown_only_where_the_configuration_says_so() {
    for (say, key) in [
        ("", Value::Null),
        ("openai_lock_key off;", Value::Null),
        ("openai_lock_key on;", json!("sk-e2e-main-0001")),
    ] {
        let bed = Bed::with(Store::Shm, 1, "", say, |plan| plan);
        let lock = bed.lock(json!({}));
        assert_eq!((&lock["api_key"], &lock["key_id"]), (&key, &json!("main")));
        let longer = bed.extend(&lock, 600).expect_status(200).json();
        assert_eq!(longer["lock_info"]["api_key"], key);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

/// A key with two slots, whose first response states for how long it cools down.
fn limited(store: Store, retry_after: &str) -> Bed {
    let fault = format!(
        "delay = 0\n[[fault]]\nerror = \"rate_limit_exceeded\"\nretry-after = \"{retry_after}\"\ntimes = 1\n"
    );
    let scenario = Scenario::from_toml(&fault).expect("a scenario");
    Bed::with(store, 2, "", "openai_lock_key on;", |plan| {
        plan.location("openai_next_key off;").scenario(scenario)
    })
}

#[test]
fn a_key_that_is_cooling_down_is_not_handed_out() {
    for store in STORES {
        let bed = limited(store, "3600s");
        let asked = json!({"request_id": "r-1"});
        let lock = bed.lock(asked.clone());
        assert_eq!(lock["api_key"], "sk-e2e-main-0001");
        bed.gateway.chat().token(TOKEN).send().expect_status(429);
        bed.gateway.wait_held(1, 0);
        // Neither in a new lock, nor when the request asks again.
        for (asked, says) in [
            (json!({}), "keys_rate_limited"),
            (asked, "no_key_available"),
        ] {
            let answer = bed.acquire(asked);
            assert!(!answer.text().contains("sk-e2e"), "{store:?}");
            assert_eq!(code(&answer), (429, some(says)), "{store:?}");
            assert!(answer.header("retry-after").is_some());
        }
        // The lock itself is in force.
        let answer = bed.extend(&lock, 600).expect_status(200);
        assert!(!answer.text().contains("sk-e2e"), "{store:?}");
        let longer = answer.json()["lock_info"].clone();
        assert_eq!(
            (&longer["api_key"], &longer["lock_id"]),
            (&Value::Null, &lock["lock_id"])
        );
        assert_eq!(bed.active().len(), 1);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_request_that_asks_again_gets_its_lock_when_the_key_is_back() {
    let bed = limited(Store::Shm, "500ms");
    let lock = bed.lock(json!({"request_id": "r-1"}));
    bed.gateway.chat().token(TOKEN).send().expect_status(429);
    wait_until("the key is back", || {
        bed.acquire(json!({"request_id": "r-1"})).status == 200
    });
    let mut again = bed.lock(json!({"request_id": "r-1"}));
    for time in ["acquired_at", "expires_at"] {
        assert!(is_same_time(&again[time], &lock[time]), "{again}: {lock}");
        again[time] = lock[time].clone();
    }
    assert_eq!(again, lock);
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

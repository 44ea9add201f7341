//! Taking, prolonging and giving back.

use std::fs;

use e2e::{RawUpstream, wait_for, wait_until};
use serde_json::json;

use super::{Bed, STORES, Store, TOKEN, code, is_same_time, seconds, some, unix_now};
use crate::reload;

/// The very bodies of the contract that clients rely on.
#[test]
fn a_lock_is_taken_and_given_back() {
    for store in STORES {
        let bed = Bed::with(store, 1, "", "openai_lock_key on;", |plan| plan);
        let asked = json!({"service_name": "labeling-service", "resource_type": "openai_api",
            "dimension": "c_role", "content_type": "candidate", "estimated_duration": 300,
            "request_id": "uuid-here"});
        let before = unix_now();
        let answer = bed
            .call("/v1/lock/acquire", TOKEN, &asked)
            .send()
            .expect_status(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.json();
        assert_eq!(answer["success"], true);
        let lock = &answer["lock_info"];
        assert_eq!(lock["api_key"], "sk-e2e-main-0001");
        assert_eq!(lock["request_id"], "uuid-here");
        assert_eq!(lock["status"], "acquired");
        assert_eq!(
            (&lock["key_id"], &lock["slot"]),
            (&json!("main"), &json!(0))
        );
        assert_eq!(lock["lock_id"].as_str().map(str::len), Some(32));
        let (from, until) = (seconds(&lock["acquired_at"]), seconds(&lock["expires_at"]));
        // nginx reads the clock once for all that happens at a time, so it may be a little behind.
        assert!(
            (before - 1..=unix_now()).contains(&from),
            "{store:?}: {lock}"
        );
        assert!((299..=301).contains(&(until - from)), "{store:?}: {lock}");
        assert!((from - 1..=unix_now()).contains(&seconds(&answer["timestamp"])));
        assert_eq!(bed.gateway.held("main").held, 1);

        let stats = json!({"lock_id": lock["lock_id"], "service_name": "labeling-service",
            "usage_stats": {"success": true, "actual_duration": 280, "tokens_used": 150,
                            "error_message": null}});
        for _ in 0..2 {
            let answer = bed
                .call("/v1/lock/release", TOKEN, &stats)
                .send()
                .expect_status(200);
            let answer = answer.json();
            assert_eq!(
                (&answer["success"], &answer["status"]),
                (&json!(true), &json!("released"))
            );
        }
        bed.wait_free();
        bed.gateway.error_log().wait_for("\"tokens_used\":150");
    }
}

#[test]
fn no_more_locks_than_slots() {
    for store in STORES {
        let bed = Bed::new(store, 2);
        let locks = [bed.lock(json!({})), bed.lock(json!({}))];
        assert_ne!(locks[0]["slot"], locks[1]["slot"]);
        assert_ne!(locks[0]["lock_id"], locks[1]["lock_id"]);
        let refused = bed.acquire(json!({}));
        assert_eq!(code(&refused), (429, some("no_key_available")), "{store:?}");
        assert!(refused.header("retry-after").is_some());
        for lock in &locks {
            bed.release(lock).expect_status(200);
        }
        bed.wait_free();
    }
}

/// A request that streams and a service want the same slot.
#[test]
fn locks_and_requests_contend() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let lock = bed.lock(json!({}));
        let stream = bed.gateway.chat().token(TOKEN).spawn();
        bed.gateway.wait_held(1, 1);
        bed.release(&lock).expect_status(200);
        let answer = stream.join().expect("an answer").expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
        bed.wait_free();
    }
}

#[test]
fn a_service_waits_for_a_request_as_long_as_it_says() {
    for store in STORES {
        let upstream = RawUpstream::bind();
        let bed = Bed::with(store, 1, "", "", |plan| plan.upstream(upstream.address()));
        let stream = bed.stream(TOKEN, &upstream);
        let refused = bed.acquire(json!({"wait_ms": 1}));
        assert_eq!(code(&refused), (429, some("no_key_available")));
        let body = json!({"service_name": "labeling", "wait_ms": 20_000});
        let waiting = bed.call("/v1/lock/acquire", TOKEN, &body).spawn();
        bed.gateway.wait_held(1, 1);
        // The stream has its slot to the end.
        reload::end(stream);
        let answer = waiting.join().expect("an answer").expect_status(200);
        let lock = &answer.json()["lock_info"];
        bed.release(lock).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn who_waits_with_a_higher_priority_is_served_first() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let mut lock = bed.lock(json!({}));
        let wait = |service: &str, priority: i32, waiting: usize| {
            let body = json!({"service_name": service, "priority": priority, "wait_ms": 30_000});
            let call = bed.call("/v1/lock/acquire", TOKEN, &body).spawn();
            bed.gateway.wait_held(1, waiting);
            call
        };
        let low = wait("low", -5, 1);
        let high = wait("high", 5, 2);
        for (service, waiter) in [("high", high), ("low", low)] {
            bed.release(&lock);
            let body = json!({"lock_id": lock["lock_id"], "service_name": lock["service"]});
            bed.call("/v1/lock/release", TOKEN, &body).send();
            lock = waiter.join().expect("an answer").expect_status(200).json()["lock_info"].clone();
            lock["service"] = json!(service);
            let active = bed.active();
            assert_eq!(active[0]["service_name"], service, "{store:?}: {active:?}");
        }
        let body = json!({"lock_id": lock["lock_id"], "service_name": "low"});
        bed.call("/v1/lock/release", TOKEN, &body)
            .send()
            .expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let bed = Bed::new(Store::Shm, 1);
    let lock = bed.lock(json!({}));
    let body = json!({"service_name": "labeling", "wait_ms": 30_000}).to_string();
    let mut client = bed.gateway.connect();
    client.send(format!(
        "POST /v1/lock/acquire HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    bed.gateway.wait_held(1, 1);
    drop(client);
    bed.gateway.wait_held(1, 0);
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

#[test]
fn the_same_request_gets_the_same_lock() {
    for store in STORES {
        let bed = Bed::new(store, 2);
        let first = bed.lock(json!({"request_id": "r-1"}));
        let again = bed.lock(json!({"request_id": "r-1"}));
        let times = ["acquired_at", "expires_at"];
        for time in times {
            assert!(is_same_time(&first[time], &again[time]), "{first}: {again}");
        }
        let timeless = |mut lock: serde_json::Value| {
            for time in times {
                lock[time].take();
            }
            lock
        };
        assert_eq!(timeless(first.clone()), timeless(again));
        // Of another service, it is another request.
        let body = json!({"service_name": "other", "request_id": "r-1"});
        let other = bed
            .call("/v1/lock/acquire", TOKEN, &body)
            .send()
            .expect_status(200)
            .json();
        assert_ne!(other["lock_info"]["lock_id"], first["lock_id"]);
        assert_eq!(bed.gateway.held("main").held, 2);
        bed.release(&first).expect_status(200);
        let body = json!({"lock_id": other["lock_info"]["lock_id"], "service_name": "other"});
        bed.call("/v1/lock/release", TOKEN, &body)
            .send()
            .expect_status(200);
        bed.wait_free();
        let third = bed.lock(json!({"request_id": "r-1"}));
        assert_ne!(
            third["lock_id"], first["lock_id"],
            "the first one has ended"
        );
        bed.release(&third).expect_status(200);
    }
}

#[test]
fn the_time_asked_for_is_kept_within_bounds() {
    for store in STORES {
        let bed = Bed::with(store, 1, "", "openai_lock_ttl 10s 60s;", |plan| plan);
        for (asked, given) in [(1, 10), (30, 30), (31_536_000, 60)] {
            let lock = bed.lock(json!({"estimated_duration": asked}));
            let lasts = seconds(&lock["expires_at"]) - seconds(&lock["acquired_at"]);
            assert!((given - 1..=given + 1).contains(&lasts), "{asked}: {lock}");
            bed.release(&lock).expect_status(200);
            bed.wait_free();
        }
    }
}

#[test]
fn a_lock_ends_by_itself_unless_it_is_prolonged() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let lock = bed.lock(json!({"estimated_duration": 2}));
        let longer = bed.extend(&lock, 4).expect_status(200).json()["lock_info"].clone();
        assert_eq!(longer["status"], "extended");
        assert!(
            seconds(&longer["expires_at"]) > seconds(&lock["expires_at"]),
            "{longer}"
        );
        assert!(is_same_time(&longer["acquired_at"], &lock["acquired_at"]));
        // It never gets shorter.
        let same = bed.extend(&lock, 1).expect_status(200).json()["lock_info"].clone();
        assert!(is_same_time(&same["expires_at"], &longer["expires_at"]));
        // Who waits is served when it ends.
        let next = bed.lock(json!({"wait_ms": 20_000, "request_id": "next"}));
        assert!(next["fence"].as_u64() > lock["fence"].as_u64());
        assert_eq!(code(&bed.extend(&lock, 60)), (409, some("lock_expired")));
        let late = bed.release(&lock).expect_status(200).json();
        assert_eq!(late["status"], "expired");
        assert_eq!(bed.active().len(), 1, "the next one's is held");
        bed.release(&next).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_pool_is_chosen_by_its_name() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.pool("spare", "key sk-e2e-spare-0001 id=extra;")
    });
    let lock = bed.lock(json!({"pool": "spare"}));
    assert_eq!(
        (&lock["pool"], &lock["key_id"]),
        (&json!("spare"), &json!("extra"))
    );
    let refused = bed.acquire(json!({"pool": "nobody"}));
    assert_eq!(code(&refused), (404, some("pool_not_found")));
    bed.release(&lock).expect_status(200);
    wait_until("it is free", || bed.gateway.held("spare").held == 0);
}

/// nginx writes the access log before it calls the module's LOG handler.
#[test]
fn a_call_that_gets_an_existing_lock_holds_no_slot_when_it_is_answered() {
    let in_place = "access_log {dir}/held.log held;";
    let bed = Bed::with(Store::Shm, 2, "", in_place, |plan| {
        plan.http("log_format held '$request_uri $openai_pool_held';")
    });
    let taken = [bed.lock(json!({})), bed.lock(json!({}))];
    let body = json!({"service_name": "labeling", "resource_type": "openai_api",
                      "request_id": "r-1", "wait_ms": 10_000});
    let calls = [(); 2].map(|()| bed.call("/v1/lock/acquire", TOKEN, &body).spawn());
    bed.gateway.wait_held(2, 2);
    for lock in &taken {
        bed.release(lock).expect_status(200);
    }
    let locks = calls.map(|call| {
        let answer = call.join().expect("an answer").expect_status(200);
        answer.json()["lock_info"].clone()
    });
    assert_eq!(locks[0]["lock_id"], locks[1]["lock_id"]);
    let lines = wait_for("the calls are logged", || {
        let text = fs::read_to_string(bed.gateway.dir().join("held.log")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("acquire"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (lines.len() == 4).then_some(lines)
    });
    assert_eq!(lines[3], "/v1/lock/acquire 1", "{lines:?}");
    bed.release(&locks[0]).expect_status(200);
}

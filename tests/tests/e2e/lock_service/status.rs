//! What the status page receives.

use e2e::{Plan, wait_until};
use mock_upstream::Scenario;
use serde_json::{Value, json};

use super::{ADMIN, Bed, OTHER, STORES, Store, TOKEN, code, some};

/// A gateway whose streams last until they are left.
fn slow(plan: Plan) -> Plan {
    let scenario = Scenario::from_toml("delay = \"50ms\"\nwords = 100000").expect("a scenario");
    plan.scenario(scenario)
}

fn status(bed: &Bed) -> Value {
    let call = bed.gateway.get("/v1/status").token(ADMIN);
    call.send().expect_status(200).json()
}

#[test]
fn only_an_administrator_sees_it() {
    let bed = Bed::new(Store::Shm, 1);
    let get = |token: Option<&str>| {
        let call = bed.gateway.get("/v1/status");
        token.map_or(call.clone(), |token| call.token(token)).send()
    };
    assert_eq!(code(&get(None)), (401, some("invalid_api_key")));
    assert_eq!(code(&get(Some("wrong"))), (401, some("invalid_api_key")));
    assert_eq!(code(&get(Some(TOKEN))), (403, some("admin_required")));
    get(Some(ADMIN)).expect_status(200);
    let page = bed.gateway.get("/status").send().expect_status(200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for secret in ["sk-e2e", ADMIN, "://"] {
        assert!(!page.text().contains(secret), "{secret}");
    }
    assert!(page.body.len() < 30_000, "{}", page.body.len());
}

#[test]
fn it_reports_pools_keys_slots_and_waiters() {
    for store in STORES {
        let bed = Bed::with(store, 1, "", "", slow);
        let mut stream = bed.gateway.chat().token(OTHER).events();
        stream.next().expect("a first event");
        let waits = bed.gateway.chat().token(TOKEN).spawn_events();
        bed.gateway.wait_held(1, 1);
        let reported = status(&bed);
        assert_eq!(reported["status"], "healthy");
        let pool = &reported["pools"][0];
        assert_eq!(
            pool["waiters"],
            json!([{"client": "labeling", "priority": 0, "count": 1}])
        );
        let key = &pool["keys"][0];
        for (field, value) in [
            ("key_id", json!("main")),
            ("state", json!("active")),
            ("in_flight", json!(1)),
            ("until", Value::Null),
        ] {
            assert_eq!(key[field], value, "{field}");
        }
        let nodes = pool["nodes"].as_array().expect("a list");
        assert_eq!(nodes.len(), bed.nodes.len());
        assert!(nodes.iter().all(|node| node["state"] == "up"));
        assert_eq!(reported["locks"][0]["client"], "batch");
        assert!(!reported.to_string().contains("sk-e2e"));
        drop(stream);
        drop(waits.join().expect("a stream"));
        bed.gateway.wait_held(0, 0);
        wait_until("both are counted", || {
            let services = status(&bed)["services"].clone();
            let of = |name: &str| {
                let services = services.as_array().expect("a list");
                let service = services.iter().find(|service| service["service"] == name);
                service.expect("the service")["requests"].clone()
            };
            [of("batch"), of("labeling")] == [json!({"aborted": 1}), json!({"aborted": 1})]
        });
    }
}

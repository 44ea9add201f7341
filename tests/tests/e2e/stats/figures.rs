//! `GET /v1/stats`.

use e2e::{Refusal, wait_until};

use super::{ADMIN, ask, plan, requests, stats, sum};
use crate::usage::counters::{TOKENS, ledger, run};

#[test]
fn figures_are_the_ledger_of_the_upstream_whichever_way_they_are_summed_up() {
    let gateway = plan("").start();
    run(&gateway, 0, 210);
    wait_until("all are counted", || requests(&gateway) == 210);
    let all = stats(&gateway, ADMIN, "");
    let (prompt, completion) = ledger(&gateway);
    assert_eq!(all["total"]["tokens"]["prompt"], prompt as u64);
    assert_eq!(all["total"]["tokens"]["completion"], completion as u64);
    assert_eq!(all["total"]["outcomes"]["success"], 180);
    assert_eq!(all["elsewhere"], serde_json::Value::Null);
    for table in ["services", "models", "pools", "keys"] {
        for number in [
            "/requests",
            "/attempts",
            "/outcomes/success",
            "/outcomes/client_error",
            "/tokens/prompt",
            "/tokens/completion",
            "/tokens/cached",
            "/tokens/total",
            "/tokens/estimated",
            "/unpriced_requests",
        ] {
            let total = all["total"].pointer(number).and_then(|n| n.as_f64());
            assert_eq!(Some(sum(&all, table, number)), total, "{table}{number}");
        }
        let total = all["total"]["cost_dollars"].as_f64().expect("a cost");
        let difference = sum(&all, table, "/cost_dollars") - total;
        assert!(
            total > 0.0 && difference.abs() < 1e-9,
            "{table}: {difference}"
        );
    }
    let recent = ["total_cost", "total_tokens", "request_count"].map(|name| &all[name]);
    let total = ["/cost_dollars", "/tokens/total", "/requests"];
    assert_eq!(
        recent.map(Some),
        total.map(|path| all["total"].pointer(path))
    );
    let later = stats(&gateway, ADMIN, "?since=9999-01-01");
    assert_eq!(later["total"]["requests"], 0);
    assert_eq!(later["request_count"], 210, "whatever `since` says");
    // gpt-4o-mini has no price: nobody knows what it cost.
    let models = all["models"].as_array().expect("models");
    let model = |name: &str| models.iter().find(|m| m["model"] == name).expect("a model");
    assert!(model("gpt-4o-mini")["cost_dollars"].is_null());
    assert!(model("gpt-4o-mini")["unpriced_requests"].as_u64() > Some(0));
    assert!(model("gpt-4o")["cost_dollars"].as_f64() > Some(0.0));
    let keys = all["keys"].as_array().expect("keys").iter();
    let keys: Vec<_> = keys
        .map(|key| (key["pool"].as_str(), key["key_id"].as_str()))
        .collect();
    let expected = ["k1", "k2"].map(|id| (Some("main"), Some(id)));
    assert!(expected.iter().all(|key| keys.contains(key)) && keys.len() == 2);
}

#[test]
fn a_service_sees_itself_and_an_administrator_everybody() {
    let gateway = plan("").start();
    run(&gateway, 0, 42);
    wait_until("all are counted", || requests(&gateway) == 42);
    let own = stats(&gateway, TOKENS[0], "");
    assert_eq!(own["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["services"][0]["service"], "app");
    assert_eq!(own["total"]["requests"], 21);
    for hidden in ["models", "pools", "keys"] {
        assert!(own[hidden].is_null(), "{hidden}");
    }
    assert_eq!(
        stats(&gateway, TOKENS[0], "?service=app")["total"],
        own["total"]
    );
    let of_app = stats(&gateway, ADMIN, "?service=app&since=1970-01-01");
    assert_eq!(of_app["services"], own["services"]);
    assert!(of_app["keys"].is_null());
    // One that has asked for nothing yet.
    assert_eq!(
        stats(&gateway, ADMIN, "?service=ops")["total"]["requests"],
        0
    );
    let refused = Refusal::new(403, "invalid_request_error", Some("admin_required"));
    for other in ["batch", "ops", "nobody"] {
        let answer = ask(&gateway, TOKENS[0], &format!("?service={other}"));
        assert_eq!(answer.refusal(), refused.clone().about("service"));
    }
    let answer = ask(&gateway, ADMIN, "?service=nobody").refusal();
    let unknown = Refusal::new(404, "invalid_request_error", Some("service_not_found"));
    assert_eq!(answer, unknown.about("service"));
    let nobody = gateway.get("/v1/stats").send().refusal();
    assert_eq!(nobody, Refusal::invalid_api_key());
}

#[test]
fn since_a_day_is_from_its_midnight_on() {
    let gateway = plan("").start();
    run(&gateway, 0, 7);
    wait_until("all are counted", || requests(&gateway) == 7);
    let all = stats(&gateway, ADMIN, "");
    let first = all["since"].as_str().expect("a day").to_owned();
    let now = all["timestamp"]
        .as_str()
        .expect("a time")
        .replace(':', "%3A");
    // Of what came before there is nothing.
    for query in ["?since=2001-01-01", "?since=2001-01-01T23:59:59%2B14:00"] {
        let stats = stats(&gateway, ADMIN, query);
        assert_eq!(
            (&stats["since"], &stats["total"]),
            (&all["since"], &all["total"])
        );
    }
    let query = format!("?since={now}");
    let today = stats(&gateway, ADMIN, &query);
    // Unless it is midnight just now.
    if today["since"] == first {
        assert_eq!(today["total"], all["total"]);
    }
    let later = stats(&gateway, ADMIN, "?since=9999-12-31");
    assert_eq!(later["since"], "9999-12-31");
    assert_eq!(later["total"]["requests"], 0);
    assert_eq!(later["services"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_cannot_be_is_refused_with_its_name() {
    let gateway = plan("").start();
    let long = format!("?service={}", "a".repeat(4_000));
    for (query, field) in [
        ("?since=yesterday", "since"),
        ("?since=", "since"),
        ("?since=2025-02-30", "since"),
        ("?since=2025-1-1", "since"),
        ("?since=-1", "since"),
        ("?since=99999999999999999999", "since"),
        ("?since=2025-01-01%00", "since"),
        ("?since=2025-01-01&since=2025-01-01", "since"),
        ("?since=2025-01-01T00:00:00", "since"),
        ("?service=", "service"),
        ("?service=%2e%2e/", "service"),
        ("?service=a'%20or%20''='", "service"),
        ("?service=%ff%fe", "service"),
        ("?service=a&service=a", "service"),
        (&long, "service"),
    ] {
        for token in [ADMIN, TOKENS[0]] {
            let refusal = ask(&gateway, token, query).refusal();
            assert_eq!(refusal.status, 422, "{query}");
            assert_eq!(refusal.param.as_deref(), Some(field), "{query}");
        }
    }
    let call = |method| e2e::Call::new(method, gateway.url("/v1/stats")).token(ADMIN);
    assert_eq!(call("POST").send().header("allow"), Some("GET, HEAD"));
    let head = call("HEAD").send().expect_status(200);
    assert!(head.body.is_empty());
    assert_eq!(
        stats(&gateway, ADMIN, "?&x=1&&since=2025-01-01&%zz")["total"]["requests"],
        0
    );
}

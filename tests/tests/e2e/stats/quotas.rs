//! How much a client may use.

use std::ops::Range;
use std::thread;

use e2e::{Answer, Call, Gateway, Plan, Refusal, wait_until};
use serde_json::json;

use super::{ADMIN, plan, requests, stats};
use crate::usage::counters::TOKENS;

/// One request: three tokens of the prompt or so, and this many words.
fn chat(gateway: &Gateway, token: &str, words: &str) -> Answer {
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"some words"}]}"#;
    let call = gateway.chat_with(body).token(token);
    call.header("x-mock-words", words).send()
}

/// One request that is counted before this ends.
#[track_caller]
fn counted(gateway: &Gateway, token: &str, words: &str) {
    // Those that were refused may be counted late, too.
    let sent = || stats(gateway, token, "")["total"]["attempts"].as_u64();
    let before = sent();
    chat(gateway, token, words).expect_status(200);
    wait_until("it is counted", || sent() > before);
}

#[track_caller]
fn assert_used_up(answer: &Answer) {
    let refusal = Refusal::new(429, "insufficient_quota", Some("insufficient_quota"));
    assert_eq!(answer.refusal(), refusal);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);
}

fn events(gateway: &Gateway) -> Vec<serde_json::Value> {
    let text = gateway.error_log().text();
    let lines = text.lines().filter_map(|line| {
        let at = line.find("{\"event\":\"quota_used_up\"")?;
        let mut json = serde_json::Deserializer::from_str(&line[at..]).into_iter();
        json.next()?.ok()
    });
    lines.collect()
}

/// How often the upstream was asked.
fn sent(gateway: &Gateway) -> u64 {
    stats(gateway, ADMIN, "")["total"]["attempts"]
        .as_u64()
        .expect("a number")
}

fn release(gateway: &Gateway, token: &str, taken: &serde_json::Value) {
    let id = &taken["lock_info"]["lock_id"];
    let body = json!({"service_name": "labeling", "lock_id": id});
    let call = Call::json(gateway.url("/v1/lock/release"), body.to_string());
    call.token(token).send().expect_status(200);
}

#[test]
fn each_kind_in_each_time_is_a_bound() {
    for (bound, quota, period) in [
        ("requests=2/day", "requests", "day"),
        ("requests=2/month", "requests", "month"),
        ("tokens=200/day", "tokens", "day"),
        ("tokens=200/month", "tokens", "month"),
        ("cost=0.0015/day", "cost", "day"),
        ("cost=0.0015/month", "cost", "month"),
    ] {
        let gateway = plan(&format!("quota app {bound};")).start();
        // One is 100 tokens and more, at 10 dollars for a million.
        for _ in 0..2 {
            counted(&gateway, TOKENS[0], "100");
        }
        for _ in 0..3 {
            assert_used_up(&chat(&gateway, TOKENS[0], "100"));
        }
        // Nobody else is concerned.
        counted(&gateway, TOKENS[1], "1");
        counted(&gateway, ADMIN, "1");
        assert_eq!(sent(&gateway), 4, "{bound}");
        let lines = events(&gateway);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["service_name"], "app");
        assert_eq!(
            (&lines[0]["quota"], &lines[0]["period"]),
            (&quota.into(), &period.into())
        );
        assert!(lines[0]["used"].as_f64() >= lines[0]["limit"].as_f64());
        wait_until("those refused are counted", || requests(&gateway) == 7);
        let app = stats(&gateway, TOKENS[0], "");
        assert_eq!(app["total"]["outcomes"]["refused"], 3);
        let metrics = gateway.get("/metrics").send();
        let labels = format!("{{service=\"app\",kind=\"{quota}\",period=\"{period}\"}} ");
        let gauge = |name: &str| {
            let series = format!("{name}{labels}");
            let line = metrics.text().lines().find_map(|l| l.strip_prefix(&series));
            line.expect("a gauge").parse::<f64>().expect("a number")
        };
        let limit = gauge("openai_service_quota");
        assert_eq!(Some(limit), lines[0]["limit"].as_f64());
        assert!(gauge("openai_service_quota_used") >= limit);
    }
}

#[test]
fn a_quota_by_name_stands_for_the_one_for_all_and_a_reload_changes_it() {
    let mut gateway =
        plan("quota * requests=1/month;\nquota batch requests=2/month;\nquota ops off;").start();
    for (token, may) in [(TOKENS[0], 1), (TOKENS[1], 2)] {
        for _ in 0..may {
            counted(&gateway, token, "1");
        }
        assert_used_up(&chat(&gateway, token, "1"));
    }
    for _ in 0..4 {
        counted(&gateway, ADMIN, "1");
    }
    let clients = "client app env:TOKEN_A;\nclient batch env:TOKEN_B;\n\
                   client ops env:TOKEN_C role=admin;\nquota app requests=3/month;";
    gateway.reload(|plan| plan.clients(clients));
    counted(&gateway, TOKENS[0], "1");
    counted(&gateway, TOKENS[0], "1");
    assert_used_up(&chat(&gateway, TOKENS[0], "1"));
    counted(&gateway, TOKENS[1], "1");
}

#[test]
fn no_more_passes_than_was_under_way() {
    const AT_ONCE: usize = 8;
    let gateway = plan("quota app requests=20/month;").start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let client = || {
            let answers = (0..10).map(|_| chat(&gateway, TOKENS[0], "5").status);
            answers.collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(client)).collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("answers"));
        ended.flatten().collect()
    });
    let passed = statuses.iter().filter(|&&status| status == 200).count();
    // A client may ask again just before its last request is counted.
    assert!((20..20 + 2 * AT_ONCE).contains(&passed), "{passed}");
    assert_eq!(
        statuses.iter().filter(|&&status| status == 429).count(),
        80 - passed
    );
    assert_eq!(events(&gateway).len(), 1);
    wait_until("all are counted", || sent(&gateway) == passed as u64);
}

#[test]
fn nothing_is_taken_for_who_has_used_up_its_quota() {
    let gateway = plan("quota app requests=0/day;").start();
    assert_used_up(&chat(&gateway, TOKENS[0], "1"));
    gateway.wait_held(0, 0);
    assert_eq!(gateway.mock().requests().len(), 0);
    let body = json!({"service_name": "labeling", "resource_type": "openai_api"});
    let acquire = |token| {
        Call::json(gateway.url("/v1/lock/acquire"), body.to_string())
            .token(token)
            .send()
    };
    assert_used_up(&acquire(TOKENS[0]));
    gateway.wait_held(0, 0);
    let lock = acquire(TOKENS[1]).expect_status(200).json();
    gateway.wait_held(1, 0);
    release(&gateway, TOKENS[1], &lock);
    // That was a request of its own.
    wait_until("it is counted", || {
        stats(&gateway, TOKENS[1], "")["total"]["outcomes"]["success"] == 1
    });
}

#[test]
fn a_lock_that_is_held_is_returned_again_although_the_quota_is_used_up() {
    // A lock counts as a request.
    let gateway = plan("quota app requests=2/month;").start();
    let body = json!({"service_name": "labeling", "request_id": "one"}).to_string();
    let acquire = || {
        Call::json(gateway.url("/v1/lock/acquire"), &*body)
            .token(TOKENS[0])
            .send()
    };
    let first = acquire().expect_status(200).json();
    wait_until("the lock is counted", || {
        stats(&gateway, TOKENS[0], "")["total"]["requests"] == 1
    });
    counted(&gateway, TOKENS[0], "1");
    let again = acquire().expect_status(200).json();
    assert_eq!(first["lock_info"]["lock_id"], again["lock_info"]["lock_id"]);
    assert_used_up(&chat(&gateway, TOKENS[0], "1"));
    release(&gateway, TOKENS[0], &first);
}

#[test]
fn quotas_that_cannot_be() {
    use crate::misconfigured::assert_refused;
    for (line, says) in [
        ("quota;", "quota needs"),
        ("quota app;", "quota needs"),
        ("quota nobody requests=1/day;", "nobody"),
        ("quota app requests=1/week;", "1/week"),
        ("quota app requests=1/day requests=2/day;", "repeated"),
        ("quota app off; quota app off;", "two quotas"),
    ] {
        assert_refused(&plan(line), &["openai_clients", says]);
    }
    let unpriced = e2e::Plan::new()
        .environment("TOKEN_A", TOKENS[0])
        .clients("client app env:TOKEN_A;\nquota * cost=1/day;");
    assert_refused(&unpriced, &["openai_clients", "openai_prices"]);
}

/// Rows of clients stay until nginx stops.
#[test]
fn clients_without_room_for_their_quotas_are_logged() {
    let clients = |names: Range<usize>| {
        let client = |at| format!("client c{at} env:TOKEN_{at}; quota c{at} requests=1/day;\n");
        names.map(client).collect::<String>()
    };
    let mut plan = Plan::new().clients(&clients(0..120));
    for at in 0..240 {
        plan = plan.environment(&format!("TOKEN_{at}"), &format!("token-of-client-{at}"));
    }
    let mut gateway = plan.start();
    let logged = |gateway: &Gateway, name: &str| {
        let field = format!("\"service_name\":\"{name}\"");
        let text = gateway.error_log().text();
        let mut lines = text.lines();
        lines.any(|line| line.contains("quota_not_counted") && line.contains(&field))
    };
    gateway.reload(|plan| plan.clients(&clients(120..240)));
    assert!(!logged(&gateway, "c120"), "it has room");
    assert!(logged(&gateway, "c239"));
}

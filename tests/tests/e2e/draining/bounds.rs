//! How long it goes on at most.

use crate::misconfigured::assert_refused;
use e2e::Plan;

use super::{assert_estimated, bounded, left_alone, plan, start, word};

#[test]
fn an_upstream_that_is_silent_is_left_in_time() {
    let (gateway, upstream) = start(bounded("time=300ms"));
    let mut exchange = left_alone(&gateway, &upstream);
    exchange.wait_closed();
    assert_estimated(&gateway);
    gateway.error_log().wait_for("\"bound\":\"time\"");
}

#[test]
fn an_upstream_that_has_not_begun_is_left_in_time() {
    let (gateway, upstream) = start(bounded("time=300ms"));
    let mut client = gateway.connect();
    client.send(e2e::post(super::JSON, super::CHAT));
    let mut exchange = upstream.accept();
    drop(client);
    exchange.wait_closed();
    assert_estimated(&gateway);
    assert_eq!(gateway.logged(1)[0].status, 499);
}

#[test]
fn an_upstream_that_says_too_much_is_left() {
    let (gateway, upstream) = start(bounded("size=64k"));
    let mut exchange = left_alone(&gateway, &upstream);
    let event = format!("data: {}\n\n", word(&"x".repeat(1_000)));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    while exchange.try_send(&chunk) {}
    assert_estimated(&gateway);
    gateway.error_log().wait_for("\"bound\":\"size\"");
}

#[test]
fn an_upstream_that_ends_too_early() {
    for resets in [false, true] {
        let (gateway, upstream) = start(plan());
        let mut exchange = left_alone(&gateway, &upstream);
        exchange.event(&word("more"));
        gateway.wait_held(1, 0);
        if resets {
            exchange.reset();
        } else {
            drop(exchange);
        }
        assert_estimated(&gateway);
    }
}

#[test]
fn an_upstream_that_times_out() {
    let (gateway, upstream) = start(plan().location("proxy_read_timeout 1s;"));
    let mut exchange = left_alone(&gateway, &upstream);
    exchange.wait_closed();
    assert_estimated(&gateway);
}

#[test]
fn mistakes_are_refused() {
    for (said, why) in [
        ("wait", "invalid value \"wait\""),
        ("close time=1s", "invalid value \"close time=1s\""),
        ("drain 30s", "invalid parameter \"30s\""),
        ("drain time=0", "out of range"),
        ("drain time=2d", "out of range"),
        ("drain size=x", "invalid size \"x\""),
        ("drain time=1s time=2s", "duplicate"),
        ("drain; openai_client_abort close", "duplicate"),
    ] {
        let plan = Plan::new().location(&format!("openai_client_abort {said};"));
        assert_refused(&plan, &["openai_client_abort", why]);
    }
}

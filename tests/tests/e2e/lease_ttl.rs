//! Reloads that change for how long a lease lives while a stream runs.

use e2e::Plan;

/// A stream of eight words begins, another client waits for the slot, `lease_ttl` changes, and the
/// stream goes on for longer than either life: it arrives whole, and the other one is served after.
fn a_stream_survives(before: &str, after: &str) {
    let pool = |ttl: &str| format!("key sk-e2e-main-0001 id=main; lease_ttl {ttl};");
    let mut gateway = Plan::new().workers(2).pool("main", &pool(before)).start();
    let streaming = gateway
        .chat()
        .header("x-mock-words", "8")
        .header("x-mock-delay", "1s")
        .spawn();
    gateway.wait_in_flight(1);
    let early = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    gateway.reload(|plan| plan.pool("main", &pool(after)));
    let late = gateway.chat().spawn();
    gateway.wait_held(1, 2);

    let answer = streaming.join().expect("an answer").expect_status(200);
    assert_eq!(answer.said().split_whitespace().count(), 8);
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    for client in [early, late] {
        client.join().expect("an answer").expect_status(200);
    }
    let lines = gateway.logged(3);
    let mut ways: Vec<_> = lines.iter().map(|l| l.lease_status.as_str()).collect();
    ways.sort_unstable(); // of several workers, none waits for another's log
    assert_eq!(ways, ["immediate", "waited", "waited"]);
    assert_eq!(
        gateway.mock().stats().max_in_flight_of_a_key(),
        1,
        "the slot was lent twice"
    );
    assert!(!gateway.error_log().text().contains("lease_lost"));
}

#[test]
fn a_stream_survives_a_reload_that_shortens_the_life_of_leases() {
    a_stream_survives("9s", "2s");
}

#[test]
fn a_stream_survives_a_reload_that_lengthens_the_life_of_leases() {
    a_stream_survives("2s", "9s");
}

#[test]
fn a_lease_in_a_pool_of_short_lives_is_renewed_beside_one_of_long_lives() {
    let upstream = "location /v1/other { openai other; proxy_pass http://upstream; }";
    let mut gateway = Plan::new()
        .pool("main", "key sk-e2e-main-0001; lease_ttl 9s;")
        .server(upstream)
        .pool("other", "key sk-e2e-other; lease_ttl 9s;")
        .start();
    let slow = gateway.chat().header("x-mock-delay", "1s").spawn();
    gateway.wait_in_flight(1);
    // The other pool's new life is none of this lease's business.
    gateway.reload(|plan| plan.pool("other", "key sk-e2e-other; lease_ttl 1s;"));
    let waiting = gateway.chat().spawn();
    slow.join().expect("an answer").expect_status(200);
    waiting.join().expect("an answer").expect_status(200);
    assert_eq!(gateway.mock().stats().max_in_flight_of_a_key(), 1);
}

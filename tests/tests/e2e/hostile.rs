//! Clients that send nonsense, too much, or leave when it hurts most.

use e2e::{Gateway, Plan, post};

/// The gateway still serves, with the worker that it had.
#[track_caller]
fn assert_unharmed(gateway: &mut Gateway, workers: &[i32]) {
    gateway.chat().send().expect_status(200);
    assert_eq!(gateway.nginx().worker_pids(), workers);
}

#[test]
fn a_client_that_leaves_inside_its_body_reaches_nobody() {
    let mut gateway = Plan::new().start();
    let workers = gateway.nginx().worker_pids();
    for sent in ["", "{", "{\"model\":\"gpt-4o\","] {
        let mut client = gateway.connect();
        client.send(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        );
        client.send(sent);
        drop(client);
    }
    let lines = gateway.logged(3);
    assert!(
        lines
            .iter()
            .all(|line| line.status == 400 || line.status == 499),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line.lease_status == "none"),
        "{lines:?}"
    );
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn a_client_that_stops_inside_its_body_is_given_up() {
    let mut gateway = Plan::new().location("client_body_timeout 200ms;").start();
    let workers = gateway.nginx().worker_pids();
    let mut client = gateway.connect();
    client.send("POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{");
    client.read_to_end();
    assert_eq!(gateway.logged(1)[0].status, 408);
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn broken_chunks_are_refused() {
    let mut gateway = Plan::new().start();
    let workers = gateway.nginx().worker_pids();
    for chunk in [
        "zz\r\n",
        "5\r\nabcdefgh\r\n",
        "ffffffffffffffffffff\r\n",
        "-1\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(
            "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        );
        client.send(chunk);
        assert_eq!(client.answer().status, 400, "{chunk:?}");
    }
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn a_flood_of_headers_is_refused() {
    let mut gateway = Plan::new().start();
    let workers = gateway.nginx().worker_pids();
    for flood in [
        "X-Flood: x\r\n".repeat(10_000),
        format!("X-Flood: {}\r\n", "x".repeat(100_000)),
        format!("Authorization: Bearer {}\r\n", "x".repeat(100_000)),
    ] {
        let mut client = gateway.connect();
        client.send(post(&flood, "{}"));
        assert_eq!(client.answer().status, 400);
    }
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn many_headers_pass_with_the_key() {
    let mut gateway = Plan::new().start();
    let workers = gateway.nginx().worker_pids();
    let headers: String = (0..80)
        .map(|number| format!("X-Header-{number}: x\r\n"))
        .collect();
    let mut client = gateway.connect();
    client.send(post(
        &format!("{headers}Authorization: Bearer mine\r\n"),
        "{}",
    ));
    assert_eq!(client.answer().status, 200);
    let stats = gateway.mock().stats();
    assert_eq!(stats.key(&format!("Bearer {}", e2e::KEY)).requests, 1);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn nonsense_is_refused() {
    let mut gateway = Plan::new().start();
    let workers = gateway.nginx().worker_pids();
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /v1/%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
    ] {
        let mut client = gateway.connect();
        client.send(nonsense).finish_sending();
        assert_eq!(client.answer().status, 400, "{nonsense:?}");
    }
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    assert_unharmed(&mut gateway, &workers);
}

#[test]
fn a_head_and_its_absence_of_a_body_pass() {
    let gateway = Plan::new().start();
    for method in ["HEAD", "OPTIONS", "PATCH"] {
        let mut client = gateway.connect();
        client.send(format!(
            "{method} /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 200, "{method}");
    }
    assert!(gateway.logged(3).iter().all(|line| line.key_id == "main"));
}

//! A worker that has few connections left closes idle ones to reach its nodes. What ends with such a
//! connection ends while the locks are being changed.

use e2e::{Gateway, RawClient, Redis, post, wait_until};

use super::{LOCK, holders, plan, wait_states};

const JSON: &str = "Content-Type: application/json\r\n";

/// A client whose request has been answered, and whose connection stays: for the next request, or,
/// `lingering`, until the client closes it. Then the request itself is still there.
#[track_caller]
fn idle(gateway: &Gateway, lingering: bool) -> RawClient {
    let mut client = gateway.connect();
    let text = post(JSON, r#"{"model":"gpt-4o","messages":[]}"#);
    client.send(if lingering {
        text
    } else {
        text.replace("Connection: close\r\n", "")
    });
    client.read_until("\"object\":\"chat.completion\"");
    client
}

#[test]
fn idle_clients_make_room_for_connections_to_nodes() {
    let nodes = Redis::group(3);
    let gateway = plan(&nodes)
        .connections(48)
        .location("lingering_close always; lingering_time 60s; lingering_timeout 60s;")
        .start();
    wait_states(&gateway, "up,up,up");
    let mut clients: Vec<_> = (0..30).map(|n| idle(&gateway, n % 2 == 0)).collect();
    for _ in 0..3 {
        for redis in &nodes {
            redis.ask("CLIENT KILL TYPE normal");
            redis.ask("CLIENT KILL TYPE pubsub");
            // All that are left, and some more.
            clients.extend((0..6).map(|n| idle(&gateway, n % 2 == 0)));
            wait_states(&gateway, "up,up,up");
            gateway.chat().send().expect_status(200);
        }
    }
    let log = gateway.error_log().text();
    assert!(log.contains("reusing connections"), "they were enough");
    for client in &mut clients[..10] {
        client.read_to_end();
    }
    gateway.wait_held(0, 0);
    wait_until("no lock is left", || holders(&nodes, LOCK) == 0);
}

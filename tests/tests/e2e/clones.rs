//! Requests that nginx clones from another one, to refresh its cache or to fetch a file in pieces:
//! each has a lease of its own, and none shows the client's token upstream.

use std::fs;

use e2e::{Exchange, Gateway, KEY, Plan, RawUpstream, wait_for};

const TOKEN: &str = "token-of-the-client";

/// A gateway with a cache, whose pool has so many slots.
fn start(slots: usize, location: &str) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", &format!("key {KEY} slots={slots};"))
        .http("proxy_cache_path {dir}/cache keys_zone=cache:1m;")
        .location("proxy_cache cache; add_header X-Cache $upstream_cache_status;")
        .location(location)
        .upstream(upstream.address())
        .start();
    (gateway, upstream)
}

#[track_caller]
fn assert_leased(exchange: &Exchange) {
    let bearer = format!("Bearer {KEY}");
    assert_eq!(exchange.header("authorization"), Some(bearer.as_str()));
    assert!(!exchange.head.contains(TOKEN), "the client's own token");
}

/// An answer that may be kept for a second.
fn answer_for_a_second(exchange: &mut Exchange, body: &str) {
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=1\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
}

/// Fills the cache, and asks again until the answer is stale and its refresh has been sent.
fn refresh(gateway: &Gateway, upstream: &RawUpstream) -> Exchange {
    let client = gateway.get("/v1/models").token(TOKEN).spawn();
    let mut first = upstream.accept();
    assert_leased(&first);
    answer_for_a_second(&mut first, "old");
    assert_eq!(client.join().expect("an answer").text(), "old");
    wait_for("the cache is refreshed", || {
        let answer = gateway.get("/v1/models").token(TOKEN).send();
        let answer = answer.expect_status(200);
        assert_eq!(answer.text(), "old", "while it is refreshed");
        if answer.header("x-cache") == Some("HIT") {
            return None;
        }
        Some(upstream.accept())
    })
}

const STALE: &str = "proxy_cache_use_stale updating; proxy_cache_background_update on;";
const SLICES: &str = "slice 10; proxy_set_header Range $slice_range;
    proxy_cache_key $uri$slice_range; proxy_cache_valid 206 1h;";

/// The answer in the cache is stale: it is sent, and refreshed.
#[track_caller]
fn a_refresh_arrives(slots: usize) {
    let (gateway, upstream) = start(slots, STALE);
    let mut exchange = refresh(&gateway, &upstream);
    assert_leased(&exchange);
    answer_for_a_second(&mut exchange, "new");
    gateway.wait_held(0, 0);
    let call = gateway.get("/v1/models").token(TOKEN);
    wait_for("the refresh is served", || {
        (call.send().text() == "new").then_some(())
    });
}

#[test]
fn the_refresh_of_a_cache_in_the_background_is_sent_with_a_leased_key() {
    a_refresh_arrives(2);
}

/// The handlers that run before the content have run for the request that is refreshed.
#[test]
fn a_refresh_in_the_background_does_not_look_for_files_again() {
    let (gateway, upstream) = start(
        2,
        &format!("{STALE} root {{dir}}; try_files $uri/all =404;"),
    );
    fs::create_dir_all(gateway.dir().join("v1/models")).expect("a directory");
    fs::write(gateway.dir().join("v1/models/all"), "").expect("a file");
    let mut exchange = refresh(&gateway, &upstream);
    assert_leased(&exchange);
    answer_for_a_second(&mut exchange, "new");
    gateway.wait_held(0, 0);
}

/// The request that found a stale answer has no use for a key: the refresh gets the slot.
#[test]
fn the_refresh_of_a_cache_in_the_background_does_with_the_only_slot() {
    a_refresh_arrives(1);
}

#[test]
fn a_refresh_in_the_background_whose_upstream_hangs_up_frees_its_slot() {
    let (gateway, upstream) = start(2, STALE);
    let exchange = refresh(&gateway, &upstream);
    assert_leased(&exchange);
    drop(exchange);
    gateway.wait_held(0, 0);
    let client = gateway.chat().token(TOKEN).spawn();
    let mut exchange = upstream.accept();
    assert_leased(&exchange);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

/// Sends a slice of a file.
fn send_slice(exchange: &mut Exchange, file: &[u8], slice: usize) {
    let start = slice * 10;
    let end = file.len().min(start + 10);
    exchange
        .send(format!(
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: \"1\"\r\n\
             Content-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\r\n",
            end - 1,
            file.len(),
            end - start
        ))
        .send(&file[start..end]);
}

const FILE: &[u8] = b"0123456789abcdefghijABCDE";

/// Fetches a file in three slices, each by a request of its own.
fn sliced(gateway: &Gateway, upstream: &RawUpstream) {
    let client = gateway.get("/v1/files/1/content").token(TOKEN).spawn();
    for slice in 0..3 {
        let mut exchange = upstream.accept();
        assert_leased(&exchange);
        let range = format!("bytes={}-{}", slice * 10, slice * 10 + 9);
        assert_eq!(exchange.header("range"), Some(range.as_str()));
        gateway.wait_held(1, 0);
        send_slice(&mut exchange, FILE, slice);
    }
    let answer = client.join().expect("an answer").expect_status(200);
    assert_eq!(answer.body, FILE);
    gateway.wait_held(0, 0);
}

#[test]
fn every_slice_of_a_file_is_fetched_with_a_leased_key() {
    let (gateway, upstream) = start(1, SLICES);
    sliced(&gateway, &upstream);
}

#[test]
fn slices_in_the_cache_are_sent_with_no_more_than_one_slot() {
    let (gateway, upstream) = start(1, SLICES);
    sliced(&gateway, &upstream);
    let call = gateway.get("/v1/files/1/content").token(TOKEN);
    let again = call.send().expect_status(200);
    assert_eq!(again.body, FILE);
    assert!(!upstream.is_called(), "it is in the cache");
}

#[test]
fn a_client_that_leaves_between_two_slices_frees_the_slot() {
    let (gateway, upstream) = start(1, SLICES);
    let mut client = gateway.connect();
    client.send("GET /v1/files/1/content HTTP/1.1\r\nHost: localhost\r\n\r\n");
    send_slice(&mut upstream.accept(), FILE, 0);
    client.read_until("0123456789");
    let mut second = upstream.accept();
    gateway.wait_held(1, 0);
    drop(client);
    send_slice(&mut second, FILE, 1);
    // nginx may fetch the rest for its cache, or not.
    gateway.wait_held(0, 0);
}

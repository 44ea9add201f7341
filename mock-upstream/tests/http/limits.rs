//! Limits of each key, over real connections.

use std::thread;
use std::time::{Duration, Instant};

use mock_upstream::{Clock, MockServer, Scenario, Server};

use crate::wire::{CHAT, Client, connect, start};

const KEY: &str = "Bearer sk-limited";

fn limited(settings: &[(&str, &str)], clock: Clock) -> MockServer {
    let mut scenario = Scenario::new().delay(Duration::ZERO);
    for (name, value) in settings {
        scenario.set(name, value).expect(name);
    }
    Server::new(scenario).clock(clock).start().expect("start")
}

/// Asks for an answer of 10 tokens in all, and reports the status.
fn ask(client: &mut Client<std::net::TcpStream>) -> u16 {
    // Seven tokens of messages and three words.
    let body = r#"{"messages":[{"content":"012345678"}]}"#;
    client.send("POST", CHAT, &[("authorization", KEY)], body.as_bytes());
    client.json().0.status
}

/// Ten thousand requests by four clients at once; the number that were let in.
fn storm(mock: &MockServer) -> u64 {
    let address = mock.addr();
    let clients = (0..4).map(|_| {
        thread::spawn(move || {
            let mut client = connect(address);
            (0..2_500).filter(|_| ask(&mut client) == 200).count() as u64
        })
    });
    let clients: Vec<_> = clients.collect();
    clients
        .into_iter()
        .map(|client| client.join().expect("a client"))
        .sum()
}

#[test]
fn in_simulated_time_exactly_as_many_get_in_as_allowed() {
    for (settings, each_minute) in [
        ([("rpm", "100"), ("tpm", "100000")], 100),
        ([("rpm", "100000"), ("tpm", "1000")], 100),
        ([("rpm", "100"), ("tpm", "1000")], 100),
        ([("rpm", "100"), ("tpm", "500")], 50),
    ] {
        let clock = Clock::manual();
        let mock = limited(&settings, clock.clone());
        assert_eq!(storm(&mock), each_minute);
        let mut client = connect(mock.addr());
        for _ in 0..30 {
            clock.advance(Duration::from_secs(6));
            let admitted = (0..30).filter(|_| ask(&mut client) == 200).count() as u64;
            assert_eq!(admitted, each_minute / 10);
        }
        let spending = mock.ledger()[&mock_upstream::key_hash(KEY)];
        assert_eq!(spending.admitted, each_minute * 4);
        assert_eq!(
            spending.refused,
            10_000 - each_minute + 900 - each_minute * 3
        );
        assert_eq!(
            spending.prompt_tokens + spending.completion_tokens,
            each_minute * 40
        );
    }
}

#[test]
fn in_real_time_exactly_as_many_get_in_as_the_time_allows() {
    let mock = limited(&[("rpm", "100"), ("tpm", "1000")], Clock::real());
    let start = Instant::now();
    let admitted = storm(&mock);
    // One more comes back every 600 ms; the first has come before the clock was read here.
    let most = 100 + start.elapsed().as_millis() as u64 / 600 + 1;
    assert!((100..=most).contains(&admitted), "{admitted} of {most}");
}

#[test]
fn headers_report_the_limits_and_a_refusal_when_to_come_back() {
    let clock = Clock::manual();
    let mock = limited(&[("rpm", "2"), ("tpm", "600")], clock.clone());
    let mut client = connect(mock.addr());
    let body = r#"{"messages":[{"content":"012345678"}]}"#;
    let mut ask = || {
        client.send("POST", CHAT, &[("authorization", KEY)], body.as_bytes());
        client.json()
    };
    let (first, _) = ask();
    let reported = |head: &crate::wire::Head| {
        ["limit", "remaining", "reset"].map(|what| {
            let of = |unit: &str| head.headers[&format!("x-ratelimit-{what}-{unit}")].clone();
            (of("requests"), of("tokens"))
        })
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        reported(&first),
        [pair("2", "600"), pair("1", "590"), pair("30s", "1s")]
    );
    clock.advance(Duration::from_millis(500));
    let (second, _) = ask();
    assert_eq!(
        reported(&second),
        [pair("2", "600"), pair("0", "585"), pair("59.5s", "1.5s")]
    );
    let (third, json) = ask();
    assert_eq!(third.status, 429);
    assert_eq!(json["error"]["code"], "rate_limit_exceeded");
    assert_eq!(json["error"]["type"], "requests");
    assert_eq!(third.headers["retry-after-ms"], "29500");
    assert_eq!(third.headers["retry-after"], "30");
    clock.advance(Duration::from_millis(29_500));
    assert_eq!(ask().0.status, 200);
}

#[test]
fn every_key_is_treated_in_its_own_way() {
    let mut scenario = Scenario::new().delay(Duration::from_millis(5));
    for key in [
        "token=sk-revoked state=revoked",
        "token=sk-poor state=out_of_quota",
        "token=sk-spent quota=5",
        "token=sk-slow slow=4",
        "token=sk-narrow rpm=1",
    ] {
        scenario.key(key).expect(key);
    }
    let mock = start(scenario);
    let mut client = connect(mock.addr());
    let mut ask = |key: &str| {
        let key = format!("Bearer {key}");
        client.send("POST", CHAT, &[("authorization", &key)], b"{}");
        let (head, json) = client.json();
        let code = json["error"]["code"].as_str().map(str::to_owned);
        (head.status, code.unwrap_or_default())
    };
    let fine = || (200, String::new());
    assert_eq!(ask("sk-revoked"), (401, "invalid_api_key".to_owned()));
    assert_eq!(ask("sk-poor"), (429, "insufficient_quota".to_owned()));
    assert_eq!(ask("sk-spent"), fine());
    assert_eq!(ask("sk-spent"), fine());
    assert_eq!(ask("sk-spent"), (429, "insufficient_quota".to_owned()));
    assert_eq!(ask("sk-narrow"), fine());
    assert_eq!(ask("sk-narrow"), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(ask("sk-other"), fine());
    mock.reset();
    assert_eq!(ask("sk-narrow"), fine());

    let mut client = connect(mock.addr());
    let begun = Instant::now();
    client.ask(&[("authorization", "Bearer sk-slow")]);
    assert_eq!(client.whole_stream().1.len(), 6);
    assert!(
        begun.elapsed() >= Duration::from_millis(40),
        "two pauses of 20 ms"
    );
}

#[test]
fn a_limited_key_streams_like_any_other() {
    let mock = limited(&[("rpm", "1")], Clock::manual());
    let mut client = connect(mock.addr());
    client.ask(&[]);
    let (head, chunks) = client.whole_stream();
    assert_eq!(head.headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(chunks.len(), 6);
    client.ask(&[]);
    assert_eq!(client.json().0.status, 429);
}

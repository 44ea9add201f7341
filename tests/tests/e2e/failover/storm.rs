//! Keys that are limited or revoked, and an upstream that fails, under load: the clients notice
//! nothing while something is left that works.

use std::time::{Duration, Instant};

use e2e::{Gateway, Load, LoadOutcome, post, stream_once, wait_until};
use mock_upstream::{MockServer, Scenario};
use serde_json::Value;

use super::{key, key_gets, key_is, keys, plan};

const KEYS: usize = 20;
const COOL_DOWN_MS: u64 = 300;

/// A mock, and how it behaves when nothing fails.
struct Upstream {
    mock: MockServer,
    sound: String,
}

impl Upstream {
    fn start() -> Self {
        let limited = format!(
            "error = \"rate_limit_exceeded\"\nretry-after = \"{COOL_DOWN_MS}ms\"\nshare = \"50%\""
        );
        let bad: String = (1..=5).map(|n| key_gets(n, &limited)).collect();
        let revoked: String = (6..=7).map(|n| key_is(n, "revoked")).collect();
        let sound = format!("delay = \"1ms\"\njournal = 100000\n{revoked}{bad}");
        let scenario = Scenario::from_toml(&sound).expect("a scenario");
        Self {
            mock: MockServer::start(scenario).expect("the mock starts"),
            sound,
        }
    }

    fn set(&self, more: &str) {
        let scenario = Scenario::from_toml(&format!("{}{more}", self.sound));
        self.mock.set_scenario(scenario.expect("a scenario"));
    }

    /// The requests that came: when, with which key, and the status they got.
    fn seen(&self) -> impl Iterator<Item = (u64, String, u64)> {
        self.mock.requests().into_iter().map(|request| {
            let at = request["at_ms"].as_u64().expect("a time");
            let key = request["key"].as_str().expect("a key").to_owned();
            (at, key, request["status"].as_u64().unwrap_or_default())
        })
    }
}

fn circuits(gateway: &Gateway) -> Value {
    gateway.get("/circuits").send().expect_status(200).json()
}

#[track_caller]
#[allow(clippy::print_stdout, reason = "`make storm` prints it")]
fn storm(requests: usize, outage: Duration) {
    let (a, b) = (Upstream::start(), Upstream::start());
    let gateway = plan(KEYS, "")
        .workers(2)
        .pool("main", &keys(KEYS))
        .http(&format!(
            "upstream a {{ server {}; keepalive 64; }} upstream b {{ server {}; keepalive 64; }}
             openai_upstream a {{ window 2s; open 1s; }}",
            a.mock.addr(),
            b.mock.addr()
        ))
        .serves("openai main@a main@b;")
        .location("openai_next_key_tries 5;")
        .proxied(
            "proxy_http_version 1.1; proxy_set_header Connection '';
             proxy_pass http://$openai_upstream;",
        )
        .server("location = /circuits { return 200 $openai_circuits; }")
        .start();
    let port = gateway.port();
    let load: Load = Load::start(48, usize::MAX, move || {
        move |_| {
            let head = "Content-Type: application/json\r\n";
            stream_once(port, &post(head, r#"{"model":"gpt-4o","stream":true}"#))
        }
    });
    load.wait_more(requests / 8);
    a.set("[[fault]]\nstatus = 503\n[[fault]]\nreset-after = 0\nshare = \"50%\"\n");
    let began = Instant::now();
    wait_until("the circuit opens", || {
        circuits(&gateway).to_string().contains("\"open\"")
    });
    let at_b = b.mock.stats().totals.requests;
    while began.elapsed() < outage {
        load.wait_more(50);
    }
    assert!(
        b.mock.stats().totals.requests > at_b,
        "the other upstream serves"
    );
    a.set("");
    let healed = Instant::now();
    let at_a = a.mock.stats().totals.requests;
    wait_until("the upstream serves again", || {
        a.mock.stats().totals.requests > at_a + 20
    });
    let back = healed.elapsed();
    assert!(back < Duration::from_secs(12), "{back:?}");
    load.wait_more(requests.saturating_sub(load.ended()).max(1));
    let outcomes = load.stop();
    let requests: usize = outcomes.values().sum();
    let complete = outcomes
        .get(&LoadOutcome::Complete)
        .copied()
        .unwrap_or_default();
    println!("storm: {outcomes:?}, the upstream used again after {back:?}");
    assert!(complete * 1_000 >= requests * 999, "{outcomes:?}");
    gateway.wait_held(0, 0);

    let mut seen: Vec<_> = a.seen().chain(b.seen()).collect();
    seen.sort_unstable();
    let limited: Vec<_> = seen.iter().filter(|(.., status)| *status == 429).collect();
    assert!(limited.len() > 50, "{}", limited.len());
    for (at, key, _) in &limited {
        // The mocks report when a request came, in whole milliseconds.
        let early = seen
            .iter()
            .find(|(other, k, _)| k == key && other > at && *other + 1 < at + COOL_DOWN_MS);
        assert_eq!(early, None, "{key} was limited at {at} ms");
    }
    for n in 6..=7 {
        let bearer = format!("Bearer {}", key(n));
        let used: u64 = [&a, &b]
            .iter()
            .map(|u| u.mock.stats().key(&bearer).requests)
            .sum();
        assert_eq!(used, 1, "a revoked key is used once a minute");
    }
    for upstream in [&a, &b] {
        assert!(upstream.mock.stats().max_in_flight_of_a_key() <= 1);
    }
}

#[test]
fn a_short_storm() {
    storm(4_000, Duration::from_secs(2));
}

/// `make storm`.
#[test]
#[ignore = "half a minute"]
fn a_storm() {
    storm(20_000, Duration::from_secs(10));
}

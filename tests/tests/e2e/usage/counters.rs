//! Totals over all workers, as `/metrics` reports them.

use std::thread;
use std::time::Duration;

use e2e::{Call, Gateway, Plan, wait_until};
use mock_upstream::Scenario;
use serde_json::Value;

use super::PRICES;

const CLIENTS: &str = "client app env:TOKEN_A;\nclient batch env:TOKEN_B;";
pub(crate) const TOKENS: [&str; 2] = ["token-of-app", "token-of-batch"];
const KEYS: &str = "key sk-e2e-usage-1 id=k1 slots=4;\nkey sk-e2e-usage-2 id=k2 slots=4;\n\
                    key sk-e2e-usage-3 id=k3 slots=4;";

fn plan() -> Plan {
    Plan::new()
        .workers(2)
        .pool("main", KEYS)
        .clients(CLIENTS)
        .environment("TOKEN_A", TOKENS[0])
        .environment("TOKEN_B", TOKENS[1])
        .file("prices.json", PRICES)
        .http("openai_prices {dir}/prices.json;")
        .server("location = /metrics { openai_auth off; openai_metrics; }")
}

/// The metrics as they are.
pub struct Metrics(String);

impl Metrics {
    pub fn of(gateway: &Gateway) -> Self {
        let answer = gateway.get("/metrics").send().expect_status(200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4")
        );
        Self(answer.text().to_owned())
    }

    /// The values of the series of a name that have all of these labels.
    fn values(&self, name: &str, labels: &[&str]) -> impl Iterator<Item = f64> {
        let lines = self.0.lines().filter(move |line| {
            let series = line.strip_prefix(name);
            series.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| {
            let value = line.rsplit(' ').next().expect("a value");
            value.parse().expect("a number")
        })
    }

    /// The sum over them.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.values(name, labels).sum()
    }

    /// The value of the only one, if there is one.
    pub fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let mut values = self.values(name, labels);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} {labels:?}: several series");
        value
    }

    fn requests(&self) -> f64 {
        self.sum("openai_service_requests_total", &[])
    }
}

/// What the mock has counted: prompt and completion.
pub(crate) fn ledger(gateway: &Gateway) -> (f64, f64) {
    let url = format!("http://{}/__mock/ledger", gateway.mock().addr());
    let ledger = Call::new("GET", url).send().json();
    let sum = |name: &str| {
        let keys = ledger["keys"].as_object().expect("keys").values();
        keys.filter_map(|key| key[name].as_f64()).sum::<f64>()
    };
    (sum("prompt_tokens"), sum("completion_tokens"))
}

/// The n-th of many requests of every kind, whose usage is known.
fn mixed(port: u16, n: usize) -> Call {
    let model = ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small"][n % 3];
    let text = "x".repeat(n % 17);
    let body = |field: &str, more: &str| {
        format!("{{\"model\":\"{model}\",\"{field}\":[{{\"content\":\"{text}\"}}]{more}}}")
    };
    let words = (n % 23).to_string();
    let asked = ",\"stream\":true,\"stream_options\":{\"include_usage\":true}";
    let call = |path: &str, body: &str| Call::json(format!("http://127.0.0.1:{port}{path}"), body);
    let call = match n % 7 {
        0 => call("/v1/chat/completions", &body("messages", "")),
        1 | 2 => call("/v1/chat/completions", &body("messages", asked)),
        3 => call("/v1/responses", &body("input", ",\"stream\":true")),
        4 => call("/v1/embeddings", &body("input", "")),
        5 => call("/v1/completions", &body("prompt", asked)),
        _ => {
            let status = ["400", "404", "429", "500"][n / 7 % 4];
            let failed = call("/v1/chat/completions", &body("messages", ""));
            failed.header("x-mock-status", status)
        }
    };
    call.header("x-mock-words", &words)
        .token(TOKENS[n / 3 % TOKENS.len()])
}

/// Makes so many mixed requests, some at a time.
pub(crate) fn run(gateway: &Gateway, from: usize, count: usize) {
    const CLIENTS: usize = 8;
    let port = gateway.port();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for n in (from..from + count).skip(client).step_by(CLIENTS) {
                    mixed(port, n).send();
                }
            });
        }
    });
}

#[track_caller]
fn assert_exact(gateway: &Gateway, requests: usize) -> Metrics {
    wait_until("all requests are counted", || {
        Metrics::of(gateway).requests() >= requests as f64
    });
    let metrics = Metrics::of(gateway);
    let (prompt, completion) = ledger(gateway);
    for owner in [
        "openai_service_tokens_total",
        "openai_tokens_total",
        "openai_key_tokens_total",
    ] {
        assert_eq!(metrics.sum(owner, &["kind=\"prompt\""]), prompt, "{owner}");
        assert_eq!(
            metrics.sum(owner, &["kind=\"completion\""]),
            completion,
            "{owner}"
        );
    }
    assert_eq!(
        metrics.sum("openai_tokens_used_total", &[]),
        prompt + completion
    );
    for name in [
        "openai_service_requests_total",
        "openai_api_calls_total",
        "openai_pool_requests_total",
        "openai_key_requests_total",
        "openai_service_request_duration_seconds_count",
    ] {
        assert_eq!(metrics.sum(name, &[]), requests as f64, "{name}");
    }
    let cost = |name| metrics.sum(name, &[]);
    let difference = cost("openai_cost_dollars_total") - cost("openai_service_cost_dollars_total");
    assert!(difference.abs() < 1e-9, "{difference}");
    metrics
}

#[test]
fn totals_are_the_ledger_of_the_upstream_to_the_token() {
    let gateway = plan().start();
    run(&gateway, 0, 420);
    let metrics = assert_exact(&gateway, 420);
    assert_eq!(metrics.sum("openai_tokens_estimated_total", &[]), 0.0);
    let status =
        |status: &str| metrics.sum("openai_api_calls_total", &[&format!("status=\"{status}\"")]);
    assert_eq!(status("success"), 360.0);
    assert_eq!(status("client_error"), 30.0);
    assert_eq!(status("rate_limited"), 15.0);
    assert_eq!(status("upstream_error"), 15.0);
    let services = ["app", "batch"].map(|name| {
        let of = format!("service=\"{name}\"");
        metrics.sum("openai_service_requests_total", &[&of])
    });
    assert_eq!(services, [210.0, 210.0]);
    assert_eq!(
        metrics.sum(
            "http_requests_total",
            &["endpoint=\"/v1/embeddings\"", "status=\"200\""]
        ),
        60.0
    );
    assert!(metrics.sum("openai_unpriced_requests_total", &["gpt-4o-mini"]) > 0.0);
    assert_eq!(
        metrics.sum("openai_unpriced_requests_total", &["\"gpt-4o\""]),
        0.0
    );
}

#[test]
#[ignore = "some minutes; `make long`"]
fn totals_of_thousands_of_requests_are_the_ledger() {
    let mut gateway = plan().start();
    run(&gateway, 0, 2_500);
    gateway.reload(|plan| plan);
    run(&gateway, 2_500, 2_500);
    assert_exact(&gateway, 5_000);
}

#[test]
fn totals_outlive_reloads_and_workers() {
    let mut gateway = plan().loses_workers().start();
    run(&gateway, 0, 70);
    assert_exact(&gateway, 70);
    gateway.reload(|plan| plan);
    assert_exact(&gateway, 70);
    run(&gateway, 70, 70);
    assert_exact(&gateway, 140);
    for _ in 0..3 {
        let old = gateway.nginx().worker_pids();
        for pid in &old {
            gateway.nginx().kill_worker(*pid);
        }
        wait_until("there are new workers", || {
            let new = gateway.nginx().worker_pids();
            new.len() == 2 && !new.iter().any(|pid| old.contains(pid))
        });
    }
    assert_exact(&gateway, 140);
    run(&gateway, 140, 70);
    assert_exact(&gateway, 210);
}

#[test]
fn totals_never_fall_while_workers_are_killed() {
    let mut gateway = plan().loses_workers().start();
    let port = gateway.port();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            for n in 0..1_000 {
                let _ = mixed(port, n).try_send();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let (mut before, mut killed) = (0.0, 0);
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let Ok(answer) = gateway.get("/metrics").try_send() else {
                continue;
            };
            let now = Metrics(answer.text().to_owned()).requests();
            assert!(now >= before, "{now} after {before}");
            if now > before + 40.0 && killed < 5 {
                before = now;
                killed += 1;
                let pids = gateway.nginx().worker_pids();
                gateway.nginx().kill_worker(pids[killed % pids.len()]);
            }
            // Looking without a pause would take the cores from those who are looked at.
            thread::sleep(Duration::from_millis(5));
        }
        load.join().expect("the load ends");
        assert!(killed >= 3, "{killed}");
    });
    let metrics = Metrics::of(&gateway);
    // Those under way in a worker that was killed are not counted; no other is lost, or doubled.
    let counted = metrics.requests();
    assert!(
        (1_000.0 - 5.0 * 2.0..=1_000.0).contains(&counted),
        "{counted}"
    );
    assert_eq!(metrics.sum("openai_key_requests_total", &[]), counted);
    assert_eq!(metrics.sum("openai_api_calls_total", &[]), counted);
    let (prompt, completion) = ledger(&gateway);
    assert!(metrics.sum("openai_tokens_used_total", &[]) <= prompt + completion);
}

#[test]
fn requests_that_got_no_key_are_counted_without_one() {
    let scenario = Scenario::from_toml("delay = \"50ms\"\nwords = 1000").expect("a scenario");
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-usage-1 id=k1; wait 0;")
        .server("location = /metrics { openai off; openai_metrics; }")
        .scenario(scenario)
        .start();
    let mut holder = gateway.connect();
    holder.send(e2e::post("", r#"{"model":"gpt-4o","stream":true}"#));
    gateway.wait_held(1, 0);
    gateway.chat().send().expect_status(429);
    let metrics = Metrics::of(&gateway);
    assert_eq!(metrics.sum("openai_service_active_locks", &["main"]), 1.0);
    drop(holder);
    wait_until("both are counted", || {
        Metrics::of(&gateway).requests() == 2.0
    });
    let metrics = Metrics::of(&gateway);
    let key = |key: &str, status: &str| {
        let labels = [format!("key=\"{key}\""), format!("status=\"{status}\"")];
        metrics.sum("openai_key_requests_total", &[&labels[0], &labels[1]])
    };
    assert_eq!((key("", "no_key"), key("k1", "aborted")), (1.0, 1.0));
    assert_eq!(metrics.sum("openai_service_active_locks", &["main"]), 0.0);
    assert_eq!(metrics.sum("http_requests_total", &["status=\"429\""]), 1.0);
}

#[test]
fn nobody_makes_series_but_the_configuration() {
    let gateway = plan().start();
    let count = |gateway: &Gateway| Metrics::of(gateway).0.lines().count();
    let call = |n: usize| {
        let body = format!("{{\"model\":\"made-up-{n}\",\"messages\":[]}}");
        let path = format!("/v1/chat/completions?n={n}");
        Call::json(gateway.url(&path), body)
            .token(TOKENS[0])
            .header("x-mock-status", "404")
    };
    call(0).send().expect_status(404);
    wait_until("it is counted", || Metrics::of(&gateway).requests() == 1.0);
    let before = count(&gateway);
    for n in 1..50 {
        call(n).send().expect_status(404);
        gateway
            .get(&format!("/v1/made/up/{n}"))
            .token("no such token")
            .send()
            .expect_status(401);
    }
    wait_until("all are counted", || {
        Metrics::of(&gateway).requests() == 99.0
    });
    let (lines, text) = (count(&gateway), Metrics::of(&gateway).0);
    assert!(!text.contains("made"), "{text}");
    // The refused ones are of a service, a model and a key without a name.
    assert!(lines < before + 150, "{before} lines became {lines}");
    let json: Value = call(99).send().json();
    assert_eq!(json["error"]["code"], "model_not_found");
}

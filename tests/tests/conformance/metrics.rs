//! Metrics that dashboards and alerts are made of.

use e2e::wait_until;
use serde_json::json;

use crate::bed::{ADMIN, Bed, CHAT, Config, STREAM};

on_each_configuration!(metrics_have_their_names_types_and_labels, metrics_count);

/// The value of a metric with this label.
#[track_caller]
pub fn metric(bed: &Bed, name: &str, labels: &[&str]) -> f64 {
    let text = bed.get_as_admin("/metrics").text().to_owned();
    let fits = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let values = text
        .lines()
        .filter(fits)
        .filter_map(|line| line.rsplit(' ').next());
    values
        .map(|value| value.parse::<f64>().expect("a number"))
        .sum()
}

/// Name, type, and labels of each sample (those of a histogram beside `le`).
const METRICS: [(&str, &str, &[&str]); 11] = [
    ("openai_service_requests_total", "counter", &["service"]),
    (
        "openai_service_request_duration_seconds",
        "histogram",
        &["service"],
    ),
    ("openai_service_active_locks", "gauge", &[]),
    (
        "openai_service_lock_acquisition_duration_seconds",
        "histogram",
        &[],
    ),
    (
        "http_requests_total",
        "counter",
        &["method", "endpoint", "status"],
    ),
    ("http_request_duration_seconds", "histogram", &[]),
    ("api_requests_total", "counter", &["endpoint", "status"]),
    ("api_request_duration_seconds", "histogram", &["endpoint"]),
    ("active_users", "gauge", &[]),
    ("openai_api_calls_total", "counter", &["model", "status"]),
    ("openai_tokens_used_total", "counter", &["model"]),
];

fn metrics_have_their_names_types_and_labels(config: Config) {
    let bed = Bed::start(config);
    let answer = bed.get_as_admin("/metrics");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{kind}");
    for body in [CHAT, STREAM] {
        bed.chat(body).send().expect_status(200);
    }
    let lock = bed.lock(json!({}));
    bed.release(&lock, json!({}));
    wait_until("the chats are counted", || {
        metric(
            &bed,
            "openai_api_calls_total",
            &["model=\"gpt-4o\"", "status=\"success\""],
        ) == 2.0
    });
    let text = bed.get_as_admin("/metrics").text().to_owned();
    let mut wrong = Vec::new();
    for (name, kind, labels) in METRICS {
        if !text.contains(&format!("# TYPE {name} {kind}\n")) {
            wrong.push(format!("{name} is not there as a {kind}"));
        }
        if !text.contains(&format!("# HELP {name} ")) {
            wrong.push(format!("{name} has no help"));
        }
        let sample = if kind == "histogram" {
            format!("{name}_bucket")
        } else {
            name.to_owned()
        };
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.strip_prefix(&sample)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .collect();
        if samples.is_empty() {
            wrong.push(format!("{name} has no sample"));
        }
        for label in labels {
            let has = |sample: &&str| sample.contains(&format!("{label}=\""));
            if !samples.iter().all(has) {
                wrong.push(format!("{name} without {label}: {samples:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The names of OpenMetrics are the text's own: every sample belongs to a type.
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let known = |name: &str| text.contains(&format!("# TYPE {name} "));
        assert!(known(name) || base.is_some_and(known), "{line}");
    }
    bed.end();
}

fn metrics_count(config: Config) {
    let bed = Bed::start(config);
    let service = format!("service=\"{}\"", config.service());
    for body in [CHAT, STREAM, CHAT] {
        bed.chat(body).send().expect_status(200);
    }
    bed.call("POST", "/v1/chat/completions")
        .send()
        .expect_status(401);
    bed.chat(r#"{"model":"nothing"}"#)
        .header("x-mock-error", "model_not_found")
        .send()
        .expect_status(404);
    let chats = "endpoint=\"/v1/chat/completions\"";
    for (name, labels, value) in [
        (
            "http_requests_total",
            vec!["method=\"POST\"", chats, "status=\"200\""],
            3.0,
        ),
        (
            "http_requests_total",
            vec!["method=\"POST\"", chats, "status=\"401\""],
            1.0,
        ),
        (
            "http_requests_total",
            vec!["method=\"POST\"", chats, "status=\"404\""],
            1.0,
        ),
        ("http_request_duration_seconds_count", vec![chats], 5.0),
        ("api_requests_total", vec![chats, "status=\"200\""], 3.0),
        ("api_requests_total", vec![chats, "status=\"401\""], 1.0),
        ("api_request_duration_seconds_count", vec![chats], 5.0),
        (
            "openai_service_requests_total",
            vec![service.as_str(), "status=\"success\""],
            3.0,
        ),
        (
            "openai_service_requests_total",
            vec![service.as_str(), "status=\"client_error\""],
            1.0,
        ),
        (
            "openai_service_request_duration_seconds_count",
            vec![service.as_str()],
            4.0,
        ),
        (
            "openai_api_calls_total",
            vec!["model=\"gpt-4o\"", "status=\"success\""],
            3.0,
        ),
    ] {
        wait_until(&format!("{name} {labels:?} is {value}"), || {
            metric(&bed, name, &labels) == value
        });
    }
    // A lock counts as a request of its service.
    let lock = bed.lock(json!({}));
    let acquire = "endpoint=\"/v1/lock/acquire\"";
    let active = "openai_service_active_locks";
    wait_until("it is held", || metric(&bed, active, &[]) == 1.0);
    wait_until("the call is counted", || {
        metric(&bed, "api_requests_total", &[acquire, "status=\"200\""]) == 1.0
    });
    wait_until("the lock is counted", || {
        metric(&bed, "openai_service_requests_total", &[&service]) == 5.0
    });
    bed.release(&lock, json!({}));
    wait_until("it is given back", || metric(&bed, active, &[]) == 0.0);
    let waited = "openai_service_lock_acquisition_duration_seconds_count";
    wait_until("the waits are counted", || metric(&bed, waited, &[]) >= 4.0);
    let tokens = metric(&bed, "openai_tokens_used_total", &["model=\"gpt-4o\""]);
    assert!(tokens >= 9.0, "three words each: {tokens}");
    // The service, and the administrator who looks.
    let users = metric(&bed, "active_users", &[]);
    assert!((1.0..=2.0).contains(&users), "{users}");
    bed.call("GET", "/v1/models")
        .token(ADMIN)
        .send()
        .expect_status(200);
    wait_until("both are active", || {
        metric(&bed, "active_users", &[]) == 2.0
    });
    // What a client makes up names no endpoint.
    bed.call("GET", "/v1/made-up-by-a-client")
        .token(ADMIN)
        .send()
        .expect_status(200);
    wait_until("it is counted", || {
        metric(&bed, "api_requests_total", &["endpoint=\"other\""]) >= 1.0
    });
    assert!(!bed.get_as_admin("/metrics").text().contains("made-up"));
    bed.end();
}

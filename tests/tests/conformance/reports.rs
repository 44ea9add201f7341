//! What the lock service reports about the gateway: health, versions, listings, stats.

use e2e::wait_until;
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, COMPLETIONS, Config, SERVICE, STREAM, assert_no_secret};
use crate::case::{As, Case, check};
use crate::lock_service::acquire;
use crate::metrics::metric;
use crate::shape::assert_shape;

on_each_configuration!(
    usage_of_a_lock_counts,
    usage_of_a_lock_counts_against_a_quota,
    what_it_reports_about_itself,
    stats_have_sums_of_thirty_days,
    the_document_names_every_path,
    listings_report_no_secret,
);

fn stats(bed: &Bed) -> Value {
    let answer = bed.call("GET", "/v1/stats").token(SERVICE).send();
    answer.expect_status(200).json()
}

fn usage_of_a_lock_counts(config: Config) {
    let bed = Bed::start(config);
    let service = format!("service=\"{}\"", config.service());
    let tokens = |bed: &Bed| metric(bed, "openai_service_tokens_total", &[&service]);
    let used = |bed: &Bed| metric(bed, "openai_tokens_used_total", &[]);
    let before = (stats(&bed), tokens(&bed), used(&bed));
    let lock = bed.lock(json!({}));
    let usage =
        json!({"success": true, "actual_duration": 280, "tokens_used": 150, "error_message": null});
    bed.release(&lock, json!({"usage_stats": usage}));
    let lock = bed.lock(json!({}));
    let usage = json!({"success": false, "actual_duration": 1.5, "tokens_used": 7, "error_message": "it broke"});
    bed.release(&lock, json!({"usage_stats": usage}));
    wait_until("the tokens are counted", || {
        stats(&bed)["total_tokens"].as_u64() == before.0["total_tokens"].as_u64().map(|n| n + 157)
    });
    wait_until("the metrics have them", || {
        (tokens(&bed), used(&bed)) == (before.1 + 157.0, before.2 + 157.0)
    });
    // What the service says of its success counts.
    let after = stats(&bed);
    let failures = |stats: &Value| -> u64 {
        let outcomes = stats["total"]["outcomes"].as_object().expect("outcomes");
        let failed = outcomes.iter().filter(|(name, _)| *name != "success");
        failed.filter_map(|(_, count)| count.as_u64()).sum()
    };
    assert_eq!(failures(&after), failures(&before.0) + 1, "{after}");
    bed.end();
}

fn usage_of_a_lock_counts_against_a_quota(config: Config) {
    let quota = format!("quota {} tokens=200/day;", config.service());
    let bed = Bed::with(config, |shipped| shipped.add("openai_clients", &quota));
    for tokens in [150, 50] {
        let lock = bed.lock(json!({}));
        let usage = json!({"success": true, "tokens_used": tokens});
        bed.release(&lock, json!({"usage_stats": usage}));
    }
    let refused = |case: Case| {
        let case = case.by(As::Service);
        case.error(429, "insufficient_quota", "insufficient_quota")
    };
    check(
        &bed,
        &[
            refused(Case::post("/v1/lock/acquire", acquire())),
            refused(Case::post(COMPLETIONS, STREAM)),
        ],
    );
    bed.end();
}

fn what_it_reports_about_itself(config: Config) {
    let bed = Bed::start(config);
    let pool = json!({"pool": "main", "slots": 3});
    let redlock = if config == Config::Container {
        "redlock"
    } else {
        "shm"
    };
    check(
        &bed,
        &[
            Case::get("/health")
                .answers("content-type", "application/json")
                .shape(json!({"status": "healthy", "version": "<text>", "pools": [pool], "timestamp": "<time>"})),
            Case::get("/")
                .by(As::Service)
                .answers("content-type", "application/json")
                .shape(json!({"name": "<text>", "version": "<text>", "links": "<object or list>"})),
            Case::get("/system/info")
                .by(As::Service)
                .answers("content-type", "application/json")
                .shape(json!({"version": "<text>", "nginx": "<text>", "uptime_seconds": "<integer>",
                    "pools": [{"pool": "main", "backend": redlock, "slots": 3, "keys": "<list>"}]})),
        ],
    );
    // One version, wherever it is reported.
    let reported = |path: &str| bed.get_as_admin(path).json()["version"].clone();
    assert_eq!(reported("/health"), reported("/system/info"));
    assert_eq!(reported("/health"), reported("/"));
    let links = bed.get_as_admin("/").json()["links"].to_string();
    for path in ["/health", "/docs", "/metrics", "/openapi.json"] {
        assert!(links.contains(path), "{path}: {links}");
    }
    bed.end();
}

fn stats_have_sums_of_thirty_days(config: Config) {
    let bed = Bed::start(config);
    for _ in 0..2 {
        bed.chat(CHAT).send().expect_status(200);
    }
    let shape = json!({
        "total_cost": "<number or null>",
        "total_tokens": "<integer>",
        "request_count": 2,
        "services": "<list>",
        "timestamp": "<time>",
    });
    wait_until("both are counted", || stats(&bed)["request_count"] == 2);
    assert_shape("/v1/stats", &shape, &stats(&bed));
    let tokens = stats(&bed)["total_tokens"].as_u64();
    assert!(
        tokens.is_some_and(|tokens| tokens >= 6),
        "three words each: {tokens:?}"
    );
    bed.end();
}

fn the_document_names_every_path(config: Config) {
    let bed = Bed::start(config);
    let document = bed.get_as_admin("/openapi.json").json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.")),
        "{document}"
    );
    for (path, method) in [
        ("/v1/lock/acquire", "post"),
        ("/v1/lock/release", "post"),
        ("/health", "get"),
        ("/", "get"),
        ("/v1/locks/active", "get"),
        ("/metrics", "get"),
        ("/system/info", "get"),
        ("/v1/stats", "get"),
        ("/v1/locks/{lock_id}/force-release", "delete"),
        ("/v1/maintenance/cleanup-expired", "post"),
    ] {
        assert!(
            document["paths"][path][method].is_object(),
            "{method} {path}"
        );
    }
    for page in ["/docs", "/redoc"] {
        let page = bed.call("GET", page).send().expect_status(200);
        assert!(page.text().contains("openapi.json"), "{}", page.text());
    }
    bed.end();
}

fn listings_report_no_secret(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(json!({"dimension": "c_role"}));
    bed.chat(CHAT).send().expect_status(200);
    for path in [
        "/",
        "/health",
        "/v1/locks/active",
        "/metrics",
        "/system/info",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/v1/stats",
        "/status",
        "/v1/status",
    ] {
        let answer = bed.get_as_admin(path);
        assert_no_secret(path, answer.text());
        for (name, value) in &answer.headers {
            assert_no_secret(&format!("{path}: {name}"), value);
        }
    }
    bed.release(&lock, json!({}));
    bed.end();
}

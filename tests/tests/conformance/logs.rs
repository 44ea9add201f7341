//! The access log, and the events of the module.

use e2e::{Call, events_in, json_lines};
use serde_json::{Value, json};

use crate::bed::{ADMIN, Bed, CHAT, Config, SERVICE, STREAM};
use crate::shape::{assert_shape, is_level, is_time};

on_each_configuration!(
    each_request_is_a_line_of_json,
    locks_are_in_the_access_log,
    events_are_json_behind_nginx_s_prefix,
    events_go_to_a_file_of_their_own,
    the_level_of_the_event_log_is_obeyed,
);

fn each_request_is_a_line_of_json(config: Config) {
    let bed = Bed::start(config);
    let call = bed.chat(STREAM).header("x-request-id", "conformance-1");
    let call = call.header("user-agent", "conformance/1 (\"quoted\")");
    call.send().expect_status(200);
    bed.call("GET", "/v1/models").send().expect_status(401);
    bed.chat(CHAT)
        .header("x-mock-status", "400")
        .header("x-request-id", "conformance-2")
        .send()
        .expect_status(400);
    let line = bed.access_log("the stream", |line| line["request_id"] == "conformance-1");
    let shape = json!({
        "timestamp": "<time>",
        "level": "info",
        "event": "<text>",
        "request_id": "conformance-1",
        "lock_id": "<text>",
        "service_name": config.service(),
        "processing_time_ms": "<integer>",
        "status": 200,
        "attempts": 1,
        "verdict": "ok",
        "user_agent": "conformance/1 (\"quoted\")",
    });
    assert_shape("a stream", &shape, &line);
    let refused = bed.access_log("the refusal", |line| line["path"] == "/v1/models");
    let shape = json!({
        "timestamp": "<time>", "level": "warn", "event": "<text>", "request_id": "<text>",
        "processing_time_ms": "<integer>", "status": 401, "attempts": null, "verdict": "",
    });
    assert_shape("a refusal", &shape, &refused);
    let failed = bed.access_log("the error", |line| line["request_id"] == "conformance-2");
    let shape = json!({"status": 400, "attempts": 1, "verdict": "client_error"});
    assert_shape("an error of the upstream", &shape, &failed);
    // All lines, and no two requests by one id.
    let mut all: Vec<Value> = json_lines(&bed.read(config.access_log()));
    all.retain(|line| line["event"] == "request");
    let mut ids: Vec<String> = Vec::new();
    for line in &all {
        let shape = json!({"timestamp": "<time>", "level": "<level>", "event": "<text>", "request_id": "<text>"});
        assert_shape("a line", &shape, line);
        ids.push(line["request_id"].to_string());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    bed.end();
}

fn locks_are_in_the_access_log(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(json!({}));
    bed.release(&lock, json!({}));
    for path in ["/v1/lock/acquire", "/v1/lock/release"] {
        let line = bed.access_log(path, |line| line["path"] == path);
        let shape = json!({
            "timestamp": "<time>",
            "level": "info",
            "event": "<text>",
            "request_id": "<text>",
            "lock_id": lock["lock_id"],
            "service_name": "<text>",
            "processing_time_ms": "<integer>",
        });
        assert_shape(path, &shape, &line);
    }
    bed.end();
}

/// Locks by a service, a forced release, and a request; with what happens to each.
fn something_happens(bed: &Bed) -> Value {
    let lock = bed.lock(json!({"request_id": "r-1", "dimension": "c_role"}));
    let usage = json!({"success": false, "actual_duration": 2, "tokens_used": 150, "error_message": "it broke"});
    bed.release(&lock, json!({"usage_stats": usage}));
    let other = bed.lock(json!({"request_id": "r-2"}));
    let path = format!(
        "/v1/locks/{}/force-release",
        other["lock_id"].as_str().expect("an id")
    );
    bed.call("DELETE", &path)
        .token(ADMIN)
        .send()
        .expect_status(200);
    bed.chat(CHAT).send().expect_status(200);
    lock
}

/// What an event is, whichever.
#[track_caller]
fn assert_event(event: &Value) {
    assert!(event["timestamp"].as_str().is_some_and(is_time), "{event}");
    assert!(event["level"].as_str().is_some_and(is_level), "{event}");
    assert!(
        event["event"].as_str().is_some_and(|name| !name.is_empty()),
        "{event}"
    );
}

/// The events of a lock that was taken and given back.
#[track_caller]
fn assert_lock_events(events: &[Value], lock: &Value) {
    let of = |name: &str| {
        let found = events
            .iter()
            .find(|event| event["event"] == name && event["lock_id"] == lock["lock_id"]);
        found
            .unwrap_or_else(|| panic!("no {name}: {events:#?}"))
            .clone()
    };
    let shape = json!({
        "timestamp": "<time>",
        "level": "info",
        "event": "lock_acquired",
        "request_id": "r-1",
        "lock_id": lock["lock_id"],
        "service_name": "labeling",
        "processing_time_ms": "<number>",
    });
    assert_shape("lock_acquired", &shape, &of("lock_acquired"));
    let shape = json!({
        "timestamp": "<time>",
        "level": "<level>",
        "event": "lock_released",
        "request_id": "<text>",
        "lock_id": lock["lock_id"],
        "service_name": "labeling",
    });
    let released = of("lock_released");
    assert_shape("lock_released", &shape, &released);
    // What the service said of it, wherever in the event.
    let text = released.to_string();
    for said in ["\"success\":false", "150", "it broke"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

fn events_are_json_behind_nginx_s_prefix(config: Config) {
    // Production's error log is for warnings; the events are the same.
    let bed = Bed::with(config, |shipped| {
        if config == Config::MakeRun {
            return shipped;
        }
        shipped.replace("error.log warn;", "error.log info;")
    });
    let lock = something_happens(&bed);
    let events = bed.audited(|bed| events_in(&bed.read("error.log")));
    events.iter().for_each(assert_event);
    assert_lock_events(&events, &lock);
    // The level of nginx is the event's.
    for line in bed.read("error.log").lines() {
        let Some((_, rest)) = line.split_once("{\"timestamp\"") else {
            continue;
        };
        let (_, rest) = rest.split_once("\"level\":\"").expect("a level");
        let level = rest.split('"').next().unwrap_or_default();
        assert!(line.contains(&format!("[{level}]")), "{line}");
    }
    bed.end();
}

fn events_go_to_a_file_of_their_own(config: Config) {
    let bed = Bed::start(config);
    let lock = something_happens(&bed);
    let events = bed.audited(Bed::events);
    events.iter().for_each(assert_event);
    assert_lock_events(&events, &lock);
    bed.end();
}

fn the_level_of_the_event_log_is_obeyed(config: Config) {
    let bed = Bed::with(config, |shipped| {
        let path = format!(
            "openai_event_log {}/{} warn;",
            shipped.path().display(),
            config.event_log()
        );
        shipped.set("http", &path)
    });
    something_happens(&bed);
    let events = bed.audited(Bed::events);
    for event in &events {
        let level = event["level"].as_str();
        assert!(
            level.is_some_and(|level| ["warn", "error"].contains(&level)),
            "{event}"
        );
    }
    // A token in a header that is logged nowhere.
    Call::new("GET", bed.url("/v1/models?api_key=sk-in-a-query"))
        .token(SERVICE)
        .send();
    assert!(!bed.read(config.access_log()).contains("sk-in-a-query"));
    bed.end();
}

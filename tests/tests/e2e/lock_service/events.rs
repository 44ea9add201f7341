//! `openai_event_log`: the module's events, a JSON object a line, in a file or syslog.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use e2e::{Plan, events_in, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{ADMIN, Bed, Store, plan_of};
use crate::misconfigured::assert_refused;

/// A bed whose events go to `events.json`, at the level that the directive names.
fn bed(level: &str, change: impl FnOnce(Plan) -> Plan) -> Bed {
    Bed::with(Store::Shm, 1, "", "", |plan| {
        change(plan.http(&format!("openai_event_log {{dir}}/events.json {level};")))
    })
}

/// The lines of a file in the gateway's directory; each must be a whole JSON object.
fn lines(bed: &Bed, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(bed.gateway.dir().join(file)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}")));
    lines.collect()
}

/// The first event of that name.
#[track_caller]
fn event(bed: &Bed, file: &str, name: &str) -> Value {
    wait_for(&format!("{name} in {file}"), || {
        lines(bed, file)
            .into_iter()
            .find(|line| line["event"] == name)
    })
}

/// The same, of the error log.
#[track_caller]
fn in_error_log(bed: &Bed, name: &str) -> Value {
    wait_for(&format!("{name} in the error log"), || {
        events_in(&bed.gateway.error_log().text())
            .into_iter()
            .find(|event| event["event"] == name)
    })
}

#[test]
fn events_are_lines_of_a_file_with_the_fields_of_the_error_log() {
    let bed = bed("", |plan| plan.main("error_log {dir}/error.log info;"));
    let lock = bed.lock(json!({"request_id": "r-1"}));
    bed.release(&lock).expect_status(200);
    for name in ["lock_acquired", "lock_released"] {
        let reported = event(&bed, "events.json", name);
        assert_eq!(reported["level"], "info");
        let time = reported["timestamp"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert_eq!(reported["request_id"], "r-1");
        assert_eq!(reported["lock_id"], lock["lock_id"]);
        assert_eq!(reported["service_name"], "labeling");
        assert!(reported["processing_time_ms"].is_u64(), "{reported}");
        assert_eq!(reported, in_error_log(&bed, name));
    }
    let lock = bed.lock(json!({}));
    bed.force_release(&lock).expect_status(200);
    let reported = event(&bed, "events.json", "audit");
    assert_eq!(
        (&reported["level"], &reported["lock_id"]),
        (&json!("warn"), &lock["lock_id"])
    );
    assert_eq!(reported, in_error_log(&bed, "audit"));
    let all = fs::read_to_string(bed.gateway.dir().join("events.json")).expect("the file");
    assert!(!all.contains("sk-e2e") && !all.contains(ADMIN));
}

#[test]
fn an_event_about_a_request_names_it() {
    let change = |plan: Plan| {
        plan.http("openai_trace on;").scenario(
            mock_upstream::Scenario::new()
                .rule(mock_upstream::Rule::parse("status=500").expect("a rule")),
        )
    };
    let bed = bed("warn", change);
    let chat = bed
        .gateway
        .chat()
        .token(super::TOKEN)
        .header("X-Request-ID", "req-of-mine");
    assert_eq!(chat.send().status, 500);
    let reported = event(&bed, "events.json", "attempt_failed");
    assert_eq!(reported["level"], "warn");
    assert_eq!(
        (&reported["fault"], &reported["status"]),
        (&json!("status"), &json!(500))
    );
    assert_eq!(reported["request_id"], "req-of-mine");
    assert_eq!(reported["service_name"], "labeling");
    assert_eq!(reported["lock_id"].as_str().map(str::len), Some(32));
    assert!(reported["processing_time_ms"].is_u64(), "{reported}");
}

/// Takes a lock, and has an administrator end it: `lock_acquired` is `info`, `audit` is `warn`.
fn take_and_force(bed: &Bed) {
    let lock = bed.lock(json!({}));
    bed.force_release(&lock).expect_status(200);
}

#[test]
fn the_level_is_that_of_the_directive_or_of_the_environment() {
    for (level, variable, expected) in [
        ("", None, 2),
        ("warn", None, 1),
        ("error", None, 0),
        ("debug", None, 2),
        ("", Some("WARNING"), 1),
        ("", Some("info"), 2),
        ("", Some("error"), 0),
        ("", Some(""), 2),
        ("info", Some("error"), 2),
    ] {
        let bed = bed(level, |plan| match variable {
            Some(value) => plan.environment("LOG_LEVEL", value),
            None => plan,
        });
        take_and_force(&bed);
        in_error_log(&bed, "audit");
        let reported: Vec<_> = lines(&bed, "events.json");
        let reported: Vec<_> = reported.iter().map(|line| &line["event"]).collect();
        assert_eq!(
            reported.len(),
            expected,
            "{level} {variable:?}: {reported:?}"
        );
    }
}

#[test]
fn the_file_is_opened_anew_and_may_come_and_go_by_reload() {
    let in_file = |plan: Plan, name: &str| {
        let line = format!("openai_event_log {{dir}}/{name}.json;");
        plan.file("events.conf", &line)
    };
    let mut bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        in_file(plan.workers(2).http("include {dir}/events.conf;"), "events")
    });
    take_and_force(&bed);
    event(&bed, "events.json", "audit");
    let file = |name: &str| bed.gateway.dir().join(name);
    fs::rename(file("events.json"), file("events.old")).expect("it can be moved");
    let dir = bed.gateway.dir().to_owned();
    bed.gateway.nginx().signal(Signal::USR1);
    wait_until("events go to the new file", || {
        take_and_force(&bed);
        dir.join("events.json").exists() && !lines(&bed, "events.json").is_empty()
    });
    bed.gateway.reload(|plan| in_file(plan, "other"));
    wait_until("events go to another file", || {
        take_and_force(&bed);
        !lines(&bed, "other.json").is_empty()
    });
    bed.gateway.reload(|plan| plan.file("events.conf", ""));
    let reported = lines(&bed, "other.json").len();
    take_and_force(&bed);
    assert_eq!(lines(&bed, "other.json").len(), reported);
}

#[test]
fn events_go_to_syslog() {
    let syslog = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    syslog
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time limit");
    let server = syslog.local_addr().expect("an address");
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.http(&format!(
            "openai_event_log syslog:server={server},tag=gateway info;"
        ))
    });
    take_and_force(&bed);
    for (priority, name) in [("<190>", "lock_acquired"), ("<188>", "audit")] {
        let mut bytes = [0; 4096];
        let length = syslog.recv(&mut bytes).expect("a message");
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(message.starts_with(priority), "{message}");
        let (_, line) = message.split_once("gateway: ").expect("a tag");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["event"], name);
    }
}

#[test]
fn a_log_that_cannot_be_is_refused() {
    let plan = || plan_of("key sk-e2e-main-0001 id=main;", "");
    for (line, says) in [
        ("openai_event_log;", "openai_event_log"),
        ("openai_event_log a info b;", "needs a path"),
        (
            "openai_event_log a warning;",
            "\"warning\", it must be one of error, warn, notice, info, debug",
        ),
        ("openai_event_log a; openai_event_log b;", "is a duplicate"),
        ("openai_event_log syslog:facility=user;", "no syslog server"),
        (
            "openai_event_log nowhere/at/all.json;",
            "nowhere/at/all.json",
        ),
    ] {
        assert_refused(&plan().http(line), &[says]);
    }
    let plan = plan()
        .environment("LOG_LEVEL", "loud")
        .http("openai_event_log a;");
    assert_refused(
        &plan,
        &["openai_event_log: LOG_LEVEL: invalid level \"loud\""],
    );
}

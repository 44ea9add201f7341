//! Files that cannot be taken leave the keys as they are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use e2e::{Gateway, RawUpstream, wait_until};
use rustix::process::geteuid;

use super::{events, next_key, path, plan, replace, start, wait_events, write};

#[test]
fn a_mistake_is_reported_once_and_keeps_the_old_keys() {
    let upstream = RawUpstream::bind();
    let plan = plan("sk-e2e-a id=a\n").workers(2);
    let plan = plan.server("location = /metrics { openai_auth off; openai_metrics; }");
    let gateway = plan.upstream(upstream.address()).start();
    wait_refused(&gateway, 0);
    for (round, (content, says)) in (1..).zip([
        (
            "sk-e2e-b slots=0\n",
            "keys, line 1: invalid slots \\\"0\\\"",
        ),
        ("# nothing\n", "contains no key"),
        ("sk-e2e-b id=x\nsk-e2e-c id=x\n", "two keys have the id"),
        (
            "-----BEGIN AGE ENCRYPTED FILE-----\n",
            "is encrypted, and ENCRYPTION_KEY is not set",
        ),
    ]) {
        write(&gateway, "keys", content);
        wait_events(&gateway, "keys_refused", round);
        let log = gateway.error_log().text();
        let said = log.lines().rfind(|line| line.contains("keys_refused"));
        let said = said.expect("a line");
        assert!(said.contains("[error]") && said.contains(says), "{said}");
        assert!(said.contains("openai_pool \\\"main\\\": key: "), "{said}");
        assert!(!log.contains("sk-e2e-b"), "{said}");
        wait_refused(&gateway, 1);
        assert_eq!(next_key(&gateway, &upstream), "a");
    }
    fs::remove_file(path(&gateway, "keys")).expect("it is there");
    wait_events(&gateway, "keys_refused", 5);
    // Twenty looks later there is no other line, from whichever worker.
    let until = Instant::now() + Duration::from_secs(2);
    wait_until("twenty looks are over", || Instant::now() > until);
    assert_eq!(events(&gateway, "keys_refused"), 5);
    assert_eq!(next_key(&gateway, &upstream), "a");
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 1);
    assert_eq!(next_key(&gateway, &upstream), "b");
    wait_refused(&gateway, 0);
}

/// Waits until the metrics say whether the files have an error.
#[track_caller]
fn wait_refused(gateway: &Gateway, value: u8) {
    let metrics = gateway.get("/metrics");
    let line = format!("openai_keys_refused {value}");
    wait_until(&line, || {
        let answer = metrics.send().expect_status(200);
        answer.text().lines().any(|other| other == line)
    });
}

#[test]
fn a_mistake_in_one_file_keeps_the_keys_of_all() {
    let upstream = RawUpstream::bind();
    let gateway = plan("sk-e2e-a\n")
        .file("others", "sk-e2e-other\n")
        .pool("others", "key file:{dir}/others;")
        .upstream(upstream.address())
        .start();
    write(&gateway, "others", "not a key\n");
    wait_events(&gateway, "keys_refused", 1);
    replace(&gateway, "keys", "sk-e2e-b\n");
    let until = Instant::now() + Duration::from_secs(1);
    wait_until("ten looks are over", || Instant::now() > until);
    assert_eq!(next_key(&gateway, &upstream), "a");
    write(&gateway, "others", "sk-e2e-other\n");
    wait_events(&gateway, "keys_changed", 1);
    assert_eq!(next_key(&gateway, &upstream), "b");
}

#[test]
fn keys_that_do_not_fit_into_the_zone_are_refused() {
    let upstream = RawUpstream::bind();
    let gateway = plan("sk-e2e-a\n")
        .http("openai_zone openai:1m;")
        .upstream(upstream.address())
        .start();
    write(&gateway, "keys", "sk-e2e-b slots=65535\n");
    wait_events(&gateway, "keys_refused", 1);
    gateway
        .error_log()
        .wait_for("openai_zone: 65536 slots are needed");
    assert_eq!(next_key(&gateway, &upstream), "a");
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 1);
    assert_eq!(next_key(&gateway, &upstream), "b");
}

/// Workers of a master that is not root are what the master is.
#[test]
fn a_file_that_workers_cannot_read_is_reported_at_start() {
    if !geteuid().is_root() {
        return;
    }
    let (mut gateway, upstream) = start("sk-e2e-a\n");
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(path(&gateway, "keys"), private.clone()).expect("it is ours");
    gateway.nginx().reload(2);
    let reported = |gateway: &Gateway| events(gateway, "keys_not_watched");
    wait_until("it is reported", || reported(&gateway) > 0);
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_refused", 1);
    gateway.error_log().wait_for("Permission denied");
    assert_eq!(next_key(&gateway, &upstream), "a");
    let before = reported(&gateway);
    gateway.nginx().reload(2);
    wait_until("it is reported again", || reported(&gateway) > before);
    assert_eq!(next_key(&gateway, &upstream), "b");
    // Once they can read it, they do.
    write(&gateway, "keys", "sk-e2e-c\n");
    fs::set_permissions(path(&gateway, "keys"), Permissions::from_mode(0o644)).expect("ours");
    wait_events(&gateway, "keys_changed", 1);
    assert_eq!(next_key(&gateway, &upstream), "c");
    assert!(
        reported(&gateway) <= 3,
        "by one worker of each configuration"
    );
}

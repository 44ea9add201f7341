//! Nodes that speak TLS.

use std::fs;
use std::time::{Duration, Instant};

use e2e::{Authority, Gateway, Plan, RawUpstream, Redis, wait_until};

use super::{LOCK, holders, plan_with, states, wait_states};
use crate::reload;

/// Clients need no certificate.
const ANYBODY: &str = "--tls-auth-clients no";

/// Nodes with certificates for this name.
pub(super) fn nodes(count: usize, authority: &Authority, name: &str) -> Vec<Redis> {
    let certificate = authority.issue(name);
    (0..count)
        .map(|_| Redis::start_tls(&certificate, ANYBODY))
        .collect()
}

/// With patience for a busy machine.
const PATIENT: &str = "node_timeout 1s; ";

pub(super) fn trust(authority: &Authority) -> String {
    let file = authority.cert();
    format!("{PATIENT} tls_trusted_certificate {};", file.display())
}

/// What the error log says of a node that is gone: once.
#[track_caller]
pub(super) fn reason(gateway: &Gateway, port: u16) -> String {
    let text = gateway.error_log().text();
    let name = format!("\"node\":\"127.0.0.1:{port}\"");
    let lines: Vec<_> = text.lines().filter(|line| line.contains(&name)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("redis_node_down"), "{}", lines[0]);
    // Nor does nginx say anything of its own.
    let more: Vec<_> = text.lines().filter(|line| line.contains("SSL_")).collect();
    assert!(
        more.iter().all(|line| line.contains("redis_node_down")),
        "{more:#?}"
    );
    lines[0].to_owned()
}

/// None of the nodes is of use, and the log says why.
#[track_caller]
fn assert_useless(gateway: &Gateway, nodes: &[Redis], why: &str) {
    wait_until("every node has been tried", || {
        gateway
            .error_log()
            .text()
            .matches("redis_node_down")
            .count()
            >= nodes.len()
    });
    let refusal = gateway.chat().send().expect_status(503).refusal();
    assert_eq!(refusal.code.as_deref(), Some("lock_unavailable"));
    for redis in nodes {
        let line = reason(gateway, redis.port());
        assert!(line.contains(why), "{why:?} is missing: {line}");
        assert_eq!(redis.ask("DBSIZE"), "0", "nothing was asked of it");
    }
}

/// A stream lasts for longer than its lock would if that were not prolonged.
#[track_caller]
pub(super) fn assert_lends(nodes: &[Redis], plan: Plan) {
    let upstream = RawUpstream::bind();
    let gateway = plan.upstream(upstream.address()).start();
    wait_states(&gateway, &vec!["up"; nodes.len()].join(","));
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || {
        holders(nodes, LOCK) == i64::try_from(nodes.len()).expect("a few")
    });
    let nonce = nodes[0].ask(&format!("GET {LOCK}"));
    let until = Instant::now() + Duration::from_millis(3_500);
    wait_until("the lock would have ended", || {
        assert_eq!(nodes[0].ask(&format!("GET {LOCK}")), nonce);
        Instant::now() > until
    });
    reload::end(stream);
    gateway.wait_held(0, 0);
    wait_until("no lock is left", || holders(nodes, LOCK) == 0);
}

const SHORT: &str = "lease_ttl 3s;";

#[test]
fn a_lock_on_three_nodes_is_held_and_prolonged() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "127.0.0.1");
    assert_lends(&nodes, plan_with(&nodes, &trust(&authority), SHORT));
}

#[test]
fn nodes_with_and_without_tls_in_one_group() {
    let authority = Authority::create();
    let mut nodes = nodes(2, &authority, "127.0.0.1");
    nodes.push(Redis::start());
    assert_lends(&nodes, plan_with(&nodes, &trust(&authority), SHORT));
}

#[test]
fn the_authorities_of_the_system_are_trusted() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "127.0.0.1");
    let file = authority.cert();
    let plan =
        plan_with(&nodes, PATIENT, SHORT).environment("SSL_CERT_FILE", &file.to_string_lossy());
    assert_lends(&nodes, plan);
}

#[test]
fn an_authority_that_is_not_trusted() {
    let (authority, other) = (Authority::create(), Authority::create());
    let nodes = nodes(3, &authority, "127.0.0.1");
    for in_group in [&trust(&other), PATIENT] {
        let gateway = plan_with(&nodes, in_group, "").start();
        assert_useless(&gateway, &nodes, "unable to get local issuer certificate");
    }
    let unverified = format!("{} tls_verify off;", trust(&other));
    assert_lends(&nodes, plan_with(&nodes, &unverified, SHORT));
}

#[test]
fn a_certificate_for_another_host() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "redis.example");
    let with = |more: &str| plan_with(&nodes, &(trust(&authority) + more), SHORT);
    for (name, why) in [
        ("", "IP address mismatch"),
        ("tls_name 127.0.0.2;", "IP address mismatch"),
        ("tls_name other.example;", "hostname mismatch"),
    ] {
        let gateway = with(name).start();
        assert_useless(&gateway, &nodes, why);
    }
    assert_lends(&nodes, with("tls_name redis.example;"));
    assert_lends(&nodes, with("tls_verify off;"));
}

#[test]
fn nodes_that_want_a_certificate() {
    let authority = Authority::create();
    let certificate = authority.issue("127.0.0.1");
    let known = format!("--tls-ca-cert-file {}", authority.cert().display());
    let nodes: Vec<_> = (0..3)
        .map(|_| Redis::start_tls(&certificate, &known))
        .collect();
    let gateway = plan_with(&nodes, &trust(&authority), "").start();
    assert_useless(&gateway, &nodes, "certificate required");
    let identify = |by: &Authority| {
        let ours = by.issue("gateway.example");
        let (cert, key) = (ours.cert.display(), ours.key.display());
        let ours = format!("tls_certificate_key {key}; tls_certificate {cert};");
        plan_with(&nodes, &(trust(&authority) + &ours), SHORT)
    };
    let gateway = identify(&Authority::create()).start();
    assert_useless(&gateway, &nodes, "unknown ca");
    assert_lends(&nodes, identify(&authority));
}

/// The old worker goes on with what it was started with, also when the files have changed.
#[test]
fn a_reload_with_another_authority() {
    let (authority, other) = (Authority::create(), Authority::create());
    let nodes = nodes(3, &authority, "127.0.0.1");
    let upstream = RawUpstream::bind();
    let trusted = fs::read_to_string(authority.cert()).expect("a certificate");
    let group = PATIENT.to_owned() + "tls_trusted_certificate trusted.crt;";
    let mut gateway = plan_with(&nodes, &group, "lease_ttl 3s;")
        .file("trusted.crt", &trusted)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    let other = fs::read_to_string(other.cert()).expect("a certificate");
    gateway.reload(|plan| plan.file("trusted.crt", &other));
    gateway
        .error_log()
        .wait_for("unable to get local issuer certificate");
    wait_states(&gateway, "down,down,down");
    gateway.reload(|plan| plan.file("trusted.crt", &(other + &trusted)));
    wait_states(&gateway, "up,up,up");
    assert_eq!(holders(&nodes, LOCK), 3, "it is still prolonged");
    reload::end(stream);
    wait_until("no lock is left", || holders(&nodes, LOCK) == 0);
}

#[test]
fn a_node_that_is_restarted() {
    let authority = Authority::create();
    let mut nodes = nodes(3, &authority, "127.0.0.1");
    let gateway = plan_with(&nodes, &trust(&authority), SHORT).start();
    wait_states(&gateway, "up,up,up");
    for at in [0, 1, 2] {
        nodes[at].kill();
        wait_states(&gateway, ["down,up,up", "up,down,up", "up,up,down"][at]);
        gateway.chat().send().expect_status(200);
        nodes[at].restart();
        // It is up as soon as it is connected, until it has refused a vote, and then when it votes.
        wait_until("it votes, and all are up", || {
            gateway.chat().send().expect_status(200);
            nodes[at].ask("EXISTS {main}:f") == "1" && states(&gateway) == "up,up,up"
        });
    }
}

/// The answer to INFO has a line for each database.
#[test]
fn a_reply_of_many_records() {
    let authority = Authority::create();
    let certificate = authority.issue("127.0.0.1");
    let redis = Redis::start_tls(&certificate, &format!("{ANYBODY} --databases 2000"));
    redis
        .ask("EVAL \"for i = 1, 1999 do redis.call('SELECT', i) redis.call('SET', 'x', 1) end\" 0");
    assert!(redis.ask("INFO").len() > 64 * 1024);
    let nodes = [redis];
    assert_lends(&nodes, plan_with(&nodes, &trust(&authority), SHORT));
}

/// A hundred streams, whose locks are prolonged by one call every 20 ms.
#[test]
fn many_locks_are_prolonged() {
    let authority = Authority::create();
    let nodes = nodes(3, &authority, "127.0.0.1");
    let upstream = RawUpstream::bind();
    let renewal = trust(&authority) + "renew 20ms;";
    let pool = "key sk-e2e-main-0001 id=main slots=100; store locks; lease_ttl 3s;";
    let gateway = plan_with(&nodes, &renewal, "")
        .pool("main", pool)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let streams: Vec<_> = (0..100)
        .map(|_| reload::stream(&gateway, &upstream))
        .collect();
    let until = Instant::now() + Duration::from_secs(5);
    wait_until("the locks would have ended", || {
        gateway.wait_held(100, 0);
        Instant::now() > until
    });
    for stream in streams {
        reload::end(stream);
    }
    wait_states(&gateway, "up,up,up");
    gateway.wait_held(0, 0);
    for redis in &nodes {
        wait_until("no lock is left", || {
            redis.ask("KEYS {main}:l:*").is_empty()
        });
    }
}

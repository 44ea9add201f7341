//! Every mistake gives one line that names the directive and the value, and never a password.

use e2e::{Authority, Plan};

const NODE: &str = "node redis://127.0.0.1:6379;";

/// Not even a key: before that can be known, a password is needed.
const ENCRYPTED_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF

AAAAAAAAAAAAAAAAAAAAAA==
-----END EC PRIVATE KEY-----
";

fn plan() -> Plan {
    Plan::new()
        .environment("EMPTY", "")
        .environment("PASSWORD", "pa-ss-word")
        .environment(
            "URLS",
            "redis://:pa-ss-word@127.0.0.1:6379, redis://127.0.0.1:6380",
        )
        .environment(
            "BAD_URLS",
            "redis://127.0.0.1:1, http://u:pa-ss-word@127.0.0.1",
        )
        .environment(
            "TWICE",
            "redis://:pa-ss-word@127.0.0.1:1,redis://127.0.0.1:1",
        )
        .environment("NOWHERE", "redis://:pa-ss-word@nowhere.invalid:1")
        .environment("SIXTY_FIVE", &urls(65))
        .file("empty", "\n")
        .file("encrypted.key", ENCRYPTED_KEY)
}

fn urls(count: usize) -> String {
    let urls = (1..=count).map(|port| format!("redis://127.0.0.1:{port}"));
    urls.collect::<Vec<_>>().join(",")
}

#[track_caller]
fn assert_refused(plan: &Plan, says: &[&str]) {
    let test = plan.check();
    assert!(!test.ok, "accepted, instead of saying {says:?}");
    let lines = test.emergencies();
    assert_eq!(lines.len(), 1, "one line that says {says:?}: {lines:#?}");
    for word in says {
        assert!(lines[0].contains(word), "{word:?} is missing: {}", lines[0]);
    }
    assert!(
        !test.output.contains("pa-ss"),
        "a password is reported: {}",
        test.output
    );
}

#[track_caller]
fn assert_group_refused(body: &str, says: &[&str]) {
    let plan = plan().http(&format!("openai_redlock locks {{ {body} }}"));
    assert_refused(&plan, &[&["openai_redlock", "locks"], says].concat());
}

#[test]
fn nodes_that_cannot_be() {
    for (body, says) in [
        ("", ["node", ""]),
        ("node_timeout 5ms;", ["node", ""]),
        ("node;", ["node", ""]),
        (
            "node redis://127.0.0.1:1 redis://127.0.0.1:2;",
            ["node", ""],
        ),
        ("node 127.0.0.1:6379;", ["node", ""]),
        ("node redis://;", ["node", ""]),
        ("node redis://127.0.0.1:port;", ["node", ""]),
        ("node redis://127.0.0.1:66666;", ["node", ""]),
        ("node redis://127.0.0.1/database;", ["node", ""]),
        ("node http://127.0.0.1:6379;", ["node", ""]),
        ("node http://user:pa-ss-word@127.0.0.1:6379;", ["node", ""]),
        ("node redis://:pa-ss-word@127.0.0.1:66666;", ["node", ""]),
        (
            "node redis://:pa-ss-word@nowhere.invalid:1;",
            ["nowhere.invalid:1", "not found"],
        ),
        ("node rediss://;", ["node", ""]),
        ("node rediss:;", ["node", ""]),
        (
            "node rediss://:pa-ss@127.0.0.1:1/#insecure;",
            ["node", "tls_verify"],
        ),
        (
            "node rediss://:pa-ss-word@nowhere.invalid:1;",
            ["nowhere.invalid:1", "not found"],
        ),
        (
            "node rediss://127.0.0.1:1; node redis://127.0.0.1:1;",
            ["127.0.0.1:1", "twice"],
        ),
        ("node redis://:pa-ss@word@127.0.0.1:66666;", ["node", ""]),
        ("node unix:;", ["node", ""]),
        ("node env:;", ["node", "env:"]),
        ("node env:ABSENT;", ["node", "env:ABSENT"]),
        ("node env:EMPTY;", ["node", "env:EMPTY"]),
        ("node env:BAD_URLS;", ["env:BAD_URLS", "URL 2"]),
        ("node env:TWICE;", ["env:TWICE", "twice"]),
        ("node env:NOWHERE;", ["env:NOWHERE", "nowhere.invalid"]),
        ("node env:SIXTY_FIVE;", ["node", "65"]),
        (
            "node env:URLS; node redis://127.0.0.1:6380;",
            ["127.0.0.1:6380", "twice"],
        ),
        (
            "node redis://127.0.0.1:1; node redis://127.0.0.1:1/2;",
            ["127.0.0.1:1", "twice"],
        ),
    ] {
        assert_group_refused(body, &says);
    }
}

#[test]
fn values_that_cannot_be() {
    for (line, says) in [
        ("password pa-ss-word;", ["password", ""]),
        ("password env:ABSENT;", ["password", "env:ABSENT"]),
        ("password env:EMPTY;", ["password", "env:EMPTY"]),
        (
            "password file:/nonexistent/x;",
            ["password", "/nonexistent/x"],
        ),
        ("password file:{dir}/empty;", ["password", "empty"]),
        (
            "password env:PASSWORD; password env:PASSWORD;",
            ["password", "duplicate"],
        ),
        ("node_timeout 0;", ["node_timeout", "\"0\""]),
        ("node_timeout soon;", ["node_timeout", "\"soon\""]),
        ("node_timeout 1h;", ["node_timeout", "\"1h\""]),
        (
            "node_timeout 1ms; node_timeout 1ms;",
            ["node_timeout", "duplicate"],
        ),
        ("drift 1;", ["drift", "\"1\""]),
        ("drift -1%;", ["drift", "\"-1%\""]),
        ("drift 51%;", ["drift", "\"51%\""]),
        ("drift NaN%;", ["drift", "\"NaN%\""]),
        ("drift %;", ["drift", "\"%\""]),
        ("renew 1ms;", ["renew", "\"1ms\""]),
        ("renew never;", ["renew", "\"never\""]),
        ("retry_delay 0;", ["retry_delay", "\"0\""]),
        ("retry_delay 1d;", ["retry_delay", "\"1d\""]),
        ("retry_jitter -1ms;", ["retry_jitter", "\"-1ms\""]),
        ("retry_jitter 1h;", ["retry_jitter", "\"1h\""]),
        ("quarantine long;", ["quarantine", "\"long\""]),
        ("quarantine 1s; quarantine 1s;", ["quarantine", "duplicate"]),
        ("bootstrap yes;", ["bootstrap", "\"yes\""]),
        ("bootstrap;", ["bootstrap", ""]),
        ("bootstrap on; bootstrap on;", ["bootstrap", "duplicate"]),
        ("stats_interval 99ms;", ["stats_interval", "\"99ms\""]),
        ("stats_interval 61m;", ["stats_interval", "\"61m\""]),
        ("stats_interval on;", ["stats_interval", "\"on\""]),
        ("hand_over -1;", ["hand_over", "\"-1\""]),
        ("hand_over 100001;", ["hand_over", "\"100001\""]),
        ("hand_over 1.5;", ["hand_over", "\"1.5\""]),
        ("retain;", ["retain", "off"]),
        ("retain on;", ["retain", "\"on\""]),
        ("retain 9ms;", ["retain", "\"9ms\""]),
        ("retain 2s;", ["retain", "\"2s\""]),
        ("retain 1s most=3;", ["retain", "max="]),
        ("retain 1s max=0;", ["retain", "max"]),
        ("retain off max=3;", ["retain", "off"]),
        ("retain off; retain off;", ["retain", "duplicate"]),
        ("prefix \"a b\";", ["prefix", "\"a b\""]),
        ("prefix \"{a}\";", ["prefix", "\"{a}\""]),
        ("prefix größe;", ["prefix", "größe"]),
        ("prefix a b;", ["prefix", ""]),
        ("prefix a; prefix b;", ["prefix", "duplicate"]),
        ("nodes env:URLS;", ["unknown", "\"nodes\""]),
    ] {
        assert_group_refused(&format!("{NODE} {line}"), &says);
    }
}

#[test]
fn tls_that_cannot_be() {
    let cert = "tls_certificate localhost.crt;";
    let key = "tls_certificate_key localhost.key;";
    let authority = Authority::create();
    let another = authority.issue("another").key;
    let another = format!("{cert} tls_certificate_key {};", another.display());
    let long = format!("tls_name {};", "x".repeat(256));
    for (line, says) in [
        ("tls_verify maybe;", ["tls_verify", "\"maybe\""]),
        ("tls_verify on; tls_verify on;", ["tls_verify", "duplicate"]),
        ("tls_name \"\";", ["tls_name", "\"\""]),
        (&long, ["tls_name", "xxx"]),
        ("tls_name a b;", ["tls_name", ""]),
        (
            "tls_trusted_certificate absent.crt;",
            ["tls_trusted_certificate", "/absent.crt\": No such file"],
        ),
        (
            "tls_trusted_certificate empty;",
            ["tls_trusted_certificate", "/empty\": no certificate"],
        ),
        (
            "tls_trusted_certificate .;",
            ["tls_trusted_certificate", "/.\": "],
        ),
        (
            "tls_verify off; tls_trusted_certificate absent.crt;",
            ["tls_trusted_certificate", "/absent.crt\": No such file"],
        ),
        (cert, ["tls_certificate", "tls_certificate_key"]),
        (key, ["tls_certificate_key", "tls_certificate"]),
        (
            &format!("{key} tls_certificate absent.crt;"),
            ["tls_certificate:", "/absent.crt\": No such file"],
        ),
        (
            &format!("{key} tls_certificate empty;"),
            ["tls_certificate:", "/empty\": no start line"],
        ),
        (
            &format!("{cert} tls_certificate_key absent.key;"),
            ["tls_certificate_key:", "/absent.key\": No such file"],
        ),
        (
            &format!("{cert} tls_certificate_key localhost.crt;"),
            ["tls_certificate_key:", "/localhost.crt\": "],
        ),
        (
            &format!("{cert} tls_certificate_key encrypted.key;"),
            ["tls_certificate_key:", "/encrypted.key\": is encrypted"],
        ),
        (&another, ["tls_certificate_key:", "key values mismatch"]),
    ] {
        assert_group_refused(&format!("node rediss://127.0.0.1:1; {line}"), &says);
    }
    for (name, value) in [
        ("tls_verify", "off"),
        ("tls_name", "localhost"),
        ("tls_trusted_certificate", "localhost.crt"),
        ("tls_certificate", "localhost.crt"),
        ("tls_certificate_key", "localhost.key"),
    ] {
        assert_group_refused(&format!("{NODE} {name} {value};"), &[name, "rediss://"]);
    }
}

#[test]
fn groups_that_cannot_be() {
    let group = format!("openai_redlock locks {{ {NODE} }}");
    assert_refused(
        &plan().http(&group).http(&group),
        &["openai_redlock", "\"locks\"", "duplicate"],
    );
    for (text, says) in [
        (format!("openai_redlock {{ {NODE} }}"), ""),
        (format!("openai_redlock a b {{ {NODE} }}"), ""),
        ("openai_redlock a;".to_owned(), ""),
        (format!("openai_redlock shm {{ {NODE} }}"), "\"shm\""),
    ] {
        assert_refused(&plan().http(&text), &["openai_redlock", says]);
    }
    assert_refused(&plan().server(&group), &["openai_redlock"]);
    assert_refused(&plan().main(&group), &["openai_redlock"]);
}

#[test]
fn stores_that_cannot_be() {
    for (line, says) in [
        ("store;", ["store", ""]),
        ("store absent;", ["store", "\"absent\""]),
        ("store \"\";", ["store", "\"\""]),
        ("store locks shm;", ["store", ""]),
        ("store locks; store locks;", ["store", "duplicate"]),
    ] {
        let plan = plan()
            .http(&format!("openai_redlock locks {{ {NODE} }}"))
            .pool("main", &format!("key sk-e2e-main-0001 id=main; {line}"));
        assert_refused(&plan, &[&["openai_pool", "main"], &says[..]].concat());
    }
}

/// A lock has to be prolonged before it ends.
#[test]
fn renewals_that_would_come_too_late() {
    for (renew, ttl) in [("1h", "600ms"), ("16s", "30s"), ("600ms", "1s")] {
        let plan = plan()
            .http(&format!("openai_redlock locks {{ {NODE} renew {renew}; }}"))
            .pool(
                "main",
                &format!("key sk-e2e-main-0001 id=main; store locks; lease_ttl {ttl};"),
            );
        assert_refused(&plan, &["openai_redlock", "locks", "renew", "lease_ttl"]);
    }
}

#[test]
fn groups_that_can_be() {
    for body in [
        "node env:URLS;",
        "node unix:/run/redis.sock; retain off;",
        "node redis://localhost; node redis://127.0.0.1:6380/1; node redis://127.0.0.1:6381/2;",
        "node redis://127.0.0.1; password env:PASSWORD; node_timeout 10s; drift 0.5%; renew 1s;
         retry_delay 1ms; retry_jitter 0; quarantine 1h; bootstrap off; hand_over 0; retain 300ms max=10; prefix a:; stats_interval off;",
        "node rediss://:pa-ss-word@localhost; node redis://localhost:1; node rediss://[::1]/1;",
        "node rediss://localhost; tls_verify off; tls_name redis.example;",
        "node rediss://localhost; tls_verify on; tls_trusted_certificate localhost.crt;
         tls_certificate_key {dir}/localhost.key; tls_certificate {dir}/localhost.crt;",
    ] {
        let plan = plan()
            .http(&format!("openai_redlock locks {{ {body} }}"))
            .pool("main", "key sk-e2e-main-0001 id=main; store locks;");
        let test = plan.check();
        assert!(test.ok, "{}", test.output);
        assert!(!test.output.contains("pa-ss"), "{}", test.output);
    }
}

//! Mistakes in `openai_pool`.

use super::{assert_pool_refused, assert_refused, plan};

#[test]
fn pools_that_cannot_be() {
    assert_pool_refused("", &["key"]);
    assert_pool_refused("wait 5s;", &["key"]);
    let twice = plan().http("openai_pool main { key sk-e2e-twice; }");
    assert_refused(&twice, &["openai_pool", "\"main\"", "duplicate"]);
    assert_refused(
        &plan().http("openai_pool { key env:KEY; }"),
        &["openai_pool"],
    );
    assert_refused(
        &plan().http("openai_pool a b { key env:KEY; }"),
        &["openai_pool"],
    );
    assert_refused(&plan().http("openai_pool a;"), &["openai_pool"]);
    assert_refused(
        &plan().http("openai_pool off { key env:KEY; }"),
        &["openai_pool", "\"off\""],
    );
    assert_refused(
        &plan().http("openai_pool a/b { key env:KEY; }"),
        &["openai_pool", "a/b"],
    );
    assert_refused(
        &plan().server("openai_pool a { key env:KEY; }"),
        &["openai_pool"],
    );
    assert_pool_refused("key env:KEY; keys env:KEY;", &["\"keys\""]);
    assert_refused(&plan().pool("main", "key env:KEY; zone { }"), &["\"{\""]);
}

#[test]
fn values_of_pools_that_cannot_be() {
    for (line, says) in [
        ("balance fair;", ["balance", "\"fair\""]),
        ("balance;", ["balance", ""]),
        ("balance random random;", ["balance", ""]),
        ("balance random; balance random;", ["balance", "duplicate"]),
        ("lease_ttl 0;", ["lease_ttl", "\"0\""]),
        ("lease_ttl soon;", ["lease_ttl", "\"soon\""]),
        ("lease_ttl 1ms;", ["lease_ttl", "\"1ms\""]),
        ("lease_ttl 2d;", ["lease_ttl", "\"2d\""]),
        ("lease_ttl -1s;", ["lease_ttl", "\"-1s\""]),
        ("wait -1;", ["wait", "\"-1\""]),
        ("wait 5parsecs;", ["wait", "\"5parsecs\""]),
        ("wait 1s; wait 2s;", ["wait", "duplicate"]),
        ("queue -1;", ["queue", "\"-1\""]),
        ("queue full;", ["queue", "\"full\""]),
        ("queue 99999999999;", ["queue", "\"99999999999\""]),
        ("queue 1; queue 1;", ["queue", "duplicate"]),
        ("limit;", ["limit", "parameters"]),
        ("limit 500;", ["limit", "\"500\""]),
        ("limit rps=5;", ["limit", "\"rps=5\""]),
        ("limit rpm=0;", ["limit: rpm", "\"0\""]),
        ("limit tpm=9g;", ["limit: tpm", "\"9g\""]),
        ("limit rpm=1 rpm=1;", ["limit: rpm", "duplicate"]),
        ("limit rpm=1; limit tpm=1;", ["limit", "duplicate"]),
        ("cool_down;", ["cool_down", "parameters"]),
        ("cool_down 5s;", ["cool_down", "\"5s\""]),
        (
            "cool_down rate_limited=soon;",
            ["cool_down: rate_limited", "\"soon\""],
        ),
        (
            "cool_down quota_exceeded=0;",
            ["cool_down: quota_exceeded", "\"0\""],
        ),
        (
            "cool_down invalid_key=2d;",
            ["cool_down: invalid_key", "\"2d\""],
        ),
        (
            "cool_down rate_limited=5s max=4s;",
            ["cool_down", "shorter than rate_limited"],
        ),
        (
            "cool_down max=999ms;",
            ["cool_down", "shorter than rate_limited"],
        ),
        (
            "cool_down rate_limited=1s; cool_down rate_limited=1s;",
            ["cool_down", "duplicate"],
        ),
        ("ramp;", ["ramp", "argument"]),
        ("ramp up;", ["ramp", "\"up\""]),
        ("ramp on; ramp on;", ["ramp", "duplicate"]),
    ] {
        assert_pool_refused(&format!("key env:KEY; {line}"), &says);
    }
}

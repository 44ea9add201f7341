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
    ] {
        assert_pool_refused(&format!("key env:KEY; {line}"), &says);
    }
}

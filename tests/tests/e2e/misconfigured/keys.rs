//! Mistakes in the `key` lines of a pool.

use super::assert_pool_refused;

#[test]
fn keys_that_cannot_be() {
    assert_pool_refused("key;", &["key"]);
    assert_pool_refused("key optional;", &["key"]);
    assert_pool_refused("key id=main;", &["key"]);
    assert_pool_refused("key env:;", &["key", "env:"]);
    assert_pool_refused("key file:;", &["key", "file:"]);
    assert_pool_refused("key env:ABSENT;", &["key", "env:ABSENT"]);
    assert_pool_refused("key env:EMPTY;", &["key", "env:EMPTY"]);
    assert_pool_refused(
        "key env:EMPTY optional; key env:ABSENT optional;",
        &["no key"],
    );
    assert_pool_refused("key file:/nonexistent/keys;", &["key", "/nonexistent/keys"]);
    assert_pool_refused("key file:{dir}/no-keys;", &["key", "no-keys"]);
    assert_pool_refused(
        "key file:{dir}/bad-keys;",
        &["key", "bad-keys", "line 2", "slots", "\"0\""],
    );
    assert_pool_refused(
        "key file:{dir}/spaced-keys;",
        &["key", "spaced-keys", "line 2"],
    );
    assert_pool_refused("key env:SPACED;", &["key", "env:SPACED"]);
    assert_pool_refused("key \"sk-e2e secret\";", &["key"]);
    assert_pool_refused("key sk-e2e-secret,sk-e2e-other;", &["key"]);
    assert_pool_refused("key sk-e2e-größe;", &["key"]);
}

#[test]
fn options_of_keys_that_cannot_be() {
    for (option, says) in [
        ("slots=0", ["slots", "\"0\""]),
        ("slots=-1", ["slots", "\"-1\""]),
        ("slots=many", ["slots", "\"many\""]),
        ("slots=", ["slots", "\"\""]),
        ("slots=65536", ["slots", "\"65536\""]),
        ("weight=0", ["weight", "\"0\""]),
        ("weight=1.5", ["weight", "\"1.5\""]),
        ("id=", ["id", "\"\""]),
        ("id=a/b", ["id", "\"a/b\""]),
        ("id=a id=b", ["id", "twice"]),
        ("slots=1 slots=2", ["slots", "twice"]),
        ("slot=1", ["unknown", "\"slot\""]),
    ] {
        assert_pool_refused(
            &format!("key env:KEY {option};"),
            &[&["key"], &says[..]].concat(),
        );
    }
    assert_pool_refused("key env:KEY sk-e2e-second;", &["key", "parameter 2"]);
}

#[test]
fn keys_and_ids_that_are_there_twice() {
    assert_pool_refused(
        "key env:KEY id=a; key sk-e2e-secret id=b;",
        &["key", "\"a\"", "\"b\""],
    );
    assert_pool_refused(
        "key env:KEY id=a; key sk-e2e-other id=a;",
        &["key", "id", "\"a\""],
    );
}

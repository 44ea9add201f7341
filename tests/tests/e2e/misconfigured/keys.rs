//! Mistakes in the `key` lines of a pool.

use openai_keys::{Recipient, encrypt, generate};

use super::{assert_pool_refused, assert_refused, plan};

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
        ("id=a id=b", ["id", "repeated"]),
        ("slots=1 slots=2", ["slots", "repeated"]),
        ("slot=1", ["unknown", "\"slot\""]),
    ] {
        assert_pool_refused(
            &format!("key env:KEY {option};"),
            &[&["key"], &says[..]].concat(),
        );
    }
    assert_pool_refused(
        "key env:KEY sk-e2e-the-second-key;",
        &["key", "parameter 2"],
    );
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

#[test]
fn files_that_cannot_be_decrypted() {
    let (secret, public) = generate();
    let sealed = encrypt(b"sk-e2e-secret-1\n", &Recipient::Public(&public)).expect("encrypted");
    let sealed = String::from_utf8(sealed).expect("armor");
    let cut = &sealed[..sealed.len() - 60];
    let bad = encrypt(b"sk-e2e-secret-1 slots=0\n", &Recipient::Public(&public));
    let bad = String::from_utf8(bad.expect("encrypted")).expect("armor");
    let plan = plan()
        .file("sealed", &sealed)
        .file("cut", cut)
        .file("bad", &bad);
    let other = generate().0;
    let wrong = "/sealed: cannot be decrypted: ENCRYPTION_KEY is not the one";
    for (key, file, says) in [
        (
            None,
            "sealed",
            "/sealed: is encrypted, and ENCRYPTION_KEY is not set",
        ),
        (
            Some(""),
            "sealed",
            "/sealed: is encrypted, and ENCRYPTION_KEY is not set",
        ),
        (
            Some("AGE-SECRET-KEY-1"),
            "sealed",
            "/sealed: is encrypted, and ENCRYPTION_KEY is not a valid",
        ),
        (Some(&*other), "sealed", wrong),
        (Some("a passphrase"), "sealed", wrong),
        (
            Some(&*secret),
            "cut",
            "/cut: cannot be decrypted: it is damaged",
        ),
        (Some(&*secret), "bad", "/bad, line 1: invalid slots \"0\""),
    ] {
        let plan = plan
            .clone()
            .pool("main", &format!("key file:{{dir}}/{file};"));
        let plan = match key {
            Some(key) => plan.environment("ENCRYPTION_KEY", key),
            None => plan,
        };
        assert_refused(&plan, &["openai_pool \"main\": key: file:", says]);
    }
    let plan = plan.clients("client app file:{dir}/sealed;");
    assert_refused(
        &plan,
        &["openai_clients: client: file:", "ENCRYPTION_KEY is not set"],
    );
}

#[test]
fn intervals_that_cannot_be() {
    for value in ["on", "0", "99ms", "2d", "soon", "-1"] {
        let plan = plan().http(&format!("openai_key_watch {value};"));
        let says = format!("\"{value}\"");
        assert_refused(&plan, &["openai_key_watch", &says, "100ms"]);
    }
    let twice = plan().http("openai_key_watch 1s; openai_key_watch off;");
    assert_refused(&twice, &["openai_key_watch", "duplicate"]);
    let server = plan().server("openai_key_watch 1s;");
    assert_refused(&server, &["openai_key_watch"]);
}

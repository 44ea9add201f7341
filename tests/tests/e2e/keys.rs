//! Where keys come from and what they are called.

use e2e::{Gateway, Plan};
use mock_upstream::key_hash;
use openai_keys::{EncryptionKey, Recipient, encrypt, generate};

/// The ids and keys used by so many requests, one after the other.
fn used(gateway: &Gateway, keys: &[&str]) -> Vec<String> {
    for number in 1..=keys.len() {
        gateway.get("/v1/models").send().expect_status(200);
        gateway.logged(number);
    }
    let stats = gateway.mock().stats();
    for key in keys {
        assert_eq!(stats.key(&format!("Bearer {key}")).requests, 1, "{key}");
    }
    gateway
        .logged(keys.len())
        .into_iter()
        .map(|line| line.key_id)
        .collect()
}

#[test]
fn keys_come_from_variables_files_and_the_configuration() {
    let gateway = Plan::new()
        .environment("PRIMARY_OPENAI_API_KEY", "sk-e2e-the-primary-key")
        .environment("OPENAI_API_KEYS", "sk-e2e-list-1, sk-e2e-list-2 ,")
        .file(
            "keys",
            "# a comment\n\nsk-e2e-file-1\n  sk-e2e-file-2 # another\n",
        )
        .pool(
            "main",
            "key env:PRIMARY_OPENAI_API_KEY id=primary;
             key env:OPENAI_API_KEYS id=list optional;
             key file:{dir}/keys id=file;
             key sk-e2e-literal id=literal;",
        )
        .start();
    let keys = [
        "sk-e2e-the-primary-key",
        "sk-e2e-list-1",
        "sk-e2e-list-2",
        "sk-e2e-file-1",
        "sk-e2e-file-2",
        "sk-e2e-literal",
    ];
    assert_eq!(gateway.held("main").slots, keys.len());
    let ids = used(&gateway, &keys);
    assert_eq!(
        ids,
        ["primary", "list-1", "list-2", "file-1", "file-2", "literal"]
    );
}

#[test]
fn a_key_without_an_id_is_named_by_its_hash() {
    let gateway = Plan::new().pool("main", "key sk-e2e-nameless;").start();
    let ids = used(&gateway, &["sk-e2e-nameless"]);
    assert_eq!(ids, [format!("k-{}", &key_hash("sk-e2e-nameless")[..8])]);
}

#[test]
fn a_line_of_a_file_may_say_more_of_its_key() {
    let gateway = Plan::new()
        .file("keys", "sk-e2e-1 id=first slots=4\nsk-e2e-2 weight=2\n")
        .pool("main", "key file:{dir}/keys id=f slots=2;")
        .start();
    assert_eq!(gateway.held("main").slots, 4 + 2);
    assert_eq!(used(&gateway, &["sk-e2e-1", "sk-e2e-2"]), ["first", "f-2"]);
}

#[test]
fn an_optional_source_may_be_absent() {
    let gateway = Plan::new()
        .environment("EMPTY", "")
        .pool(
            "main",
            "key sk-e2e-main-0001; key env:ABSENT optional; key env:EMPTY optional;
             key file:{dir}/absent optional;",
        )
        .start();
    assert_eq!(gateway.held("main").slots, 1);
    gateway.chat().send().expect_status(200);
}

#[test]
fn ten_thousand_keys_are_served() {
    let keys: String = (0..10_000)
        .map(|number| format!("sk-e2e-many-{number}\n"))
        .collect();
    let gateway = Plan::new()
        .http("openai_zone openai:16m;")
        .file("keys", &keys)
        .pool("main", "key file:{dir}/keys;")
        .start();
    assert_eq!(gateway.held("main").slots, 10_000);
    for _ in 0..20 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!(
        gateway.mock().stats().keys.len(),
        20,
        "each request a key of its own"
    );
}

#[test]
fn files_may_be_encrypted() {
    let sealed = |text: &str, key: &EncryptionKey| {
        let sealed = encrypt(text.as_bytes(), &Recipient::Key(key)).expect("encrypted");
        String::from_utf8(sealed).expect("armor")
    };
    for secret in [&*generate().0, "correct horse battery staple"] {
        let key = EncryptionKey::parse(secret).expect("a key");
        let gateway = Plan::new()
            .environment("ENCRYPTION_KEY", secret)
            .file("keys", &sealed("sk-e2e-1 id=first\nsk-e2e-2\n", &key))
            .file("token", &sealed("token-of-the-app\n", &key))
            .pool("main", "key file:{dir}/keys id=f;")
            .clients("client app file:{dir}/token;")
            .start();
        for _ in 0..2 {
            let call = gateway.get("/v1/models");
            let call = call.header("authorization", "Bearer token-of-the-app");
            call.send().expect_status(200);
        }
        let stats = gateway.mock().stats();
        for key in ["sk-e2e-1", "sk-e2e-2"] {
            assert_eq!(stats.key(&format!("Bearer {key}")).requests, 1, "{key}");
        }
    }
}

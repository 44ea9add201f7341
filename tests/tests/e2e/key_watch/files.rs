//! What may become of a file.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use std::{fs, io};

use e2e::{Plan, RawUpstream, wait_until};
use openai_keys::{EncryptionKey, Recipient, encrypt, generate};

use super::{next_key, path, plan, replace, start, wait_events, write};
use crate::reload::{end, stream};

#[test]
fn a_new_key_serves_who_waits() {
    let (gateway, upstream) = start("sk-e2e-a\n");
    let running = stream(&gateway, &upstream);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    write(&gateway, "keys", "sk-e2e-a\nsk-e2e-b\n");
    let mut exchange = upstream.accept();
    assert_eq!(super::key_of(&exchange), "b");
    exchange.answer();
    waiting.join().expect("an answer").expect_status(200);
    assert_eq!(gateway.held("main").slots, 2);
    end(running);
    wait_events(&gateway, "keys_changed", 1);
}

#[test]
fn a_key_that_is_gone_ends_its_stream_and_is_never_lent_again() {
    let (gateway, upstream) = start("sk-e2e-a\nsk-e2e-b\n");
    let running = [stream(&gateway, &upstream), stream(&gateway, &upstream)];
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 1);
    running.into_iter().for_each(end);
    gateway.wait_held(0, 0);
    assert_eq!(gateway.held("main").slots, 1);
    for _ in 0..5 {
        assert_eq!(next_key(&gateway, &upstream), "b");
    }
}

#[test]
fn a_key_that_comes_back_while_its_stream_runs_is_still_held() {
    let (gateway, upstream) = start("sk-e2e-a\n");
    let running = stream(&gateway, &upstream);
    write(&gateway, "keys", "sk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 1);
    write(&gateway, "keys", "sk-e2e-a\nsk-e2e-b\n");
    wait_events(&gateway, "keys_changed", 2);
    let second = stream(&gateway, &upstream);
    assert_eq!(super::key_of(&second.1), "b");
    let waiting = gateway.chat().spawn();
    gateway.wait_held(2, 1);
    end(running);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
    end(second);
}

#[test]
fn ids_and_slots_change_with_the_file() {
    let (gateway, upstream) = start("sk-e2e-a id=one\n");
    let running = stream(&gateway, &upstream);
    write(&gateway, "keys", "sk-e2e-a id=other slots=3\n");
    wait_until("there are three slots", || gateway.held("main").slots == 3);
    assert_eq!(gateway.held("main").held, 1);
    // The other worker reads the file a moment later.
    let mut served = 0;
    wait_until("the key has its new id", || {
        assert_eq!(next_key(&gateway, &upstream), "a");
        served += 1;
        gateway.logged(served)[served - 1].key_id == "other"
    });
    end(running);
    let lines = gateway.logged(served + 1);
    assert_eq!(lines[served].key_id, "one", "as it was then");
}

#[test]
fn a_file_may_be_replaced() {
    let (gateway, upstream) = start("sk-e2e-a\n");
    for (round, name) in (1..).zip(["b", "c", "d"]) {
        // Of the same length, and within the same moment.
        replace(&gateway, "keys", &format!("sk-e2e-{name}\n"));
        wait_events(&gateway, "keys_changed", round);
        assert_eq!(next_key(&gateway, &upstream), name);
    }
}

/// As Kubernetes does it: the file is a link into a folder that is a link.
#[test]
fn a_link_on_the_way_may_be_swapped() -> io::Result<()> {
    let upstream = RawUpstream::bind();
    let gateway = plan("")
        .pool(
            "main",
            "key file:{dir}/secret/keys optional; key sk-e2e-literal;",
        )
        .upstream(upstream.address())
        .start();
    assert_eq!(next_key(&gateway, &upstream), "literal");
    let secret = path(&gateway, "secret");
    for version in ["v1", "v2"] {
        fs::create_dir_all(secret.join(version))?;
        fs::write(
            secret.join(version).join("keys"),
            format!("sk-e2e-{version}\n"),
        )?;
    }
    symlink("..data/keys", secret.join("keys"))?;
    for (round, version) in (1..).zip(["v1", "v2"]) {
        symlink(version, secret.join("..tmp"))?;
        fs::rename(secret.join("..tmp"), secret.join("..data"))?;
        wait_events(&gateway, "keys_changed", round);
        let keys = [next_key(&gateway, &upstream), next_key(&gateway, &upstream)];
        assert!(keys.contains(&version.to_owned()), "{keys:?}");
        assert_eq!(gateway.held("main").slots, 2);
    }
    // An optional file may go again.
    fs::remove_dir_all(&secret)?;
    wait_events(&gateway, "keys_changed", 3);
    assert_eq!(next_key(&gateway, &upstream), "literal");
    assert_eq!(gateway.held("main").slots, 1);
    Ok(())
}

#[test]
fn encrypted_files_are_watched_too() {
    for secret in [&*generate().0, "correct horse battery staple"] {
        let key = EncryptionKey::parse(secret).expect("a key");
        let sealed = |text: &str| {
            let sealed = encrypt(text.as_bytes(), &Recipient::Key(&key)).expect("encrypted");
            String::from_utf8(sealed).expect("armor")
        };
        let upstream = RawUpstream::bind();
        let gateway = plan(&sealed("sk-e2e-a\n"))
            .environment("ENCRYPTION_KEY", secret)
            .upstream(upstream.address())
            .start();
        assert_eq!(next_key(&gateway, &upstream), "a");
        replace(&gateway, "keys", &sealed("sk-e2e-b\n"));
        wait_events(&gateway, "keys_changed", 1);
        assert_eq!(next_key(&gateway, &upstream), "b");
    }
}

#[test]
fn nothing_is_watched_when_it_is_off() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .http("openai_key_watch off;")
        .file("keys", "sk-e2e-a\n")
        .pool("main", "key file:{dir}/keys;")
        .upstream(upstream.address())
        .start();
    write(&gateway, "keys", "sk-e2e-b\n");
    // Longer than it takes by default.
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        assert_eq!(next_key(&gateway, &upstream), "a");
    }
    gateway.reload(|plan| plan.file("keys", "sk-e2e-b\n"));
    assert_eq!(next_key(&gateway, &upstream), "b");
}

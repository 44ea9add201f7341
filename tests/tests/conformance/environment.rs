//! Variables of the environment.

use e2e::{Redis, Shipped, wait_until};
use openai_keys::{EncryptionKey, Recipient, encrypt, generate};
use serde_json::{Value, json};

use crate::bed::{
    ADMIN, Bed, CHAT, Config, KEYS, PASSWORD, SERVICE, assert_no_secret, prepare, redis,
};

on_each_configuration!(
    a_primary_key_there_has_to_be,
    more_keys_are_separated_by_commas,
    tokens_are_those_of_the_environment,
    tokens_of_development_are_accepted_in_dev_mode_only,
    the_log_level_is_that_of_the_event_log,
    key_files_are_decrypted,
    no_secret_is_shown_in_errors,
);

fn a_primary_key_there_has_to_be(config: Config) {
    let (_nodes, shipped) = prepare(config, 1);
    let test = shipped.without("PRIMARY_OPENAI_API_KEY").test();
    assert!(!test.ok, "{}", test.output);
    let [line] = test.emergencies()[..] else {
        panic!("{}", test.output);
    };
    assert!(line.contains("PRIMARY_OPENAI_API_KEY"), "{line}");
    assert_no_secret("nginx -t", &test.output);

    // At least this one, and it is enough.
    let bed = Bed::with(config, |shipped| shipped.without("OPENAI_API_KEYS"));
    assert_eq!(key_ids(&bed), ["primary"]);
    bed.chat(CHAT).send().expect_status(200);
    assert_eq!(
        bed.mock
            .stats()
            .key(&format!("Bearer {}", KEYS[0]))
            .requests,
        1
    );
    bed.end();
}

/// What the lock service names the keys of the pool.
#[track_caller]
fn key_ids(bed: &Bed) -> Vec<String> {
    let info = bed.get_as_admin("/system/info").json();
    let keys = info["pools"][0]["keys"].as_array().expect("a list").clone();
    keys.iter()
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect()
}

fn more_keys_are_separated_by_commas(config: Config) {
    let bed = Bed::with(config, |shipped| {
        shipped.with(
            "OPENAI_API_KEYS",
            "sk-e2e-the-second-key, sk-e2e-the-third-key,sk-e2e-fourth,",
        )
    });
    let ids = key_ids(&bed);
    assert_eq!((ids.len(), ids[0].as_str()), (4, "primary"), "{ids:?}");
    assert_no_secret("the ids", &ids.join(","));
    // Each can be leased.
    let keys: Vec<Value> = (0..4)
        .map(|n| bed.lock(json!({"request_id": format!("r-{n}")})))
        .collect();
    let mut named: Vec<&str> = keys
        .iter()
        .filter_map(|lock| lock["key_id"].as_str())
        .collect();
    named.sort_unstable();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    assert_eq!(named, ids);
    for lock in &keys {
        bed.release(lock, json!({}));
    }
    bed.end();
}

#[test]
fn the_container_takes_several_redis_urls() {
    let bed = Bed::start(Config::Container);
    assert_eq!(bed.node_states(), ["up"; 3]);
    let lock = bed.lock(json!({}));
    let has = |redis: &Redis| redis.ask(&format!("AUTH {PASSWORD}")) == "OK";
    assert!(bed.nodes.iter().all(has));
    bed.release(&lock, json!({}));
    bed.end();
}

#[test]
fn the_container_takes_one_redis_url() {
    let node = redis();
    let (_nodes, shipped) = prepare(Config::Container, 1);
    let running = shipped.with("REDIS_URL", &node.url()).start();
    let health = e2e::Call::new("GET", format!("http://127.0.0.1:{}/health", running.port()));
    let states = || {
        health.send().json()["pools"][0]["nodes"]
            .as_array()
            .map_or(0, Vec::len)
    };
    wait_until("the one node is reported", || states() == 1);
    wait_until("it is healthy", || health.send().status == 200);
    running.stop();
}

#[test]
fn the_container_takes_the_password_of_redis() {
    let (nodes, shipped) = prepare(Config::Container, 1);
    let running = shipped
        .with("REDIS_PASSWORD", "no-password-of-redis")
        .start();
    let health = e2e::Call::new("GET", format!("http://127.0.0.1:{}/health", running.port()));
    wait_until("no node lets it in", || health.send().status == 503);
    drop(nodes);
    for file in ["error.log", "output.log", Config::Container.access_log()] {
        let text = std::fs::read_to_string(running.dir().join(file)).unwrap_or_default();
        assert!(!text.contains("no-password-of-redis"), "{file}");
    }
    running.stop();
}

fn tokens_are_those_of_the_environment(config: Config) {
    let (service, admin) = ("another-token-of-a-service", "another-token-of-an-admin");
    let bed = Bed::with(config, |shipped| {
        shipped
            .with("SERVICE_TOKEN", service)
            .with("ADMIN_TOKEN", admin)
    });
    let status = |token: &str, path: &str| bed.call("GET", path).token(token).send().status;
    for token in [service, admin] {
        assert_eq!(status(token, "/v1/models"), 200);
    }
    for token in [SERVICE, ADMIN] {
        assert_eq!(status(token, "/v1/models"), 401);
    }
    assert_eq!(
        (status(service, "/v1/status"), status(admin, "/v1/status")),
        (403, 200)
    );
    for text in [bed.read("error.log"), bed.read(config.access_log())] {
        assert!(!text.contains("another-token"), "{text}");
    }
    bed.end();
}

fn tokens_of_development_are_accepted_in_dev_mode_only(config: Config) {
    for mode in ["true", "", "false", "1", "TRUE", "yes"] {
        let bed = Bed::with(config, |shipped| shipped.with("DEV_MODE", mode));
        let status = |token: &str, path: &str| bed.call("GET", path).token(token).send().status;
        let seen = ["dev-token", "admin-token"].map(|token| status(token, "/v1/models"));
        assert_eq!(
            seen,
            if mode == "true" {
                [200, 200]
            } else {
                [401, 401]
            },
            "{mode:?}"
        );
        if mode == "true" {
            assert_eq!(status("dev-token", "/v1/status"), 403);
            assert_eq!(status("admin-token", "/v1/status"), 200);
        }
        assert_eq!(status(SERVICE, "/v1/models"), 200, "{mode:?}");
        bed.end();
    }
    let bed = Bed::with(config, |shipped| shipped.without("DEV_MODE"));
    let refused = bed.call("GET", "/v1/models").token("dev-token").send();
    refused.expect_status(401);
    bed.end();
}

/// Which levels of events there are in the event log with this `LOG_LEVEL`.
fn levels_with(config: Config, level: Option<&str>) -> Vec<String> {
    let bed = Bed::with(config, |shipped| match level {
        Some(level) => shipped.with("LOG_LEVEL", level),
        None => shipped.without("LOG_LEVEL"),
    });
    let lock = bed.lock(json!({}));
    bed.release(&lock, json!({}));
    let lock = bed.lock(json!({}));
    let path = format!(
        "/v1/locks/{}/force-release",
        lock["lock_id"].as_str().expect("an id")
    );
    bed.call("DELETE", &path)
        .token(ADMIN)
        .send()
        .expect_status(200);
    if level != Some("error") {
        wait_until("the audit is written", || {
            bed.events().iter().any(|event| event["event"] == "audit")
        });
    }
    let levels = bed
        .events()
        .iter()
        .map(|event| event["level"].as_str().unwrap_or_default().to_owned())
        .collect();
    bed.end();
    levels
}

fn the_log_level_is_that_of_the_event_log(config: Config) {
    let has = |levels: &[String], level: &str| levels.iter().any(|l| l == level);
    for level in [Some("info"), Some("debug"), None] {
        let levels = levels_with(config, level);
        assert!(
            has(&levels, "info") && has(&levels, "warn"),
            "{level:?}: {levels:?}"
        );
    }
    let levels = levels_with(config, Some("warn"));
    assert!(
        has(&levels, "warn") && !has(&levels, "info") && !has(&levels, "notice"),
        "{levels:?}"
    );
    let levels = levels_with(config, Some("error"));
    assert!(levels.iter().all(|level| level == "error"), "{levels:?}");
}

fn key_files_are_decrypted(config: Config) {
    let identity = generate().0.to_string();
    let key = EncryptionKey::parse(&identity).expect("a key");
    let keys = b"sk-e2e-encrypted id=from-a-file\n";
    let file = encrypt(keys, &Recipient::Key(&key)).expect("it is encrypted");
    let with_file = |shipped: Shipped| {
        let line = format!("key file:{}/keys.age slots=1;", shipped.path().display());
        shipped
            .file("keys.age", &file)
            .add("openai_pool main", &line)
    };
    let bed = Bed::with(config, |shipped| {
        with_file(shipped).with("ENCRYPTION_KEY", &identity)
    });
    assert!(key_ids(&bed).iter().any(|id| id == "from-a-file"));
    for file in ["error.log", "output.log"] {
        assert!(!bed.read(file).contains("AGE-SECRET-KEY"), "{file}");
    }
    bed.end();

    let (_nodes, shipped) = prepare(config, 1);
    let test = with_file(shipped).test();
    assert!(
        !test.ok && test.output.contains("ENCRYPTION_KEY"),
        "{}",
        test.output
    );
    let (_nodes, shipped) = prepare(config, 1);
    let other = generate().0.to_string();
    let test = with_file(shipped).with("ENCRYPTION_KEY", &other).test();
    assert!(
        !test.ok && test.output.contains("ENCRYPTION_KEY"),
        "{}",
        test.output
    );
    assert!(
        !test.output.contains("AGE-SECRET-KEY"),
        "it reports the key"
    );
}

/// `nginx -t` says what is wrong, and never what it is.
fn no_secret_is_shown_in_errors(config: Config) {
    let wrong = [
        ("PRIMARY_OPENAI_API_KEY", "sk-wrong with a blank"),
        ("OPENAI_API_KEYS", "sk-wrong-1,sk-wrong-1"),
        ("SERVICE_TOKEN", "wrong"),
        ("ADMIN_TOKEN", SERVICE),
        ("ADMIN_TOKEN", "wrong token with blanks"),
    ];
    for (name, value) in wrong {
        let (_nodes, shipped) = prepare(config, 1);
        let test = shipped.with(name, value).test();
        assert!(!test.ok, "{name}: {}", test.output);
        assert_no_secret(name, &test.output);
        assert!(
            !test.output.contains(value),
            "{name}: nginx -t reports its value"
        );
        assert!(
            !test.output.contains("sk-wrong"),
            "{name}: nginx -t reports its value"
        );
    }
}

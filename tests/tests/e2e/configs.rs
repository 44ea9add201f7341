//! The configurations that people copy do load, and serve.

use std::fs;
use std::process::Command;
use std::time::Duration;

use e2e::{Call, Flavour, Redis, Shipped, VARIABLES, wait_until, workspace};
use mock_upstream::{DenyToken, MockServer, Scenario};

/// A mock that refuses a client's token.
fn mock() -> MockServer {
    let token = DenyToken::new(Shipped::TOKEN).expect("a token");
    let scenario = Scenario::new().delay(Duration::ZERO).deny_token(token);
    MockServer::start(scenario).expect("the mock starts")
}

#[test]
fn every_configuration_loads() {
    let names = Shipped::names();
    for name in [
        "minimal.conf",
        "production.conf",
        "pools.conf",
        "redlock.conf",
        "routes.conf",
    ] {
        assert!(
            names.iter().any(|other| other == name),
            "{name} is among {names:?}"
        );
    }
    // What is there only to be included is loaded by those that include it, and what needs Redis
    // has a test of its own.
    let apart = ["log_format.conf", "redlock.conf"];
    for name in names.iter().filter(|name| !apart.contains(&name.as_str())) {
        let test = Shipped::prepare(name, 1).test();
        assert!(test.ok, "{name}: {}", test.output);
        assert!(test.emergencies().is_empty(), "{name}: {}", test.output);
    }
}

/// It needs no Redis to load, but addresses and a password.
#[test]
fn the_configuration_of_several_machines_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().display().to_string();
    let flavour = Flavour::under_test();
    let source = workspace().join("nginx");
    let text = fs::read_to_string(source.join("redlock.conf")).expect("the configuration");
    let module = flavour.module.display().to_string();
    let text = text
        .replace("modules/ngx_http_openai_module.so", &module)
        .replace("/var/log/nginx/", &format!("{home}/"));
    let config = dir.path().join("nginx.conf");
    fs::write(&config, format!("pid nginx.pid;\n{text}")).expect("the directory is writable");
    fs::copy(
        source.join("log_format.conf"),
        dir.path().join("log_format.conf"),
    )
    .expect("the log format");
    let urls = "redis://127.0.0.1:6379,redis://127.0.0.1:6380,redis://127.0.0.1:6381";
    let test = Command::new(&flavour.nginx)
        .args(["-e", "stderr", "-t", "-p", &home, "-c"])
        .arg(&config)
        .env("REDIS_URL", urls)
        .env("REDIS_PASSWORD", "password-of-redis")
        .env("PRIMARY_OPENAI_API_KEY", "sk-e2e-the-primary-key")
        .env(
            "OPENAI_API_KEYS",
            "sk-e2e-the-second-key,sk-e2e-the-third-key",
        )
        .env("SERVICE_TOKEN", Shipped::TOKEN)
        .env("ADMIN_TOKEN", "token-of-an-admin")
        .env_remove("DEV_MODE")
        .output()
        .expect("nginx can be run");
    let output = String::from_utf8_lossy(&test.stderr);
    assert!(test.status.success(), "{output}");
    assert!(!output.contains("[emerg]"), "{output}");
}

/// Starts a configuration, and streams one answer through it.
fn streams(name: &str, path: &str, key: &str) -> e2e::RunningShipped {
    let mock = mock();
    let running = Shipped::prepare(name, mock.addr().port()).start();
    let url = format!("http://127.0.0.1:{}{path}", running.port());
    let call = Call::json(url, r#"{"model":"gpt-4o","stream":true}"#).token(Shipped::TOKEN);
    let answer = call.send().expect_status(200);
    assert_eq!(answer.said(), "powered by openai");
    assert_eq!(mock.stats().key(&format!("Bearer {key}")).requests, 1);
    running
}

#[test]
fn the_minimal_configuration_serves() {
    streams(
        "minimal.conf",
        "/v1/chat/completions",
        "sk-e2e-the-primary-key",
    )
    .stop();
}

#[test]
fn the_configuration_of_production_serves_and_logs_json() {
    let running = streams(
        "production.conf",
        "/v1/chat/completions",
        "sk-e2e-the-primary-key",
    );
    let line = running.line_of("openai.log", "chat/completions");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["status"], 200);
    assert_eq!(line["event"], "request");
    assert_eq!(line["service_name"], "labeling-service");
    assert_eq!(line["key_id"], "primary");
    assert_eq!(line["lease_status"], "immediate");
    assert_eq!(line["stream"], true);
    for field in ["timestamp", "level", "lock_id"] {
        assert!(
            line[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {line}"
        );
    }
    for field in ["processing_time_ms", "slot", "fence", "wait_ms", "hold_ms"] {
        assert!(line[field].is_u64(), "{field}: {line}");
    }
    locks(&running);
    let wrong = format!("http://127.0.0.1:{}/v1/models", running.port());
    Call::new("GET", wrong)
        .token("wrong")
        .send()
        .expect_status(401);
    let line = running.line_of("openai.log", "/v1/models");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(
        (&line["status"], &line["lease_status"]),
        (&401.into(), &"none".into())
    );
    running.stop();
}

/// The lock service is where it has always been, on the configurations as they are.
pub(crate) fn locks(running: &e2e::RunningShipped) {
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", running.port());
    let post = |path: &str, body: serde_json::Value| {
        Call::json(url(path), body.to_string())
            .token(Shipped::TOKEN)
            .send()
    };
    // With locks on nodes, once these are connected.
    let health = Call::new("GET", url("/health"));
    wait_until("the gateway is healthy", || {
        health.send().json()["status"] == "healthy"
    });
    let asked = serde_json::json!({"service_name": "labeling-service",
        "resource_type": "openai_api", "dimension": "c_role", "content_type": "candidate",
        "estimated_duration": 300, "request_id": "uuid-here", "wait_ms": 10_000});
    let answer = post("/v1/lock/acquire", asked).expect_status(200).json();
    let lock = &answer["lock_info"];
    assert_eq!(lock["status"], "acquired");
    assert!(
        lock["api_key"]
            .as_str()
            .is_some_and(|key| key.starts_with("sk-e2e-"))
    );
    let own = serde_json::json!({"lock_id": lock["lock_id"], "service_name": "labeling-service"});
    post("/v1/lock/release", own).expect_status(200);
    for path in ["/", "/v1/locks/active", "/system/info", "/openapi.json"] {
        Call::new("GET", url(path)).send().expect_status(401);
        Call::new("GET", url(path))
            .token(Shipped::TOKEN)
            .send()
            .expect_status(200);
    }
    let admin = Call::json(url("/v1/maintenance/cleanup-expired"), "").token("token-of-an-admin");
    admin.send().expect_status(200);
    for page in ["/status", "/docs", "/redoc"] {
        Call::new("GET", url(page)).send().expect_status(200);
    }
    let status = Call::new("GET", url("/v1/status")).token("token-of-an-admin");
    status.send().expect_status(200);
}

#[test]
fn the_configuration_of_several_pools_serves_from_each() {
    streams(
        "pools.conf",
        "/v1/chat/completions",
        "sk-e2e-the-primary-key",
    )
    .stop();
    streams("pools.conf", "/batch/v1/chat/completions", "sk-e2e-a").stop();
}

#[test]
fn the_configuration_of_several_providers_routes() {
    streams(
        "routes.conf",
        "/v1/chat/completions",
        "sk-e2e-the-primary-key",
    )
    .stop();
    let mock = mock();
    let running = Shipped::prepare("routes.conf", mock.addr().port()).start();
    let url = format!("http://127.0.0.1:{}/v1/chat/completions", running.port());
    for (requests, (model, key)) in (1..).zip([
        ("llama", "not-a-secret"),
        ("fast", "sk-e2e-the-primary-key"),
        ("o3", "sk-e2e-the-primary-key"),
    ]) {
        Call::json(url.clone(), format!(r#"{{"model":"{model}"}}"#))
            .send()
            .expect_status(200);
        let stats = mock.stats();
        assert_eq!(stats.totals.requests, requests);
        assert!(stats.key(&format!("Bearer {key}")).requests > 0, "{model}");
    }
    running.stop();
}

#[test]
fn the_configuration_of_make_run_serves() {
    let running = streams("run.conf", "/v1/chat/completions", "sk-e2e-the-primary-key");
    locks(&running);
    let event = running.line_of("logs/events.json", "lock_acquired");
    let event: serde_json::Value = serde_json::from_str(&event).expect("a line of JSON");
    assert_eq!(event["service_name"], "labeling-service");
    assert_eq!(event["request_id"], "uuid-here");
    running.stop();
}

/// What `nginx/build/run.sh` would run.
fn of_run(environment: &[(&str, &str)]) -> String {
    let script = workspace().join("nginx/build/run.sh");
    let mut command = Command::new(script);
    command
        .arg("config")
        .env("ENV_FILE", "/nonexistent")
        .env_remove("REDIS_URL")
        .env_remove("REDIS_PASSWORD");
    let output = command
        .envs(environment.iter().copied())
        .output()
        .expect("bash");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

/// The file sets what the environment does not, and is not executed.
#[test]
fn make_run_reads_a_file_of_variables() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("env");
    let example = fs::read_to_string(workspace().join("nginx/env.example")).expect("the example");
    for name in VARIABLES {
        assert!(
            example.contains(&format!("{name}=")),
            "{name} is in the example"
        );
    }
    let all = example.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_uppercase()) => rest,
        _ => line,
    });
    fs::write(&file, all.collect::<Vec<_>>().join("\n")).expect("the directory is writable");
    let file = file.display().to_string();
    let with_file = of_run(&[("ENV_FILE", &file)]);
    assert_eq!(
        with_file,
        of_run(&[("REDIS_URL", "x"), ("REDIS_PASSWORD", "x")])
    );
    let plain = of_run(&[]);
    assert_ne!(with_file, plain);
    assert_eq!(of_run(&[("ENV_FILE", &file), ("REDIS_URL", "")]), plain);
}

#[test]
fn make_run_takes_its_locks_on_the_redis_servers_that_the_environment_names() {
    let plain = fs::read_to_string(workspace().join("nginx/run.conf")).expect("the configuration");
    assert_eq!(of_run(&[]), plain);
    assert_eq!(of_run(&[("REDIS_URL", "")]), plain);
    for password in [None, Some("password-of-redis")] {
        let option = password.map(|password| format!("--requirepass {password}"));
        let redis = Redis::start_with(&option.unwrap_or_default());
        let mut environment = vec![("REDIS_URL".to_owned(), redis.url())];
        environment.extend(password.map(|text| ("REDIS_PASSWORD".to_owned(), text.to_owned())));
        let pairs: Vec<_> = environment
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let mock = mock();
        let mut shipped = Shipped::prepare_text(&of_run(&pairs), mock.addr().port());
        for (name, value) in &pairs {
            shipped = shipped.with(name, value);
        }
        let running = shipped.start();
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", running.port());
        let health = Call::new("GET", url("/health"));
        wait_until("the server can vote", || {
            health.send().json()["status"] == "healthy"
        });
        let info = Call::new("GET", url("/system/info")).token("token-of-an-admin");
        assert_eq!(info.send().json()["pools"][0]["backend"], "redlock");
        locks(&running);
        running.stop();
    }
}

//! What the images are made of. No container engine is needed: their steps name files and stages that are
//! there, and what they would run is run here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Call, Redis, Shipped, VARIABLES, wait_until, workspace};
use mock_upstream::{MockServer, Scenario};
use serde_yaml_ng::Value;

const DOCKERFILE: &str = "nginx/container/Dockerfile";
const PASSWORD: &str = "password-of-redis";

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The instructions of each stage, by its name.
fn stages() -> BTreeMap<String, Vec<String>> {
    let (mut stages, mut stage) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in text(DOCKERFILE).lines() {
        if let Some((_, name)) = line
            .strip_prefix("FROM ")
            .and_then(|from| from.split_once(" AS "))
        {
            stage = name.to_owned();
        }
        if !line.is_empty() && !line.starts_with('#') {
            stages
                .entry(stage.clone())
                .or_default()
                .push(line.to_owned());
        }
    }
    stages
}

fn compose() -> Value {
    let mut compose: Value =
        serde_yaml_ng::from_str(&text("nginx/container/compose.yaml")).expect("YAML");
    compose.apply_merge().expect("merge keys");
    compose
}

fn has_health(port: u16, path: &str) -> bool {
    let script = workspace().join("nginx/container/health.sh");
    let port = port.to_string();
    let mut health = Command::new(script);
    let output = health.args([&port, path]).output().expect("bash");
    output.status.success()
}

#[test]
fn every_step_names_what_is_there() {
    let stages = stages();
    assert_eq!(
        stages.keys().collect::<Vec<_>>(),
        ["build", "gateway", "mock"]
    );
    for line in stages.values().flatten() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(from) = words.iter().find_map(|word| word.strip_prefix("--from=")) {
            assert!(stages.contains_key(from), "{line}");
        } else if words[0] == "COPY" {
            let sources = words[1..words.len() - 1].iter();
            for source in sources.filter(|word| !word.starts_with("--")) {
                assert!(workspace().join(source).exists(), "{line}");
            }
        } else if words[0] == "RUN" && words[1].starts_with("nginx/") {
            let script = workspace().join(words[1]);
            let mode = fs::metadata(&script)
                .expect("a script")
                .permissions()
                .mode();
            assert!(mode & 0o111 != 0, "{line}");
        }
    }
    for image in ["gateway", "mock"] {
        let has = |instruction: &str| {
            let mut lines = stages[image].iter();
            lines.any(|line| line.starts_with(instruction))
        };
        assert!(has("USER ") && has("HEALTHCHECK "), "{image}");
        assert!(!has("USER root"), "{image}");
    }
}

#[test]
fn compose_names_images_services_and_variables_that_are_there() {
    let (compose, stages) = (compose(), stages());
    let services = compose["services"].as_mapping().expect("services");
    let names: BTreeSet<&str> = services.keys().filter_map(Value::as_str).collect();
    assert_eq!(
        names,
        BTreeSet::from(["gateway", "mock", "redis-1", "redis-2", "redis-3"])
    );
    for (name, service) in services {
        let Some(build) = service.get("build") else {
            assert_eq!(service["image"], "redis:7-bookworm", "{name:?}");
            continue;
        };
        let home = Path::new("nginx/container").join(build["context"].as_str().expect("a path"));
        let file = home.join(build["dockerfile"].as_str().expect("a path"));
        assert!(workspace().join(&file).exists(), "{}", file.display());
        assert!(stages.contains_key(build["target"].as_str().expect("a stage")));
    }

    let gateway = &compose["services"]["gateway"];
    let config = text("nginx/container/gateway.conf");
    let variables = config.split("env:").skip(1);
    for variable in variables.map(|rest| rest.split([' ', ';']).next().unwrap_or_default()) {
        let set = gateway["environment"].get(variable);
        assert!(set.is_some(), "{variable} is set");
    }
    for variable in VARIABLES {
        let set = gateway["environment"].get(variable);
        assert!(set.is_some(), "{variable} is passed on");
    }
    let nodes = gateway["environment"]["REDIS_URL"].as_str().expect("URLs");
    for node in nodes.split(',') {
        let host = node
            .strip_prefix("redis://")
            .and_then(|rest| rest.strip_suffix(":6379"));
        assert!(names.contains(host.expect("a host")), "{node}");
    }
    for needed in gateway["depends_on"].as_mapping().expect("services").keys() {
        assert!(names.contains(needed.as_str().expect("a name")));
    }
}

#[test]
fn the_gateway_of_the_image_is_healthy_and_serves() {
    let mock = MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts");
    assert!(has_health(mock.addr().port(), "/health"));
    assert!(!has_health(mock.addr().port(), "/nowhere"));

    let option = format!("--requirepass {PASSWORD}");
    let nodes: Vec<Redis> = (0..3).map(|_| Redis::start_with(&option)).collect();
    let urls: Vec<String> = nodes.iter().map(Redis::url).collect();
    let running = Shipped::prepare("container/gateway.conf", mock.addr().port())
        .with("REDIS_URL", &urls.join(","))
        .with("REDIS_PASSWORD", PASSWORD)
        // As compose sets it when nobody has more keys.
        .with("OPENAI_API_KEYS", "")
        .start();
    // All nodes: a request that comes before counts as failed, and the gateway as degraded.
    let health = Call::new("GET", format!("http://127.0.0.1:{}/health", running.port()));
    wait_until("the gateway is healthy", || {
        health.send().json()["status"] == "healthy"
    });
    assert!(has_health(running.port(), "/health"));
    let url = format!("http://127.0.0.1:{}/v1/chat/completions", running.port());
    let call = Call::json(url, r#"{"model":"gpt-4o","stream":true}"#).token(Shipped::TOKEN);
    wait_until("a lease", || call.send().status == 200);
    assert_eq!(call.send().expect_status(200).said(), "powered by openai");
    crate::configs::locks(&running);
    let event = running.line_of("openai.log", "lock_acquired");
    let event: serde_json::Value = serde_json::from_str(&event).expect("a line of JSON");
    assert_eq!(event["level"], "info");
    let url = format!("http://127.0.0.1:{}/metrics", running.port());
    Call::new("GET", url.clone()).send().expect_status(401);
    let metrics = Call::new("GET", url).token("token-of-an-admin").send();
    let metrics = metrics.expect_status(200);
    assert!(
        metrics
            .text()
            .contains("openai_service_active_locks{pool=\"main\"}")
    );
    running.stop();
    assert!(mock.stats().key("Bearer sk-e2e-the-primary-key").requests >= 2);
}

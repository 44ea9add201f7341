//! A shipped configuration that serves, before a mock or an upstream of the test's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::{Answer, Call, RawUpstream, Redis, RunningShipped, Shipped, json_lines, wait_until};
use mock_upstream::{MockServer, Scenario};
use serde_json::{Value, json};

/// Makes a test of each function for each configuration, so that a failure names both.
macro_rules! on_each_configuration {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            use crate::bed::Config;

            #[test]
            fn make_run() {
                super::$test(Config::MakeRun);
            }

            #[test]
            fn production() {
                super::$test(Config::Production);
            }

            #[test]
            fn container() {
                super::$test(Config::Container);
            }
        }
    )*};
}

/// The values of the variables of the environment. None of them may be seen anywhere.
pub const SERVICE: &str = Shipped::TOKEN;
pub const ADMIN: &str = "token-of-an-admin";
pub const PASSWORD: &str = "password-of-redis";
pub const KEYS: [&str; 3] = [
    "sk-e2e-the-primary-key",
    "sk-e2e-the-second-key",
    "sk-e2e-the-third-key",
];

/// A chat that streams.
pub const STREAM: &str =
    r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#;
/// A chat that does not.
pub const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}"#;
/// Where chats go.
pub const COMPLETIONS: &str = "/v1/chat/completions";

/// A shipped configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Config {
    MakeRun,
    Production,
    Container,
}

impl Config {
    /// Its file below `nginx/`.
    pub fn file(self) -> &'static str {
        match self {
            Self::MakeRun => "run.conf",
            Self::Production => "production.conf",
            Self::Container => "container/gateway.conf",
        }
    }

    /// The name of the client with `SERVICE_TOKEN`.
    pub fn service(self) -> &'static str {
        match self {
            Self::Production => "labeling-service",
            Self::MakeRun | Self::Container => "service",
        }
    }

    /// Where its access log is, of a test's directory.
    pub fn access_log(self) -> &'static str {
        match self {
            Self::MakeRun => "logs/access.json",
            Self::Production | Self::Container => "openai.log",
        }
    }

    /// Where the module's events are. The container writes everything to its standard output.
    pub fn event_log(self) -> &'static str {
        match self {
            Self::MakeRun => "logs/events.json",
            Self::Production => "openai-events.log",
            Self::Container => "openai.log",
        }
    }
}

/// What is served.
pub struct Bed {
    pub config: Config,
    // Fields are dropped in this order: nginx before what it talks to.
    running: RunningShipped,
    pub mock: MockServer,
    pub nodes: Vec<Redis>,
}

impl Bed {
    /// The configuration as it is, before a mock that does not dawdle.
    #[track_caller]
    pub fn start(config: Config) -> Self {
        Self::with(config, |shipped| shipped)
    }

    /// The same, with something changed.
    #[track_caller]
    pub fn with(config: Config, change: impl FnOnce(Shipped) -> Shipped) -> Self {
        Self::before(config, None, change)
    }

    /// The same before an upstream of the test's own.
    #[track_caller]
    pub fn before_raw(
        config: Config,
        upstream: &RawUpstream,
        change: impl FnOnce(Shipped) -> Shipped,
    ) -> Self {
        Self::before(config, Some(port_of(upstream)), change)
    }

    #[track_caller]
    fn before(
        config: Config,
        upstream: Option<u16>,
        change: impl FnOnce(Shipped) -> Shipped,
    ) -> Self {
        let mock =
            MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts");
        let port = upstream.unwrap_or(mock.addr().port());
        let (nodes, shipped) = prepare(config, port);
        let running = change(shipped).start();
        let bed = Self {
            config,
            running,
            mock,
            nodes,
        };
        if !bed.nodes.is_empty() {
            let up = vec!["up"; bed.nodes.len()];
            wait_until("the pool has its nodes", || bed.node_states() == up);
        }
        bed
    }

    /// How the nodes of its pool do.
    pub fn node_states(&self) -> Vec<String> {
        let health = self.call("GET", "/health").send();
        let health: Value = serde_json::from_slice(&health.body).unwrap_or_default();
        let nodes = health["pools"][0]["nodes"].as_array();
        let name = |node: &Value| {
            let state = node.get("state").unwrap_or(node);
            state.as_str().unwrap_or_default().to_owned()
        };
        nodes.map_or(vec![], |nodes| nodes.iter().map(name).collect())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.running.port())
    }

    pub fn nginx(&self) -> &e2e::Nginx {
        self.running.nginx()
    }

    /// A request without a token.
    pub fn call(&self, method: &'static str, path: &str) -> Call {
        Call::new(method, self.url(path))
    }

    /// A chat with this body, by the service.
    pub fn chat(&self, body: &str) -> Call {
        Call::json(self.url(COMPLETIONS), body).token(SERVICE)
    }

    /// A POST to the lock service, by the service.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        Call::json(self.url(path), body.to_string())
            .token(SERVICE)
            .send()
    }

    /// What a path of the lock service answers with, to the administrator.
    #[track_caller]
    pub fn get_as_admin(&self, path: &str) -> Answer {
        self.call("GET", path)
            .token(ADMIN)
            .send()
            .expect_status(200)
    }

    /// Takes a lock, with more in the body; what it is.
    #[track_caller]
    pub fn lock(&self, more: Value) -> Value {
        let mut body = json!({"service_name": "labeling", "resource_type": "openai_api"});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let answer = self.post("/v1/lock/acquire", &body).expect_status(200);
        answer.json()["lock_info"].clone()
    }

    /// Gives a lock back, with more in the body; the answer.
    #[track_caller]
    pub fn release(&self, lock: &Value, more: Value) -> Value {
        let mut body = json!({"lock_id": lock["lock_id"], "service_name": "labeling"});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.post("/v1/lock/release", &body)
            .expect_status(200)
            .json()
    }

    /// Waits until nobody holds a lock or a lease: on Redis it is given back a moment after the answer.
    #[track_caller]
    pub fn wait_free(&self) {
        wait_until("nothing is held", || {
            self.get_as_admin("/v1/locks/active").json()["locks"] == json!([])
        });
    }

    /// A number of the first pool in `/health`.
    #[track_caller]
    pub fn gauge(&self, name: &str) -> Option<u64> {
        self.call("GET", "/health").send().json()["pools"][0][name].as_u64()
    }

    #[track_caller]
    pub fn wait_gauge(&self, name: &str, value: u64) {
        wait_until(&format!("{name} is {value}"), || {
            self.gauge(name) == Some(value)
        });
    }

    pub fn dir(&self) -> &Path {
        self.running.dir()
    }

    /// The module's events, once an audit is among them.
    #[track_caller]
    pub fn audited(&self, events: impl Fn(&Self) -> Vec<Value>) -> Vec<Value> {
        e2e::wait_for("the audit is written", || {
            let events = events(self);
            let audit = events.iter().any(|event| event["event"] == "audit");
            audit.then_some(events)
        })
    }

    /// The module's events so far.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let lines = json_lines(&self.read(self.config.event_log()));
        let is_event = |line: &Value| line["event"] != "request";
        lines.into_iter().filter(is_event).collect()
    }

    pub fn read(&self, file: &str) -> String {
        let text = fs::read(self.dir().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The lines of the access log, once one of them fits.
    #[track_caller]
    pub fn access_log(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        e2e::wait_for(&format!("the access log has {what}"), || {
            json_lines(&self.read(self.config.access_log()))
                .into_iter()
                .find(&fits)
        })
    }

    /// Ends nginx in order; no secret may be in what it left.
    #[track_caller]
    pub fn end(self) {
        self.keeps_secrets();
        self.running.stop();
    }

    /// What has been written down so far reports no secret.
    #[track_caller]
    pub fn keeps_secrets(&self) {
        for file in [
            "error.log",
            "output.log",
            self.config.event_log(),
            self.config.access_log(),
        ] {
            assert_no_secret(file, &self.read(file));
        }
    }
}

/// The configuration, and the Redis servers that it needs.
pub fn prepare(config: Config, upstream: u16) -> (Vec<Redis>, Shipped) {
    let shipped = Shipped::prepare(config.file(), upstream);
    if config != Config::Container {
        return (vec![], shipped);
    }
    let nodes: Vec<Redis> = (0..3).map(|_| redis()).collect();
    let urls: Vec<String> = nodes.iter().map(Redis::url).collect();
    // Each worker sees the servers on its own: of one it can be known when it does.
    let shipped = shipped.replace("worker_processes auto;", "worker_processes 1;");
    // With patience for a busy machine.
    let shipped = shipped.add("openai_redlock locks", "node_timeout 2s;");
    let shipped = shipped.with("REDIS_URL", &urls.join(","));
    (nodes, shipped.with("REDIS_PASSWORD", PASSWORD))
}

/// A Redis server with the password.
pub fn redis() -> Redis {
    Redis::start_with(&format!("--requirepass {PASSWORD}"))
}

/// Fails the test when a text holds a secret.
#[track_caller]
pub fn assert_no_secret(what: &str, text: &str) {
    for secret in KEYS.into_iter().chain([SERVICE, ADMIN, PASSWORD]) {
        let line = text.lines().find(|line| line.contains(secret));
        let line = line.map(|line| line.replace(secret, "<secret>"));
        assert_eq!(line, None, "{what} reports a secret");
    }
}

fn port_of(upstream: &RawUpstream) -> u16 {
    let address = upstream.address();
    let (_, port) = address.rsplit_once(':').expect("an address");
    port.parse().expect("a port")
}

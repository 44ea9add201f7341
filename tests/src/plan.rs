//! What a gateway under test looks like.

use mock_upstream::Scenario;

use crate::config_test::ConfigTest;
use crate::gateway::{self, Gateway};

/// The key of the pool `main`, unless a test makes its own pools.
pub const KEY: &str = "sk-e2e-main-0001";

/// A gateway to be started. Texts go into nginx.conf as they are, except that `{dir}` becomes
/// its directory, `{port}` its port, `{tls_port}` its TLS port and `{upstream}` its upstream.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) workers: usize,
    pub(crate) connections: usize,
    pub(crate) pools: Vec<(String, String)>,
    pub(crate) clients: Option<String>,
    pub(crate) main: String,
    pub(crate) http: String,
    pub(crate) server: String,
    pub(crate) location: String,
    pub(crate) proxied: String,
    pub(crate) serves: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) scenario: Scenario,
    pub(crate) upstream: Option<String>,
    pub(crate) log_level: &'static str,
    pub(crate) tls: bool,
    pub(crate) expected: Vec<&'static str>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            connections: 4096,
            pools: Vec::new(),
            clients: None,
            main: String::new(),
            http: String::new(),
            server: String::new(),
            location: String::new(),
            proxied: "proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
                      proxy_pass http://upstream;"
                .to_owned(),
            serves: None,
            environment: Vec::new(),
            files: Vec::new(),
            scenario: Scenario::new().delay(std::time::Duration::ZERO),
            upstream: None,
            log_level: "info",
            tls: false,
            expected: Vec::new(),
        }
    }
}

impl Plan {
    /// One worker; the pool `main` with the key [`KEY`], named `main`, in one slot; no client
    /// tokens; `/v1/` proxied to a mock that does not dawdle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets how many connections a worker may have, 4096 unless set.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Makes a key pool, or makes it anew. The first one serves `/v1/`.
    #[must_use]
    pub fn pool(mut self, name: &str, body: &str) -> Self {
        self.pools.retain(|(other, _)| other != name);
        self.pools.push((name.to_owned(), body.to_owned()));
        self
    }

    /// Removes a key pool.
    #[must_use]
    pub fn without_pool(mut self, name: &str) -> Self {
        self.pools.retain(|(other, _)| other != name);
        self
    }

    /// Lists client tokens: the inside of `openai_clients`.
    #[must_use]
    pub fn clients(mut self, body: &str) -> Self {
        self.clients = Some(body.to_owned());
        self
    }

    /// Adds to the main context.
    #[must_use]
    pub fn main(mut self, text: &str) -> Self {
        add(&mut self.main, text);
        self
    }

    /// Adds to `http`.
    #[must_use]
    pub fn http(mut self, text: &str) -> Self {
        add(&mut self.http, text);
        self
    }

    /// Adds to the server that clients call.
    #[must_use]
    pub fn server(mut self, text: &str) -> Self {
        add(&mut self.server, text);
        self
    }

    /// Adds to the location `/v1/`.
    #[must_use]
    pub fn location(mut self, text: &str) -> Self {
        add(&mut self.location, text);
        self
    }

    /// Replaces the proxy directives of the location `/v1/`.
    #[must_use]
    pub fn proxied(mut self, text: &str) -> Self {
        self.proxied = text.to_owned();
        self
    }

    /// Replaces `openai POOL;` of the location `/v1/`.
    #[must_use]
    pub fn serves(mut self, text: &str) -> Self {
        self.serves = Some(text.to_owned());
        self
    }

    /// Sets a variable of nginx's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file into nginx's directory.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.retain(|(other, _)| other != name);
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Says what the mock answers.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Proxies to another address than the mock's.
    #[must_use]
    pub fn upstream(mut self, address: impl Into<String>) -> Self {
        self.upstream = Some(address.into());
        self
    }

    /// Sets the level of the error log, `info` unless set.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Listens on a TLS port too, with HTTP/2.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Says that lines of the error log that hold this text are no faults in this test.
    #[must_use]
    pub fn expect(mut self, text: &'static str) -> Self {
        self.expected.push(text);
        self
    }

    /// Says that the test kills workers: nginx may log this, and that one of them had
    /// the mutex of the zone.
    #[must_use]
    pub fn loses_workers(self) -> Self {
        self.expect("exited on signal 9").expect("was locked by")
    }

    /// Has nginx test the configuration, without starting anything.
    pub fn check(&self) -> ConfigTest {
        gateway::check(self)
    }

    /// Starts the mock and nginx.
    #[track_caller]
    pub fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

fn add(text: &mut String, more: &str) {
    text.push_str(more);
    text.push('\n');
}

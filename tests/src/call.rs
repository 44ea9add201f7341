//! Requests of well-behaved clients.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Request, Response};

use crate::answer::{Answer, Events};
use crate::wait::patience;

/// A request to be sent.
#[derive(Clone)]
pub struct Call {
    agent: Agent,
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    /// A request on a connection of its own.
    pub fn new(method: &'static str, url: impl Into<String>) -> Self {
        let agent = agent(0, longest());
        Self {
            agent,
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST with a JSON body.
    pub fn json(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", url)
            .header("content-type", "application/json")
            .body(body)
    }

    /// Keeps the connection for the clones of this call that the same client sends.
    #[must_use]
    pub fn keep_alive(self) -> Self {
        Self {
            agent: agent(1, longest()),
            ..self
        }
    }

    /// Gives up after this time, on a connection of its own.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self {
            agent: agent(0, time),
            ..self
        }
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the client's token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// Sends, and reads the answer to its end.
    pub fn try_send(&self) -> Result<Answer, ureq::Error> {
        let response = self.exchange()?;
        let (status, headers) = head(&response);
        let body = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .read_to_vec()?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Sends, and reads the answer to its end; a connection that breaks fails the test.
    #[track_caller]
    pub fn send(&self) -> Answer {
        self.try_send()
            .unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.url))
    }

    /// Sends, and reads the answer's head; the events are then read one by one.
    #[track_caller]
    pub fn events(&self) -> Events {
        let response = self
            .exchange()
            .unwrap_or_else(|e| panic!("{}: {e}", self.url));
        let (status, headers) = head(&response);
        Events::new(status, headers, response.into_body().into_reader())
    }

    /// Sends from another thread.
    pub fn spawn(&self) -> JoinHandle<Answer> {
        let call = self.clone();
        thread::spawn(move || call.send())
    }

    /// Sends from another thread, and reads the answer's head there.
    pub fn spawn_events(&self) -> JoinHandle<Events> {
        let call = self.clone();
        thread::spawn(move || call.events())
    }

    fn exchange(&self) -> Result<Response<ureq::Body>, ureq::Error> {
        let request = self.headers.iter().fold(
            Request::builder().method(self.method).uri(&self.url),
            |request, (name, value)| request.header(name, value),
        );
        if self.body.is_empty() {
            self.agent.run(request.body(())?)
        } else {
            self.agent.run(request.body(self.body.as_slice())?)
        }
    }
}

/// How long a whole exchange may take.
fn longest() -> Duration {
    patience() * 4
}

fn agent(idle_connections: usize, longest: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(idle_connections)
        .max_idle_connections_per_host(idle_connections)
        .timeout_global(Some(longest))
        .timeout_connect(Some(Duration::from_secs(10)))
        .proxy(None)
        .build()
        .new_agent()
}

fn head(response: &Response<ureq::Body>) -> (u16, Vec<(String, String)>) {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    let headers = response.headers().iter();
    (
        response.status().as_u16(),
        headers
            .map(|(n, v)| (n.as_str().to_owned(), text(v)))
            .collect(),
    )
}

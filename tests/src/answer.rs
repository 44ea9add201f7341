//! What a client gets back.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An error answer in OpenAI's form, as one value to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The field `type`.
    pub kind: String,
    /// The field `param`.
    pub param: Option<String>,
    /// The field `code`.
    pub code: Option<String>,
}

impl Refusal {
    /// An error without a `param`.
    pub fn new(status: u16, kind: &str, code: Option<&str>) -> Self {
        Self {
            status,
            kind: kind.to_owned(),
            param: None,
            code: code.map(str::to_owned),
        }
    }

    /// The same error, about this parameter.
    #[must_use]
    pub fn about(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    /// No key was free within the wait.
    pub fn no_key_available() -> Self {
        Self::new(429, "rate_limit_exceeded", Some("no_key_available"))
    }

    /// The client's token is missing or wrong.
    pub fn invalid_api_key() -> Self {
        Self::new(401, "invalid_request_error", Some("invalid_api_key"))
    }
}

impl Answer {
    /// The value of a header field, the first if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// The body as an error in OpenAI's form, which must be complete.
    #[track_caller]
    pub fn refusal(&self) -> Refusal {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{}",
            self.text()
        );
        let json = self.json();
        let error = json["error"]
            .as_object()
            .unwrap_or_else(|| panic!("no error: {json}"));
        assert_eq!(
            error.keys().collect::<Vec<_>>(),
            ["code", "message", "param", "type"],
            "all four fields of OpenAI's errors"
        );
        assert!(
            error["message"].as_str().is_some_and(|m| !m.is_empty()),
            "a message: {json}"
        );
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        Refusal {
            status: self.status,
            kind: text("type").expect("a type"),
            param: text("param"),
            code: text("code"),
        }
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// The words that a chat answer says, streamed or not.
    pub fn said(&self) -> String {
        if self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            return self.text().lines().filter_map(content_of).collect();
        }
        let json = self.json();
        json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

fn content_of(line: &str) -> Option<String> {
    let chunk: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
    chunk["choices"][0]["delta"]["content"]
        .as_str()
        .map(str::to_owned)
}

/// An event stream that is being read. Dropping it closes the client's connection.
pub struct Events {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    body: BufReader<Box<dyn Read + Send>>,
}

impl Events {
    pub(crate) fn new(
        status: u16,
        headers: Vec<(String, String)>,
        body: impl Read + Send + 'static,
    ) -> Self {
        Self {
            status,
            headers,
            body: BufReader::new(Box::new(body)),
        }
    }
}

impl Iterator for Events {
    type Item = String;

    /// The next event's data. `None` at the end, also at one that came too early.
    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            match self.body.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.trim_end().to_owned());
            }
        }
    }
}

//! Conversations that were recorded, and are answered again.
//!
//! A conversation file has an exchange a line, in JSON. What `--record` writes, `--replay` reads;
//! it can be written by hand too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The body: JSON as it is, other text as a string, anything else null.
    #[serde(default)]
    pub body: Value,
    /// The status.
    pub status: u16,
    /// The headers of the answer that are not about the connection.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The answer's body in the pieces in which it came.
    #[serde(default)]
    pub chunks: Vec<Piece>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Microseconds from the arrival of the request.
    pub at_us: u64,
    /// The bytes, when they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in Base64, when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl Piece {
    /// Bytes that came so long after the request.
    pub fn new(at: Duration, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
        let base64 = text.is_none().then(|| STANDARD.encode(bytes));
        Self {
            at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            text,
            base64,
        }
    }

    pub(crate) fn at(&self) -> Duration {
        Duration::from_micros(self.at_us)
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let text = self.text.clone().map(Bytes::from);
        let decoded = self
            .base64
            .as_ref()
            .and_then(|text| STANDARD.decode(text).ok());
        text.or(decoded.map(Bytes::from)).unwrap_or_default()
    }
}

/// The JSON of a body, or its text.
pub(crate) fn readable(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| std::str::from_utf8(body).map_or(Value::Null, Value::from))
}

/// A conversation file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A line of it is no exchange.
    #[error("{}, line {line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        error: serde_json::Error,
    },
    /// It is empty.
    #[error("{} has no exchange", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The answers of a conversation file, by what they answer.
#[derive(Debug)]
pub struct Replay {
    recordings: Vec<Recording>,
    /// To the same request, and to any request of the same method and path.
    exact: HashMap<String, Turns>,
    alike: HashMap<String, Turns>,
}

/// Answers that are given in turn.
#[derive(Debug, Default)]
struct Turns {
    indexes: Vec<usize>,
    next: AtomicUsize,
}

impl Turns {
    fn next(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(self.indexes.len())?;
        self.indexes.get(index).copied()
    }
}

impl Replay {
    /// Reads a conversation file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ReplayError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| ReplayError::Read {
            path: path.to_owned(),
            error,
        })?;
        let mut recordings = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let recording = serde_json::from_str(line).map_err(|error| ReplayError::Line {
                path: path.to_owned(),
                line: index + 1,
                error,
            })?;
            recordings.push(recording);
        }
        if recordings.is_empty() {
            let path = path.to_owned();
            return Err(ReplayError::Empty { path });
        }
        Ok(Self::new(recordings))
    }

    fn new(recordings: Vec<Recording>) -> Self {
        let mut exact: HashMap<String, Turns> = HashMap::new();
        let mut alike: HashMap<String, Turns> = HashMap::new();
        for (index, of) in recordings.iter().enumerate() {
            let name = place(&of.method, &of.path);
            let own = exact.entry(format!("{name} {}", of.body)).or_default();
            own.indexes.push(index);
            alike.entry(name).or_default().indexes.push(index);
        }
        Self {
            recordings,
            exact,
            alike,
        }
    }

    /// The answer to a request, in turn: of those to the very same one, or else of those to its
    /// method and path.
    pub(crate) fn answer(&self, method: &str, path: &str, body: &[u8]) -> Option<&Recording> {
        let name = place(method, path);
        let same = self.exact.get(&format!("{name} {}", readable(body)));
        let turns = same.or_else(|| self.alike.get(&name))?;
        self.recordings.get(turns.next()?)
    }

    /// All start with their first answer again.
    pub(crate) fn reset(&self) {
        for turns in self.exact.values().chain(self.alike.values()) {
            turns.next.store(0, Ordering::Relaxed);
        }
    }
}

fn place(method: &str, path: &str) -> String {
    format!("{method} {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(body: Value, answer: &str) -> Recording {
        Recording {
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            body,
            status: 200,
            headers: Vec::new(),
            chunks: vec![Piece::new(Duration::from_millis(1), answer.as_bytes())],
        }
    }

    #[test]
    fn answers_the_same_request_or_else_one_alike_in_turn() {
        let hello = serde_json::json!({"a": 1, "b": 2});
        let replay = Replay::new(vec![
            recording(hello.clone(), "one"),
            recording(Value::from("x"), "two"),
            recording(hello, "three"),
        ]);
        let answer = |body: &str| {
            let found = replay.answer("POST", "/v1/chat/completions", body.as_bytes());
            found.and_then(|found| found.chunks[0].text.clone())
        };
        let same = r#"{ "b": 2, "a": 1 }"#;
        assert_eq!(
            [answer(same), answer(same), answer(same)].map(Option::unwrap),
            ["one", "three", "one"]
        );
        assert_eq!(answer("x").as_deref(), Some("two"));
        let other: Vec<_> = (0..4).filter_map(|_| answer("other")).collect();
        assert_eq!(other, ["one", "two", "three", "one"]);
        replay.reset();
        assert_eq!(answer(same).as_deref(), Some("one"));
        assert!(replay.answer("GET", "/v1/chat/completions", b"").is_none());
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let piece = Piece::new(Duration::ZERO, &[0xff, 0x00]);
        let json = serde_json::to_string(&piece).expect("JSON");
        let read: Piece = serde_json::from_str(&json).expect("a piece");
        assert_eq!(&read.bytes()[..], [0xff, 0x00]);
    }

    #[test]
    fn a_mistake_is_shown_by_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("talk.jsonl");
        fs::write(&path, "\n{\"method\":\"GET\"}\n").expect("a file");
        let error = Replay::from_file(&path).expect_err("a mistake").to_string();
        assert!(
            error.contains("talk.jsonl, line 2: missing field"),
            "{error}"
        );
        fs::write(&path, "\n").expect("a file");
        assert!(matches!(
            Replay::from_file(&path),
            Err(ReplayError::Empty { .. })
        ));
        assert!(Replay::from_file("/nonexistent").is_err());
    }
}

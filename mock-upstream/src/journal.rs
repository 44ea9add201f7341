//! The last requests, to be looked at by tests.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::ident::RequestId;
use crate::stats::{KeyName, Spending};

/// The most of a body that is kept.
const MAX_BODY: usize = 16 << 10;

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) arrival: Arrival,
    pub(crate) number: u64,
    pub(crate) status: u16,
    pub(crate) request_id: RequestId,
    pub(crate) key: KeyName,
    /// The settings that made the answer differ.
    pub(crate) fault: String,
    outcome: AtomicU8,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

/// A request as it came. It is written down as it is, and made readable when somebody looks.
#[derive(Debug)]
pub(crate) struct Arrival {
    at: Duration,
    method: Method,
    /// The path, the headers as name, colon, value and a line feed, and the body.
    bytes: Vec<u8>,
    path_end: usize,
    headers_end: usize,
    body_bytes: u64,
}

const OPEN: u8 = 0;
const COMPLETE: u8 = 1;
const ABORTED: u8 = 2;

impl Arrival {
    /// Of a request with so many bytes of body, which may not be there.
    pub(crate) fn new(at: Duration, request: &Parts, (body, body_bytes): (&[u8], u64)) -> Self {
        let path = request.uri.path();
        let body = if body.len() > MAX_BODY { b"" } else { body };
        let mut bytes = Vec::with_capacity(512 + body.len());
        bytes.extend_from_slice(path.as_bytes());
        for (name, value) in &request.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(b'\n');
        }
        let headers_end = bytes.len();
        bytes.extend_from_slice(body);
        Self {
            at,
            method: request.method.clone(),
            path_end: path.len(),
            headers_end,
            bytes,
            body_bytes,
        }
    }

    fn path(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes[..self.path_end])
    }

    fn body(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[self.headers_end..]).ok()
    }

    /// The headers, without what could be a secret.
    fn headers(&self) -> Map<String, Value> {
        let bytes = &self.bytes[self.path_end..self.headers_end];
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let headers = lines.map(|line| {
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let secret = ["auth", "token", "key", "secret", "cookie"];
            let hidden = secret.iter().any(|part| name.contains(part));
            let value = if hidden { "(redacted)" } else { value };
            (name.to_owned(), value.into())
        });
        headers.collect()
    }
}

impl Entry {
    pub(crate) fn new(
        arrival: Arrival,
        number: u64,
        key: KeyName,
        status: u16,
        request_id: RequestId,
        fault: String,
    ) -> Self {
        Self {
            arrival,
            number,
            status,
            request_id,
            key,
            fault,
            outcome: AtomicU8::new(OPEN),
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
        }
    }

    /// The request is over.
    pub(crate) fn end(&self, aborted: bool, spending: Spending) {
        let outcome = if aborted { ABORTED } else { COMPLETE };
        self.prompt_tokens
            .store(spending.prompt_tokens, Ordering::Relaxed);
        self.completion_tokens
            .store(spending.completion_tokens, Ordering::Relaxed);
        self.outcome.store(outcome, Ordering::Release);
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcome = match self.outcome.load(Ordering::Acquire) {
            COMPLETE => "complete",
            ABORTED => "aborted",
            _ => "open",
        };
        let arrival = &self.arrival;
        let at_ms = u64::try_from(arrival.at.as_millis()).unwrap_or(u64::MAX);
        let body = arrival.body();
        let json: Option<Value> = body.and_then(|body| serde_json::from_str(body).ok());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &self.number)?;
        map.serialize_entry("at_ms", &at_ms)?;
        map.serialize_entry("method", arrival.method.as_str())?;
        map.serialize_entry("path", &arrival.path())?;
        map.serialize_entry("key", &self.key.to_string())?;
        map.serialize_entry("headers", &arrival.headers())?;
        map.serialize_entry("body_bytes", &arrival.body_bytes)?;
        match json {
            Some(json) => map.serialize_entry("body", &json)?,
            None => map.serialize_entry("body", &body)?,
        }
        map.serialize_entry("fault", &self.fault)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("request_id", &self.request_id.to_string())?;
        map.serialize_entry("outcome", outcome)?;
        let tokens = [
            ("prompt_tokens", &self.prompt_tokens),
            ("completion_tokens", &self.completion_tokens),
        ];
        for (name, count) in tokens {
            map.serialize_entry(name, &count.load(Ordering::Relaxed))?;
        }
        map.end()
    }
}

/// As many of the last requests as there is room for.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<VecDeque<Arc<Entry>>>);

impl Journal {
    pub(crate) fn push(&self, entry: Arc<Entry>, capacity: usize) {
        let mut entries = self.lock();
        entries.push_back(entry);
        let excess = entries.len().saturating_sub(capacity);
        // Freed when the lock is no longer held.
        let last_out = (excess == 1).then(|| entries.pop_front()).flatten();
        if excess > 1 {
            entries.drain(..excess);
        }
        drop(entries);
        drop(last_out);
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn entry(number: u64) -> Arc<Entry> {
        let request = Request::post("/v1/chat/completions?api-key=sk-1")
            .header("x-team", "a\"b")
            .header("authorization", "Bearer sk-1")
            .header("x-api-key", "sk-1");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let body = br#"{"model":"m"}"#;
        let arrival = Arrival::new(Duration::ZERO, &parts, (body, 13));
        let key = KeyName::read("sk-1");
        Arc::new(Entry::new(
            arrival,
            number,
            key,
            200,
            RequestId::new(),
            "words=1".into(),
        ))
    }

    #[test]
    fn keeps_the_last_ones() {
        let journal = Journal::default();
        for number in 0..5 {
            journal.push(entry(number), 3);
        }
        let kept = || {
            journal
                .entries()
                .iter()
                .map(|e| e.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(), [2, 3, 4]);
        journal.push(entry(5), 1);
        assert_eq!(kept(), [5]);
        journal.reset();
        assert_eq!(kept(), [0; 0]);
    }

    #[test]
    fn reports_everything_but_secrets() {
        let entry = entry(1);
        entry.end(
            true,
            Spending {
                completion_tokens: 3,
                ..Spending::default()
            },
        );
        let mut json = serde_json::to_value(&*entry).expect("JSON");
        json["request_id"] = "ID".into();
        assert!(!json.to_string().contains("sk-1"));
        insta::assert_snapshot!(json.to_string(), @r#"{"at_ms":0,"body":{"model":"m"},"body_bytes":13,"completion_tokens":3,"fault":"words=1","headers":{"authorization":"(redacted)","x-api-key":"(redacted)","x-team":"a\"b"},"key":"c3e9a1c985d603e4","method":"POST","number":1,"outcome":"aborted","path":"/v1/chat/completions","prompt_tokens":0,"request_id":"ID","status":200}"#);
    }
}

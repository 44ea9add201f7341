//! The last requests, to be looked at by tests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::ident;
use crate::stats::{KeyName, Spending};

/// The most of a body that is kept.
const MAX_BODY: usize = 16 << 10;

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) arrival: Arrival,
    pub(crate) number: u64,
    pub(crate) status: u16,
    pub(crate) request_id: String,
    pub(crate) key: KeyName,
    /// The settings that made the answer differ.
    pub(crate) fault: String,
    outcome: AtomicU8,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Arrival {
    at_ms: u64,
    method: Box<str>,
    path: Box<str>,
    /// JSON.
    headers: String,
    body: Box<[u8]>,
    body_bytes: u64,
}

const OPEN: u8 = 0;
const COMPLETE: u8 = 1;
const ABORTED: u8 = 2;

impl Arrival {
    pub(crate) fn new(request: &Parts) -> Self {
        Self {
            at_ms: u64::try_from(ident::since_1970().as_millis()).unwrap_or(u64::MAX),
            method: request.method.as_str().into(),
            path: request.uri.path().into(),
            headers: shown(&request.headers),
            body: Box::default(),
            body_bytes: 0,
        }
    }

    pub(crate) fn with_body(mut self, body: &[u8], bytes: u64) -> Self {
        self.body_bytes = bytes;
        if body.len() <= MAX_BODY {
            self.body = body.into();
        }
        self
    }
}

/// Headers as a JSON object, without what could be a secret.
fn shown(headers: &HeaderMap) -> String {
    let mut json = String::with_capacity(256);
    json.push('{');
    for (name, value) in headers {
        let name = name.as_str();
        if json.len() > 1 {
            json.push(',');
        }
        let secret = ["auth", "token", "key", "secret", "cookie"];
        let value = if secret.iter().any(|part| name.contains(part)) {
            "(redacted)".into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        // Strings always serialize.
        json.push_str(&serde_json::to_string(name).unwrap_or_default());
        json.push(':');
        json.push_str(&serde_json::to_string(&value).unwrap_or_default());
    }
    json.push('}');
    json
}

impl Entry {
    pub(crate) fn new(
        arrival: Arrival,
        number: u64,
        key: KeyName,
        status: u16,
        request_id: String,
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
        let raw = |json: &str| RawValue::from_string(json.to_owned()).ok();
        let body_text = std::str::from_utf8(&arrival.body).ok();
        let json_body = body_text.and_then(raw);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &self.number)?;
        map.serialize_entry("at_ms", &arrival.at_ms)?;
        map.serialize_entry("method", &arrival.method)?;
        map.serialize_entry("path", &arrival.path)?;
        map.serialize_entry("key", &self.key.to_string())?;
        map.serialize_entry("headers", &raw(&arrival.headers))?;
        map.serialize_entry("body_bytes", &arrival.body_bytes)?;
        match json_body {
            Some(json) => map.serialize_entry("body", &json)?,
            None => map.serialize_entry("body", &body_text)?,
        }
        map.serialize_entry("fault", &self.fault)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("request_id", &self.request_id)?;
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
        let arrival = Arrival::new(&parts).with_body(br#"{"model":"m"}"#, 13);
        let key = KeyName::read("sk-1");
        Arc::new(Entry::new(
            arrival,
            number,
            key,
            200,
            "req_1".into(),
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
    fn tells_everything_but_secrets() {
        let entry = entry(1);
        entry.end(
            true,
            Spending {
                completion_tokens: 3,
                ..Spending::default()
            },
        );
        let mut json = serde_json::to_value(&*entry).expect("JSON");
        json["at_ms"] = 0.into();
        assert!(!json.to_string().contains("sk-1"));
        insta::assert_snapshot!(json.to_string(), @r#"{"at_ms":0,"body":{"model":"m"},"body_bytes":13,"completion_tokens":3,"fault":"words=1","headers":{"authorization":"(redacted)","x-api-key":"(redacted)","x-team":"a\"b"},"key":"c3e9a1c985d603e4","method":"POST","number":1,"outcome":"aborted","path":"/v1/chat/completions","prompt_tokens":0,"request_id":"req_1","status":200}"#);
    }
}

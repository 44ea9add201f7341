//! Lines of the access log.

use std::fs;
use std::path::Path;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::json::json_lines;

/// A request as nginx logged it: the status, and every variable of the module.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "each field is the variable $openai_<name>")]
pub struct LogLine {
    /// `$status`; nginx writes `009` for HTTP/0.9, which is no number in JSON.
    #[serde(deserialize_with = "number")]
    pub status: u16,
    /// `$request_uri`
    pub uri: String,
    pub pool: String,
    pub key_id: String,
    pub slot: String,
    pub lease_id: String,
    pub fence: String,
    pub lease_status: String,
    pub wait_ms: String,
    pub hold_ms: String,
    pub service: String,
    pub role: String,
    pub model: String,
    pub stream: String,
    pub user: String,
    pub lock_rounds: String,
    pub lock_votes: String,
    pub prompt_tokens: String,
    pub completion_tokens: String,
    pub cached_tokens: String,
    pub reasoning_tokens: String,
    pub usage: String,
    pub first_token_ms: String,
    pub cost: String,
    pub upstream: String,
    pub upstream_model: String,
    pub route: String,
    pub trace_id: String,
    pub span_id: String,
    pub request_id: String,
}

fn number<'de, D: Deserializer<'de>>(text: D) -> Result<u16, D::Error> {
    String::deserialize(text)?.parse().map_err(D::Error::custom)
}

impl LogLine {
    /// Reads an access log as far as it has been written.
    #[track_caller]
    pub(crate) fn read_all(path: &Path) -> Vec<Self> {
        json_lines(&fs::read_to_string(path).unwrap_or_default())
    }
}

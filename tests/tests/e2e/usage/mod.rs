//! What answers use: read as they pass, priced, and added up.

pub(crate) mod counters;
mod included;
mod keys;
mod outcomes;
mod reading;

use e2e::{Call, Gateway, LogLine};

/// Prices of two models.
pub(crate) const PRICES: &str = r#"{"date":"2025-07-01","models":{
    "gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10},
    "text-embedding-3-small": {"input": 0.02}
}}"#;

/// The path of an endpoint of the API, with this body.
fn call(gateway: &Gateway, path: &str, body: &str) -> Call {
    Call::json(gateway.url(path), body)
}

/// The line of the only request that was made.
#[track_caller]
fn only_line(gateway: &Gateway) -> LogLine {
    let mut lines = gateway.logged(1);
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

/// Prompt, completion, and where they are from.
fn reported(line: &LogLine) -> (&str, &str, &str) {
    (&line.prompt_tokens, &line.completion_tokens, &line.usage)
}

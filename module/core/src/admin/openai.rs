//! OpenAI's own API in the document: one path as an example, and the errors of the gateway itself.

use openai_wire::ApiError;
use openai_wire::head::Field;
use serde_json::Value;

/// The path of the example.
pub const PATH: &str = "/v1/chat/completions";

/// The errors that a request through the gateway can get from the gateway itself.
const ERRORS: &[ApiError] = &[
    ApiError::MalformedBody,
    ApiError::WrongKind(Field::Model),
    ApiError::MissingToken,
    ApiError::WrongToken,
    ApiError::ModelNotFound,
    ApiError::RequestTooLarge,
    ApiError::NoKeyAvailable { retry_after: 1 },
    ApiError::QueueFull { retry_after: 1 },
    ApiError::KeysRateLimited { retry_after: 1 },
    ApiError::QuotaPassed,
    ApiError::Internal,
    ApiError::UpstreamUnavailable,
    ApiError::NoHealthyKey { retry_after: 1 },
    ApiError::LockUnavailable { retry_after: 1 },
    ApiError::LeaseLost,
    ApiError::UpstreamsOpen { retry_after: 1 },
    ApiError::UpstreamTimeout,
];

/// The operation of the path in the document. The errors are added to its description.
pub fn chat_completions() -> Value {
    let path = serde_json::from_str(include_str!("chat_completions.json"));
    let mut path: Value = path.unwrap_or_default();
    if let Some(Value::String(description)) = path.pointer_mut("/post/description") {
        description.push_str(&errors());
    }
    path
}

/// The errors as a table in Markdown.
fn errors() -> String {
    let row = |error: &ApiError| {
        format!(
            "| {} | `{}` | `{}` | {}{} |\n",
            error.status(),
            error.kind(),
            error.code().unwrap_or("null"),
            error.message(),
            error.retry_after().map_or("", |_| " With `Retry-After`."),
        )
    };
    let rows: String = ERRORS.iter().map(row).collect();
    format!("| status | type | code | message |\n|---|---|---|---|\n{rows}")
}

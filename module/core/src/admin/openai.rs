//! OpenAI's own API in the document: one path as an example, and the errors of the gateway itself.

use openai_wire::ApiError;
use openai_wire::head::Field;
use serde_json::{Value, json};

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

/// The operation of the path in the document.
pub fn chat_completions() -> Value {
    let error = json!({
        "description": "An error of OpenAI or of the gateway.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorResponse" } } },
    });
    json!({ "post": {
        "operationId": "createChatCompletion",
        "summary": "Send a request to OpenAI",
        "description": format!(
            "This path is an example. In a location with the directive `openai`, every path of OpenAI's API works in \
             the same way: the gateway leases a key, sends the request with it, and returns OpenAI's response. Errors \
             of the gateway itself have OpenAI's form:\n\n{}",
            errors()
        ),
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "model": { "type": "string" },
                    "messages": { "type": "array", "items": { "type": "object" } },
                    "stream": { "type": "boolean", "description": "Whether to return the response as server-sent events." },
                },
                "required": ["model", "messages"],
            },
            "example": {
                "model": "gpt-4o-mini",
                "messages": [{ "role": "user", "content": "Hello" }],
                "stream": true,
            },
        } } },
        "responses": {
            "200": {
                "description": "A chat completion, or its chunks.",
                "content": {
                    "application/json": { "schema": { "type": "object" } },
                    "text/event-stream": { "schema": { "type": "string" } },
                },
            },
            "default": error,
        },
        "security": [{ "bearer": [] }, { "serviceToken": [] }],
    } })
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

//! The OpenAPI document. Its operations are in `openapi.json`; its schemas are generated from the
//! types of the bodies.
//!
//! `openapi.json` has short forms: a body is the name of its schema, or `text`; `errors` lists the
//! statuses whose body is that of an error; `links` belong to the response 200. An operation with
//! the error 401 requires a token.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::openai;
use super::problem::ErrorResponse;
use super::request::{AcquireRequest, ExtendRequest, ReleaseRequest};
use super::response::{
    AcquireResponse, ActiveLocks, CleanupResponse, ForceReleaseResponse, Health, Index,
    ReleaseResponse, SystemInfo,
};
use super::stats::Stats;
use super::status::GatewayStatus;

/// The document as JSON.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let document = serde_json::from_str(include_str!("openapi.json"));
        let mut document: Value = document.unwrap_or_default();
        document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
        document["components"]["schemas"] =
            json!(Schemas::openapi().components.unwrap_or_default().schemas);
        let paths = document["paths"].as_object_mut().into_iter().flatten();
        for (_, methods) in paths {
            let operations = methods.as_object_mut().into_iter().flatten();
            operations
                .filter_map(|(_, operation)| operation.as_object_mut())
                .for_each(complete);
        }
        if let Some(Value::Object(paths)) = document.get_mut("paths") {
            paths.insert(openai::PATH.to_owned(), openai::chat_completions());
        }
        document.to_string()
    })
}

/// Expands the short forms of an operation.
fn complete(operation: &mut Map<String, Value>) {
    if let Some(body) = operation.get_mut("requestBody") {
        *body = json!({ "content": content(body), "required": true });
    }
    let mut answers = operation["responses"].take();
    let errors = operation.remove("errors").unwrap_or_default();
    for status in errors.as_array().into_iter().flatten() {
        answers[status.to_string()] = "ErrorResponse".into();
    }
    for (status, answer) in answers.as_object_mut().into_iter().flatten() {
        *answer = json!({ "description": meaning(status), "content": content(answer) });
        if status == "429" {
            answer["headers"] = json!({ "Retry-After": {
                "description": "Seconds to wait before a retry.",
                "schema": { "type": "integer", "format": "int32" },
            }});
        }
    }
    if let Some(links) = operation.remove("links") {
        answers["200"]["links"] = links;
    }
    if !answers["401"].is_null() {
        let either = json!([{ "bearer": [] }, { "serviceToken": [] }]);
        operation.insert("security".to_owned(), either);
    }
    operation["responses"] = answers;
}

fn content(body: &Value) -> Value {
    match body.as_str().unwrap_or_default() {
        "text" => json!({ "text/plain": { "schema": { "type": "string" } } }),
        name => {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            json!({ "application/json": { "schema": schema } })
        }
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Success.",
        "400" => "The body is not valid JSON.",
        "401" => "The token is missing or unknown.",
        "403" => "The token does not permit this operation.",
        "404" => "The lock, pool or service does not exist.",
        "409" => "The lock has ended, or `lock_id` is the lease of a running request.",
        "413" => "The body is too large.",
        "422" => "A field or parameter is missing or invalid; `param` names it.",
        "429" => "No slot is free, or, with `insufficient_quota`, the quota is used up.",
        _ => "Temporarily unavailable.",
    }
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    AcquireRequest,
    ReleaseRequest,
    ExtendRequest,
    AcquireResponse,
    ReleaseResponse,
    ActiveLocks,
    ForceReleaseResponse,
    CleanupResponse,
    Health,
    Index,
    SystemInfo,
    Stats,
    GatewayStatus,
    ErrorResponse,
)))]
struct Schemas;

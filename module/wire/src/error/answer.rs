//! The errors' texts, as compile-time constants.

use super::ApiError;
use crate::head::Field;

/// The fields of an error. None of them needs escaping in JSON.
#[derive(Debug)]
pub(super) struct ErrorAnswer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<&'static str>,
    pub(super) message: &'static str,
    /// The body as an event: between `data: ` and an empty line.
    pub(super) frame: &'static str,
}

macro_rules! option {
    (null) => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

macro_rules! json {
    (null) => {
        "null"
    };
    ($text:literal) => {
        concat!("\"", $text, "\"")
    };
}

macro_rules! answers {
    ($($error:pat => $status:literal $kind:literal / $code:tt, $param:tt, $message:literal;)*) => {
        /// The response to a request with this error.
        pub(super) const fn of(error: ApiError) -> &'static ErrorAnswer {
            match error {$(
                $error => &ErrorAnswer {
                    status: $status,
                    kind: $kind,
                    code: option!($code),
                    param: option!($param),
                    message: $message,
                    frame: concat!(
                        r#"data: {"error":{"message":"#,
                        json!($message),
                        r#","type":"#,
                        json!($kind),
                        r#","param":"#,
                        json!($param),
                        r#","code":"#,
                        json!($code),
                        "}}\n\n"
                    ),
                },
            )*}
        }
    };
}

answers! {
    ApiError::MissingToken => 401 "invalid_request_error" / "invalid_api_key", null,
        "You didn't provide an API key. Provide the token you were given for this gateway in an Authorization header, as 'Authorization: Bearer YOUR_TOKEN'.";
    ApiError::WrongToken => 401 "invalid_request_error" / "invalid_api_key", null,
        "Incorrect API key provided. Use the token you were given for this gateway, not a key of the provider.";
    ApiError::MalformedBody => 400 "invalid_request_error" / null, null,
        "We could not parse the JSON body of your request. The API expects a JSON object.";
    ApiError::WrongKind(Field::Model) => 400 "invalid_request_error" / null, "model",
        "Invalid type for 'model': expected a string.";
    ApiError::WrongKind(Field::Stream) => 400 "invalid_request_error" / null, "stream",
        "Invalid type for 'stream': expected a boolean.";
    ApiError::WrongKind(Field::StreamOptions) => 400 "invalid_request_error" / null, "stream_options",
        "Invalid type for 'stream_options': expected an object.";
    ApiError::WrongKind(Field::IncludeUsage) => 400 "invalid_request_error" / null, "stream_options.include_usage",
        "Invalid type for 'stream_options.include_usage': expected a boolean.";
    ApiError::WrongKind(Field::User) => 400 "invalid_request_error" / null, "user",
        "Invalid type for 'user': expected a string.";
    ApiError::RequestTooLarge => 413 "invalid_request_error" / "request_too_large", null,
        "The request body is larger than this gateway accepts.";
    ApiError::ModelNotFound => 404 "invalid_request_error" / "model_not_found", null,
        "The model does not exist or you do not have access to it.";
    ApiError::QuotaPassed => 429 "insufficient_quota" / "insufficient_quota", null,
        "You exceeded your current quota for this gateway, please ask its operator about your limits.";
    ApiError::NoKeyAvailable { .. } => 429 "rate_limit_exceeded" / "no_key_available", null,
        "All API keys are in use and none became free in time. Please try again later.";
    ApiError::QueueFull { .. } => 429 "rate_limit_exceeded" / "queue_full", null,
        "All API keys are in use and too many requests are waiting already. Please try again later.";
    ApiError::KeysRateLimited { .. } => 429 "rate_limit_exceeded" / "keys_rate_limited", null,
        "All API keys are rate limited by the provider for now. Please try again later.";
    ApiError::LockUnavailable { .. } => 503 "server_error" / "lock_unavailable", null,
        "The lock service is unavailable, so no API key could be leased. Please try again later.";
    ApiError::NoHealthyKey { .. } => 503 "server_error" / "no_healthy_key", null,
        "No API key is usable: every key is invalid or out of quota.";
    ApiError::LeaseLost => 503 "server_error" / "lease_lost", null,
        "The lease on the API key was lost before the response was complete. Please retry your request.";
    ApiError::UpstreamUnavailable => 502 "server_error" / "upstream_unavailable", null,
        "The upstream API could not be reached or sent no valid response. Please retry your request.";
    ApiError::UpstreamsOpen { .. } => 503 "server_error" / "upstream_unavailable", null,
        "The upstream API has been failing, and no requests are sent to it at the moment. Please try again later.";
    ApiError::UpstreamTimeout => 504 "server_error" / "upstream_timeout", null,
        "The upstream API did not respond in time. Please retry your request.";
    ApiError::Internal => 500 "server_error" / "internal_error", null,
        "The gateway had an error while processing your request. Sorry about that!";
    ApiError::Status(400) => 400 "invalid_request_error" / null, null,
        "The request could not be understood.";
    ApiError::Status(403) => 403 "invalid_request_error" / null, null,
        "You are not allowed to access this resource.";
    ApiError::Status(404) => 404 "invalid_request_error" / null, null,
        "The requested resource was not found.";
    ApiError::Status(405) => 405 "invalid_request_error" / null, null,
        "This method is not allowed for the requested resource.";
    ApiError::Status(408) => 408 "invalid_request_error" / null, null,
        "The request did not arrive in time.";
    ApiError::Status(414) => 414 "invalid_request_error" / null, null,
        "The URI of the request is too long.";
    ApiError::Status(429) => 429 "rate_limit_exceeded" / "rate_limit_exceeded", null,
        "Rate limit reached. Please slow down and try again later.";
    ApiError::Status(503) => 503 "server_error" / null, null,
        "The server is currently overloaded or not ready. Please try again later.";
    ApiError::Status(500..) => 500 "server_error" / null, null,
        "The server could not serve the request.";
    ApiError::Status(_) => 400 "invalid_request_error" / null, null,
        "The request could not be served as it was sent.";
}

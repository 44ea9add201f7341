//! Texts of the errors, and their bodies as compile-time constants.

/// The fields of an error. None of them needs escaping in JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<&'static str>,
    pub(super) message: &'static str,
    pub(super) body: &'static str,
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

macro_rules! object {
    ($kind:tt, $code:tt, $param:tt, $message:tt) => {
        concat!(
            r#"{"error":{"message":"#,
            json!($message),
            r#","type":"#,
            json!($kind),
            r#","param":"#,
            json!($param),
            r#","code":"#,
            json!($code),
            "}}"
        )
    };
}

macro_rules! answers {
    ($($name:ident: $kind:literal / $code:tt, $param:tt, $message:literal;)*) => {$(
        pub(super) static $name: Answer = Answer {
            kind: $kind,
            code: option!($code),
            param: option!($param),
            message: $message,
            body: object!($kind, $code, $param, $message),
            frame: concat!("data: ", object!($kind, $code, $param, $message), "\n\n"),
        };
    )*};
}

answers! {
    MISSING_TOKEN: "invalid_request_error" / "invalid_api_key", null,
        "You didn't provide an API key. Provide the token you were given for this gateway in an Authorization header, as 'Authorization: Bearer YOUR_TOKEN'.";
    WRONG_TOKEN: "invalid_request_error" / "invalid_api_key", null,
        "Incorrect API key provided. Use the token you were given for this gateway, not a key of the provider.";
    MALFORMED_BODY: "invalid_request_error" / null, null,
        "We could not parse the JSON body of your request. The API expects a JSON object.";
    WRONG_MODEL: "invalid_request_error" / null, "model",
        "Invalid type for 'model': expected a string.";
    WRONG_STREAM: "invalid_request_error" / null, "stream",
        "Invalid type for 'stream': expected a boolean.";
    WRONG_STREAM_OPTIONS: "invalid_request_error" / null, "stream_options",
        "Invalid type for 'stream_options': expected an object.";
    WRONG_INCLUDE_USAGE: "invalid_request_error" / null, "stream_options.include_usage",
        "Invalid type for 'stream_options.include_usage': expected a boolean.";
    WRONG_USER: "invalid_request_error" / null, "user",
        "Invalid type for 'user': expected a string.";
    REQUEST_TOO_LARGE: "invalid_request_error" / "request_too_large", null,
        "The request body is larger than this gateway accepts.";
    MODEL_NOT_FOUND: "invalid_request_error" / "model_not_found", null,
        "The model does not exist or you do not have access to it.";
    QUOTA_PASSED: "insufficient_quota" / "insufficient_quota", null,
        "You exceeded your current quota for this gateway, please ask its operator about your limits.";
    NO_KEY_AVAILABLE: "rate_limit_exceeded" / "no_key_available", null,
        "All API keys are in use and none became free in time. Please try again later.";
    QUEUE_FULL: "rate_limit_exceeded" / "queue_full", null,
        "All API keys are in use and too many requests are waiting already. Please try again later.";
    KEYS_RATE_LIMITED: "rate_limit_exceeded" / "keys_rate_limited", null,
        "All API keys are rate limited by the provider for now. Please try again later.";
    LOCK_UNAVAILABLE: "server_error" / "lock_unavailable", null,
        "The lock service is unavailable, so no API key could be leased. Please try again later.";
    NO_HEALTHY_KEY: "server_error" / "no_healthy_key", null,
        "No API key is usable: every key is invalid or out of quota.";
    LEASE_LOST: "server_error" / "lease_lost", null,
        "The lease on the API key was lost before the response was complete. Please retry your request.";
    UPSTREAM_UNAVAILABLE: "server_error" / "upstream_unavailable", null,
        "The upstream API could not be reached or sent no valid response. Please retry your request.";
    UPSTREAMS_OPEN: "server_error" / "upstream_unavailable", null,
        "The upstream API has been failing, and no requests are sent to it at the moment. Please try again later.";
    UPSTREAM_TIMEOUT: "server_error" / "upstream_timeout", null,
        "The upstream API did not respond in time. Please retry your request.";
    INTERNAL: "server_error" / "internal_error", null,
        "The gateway had an error while processing your request. Sorry about that!";
    BAD_REQUEST: "invalid_request_error" / null, null,
        "The request could not be understood.";
    FORBIDDEN: "invalid_request_error" / null, null,
        "You are not allowed to access this resource.";
    NOT_FOUND: "invalid_request_error" / null, null,
        "The requested resource was not found.";
    METHOD_NOT_ALLOWED: "invalid_request_error" / null, null,
        "This method is not allowed for the requested resource.";
    REQUEST_TIMEOUT: "invalid_request_error" / null, null,
        "The request did not arrive in time.";
    URI_TOO_LONG: "invalid_request_error" / null, null,
        "The URI of the request is too long.";
    TOO_MANY_REQUESTS: "rate_limit_exceeded" / "rate_limit_exceeded", null,
        "Rate limit reached. Please slow down and try again later.";
    OVERLOADED: "server_error" / null, null,
        "The server is currently overloaded or not ready. Please try again later.";
    OTHER_CLIENT_ERROR: "invalid_request_error" / null, null,
        "The request could not be served as it was sent.";
    OTHER_SERVER_ERROR: "server_error" / null, null,
        "The server could not serve the request.";
}

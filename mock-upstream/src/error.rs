//! Errors in the form of the real API.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use crate::settings::SettingError;

/// An error answer: a status, the four fields of OpenAI's error body, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) should_retry: Option<bool>,
    body: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ErrorBody {
    message: Cow<'static, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<Cow<'static, str>>,
    code: Option<&'static str>,
}

const RETRY_SOON: Duration = Duration::from_secs(1);

/// The errors of the real API, named by their code, or by their type where they have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorName {
    /// 401.
    InvalidApiKey,
    /// 403.
    UnsupportedCountry,
    /// 404.
    ModelNotFound,
    /// 429, too many requests.
    RateLimitExceeded,
    /// 429, too many tokens.
    TokensExceeded,
    /// 429, nothing left to spend.
    InsufficientQuota,
    /// 400.
    ContextLengthExceeded,
    /// 400.
    InvalidRequest,
    /// 500.
    ServerError,
    /// 503.
    Overloaded,
}

impl ErrorName {
    const ALL: [(&'static str, Self); 10] = [
        ("invalid_api_key", Self::InvalidApiKey),
        (
            "unsupported_country_region_territory",
            Self::UnsupportedCountry,
        ),
        ("model_not_found", Self::ModelNotFound),
        ("rate_limit_exceeded", Self::RateLimitExceeded),
        ("tokens_exceeded", Self::TokensExceeded),
        ("insufficient_quota", Self::InsufficientQuota),
        ("context_length_exceeded", Self::ContextLengthExceeded),
        ("invalid_request_error", Self::InvalidRequest),
        ("server_error", Self::ServerError),
        ("overloaded", Self::Overloaded),
    ];
    pub(crate) const EXPECTED: &'static str = "one of invalid_api_key, unsupported_country_region_territory, \
         model_not_found, rate_limit_exceeded, tokens_exceeded, insufficient_quota, context_length_exceeded, \
         invalid_request_error, server_error, overloaded";

    fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED => Some(Self::InvalidApiKey),
            StatusCode::FORBIDDEN => Some(Self::UnsupportedCountry),
            StatusCode::NOT_FOUND => Some(Self::ModelNotFound),
            StatusCode::TOO_MANY_REQUESTS => Some(Self::RateLimitExceeded),
            StatusCode::SERVICE_UNAVAILABLE => Some(Self::Overloaded),
            _ => None,
        }
    }
}

impl FromStr for ErrorName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = Self::ALL.into_iter();
        let mut named = all.filter(|(name, _)| *name == text);
        named.next().map(|(_, error)| error).ok_or(())
    }
}

impl ApiError {
    fn new(
        status: StatusCode,
        message: impl Into<Cow<'static, str>>,
        kind: &'static str,
        code: Option<&'static str>,
    ) -> Self {
        Self {
            status,
            retry_after: None,
            should_retry: None,
            body: ErrorBody {
                message: message.into(),
                kind,
                param: None,
                code,
            },
        }
    }

    pub(crate) fn invalid(
        status: StatusCode,
        message: impl Into<Cow<'static, str>>,
        code: Option<&'static str>,
    ) -> Self {
        Self::new(status, message, "invalid_request_error", code)
    }

    /// A request that the real API would refuse for one of its fields.
    pub(crate) fn bad_param(
        param: &'static str,
        message: impl Into<Cow<'static, str>>,
        code: Option<&'static str>,
    ) -> Self {
        let mut error = Self::invalid(StatusCode::BAD_REQUEST, message, code);
        error.body.param = Some(param.into());
        error
    }

    /// What the real API says with this status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match ErrorName::of_status(status) {
            Some(name) => Self::named(name),
            None if status.is_server_error() => Self {
                status,
                ..Self::named(ErrorName::ServerError)
            },
            None => Self::invalid(status, "The request was refused.", None),
        }
    }

    /// One of the real API's errors.
    pub(crate) fn named(name: ErrorName) -> Self {
        match name {
            ErrorName::InvalidApiKey => Self::invalid(
                StatusCode::UNAUTHORIZED,
                "Incorrect API key provided: ********. You can find your API key at \
                 https://platform.openai.com/account/api-keys.",
                Some("invalid_api_key"),
            ),
            ErrorName::UnsupportedCountry => Self::new(
                StatusCode::FORBIDDEN,
                "Country, region, or territory not supported",
                "request_forbidden",
                Some("unsupported_country_region_territory"),
            ),
            ErrorName::ModelNotFound => Self::invalid(
                StatusCode::NOT_FOUND,
                "The model does not exist or you do not have access to it.",
                Some("model_not_found"),
            ),
            ErrorName::RateLimitExceeded => Self::rate_limit(
                "requests",
                "Rate limit reached for requests".to_owned(),
                RETRY_SOON,
            ),
            ErrorName::TokensExceeded => Self::rate_limit(
                "tokens",
                "Rate limit reached for tokens".to_owned(),
                RETRY_SOON,
            ),
            ErrorName::InsufficientQuota => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "You exceeded your current quota, please check your plan and billing details. For \
                 more information on this error, read the docs: \
                 https://platform.openai.com/docs/guides/error-codes/api-errors.",
                "insufficient_quota",
                Some("insufficient_quota"),
            ),
            ErrorName::ContextLengthExceeded => Self::bad_param(
                "messages",
                "This model's maximum context length is 128000 tokens. However, your messages \
                 resulted in more tokens. Please reduce the length of the messages.",
                Some("context_length_exceeded"),
            ),
            ErrorName::InvalidRequest => {
                Self::invalid(StatusCode::BAD_REQUEST, "The request was refused.", None)
            }
            ErrorName::ServerError => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server had an error while processing your request. Sorry about that!",
                "server_error",
                None,
            ),
            ErrorName::Overloaded => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The engine is currently overloaded, please try again later.",
                "server_error",
                None,
            ),
        }
    }

    /// 429 about `requests` or `tokens`.
    pub(crate) fn rate_limit(kind: &'static str, message: String, wait: Duration) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut error = Self::new(status, message, kind, Some("rate_limit_exceeded"));
        error.retry_after = Some(wait);
        error
    }

    pub(crate) fn no_key() -> Self {
        Self::invalid(
            StatusCode::UNAUTHORIZED,
            "You didn't provide an API key. You need to provide your API key in an Authorization \
             header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API \
             key from https://platform.openai.com/account/api-keys.",
            None,
        )
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        Self::invalid(StatusCode::NOT_FOUND, message, Some("model_not_found"))
    }

    pub(crate) fn forbidden_token() -> Self {
        Self::invalid(
            StatusCode::BAD_REQUEST,
            "A token that must not arrive upstream is in the request headers.",
            Some("forbidden_token"),
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("The request body is larger than {limit} bytes.");
        Self::invalid(
            StatusCode::PAYLOAD_TOO_LARGE,
            message,
            Some("request_too_large"),
        )
    }

    pub(crate) fn body_unreadable() -> Self {
        Self::invalid(
            StatusCode::BAD_REQUEST,
            "The request body ended early.",
            None,
        )
    }

    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self::invalid(StatusCode::NOT_FOUND, message, Some("unknown_url"))
    }

    /// An admin call that cannot be obeyed.
    pub(crate) fn bad_scenario(message: String) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, message, Some("invalid_scenario"))
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: &'a ErrorBody,
        }
        // Strings always serialize.
        serde_json::to_vec(&Envelope { error: &self.body }).unwrap_or_default()
    }
}

/// A request header that cannot be obeyed.
impl From<SettingError> for ApiError {
    fn from(error: SettingError) -> Self {
        let code = Some("invalid_mock_header");
        let mut answer = Self::invalid(StatusCode::BAD_REQUEST, error.to_string(), code);
        answer.body.param = Some(error.name().to_owned().into());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(error: &ApiError) -> String {
        let json: serde_json::Value = serde_json::from_slice(&error.to_json()).expect("JSON");
        let body = json["error"].as_object().expect("an object");
        assert_eq!(body.keys().count(), 4);
        format!(
            "{} {} {} {}",
            error.status.as_u16(),
            body["type"],
            body["param"],
            body["code"]
        )
    }

    #[test]
    fn every_status_has_the_type_and_code_of_the_real_api() {
        let reported: Vec<String> = [400, 401, 403, 404, 429, 500, 502, 503]
            .into_iter()
            .map(|status| {
                reported(&ApiError::of_status(
                    StatusCode::from_u16(status).expect("a status"),
                ))
            })
            .collect();
        insta::assert_snapshot!(reported.join("\n"), @r#"
        400 "invalid_request_error" null null
        401 "invalid_request_error" null "invalid_api_key"
        403 "request_forbidden" null "unsupported_country_region_territory"
        404 "invalid_request_error" null "model_not_found"
        429 "requests" null "rate_limit_exceeded"
        500 "server_error" null null
        502 "server_error" null null
        503 "server_error" null null
        "#);
    }

    #[test]
    fn every_error_can_be_named() {
        let reported: Vec<String> = ErrorName::ALL
            .into_iter()
            .map(|(name, error)| {
                assert_eq!(name.parse(), Ok(error));
                assert!(ErrorName::EXPECTED.contains(name));
                reported(&ApiError::named(error))
            })
            .collect();
        insta::assert_snapshot!(reported.join("\n"), @r#"
        401 "invalid_request_error" null "invalid_api_key"
        403 "request_forbidden" null "unsupported_country_region_territory"
        404 "invalid_request_error" null "model_not_found"
        429 "requests" null "rate_limit_exceeded"
        429 "tokens" null "rate_limit_exceeded"
        429 "insufficient_quota" null "insufficient_quota"
        400 "invalid_request_error" "messages" "context_length_exceeded"
        400 "invalid_request_error" null null
        500 "server_error" null null
        503 "server_error" null null
        "#);
    }
}

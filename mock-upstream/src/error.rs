//! Errors in the form of the real API.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Serialize;

use crate::fault::FaultError;

/// An error answer: a status and the four fields of OpenAI's error body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    body: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ErrorBody {
    message: Cow<'static, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
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
            body: ErrorBody {
                message: message.into(),
                kind,
                param: None,
                code,
            },
        }
    }

    fn invalid(
        status: StatusCode,
        message: impl Into<Cow<'static, str>>,
        code: Option<&'static str>,
    ) -> Self {
        Self::new(status, message, "invalid_request_error", code)
    }

    /// What the real API says with this status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::invalid(
                status,
                "Incorrect API key provided.",
                Some("invalid_api_key"),
            ),
            StatusCode::FORBIDDEN => Self::new(
                status,
                "Country, region, or territory not supported",
                "request_forbidden",
                Some("unsupported_country_region_territory"),
            ),
            StatusCode::NOT_FOUND => {
                Self::invalid(status, "The model does not exist.", Some("model_not_found"))
            }
            StatusCode::TOO_MANY_REQUESTS => Self::new(
                status,
                "Rate limit reached for requests",
                "requests",
                Some("rate_limit_exceeded"),
            ),
            status if status.is_server_error() => Self::new(
                status,
                "The server had an error while processing your request. Sorry about that!",
                "server_error",
                None,
            ),
            status => Self::invalid(status, "The request was refused.", None),
        }
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
        let message = format!("Unknown request URL: {method} {path}.");
        Self::invalid(StatusCode::NOT_FOUND, message, Some("unknown_url"))
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

impl From<FaultError> for ApiError {
    fn from(error: FaultError) -> Self {
        let code = Some("invalid_mock_header");
        let mut answer = Self::invalid(StatusCode::BAD_REQUEST, error.to_string(), code);
        answer.body.param = Some(error.header().to_owned());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_type_and_code_of_the_real_api() {
        let told: Vec<String> = [400, 401, 403, 404, 429, 500, 503]
            .into_iter()
            .map(|status| {
                let error = ApiError::of_status(StatusCode::from_u16(status).expect("a status"));
                let json: serde_json::Value =
                    serde_json::from_slice(&error.to_json()).expect("JSON");
                let error = json["error"].as_object().expect("an object");
                assert_eq!(error.keys().count(), 4);
                format!(
                    "{status} {} {} {}",
                    error["type"], error["param"], error["code"]
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        400 "invalid_request_error" null null
        401 "invalid_request_error" null "invalid_api_key"
        403 "request_forbidden" null "unsupported_country_region_territory"
        404 "invalid_request_error" null "model_not_found"
        429 "requests" null "rate_limit_exceeded"
        500 "server_error" null null
        503 "server_error" null null
        "#);
    }
}

//! Errors of the lock service, in OpenAI's form.

use openai_wire::ApiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::lease::ServiceState;

/// An error response.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The error.
    error: ErrorDetail,
    /// Seconds for the header `Retry-After`, if the request may succeed later.
    pub retry_after: Option<u32>,
    /// Whether a retry cannot succeed.
    pub is_final: bool,
    /// The value of the header `Allow`, for status 405.
    pub allow: Option<&'static str>,
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ErrorResponse {
    error: ErrorDetail,
}

/// An error, in the form of OpenAI's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Description of the error.
    message: String,
    /// Type of the error.
    #[schema(example = "invalid_request_error")]
    r#type: &'static str,
    /// The field or parameter that caused the error; null if none.
    param: Option<String>,
    /// Code of the error; null if it has none.
    #[schema(example = "invalid_type")]
    code: Option<&'static str>,
}

impl Problem {
    fn new(status: u16, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let kind = match status {
            429 => "rate_limit_exceeded",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            error: ErrorDetail {
                message: message.into(),
                r#type: kind,
                param: None,
                code,
            },
            retry_after: None,
            is_final: false,
            allow: None,
        }
    }

    fn about(mut self, field: &str) -> Self {
        self.error.param = Some(field.to_owned());
        self
    }

    /// One of the gateway's common errors, with its status, code and message.
    pub fn of(error: ApiError) -> Self {
        let mut problem = Self::new(error.status(), error.code(), error.message());
        problem.error.r#type = error.kind();
        problem.retry_after = error.retry_after();
        problem.is_final = error.is_final();
        problem
    }

    /// 404: the path does not exist.
    pub fn no_such_path() -> Self {
        Self::new(404, None, "The path does not exist.")
    }

    /// 405: the path exists only for the methods in `allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("This path accepts {allow} only.");
        Self {
            allow: Some(allow),
            ..Self::new(405, None, message)
        }
    }

    /// 400: the body is not valid JSON.
    pub fn malformed(reason: &str) -> Self {
        Self::new(400, None, format!("The body is not valid JSON: {reason}."))
    }

    /// 422: a field is missing.
    pub fn missing(field: &str) -> Self {
        let message = format!("Missing required parameter: '{field}'.");
        Self::new(422, Some("missing_required_parameter"), message).about(field)
    }

    /// 422: a field has a wrong type.
    pub fn wrong_kind(field: &str, reason: &str) -> Self {
        let message = format!("Invalid type for '{field}': {reason}.");
        Self::new(422, Some("invalid_type"), message).about(field)
    }

    /// 422: a field has an invalid value.
    pub fn wrong_value(field: &str, wanted: &str) -> Self {
        let message = format!("Invalid value for '{field}': {wanted}.");
        Self::new(422, Some("invalid_value"), message).about(field)
    }

    /// 403: the operation requires the token of an administrator.
    pub fn admin_only() -> Self {
        let message = "This requires the token of an administrator.";
        Self::new(403, Some("admin_required"), message)
    }

    /// 403: the client may not see the stats of other services.
    pub fn not_your_service() -> Self {
        let message = "A client may see its own stats only.";
        Self::new(403, Some("admin_required"), message).about("service")
    }

    /// 404: the service does not exist.
    pub fn no_such_service() -> Self {
        let message = "The service does not exist.";
        Self::new(404, Some("service_not_found"), message).about("service")
    }

    /// 403: the lock belongs to another service.
    pub fn not_owner() -> Self {
        let message = "The lock belongs to another service.";
        Self::new(403, Some("not_lock_owner"), message)
    }

    /// 404: the lock does not exist, or no longer.
    pub fn no_such_lock() -> Self {
        Self::new(404, Some("lock_not_found"), "The lock does not exist.").about("lock_id")
    }

    /// 404: the pool does not exist, or not at this location.
    pub fn no_such_pool() -> Self {
        Self::new(
            404,
            Some("pool_not_found"),
            "The pool does not exist, or not at this location.",
        )
        .about("pool")
    }

    /// 409: the slot is held by a request of the gateway, not by a service lock.
    pub fn held_by_request() -> Self {
        let message = "This is the lease of a running request; it ends with the request.";
        Self::new(409, Some("held_by_request"), message).about("lock_id")
    }

    /// 409: the lock has ended.
    pub fn ended(state: ServiceState) -> Self {
        let (code, message) = match state {
            ServiceState::Forced => (
                "lock_force_released",
                "The lock was ended by an administrator.",
            ),
            ServiceState::Lost => ("lock_lost", "The lock was lost to another holder."),
            ServiceState::Expired => ("lock_expired", "The lock has expired."),
            _ => ("lock_released", "The lock has been released."),
        };
        Self::new(409, Some(code), message).about("lock_id")
    }

    /// 503: the zone has no room for another lock.
    pub fn table_full() -> Self {
        let message = "The gateway has no room for another lock.";
        Self {
            retry_after: Some(5),
            ..Self::new(503, Some("lock_table_full"), message)
        }
    }

    /// The body as JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let error = self.error.clone();
        serde_json::to_vec(&ErrorResponse { error }).unwrap_or_default()
    }
}

//! What the lock service refuses, in OpenAI's form.

use openai_wire::ApiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::lease::ServiceState;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    error: ErrorDetail,
    /// The seconds of `Retry-After`, where waiting helps.
    pub retry_after: Option<u32>,
    /// Whether it is of no use to ask again.
    pub is_final: bool,
    /// The methods of `Allow`.
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
    /// For people.
    message: String,
    /// The kind of error.
    #[schema(example = "invalid_request_error")]
    r#type: &'static str,
    /// The field that is to blame, if one is.
    param: Option<String>,
    /// For programs.
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

    /// An error that the gateway answers with elsewhere, too.
    #[must_use]
    pub fn of(error: ApiError) -> Self {
        let mut problem = Self::new(error.status(), error.code(), error.message());
        problem.error.r#type = error.kind();
        problem.retry_after = error.retry_after();
        problem.is_final = error.is_final();
        problem
    }

    /// No such path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, None, "There is no such path.")
    }

    /// Only other methods will do.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("This path takes {allow} only.");
        Self {
            allow: Some(allow),
            ..Self::new(405, None, message)
        }
    }

    /// The body is no JSON object.
    #[must_use]
    pub fn malformed(reason: &str) -> Self {
        Self::new(400, None, format!("The body is not valid JSON: {reason}."))
    }

    /// A field is missing.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        let message = format!("Missing required parameter: '{field}'.");
        Self::new(422, Some("missing_required_parameter"), message).about(field)
    }

    /// A field is of the wrong kind.
    #[must_use]
    pub fn wrong_kind(field: &str, reason: &str) -> Self {
        let message = format!("Invalid type for '{field}': {reason}.");
        Self::new(422, Some("invalid_type"), message).about(field)
    }

    /// A field has a value that it cannot have.
    #[must_use]
    pub fn wrong_value(field: &str, wanted: &str) -> Self {
        let message = format!("Invalid value for '{field}': {wanted}.");
        Self::new(422, Some("invalid_value"), message).about(field)
    }

    /// Only an admin may do that.
    #[must_use]
    pub fn admin_only() -> Self {
        let message = "This needs the token of an administrator.";
        Self::new(403, Some("admin_required"), message)
    }

    /// The figures of other services are not for this client.
    #[must_use]
    pub fn not_your_service() -> Self {
        let message = "A client may see its own figures only.";
        Self::new(403, Some("admin_required"), message).about("service")
    }

    /// There is no such service.
    #[must_use]
    pub fn no_such_service() -> Self {
        let message = "There is no such service.";
        Self::new(404, Some("service_not_found"), message).about("service")
    }

    /// The lock is another's.
    #[must_use]
    pub fn not_owner() -> Self {
        let message = "The lock belongs to another service.";
        Self::new(403, Some("not_lock_owner"), message)
    }

    /// There is no such lock, or none any more.
    #[must_use]
    pub fn no_such_lock() -> Self {
        Self::new(404, Some("lock_not_found"), "There is no such lock.").about("lock_id")
    }

    /// There is no such pool, or not here.
    #[must_use]
    pub fn no_such_pool() -> Self {
        Self::new(404, Some("pool_not_found"), "There is no such pool here.").about("pool")
    }

    /// A request of the gateway has the slot: it is no lock of a service.
    #[must_use]
    pub fn held_by_request() -> Self {
        let message = "This is the lease of a request under way; it ends with its request.";
        Self::new(409, Some("held_by_request"), message).about("lock_id")
    }

    /// The lock has ended.
    #[must_use]
    pub fn ended(state: ServiceState) -> Self {
        let (code, message) = match state {
            ServiceState::Forced => (
                "lock_force_released",
                "The lock was ended by an administrator.",
            ),
            ServiceState::Lost => ("lock_lost", "The lock is lost: another has it."),
            ServiceState::Expired => ("lock_expired", "The lock has expired."),
            _ => ("lock_released", "The lock has been given back."),
        };
        Self::new(409, Some(code), message).about("lock_id")
    }

    /// There are as many locks as the zone has room for.
    #[must_use]
    pub fn table_full() -> Self {
        let message = "There are as many locks as this gateway has room for.";
        Self {
            retry_after: Some(5),
            ..Self::new(503, Some("lock_table_full"), message)
        }
    }

    /// The body of the answer, JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let error = self.error.clone();
        serde_json::to_vec(&ErrorResponse { error }).unwrap_or_default()
    }
}

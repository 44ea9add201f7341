//! Errors that the gateway itself answers with, in OpenAI's form.

mod answer;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::json;

use super::head::Field;

/// An error of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiError {
    /// The client sent no token.
    MissingToken,
    /// The client's token is unknown.
    WrongToken,
    /// The body is not JSON, nested too deeply, or not an object where one is needed.
    MalformedBody,
    /// A field of the body has a wrong type.
    WrongKind(Field),
    /// The body is too large.
    RequestTooLarge,
    /// No target serves the model; see [`ApiError::body_for`].
    ModelNotFound,
    /// The client's quota is used up.
    QuotaPassed,
    /// No key was free within the wait.
    NoKeyAvailable {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// No key is free, and the queue is full.
    QueueFull {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// Every key is rate limited for longer than the request may wait.
    KeysRateLimited {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// Too few nodes can vote on a lock, or the zone is unavailable.
    LockUnavailable {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// Every key is invalid or out of quota.
    NoHealthyKey {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// The lease was lost before the response was complete.
    LeaseLost,
    /// The upstream could not be reached, or its response was invalid.
    UpstreamUnavailable,
    /// The circuit of every upstream is open.
    UpstreamsOpen {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// An internal error of the gateway.
    Internal,
    /// Any other status that nginx answers with.
    Status(u16),
}

impl ApiError {
    /// The error for a status that nginx has set.
    ///
    /// nginx's own codes for bad requests (494 to 497) become 400, which is what its clients see.
    /// A status that is no error becomes an internal error.
    #[must_use]
    pub const fn for_status(status: u16) -> Self {
        match status {
            401 => Self::WrongToken,
            413 => Self::RequestTooLarge,
            494..=497 => Self::Status(400),
            502 => Self::UpstreamUnavailable,
            504 => Self::UpstreamTimeout,
            500 | 0..=399 | 600.. => Self::Internal,
            _ => Self::Status(status),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            _ => answer::of(self).status,
        }
    }

    /// The `type`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        answer::of(self).kind
    }

    /// The `code`.
    #[must_use]
    pub const fn code(self) -> Option<&'static str> {
        answer::of(self).code
    }

    /// The `message` of the error object.
    #[must_use]
    pub const fn message(self) -> &'static str {
        answer::of(self).message
    }

    /// The `param`: the field that caused the error.
    #[must_use]
    pub const fn param(self) -> Option<&'static str> {
        answer::of(self).param
    }

    /// Seconds of the `Retry-After` header, where waiting helps.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::NoKeyAvailable { retry_after }
            | Self::QueueFull { retry_after }
            | Self::KeysRateLimited { retry_after }
            | Self::NoHealthyKey { retry_after }
            | Self::LockUnavailable { retry_after }
            | Self::UpstreamsOpen { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    /// Whether a retry cannot succeed although the status suggests it. The provider's clients
    /// observe `x-should-retry: false`.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::QuotaPassed)
    }

    /// The body as JSON.
    #[must_use]
    pub const fn body(self) -> &'static [u8] {
        let (_, body) = self.sse_frame().split_at(b"data: ".len());
        body.split_at(body.len() - b"\n\n".len()).0
    }

    /// The body for a request for this model. If the model does not exist, the message contains
    /// it, as OpenAI's does.
    #[must_use]
    pub fn body_for(self, model: Option<&str>) -> Cow<'static, [u8]> {
        let (Self::ModelNotFound, Some(model)) = (self, model) else {
            return Cow::Borrowed(self.body());
        };
        let error = json!({"error": {
            "message": format!("The model `{model}` does not exist or you do not have access to it."),
            "type": self.kind(),
            "param": self.param(),
            "code": self.code(),
        }});
        Cow::Owned(error.to_string().into_bytes())
    }

    /// The error as a stream event.
    #[must_use]
    pub const fn sse_frame(self) -> &'static [u8] {
        answer::of(self).frame.as_bytes()
    }
}

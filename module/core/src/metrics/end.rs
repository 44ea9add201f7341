//! How a request ended.

use openai_wire::ApiError;

use super::record::Outcome;
use crate::attempts::AnswerState;

/// nginx's status of a request whose client left before a response.
pub const CLIENT_LEFT: u16 = 499;

/// The facts about an ended request that its outcome follows from.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestEnd {
    /// Whether its lease was lost.
    pub lease_lost: bool,
    /// The gateway's own error, if it responded with one.
    pub refusal: Option<ApiError>,
    /// Whether the client left while the request waited for a lease.
    pub left_queue: bool,
    /// Whether the client has left.
    pub client_gone: bool,
    /// Whether it had a lease.
    pub leased: bool,
    /// Whether the lock service responded: there is no upstream.
    pub is_lock: bool,
    /// State of the response.
    pub answer: AnswerState,
    /// The status that nginx has sent.
    pub status: u16,
}

impl Outcome {
    /// The outcome of an ended request.
    #[must_use]
    pub fn of(end: &RequestEnd) -> Self {
        if end.lease_lost {
            return Self::LeaseLost;
        }
        match end.refusal {
            None => {}
            Some(
                ApiError::NoKeyAvailable { .. }
                | ApiError::QueueFull { .. }
                | ApiError::KeysRateLimited { .. },
            ) => return Self::NoKey,
            Some(
                ApiError::LockUnavailable { .. }
                | ApiError::NoHealthyKey { .. }
                | ApiError::UpstreamsOpen { .. },
            ) => return Self::Unavailable,
            Some(_) => return Self::Refused,
        }
        let left = match end.answer {
            AnswerState::Drained(_) => true,
            answer => end.client_gone && !answer.is_complete(),
        };
        if left || end.left_queue || end.status == CLIENT_LEFT {
            return Self::Aborted;
        }
        match end.answer.counted(end.status) {
            _ if !end.leased => Self::Refused,
            _ if end.is_lock => Self::Success,
            None => Self::UpstreamError,
            Some(_) if matches!(end.answer, AnswerState::Sent(_)) => Self::Incomplete,
            Some(429) => Self::RateLimited,
            Some(500..) => Self::UpstreamError,
            Some(400..) => Self::ClientError,
            Some(_) => Self::Success,
        }
    }
}

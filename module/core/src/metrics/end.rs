//! How a request ended.

use openai_wire::ApiError;

use super::record::Outcome;

/// The facts about an ended request that its outcome follows from.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestEnd {
    /// Whether its lease was lost.
    pub lease_lost: bool,
    /// The gateway's own error, if it responded with one.
    pub refusal: Option<ApiError>,
    /// Whether the client left before the end.
    pub client_left: bool,
    /// Whether it had a lease.
    pub leased: bool,
    /// Whether the lock service responded: there is no upstream.
    pub is_lock: bool,
    /// Status of the upstream's response, or of a copy of it in nginx's cache.
    pub status: Option<u16>,
    /// Whether that response, or the one that was sent instead of it, was complete.
    pub is_complete: bool,
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
        if end.client_left {
            return Self::Aborted;
        }
        match end.status {
            _ if !end.leased => Self::Refused,
            _ if end.is_lock => Self::Success,
            None => Self::UpstreamError,
            Some(_) if !end.is_complete => Self::Incomplete,
            Some(429) => Self::RateLimited,
            Some(500..) => Self::UpstreamError,
            Some(400..) => Self::ClientError,
            Some(_) => Self::Success,
        }
    }
}

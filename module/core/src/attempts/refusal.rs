//! Errors for requests that are not sent upstream.

use openai_wire::ApiError;

use crate::lease::Outlook;

/// Converts milliseconds to the value of `Retry-After`: seconds, rounded up, at least one.
#[must_use]
pub fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

/// The error when no key of a pool is usable for now.
#[must_use]
pub fn no_healthy_key(outlook: Option<Outlook>) -> ApiError {
    let soonest_ms = match outlook {
        Some(Outlook::Unhealthy { soonest_ms } | Outlook::CoolingDown { soonest_ms }) => soonest_ms,
        _ => 0,
    };
    ApiError::NoHealthyKey {
        retry_after: seconds(soonest_ms),
    }
}

/// The error when a request has waited without success for a key of a pool, or could not wait
/// because the queue was full. `wait_ms` is how long requests wait for a key of the pool.
#[must_use]
pub fn no_key(outlook: Option<Outlook>, queue_full: bool, wait_ms: u64) -> ApiError {
    let retry_after = match outlook {
        Some(Outlook::Unhealthy { .. }) => return no_healthy_key(outlook),
        Some(Outlook::CoolingDown { soonest_ms }) => seconds(soonest_ms),
        // It is unknown when a slot becomes free. The time is derived from the waiting time.
        _ => (wait_ms / 1_000).clamp(1, 5) as u32,
    };
    match outlook {
        _ if queue_full => ApiError::QueueFull { retry_after },
        Some(Outlook::CoolingDown { .. }) => ApiError::KeysRateLimited { retry_after },
        _ => ApiError::NoKeyAvailable { retry_after },
    }
}

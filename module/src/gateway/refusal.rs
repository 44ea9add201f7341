//! Answers of the gateway's own to requests that it does not send.

use nginx_safe::Flow;
use openai_core::lease::Outlook;
use openai_wire::ApiError;

use super::{Context, Exchange, LeaseStatus};
use crate::pool;

/// Ends the request with an error of ours; the header filter gives it its form.
pub fn refuse(ctx: &Context, refusal: ApiError) -> Flow {
    ctx.refusal.set(Some(refusal));
    Flow::Answer(refusal.status())
}

/// The answer to who has waited in vain for a key of the chosen target's pool.
pub fn in_vain(exchange: Exchange<'_>) -> ApiError {
    let Exchange { ctx, main, .. } = exchange;
    let Some((at, pool)) = ctx.pool(main) else {
        return ApiError::Internal;
    };
    let avoid = ctx.retries.borrow().avoid;
    let known = main.taken_over();
    let outlook = known.and_then(|known| pool::outlook(known, at, avoid));
    let retry_after = match outlook {
        Some(Outlook::Unhealthy { soonest_ms }) => {
            let retry_after = seconds(soonest_ms);
            return ApiError::NoHealthyKey { retry_after };
        }
        Some(Outlook::CoolingDown { soonest_ms }) => seconds(soonest_ms),
        // It is unknown when a stream ends: between one and five seconds.
        _ => (pool.wait_ms / 1_000).clamp(1, 5) as u32,
    };
    match (ctx.wait.get().status, outlook) {
        (LeaseStatus::QueueFull, _) => ApiError::QueueFull { retry_after },
        (_, Some(Outlook::CoolingDown { .. })) => ApiError::KeysRateLimited { retry_after },
        _ => ApiError::NoKeyAvailable { retry_after },
    }
}

/// As a `Retry-After` says it.
pub fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

//! Requests that lose their lease while they run. Another request may use the key by then.

use nginx_safe::{Ending, Request};
use openai_wire::ApiError;

use super::broken::takes_event;
use crate::gateway::{Context, LeaseStatus};

/// Ends the upstream's response, and tells the client why if possible.
pub fn ending(request: &Request<'_>, ctx: &Context) -> Ending {
    {
        let mut attempt = ctx.attempt.borrow_mut();
        // The slot may already belong to another request: do not release it.
        attempt.end();
        attempt.wait.status = LeaseStatus::Lost;
    }
    let refusal = ApiError::LeaseLost;
    if !request.has_upstream() {
        return Ending::BreakOff;
    }
    if !request.is_header_sent() {
        ctx.refusal.error.set(Some(refusal));
        return Ending::Answer(refusal.status());
    }
    if takes_event(request, ctx) {
        return Ending::Data(refusal.sse_frame());
    }
    // The response cannot take an event: close the connection.
    Ending::BreakOff
}

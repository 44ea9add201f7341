//! Responses that break off: the upstream times out, or its connection breaks.

use nginx_safe::{Level, Request};
use openai_wire::ApiError;
use serde_json::json;

use crate::gateway::{Context, events};

/// The last event for the client, if the response can take one.
pub fn answer_broken(request: &Request<'_>, status: u16) -> Option<&'static [u8]> {
    let error = match status {
        502 => ApiError::UpstreamUnavailable,
        504 => ApiError::UpstreamTimeout,
        _ => return None,
    };
    let ctx = request.context::<Context>()?;
    let is_read_on = {
        let answer = &ctx.attempt.borrow().answer;
        answer.state.sent()?;
        answer.draining.is_some()
    };
    let sends_error = !is_read_on && takes_event(request, ctx);
    let fields = json!({
        "key_id": ctx.key_id(),
        "code": error.code(),
        "error_sent": sends_error,
    });
    events::write(request, ctx, Level::Warn, "answer_broken", fields);
    sends_error.then(|| error.sse_frame())
}

/// Whether the response is an event stream and can take another event now.
pub fn takes_event(request: &Request<'_>, ctx: &Context) -> bool {
    let events = ctx.attempt.borrow().answer.events;
    events.is_some_and(|end| end.is_between())
        && request.answer_length().is_none()
        && request.answers_plainly()
        && request.sees_end_of_answer()
        && !request.is_subrequest()
        && !request.client_is_gone()
}

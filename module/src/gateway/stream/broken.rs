//! An answer that breaks off in mid-stream: the upstream falls silent, or its connection breaks.

use nginx_safe::{Level, Request};
use openai_wire::ApiError;
use serde_json::json;

use crate::gateway::Context;
use crate::gateway::events;

/// The last words to the client, where there is a form and a place for them.
pub fn answer_broken(request: &Request<'_>, status: u16) -> Option<&'static [u8]> {
    let error = match status {
        502 => ApiError::UpstreamUnavailable,
        504 => ApiError::UpstreamTimeout,
        _ => return None,
    };
    let ctx = request.context::<Context>()?;
    ctx.answered.get()?;
    let tells = ctx.draining.get().is_none() && takes_event(request, ctx);
    let key = ctx.key.borrow().as_ref().map(|key| key.id.clone());
    let fields = json!({
        "key_id": key,
        "code": error.code(),
        "told": tells,
    });
    events::tell(request, ctx, Level::Warn, "answer_broken", fields);
    tells.then(|| error.sse_frame())
}

/// Whether the answer is an event stream in which another event can stand now.
pub fn takes_event(request: &Request<'_>, ctx: &Context) -> bool {
    ctx.events.get().is_some_and(|end| end.is_between())
        && request.answer_length().is_none()
        && request.answers_plainly()
        && request.sees_end_of_answer()
        && !request.is_subrequest()
        && !request.client_is_gone()
}

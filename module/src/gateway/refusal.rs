//! Error responses of the gateway to requests that it does not send.

use nginx_safe::Flow;
use openai_wire::ApiError;

use super::Context;

/// Neither this machine's zone nor the nodes can grant a slot.
pub const UNAVAILABLE: ApiError = ApiError::LockUnavailable { retry_after: 1 };

/// Ends the request with an error of the gateway; the filters give it OpenAI's form.
pub fn refuse(ctx: &Context, refusal: ApiError) -> Flow {
    ctx.refusal.error.set(Some(refusal));
    Flow::Answer(refusal.status())
}

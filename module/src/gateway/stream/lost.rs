//! A lease that is lost while its request runs: the key is somebody else's now.

use nginx_safe::{Ending, Request, Token};
use openai_core::lease::LeaseHandle;
use openai_wire::ApiError;

use super::broken::takes_event;
use crate::gateway::{Context, LeaseStatus, Stage};

/// Where a request of the lock service is whose lease is lost.
const UNAVAILABLE: Stage = Stage::Refused(ApiError::LockUnavailable { retry_after: 1 });

/// Ends the upstream's answer, and tells the client why.
pub fn lost(token: Token, handle: LeaseHandle) {
    token.conclude(move |request| ending(request, handle));
}

fn ending(request: Request<'_>, handle: LeaseHandle) -> Option<Ending> {
    let ctx = request.recalled::<Context>()?;
    ctx.held().filter(|lease| lease.grant.handle == handle)?;
    if ctx.wishes.get().is_some() {
        // The lock service's: there is no answer of an upstream.
        if ctx.stage.get() == Stage::Prolonging {
            ctx.stage.set(UNAVAILABLE);
            request.go_on();
        }
        return None;
    }
    // It is somebody else's by now: there is nothing to release.
    ctx.end_attempt();
    ctx.note_wait(|wait| wait.status = LeaseStatus::Lost);
    let refusal = ApiError::LeaseLost;
    if !request.has_upstream() {
        return Some(Ending::BreakOff);
    }
    if !request.is_header_sent() {
        ctx.refusal.set(Some(refusal));
        return Some(Ending::Answer(refusal.status()));
    }
    if takes_event(&request, ctx) {
        return Some(Ending::Words(refusal.sse_frame()));
    }
    // The response cannot take an event: the client sees it break off.
    Some(Ending::BreakOff)
}

//! A lease that is lost while its request runs: the key is somebody else's now.

use nginx_safe::{Ending, Request, Token};
use openai_core::lease::LeaseHandle;
use openai_wire::ApiError;

use super::broken::takes_event;
use crate::gateway::{Context, Stage};

/// Ends the upstream's answer, and tells the client why.
pub fn lost(token: Token, handle: LeaseHandle) {
    token.conclude(move |request| ending(request, handle));
}

fn ending(request: Request<'_>, handle: LeaseHandle) -> Option<Ending> {
    let ctx = request.recalled::<Context>()?;
    let same = ctx
        .lease
        .get()
        .is_some_and(|lease| lease.grant.handle == handle);
    if !same || !ctx.holds.get() {
        return None;
    }
    if ctx.wishes.get().is_some() {
        // The lock service's: there is no answer of an upstream.
        if ctx.stage.get() == Stage::Prolonging {
            ctx.stage.set(Stage::Unavailable);
            request.go_on();
        }
        return None;
    }
    ctx.note_lost();
    let refusal = ApiError::LeaseLost;
    Some(match request.cut_upstream() {
        Some(false) => {
            ctx.refusal.set(Some(refusal));
            Ending::Answer(refusal.status())
        }
        Some(true) if takes_event(&request, ctx) => Ending::Words(refusal.sse_frame()),
        // Neither form nor place for words: the client sees the answer break off.
        _ => Ending::BreakOff,
    })
}

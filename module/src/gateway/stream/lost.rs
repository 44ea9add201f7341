//! A lease that is lost while its request runs: the key is somebody else's now.

use nginx_safe::{Ending, Request, Token};
use openai_core::lease::LeaseHandle;
use openai_wire::ApiError;

use super::broken::takes_event;
use crate::Openai;
use crate::api;

/// Ends the upstream's answer, and tells the client why.
pub fn lost(token: Token, handle: LeaseHandle) {
    token.conclude(move |request| ending(request, handle));
}

fn ending(request: Request<'_>, handle: LeaseHandle) -> Option<Ending> {
    let ctx = request.recalled::<Openai>()?;
    let same = ctx
        .lease
        .get()
        .is_some_and(|lease| lease.grant.handle == handle);
    if !same || !ctx.holds.get() || api::lost(&request, ctx, handle) {
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

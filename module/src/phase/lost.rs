//! A lease that is lost while its request runs: the key is somebody else's now.

use openai_core::lease::LeaseHandle;
use openai_core::openai::ApiError;

use super::api;
use super::broken::takes_event;
use crate::Openai;
use crate::ffi::Request;

/// Ends the upstream's answer, and tells the client why.
pub fn lost(request: Request<'_>, handle: LeaseHandle) {
    let Some(ctx) = request.recalled::<Openai>() else {
        return;
    };
    let same = ctx
        .lease
        .get()
        .is_some_and(|lease| lease.grant.handle == handle);
    if !same || !ctx.holds.get() || api::lost(&request, ctx, handle) {
        return;
    }
    ctx.note_lost();
    let refusal = ApiError::LeaseLost;
    match request.cut_upstream() {
        Some(false) => {
            ctx.refusal.set(Some(refusal));
            request.end_with(refusal.status());
        }
        Some(true) if takes_event(&request, ctx) => {
            request.end_stream(refusal.sse_frame());
        }
        // Neither form nor place for words: the client sees the answer break off.
        _ => request.break_off(),
    }
}

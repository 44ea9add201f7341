//! Failover: an attempt that another key may cure is made again, before the client
//! has seen anything of it.

use serde_json::json;

use crate::Openai;
use crate::adapter::now;
use crate::conf::{Fault, Location};
use crate::ctx::{Context, Stage};
use crate::ffi::{AnswerHead, Attempt, Level, Request};
use crate::log::event;
use crate::worker;

/// The upstream's answer begins: it is judged, and kept or not.
pub fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> Attempt {
    let Some((ctx, place)) = attempt(&request) else {
        return Attempt::Keep;
    };
    let status = head.status();
    if status < 400 {
        return Attempt::Keep;
    }
    next(&request, ctx, place, Fault::Status(status))
}

/// No answer has come.
pub fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> Attempt {
    let fault = match status {
        502 => Fault::Error,
        504 => Fault::Timeout,
        _ => return Attempt::Keep,
    };
    let Some((ctx, place)) = attempt(&request) else {
        return Attempt::Keep;
    };
    if reused && fault == Fault::Error {
        // The upstream closed it while it was idle: that is no word on the request.
        ctx.stale.set(ctx.stale.get() + 1);
    }
    next(&request, ctx, place, fault)
}

/// The connection is closed: the key is of no use to the request any more.
pub fn attempt_over(request: Request<'_>) {
    if let Some(ctx) = request.recalled::<Openai>() {
        ctx.let_go();
        ctx.stage.set(Stage::Again);
    }
}

/// The request as one that is under way with a key.
fn attempt<'a>(request: &Request<'a>) -> Option<(&'a Context, &'a Location)> {
    let ctx = request.recalled::<Openai>()?;
    let place = request.location::<Openai>()?;
    ctx.holds.get().then_some((ctx, place))
}

/// Whether the request is worth another attempt.
fn next(request: &Request<'_>, ctx: &Context, place: &Location, fault: Fault) -> Attempt {
    let next = place.next_key();
    let since = now().mono_ms.saturating_sub(ctx.first_asked_ms.get());
    let again = next.cures(fault)
        && !request.is_subrequest()
        && ctx.attempts.get() - ctx.stale.get() < next.tries()
        && since < next.timeout_ms();
    if let Some(lease) = ctx.lease.get() {
        let what = match fault {
            Fault::Error => json!("error"),
            Fault::Timeout => json!("timeout"),
            Fault::Status(status) => json!(status),
        };
        let fields = json!({
            "lease_id": worker::lease_id(&lease.grant),
            "attempt": ctx.attempts.get(),
            "fault": what,
            "again": again,
        });
        event(Level::Warn, "attempt_failed", fields);
    }
    if again { Attempt::Over } else { Attempt::Keep }
}

//! Clients that leave before their response is complete. With `openai_client_abort drain`,
//! the response is read to its end so that its usage is known. The lease is held meanwhile.

use nginx_safe::{Chunk, Ending, Level, Piece, Request, Token};
use openai_core::metrics::CLIENT_LEFT;
use serde_json::json;

use crate::config::{ClientAbort, Location};
use crate::gateway::{Context, Reply, Step, events};

/// Called when the client has left. Returns for how long its response is read on, if it is: a step
/// without a change of stage.
pub fn client_left(request: &Request<'_>, ctx: &Context) -> Option<Step> {
    let stage = ctx.stage();
    if ctx.attempt.borrow().answer.draining.is_some() {
        return Some(Step::Next(stage));
    }
    let location = request.location::<Location>()?;
    let ClientAbort::Drain { time_ms, size } = location.client_abort() else {
        return None;
    };
    let (has_usage, is_complete) = {
        let answer = &ctx.attempt.borrow().answer;
        let has_usage = match answer.state.sent() {
            Some(_) => answer.meter.is_some(),
            None => location.usage.is_read() && ctx.endpoint(request).has_tokens(),
        };
        (has_usage, answer.state.is_complete())
    };
    if !has_usage || request.is_subrequest() || ctx.refusal.reply.get() != Reply::Nginx {
        return None;
    }
    if !is_complete && ctx.held().is_none() {
        return None;
    }
    ctx.attempt.borrow_mut().answer.draining = Some(size);
    Some(match is_complete {
        true => Step::Next(stage),
        false => Step::Wait(stage, Some(time_ms)),
    })
}

/// Discards a piece of a response whose client has left; fails when the size limit is exceeded.
pub fn pass(request: &Request<'_>, ctx: &Context, left: u64, chunk: Chunk<'_>) -> Piece {
    let read: usize = chunk.parts().map(<[u8]>::len).sum();
    match left.checked_sub(read as u64) {
        Some(left) => {
            ctx.attempt.borrow_mut().answer.draining = Some(left);
            Piece::Discard
        }
        None => {
            log_cut_off(request, ctx, "size");
            Piece::Fail
        }
    }
}

/// Ends the request when the time limit has passed.
pub fn timed_out(token: Token) {
    token.conclude(|request| {
        let draining = |ctx: &&Context| ctx.attempt.borrow().answer.draining.is_some();
        let ctx = request.recalled::<Context>().filter(draining)?;
        if !request.has_upstream() {
            return None;
        }
        log_cut_off(&request, ctx, "time");
        Some(Ending::Answer(CLIENT_LEFT))
    });
}

fn log_cut_off(request: &Request<'_>, ctx: &Context, bound: &str) {
    let fields = json!({ "bound": bound });
    events::write(request, ctx, Level::Notice, "drain_cut_off", fields);
}

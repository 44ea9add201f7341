//! Clients that leave before their response is complete. With `openai_client_abort drain`,
//! the response is read to its end so that its usage is known. The lease is held meanwhile.

use nginx_safe::{Chunk, Ending, Level, Piece, Request, Timer, Token};
use openai_core::metrics::CLIENT_LEFT;
use serde_json::json;

use crate::config::{ClientAbort, Location};
use crate::gateway::{Context, Reply, events};

/// Called when the client has left. Returns whether its response is read on.
pub fn client_left(request: &Request<'_>) -> bool {
    let known = request
        .location::<Location>()
        .zip(request.context::<Context>());
    let Some((location, ctx)) = known else {
        return false;
    };
    if ctx.attempt.borrow().answer.draining.is_some() {
        return true;
    }
    let ClientAbort::Drain { time_ms, size } = location.client_abort() else {
        return false;
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
        return false;
    }
    if !is_complete {
        if ctx.held().is_none() {
            return false;
        }
        let mut bound = Timer::new(false, |tag| cut_off(Token::of(tag)), ctx.token.number());
        bound.start(time_ms);
        ctx.attempt.borrow_mut().deadline = Some(bound);
    }
    ctx.attempt.borrow_mut().answer.draining = Some(size);
    true
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
fn cut_off(token: Token) {
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

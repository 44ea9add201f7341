//! A client that leaves before its answer is whole: where that is wanted, the answer is
//! read to its end all the same, so that its usage is known. The lease is held meanwhile.

use nginx_safe::{Chunk, Ending, Level, Piece, Request, Timer, Token};
use serde_json::json;

use crate::config::{ClientAbort, Location};
use crate::gateway::{CLIENT_LEFT, Context, Reply, events, usage};

/// The client is gone: whether its answer is to be read on.
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
    let (tells, is_complete) = {
        let answer = &ctx.attempt.borrow().answer;
        let tells = match answer.status {
            Some(_) => answer.meter.is_some(),
            None => location.usage().is_read() && usage::has_tokens(request, ctx),
        };
        (tells, answer.is_complete)
    };
    if !tells || request.is_subrequest() || ctx.reply.get() != Reply::Nginx {
        return false;
    }
    if !is_complete {
        if ctx.held().is_none() {
            return false;
        }
        ctx.attempt.borrow_mut().answer.is_left = true;
        let mut bound = Timer::new(false, |tag| cut_off(Token::of(tag)), ctx.token.number());
        bound.start(time_ms);
        *ctx.deadline.borrow_mut() = Some(bound);
    }
    ctx.attempt.borrow_mut().answer.draining = Some(size);
    true
}

/// A piece of the answer that nobody waits for has been read.
pub fn pass<'a>(request: &Request<'_>, ctx: &Context, left: u64, chunk: Chunk<'_>) -> Piece<'a> {
    let read: usize = chunk.parts().map(<[u8]>::len).sum();
    match left.checked_sub(read as u64) {
        Some(left) => {
            ctx.attempt.borrow_mut().answer.draining = Some(left);
            Piece::Discard
        }
        None => {
            tell(request, ctx, "size");
            Piece::Fail
        }
    }
}

/// The time is up.
fn cut_off(token: Token) {
    token.conclude(|request| {
        let draining = |ctx: &&Context| ctx.attempt.borrow().answer.draining.is_some();
        let ctx = request.recalled::<Context>().filter(draining)?;
        if !request.has_upstream() {
            return None;
        }
        tell(&request, ctx, "time");
        Some(Ending::Answer(CLIENT_LEFT))
    });
}

fn tell(request: &Request<'_>, ctx: &Context, bound: &str) {
    let fields = json!({ "bound": bound });
    events::tell(request, ctx, Level::Notice, "drain_cut_off", fields);
}

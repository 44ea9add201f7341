//! The pause before another attempt at an upstream that has failed the request.

use nginx_safe::{Timer, Token};

use super::{Context, Exchange, Stage, Step};

/// Waits as long as the attempt before has made necessary, without a lease.
pub(super) fn before_attempt(exchange: Exchange<'_>) -> Step {
    let ctx = exchange.ctx;
    let ms = std::mem::take(&mut ctx.retries.borrow_mut().pause_ms);
    if ms == 0 {
        return Step::Next(Stage::Target);
    }
    let mut end = Timer::new(false, |tag| paused(Token::of(tag)), ctx.token.number());
    end.start(ms);
    *ctx.deadline.borrow_mut() = Some(end);
    ctx.stage.set(Stage::Pausing);
    Step::Wait
}

/// The pause is over.
fn paused(token: Token) {
    token.with(|request| {
        let ctx = request.recalled::<Context>();
        if let Some(ctx) = ctx.filter(|ctx| ctx.stage.get() == Stage::Pausing) {
            ctx.stage.set(Stage::Target);
            request.go_on();
        }
    });
}

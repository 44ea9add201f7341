//! Sends the request through the location's own handler, with the leased key and a rewritten body.

use nginx_safe::{Request, Rewrite};
use openai_core::attempts::AnswerState;
use openai_wire::ApiError;
use openai_wire::usage::UsageStripper;

use super::{Context, Exchange, Stage, Step, trace};
use crate::config::{Location, Main};

/// Sends the request; fails if the location has no handler.
pub(super) fn send(exchange: Exchange<'_>) -> Step {
    let Exchange {
        request, ctx, main, ..
    } = exchange;
    ctx.retries.borrow_mut().attempts += 1;
    let asking = asking(&request, ctx);
    let rewrites = alias(ctx, main).into_iter().chain(asking);
    request.rewrite_body(rewrites.collect());
    let key = ctx.attempt.borrow().key.clone();
    match key {
        Some(key) if request.send_with(key.authorization.clone(), trace::sent(&request)) => {
            ctx.attempt.borrow_mut().answer.state = AnswerState::Awaited;
            Step::Next(Stage::Done)
        }
        _ => Step::Refuse(ApiError::Internal),
    }
}

/// Replaces the alias in the body by its model, if the request asked for one.
fn alias(ctx: &Context, main: &Main) -> Option<Rewrite> {
    let alias = ctx.alias(main)?;
    let range = ctx.head.read.get()?.model_at.clone()?;
    let with = serde_json::to_vec(&alias.model).ok()?.into();
    Some(Rewrite { range, with })
}

/// Asks a stream to report its usage, if that is configured and the client has not asked for it.
fn asking(request: &Request<'_>, ctx: &Context) -> Option<Rewrite> {
    let wanted = request.location::<Location>()?.usage.is_asked_for();
    // Other endpoints report it anyway, and reject the option.
    let takes = request.path().ends_with(b"/completions");
    let asking = ctx.head.read.get().filter(|_| wanted && takes)?;
    let (range, with) = asking.asking_for_usage()?;
    ctx.attempt.borrow_mut().answer.stripper = Some(UsageStripper::default());
    Some(Rewrite {
        range,
        with: with.as_bytes().into(),
    })
}

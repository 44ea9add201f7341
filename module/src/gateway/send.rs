//! Has the location's own handler send the request, with the leased key and another body.

use nginx_safe::Rewrite;
use openai_wire::ApiError;

use super::stream::usage;
use super::{Context, Exchange, Stage, Step, route, trace};
use crate::config::{Location, Main};

/// Has the request sent.
pub(super) fn send(exchange: Exchange<'_>) -> Step {
    let Exchange {
        request, ctx, main, ..
    } = exchange;
    ctx.retries.borrow_mut().attempts += 1;
    let asking = usage::ask(&request, ctx);
    let rewrites = alias(ctx, main).into_iter().chain(asking);
    request.rewrite_body(rewrites.collect());
    let key = ctx.attempt.borrow().key.clone();
    match key {
        Some(key)
            if request.send_with::<Location>(key.authorization.clone(), trace::sent(&request)) =>
        {
            Step::Next(Stage::Done)
        }
        _ => Step::Refuse(ApiError::Internal),
    }
}

/// What has to be rewritten in the body for the alias that was asked for.
fn alias(ctx: &Context, main: &Main) -> Option<Rewrite> {
    let alias = route::alias(ctx, main)?;
    let range = ctx.head.get()?.model_at.clone()?;
    let with = serde_json::to_vec(&alias.model).ok()?.into();
    Some(Rewrite { range, with })
}

//! Looking at the head of a JSON body as it lies there.

use nginx_safe::{Request, Rewrite};
use openai_wire::{ApiError, Head, HeadError, HeadScanner};

use super::route;
use crate::config::{Location, Main, Otherwise};
use crate::gateway::Context;
use crate::gateway::usage;

/// The head of the request's body; `None` when there is none to be had.
pub fn look(request: &Request<'_>, place: &Location) -> Result<Option<Head>, ApiError> {
    let length = request.body_length();
    // OpenAI's clients announce JSON in requests without a body, too.
    if length == 0 || !place.inspects() || !is_json(request.content_type()) {
        return Ok(None);
    }
    if length > place.inspect_max() {
        return match place.oversize() {
            Otherwise::Pass => Ok(None),
            Otherwise::Reject => Err(ApiError::RequestTooLarge),
        };
    }
    let mut scanner = HeadScanner::new();
    if !request.body_pieces(|piece| scanner.feed(piece)) {
        return Err(ApiError::Internal);
    }
    judge(scanner.finish(), place.invalid())
}

/// What goes upstream in another way than the client has sent it.
pub fn rewrites(request: &Request<'_>, ctx: &Context, main: &Main) -> Vec<Rewrite> {
    let asked = usage::ask(request, ctx);
    alias(ctx, main).into_iter().chain(asked).collect()
}

/// What has to be rewritten in the body for the alias that was asked for.
fn alias(ctx: &Context, main: &Main) -> Option<Rewrite> {
    let alias = route::alias(ctx, main)?;
    let range = ctx.head.get()?.model_at.clone()?;
    let with = serde_json::to_vec(&alias.model).ok()?.into();
    Some(Rewrite { range, with })
}

fn judge(found: Result<Head, HeadError>, invalid: Otherwise) -> Result<Option<Head>, ApiError> {
    match (found, invalid) {
        (
            Ok(Head {
                wrong_kind: Some(field),
                ..
            }),
            Otherwise::Reject,
        ) => Err(ApiError::WrongKind(field)),
        (Ok(head), _) => Ok(Some(head)),
        (Err(_), Otherwise::Reject) => Err(ApiError::MalformedBody),
        (Err(_), Otherwise::Pass) => Ok(None),
    }
}

fn is_json(content_type: &[u8]) -> bool {
    const JSON: &[u8] = b"application/json";
    let Some((kind, rest)) = content_type.split_at_checked(JSON.len()) else {
        return false;
    };
    kind.eq_ignore_ascii_case(JSON) && matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
}

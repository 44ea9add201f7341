//! Looking at the head of a JSON body as it lies there.

use nginx_safe::Request;
use openai_wire::{ApiError, Head, HeadError, HeadScanner};

use super::{Exchange, Stage, Step};
use crate::config::{Location, Otherwise};

/// Looks at the head of the request, once.
pub(super) fn read(exchange: Exchange<'_>) -> Step {
    let Exchange {
        request,
        ctx,
        location,
        ..
    } = exchange;
    if request.headers_named(b"authorization").nth(1).is_some() {
        return Step::Refuse(ApiError::Status(400));
    }
    if ctx.head.get().is_none() && !request.is_subrequest() {
        match look(&request, location) {
            Ok(Some(head)) => drop(ctx.head.set(head)),
            Ok(None) => {}
            Err(refusal) => return Step::Refuse(refusal),
        }
    }
    Step::Next(Stage::Admit)
}

/// The head of the request's body; `None` when there is none to be had.
fn look(request: &Request<'_>, location: &Location) -> Result<Option<Head>, ApiError> {
    let length = request.body_length();
    // OpenAI's clients announce JSON in requests without a body, too.
    if length == 0 || !location.inspects() || !is_json(request.content_type()) {
        return Ok(None);
    }
    if length > location.inspect_max() {
        return match location.oversize() {
            Otherwise::Pass => Ok(None),
            Otherwise::Reject => Err(ApiError::RequestTooLarge),
        };
    }
    let mut scanner = HeadScanner::new();
    if !request.body_pieces(|piece| scanner.feed(piece)) {
        return Err(ApiError::Internal);
    }
    judge(scanner.finish(), location.invalid())
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

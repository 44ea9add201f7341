//! Reads the head of a JSON request body in place.

use openai_wire::{ApiError, Head, HeadError, HeadScanner};

use super::{Exchange, Stage, Step};
use crate::config::Otherwise;

/// Reads the head of the request body, unless that has been done.
pub(super) fn read(exchange: Exchange<'_>) -> Step {
    let Exchange { request, ctx, .. } = exchange;
    if request.headers_named(b"authorization").nth(1).is_some() {
        return Step::Refuse(ApiError::Status(400));
    }
    if ctx.head.read.get().is_none() && !request.is_subrequest() {
        match scan(exchange) {
            Ok(Some(head)) => drop(ctx.head.read.set(head)),
            Ok(None) => {}
            Err(refusal) => return Step::Refuse(refusal),
        }
    }
    Step::Next(Stage::Admit)
}

/// Head of the request body; `None` if the body is not read.
fn scan(exchange: Exchange<'_>) -> Result<Option<Head>, ApiError> {
    let Exchange {
        request,
        ctx,
        location,
        ..
    } = exchange;
    let length = request.body_length();
    // OpenAI's clients send the content type JSON also in requests without a body.
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
    let (wrong, head) = match scanner.finish() {
        Ok(head) => (head.wrong_kind.map(ApiError::WrongKind), Some(head)),
        // The body of other endpoints may be any JSON value: no field of it is needed.
        Err(HeadError::NotAnObject) if !ctx.endpoint(&request).has_tokens() => (None, None),
        Err(_) => (Some(ApiError::MalformedBody), None),
    };
    match wrong.filter(|_| location.invalid() == Otherwise::Reject) {
        Some(refusal) => Err(refusal),
        None => Ok(head),
    }
}

fn is_json(content_type: &[u8]) -> bool {
    const JSON: &[u8] = b"application/json";
    let Some((kind, rest)) = content_type.split_at_checked(JSON.len()) else {
        return false;
    };
    kind.eq_ignore_ascii_case(JSON) && matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
}

//! Responses on their way to the client. The usage of the upstream's responses is read;
//! nginx's error pages get OpenAI's form.

pub mod broken;
mod drain;
pub mod lost;

pub use drain::{client_left, timed_out};

use std::borrow::Cow;

use nginx_safe::{Chunk, Edit, Edits, HeaderName, Piece, Request};
use openai_core::attempts::AnswerState;
use openai_wire::restore::{Form, Part};
use openai_wire::{ApiError, Restorer};

use super::{Context, Reply, trace, usage};
use crate::config::{Location, Main};

/// Called before the header of a response is sent.
pub(super) fn header(request: &Request<'_>, location: &Location) {
    add_attempts(request, location);
    if request.is_error_page() {
        replace_error_page(request);
    } else if request.is_upstream_answer() && !request.is_from_cache() {
        if streams(request) {
            request.stream_answer();
        }
        if let Some(ctx) = request.context::<Context>() {
            usage::begin(request, ctx, location);
        }
    }
    if request.is_upstream_answer() {
        restore(request);
    }
    let is_own_error = request.answer_status() >= 400 && !request.is_upstream_answer();
    if is_own_error || location.trace.adds_headers() {
        trace::add_headers(request, location, is_own_error);
    }
}

/// Notes the status of a copy from nginx's cache, unless it is what a background update finds
/// after its upstream has failed: no client receives that.
pub(super) fn note_copy(request: &Request<'_>) {
    if let Some(ctx) = request.context::<Context>() {
        let mut attempt = ctx.attempt.borrow_mut();
        if attempt.verdict.is_none() || !request.is_subrequest() {
            attempt.answer.state = AnswerState::Received(request.answer_status());
        }
    }
}

/// What to do with a piece of a response's body.
pub(super) enum Passing {
    Piece(Piece),
    /// The rest of the response, which is sent together with the end of the body. The lease
    /// must be released before: a client that has the whole response may ask for the same
    /// slot at once.
    Rest,
}

/// Handles a piece of a response's body.
pub(super) fn body(request: Request<'_>, ctx: &Context, chunk: Chunk<'_>) -> Passing {
    Passing::Piece(match ctx.refusal.reply.get() {
        Reply::Nginx => {
            usage::read(ctx, chunk);
            let (draining, state) = {
                let answer = &ctx.attempt.borrow().answer;
                (answer.draining, answer.state)
            };
            if let Some(left) = draining {
                drain::pass(&request, ctx, left, chunk)
            } else if request.is_edited() {
                let cut = usage::strips(&request, ctx);
                Piece::Edit { cut, last: false }
            } else if matches!(state, AnswerState::Joined(_)) {
                after_end(&request, ctx, chunk)
            } else if request.is_rest_of_answer(chunk) {
                return Passing::Rest;
            } else {
                cut(&request, ctx, Piece::Keep)
            }
        }
        Reply::Announced(error) => {
            ctx.refusal.reply.set(Reply::Sent);
            Piece::Replace(body_of(ctx, error).into_owned())
        }
        Reply::Sent => Piece::Drop,
    })
}

/// Passes on the rest of a response, whose lease has been released.
pub(super) fn rest(request: &Request<'_>, ctx: &Context) -> Piece {
    cut(request, ctx, Piece::Last)
}

/// Removes what the client has not asked for from a piece that is passed on.
fn cut(request: &Request<'_>, ctx: &Context, piece: Piece) -> Piece {
    match usage::strips(request, ctx) {
        true => Piece::Edit {
            cut: true,
            last: matches!(piece, Piece::Last),
        },
        false => piece,
    }
}

/// Handles a piece that arrives after the end of the body has been sent.
fn after_end(request: &Request<'_>, ctx: &Context, chunk: Chunk<'_>) -> Piece {
    match (chunk.is_end(), chunk.is_empty()) {
        (true, _) => Piece::Ended,
        // Data that waits for the client is sent on.
        (false, true) => cut(request, ctx, Piece::Keep),
        // The upstream sends more than its response.
        (false, false) => Piece::Discard,
    }
}

/// Called when the end of the body has been sent with the rest of the response.
pub(super) fn sent_last(request: Request<'_>) {
    if let Some(ctx) = request.context::<Context>() {
        let state = &mut ctx.attempt.borrow_mut().answer.state;
        if let AnswerState::Complete(status) = *state {
            *state = AnswerState::Joined(status);
        }
    }
}

const ATTEMPTS: HeaderName = HeaderName::new(b"X-OpenAI-Attempts", b"x-openai-attempts");

fn add_attempts(request: &Request<'_>, location: &Location) {
    if location.next_key.adds_header()
        && let Some(ctx) = request.recalled::<Context>()
    {
        let attempts = ctx.retries.borrow().attempts.to_string();
        // Replaces the header of an upstream that is such a gateway itself.
        request.set_answer_header(ATTEMPTS, attempts.as_bytes());
    }
}

/// Whether the response arrives in parts: an event stream, or a body of unknown length.
fn streams(request: &Request<'_>) -> bool {
    request.answers_events() || request.answer_length().is_none()
}

/// Replaces the model in the response by the alias that was asked for, if that is configured.
fn restore(request: &Request<'_>) {
    let known = request
        .context::<Context>()
        .zip(request.main_conf::<Main>());
    let Some(alias) = known.and_then(|(ctx, main)| ctx.alias(main)) else {
        return;
    };
    let form = match (request.answers_events(), request.answers_json()) {
        (true, _) => Form::Events,
        (_, true) => Form::Json,
        _ => return,
    };
    if alias.restore && request.answers_plainly() {
        let name = serde_json::to_vec(&alias.name).unwrap_or_default();
        request.edit_answer(Box::new(Restoring(Restorer::new(form))), &name);
    }
}

fn body_of(ctx: &Context, error: ApiError) -> Cow<'static, [u8]> {
    error.body_for(ctx.head.read.get().and_then(|head| head.model.as_str()))
}

fn replace_error_page(request: &Request<'_>) {
    let status = request.answer_status();
    let known = request
        .context::<Context>()
        .or_else(|| request.adopt::<Context>());
    let Some(ctx) = known.or_else(|| request.attach(Context::new)) else {
        return;
    };
    let refusal = ctx
        .refusal
        .error
        .get()
        .filter(|refusal| refusal.status() == status);
    let error = refusal.unwrap_or(ApiError::for_status(status));
    request.announce_answer(b"application/json", body_of(ctx, error).len());
    if let Some(seconds) = error.retry_after() {
        request.add_answer_header(b"Retry-After", seconds.to_string().as_bytes());
    }
    if error.is_final() {
        request.add_answer_header(b"X-Should-Retry", b"false");
    }
    ctx.refusal.reply.set(Reply::Announced(error));
}

/// Replaces the name of the model by the alias.
struct Restoring(Restorer);

impl Edits for Restoring {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Edit)) {
        self.0.feed(piece, &mut |part| {
            emit(match part {
                Part::Keep(range) => Edit::Keep(range),
                Part::Name => Edit::Insert,
            });
        });
    }
}

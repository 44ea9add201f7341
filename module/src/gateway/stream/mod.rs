//! Answers on their way to the client: observed, and where they are nginx's own
//! errors, given OpenAI's form.

pub mod broken;
pub mod drain;
pub mod lost;
pub mod usage;

use std::borrow::Cow;

use nginx_safe::{Chunk, End, Filter, HeaderName, LocationConf, Piece, Request};
use nginx_safe::{Edit, Edits};
use openai_wire::restore::Form;
use openai_wire::restore::Part;
use openai_wire::{ApiError, Restorer};

use crate::config::{Location, Main};
use crate::gateway::{Context, Reply, release, trace};

pub struct Answers;

impl Filter for Answers {
    fn header(request: Request<'_>) -> bool {
        let Some(location) = request.location::<Location>() else {
            return true;
        };
        if !location.is_gateway() {
            return true;
        }
        tell_attempts(&request, location);
        if request.is_error_page() {
            put_into_form(&request);
        } else if request.is_from_cache() {
            // A refresh in the background may want the very slot.
            crate::gateway::ended(request);
        } else if request.is_upstream_answer() {
            if streams(&request) {
                request.stream_answer();
            }
            if let Some(ctx) = request.context::<Context>() {
                usage::begin(&request, ctx, location);
            }
        }
        if request.is_upstream_answer() {
            restore(&request);
        }
        let is_own_error = request.answer_status() >= 400 && !request.is_upstream_answer();
        if is_own_error || location.trace().tells() {
            trace::tell(&request, location, is_own_error);
        }
        // One that leaves later is noticed when the body is sent.
        !(location.drains()
            && request.is_upstream_answer()
            && request.client_is_gone()
            && drain::client_left(&request))
    }

    fn body<'a>(request: Request<'a>, chunk: Chunk<'_>) -> Piece<'a> {
        match request.upstream_end() {
            Some(End::Attempt) => return Piece::Hold,
            Some(End::Broken(last_words)) => return Piece::Replace(last_words.to_vec()),
            None => {}
        }
        let Some(ctx) = request.context::<Context>() else {
            return Piece::Keep;
        };
        match ctx.reply.get() {
            Reply::Nginx => {
                usage::see(ctx, chunk);
                let (draining, editor) = {
                    let answer = &ctx.attempt.borrow().answer;
                    (answer.draining, answer.editor.clone())
                };
                if let Some(left) = draining {
                    return drain::pass(&request, ctx, left, chunk);
                }
                if editor.is_some() {
                    return Piece::Edit(usage::cutter(&request, ctx), editor, false);
                }
                let piece = joined(request, ctx, chunk);
                let is_last = match piece {
                    Piece::Keep => false,
                    Piece::Last => true,
                    piece => return piece,
                };
                // Last: it borrows the attempt.
                match usage::cutter(&request, ctx) {
                    Some(cutter) => Piece::Edit(Some(cutter), None, is_last),
                    None => piece,
                }
            }
            Reply::Announced(error) => {
                ctx.reply.set(Reply::Sent);
                Piece::Replace(body_of(ctx, error).into_owned())
            }
            Reply::Sent => Piece::Drop,
        }
    }

    fn sent_last(request: Request<'_>) {
        if let Some(ctx) = request.context::<Context>() {
            ctx.attempt.borrow_mut().answer.is_joined = true;
        }
    }

    fn client_left(request: Request<'_>) -> bool {
        drain::client_left(&request)
    }
}

/// The rest of an answer goes with the end of its body.
fn joined<'a>(request: Request<'a>, ctx: &Context, chunk: Chunk<'_>) -> Piece<'a> {
    if ctx.attempt.borrow().answer.is_joined {
        return match (chunk.is_end(), chunk.is_empty()) {
            (true, _) => Piece::Ended,
            // What waits for the client goes on.
            (false, true) => Piece::Keep,
            // The upstream goes on behind the end of its answer.
            (false, false) => Piece::Discard,
        };
    }
    if !request.is_rest_of_answer(chunk) {
        return Piece::Keep;
    }
    // Before the client can know: it may ask for the same slot at once.
    release::answer_complete(request);
    Piece::Last
}

const ATTEMPTS: HeaderName = HeaderName::new(b"X-OpenAI-Attempts", b"x-openai-attempts");

fn tell_attempts(request: &Request<'_>, location: &Location) {
    if location.next_key().tells()
        && let Some(ctx) = request.recalled::<Context>()
    {
        let attempts = ctx.retries.borrow().attempts.to_string();
        // An upstream that is such a gateway has told its own.
        request.set_answer_header(ATTEMPTS, attempts.as_bytes());
    }
}

/// Whether the answer comes bit by bit: an event stream, or of unknown length.
fn streams(request: &Request<'_>) -> bool {
    request.answers_events() || request.answer_length().is_none()
}

/// Has the answer name the alias that was asked for, if that is wanted.
fn restore(request: &Request<'_>) {
    let known = request
        .context::<Context>()
        .zip(request.main_conf::<Main>());
    let Some((ctx, alias)) = known.and_then(|(ctx, main)| Some((ctx, ctx.alias(main)?))) else {
        return;
    };
    let form = match (request.answers_events(), request.answers_json()) {
        (true, _) => Form::Events,
        (_, true) => Form::Json,
        _ => return,
    };
    if alias.restore && request.answers_plainly() {
        let name = serde_json::to_vec(&alias.name).unwrap_or_default();
        let editor = request.edit_answer(Box::new(Restoring(Restorer::new(form))), &name);
        ctx.attempt.borrow_mut().answer.editor = editor;
    }
}

fn body_of(ctx: &Context, error: ApiError) -> Cow<'static, [u8]> {
    error.body_for(ctx.head.get().and_then(|head| head.model.as_str()))
}

fn put_into_form(request: &Request<'_>) {
    let status = request.answer_status();
    let known = request
        .context::<Context>()
        .or_else(|| request.adopt::<Context>());
    let Some(ctx) = known.or_else(|| request.attach(Context::new)) else {
        return;
    };
    // The upstream is gone; the client may take its time to close.
    ctx.let_go();
    let refusal = ctx
        .refusal
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
    ctx.reply.set(Reply::Announced(error));
}

/// Puts the alias's name in the place of the model's.
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

//! Usage of a response, read while it passes to the client.

use std::cell::Cell;

use nginx_safe::{BodyPart, Chunk, Level, Remainder, Request};
use openai_core::attempts::AnswerState;
use openai_core::metrics::CLIENT_LEFT;
use openai_wire::usage::{Source, Stripped, Used};
use openai_wire::{EventEnd, MOST_TOKENS, UsageScanner};
use serde_json::json;

use crate::config::{Location, Main, Pool};
use crate::gateway::{Context, Stage};
use crate::pool::notes;
use crate::telemetry::event;

/// Reads the usage of one response.
pub struct Meter {
    scanner: UsageScanner,
    /// Time from the lease to the first content of a stream, in milliseconds.
    first_token_ms: Option<u64>,
}

/// Removes the usage chunk that the client has not asked for.
pub fn strip(ctx: &Context, part: BodyPart<'_>) -> Remainder {
    let stripper = &mut ctx.attempt.borrow_mut().answer.stripper;
    let Some(stripper) = stripper else {
        return part.unchanged();
    };
    match part {
        BodyPart::Bytes(bytes) => {
            let Stripped { before, kept } = stripper.feed(bytes);
            Remainder { before, kept }
        }
        BodyPart::End => Remainder {
            before: stripper.finish(),
            kept: 0,
        },
    }
}

/// Whether the usage chunk, which the client has not asked for, is removed from the response.
pub fn strips(request: &Request<'_>, ctx: &Context) -> bool {
    let answer = &ctx.attempt.borrow().answer;
    let asked = answer.stripper.is_some() && answer.meter.is_some();
    asked && request.answers_events() && !request.is_buffered()
}

/// Called before the header of a response is sent: starts to read its usage, if it can have any.
pub fn begin(request: &Request<'_>, ctx: &Context, location: &Location) {
    let stream = request.answers_events();
    // Other requests fetch results whose usage has been counted.
    let is_metered = location.usage.is_read()
        && request.method() == b"POST"
        && (stream || request.answers_json())
        && request.answer_status() < 300
        && request.answers_plainly();
    let meter = is_metered.then(|| Meter {
        scanner: UsageScanner::new(stream),
        first_token_ms: None,
    });
    if meter.is_some() {
        request.want_in_memory();
    }
    {
        let answer = &mut ctx.attempt.borrow_mut().answer;
        answer.state = AnswerState::Sent(request.answer_status());
        answer.events = stream.then(EventEnd::default);
        answer.meter = meter;
    }
    if strips(request, ctx) {
        request.body_changes();
    }
}

/// Reads a piece of the response.
pub fn read(ctx: &Context, chunk: Chunk<'_>) {
    let attempt = &mut *ctx.attempt.borrow_mut();
    if let Some(end) = attempt.answer.events.as_mut() {
        *end = chunk.parts().fold(*end, EventEnd::after);
    }
    let Some(meter) = attempt.answer.meter.as_mut() else {
        return;
    };
    for part in chunk.parts() {
        meter.scanner.feed(part);
    }
    let began = meter.scanner.is_stream() && meter.scanner.content().pieces > 0;
    if began
        && meter.first_token_ms.is_none()
        && let Some(lease) = attempt.lease
    {
        meter.first_token_ms = Some(lease.held_ms());
    }
}

/// Usage of the request so far: as the response reports it, or estimated.
pub fn of(request: &Request<'_>, ctx: &Context) -> Used {
    let answer = &ctx.attempt.borrow().answer;
    let meter = answer.meter.as_ref();
    let stated = meter.and_then(|meter| meter.scanner.finish(answer.state.is_complete()));
    if let Some(tokens) = stated {
        let source = Source::Exact;
        return Used { tokens, source };
    }
    // If there is no response, the upstream has worked only for clients that left during an
    // attempt.
    let asked = meter.is_some()
        || (ctx.retries.borrow().attempts > 0
            && ctx.stage() == Stage::Done
            && request.answer_status() == CLIENT_LEFT);
    if !asked || !ctx.endpoint(request).has_tokens() {
        return Used::default();
    }
    let prompt = ctx.head.read.get().map_or(0, |head| head.prompt_bytes);
    let completion = meter.map_or(0, |meter| {
        let stream = meter.scanner.is_stream();
        meter.scanner.content().estimated(stream)
    });
    Used::estimated(prompt, completion)
}

thread_local! {
    /// Whether this worker has logged an implausible usage.
    static IMPLAUSIBLE_LOGGED: Cell<bool> = const { Cell::new(false) };
}

/// Logs that a response reported an implausible usage, once per worker.
pub fn log_implausible(ctx: &Context, pool: &str, model: &str) {
    let is_implausible = {
        let attempt = ctx.attempt.borrow();
        let meter = attempt.answer.meter.as_ref();
        meter.is_some_and(|meter| meter.scanner.is_implausible())
    };
    if is_implausible && !IMPLAUSIBLE_LOGGED.replace(true) {
        let fields = json!({ "pool": pool, "model": model, "most_tokens": MOST_TOKENS });
        event(Level::Warn, "usage_implausible", fields);
    }
}

/// Replaces the estimated tokens of a request by its usage, if its pool limits tokens.
pub fn settle(request: &Request<'_>, ctx: &Context) {
    let main = request.main_conf::<Main>();
    let Some((main, lease)) = main.zip(ctx.held()) else {
        return;
    };
    if !main.pools.get(lease.pool).is_some_and(Pool::limits_tokens) {
        return;
    }
    let Used { tokens, source } = of(request, ctx);
    if source != Source::None {
        let used = tokens.prompt.saturating_add(tokens.completion);
        notes::tokens(&lease.grant, used);
    }
}

/// Time from the lease to the first content of a stream, in milliseconds.
pub fn first_token_ms(ctx: &Context) -> Option<u64> {
    ctx.attempt.borrow().answer.meter.as_ref()?.first_token_ms
}

/// Cost of the request, in units of [`openai_core::prices`].
pub fn cost(main: &Main, ctx: &Context, used: Used) -> Option<u64> {
    if used.source == Source::None {
        return None;
    }
    main.prices.as_ref()?.cost(model(main, ctx), used.tokens)
}

/// The model that the upstream was asked for; empty if it is unknown.
pub fn model<'a>(main: &'a Main, ctx: &'a Context) -> &'a str {
    if let Some(alias) = ctx.alias(main) {
        return &alias.model;
    }
    ctx.head
        .read
        .get()
        .and_then(|head| head.model.as_str())
        .unwrap_or_default()
}

/// Context and usage of a request for variables; `None` without a context.
pub fn with_context<'a>(request: &Request<'a>) -> Option<(&'a Context, Used)> {
    let ctx = request.recalled::<Context>()?;
    Some((ctx, of(request, ctx)))
}

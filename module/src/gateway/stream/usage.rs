//! What an answer uses, read as it passes to the client.

use std::cell::{Cell, RefMut};

use nginx_safe::{Chunk, Cutter, Left, Level, Part, Request};
use openai_wire::usage::{Source, Stripped, estimated_prompt};
use openai_wire::{EventEnd, MOST_TOKENS, Tokens, UsageScanner};
use serde_json::json;

use crate::config::{Location, Main, Pool};
use crate::gateway::{CLIENT_LEFT, Context};
use crate::pool;
use crate::telemetry::{event, now};

/// Reads the usage of one answer.
pub struct Meter {
    scanner: UsageScanner,
    /// From the lease to the first word of a stream.
    first_token_ms: Option<u64>,
}

/// What a request has used.
#[derive(Clone, Copy, Default)]
pub struct Used {
    pub tokens: Tokens,
    pub source: Source,
}

/// What takes the chunk out that the client has not asked for; `None` where nothing has
/// to be taken out. The attempt stays borrowed as long as it lives.
pub fn cutter<'a>(request: &Request<'a>, ctx: &'a Context) -> Option<Cutter<'a>> {
    if !strips(request, ctx) {
        return None;
    }
    let attempt = ctx.attempt.try_borrow_mut().ok()?;
    let stripper = RefMut::filter_map(attempt, |attempt| attempt.answer.stripper.as_mut());
    let mut stripper = stripper.ok()?;
    Some(Box::new(move |part| match part {
        Part::Bytes(bytes) => {
            let Stripped { before, kept } = stripper.feed(bytes);
            Left { before, kept }
        }
        Part::End => Left {
            before: stripper.finish(),
            kept: 0,
        },
    }))
}

/// Whether the chunk that the client has not asked for is taken out of the answer.
fn strips(request: &Request<'_>, ctx: &Context) -> bool {
    let answer = &ctx.attempt.borrow().answer;
    let asked = answer.stripper.is_some() && answer.meter.is_some();
    asked && request.answers_events() && !request.is_buffered()
}

/// The header of an answer is about to be sent: has its usage read, if it tells any.
pub fn begin(request: &Request<'_>, ctx: &Context, location: &Location) {
    let stream = request.answers_events();
    let tells = location.usage().is_read()
        && (stream || request.answers_json())
        && request.answer_status() < 300
        && request.answers_plainly();
    let meter = tells.then(|| Meter {
        scanner: UsageScanner::new(stream),
        first_token_ms: None,
    });
    if meter.is_some() {
        request.want_in_memory();
    }
    {
        let answer = &mut ctx.attempt.borrow_mut().answer;
        answer.status = Some(request.answer_status());
        answer.events = stream.then(EventEnd::default);
        answer.meter = meter;
    }
    if strips(request, ctx) {
        request.body_changes();
    }
}

/// A piece of the answer passes.
pub fn see(ctx: &Context, chunk: Chunk<'_>) {
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
        let since = now().mono_ms.saturating_sub(lease.grant.granted_ms);
        meter.first_token_ms = Some(since);
    }
}

/// What the request has used so far: as the answer tells, or else by estimate.
pub fn of(request: &Request<'_>, ctx: &Context) -> Used {
    let answer = &ctx.attempt.borrow().answer;
    let meter = answer.meter.as_ref();
    let told = meter.and_then(|meter| meter.scanner.finish(answer.is_complete));
    if let Some(tokens) = told {
        return Used {
            tokens,
            source: Source::Exact,
        };
    }
    let prompt = ctx.head.get().map_or(0, |head| head.prompt_bytes);
    let completion = meter.map_or(0, |meter| {
        let stream = meter.scanner.is_stream();
        meter.scanner.content().estimated(stream)
    });
    // Without an answer, the upstream has worked for those only that left.
    let asked = meter.is_some()
        || (ctx.retries.borrow().attempts > 0 && request.answer_status() == CLIENT_LEFT);
    if !asked || !has_tokens(request, ctx) || (prompt == 0 && completion == 0) {
        return Used::default();
    }
    Used {
        tokens: Tokens {
            prompt: estimated_prompt(prompt),
            completion,
            ..Tokens::default()
        },
        source: Source::Estimated,
    }
}

thread_local! {
    /// Whether this worker has said that an answer told a usage that cannot be.
    static NONSENSE_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Says, once in a worker, that an answer has told a usage that cannot be.
pub fn note_nonsense(ctx: &Context, pool: &str, model: &str) {
    let is_nonsense = {
        let attempt = ctx.attempt.borrow();
        let meter = attempt.answer.meter.as_ref();
        meter.is_some_and(|meter| meter.scanner.told_nonsense())
    };
    if is_nonsense && !NONSENSE_TOLD.replace(true) {
        let fields = json!({ "pool": pool, "model": model, "most_tokens": MOST_TOKENS });
        event(Level::Warn, "usage_implausible", fields);
    }
}

/// Takes what the answer has used for what was estimated, of a limit that is stated.
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
        pool::in_zone(|zone| zone.settle(&lease.grant, used, now()));
    }
}

/// Whether requests of this endpoint are billed by tokens.
pub fn has_tokens(request: &Request<'_>, ctx: &Context) -> bool {
    matches!(
        ctx.endpoint(request).as_str(),
        "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/embeddings"
    )
}

/// From the lease to the first word of a stream.
pub fn first_token_ms(ctx: &Context) -> Option<u64> {
    ctx.attempt.borrow().answer.meter.as_ref()?.first_token_ms
}

/// What the request cost, in units of [`openai_core::prices`].
pub fn cost(main: &Main, ctx: &Context, used: Used) -> Option<u64> {
    if used.source == Source::None {
        return None;
    }
    main.prices.as_ref()?.cost(model(main, ctx), used.tokens)
}

/// The model that the upstream was asked for; empty when that is not known.
pub fn model<'a>(main: &'a Main, ctx: &'a Context) -> &'a str {
    if let Some(alias) = ctx.alias(main) {
        return &alias.model;
    }
    ctx.head
        .get()
        .and_then(|head| head.model.as_str())
        .unwrap_or_default()
}

/// The same for variables, of a request that has a context.
pub fn told<'a>(request: &Request<'a>) -> Option<(&'a Context, Used)> {
    let ctx = request.recalled::<Context>()?;
    Some((ctx, of(request, ctx)))
}

//! Metrics of a request at its end.

use nginx_safe::Request;
use openai_core::metrics::{Day, Endpoint, Http, Outcome, PoolRequest, Record, RequestEnd};

use super::{Context, LeaseStatus, usage};
use crate::config::{Location, Main, Pool};
use crate::telemetry::{metrics, now};

/// Adds an ended request to the metrics, once.
pub(super) fn add(request: &Request<'_>) {
    let (Some(main), Some(location)) =
        (request.main_conf::<Main>(), request.location::<Location>())
    else {
        return;
    };
    let ctx = request.recalled::<Context>();
    let Some(shared) = main
        .metrics
        .shared
        .filter(|_| location.is_gateway() || ctx.is_some())
    else {
        return;
    };
    if ctx.is_some_and(|ctx| ctx.log.counted.replace(true)) {
        return;
    }
    let http = (!request.is_subrequest()).then(|| {
        let endpoint = match ctx {
            Some(ctx) => ctx.endpoint(request),
            None => Endpoint::of(request.path()),
        };
        Http::new(request.method(), endpoint, request.answer_status())
    });
    let leased = ctx.and_then(|ctx| main.pools.get(ctx.lease()?.pool));
    let sends = location.serves() && location.sends;
    let configured = || {
        let here = || main.first_pool(location).filter(|_| sends);
        ctx?.pool(main).or_else(here).map(|(_, pool)| pool)
    };
    let pool = leased.or_else(configured);
    let asked = ctx.zip(pool);
    let now = now();
    let record = Record {
        http,
        day: Day::of(now.wall_us),
        ended_ms: now.mono_ms,
        duration_ms: request.age_ms(),
        request: asked.map(|(ctx, pool)| done(request, location, main, ctx, pool)),
    };
    if record.http.is_none() && record.request.is_none() {
        return;
    }
    let client = ctx.and_then(|ctx| ctx.client(main));
    let key = ctx.and_then(|ctx| ctx.attempt.borrow().key.clone());
    let names = [
        client.map_or("", |client| &client.name),
        pool.map_or("", |pool| &pool.name),
        key.as_ref().map_or("", |key| &key.id),
        ctx.map_or("", |ctx| usage::model(main, ctx)),
    ];
    metrics::add(shared, record, names);
}

/// The record of a request to a pool; its names are added later.
fn done(
    request: &Request<'_>,
    location: &Location,
    main: &Main,
    ctx: &Context,
    pool: &Pool,
) -> PoolRequest<'static> {
    let model = usage::model(main, ctx);
    let used = usage::of(request, ctx);
    usage::log_implausible(ctx, &pool.name, model);
    let asked = ctx.wait().status != LeaseStatus::None;
    PoolRequest {
        service: "",
        pool: "",
        key: "",
        model: "",
        known_model: main.prices.as_ref().is_some_and(|p| p.knows(model)),
        outcome: outcome(request, ctx, location),
        attempts: ctx.retries.borrow().attempts,
        tokens: used.tokens,
        source: used.source,
        cost: usage::cost(main, ctx, used),
        wait_ms: asked.then(|| ctx.waited_ms()),
        hold_ms: ctx.held_ms(),
        first_token_ms: usage::first_token_ms(ctx),
    }
}

fn outcome(request: &Request<'_>, ctx: &Context, location: &Location) -> Outcome {
    let attempt = ctx.attempt.borrow();
    Outcome::of(&RequestEnd {
        lease_lost: attempt.wait.status == LeaseStatus::Lost,
        refusal: ctx.refusal.error.get(),
        left_queue: attempt.wait.status == LeaseStatus::Waiting,
        client_gone: request.client_is_gone(),
        leased: attempt.lease.is_some(),
        is_lock: location.api.is_served(),
        answer: attempt.answer.state,
        status: request.answer_status(),
    })
}

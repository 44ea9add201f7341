//! What is counted of a request at its end.

use nginx_safe::{Flow, Phase, PhaseHandler, Request};
use openai_core::metrics::{Day, Endpoint, Http, Outcome, PoolRequest, Record};
use openai_wire::ApiError;

use super::release::ended;
use super::stream::usage;
use super::{Context, LeaseStatus};
use crate::config::{Location, Main, Pool};
use crate::telemetry::{metrics, now};

pub struct Log;

impl PhaseHandler for Log {
    const PHASE: Phase = Phase::Log;

    fn run(request: Request<'_>) -> Flow {
        ended(request);
        add(&request);
        Flow::Decline
    }
}

/// Adds a request that has ended: once.
pub fn add(request: &Request<'_>) {
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
    if ctx.is_some_and(|ctx| ctx.counted.replace(true)) {
        return;
    }
    let http = (!request.is_subrequest()).then(|| {
        let endpoint = match ctx {
            Some(ctx) => ctx.endpoint(request),
            None => Endpoint::of(request.path()),
        };
        Http::new(request.method(), endpoint, request.answer_status())
    });
    let key = ctx.and_then(Context::lease).and_then(|lease| {
        let pool = main.pools.get(lease.pool)?;
        pool.keys.get(lease.grant.key)
    });
    let asked = ctx.and_then(|ctx| {
        let leased = ctx.lease().and_then(|lease| main.pools.get(lease.pool));
        let meant = || ctx.pool(main).or_else(|| main.first_pool(location));
        let pool = match leased {
            Some(pool) => pool,
            None if location.sends() => meant()?.1,
            None => return None,
        };
        let key = key.as_ref().map_or("", |key| key.id.as_str());
        Some(done(request, location, main, ctx, pool, key))
    });
    let now = now();
    let record = Record {
        http,
        day: Day::of(now.wall_us),
        ended_ms: now.mono_ms,
        duration_ms: request.age_ms(),
        request: asked,
    };
    if record.http.is_some() || record.request.is_some() {
        let client = ctx.and_then(|ctx| ctx.client(main));
        metrics::add(shared, &record, client.map(|client| client.name.as_str()));
    }
}

fn done<'a>(
    request: &Request<'a>,
    location: &Location,
    main: &'a Main,
    ctx: &'a Context,
    pool: &'a Pool,
    key: &'a str,
) -> PoolRequest<'a> {
    let client = ctx.client(main);
    let model = usage::model(main, ctx);
    let used = usage::of(request, ctx);
    usage::note_nonsense(ctx, &pool.name, model);
    let asked = ctx.wait.get().status != LeaseStatus::None;
    PoolRequest {
        service: client.map_or("", |client| client.name.as_str()),
        pool: &pool.name,
        key,
        model,
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

/// nginx's status of a request whose client left before an answer.
pub const CLIENT_LEFT: u16 = 499;

fn outcome(request: &Request<'_>, ctx: &Context, location: &Location) -> Outcome {
    let status = ctx.wait.get().status;
    match (status, ctx.refusal.get()) {
        (LeaseStatus::Lost, _) => return Outcome::LeaseLost,
        (
            _,
            Some(
                ApiError::NoKeyAvailable { .. }
                | ApiError::QueueFull { .. }
                | ApiError::KeysRateLimited { .. },
            ),
        ) => return Outcome::NoKey,
        (
            _,
            Some(
                ApiError::LockUnavailable { .. }
                | ApiError::NoHealthyKey { .. }
                | ApiError::UpstreamsOpen { .. },
            ),
        ) => return Outcome::Unavailable,
        (_, Some(_)) => return Outcome::Refused,
        _ => {}
    }
    let (leased, answered, is_complete, is_left) = {
        let attempt = ctx.attempt.borrow();
        let answer = &attempt.answer;
        (
            attempt.lease.is_some(),
            answer.status,
            answer.is_complete,
            answer.is_left,
        )
    };
    let left = status == LeaseStatus::Waiting
        || is_left
        || request.answer_status() == CLIENT_LEFT
        || (!is_complete && request.client_is_gone());
    if left {
        return Outcome::Aborted;
    }
    match (leased, answered) {
        (false, _) => Outcome::Refused,
        // A lock has been taken: there is no upstream.
        _ if location.api.is_served() => Outcome::Success,
        (true, None) => Outcome::UpstreamError,
        (true, Some(_)) if !is_complete => Outcome::Incomplete,
        (true, Some(429)) => Outcome::RateLimited,
        (true, Some(500..)) => Outcome::UpstreamError,
        (true, Some(400..)) => Outcome::ClientError,
        (true, Some(_)) => Outcome::Success,
    }
}

//! The variables `$openai_*`, for logs and other directives.

use nginx_safe::VariableValue::{self, Bytes, Missing, Number, Text};
use nginx_safe::{Request, Variable, Variables};
use openai_core::admin::lock_id;
use openai_core::lease::{Cause, PoolGauges};
use openai_core::prices;
use openai_core::redlock::PoolNames;
use openai_wire::usage::Source;
use openai_wire::{Tokens, Verdict};
use serde_json::json;

use super::trace::{self, Ids};
use super::{Context, usage};
use crate::config::{Location, Main, Pool, Store};
use crate::pool::{self, Lease, locks};
use crate::telemetry::wall_time;

pub const ALL: Variables = Variables {
    prefix: "openai_",
    all: DECLARED,
};

const fn variable(name: &'static str, read: fn(Request<'_>) -> VariableValue) -> Variable {
    Variable { name, read }
}

const DECLARED: &[Variable] = &[
    variable("openai_pool", pool),
    variable("openai_key_id", |r| {
        text(context(&r).and_then(Context::key_id).as_deref())
    }),
    variable("openai_slot", |r| {
        number(lease(&r).map(|(l, _)| l.grant.ordinal))
    }),
    variable("openai_lease_id", lease_id),
    variable("openai_fence", |r| {
        number(lease(&r).map(|(l, _)| l.grant.fence))
    }),
    variable("openai_lease_status", lease_status),
    variable("openai_wait_ms", |r| {
        number(context(&r).map(Context::waited_ms))
    }),
    variable("openai_hold_ms", |r| {
        number(context(&r).and_then(Context::held_ms))
    }),
    variable("openai_attempts", |r| {
        let made = context(&r).map(|ctx| ctx.retries.borrow().attempts);
        number(made.filter(|&n| n > 0))
    }),
    variable("openai_verdict", |r| {
        text(
            context(&r)
                .and_then(|ctx| ctx.attempt.borrow().verdict)
                .map(Verdict::as_str),
        )
    }),
    variable("openai_service", |r| text(client(&r).map(|c| &*c.name))),
    variable("openai_role", |r| word(client(&r).map(|c| c.role.as_str()))),
    variable("openai_model", model),
    variable("openai_upstream_model", upstream_model),
    variable("openai_upstream", upstream),
    variable("openai_route", |r| {
        let known = context(&r).zip(r.main_conf::<Main>());
        text(known.and_then(|(ctx, main)| ctx.pattern(main)))
    }),
    variable("openai_stream", stream),
    variable("openai_user", |r| {
        text(context(&r).and_then(|ctx| ctx.head.read.get()?.user.as_str()))
    }),
    variable("openai_pool_held", |r| gauge(&r, |g| g.held)),
    variable("openai_pool_waiting", |r| gauge(&r, |g| g.waiting)),
    variable("openai_pool_slots", |r| gauge(&r, |g| g.slots)),
    variable("openai_pool_keys", pool_keys),
    variable("openai_pool_nodes", |r| of_group(&r, locks::nodes)),
    variable("openai_pool_locks", |r| of_group(&r, locks::status)),
    variable("openai_circuits", circuits),
    variable("openai_lock_rounds", |r| {
        let rounds = context(&r).map(|ctx| ctx.retries.borrow().rounds);
        number(rounds.filter(|&rounds| rounds > 0))
    }),
    variable("openai_prompt_tokens", |r| tokens(&r, |t| t.prompt)),
    variable("openai_completion_tokens", |r| tokens(&r, |t| t.completion)),
    variable("openai_cached_tokens", |r| tokens(&r, |t| t.cached)),
    variable("openai_reasoning_tokens", |r| tokens(&r, |t| t.reasoning)),
    variable("openai_usage", |r| {
        word(usage::with_context(&r).map(|(_, used)| used.source.as_str()))
    }),
    variable("openai_first_token_ms", |r| {
        number(context(&r).and_then(usage::first_token_ms))
    }),
    variable("openai_cost", cost),
    variable("openai_trace_id", |r| {
        of_trace(&r, |ids| ids.parent.trace_id())
    }),
    variable("openai_span_id", |r| {
        of_trace(&r, |ids| ids.parent.span_id())
    }),
    variable("openai_request_id", |r| {
        trace::logged_id(&r).map_or(Missing, |id| Bytes(id.to_vec()))
    }),
    variable("openai_lock_votes", |r| {
        number(context(&r).and_then(|ctx| ctx.wait().votes))
    }),
];

fn context<'a>(request: &Request<'a>) -> Option<&'a Context> {
    request.recalled::<Context>()
}

fn lease<'a>(request: &Request<'a>) -> Option<(Lease, &'a Main)> {
    context(request)?.lease().zip(request.main_conf::<Main>())
}

fn text(found: Option<&str>) -> VariableValue {
    found.map_or(Missing, |text| Bytes(text.as_bytes().to_vec()))
}

fn word(found: Option<&'static str>) -> VariableValue {
    found.map_or(Missing, Text)
}

fn number(found: Option<impl Into<u64>>) -> VariableValue {
    found.map_or(Missing, |number| Number(number.into()))
}

/// Pool of the lease; without one, of the target, or of the location.
fn pool(request: Request<'_>) -> VariableValue {
    let leased = lease(&request).and_then(|(lease, main)| main.pools.get(lease.pool));
    text(
        leased
            .or_else(|| here(&request).map(|(_, pool)| pool))
            .map(|pool| pool.name.as_str()),
    )
}

fn here<'a>(request: &Request<'a>) -> Option<(usize, &'a Pool)> {
    let main = request.main_conf::<Main>()?;
    let chosen = context(request).and_then(|ctx| ctx.pool(main));
    chosen.or_else(|| main.first_pool(request.location::<Location>()?))
}

fn lease_id(request: Request<'_>) -> VariableValue {
    let lease = lease(&request).map(|(l, _)| lock_id(l.grant.handle.nonce()));
    let lock = || Some(lock_id(context(&request)?.lock_call()?.lock.get()?.nonce()));
    text(lease.or_else(lock).as_deref())
}

fn lease_status(request: Request<'_>) -> VariableValue {
    Text(context(&request).map_or("none", |ctx| ctx.wait().status.as_str()))
}

fn client<'a>(request: &Request<'a>) -> Option<&'a openai_core::clients::Client> {
    context(request)?.client(request.main_conf::<Main>()?)
}

fn model(request: Request<'_>) -> VariableValue {
    text(context(&request).and_then(|ctx| ctx.head.read.get()?.model.as_str()))
}

/// Model in the upstream request.
fn upstream_model(request: Request<'_>) -> VariableValue {
    let alias = context(&request)
        .zip(request.main_conf::<Main>())
        .and_then(|(ctx, main)| ctx.alias(main));
    alias.map_or_else(|| model(request), |alias| text(Some(&alias.model)))
}

/// Upstream of the current attempt.
fn upstream(request: Request<'_>) -> VariableValue {
    let target = context(&request).and_then(Context::chosen);
    text(target.and_then(|target| target.upstream).as_deref())
}

/// Whether the client asked for a stream; missing if the body was not read.
fn stream(request: Request<'_>) -> VariableValue {
    let head = context(&request).and_then(|ctx| ctx.head.read.get());
    word(head.map(|head| match head.stream {
        Some(true) => "true",
        _ => "false",
    }))
}

/// A report on the group whose nodes hold the locks of the location's pool.
fn of_group(request: &Request<'_>, read: fn(usize, &PoolNames) -> Option<String>) -> VariableValue {
    let found = here(request).and_then(|(_, pool)| match &pool.store {
        Store::Redlock { group, names, .. } => read(*group, names),
        _ => None,
    });
    text(found.as_deref())
}

/// The circuits of all upstreams, as JSON.
fn circuits(request: Request<'_>) -> VariableValue {
    let standing = request.main_conf::<Main>().and_then(pool::standing);
    let listed = standing.map(|standing| {
        let circuits = standing.circuits.into_iter();
        let listed = circuits.map(|(_, name, view)| {
            json!({
                "name": name,
                "state": view.state.as_str(),
                "share": f64::from(view.share().0) / 100.0,
                "requests": view.all,
                "trips": view.trips,
                "until": view.until_ms.map(wall_time),
            })
        });
        serde_json::Value::Array(listed.collect()).to_string()
    });
    text(listed.as_deref())
}

fn of_trace(request: &Request<'_>, pick: fn(&Ids) -> &[u8]) -> VariableValue {
    trace::ids(request).map_or(Missing, |ids| Bytes(pick(ids).to_vec()))
}

fn tokens(request: &Request<'_>, pick: fn(Tokens) -> u64) -> VariableValue {
    let used = usage::with_context(request).filter(|(_, used)| used.source != Source::None);
    number(used.map(|(_, used)| pick(used.tokens)))
}

/// Cost in dollars; missing if the model has no price.
fn cost(request: Request<'_>) -> VariableValue {
    let cost = usage::with_context(&request)
        .zip(request.main_conf::<Main>())
        .and_then(|((ctx, used), main)| usage::cost(main, ctx, used));
    text(cost.map(prices::dollars).as_deref())
}

/// The keys of the location's pool, as JSON.
fn pool_keys(request: Request<'_>) -> VariableValue {
    let pool = here(&request).and_then(|(at, _)| {
        let standing = pool::standing(request.main_conf::<Main>()?)?;
        standing.pools.into_iter().nth(at)
    });
    let listed = pool.map(|pool| {
        let listed = pool.keys.iter().map(|(key, view)| {
            json!({
                "id": key.id,
                "state": view.state().as_str(),
                "cause": view.cause.map(Cause::as_str),
                "left_ms": view.left_ms,
                "in_flight": view.in_use,
                "may_have": view.cap,
                "slots": view.slots,
                "requests_left": view.requests,
                "tokens_left": view.tokens,
                "last_error": Some(view.last_error).filter(|&status| status != 0),
                "failures": view.failures,
            })
        });
        serde_json::Value::Array(listed.collect()).to_string()
    });
    text(listed.as_deref())
}

fn gauge(request: &Request<'_>, pick: fn(PoolGauges) -> u32) -> VariableValue {
    let gauges = here(request).and_then(|(at, _)| pool::gauges(at));
    number(gauges.map(pick))
}

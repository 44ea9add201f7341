//! `$openai_*`: what logs and other directives can ask of a request.

use nginx_safe::{Request, Value, Variable, Variables};
use openai_core::admin::lock_id;
use openai_core::lease::{Cause, KeyView, PoolGauges};
use openai_core::prices;
use openai_core::redlock::PoolNames;
use openai_wire::usage::Source;
use openai_wire::{Tokens, Verdict};
use serde_json::json;

use super::Service;
use crate::config::{Location, Main, Pool, Store};
use crate::gateway::trace::{self, Ids};
use crate::gateway::{Context, usage};
use crate::pool::{self, Lease, circuits, locks};

pub const ALL: Variables = Variables {
    prefix: "openai_",
    all: DECLARED,
};

const DECLARED: &[Variable] = &[
    Variable {
        name: "openai_pool",
        read: pool,
    },
    Variable {
        name: "openai_key_id",
        read: key_id,
    },
    Variable {
        name: "openai_slot",
        read: slot,
    },
    Variable {
        name: "openai_lease_id",
        read: lease_id,
    },
    Variable {
        name: "openai_fence",
        read: fence,
    },
    Variable {
        name: "openai_lease_status",
        read: lease_status,
    },
    Variable {
        name: "openai_wait_ms",
        read: wait_ms,
    },
    Variable {
        name: "openai_hold_ms",
        read: hold_ms,
    },
    Variable {
        name: "openai_attempts",
        read: attempts,
    },
    Variable {
        name: "openai_verdict",
        read: |r| {
            text(
                context(&r)
                    .and_then(|ctx| ctx.retries.borrow().verdict)
                    .map(Verdict::as_str),
            )
        },
    },
    Variable {
        name: "openai_service",
        read: service,
    },
    Variable {
        name: "openai_role",
        read: role,
    },
    Variable {
        name: "openai_model",
        read: model,
    },
    Variable {
        name: "openai_upstream_model",
        read: upstream_model,
    },
    Variable {
        name: "openai_upstream",
        read: upstream,
    },
    Variable {
        name: "openai_route",
        read: |r| {
            let known = context(&r).zip(r.main_conf::<Main>());
            text(known.and_then(|(ctx, main)| ctx.pattern(main)))
        },
    },
    Variable {
        name: "openai_stream",
        read: stream,
    },
    Variable {
        name: "openai_user",
        read: user,
    },
    Variable {
        name: "openai_pool_held",
        read: |r| gauge(&r, |g| g.held),
    },
    Variable {
        name: "openai_pool_waiting",
        read: |r| gauge(&r, |g| g.waiting),
    },
    Variable {
        name: "openai_pool_slots",
        read: |r| gauge(&r, |g| g.slots),
    },
    Variable {
        name: "openai_pool_keys",
        read: pool_keys,
    },
    Variable {
        name: "openai_pool_nodes",
        read: |r| of_group(&r, locks::nodes),
    },
    Variable {
        name: "openai_pool_locks",
        read: |r| of_group(&r, locks::status),
    },
    Variable {
        name: "openai_circuits",
        read: circuits,
    },
    Variable {
        name: "openai_lock_rounds",
        read: lock_rounds,
    },
    Variable {
        name: "openai_prompt_tokens",
        read: |r| tokens(&r, |tokens| tokens.prompt),
    },
    Variable {
        name: "openai_completion_tokens",
        read: |r| tokens(&r, |tokens| tokens.completion),
    },
    Variable {
        name: "openai_cached_tokens",
        read: |r| tokens(&r, |tokens| tokens.cached),
    },
    Variable {
        name: "openai_reasoning_tokens",
        read: |r| tokens(&r, |tokens| tokens.reasoning),
    },
    Variable {
        name: "openai_usage",
        read: |r| {
            usage::told(&r).map_or(Value::Missing, |(_, used)| {
                Value::Text(used.source.as_str())
            })
        },
    },
    Variable {
        name: "openai_first_token_ms",
        read: first_token_ms,
    },
    Variable {
        name: "openai_cost",
        read: cost,
    },
    Variable {
        name: "openai_trace_id",
        read: |r| of_trace(&r, |ids| ids.parent.trace_id()),
    },
    Variable {
        name: "openai_span_id",
        read: |r| of_trace(&r, |ids| ids.parent.span_id()),
    },
    Variable {
        name: "openai_request_id",
        read: |r| trace::logged_id(&r).map_or(Value::Missing, |id| Value::Bytes(id.to_vec())),
    },
    Variable {
        name: "openai_lock_votes",
        read: lock_votes,
    },
];

fn context<'a>(request: &Request<'a>) -> Option<&'a Context> {
    request.recalled::<Context>()
}

fn lease<'a>(request: &Request<'a>) -> Option<(Lease, &'a Main)> {
    context(request)?.lease().zip(request.main_conf::<Main>())
}

fn text(found: Option<&str>) -> Value {
    found.map_or(Value::Missing, |text| {
        Value::Bytes(text.as_bytes().to_vec())
    })
}

/// How often the request has been sent upstream.
fn attempts(request: Request<'_>) -> Value {
    let made = context(&request).map(|ctx| ctx.retries.borrow().attempts);
    made.filter(|&n| n > 0)
        .map_or(Value::Missing, |n| Value::Bytes(n.to_string().into_bytes()))
}

/// The pool of the lease; without one, that of the target, or of the location.
fn pool(request: Request<'_>) -> Value {
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

fn key_id(request: Request<'_>) -> Value {
    text(context(&request).and_then(Context::key_id).as_deref())
}

fn slot(request: Request<'_>) -> Value {
    lease(&request).map_or(Value::Missing, |(l, _)| {
        Value::Number(l.grant.ordinal.into())
    })
}

fn lease_id(request: Request<'_>) -> Value {
    let lease = lease(&request).map(|(l, _)| pool::lease_id(&l.grant));
    let lock = || {
        Some(lock_id(
            Service::of(context(&request)?)?.lock.get()?.nonce(),
        ))
    };
    text(lease.or_else(lock).as_deref())
}

fn fence(request: Request<'_>) -> Value {
    lease(&request).map_or(Value::Missing, |(l, _)| Value::Number(l.grant.fence))
}

fn lease_status(request: Request<'_>) -> Value {
    Value::Text(context(&request).map_or("none", |ctx| ctx.wait.get().status.as_str()))
}

fn wait_ms(request: Request<'_>) -> Value {
    context(&request).map_or(Value::Missing, |ctx| Value::Number(ctx.waited_ms()))
}

fn hold_ms(request: Request<'_>) -> Value {
    context(&request)
        .and_then(Context::held_ms)
        .map_or(Value::Missing, Value::Number)
}

fn service(request: Request<'_>) -> Value {
    text(client(&request).map(|client| client.name.as_str()))
}

fn role(request: Request<'_>) -> Value {
    client(&request).map_or(Value::Missing, |client| Value::Text(client.role.as_str()))
}

fn client<'a>(request: &Request<'a>) -> Option<&'a openai_core::clients::Client> {
    context(request)?.client(request.main_conf::<Main>()?)
}

fn model(request: Request<'_>) -> Value {
    text(context(&request).and_then(|ctx| ctx.head.get()?.model.as_str()))
}

/// The model that goes upstream.
fn upstream_model(request: Request<'_>) -> Value {
    let alias = context(&request)
        .zip(request.main_conf::<Main>())
        .and_then(|(ctx, main)| ctx.alias(main));
    alias.map_or_else(|| model(request), |alias| text(Some(&alias.model)))
}

/// Where this attempt goes.
fn upstream(request: Request<'_>) -> Value {
    let target = context(&request).and_then(Context::chosen);
    text(target.and_then(|target| target.upstream).as_deref())
}

fn user(request: Request<'_>) -> Value {
    text(context(&request).and_then(|ctx| ctx.head.get()?.user.as_str()))
}

/// What the client asked for; unknown when the body was not looked at.
fn stream(request: Request<'_>) -> Value {
    match context(&request).and_then(|ctx| ctx.head.get()) {
        Some(head) => Value::Text(if head.stream == Some(true) {
            "true"
        } else {
            "false"
        }),
        None => Value::Missing,
    }
}

/// What there is to tell of the group that the location's pool locks slots on.
fn of_group(request: &Request<'_>, tell: fn(usize, &PoolNames) -> Option<String>) -> Value {
    let told = here(request).and_then(|(_, pool)| match &pool.store {
        Store::Redlock { group, names, .. } => tell(*group, names),
        _ => None,
    });
    text(told.as_deref())
}

fn circuits(request: Request<'_>) -> Value {
    text(
        request
            .main_conf::<Main>()
            .and_then(circuits::listing)
            .as_deref(),
    )
}

fn lock_rounds(request: Request<'_>) -> Value {
    let rounds = context(&request).map(|ctx| ctx.wait.get().rounds);
    rounds
        .filter(|&rounds| rounds > 0)
        .map_or(Value::Missing, |rounds| Value::Number(rounds.into()))
}

fn lock_votes(request: Request<'_>) -> Value {
    let votes = context(&request).and_then(|ctx| ctx.wait.get().votes);
    votes.map_or(Value::Missing, |votes| Value::Number(votes.into()))
}

fn of_trace(request: &Request<'_>, pick: fn(&Ids) -> &[u8]) -> Value {
    trace::ids(request).map_or(Value::Missing, |ids| Value::Bytes(pick(ids).to_vec()))
}

fn tokens(request: &Request<'_>, pick: fn(Tokens) -> u64) -> Value {
    let used = usage::told(request).filter(|(_, used)| used.source != Source::None);
    used.map_or(Value::Missing, |(_, used)| Value::Number(pick(used.tokens)))
}

fn first_token_ms(request: Request<'_>) -> Value {
    context(&request)
        .and_then(usage::first_token_ms)
        .map_or(Value::Missing, Value::Number)
}

/// In dollars; unknown when the model has no price.
fn cost(request: Request<'_>) -> Value {
    let cost = usage::told(&request)
        .zip(request.main_conf::<Main>())
        .and_then(|((ctx, used), main)| usage::cost(main, ctx, used));
    text(cost.map(prices::dollars).as_deref())
}

/// How each key of the location's pool does, as JSON.
fn pool_keys(request: Request<'_>) -> Value {
    let told = here(&request).and_then(|(at, pool)| {
        let known = request.main_conf::<Main>()?.taken_over()?;
        let views = pool::listing(known, at)?;
        let tell = |view: KeyView| {
            let key = pool.keys.get(view.key)?;
            Some(json!({
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
            }))
        };
        let told: Vec<_> = views.into_iter().filter_map(tell).collect();
        serde_json::to_string(&told).ok()
    });
    text(told.as_deref())
}

fn gauge(request: &Request<'_>, pick: fn(PoolGauges) -> u32) -> Value {
    let gauges = here(request)
        .and_then(|(at, _)| pool::gauges(request.main_conf::<Main>()?.taken_over()?, at));
    gauges.map_or(Value::Missing, |gauges| Value::Number(pick(gauges).into()))
}

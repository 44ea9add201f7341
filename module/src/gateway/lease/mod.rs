//! Leases a key of the chosen target's pool, or waits in the pool's queue.

mod waiting;

pub(super) use waiting::{receive, timed_out};

use openai_core::attempts::{estimated_tokens, seconds};
use openai_core::clients::Client;
use openai_core::lease::holder_of;
use openai_wire::ApiError;

use super::refusal::UNAVAILABLE;
use super::{Context, Exchange, LeaseStatus, Stage, Step};
use crate::config::Pool;
use crate::pool::{self, Ask, Asked};

/// How long a request that must not wait for a slot waits for the nodes to lock one, in
/// milliseconds. Longer than the nodes take: its timer keeps a worker that shuts down alive.
const LOCKING_MS: u64 = 60_000;

/// Asks for a lease. If none is granted at once, the request waits up to its time limit.
pub(super) fn take(exchange: Exchange<'_>) -> Step {
    let Some((at, pool)) = exchange.ctx.pool(exchange.main) else {
        return Step::Refuse(ApiError::Internal);
    };
    let wait_ms = exchange.wait_ms(pool);
    let most_ms = if wait_ms > 0 { wait_ms } else { LOCKING_MS };
    match ask(exchange, at, pool, wait_ms) {
        Step::Wait(stage, _) => Step::Wait(stage, Some(most_ms)),
        step => step,
    }
}

/// Asks for a lease of a pool, once.
fn ask(exchange: Exchange<'_>, at: usize, pool: &Pool, wait_ms: u64) -> Step {
    let Exchange {
        request, ctx, main, ..
    } = exchange;
    let client = ctx.client(main);
    let (arrival, avoid) = {
        let retries = ctx.retries.borrow();
        (retries.arrival, retries.avoid)
    };
    let head = ctx.head.read.get();
    let ask = Ask {
        pool: at,
        ttl_ms: pool.ttl_ms,
        priority: priority(ctx, client),
        wait_ms,
        arrival,
        tokens: head.map_or(0, |head| estimated_tokens(head, request.body_length())),
        avoid,
        holder: client.map_or(0, |client| holder_of(&client.name)),
        circuit: exchange.circuit(),
    };
    let (asked, permit) = pool::ask(main, &ask, ctx.token);
    ctx.attempt.borrow_mut().permit = permit;
    outcome(exchange, asked, wait_ms > 0, LeaseStatus::Immediate)
}

/// Turns the result of asking into the next step.
fn outcome(exchange: Exchange<'_>, asked: Asked, may_wait: bool, status: LeaseStatus) -> Step {
    let ctx = exchange.ctx;
    match asked {
        Asked::Leased(lease, key) => {
            ctx.attempt.borrow_mut().leased(lease, key, status);
            Step::Next(Stage::Leased)
        }
        Asked::Locks(handle) => {
            ctx.note_wait(|wait| {
                wait.locking = Some(handle);
                wait.status = LeaseStatus::Waiting;
            });
            ctx.retries.borrow_mut().rounds += 1;
            Step::Wait(Stage::Waiting, None)
        }
        Asked::Waits(ticket) => {
            ctx.note_wait(|wait| {
                wait.ticket = Some(ticket);
                wait.is_queued = true;
                wait.status = LeaseStatus::Waiting;
            });
            Step::Wait(Stage::Waiting, None)
        }
        Asked::QueueFull if may_wait => {
            refuse_lease(ctx, LeaseStatus::QueueFull, exchange.no_key(true))
        }
        Asked::QueueFull => refuse_lease(ctx, LeaseStatus::Timeout, exchange.no_key(false)),
        Asked::Open => Step::OtherTarget,
        Asked::CoolingDown(soonest_ms) => {
            let retry_after = seconds(soonest_ms);
            let refusal = ApiError::KeysRateLimited { retry_after };
            refuse_lease(ctx, LeaseStatus::CoolingDown, refusal)
        }
        Asked::Unhealthy(soonest_ms) => {
            let retry_after = seconds(soonest_ms);
            let refusal = ApiError::NoHealthyKey { retry_after };
            refuse_lease(ctx, LeaseStatus::Unhealthy, refusal)
        }
        Asked::Unavailable => refuse_lease(ctx, LeaseStatus::Unavailable, UNAVAILABLE),
    }
}

/// Refuses a request whose wait for a lease has this result.
fn refuse_lease(ctx: &Context, status: LeaseStatus, refusal: ApiError) -> Step {
    ctx.note_wait(|wait| wait.status = status);
    Step::Refuse(refusal)
}

/// Priority of the request in the queue: that of its call to the lock service, or its client's.
fn priority(ctx: &Context, client: Option<&Client>) -> i32 {
    let requested = ctx.requested().and_then(|wait| wait.priority);
    requested.or_else(|| Some(client?.priority)).unwrap_or(0)
}

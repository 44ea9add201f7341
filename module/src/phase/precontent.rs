//! PRECONTENT: a key for the request.

use openai_core::lease::Grant;
use openai_core::openai::ApiError;

use super::access::{context_of, refuse};
use super::body;
use crate::Openai;
use crate::adapter::now;
use crate::conf::{Location, Main, Pool};
use crate::ctx::{Context, Lease, LeaseStatus, Stage};
use crate::ffi::{Flow, Phase, PhaseHandler, Request, Timer, Token};
use crate::worker::{self, Ask, Asked};

pub struct Precontent;

impl PhaseHandler for Precontent {
    const PHASE: Phase = Phase::Precontent;

    fn run(request: Request<'_>) -> Flow {
        let (Some(place), Some(main)) =
            (request.location::<Openai>(), request.main_conf::<Openai>())
        else {
            return Flow::Decline;
        };
        let here = place.pool(main).filter(|_| place.sends());
        let Some((at, pool)) = here else {
            leave_pool(&request);
            return Flow::Decline;
        };
        let Some(ctx) = context_of(&request) else {
            return Flow::Answer(500);
        };
        match ctx.stage.get() {
            Stage::Fresh => {
                ctx.stage.set(Stage::Reading);
                request.read_body()
            }
            Stage::Reading => match look_at(&request, ctx, place) {
                Ok(()) => lease(&request, ctx, main, at, pool),
                Err(refusal) => refuse(ctx, refusal),
            },
            Stage::Waiting => Flow::Pause,
            Stage::TimedOut => {
                ctx.stage.set(Stage::Done);
                refuse(
                    ctx,
                    ApiError::NoKeyAvailable {
                        retry_after: retry_after(pool),
                    },
                )
            }
            Stage::Leased => send(&request, ctx, main),
            Stage::Done => Flow::Decline,
        }
    }
}

/// A redirect has led out of the pool's location: the key is of no use any more.
fn leave_pool(request: &Request<'_>) {
    if request.is_internal()
        && let Some(ctx) = request.recalled::<Openai>()
    {
        ctx.let_go();
    }
}

fn look_at(request: &Request<'_>, ctx: &Context, place: &Location) -> Result<(), ApiError> {
    if request.headers_named(b"authorization").nth(1).is_some() {
        return Err(ApiError::Status(400));
    }
    if ctx.head.get().is_none()
        && !request.is_subrequest()
        && let Some(head) = body::look(request, place)?
    {
        let _ = ctx.head.set(head);
    }
    Ok(())
}

fn lease(request: &Request<'_>, ctx: &Context, main: &Main, at: usize, pool: &Pool) -> Flow {
    let Some(known) = main.taken_over() else {
        return refuse(ctx, ApiError::Internal);
    };
    ctx.asked_ms.set(now().mono_ms);
    if request.is_subrequest() {
        request.tell_end::<Openai>();
    }
    let ask = Ask {
        pool: at,
        ttl_ms: pool.ttl_ms,
        priority: priority(ctx, main),
        may_wait: pool.wait_ms > 0,
    };
    match worker::ask(main, known, &ask, ctx.token) {
        Asked::Leased(lease) => {
            hold(ctx, lease, LeaseStatus::Immediate);
            send(request, ctx, main)
        }
        Asked::Waits(ticket) => {
            ctx.place.set(Some(ticket));
            ctx.stage.set(Stage::Waiting);
            ctx.status.set(LeaseStatus::Waiting);
            let mut deadline =
                Timer::new(false, |tag| waited_out(Token::of(tag)), ctx.token.number());
            deadline.start(pool.wait_ms);
            *ctx.deadline.borrow_mut() = Some(deadline);
            request.park()
        }
        Asked::QueueFull => {
            ctx.stage.set(Stage::Done);
            let waits = ask.may_wait;
            ctx.status.set(if waits {
                LeaseStatus::QueueFull
            } else {
                LeaseStatus::Timeout
            });
            refuse(
                ctx,
                ApiError::NoKeyAvailable {
                    retry_after: retry_after(pool),
                },
            )
        }
        Asked::Unavailable => {
            ctx.stage.set(Stage::Done);
            ctx.status.set(LeaseStatus::Unavailable);
            refuse(ctx, ApiError::LockUnavailable { retry_after: 1 })
        }
    }
}

fn hold(ctx: &Context, lease: Lease, status: LeaseStatus) {
    ctx.wait_ms
        .set(now().mono_ms.saturating_sub(ctx.asked_ms.get()));
    ctx.lease.set(Some(lease));
    ctx.holds.set(true);
    ctx.status.set(status);
    ctx.stage.set(Stage::Leased);
}

/// Has the location's own handler send the request with the leased key.
fn send(request: &Request<'_>, ctx: &Context, main: &Main) -> Flow {
    ctx.stage.set(Stage::Done);
    let key = ctx
        .lease
        .get()
        .and_then(|lease| main.pools.get(lease.pool)?.keys.get(lease.key));
    match key {
        Some(key) if request.send_with::<Openai>(key.authorization.clone()) => Flow::Decline,
        _ => refuse(ctx, ApiError::Internal),
    }
}

fn priority(ctx: &Context, main: &Main) -> i32 {
    let client = ctx.client.get().zip(main.clients.as_ref());
    client
        .and_then(|(at, clients)| clients.as_slice().get(at))
        .map_or(0, |c| c.priority)
}

/// In how many seconds it may be worth asking again: nobody knows when a stream
/// ends, so not at once and not in a minute.
fn retry_after(pool: &Pool) -> u32 {
    (pool.wait_ms / 1_000).clamp(1, 5) as u32
}

/// A waiter was served; `false` when it has no use for the lease any more.
pub fn served(request: Request<'_>, grant: Grant) -> bool {
    let (Some(ctx), Some(main)) = (request.recalled::<Openai>(), request.main_conf::<Openai>())
    else {
        return false;
    };
    let pool = request
        .location::<Openai>()
        .and_then(|place| place.pool(main));
    let (Some((at, _)), Some(known)) = (pool, main.taken_over()) else {
        return false;
    };
    if ctx.stage.get() != Stage::Waiting {
        return false;
    }
    ctx.place.set(None);
    ctx.deadline.take();
    match worker::keep(known, at, grant, ctx.token) {
        Some(lease) => hold(ctx, lease, LeaseStatus::Waited),
        None => ctx.stage.set(Stage::TimedOut),
    }
    request.go_on();
    true
}

/// A waiter's time is up.
fn waited_out(token: Token) {
    token.with(|request| {
        let Some(ctx) = request.recalled::<Openai>() else {
            return;
        };
        if ctx.stage.get() == Stage::Waiting {
            ctx.let_go();
            ctx.stage.set(Stage::TimedOut);
            ctx.status.set(LeaseStatus::Timeout);
            request.go_on();
        }
    });
}

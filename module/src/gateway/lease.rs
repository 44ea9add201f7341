//! PRECONTENT: a key for the request.

use std::rc::Rc;

use nginx_safe::{Flow, Request, Timer, Token};
use openai_core::clients::Client;
use openai_core::lease::{Grant, LeaseHandle, holder_of};
use openai_wire::ApiError;

use super::access::{context_of, refuse};
use super::{head, route};
use crate::config::{Location, Main, Pool, PoolKey};
use crate::gateway::trace;
use crate::gateway::{Context, LeaseStatus, Stage};
use crate::pool::{self, Ask, Asked, Lease, News};
use crate::telemetry::metrics;
use crate::telemetry::now;

/// PRECONTENT of a location that the lock service does not answer.
pub fn run(request: Request<'_>, place: &Location, main: &Main) -> Flow {
    if !place.serves() || !place.sends() {
        leave_pool(&request);
        // In an `if` block without a handler there may be that of another block, which
        // cannot be given a key.
        let stray = place.serves() && request.has_handler();
        return if stray {
            Flow::Answer(500)
        } else {
            Flow::Decline
        };
    }
    let Some(ctx) = context_of(&request) else {
        return Flow::Answer(500);
    };
    match ctx.stage.get() {
        Stage::Fresh => {
            ctx.stage.set(Stage::Reading);
            Flow::ReadBody
        }
        Stage::Reading => {
            let looked = look_at(&request, ctx, place);
            let may = looked.and_then(|()| quota(ctx, main));
            match may.and_then(|()| route::route(ctx, place, main)) {
                Ok(()) => attempt(&request, ctx, main),
                Err(refusal) => refuse(ctx, refusal),
            }
        }
        Stage::Again => match ctx.pause_ms.take() {
            0 => attempt(&request, ctx, main),
            ms => pause(&request, ctx, ms),
        },
        Stage::Open => attempt(&request, ctx, main),
        Stage::Waiting | Stage::Prolonging | Stage::Pausing => Flow::Pause,
        Stage::Refused => refuse(ctx, ctx.refusal.get().unwrap_or(ApiError::Internal)),
        Stage::TimedOut | Stage::Unavailable => match route::pool(ctx, main) {
            Some((_, pool)) => answer(ctx, main, pool),
            None => refuse(ctx, ApiError::Internal),
        },
        Stage::Leased => send(&request, ctx, main),
        Stage::Done => Flow::Decline,
    }
}

/// A redirect has led out of the pool's location: the key is of no use any more.
fn leave_pool(request: &Request<'_>) {
    if request.is_internal()
        && let Some(ctx) = request.recalled::<Context>()
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
        && let Some(head) = head::look(request, place)?
    {
        let _ = ctx.head.set(head);
    }
    Ok(())
}

/// Waits before another attempt, without a lease.
fn pause(request: &Request<'_>, ctx: &Context, ms: u64) -> Flow {
    let mut end = Timer::new(false, |tag| paused(Token::of(tag)), ctx.token.number());
    end.start(ms);
    *ctx.deadline.borrow_mut() = Some(end);
    ctx.stage.set(Stage::Pausing);
    request.park()
}

/// The pause is over.
fn paused(token: Token) {
    token.with(|request| {
        let ctx = request.recalled::<Context>();
        if let Some(ctx) = ctx.filter(|ctx| ctx.stage.get() == Stage::Pausing) {
            ctx.stage.set(Stage::Again);
            request.go_on();
        }
    });
}

/// Takes a key for the next target.
fn attempt(request: &Request<'_>, ctx: &Context, main: &Main) -> Flow {
    let now_ms = now().mono_ms;
    ctx.asked_ms.set(now_ms);
    if ctx.attempts.get() == 0 {
        ctx.first_asked_ms.set(now_ms);
    }
    let chosen = route::choose(request, ctx, main);
    match chosen.and_then(|target| {
        main.pools
            .get(target.pool)
            .ok_or(ApiError::Internal)
            .map(|pool| (target.pool, pool))
    }) {
        Ok((at, pool)) => lease(request, ctx, main, at, pool),
        Err(refusal) => refuse(ctx, refusal),
    }
}

fn lease(request: &Request<'_>, ctx: &Context, main: &Main, at: usize, pool: &Pool) -> Flow {
    if request.is_subrequest() {
        request.tell_end();
    }
    match seek(request, ctx, main, at, pool) {
        Step::Leased => send(request, ctx, main),
        Step::Pending => request.park(),
        Step::Over if ctx.stage.get() == Stage::Open => {
            route::put_last(ctx);
            attempt(request, ctx, main)
        }
        Step::Over => answer(ctx, main, pool),
    }
}

/// Asks for a lease of a pool, and waits as long as it may.
pub fn seek(request: &Request<'_>, ctx: &Context, main: &Main, at: usize, pool: &Pool) -> Step {
    let step = ask(request, ctx, main, at, pool);
    let wait_ms = route::wait_ms(request, ctx, pool);
    if matches!(step, Step::Pending) && wait_ms > 0 {
        start_deadline(ctx, wait_ms);
    }
    step
}

/// What asking for a lease has led to.
pub enum Step {
    Leased,
    /// It has a place in the queue, or its slot is being locked.
    Pending,
    /// There is none to be had; the context's stage tells why.
    Over,
}

fn ask(request: &Request<'_>, ctx: &Context, main: &Main, at: usize, pool: &Pool) -> Step {
    let wait_ms = route::wait_ms(request, ctx, pool);
    let ask = Ask {
        pool: at,
        ttl_ms: pool.ttl_ms,
        priority: priority(ctx, main),
        wait_ms,
        arrival: ctx.arrival.get(),
        tokens: estimate(request, ctx),
        avoid: ctx.avoid.get(),
        holder: client(ctx, main).map_or(0, |client| holder_of(&client.name)),
        circuit: route::circuit(request, ctx, main),
        pass: &ctx.pass,
    };
    let Some(known) = main.taken_over() else {
        ctx.stage.set(Stage::Unavailable);
        return Step::Over;
    };
    let asked = pool::ask(main, known, &ask, ctx.token);
    take(ctx, asked, wait_ms > 0, LeaseStatus::Immediate)
}

/// The most tokens that a prompt is taken for: images are long in JSON, not in tokens.
const MOST_OF_PROMPT: u64 = 32_768;
const BYTES_A_TOKEN: u64 = 4;

/// How many tokens the request may take, by the length of its body and by what it
/// allows for the answer; 0 if nothing is known.
fn estimate(request: &Request<'_>, ctx: &Context) -> u32 {
    let Some(head) = ctx.head.get() else {
        return 0;
    };
    let prompt = (request.body_length() / BYTES_A_TOKEN).min(MOST_OF_PROMPT);
    let each = u64::from(head.max_tokens.unwrap_or_default());
    let answers = each * u64::from(head.choices.unwrap_or(1));
    u32::try_from(prompt + answers).unwrap_or(u32::MAX)
}

fn take(ctx: &Context, asked: Asked, may_wait: bool, status: LeaseStatus) -> Step {
    match asked {
        Asked::Leased(lease, key) => {
            hold(ctx, lease, key, status);
            return Step::Leased;
        }
        Asked::Locks(handle) => {
            ctx.locking.set(Some(handle));
            ctx.rounds.set(ctx.rounds.get() + 1);
            ctx.stage.set(Stage::Waiting);
            ctx.status.set(LeaseStatus::Waiting);
            return Step::Pending;
        }
        Asked::Waits(ticket) => {
            ctx.place.set(Some(ticket));
            ctx.queued.set(true);
            ctx.stage.set(Stage::Waiting);
            ctx.status.set(LeaseStatus::Waiting);
            return Step::Pending;
        }
        Asked::QueueFull => {
            ctx.stage.set(Stage::TimedOut);
            ctx.status.set(if may_wait {
                LeaseStatus::QueueFull
            } else {
                LeaseStatus::Timeout
            });
        }
        Asked::Open => ctx.stage.set(Stage::Open),
        Asked::Cooling(soonest_ms) => {
            let retry_after = route::seconds(soonest_ms);
            ctx.refusal
                .set(Some(ApiError::KeysRateLimited { retry_after }));
            ctx.stage.set(Stage::Refused);
            ctx.status.set(LeaseStatus::Cooling);
        }
        Asked::Unhealthy(soonest_ms) => {
            let retry_after = route::seconds(soonest_ms);
            ctx.refusal
                .set(Some(ApiError::NoHealthyKey { retry_after }));
            ctx.stage.set(Stage::Refused);
            ctx.status.set(LeaseStatus::Unhealthy);
        }
        Asked::Unavailable => {
            ctx.stage.set(Stage::Unavailable);
            ctx.status.set(LeaseStatus::Unavailable);
        }
    }
    Step::Over
}

fn start_deadline(ctx: &Context, wait_ms: u64) {
    let mut deadline = Timer::new(false, |tag| waited_out(Token::of(tag)), ctx.token.number());
    deadline.start(wait_ms);
    *ctx.deadline.borrow_mut() = Some(deadline);
}

/// The answer to a request that got no lease.
fn answer(ctx: &Context, main: &Main, pool: &Pool) -> Flow {
    let refusal = match ctx.stage.replace(Stage::Done) {
        Stage::Refused => ctx.refusal.get().unwrap_or(ApiError::Internal),
        Stage::Unavailable => ApiError::LockUnavailable { retry_after: 1 },
        _ => route::in_vain(ctx, main, pool),
    };
    refuse(ctx, refusal)
}

fn hold(ctx: &Context, lease: Lease, key: Rc<PoolKey>, status: LeaseStatus) {
    ctx.wait_ms
        .set(now().mono_ms.saturating_sub(ctx.asked_ms.get()));
    ctx.lease.set(Some(lease));
    ctx.key.replace(Some(key));
    ctx.holds.set(true);
    ctx.status.set(status);
    ctx.stage.set(Stage::Leased);
}

/// Has the location's own handler send the request with the leased key.
fn send(request: &Request<'_>, ctx: &Context, main: &Main) -> Flow {
    if !route::admits(request, ctx, main) {
        // The circuit has opened while the request waited for the key.
        ctx.let_go();
        route::put_last(ctx);
        return attempt(request, ctx, main);
    }
    ctx.stage.set(Stage::Done);
    ctx.attempts.set(ctx.attempts.get() + 1);
    let key = ctx.key.borrow().clone();
    request.rewrite_body(head::rewrites(request, ctx, main));
    match key {
        Some(key)
            if request.send_with::<Location>(key.authorization.clone(), trace::sent(request)) =>
        {
            Flow::Decline
        }
        _ => refuse(ctx, ApiError::Internal),
    }
}

fn client<'a>(ctx: &Context, main: &'a Main) -> Option<&'a Client> {
    main.clients.as_ref()?.as_slice().get(ctx.client.get()?)
}

/// Whether the client may use more.
pub fn quota(ctx: &Context, main: &Main) -> Result<(), ApiError> {
    match client(ctx, main) {
        Some(client) if metrics::is_used_up(main, client) => Err(ApiError::QuotaPassed),
        _ => Ok(()),
    }
}

fn priority(ctx: &Context, main: &Main) -> i32 {
    let wish = ctx.wishes.get().and_then(|wishes| wishes.priority);
    wish.or_else(|| Some(client(ctx, main)?.priority))
        .unwrap_or(0)
}

/// The request as one that waits: its context, and its pool.
fn waiter<'a>(request: &Request<'a>) -> Option<(&'a Context, &'a Main, usize, &'a Pool)> {
    let ctx = request.recalled::<Context>()?;
    let main = request.main_conf::<Main>()?;
    let (at, pool) = route::pool(ctx, main)?;
    (ctx.stage.get() == Stage::Waiting).then_some((ctx, main, at, pool))
}

/// Something has come of the wait of a request; `false` when it has no use for that any more.
pub fn hear(request: Request<'_>, news: News) -> bool {
    match news {
        News::Served { grant, arrival } => served(request, &grant, arrival),
        News::Locked {
            asked,
            grant,
            votes,
        } => locked(request, asked, grant, votes),
        News::FallBack(grant) => fall_back(request, grant),
        News::NextRound => next_round(&request),
        News::AskAgain => ask_again(request),
        News::Unavailable => unavailable(request),
        // Not of a wait.
        News::Prolonged(_) | News::Lost(_) => false,
    }
}

/// A waiter was served; `false` when it has no use for the slot any more.
fn served(request: Request<'_>, grant: &Grant, arrival: u64) -> bool {
    let Some((ctx, main, at, _)) = waiter(&request) else {
        return false;
    };
    ctx.place.set(None);
    ctx.arrival.set(Some(arrival));
    let asked = pool::keep(main, at, grant, ctx.token, &ctx.avoid.get());
    proceed(request, ctx, take(ctx, asked, true, LeaseStatus::Waited));
    true
}

/// The slot is locked on other machines, too; `false` as for [`served`].
fn locked(request: Request<'_>, asked: LeaseHandle, grant: Grant, votes: u8) -> bool {
    let Some((ctx, lease, key)) = asked_for(&request, asked, grant) else {
        return false;
    };
    ctx.votes.set(Some(votes));
    let status = if ctx.queued.get() {
        LeaseStatus::Waited
    } else {
        LeaseStatus::Immediate
    };
    hold(ctx, lease, key, status);
    proceed(request, ctx, Step::Leased);
    true
}

/// No quorum can be had: the slot is leased on this machine only; `false` as for
/// [`served`].
fn fall_back(request: Request<'_>, grant: Grant) -> bool {
    let ctx = request.recalled::<Context>();
    if ctx.is_some_and(|ctx| ctx.wishes.get().is_some()) {
        // A lock that another machine may have as well is none.
        return false;
    }
    let Some((ctx, lease, key)) = asked_for(&request, grant.handle, grant) else {
        return false;
    };
    let renewal = pool::renew(&grant, ctx.token);
    hold(ctx, Lease { renewal, ..lease }, key, LeaseStatus::Fallback);
    proceed(request, ctx, Step::Leased);
    true
}

/// The lease that a lock was asked for, under its name at that time, as it is now.
fn asked_for<'a>(
    request: &Request<'a>,
    asked: LeaseHandle,
    grant: Grant,
) -> Option<(&'a Context, Lease, Rc<PoolKey>)> {
    let (ctx, _, at, pool) = waiter(request)?;
    let key = pool.keys.get(grant.key)?;
    if ctx.locking.get() != Some(asked) {
        return None;
    }
    ctx.locking.set(None);
    let lease = Lease {
        grant,
        pool: at,
        renewal: None,
    };
    Some((ctx, lease, key))
}

/// The nodes are asked once more for the same slot.
fn next_round(request: &Request<'_>) -> bool {
    let waiter = waiter(request);
    if let Some((ctx, ..)) = waiter {
        ctx.rounds.set(ctx.rounds.get() + 1);
    }
    waiter.is_some()
}

/// The slot turned out to be held elsewhere.
fn ask_again(request: Request<'_>) -> bool {
    let Some((ctx, main, at, pool)) = waiter(&request) else {
        return false;
    };
    ctx.locking.set(None);
    let step = ask(&request, ctx, main, at, pool);
    proceed(request, ctx, step);
    true
}

/// Too few nodes can be asked.
fn unavailable(request: Request<'_>) -> bool {
    let Some((ctx, ..)) = waiter(&request) else {
        return false;
    };
    ctx.locking.set(None);
    let step = take(ctx, Asked::Unavailable, true, LeaseStatus::Unavailable);
    proceed(request, ctx, step);
    true
}

fn proceed(request: Request<'_>, ctx: &Context, step: Step) {
    if !matches!(step, Step::Pending) {
        ctx.deadline.take();
        request.go_on();
    }
}

/// A waiter's time is up.
fn waited_out(token: Token) {
    token.with(|request| {
        let Some(ctx) = request.recalled::<Context>() else {
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

//! Where a request goes: the targets that serve it, and the one that an attempt takes.

use std::rc::Rc;

use nginx_safe::Request;
use openai_core::attempts::Fault;
use openai_core::circuit::CircuitId;
use openai_core::lease::Outlook;
use openai_core::routes::Alias;
use openai_wire::ApiError;
use openai_wire::head::Captured;

use super::context::Route;
use super::{Context, Exchange, LeaseStatus, Stage, Step};
use crate::config::{Location, Main, Pool, Target};
use crate::pool::{self, circuits};
use crate::telemetry::now;

/// Finds the targets of a request whose body has been looked at.
pub(super) fn find(exchange: Exchange<'_>) -> Step {
    let Exchange {
        ctx, place, main, ..
    } = exchange;
    let mut route = ctx.route.borrow_mut();
    route.chosen = None;
    let Some(at) = place.routes() else {
        route.targets = place.targets();
        return Step::Next(Stage::Target);
    };
    let Some(block) = main.routes.get(at) else {
        return Step::Refuse(ApiError::Internal);
    };
    let model = ctx.head.get().map_or(&Captured::Absent, |head| &head.model);
    let Some(routed) = block.routes.find(model) else {
        return Step::Refuse(ApiError::ModelNotFound);
    };
    route.routed = Some((at, routed));
    route.targets = block.targets.get(routed.list).cloned();
    Step::Next(Stage::Target)
}

/// Chooses the target of the next attempt, which begins with that.
pub(super) fn choose(exchange: Exchange<'_>) -> Step {
    let ctx = exchange.ctx;
    let now_ms = now().mono_ms;
    ctx.note_wait(|wait| wait.asked_ms = now_ms);
    let is_first = {
        let mut retries = ctx.retries.borrow_mut();
        if retries.attempts == 0 {
            retries.first_asked_ms = now_ms;
        }
        retries.attempts == 0 && retries.faulty == 0
    };
    let Some(targets) = targets(ctx) else {
        return Step::Refuse(ApiError::Internal);
    };
    // The usual case: to ask for a lease is to see whether there is one.
    let at = match *targets {
        [_] if is_first => 0,
        _ => match next(exchange) {
            Ok(at) => at,
            Err(refusal) => return Step::Refuse(refusal),
        },
    };
    ctx.route.borrow_mut().chosen = Some(at);
    Step::Next(Stage::Lease)
}

/// Has the request ask for a key of one pool, wherever it goes.
pub fn choose_pool(ctx: &Context, pool: usize) {
    let target = Target {
        pool,
        upstream: None,
        circuit: None,
    };
    *ctx.route.borrow_mut() = Route {
        routed: None,
        targets: Some([target].into()),
        chosen: Some(0),
    };
    ctx.note_wait(|wait| wait.asked_ms = now().mono_ms);
}

/// The targets of the request, in the order of preference.
fn targets(ctx: &Context) -> Option<Rc<[Target]>> {
    ctx.route.borrow().targets.clone()
}

/// The first target whose circuit lets requests through and that has a key in order, or
/// will have within the wait; one whose upstream has failed this request comes after the
/// others, and one that has failed it too often is none. Else the reason why there is none.
pub(super) fn next(exchange: Exchange<'_>) -> Result<usize, ApiError> {
    let Exchange {
        ctx, place, main, ..
    } = exchange;
    let (targets, known) = targets(ctx)
        .zip(main.taken_over())
        .ok_or(ApiError::Internal)?;
    let (faulty, spent, avoid) = {
        let retries = ctx.retries.borrow();
        (retries.faulty, retries.spent, retries.avoid)
    };
    let (mut later, mut soonest, mut open) = (None, None::<u64>, None::<u64>);
    let mut healed = None::<u64>;
    let left = (0..targets.len()).filter(|&at| !is_in(spent, at));
    let (fresh, stale): (Vec<_>, Vec<_>) = left.partition(|&at| !is_in(faulty, at));
    for at in fresh.into_iter().chain(stale) {
        let Some(pool) = main.pools.get(targets[at].pool) else {
            continue;
        };
        if let Some(ms) = circuits::open_for(circuit_of(&targets[at], place, main)) {
            open = Some(open.map_or(ms, |other| other.min(ms)));
            continue;
        }
        match pool::outlook(known, targets[at].pool, avoid) {
            None | Some(Outlook::Busy) => return Ok(at),
            Some(Outlook::Cooling { soonest_ms }) => {
                if soonest_ms <= wait_ms(exchange, pool) {
                    later = later.or(Some(at));
                }
                soonest = Some(soonest.map_or(soonest_ms, |ms| ms.min(soonest_ms)));
            }
            Some(Outlook::Unhealthy { soonest_ms }) => {
                healed = Some(healed.map_or(soonest_ms, |ms| ms.min(soonest_ms)));
            }
            Some(Outlook::Tried) => {}
        }
    }
    later.ok_or_else(|| match (soonest, open) {
        (Some(ms), open) => ApiError::KeysRateLimited {
            retry_after: seconds(ms.min(open.unwrap_or(ms))),
        },
        (None, Some(ms)) => ApiError::UpstreamsOpen {
            retry_after: seconds(ms),
        },
        (None, None) => ApiError::NoHealthyKey {
            retry_after: seconds(healed.unwrap_or_default()),
        },
    })
}

/// The circuit of the chosen target's upstream.
pub(super) fn circuit(exchange: Exchange<'_>) -> Option<CircuitId> {
    let route = exchange.ctx.route.borrow();
    let target = route.targets.as_ref()?.get(route.chosen?)?;
    circuit_of(target, exchange.place, exchange.main)
}

fn circuit_of(target: &Target, place: &Location, main: &Main) -> Option<CircuitId> {
    let upstream = place.upstream_of(target)?;
    *main.taken_over()?.circuits.get(upstream)?
}

/// Whether the upstream of the chosen target has failed the request before.
pub(super) fn fails_again(ctx: &Context) -> bool {
    let faulty = ctx.retries.borrow().faulty;
    let chosen = ctx.route.borrow().chosen;
    chosen.is_some_and(|at| is_in(faulty, at))
}

/// Whether a target is one of a set.
fn is_in(set: u64, at: usize) -> bool {
    set >> at.min(63) & 1 == 1
}

/// Targets that have the upstream of the chosen one, and the first of them.
fn with_same_upstream(ctx: &Context) -> (u64, usize) {
    let Some((targets, failed)) = targets(ctx).zip(chosen(ctx)) else {
        return (0, 0);
    };
    let same = targets.iter().enumerate().take(64);
    let same = same.filter(|(_, target)| target.upstream == failed.upstream);
    let set = same.fold(0, |set, (at, _)| set | 1 << at);
    (set, set.trailing_zeros() as usize)
}

/// Notes that the chosen target is not the first choice for another attempt.
pub(super) fn put_last(ctx: &Context) {
    let (set, _) = with_same_upstream(ctx);
    ctx.retries.borrow_mut().faulty |= set;
}

/// Notes that the upstream of the chosen target has failed the request.
pub(super) fn note_error(ctx: &Context, fault: Fault) {
    let (set, upstream) = with_same_upstream(ctx);
    let mut retries = ctx.retries.borrow_mut();
    retries.faulty |= set;
    if retries.errors.note(upstream, fault) {
        retries.spent |= set;
    }
}

/// The pause before an attempt at this target.
pub(super) fn pause_ms(exchange: Exchange<'_>, at: usize) -> u64 {
    let targets = targets(exchange.ctx).unwrap_or_default();
    let upstream = targets.get(at).map(|target| &target.upstream);
    let first = targets.iter().position(|t| Some(&t.upstream) == upstream);
    let left_ms = attempts_end_in_ms(exchange);
    let retries = exchange.ctx.retries.borrow();
    retries
        .errors
        .pause_ms(first.unwrap_or(at), left_ms, pool::random())
}

/// For how long further attempts may begin.
fn attempts_end_in_ms(exchange: Exchange<'_>) -> u64 {
    let first_asked_ms = exchange.ctx.retries.borrow().first_asked_ms;
    let since = now().mono_ms.saturating_sub(first_asked_ms);
    exchange.place.next_key().timeout_ms().saturating_sub(since)
}

/// How long the request may wait for a key of the pool: no longer than further
/// attempts may go on.
pub(super) fn wait_ms(exchange: Exchange<'_>, pool: &Pool) -> u64 {
    if let Some(wishes) = exchange.ctx.wishes.get() {
        return wishes.wait_ms.min(pool.wait_ms);
    }
    if exchange.ctx.retries.borrow().attempts == 0 {
        return pool.wait_ms;
    }
    pool.wait_ms.min(attempts_end_in_ms(exchange))
}

/// The answer to who has waited in vain for a key of the chosen target's pool.
pub fn in_vain(exchange: Exchange<'_>) -> ApiError {
    let Exchange { ctx, main, .. } = exchange;
    let Some((at, pool)) = pool(ctx, main) else {
        return ApiError::Internal;
    };
    let avoid = ctx.retries.borrow().avoid;
    let known = main.taken_over();
    let outlook = known.and_then(|known| pool::outlook(known, at, avoid));
    let retry_after = match outlook {
        Some(Outlook::Unhealthy { soonest_ms }) => {
            let retry_after = seconds(soonest_ms);
            return ApiError::NoHealthyKey { retry_after };
        }
        Some(Outlook::Cooling { soonest_ms }) => seconds(soonest_ms),
        // Nobody knows when a stream ends, so not at once and not in a minute.
        _ => (pool.wait_ms / 1_000).clamp(1, 5) as u32,
    };
    match (ctx.wait.get().status, outlook) {
        (LeaseStatus::QueueFull, _) => ApiError::QueueFull { retry_after },
        (_, Some(Outlook::Cooling { .. })) => ApiError::KeysRateLimited { retry_after },
        _ => ApiError::NoKeyAvailable { retry_after },
    }
}

/// As a `Retry-After` says it.
pub fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

/// The target that was chosen.
pub fn chosen(ctx: &Context) -> Option<Target> {
    let route = ctx.route.borrow();
    route.targets.as_ref()?.get(route.chosen?).cloned()
}

/// The pool of the target that was chosen, and its position.
pub fn pool<'a>(ctx: &Context, main: &'a Main) -> Option<(usize, &'a Pool)> {
    let at = chosen(ctx)?.pool;
    main.pools.get(at).map(|pool| (at, pool))
}

/// The pool of the first target of all requests here, for who asks before one is chosen.
pub fn first_pool<'a>(place: &Location, main: &'a Main) -> Option<(usize, &'a Pool)> {
    let at = place.targets()?.first()?.pool;
    main.pools.get(at).map(|pool| (at, pool))
}

/// The pattern that the request's model matched.
pub fn pattern<'a>(request: &Request<'a>) -> Option<&'a str> {
    let (at, routed) = request.recalled::<Context>()?.route.borrow().routed?;
    let block = request.main_conf::<Main>()?.routes.get(at)?;
    block.routes.pattern(routed)
}

/// The alias that the request asked for.
pub fn alias<'a>(ctx: &Context, main: &'a Main) -> Option<&'a Alias> {
    let (at, routed) = ctx.route.borrow().routed?;
    main.routes.get(at)?.routes.alias(routed)
}

//! Where a request goes: the targets that serve it, and the one that an attempt takes.

use std::rc::Rc;

use nginx_safe::Request;
use openai_core::attempts::Fault;
use openai_core::circuit::CircuitId;
use openai_core::lease::Outlook;
use openai_core::routes::Alias;
use openai_wire::ApiError;
use openai_wire::head::Captured;

use crate::config::{Location, Main, Pool, Target};
use crate::gateway::{Context, LeaseStatus};
use crate::pool;
use crate::pool::circuits;
use crate::telemetry::now;

/// Finds the targets of a request whose body has been looked at, or why there are none.
pub fn route(ctx: &Context, place: &Location, main: &Main) -> Result<(), ApiError> {
    ctx.target.set(None);
    let Some(at) = place.routes() else {
        *ctx.targets.borrow_mut() = place.targets();
        return Ok(());
    };
    let block = main.routes.get(at).ok_or(ApiError::Internal)?;
    let model = ctx.head.get().map_or(&Captured::Absent, |head| &head.model);
    let routed = block.routes.find(model).ok_or(ApiError::ModelNotFound)?;
    ctx.routed.set(Some((at, routed)));
    *ctx.targets.borrow_mut() = block.targets.get(routed.list).cloned();
    Ok(())
}

/// The targets of the request, in the order of preference.
pub fn targets(ctx: &Context) -> Option<Rc<[Target]>> {
    ctx.targets.borrow().clone()
}

/// Chooses the target of the next attempt; or why there is none.
pub fn choose(request: &Request<'_>, ctx: &Context, main: &Main) -> Result<Target, ApiError> {
    let targets = targets(ctx).ok_or(ApiError::Internal)?;
    // The usual case: to ask for a lease is to see whether there is one.
    let at = match *targets {
        [_] if ctx.attempts.get() == 0 && ctx.faulty.get() == 0 => 0,
        _ => next(request, ctx, main)?,
    };
    ctx.target.set(Some(at));
    targets.get(at).cloned().ok_or(ApiError::Internal)
}

/// The first target whose circuit lets requests through and that has a key in order, or
/// will have within the wait; one whose upstream has failed this request comes after the
/// others, and one that has failed it too often is none. Else the reason why there is none.
pub fn next(request: &Request<'_>, ctx: &Context, main: &Main) -> Result<usize, ApiError> {
    let (targets, known) = targets(ctx)
        .zip(main.taken_over())
        .ok_or(ApiError::Internal)?;
    let (mut later, mut soonest, mut open) = (None, None::<u64>, None::<u64>);
    let mut healed = None::<u64>;
    let place = request.location::<Location>();
    let left = (0..targets.len()).filter(|&at| !is_in(ctx.spent.get(), at));
    let (fresh, stale): (Vec<_>, Vec<_>) = left.partition(|&at| !is_in(ctx.faulty.get(), at));
    for at in fresh.into_iter().chain(stale) {
        let Some(pool) = main.pools.get(targets[at].pool) else {
            continue;
        };
        if let Some(ms) = circuits::open_for(circuit_of(&targets[at], place, main)) {
            open = Some(open.map_or(ms, |other| other.min(ms)));
            continue;
        }
        match pool::outlook(known, targets[at].pool, ctx.avoid.get()) {
            None | Some(Outlook::Busy) => return Ok(at),
            Some(Outlook::Cooling { soonest_ms }) => {
                if soonest_ms <= wait_ms(request, ctx, pool) {
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
pub fn circuit(request: &Request<'_>, ctx: &Context, main: &Main) -> Option<CircuitId> {
    let targets = ctx.targets.borrow();
    let target = targets.as_ref()?.get(ctx.target.get()?)?;
    circuit_of(target, request.location::<Location>(), main)
}

fn circuit_of(target: &Target, place: Option<&Location>, main: &Main) -> Option<CircuitId> {
    let upstream = place?.upstream_of(target)?;
    *main.taken_over()?.circuits.get(upstream)?
}

/// Whether the upstream of the chosen target has failed the request before.
pub fn fails_again(ctx: &Context) -> bool {
    let faulty = ctx.faulty.get();
    ctx.target.get().is_some_and(|at| is_in(faulty, at))
}

/// Whether the request may be sent now; it then has to tell the circuit the outcome.
pub fn admits(request: &Request<'_>, ctx: &Context, main: &Main) -> bool {
    if ctx.pass.get().is_some() {
        return true;
    }
    let Some(id) = circuit(request, ctx, main) else {
        return true;
    };
    let pass = circuits::admit(id);
    ctx.pass.set(pass);
    pass.is_some()
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
pub fn put_last(ctx: &Context) {
    let (set, _) = with_same_upstream(ctx);
    ctx.faulty.set(ctx.faulty.get() | set);
}

/// Notes that the upstream of the chosen target has failed the request.
pub fn note_error(ctx: &Context, fault: Fault) {
    let (set, upstream) = with_same_upstream(ctx);
    ctx.faulty.set(ctx.faulty.get() | set);
    if ctx.errors.borrow_mut().note(upstream, fault) {
        ctx.spent.set(ctx.spent.get() | set);
    }
}

/// The pause before an attempt at this target.
pub fn pause_ms(request: &Request<'_>, ctx: &Context, at: usize) -> u64 {
    let targets = targets(ctx).unwrap_or_default();
    let upstream = targets.get(at).map(|target| &target.upstream);
    let first = targets.iter().position(|t| Some(&t.upstream) == upstream);
    let left_ms = attempts_end_in_ms(request, ctx);
    let errors = ctx.errors.borrow();
    errors.pause_ms(first.unwrap_or(at), left_ms, pool::random())
}

/// For how long further attempts may begin.
fn attempts_end_in_ms(request: &Request<'_>, ctx: &Context) -> u64 {
    let most = request
        .location::<Location>()
        .map_or(0, |place| place.next_key().timeout_ms());
    let since = now().mono_ms.saturating_sub(ctx.first_asked_ms.get());
    most.saturating_sub(since)
}

/// How long the request may wait for a key of the pool: no longer than further
/// attempts may go on.
pub fn wait_ms(request: &Request<'_>, ctx: &Context, pool: &Pool) -> u64 {
    if let Some(wishes) = ctx.wishes.get() {
        return wishes.wait_ms.min(pool.wait_ms);
    }
    if ctx.attempts.get() == 0 {
        return pool.wait_ms;
    }
    pool.wait_ms.min(attempts_end_in_ms(request, ctx))
}

/// The answer to who has waited in vain for a key of the pool.
pub fn in_vain(ctx: &Context, main: &Main, pool: &Pool) -> ApiError {
    let outlook = main
        .taken_over()
        .zip(chosen(ctx))
        .and_then(|(known, target)| pool::outlook(known, target.pool, ctx.avoid.get()));
    let retry_after = match outlook {
        Some(Outlook::Unhealthy { soonest_ms }) => {
            let retry_after = seconds(soonest_ms);
            return ApiError::NoHealthyKey { retry_after };
        }
        Some(Outlook::Cooling { soonest_ms }) => seconds(soonest_ms),
        // Nobody knows when a stream ends, so not at once and not in a minute.
        _ => (pool.wait_ms / 1_000).clamp(1, 5) as u32,
    };
    match (ctx.status.get(), outlook) {
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
    targets(ctx)?.get(ctx.target.get()?).cloned()
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
    let (at, routed) = request.recalled::<Context>()?.routed.get()?;
    let block = request.main_conf::<Main>()?.routes.get(at)?;
    block.routes.pattern(routed)
}

/// The alias that the request asked for.
pub fn alias<'a>(ctx: &Context, main: &'a Main) -> Option<&'a Alias> {
    let (at, routed) = ctx.routed.get()?;
    main.routes.get(at)?.routes.alias(routed)
}

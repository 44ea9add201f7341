//! Where a request goes: the targets that serve it, and the one that an attempt takes.

use openai_core::attempts::Fault;
use openai_core::lease::Outlook;
use openai_wire::ApiError;
use openai_wire::head::Captured;

use super::refusal::seconds;
use super::{Context, Exchange, Stage, Step};
use crate::pool::{self, circuits};
use crate::telemetry::now;

/// Finds the targets of a request whose body has been looked at.
pub(super) fn find(exchange: Exchange<'_>) -> Step {
    let Exchange {
        ctx,
        location,
        main,
        ..
    } = exchange;
    let mut route = ctx.route.borrow_mut();
    route.chosen = None;
    let Some(at) = location.routes() else {
        route.targets = location.targets();
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
        retries.attempts == 0 && retries.failed == 0
    };
    let Some(targets) = ctx.targets() else {
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

/// The first target whose circuit lets requests through and that has a key in order, or
/// will have within the wait; one whose upstream has failed this request comes after the
/// others, and one that has failed it too often is none. Else the reason why there is none.
pub(super) fn next(exchange: Exchange<'_>) -> Result<usize, ApiError> {
    let Exchange { ctx, main, .. } = exchange;
    let (targets, known) = ctx
        .targets()
        .zip(main.taken_over())
        .ok_or(ApiError::Internal)?;
    let (failed, spent, avoid) = {
        let retries = ctx.retries.borrow();
        (retries.failed, retries.spent, retries.avoid)
    };
    let (mut later, mut soonest, mut open) = (None, None::<u64>, None::<u64>);
    let mut healed = None::<u64>;
    let left = (0..targets.len()).filter(|&at| !is_in(spent, at));
    let (fresh, stale): (Vec<_>, Vec<_>) = left.partition(|&at| !is_in(failed, at));
    for at in fresh.into_iter().chain(stale) {
        let Some(pool) = main.pools.get(targets[at].pool) else {
            continue;
        };
        if let Some(ms) = circuits::open_for(exchange.circuit_of(&targets[at])) {
            open = Some(open.map_or(ms, |other| other.min(ms)));
            continue;
        }
        match pool::outlook(known, targets[at].pool, avoid) {
            None | Some(Outlook::Busy) => return Ok(at),
            Some(Outlook::CoolingDown { soonest_ms }) => {
                if soonest_ms <= exchange.wait_ms(pool) {
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

/// Whether the upstream of the chosen target has failed the request before.
pub(super) fn fails_again(ctx: &Context) -> bool {
    let failed = ctx.retries.borrow().failed;
    let chosen = ctx.route.borrow().chosen;
    chosen.is_some_and(|at| is_in(failed, at))
}

/// Whether a target is one of a set.
fn is_in(set: u64, at: usize) -> bool {
    set >> at.min(63) & 1 == 1
}

/// Targets that have the upstream of the chosen one, and the first of them.
fn with_same_upstream(ctx: &Context) -> (u64, usize) {
    let Some((targets, failed)) = ctx.targets().zip(ctx.chosen()) else {
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
    ctx.retries.borrow_mut().failed |= set;
}

/// Notes that the upstream of the chosen target has failed the request.
pub(super) fn note_error(ctx: &Context, fault: Fault) {
    let (set, upstream) = with_same_upstream(ctx);
    let mut retries = ctx.retries.borrow_mut();
    retries.failed |= set;
    if retries.errors.note(upstream, fault) {
        retries.spent |= set;
    }
}

/// The pause before an attempt at this target.
pub(super) fn pause_ms(exchange: Exchange<'_>, at: usize) -> u64 {
    let targets = exchange.ctx.targets().unwrap_or_default();
    let upstream = targets.get(at).map(|target| &target.upstream);
    let first = targets.iter().position(|t| Some(&t.upstream) == upstream);
    let left_ms = exchange.attempts_end_in_ms();
    let retries = exchange.ctx.retries.borrow();
    retries
        .errors
        .pause_ms(first.unwrap_or(at), left_ms, pool::random())
}

//! Where a request goes: the targets that can serve it, and the target of an attempt.

use openai_wire::ApiError;
use openai_wire::head::Captured;

use super::{Exchange, Stage, Step};
use crate::telemetry::now;

/// Finds the targets of a request whose head has been read.
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
    let model = ctx
        .head
        .read
        .get()
        .map_or(&Captured::Absent, |head| &head.model);
    let Some(routed) = block.routes.find(model) else {
        return Step::Refuse(ApiError::ModelNotFound);
    };
    route.routed = Some((at, routed));
    route.targets = block.targets.get(routed.list).cloned();
    Step::Next(Stage::Target)
}

/// Begins the next attempt, or waits for it without a lease. After the wait, the target is chosen
/// again: its circuit or its keys may have changed.
pub(super) fn again(exchange: Exchange<'_>, target: usize, pause_ms: u64) -> Step {
    match pause_ms {
        0 => begin(exchange, target),
        ms => Step::Wait(Stage::Pausing, Some(ms)),
    }
}

/// Chooses the target of an attempt, and begins it.
pub(super) fn choose(exchange: Exchange<'_>) -> Step {
    let ctx = exchange.ctx;
    let is_first = {
        let retries = ctx.retries.borrow();
        retries.attempts == 0 && retries.failed.is_empty()
    };
    let one = ctx.route.borrow().targets.as_ref().map(|all| all.len()) == Some(1);
    // With one target no check is needed: asking for a lease shows whether it has a key.
    let chosen = match one && is_first {
        true => Ok(0),
        false => exchange.next_target(),
    };
    chosen.map_or_else(Step::Refuse, |target| begin(exchange, target))
}

/// Begins an attempt at a target.
fn begin(exchange: Exchange<'_>, target: usize) -> Step {
    let ctx = exchange.ctx;
    let now_ms = now().mono_ms;
    ctx.note_wait(|wait| wait.asked_ms = now_ms);
    let mut retries = ctx.retries.borrow_mut();
    if retries.attempts == 0 {
        retries.first_asked_ms = now_ms;
    }
    ctx.route.borrow_mut().chosen = Some(target);
    if exchange.request.is_subrequest() {
        exchange.request.tell_end();
    }
    Step::Next(Stage::Lease)
}

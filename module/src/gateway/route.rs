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
    let Some(at) = location.routes else {
        route.targets.clone_from(&location.targets);
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

/// Waits for the next attempt, without a lease.
pub(super) fn pause(pause_ms: u64) -> Step {
    match pause_ms {
        0 => Step::Next(Stage::Target),
        ms => Step::Wait(Stage::Pausing, Some(ms)),
    }
}

/// Chooses the target of an attempt. For a retry, a target was found when the attempt before failed,
/// but its circuit and its keys may have changed since.
pub(super) fn choose(exchange: Exchange<'_>) -> Step {
    let ctx = exchange.ctx;
    let now_ms = now().mono_ms;
    ctx.note_wait(|wait| wait.asked_ms = now_ms);
    let is_first = {
        let mut retries = ctx.retries.borrow_mut();
        if retries.attempts == 0 {
            retries.first_asked_ms = now_ms;
        }
        retries.attempts == 0 && retries.failed.is_empty()
    };
    let one = ctx.route.borrow().targets.as_ref().map(|all| all.len()) == Some(1);
    // With one target no check is needed: asking for a lease shows whether it has a key.
    let chosen = match one && is_first {
        true => 0,
        false => match exchange.next_target() {
            Ok(target) => target,
            Err(refusal) => return Step::Refuse(refusal),
        },
    };
    ctx.route.borrow_mut().chosen = Some(chosen);
    if exchange.request.is_subrequest() {
        exchange.request.report_end();
    }
    Step::Next(Stage::Lease)
}

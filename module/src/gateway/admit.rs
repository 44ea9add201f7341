//! Checks whether a request may be sent: the quota of its client, and the circuit of its upstream.

use openai_wire::ApiError;

use super::{Exchange, Stage, Step};
use crate::pool::circuits;
use crate::telemetry::metrics;

/// Refuses the request if its client has used up a quota.
pub(super) fn quota(exchange: Exchange<'_>) -> Step {
    match exchange.ctx.client(exchange.main) {
        Some(client) if metrics::is_used_up(exchange.main, client) => {
            Step::Refuse(ApiError::QuotaPassed)
        }
        _ => Step::Next(Stage::Route),
    }
}

/// Gets a permit of the chosen upstream's circuit, unless the request already has one: the
/// circuit may have opened while the request waited for a key. The result must be reported
/// to the circuit.
pub(super) fn permit(exchange: Exchange<'_>) -> Step {
    let has_permit = exchange.ctx.attempt.borrow().permit.is_some();
    if !has_permit && let Some(id) = exchange.circuit() {
        let permit = circuits::admit(id);
        if permit.is_none() {
            return Step::Retry;
        }
        exchange.ctx.attempt.borrow_mut().permit = permit;
    }
    Step::Next(Stage::Send)
}

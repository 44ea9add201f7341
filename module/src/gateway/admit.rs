//! Checks whether a request may be sent: the quota of its client, and the circuit of its upstream.

use nginx_safe::Level;
use openai_core::metrics::QuotaReached;
use openai_wire::ApiError;
use serde_json::json;

use super::{Exchange, Stage, Step, events};
use crate::pool::circuits;
use crate::telemetry::metrics;

/// Refuses the request if its client has used up a quota. Logs it the first time.
pub(super) fn quota(exchange: Exchange<'_>) -> Step {
    let Exchange {
        request, ctx, main, ..
    } = exchange;
    let client = ctx.client(main);
    let Some(reached) = client.and_then(|client| metrics::quota_reached(main, client)) else {
        return Step::Next(Stage::Route);
    };
    let QuotaReached {
        limit,
        used,
        is_first,
    } = reached;
    if is_first {
        let fields = json!({
            "quota": limit.measure(),
            "period": limit.period(),
            "limit": limit.shown(limit.most),
            "used": limit.shown(used),
        });
        events::write(&request, ctx, Level::Warn, "quota_used_up", fields);
    }
    Step::Refuse(ApiError::QuotaPassed)
}

/// Gets a permit of the chosen upstream's circuit, unless the request already has one: the
/// circuit may have opened while the request waited for a key. The result must be reported
/// to the circuit.
pub(super) fn permit(exchange: Exchange<'_>) -> Step {
    let has_permit = exchange.ctx.attempt.borrow().permit.is_some();
    if !has_permit && let Some(id) = exchange.circuit() {
        let permit = circuits::admit(id);
        if permit.is_none() {
            return Step::OtherTarget;
        }
        exchange.ctx.attempt.borrow_mut().permit = permit;
    }
    Step::Next(Stage::Send)
}

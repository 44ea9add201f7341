//! Whether a request may be sent: by the quota of its client, and by the circuit of its
//! upstream.

use openai_wire::ApiError;

use super::{Context, Exchange, Stage, Step};
use crate::config::Main;
use crate::pool::circuits;
use crate::telemetry::metrics;

/// Sees whether the client may use more.
pub fn quota(exchange: Exchange<'_>) -> Step {
    match within_quota(exchange.ctx, exchange.main) {
        Ok(()) => Step::Next(Stage::Route),
        Err(refusal) => Step::Refuse(refusal),
    }
}

/// Whether the client may use more.
pub fn within_quota(ctx: &Context, main: &Main) -> Result<(), ApiError> {
    match ctx.client(main) {
        Some(client) if metrics::is_used_up(main, client) => Err(ApiError::QuotaPassed),
        _ => Ok(()),
    }
}

/// Asks the circuit of the chosen target's upstream for permission, unless the request has
/// it: it may have opened while the request waited for a key. The outcome has to be told to
/// it then.
pub(super) fn permit(exchange: Exchange<'_>) -> Step {
    let ctx = exchange.ctx;
    if ctx.permit.get().is_none()
        && let Some(id) = exchange.circuit()
    {
        ctx.permit.set(circuits::admit(id));
        if ctx.permit.get().is_none() {
            return Step::Retry;
        }
    }
    Step::Next(Stage::Send)
}

//! Circuits of upstreams: registration, permits, and log events of their changes.

use nginx_safe::Level;
use openai_core::circuit::{Admission, CircuitChange, CircuitId, CircuitOutcome, Permit};
use openai_core::lease::Zone;
use serde_json::json;

use crate::config::Main;
use crate::pool;
use crate::telemetry::{event, now};

/// Registers the circuits in the zone. Upstreams that the configuration names come first,
/// because the zone may not have room for all.
pub fn enter(main: &Main, zone: &mut Zone<'_>) -> Vec<Option<CircuitId>> {
    let upstreams = main.upstreams.borrow();
    let mut entered = vec![None; upstreams.len()];
    for implied in [false, true] {
        for (circuit, upstream) in entered.iter_mut().zip(&*upstreams) {
            if upstream.implied == implied {
                *circuit = zone.circuit(&upstream.name, &upstream.circuit, now());
            }
        }
    }
    entered
}

/// Gives a permit to send a request; `None` while the circuit is open.
pub fn admit(id: CircuitId) -> Option<Permit> {
    match pool::in_zone(|zone| zone.admit(id, now()))? {
        Admission::Permitted(permit) => Some(permit),
        Admission::Open { .. } => None,
    }
}

/// For how many milliseconds no request may be sent; `None` if one may be sent now.
pub fn open_for(id: Option<CircuitId>) -> Option<u64> {
    let now = now();
    let until_ms = pool::in_zone(|zone| zone.circuit_open(id?, now))?;
    Some(until_ms?.saturating_sub(now.mono_ms))
}

/// Returns the permit of a request that was not sent, or that ended without a result about
/// the upstream. Only probes must be returned; other permits reserve nothing.
pub fn unknown(permit: Permit) {
    if !permit.probe {
        return;
    }
    pool::in_zone(|zone| zone.outcome(permit, CircuitOutcome::Unknown, now(), 0));
}

/// Logs a change of a circuit.
pub fn log_change(main: &Main, circuit: CircuitId, change: CircuitChange) {
    let known = pool::taken_over();
    let known = known.as_ref().map_or(&[][..], |known| &known.circuits);
    let upstreams = main.upstreams.borrow();
    let at = known.iter().position(|&id| id == Some(circuit));
    log_change_of(
        at.and_then(|at| Some(upstreams.get(at)?.name.as_str())),
        change,
    );
}

/// Logs a change of a circuit, by the name of its upstream.
pub fn log_change_of(upstream: Option<&str>, change: CircuitChange) {
    match change {
        CircuitChange::Opened {
            until_ms,
            all,
            failed,
            consecutive,
        } => {
            let for_ms = until_ms.saturating_sub(now().mono_ms);
            let fields = json!({
                "upstream": upstream,
                "for_ms": for_ms,
                "requests": all,
                "failed": failed,
                "consecutive": consecutive,
            });
            event(Level::Warn, "circuit_opened", fields);
        }
        CircuitChange::Closed { after_ms } => {
            let fields = json!({ "upstream": upstream, "after_ms": after_ms });
            event(Level::Warn, "circuit_closed", fields);
        }
    }
}

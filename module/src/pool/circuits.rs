//! The circuits of upstreams: their outcomes, their changes in the log, their listing.

use nginx_safe::Level;
use openai_core::circuit::{
    Admission, CircuitChange, CircuitId, CircuitOutcome, CircuitView, Permit,
};
use openai_core::lease::Zone;
use serde_json::{Value, json};

use crate::config::Main;
use crate::pool;
use crate::telemetry::{event, now, wall_time};

/// Enters the circuits into the zone, those first that the configuration names: there
/// may be no room for all others.
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

/// Asks for leave to send a request.
pub fn admit(id: CircuitId) -> Option<Permit> {
    match pool::in_zone(|zone| zone.admit(id, now()))? {
        Admission::Permitted(permit) => Some(permit),
        Admission::Open { .. } => None,
    }
}

/// For how long no request may go, if so.
pub fn open_for(id: Option<CircuitId>) -> Option<u64> {
    let now = now();
    let until_ms = pool::in_zone(|zone| zone.circuit_open(id?, now))?;
    Some(until_ms?.saturating_sub(now.mono_ms))
}

/// A request that was let through has not been sent, or ended before anything could
/// be told of its upstream. That matters of probes only: others may go without an end.
pub fn unknown(permit: Permit) {
    if !permit.probe {
        return;
    }
    pool::in_zone(|zone| zone.outcome(permit, CircuitOutcome::Unknown, now(), 0));
}

/// Writes a change to the log.
pub fn tell(main: &Main, circuit: CircuitId, change: CircuitChange) {
    let known = main.taken_over().map_or(&[][..], |known| &known.circuits);
    let upstreams = main.upstreams.borrow();
    let at = known.iter().position(|&id| id == Some(circuit));
    tell_of(
        at.and_then(|at| Some(upstreams.get(at)?.name.as_str())),
        change,
    );
}

/// The same, of an upstream by its name.
pub fn tell_of(upstream: Option<&str>, change: CircuitChange) {
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

/// All circuits, as JSON.
pub fn listing(main: &Main) -> Option<String> {
    let known = main.taken_over()?;
    let now = now();
    let standing: Vec<Option<CircuitView>> = pool::in_zone(|zone| {
        let standing = known.circuits.iter();
        standing.map(|&id| zone.circuit_status(id?, now)).collect()
    })?;
    let upstreams = main.upstreams.borrow();
    let listed = upstreams.iter().zip(standing);
    let listed = listed.filter_map(|(upstream, status)| Some(line(&upstream.name, status?)));
    Some(Value::Array(listed.collect()).to_string())
}

fn line(upstream: &str, status: CircuitView) -> Value {
    json!({
        "name": upstream,
        "state": status.state.as_str(),
        "share": f64::from(status.share().0) / 100.0,
        "requests": status.all,
        "trips": status.trips,
        "until": status.until_ms.map(wall_time),
    })
}

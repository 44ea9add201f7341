//! What the module does with a configuration, and at the start and end of a process.

use nginx_safe::{ConfResult, Level};
use openai_core::lease::ReconcileError;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use crate::api::LockService;
use crate::config::Main;
use crate::gateway::Driver;
use crate::pool::{self, KnownPool, TakenOver, circuits, key_files, locks, probes};
use crate::telemetry::{event, metrics, now, snapshot};

/// Takes the shared zone over from the previous configuration; in the master. After this,
/// no error can keep the previous configuration in use.
pub fn commit(main: &Main) -> ConfResult {
    let Some(shared) = main.shared else {
        pool::set_taken_over(None);
        return Ok(());
    };
    let pools = main.for_zone();
    let accepted = pool::change(shared, |zone| {
        zone.started_us(now().wall_us);
        let accepted = zone.accept(&pools, now())?;
        Ok((accepted, circuits::enter(main, zone)))
    });
    let accepted = accepted.ok_or("openai_zone: the zone does not exist")?;
    let (accepted, circuits) = accepted.map_err(|e: ReconcileError| format!("openai_zone: {e}"))?;
    let known = main.pools.iter().zip(accepted.pools);
    let known = known.map(|(pool, (id, indexes))| KnownPool::new(pool, id, &indexes));
    pool::set_taken_over(Some(TakenOver {
        generation: accepted.generation,
        instance: format!("{:016x}", StdRng::from_os_rng().next_u64()),
        pools: known.collect(),
        circuits,
    }));
    metrics::introduce(main);
    snapshot::claim(main);
    Ok(())
}

/// Registers the worker in the zone.
pub fn start(main: &Main) -> ConfResult {
    pool::on_message(Driver::<LockService>::receive);
    if nginx_safe::serves_requests() && pool::enter(main) == Some(false) {
        let fields = json!({ "reason": "too many workers at once" });
        event(Level::Alert, "worker_refused", fields);
    }
    Ok(())
}

/// Stops the worker's activities and releases what it holds.
pub fn stop() {
    metrics::stop();
    snapshot::stop();
    key_files::stop();
    locks::stop();
    probes::stop();
    pool::leave_zone();
}

/// Writes the last snapshot after all workers have ended; in the master.
pub fn finish(main: &Main) {
    snapshot::finish(main);
}

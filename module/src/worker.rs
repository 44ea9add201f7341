//! What the parts of the module do with a configuration and in a process, in order.

use nginx_safe::{ConfResult, Cycle, Level, LineLog, Token};
use openai_core::lease::ReconcileError;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use crate::config::{KnownPool, Main, TakenOver};
use crate::pool::{self, News, circuits, key_files, locks, probes};
use crate::telemetry::{event, metrics, now, snapshot};
use crate::{api, gateway};

/// Takes the shared zone over from the configuration before; in the master. From here on
/// nothing can fail that would leave the old one in use.
pub fn commit(main: &Main) -> ConfResult {
    LineLog::put_in_force(main.event_log.as_ref());
    let Some(shared) = main.shared else {
        return Ok(());
    };
    let pools = main.for_zone();
    let accepted = pool::change(shared, |zone| {
        zone.started_us(now().wall_us);
        let accepted = zone.accept(&pools, now())?;
        Ok((accepted, circuits::enter(main, zone)))
    });
    let accepted = accepted.ok_or("openai_zone: the zone is not there")?;
    let (accepted, circuits) = accepted.map_err(|e: ReconcileError| format!("openai_zone: {e}"))?;
    let known = main.pools.iter().zip(accepted.pools);
    let known = known.map(|(pool, (id, indexes))| {
        pool.keys.replace(pool.keys.newest(), &indexes);
        KnownPool { id }
    });
    main.take_over(TakenOver {
        generation: accepted.generation,
        instance: format!("{:016x}", StdRng::from_os_rng().next_u64()),
        pools: known.collect(),
        circuits,
    });
    metrics::introduce(main);
    snapshot::claim(main);
    Ok(())
}

/// Enters a worker into the zone.
pub fn start(main: &Main, cycle: Cycle) -> ConfResult {
    pool::on_news(hear);
    if nginx_safe::serves_requests() && pool::enter(main, cycle) == Some(false) {
        let fields = json!({ "reason": "too many workers at once" });
        event(Level::Alert, "worker_refused", fields);
    }
    Ok(())
}

/// Tells a request of its wait or its lease.
fn hear(token: Token, news: News) -> bool {
    match news {
        News::Prolonged(until_ms) => {
            let told = token.with(|request| api::prolonged(request, until_ms));
            told.is_some()
        }
        news => gateway::hear(token, news),
    }
}

/// Ends a worker's part; what it still holds is free at once.
pub fn stop() {
    snapshot::stop();
    key_files::stop();
    locks::stop();
    probes::stop();
    pool::leave_zone();
}

/// All workers have ended; in the master.
pub fn finish(main: &Main) {
    snapshot::finish(main);
}

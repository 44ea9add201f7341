//! Releasing locks: by their services, by administrators, or because they have expired.

use nginx_safe::Answer;
use openai_core::admin::{
    CleanupResponse, ForceReleaseResponse, LockStatus, Problem, Release, ReleaseResponse,
    ReportedUsage, lock_id, parse_lock_id,
};
use openai_core::lease::{ServiceLock, ServiceState};
use openai_core::metrics::UsageReport;
use serde_json::json;

use super::{audit, log};
use crate::api::reports;
use crate::api::{json, unavailable};
use crate::gateway::Exchange;
use crate::pool::{self, in_zone};
use crate::telemetry::{metrics, now};

/// Maximum number of lock ids in one log event.
const MOST_LOGGED: usize = 32;

impl Exchange<'_> {
    /// Counts the usage that a service reports for a lock: once, whatever the lock's state.
    fn count(self, lock: &ServiceLock, outcome: &ReportedUsage) -> bool {
        let id = lock.handle.nonce();
        let is_first = || in_zone(|zone| zone.report_service_lock(id)) == Some(true);
        if !outcome.has_result() || !is_first() {
            return false;
        }
        let location = reports::key_of(self.main, lock.pool, lock.key);
        let location = location.as_ref().map(|(pool, key)| (&*pool.name, &*key.id));
        let (pool, key) = location.unwrap_or_default();
        let report = UsageReport {
            service: &lock.client,
            pool,
            key,
            tokens: outcome.tokens.unwrap_or_default(),
            failed: outcome.failed(),
        };
        metrics::report(self.main, &report);
        true
    }

    pub(in crate::api) fn release(self, asked: &Release) -> Result<Answer, Problem> {
        let mut lock = self.own(asked.id, &asked.service)?;
        let was_held = lock.state == ServiceState::Held;
        if was_held {
            lock = end(&lock, ServiceState::Released).ok_or_else(unavailable)?;
        }
        let counts = self.count(&lock, &asked.outcome);
        if was_held || counts {
            let outcome = &asked.outcome;
            let fields = json!({
                "lock_status": status_of(lock.state),
                "success": outcome.success,
                "error_message": outcome.error,
                "actual_duration": outcome.duration_s,
                "tokens_used": outcome.tokens,
                "hold_ms": lock.until_ms.saturating_sub(lock.taken_ms),
            });
            log("lock_released", &self.request, &lock, fields);
        }
        let key = reports::key_of(self.main, lock.pool, lock.key);
        let answer = ReleaseResponse {
            success: true,
            lock_id: lock_id(lock.handle.nonce()),
            status: status_of(lock.state),
            key_id: key.map(|(_, key)| key.id.clone()),
            slot: lock.ordinal,
            held_ms: lock.until_ms.saturating_sub(lock.taken_ms),
            timestamp: now().timestamp(),
        };
        json(200, &answer)
    }
}

/// Ends a lock and returns its new state.
fn end(lock: &ServiceLock, state: ServiceState) -> Option<ServiceLock> {
    let id = lock.handle.nonce();
    if lock.lock.is_some() {
        pool::reclaim(id, state);
    } else {
        in_zone(|zone| zone.end_service_lock(id, state, now()));
    }
    in_zone(|zone| zone.service_lock(id)).flatten()
}

fn status_of(state: ServiceState) -> LockStatus {
    match state {
        ServiceState::Held => LockStatus::Acquired,
        ServiceState::Released => LockStatus::Released,
        ServiceState::Expired => LockStatus::Expired,
        ServiceState::Forced => LockStatus::ForceReleased,
        ServiceState::Lost => LockStatus::Lost,
    }
}

pub(in crate::api) fn force_release(here: Exchange<'_>, id: &str) -> Result<Answer, Problem> {
    let id = parse_lock_id(id).ok_or_else(Problem::no_such_lock)?;
    let Some(mut lock) = here.lock(id)? else {
        return Err(reports::none_but_a_request(here, id));
    };
    let released = lock.state == ServiceState::Held;
    if released {
        lock = end(&lock, ServiceState::Forced).ok_or_else(unavailable)?;
    }
    let clock = now();
    let shown = reports::lock(here.main, &lock, clock).ok_or_else(Problem::no_such_lock)?;
    audit(
        here,
        "force_release",
        json!({
            "lock_id": shown.lock_id,
            "released": released,
            "service_name": lock.service,
            "client": lock.client,
            "key_id": shown.key_id,
        }),
    )?;
    let answer = ForceReleaseResponse {
        success: true,
        released,
        status: status_of(lock.state),
        lock: shown,
        timestamp: clock.timestamp(),
    };
    json(200, &answer)
}

pub(in crate::api) fn clean_up(here: Exchange<'_>) -> Result<Answer, Problem> {
    let gone = in_zone(|zone| zone.clean_service_locks(now())).ok_or_else(unavailable)?;
    let ids = gone.iter().map(|lock| lock_id(lock.handle.nonce()));
    let lock_ids: Vec<_> = ids.collect();
    // nginx truncates long lines of its error log.
    let some = lock_ids.get(..MOST_LOGGED).unwrap_or(&lock_ids);
    let fields = json!({ "cleaned": lock_ids.len(), "lock_ids": some });
    audit(here, "cleanup_expired", fields)?;
    let answer = CleanupResponse {
        success: true,
        cleaned: lock_ids.len(),
        lock_ids,
        timestamp: now().timestamp(),
    };
    json(200, &answer)
}

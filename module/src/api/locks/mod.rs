//! Acquiring, extending and releasing locks.

mod acquire;
mod extend;
mod release;

pub(super) use release::{clean_up, force_release};

use nginx_safe::{Level, Request};
use openai_core::admin::{AcquireResponse, LockInfo, LockStatus, Problem, lock_id};
use openai_core::lease::ServiceLock;
use serde_json::json;

use super::reports;
use super::{json, unavailable};
use crate::gateway::{Exchange, Pending, Stage, Step, events};
use crate::pool::in_zone;
use crate::telemetry::{event, is_logged, now};

/// How much longer a request waits than the nodes have time to answer, in milliseconds.
const MARGIN_MS: u64 = 1_000;

/// Waits for the nodes' answer, which comes within `within_ms`. A worker that shuts down
/// waits for it.
fn await_nodes(within_ms: u64) -> Step {
    Step::Wait(Stage::Prolonging, Some(within_ms + MARGIN_MS))
}

impl Exchange<'_> {
    /// Stores the call while the request waits.
    pub(super) fn await_call(self, call: Pending) {
        *self.ctx.as_lock_call().call.borrow_mut() = Some(call);
    }

    /// Answers with a lock.
    fn granted(self, lock: &ServiceLock, status: LockStatus) -> Result<Step, Problem> {
        let clock = now();
        let (pool, key) =
            reports::key_of(self.main, lock.pool, lock.key).ok_or_else(unavailable)?;
        let secret = || {
            let header = str::from_utf8(&key.authorization).ok()?;
            Some(header.strip_prefix("Bearer ")?.to_owned())
        };
        let shows_key = self.location.api.shows_key() && cooling_ms(lock).is_none();
        let lock_info = LockInfo {
            lock_id: lock_id(lock.handle.nonce()),
            api_key: shows_key.then(secret).flatten(),
            key_id: key.id.clone(),
            slot: lock.ordinal,
            pool: pool.name.clone(),
            fence: lock.fence,
            acquired_at: clock.timestamp_of(lock.taken_ms),
            expires_at: clock.timestamp_of(lock.until_ms),
            request_id: lock.request.clone(),
            status,
        };
        let answer = AcquireResponse {
            success: true,
            lock_info,
            timestamp: clock.timestamp(),
        };
        Ok(self.answer(json(200, &answer)?))
    }

    /// The lock with this id.
    fn lock(self, id: u128) -> Result<Option<ServiceLock>, Problem> {
        let found = in_zone(|zone| {
            zone.expire(now());
            zone.service_lock(id)
        });
        let found = found.ok_or_else(unavailable)?;
        if let Some(lock) = &found {
            self.ctx.as_lock_call().lock.set(Some(lock.handle));
            if !lock.is_known() {
                return Err(unavailable());
            }
        }
        Ok(found)
    }

    /// The lock with this id, if the caller owns it.
    fn own(self, id: Option<u128>, service: &str) -> Result<ServiceLock, Problem> {
        let client = self.caller()?;
        let id = id.ok_or_else(Problem::no_such_lock)?;
        let lock = self.lock(id)?.ok_or_else(Problem::no_such_lock)?;
        if lock.client != client.name || lock.service != service {
            return Err(Problem::not_owner());
        }
        Ok(lock)
    }
}

/// Remaining cool-down of a lock's key, in milliseconds.
fn cooling_ms(lock: &ServiceLock) -> Option<u64> {
    in_zone(|zone| zone.cooling_ms(lock.key, now())).flatten()
}

/// Logs an event about a lock at level info.
fn log(name: &str, request: &Request<'_>, lock: &ServiceLock, mut fields: serde_json::Value) {
    if !is_logged(Level::Info) {
        return;
    }
    fields["lock_id"] = lock_id(lock.handle.nonce()).into();
    fields["service_name"] = lock.service.as_str().into();
    fields["client"] = lock.client.as_str().into();
    fields["fence"] = lock.fence.into();
    fields["request_id"] = lock.request.as_str().into();
    fields["processing_time_ms"] = request.age_ms().into();
    event(Level::Info, name, fields);
}

/// Logs what an administrator has done to the locks of others.
fn audit(here: Exchange<'_>, action: &str, what: serde_json::Value) -> Result<(), Problem> {
    let admin = &here.caller()?.name;
    let mut fields = json!({ "action": action, "admin": admin, "what": what });
    if let Some(lock) = here.ctx.as_lock_call().lock.get() {
        fields["lock_id"] = lock_id(lock.nonce()).into();
    }
    events::write(&here.request, here.ctx, Level::Warn, "audit", fields);
    Ok(())
}

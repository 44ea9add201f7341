//! Locks taken, prolonged and given back.

mod acquire;
mod extend;
mod release;

pub use extend::prolonged;
pub(super) use release::{clean_up, force_release};

use nginx_safe::{Answer, Level, Request};
use openai_core::admin::{Acquire, AcquireResponse, LockInfo, LockStatus, Problem, Route, lock_id};
use openai_core::lease::ServiceLock;
use openai_wire::ApiError;
use serde_json::json;

use super::reports::{self, Clock};
use super::{Here, json};
use crate::gateway::events;
use crate::pool::in_zone;
use crate::telemetry::{event, is_logged, now};

/// What a request asks of the lock service, while it waits for something.
pub enum Call {
    /// Its body is being read.
    Body(Route),
    /// It waits for a slot, or for the nodes to lock it for longer.
    Acquire(Box<Acquiring>),
    /// It waits for the nodes to prolong its lock.
    Extend(Box<Extending>),
}

pub struct Acquiring {
    asked: Acquire,
    request: String,
    client: String,
    /// Until when the nodes keep the lock.
    locked_until_ms: Option<u64>,
}

pub struct Extending {
    lock: ServiceLock,
    /// Whether the nodes keep it for as long as was asked.
    granted: bool,
}

fn unavailable() -> Problem {
    Problem::of(ApiError::LockUnavailable { retry_after: 1 })
}

impl Here<'_> {
    fn granted(self, lock: &ServiceLock, status: LockStatus) -> Result<Answer, Problem> {
        let clock = Clock::now();
        let (pool, key) =
            reports::key_of(self.main, lock.pool, lock.key).ok_or_else(unavailable)?;
        let secret = || {
            let header = str::from_utf8(&key.authorization).ok()?;
            Some(header.strip_prefix("Bearer ")?.to_owned())
        };
        let tells = self.location.api.shows_key() && cooling_ms(lock).is_none();
        let lock_info = LockInfo {
            lock_id: lock_id(lock.handle.nonce()),
            api_key: tells.then(secret).flatten(),
            key_id: key.id.clone(),
            slot: lock.ordinal,
            pool: pool.name.clone(),
            fence: lock.fence,
            acquired_at: clock.time(lock.taken_ms),
            expires_at: clock.time(lock.until_ms),
            request_id: lock.request.clone(),
            status,
        };
        let answer = AcquireResponse {
            success: true,
            lock_info,
            timestamp: clock.timestamp(),
        };
        json(200, &answer)
    }

    /// The lock of that name, if the caller owns it.
    fn own(self, id: Option<u128>, service: &str) -> Result<ServiceLock, Problem> {
        let client = self.client()?;
        let id = id.ok_or_else(Problem::no_such_lock)?;
        let found = in_zone(|zone| {
            zone.expire(now());
            zone.service_lock(id)
        });
        let lock = found.ok_or_else(unavailable)?;
        let lock = lock.ok_or_else(Problem::no_such_lock)?;
        self.service.lock.set(Some(lock.handle));
        if lock.client != client.name || lock.service != service {
            return Err(Problem::not_owner());
        }
        Ok(lock)
    }
}

/// For how much longer the key of a lock is cooling down, if it is.
fn cooling_ms(lock: &ServiceLock) -> Option<u64> {
    in_zone(|zone| zone.cooling_ms(lock.key, now())).flatten()
}

/// A line about a lock, for those who want them all.
fn tell(name: &str, request: &Request<'_>, lock: &ServiceLock, mut fields: serde_json::Value) {
    if !is_logged(Level::Info) {
        return;
    }
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("lock_id".into(), lock_id(lock.handle.nonce()).into());
        fields.insert("service_name".into(), lock.service.as_str().into());
        fields.insert("client".into(), lock.client.as_str().into());
        fields.insert("fence".into(), lock.fence.into());
        fields.insert("request_id".into(), lock.request.as_str().into());
        fields.insert("processing_time_ms".into(), request.age_ms().into());
    }
    event(Level::Info, name, fields);
}

/// Who has done what to what is not theirs.
fn audit(here: Here<'_>, action: &str, what: serde_json::Value) -> Result<(), Problem> {
    let admin = &here.client()?.name;
    let mut fields = json!({ "action": action, "admin": admin, "what": what });
    if let Some(lock) = here.service.lock.get() {
        fields["lock_id"] = lock_id(lock.nonce()).into();
    }
    events::tell(&here.request, here.ctx, Level::Warn, "audit", fields);
    Ok(())
}

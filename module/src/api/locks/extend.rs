//! Extending locks, on this machine or on the nodes.

use openai_core::admin::{Extend, LockStatus, Problem};
use openai_core::lease::{LeaseHandle, ServiceState};
use serde_json::json;

use super::{await_nodes, log};
use crate::api::unavailable;
use crate::gateway::refusal::UNAVAILABLE;
use crate::gateway::{Exchange, Extending, Pending, Stage, Step};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::now;

impl Exchange<'_> {
    pub(in crate::api) fn extend(self, asked: &Extend) -> Result<Step, Problem> {
        let lock = self.own(asked.id, &asked.service)?;
        if lock.state != ServiceState::Held {
            return Err(Problem::ended(lock.state));
        }
        let (least, most) = self.location.api.ttl_ms();
        let now = now().mono_ms;
        let until_ms = (now + asked.duration_ms.clamp(least, most)).max(lock.until_ms);
        if lock.lock.is_none() {
            in_zone(|zone| zone.prolong_service_lock(lock.handle.nonce(), until_ms));
            pool::watch_expiry();
            return self.extended(lock.handle, true);
        }
        let Some(within_ms) = locks::prolong_service(&lock, until_ms, self.ctx.token) else {
            // The lock has ended, or this configuration does not know its slot.
            return self.extended(lock.handle, false);
        };
        self.await_call(Pending::Extend(Box::new(Extending {
            lock,
            granted: false,
        })));
        Ok(await_nodes(within_ms))
    }

    /// Responds to an extension, whether the lock was extended or not.
    pub(super) fn extended(self, handle: LeaseHandle, granted: bool) -> Result<Step, Problem> {
        let now_is = in_zone(|zone| {
            zone.expire(now());
            zone.service_lock(handle.nonce())
        });
        match now_is.ok_or_else(unavailable)? {
            Some(lock) if lock.state != ServiceState::Held => Err(Problem::ended(lock.state)),
            Some(longer) if granted => {
                log("lock_extended", &self.request, &longer, json!({}));
                self.granted(&longer, LockStatus::Extended)
            }
            Some(_) => Err(unavailable()),
            None => Err(Problem::no_such_lock()),
        }
    }

    /// Handles the nodes' answer: they keep the lock until `until_ms`, or do not (`None`).
    pub(in crate::api) fn prolonged(self, until_ms: Option<u64>) -> Step {
        let goes_on = match &mut *self.ctx.as_lock_call().call.borrow_mut() {
            Some(Pending::Acquire(call)) => {
                call.locked_until_ms = until_ms;
                until_ms.is_some()
            }
            Some(Pending::Extend(call)) => {
                call.granted = until_ms.is_some();
                true
            }
            Some(Pending::Body(_)) | None => false,
        };
        match goes_on {
            true => Step::Next(Stage::Leased),
            false => Step::Refuse(UNAVAILABLE),
        }
    }
}

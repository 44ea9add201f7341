//! Locks prolonged, on this machine or on the nodes.

use nginx_safe::{Answer, Request, Timer, Token};
use openai_core::admin::{Extend, LockStatus, Problem};
use openai_core::lease::{LeaseHandle, ServiceState};
use openai_wire::ApiError;
use serde_json::json;

use super::{Call, Extending, tell, unavailable};
use crate::api::{Decided, Here, Service};
use crate::gateway::{Context, Stage};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::now;

/// For how much longer than the nodes have a request waits for their word.
const PATIENCE_MS: u64 = 1_000;

impl Here<'_> {
    pub(in crate::api) fn extend(self, asked: &Extend) -> Decided {
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
            return self.extended(lock.handle, true).map(Some);
        }
        let Some(within_ms) = locks::prolong_service(&lock, until_ms, self.ctx.token) else {
            // It has ended by now, or this configuration does not know its slot.
            return self.extended(lock.handle, false).map(Some);
        };
        let call = Extending {
            lock,
            granted: false,
        };
        *self.service.call.borrow_mut() = Some(Call::Extend(Box::new(call)));
        self.await_nodes(within_ms);
        Ok(None)
    }

    /// Waits for the nodes' word, which comes within that time. A worker that is told to
    /// leave stays for it.
    pub(super) fn await_nodes(&self, within_ms: u64) {
        self.ctx.stage.set(Stage::Prolonging);
        let unheard = |tag| {
            Token::of(tag).with(|request| prolonged(request, None));
        };
        let mut deadline = Timer::new(false, unheard, self.ctx.token.number());
        deadline.start(within_ms + PATIENCE_MS);
        *self.ctx.deadline.borrow_mut() = Some(deadline);
    }

    /// What is to be said of a lock that has been prolonged, or could not be.
    pub(super) fn extended(self, handle: LeaseHandle, granted: bool) -> Result<Answer, Problem> {
        let now_is = in_zone(|zone| {
            zone.expire(now());
            zone.service_lock(handle.nonce())
        });
        match now_is.ok_or_else(unavailable)? {
            Some(lock) if lock.state != ServiceState::Held => Err(Problem::ended(lock.state)),
            Some(longer) if granted => {
                tell("lock_extended", &self.request, &longer, json!({}));
                self.granted(&longer, LockStatus::Extended)
            }
            Some(_) => Err(unavailable()),
            None => Err(Problem::no_such_lock()),
        }
    }
}

/// The nodes have said whether they keep a lock for longer, and until when.
pub fn prolonged(request: Request<'_>, until_ms: Option<u64>) {
    let Some(ctx) = request.recalled::<Context>() else {
        return;
    };
    if ctx.stage.get() != Stage::Prolonging {
        return;
    }
    ctx.deadline.take();
    let Some(service) = Service::of(ctx) else {
        return;
    };
    let goes_on = service
        .call
        .borrow_mut()
        .as_mut()
        .is_some_and(|call| match call {
            Call::Acquire(call) => {
                call.locked_until_ms = until_ms;
                until_ms.is_some()
            }
            Call::Extend(call) => {
                call.granted = until_ms.is_some();
                true
            }
            Call::Body(_) => false,
        });
    if !goes_on {
        ctx.let_go();
    }
    ctx.stage.set(if goes_on {
        Stage::Leased
    } else {
        Stage::Refused(ApiError::LockUnavailable { retry_after: 1 })
    });
    request.go_on();
}

//! Acquiring locks.

use openai_core::admin::{Acquire, LockStatus, Problem};
use openai_core::attempts::seconds;
use openai_core::lease::{EntrustError, ServiceLock, Terms};
use openai_wire::ApiError;
use serde_json::json;

use super::{await_nodes, cooling_ms, log};
use crate::api::unavailable;
use crate::config::Store;
use crate::gateway::refusal::UNAVAILABLE;
use crate::gateway::{Acquiring, Exchange, LeaseState, Pending, Requested, Stage, Step};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::now;

impl Exchange<'_> {
    /// Handles a request for a lock. The client's quota is checked next.
    pub(in crate::api) fn acquire(self, mut asked: Acquire) -> Result<Step, Problem> {
        let client = self.caller()?.name.clone();
        let pool = self.pool_named(asked.pool.as_deref())?;
        let (least, most) = self.location.api.ttl_ms();
        asked.duration_ms = asked.duration_ms.clamp(least, most);
        if let Some(request) = &asked.request {
            let known = in_zone(|zone| {
                zone.expire(now());
                zone.service_lock_for(&client, &asked.service, request)
            });
            if let Some(known) = known.ok_or_else(unavailable)? {
                return self.granted_again(&known);
            }
        }
        let request = asked.request.clone().or_else(pool::request_id);
        self.ctx.as_lock_call().requested.set(Some(Requested {
            priority: asked.priority,
            wait_ms: asked.wait_ms,
        }));
        // It is counted as a request to this pool, even if the quota refuses it.
        self.ctx.choose_pool(pool);
        self.await_call(Pending::Acquire(Box::new(Acquiring {
            asked,
            request: request.ok_or_else(unavailable)?,
            client,
            locked_until_ms: None,
        })));
        Ok(Step::Next(Stage::Admit))
    }

    /// Position of the location's pool with this name; of its first pool without a name.
    fn pool_named(self, name: Option<&str>) -> Result<usize, Problem> {
        let pools = self.location.api.pools();
        let named = |at: &usize| {
            let pool = self.main.pools.get(*at).map(|pool| pool.name.as_str());
            name.is_none_or(|name| pool == Some(name))
        };
        let found = pools.iter().copied().find(named);
        found.ok_or_else(Problem::no_such_pool)
    }

    /// Turns the lease into a lock; or answers the extension of a lock, once the nodes have.
    pub(in crate::api) fn leased(self) -> Result<Step, Problem> {
        let call = self.ctx.as_lock_call().call.take();
        match call {
            Some(Pending::Acquire(call)) => self.entrust(*call),
            Some(Pending::Extend(call)) => self.extended(call.lock.handle, call.granted),
            _ => Err(unavailable()),
        }
    }

    fn entrust(self, call: Acquiring) -> Result<Step, Problem> {
        let lease = self.ctx.lease().ok_or_else(unavailable)?;
        let pool = self.main.pools.get(lease.pool).ok_or_else(unavailable)?;
        let is_shared = matches!(pool.store, Store::Redlock { .. });
        let until_ms = match call.locked_until_ms {
            Some(until_ms) => until_ms,
            None if is_shared => {
                let for_ms = call.asked.duration_ms;
                self.await_call(Pending::Acquire(Box::new(call)));
                let within_ms = locks::prolong_lease(lease.grant.handle, for_ms, self.ctx.token);
                let within_ms = within_ms.ok_or_else(|| self.refused(UNAVAILABLE))?;
                return Ok(await_nodes(within_ms));
            }
            None => now().mono_ms + call.asked.duration_ms,
        };
        let asked_ms = match call.locked_until_ms {
            Some(_) => locks::asked_until(lease.grant.key, call.asked.duration_ms),
            None => None,
        };
        let terms = Terms {
            client: &call.client,
            service: &call.asked.service,
            request: &call.request,
            context: &call.asked.context.to_text(),
            until_ms,
            // Counted from now: nodes were asked before, but count from when they receive it.
            asked_ms: asked_ms.unwrap_or_default(),
        };
        let lock = match pool::entrust(&lease, &terms) {
            Ok(lock) => lock,
            Err(EntrustError::Known(lock)) => return self.granted_again(&lock),
            Err(EntrustError::CoolingDown) => {
                let refusal = self.no_key(false);
                return Err(self.refused(refusal));
            }
            Err(EntrustError::Full) => {
                self.ctx.refusal.error.set(Some(UNAVAILABLE));
                return Err(Problem::table_full());
            }
            Err(EntrustError::Lost) => return Err(self.refused(UNAVAILABLE)),
        };
        // The lease now belongs to the service lock.
        self.ctx.attempt.borrow_mut().lease_state = LeaseState::Entrusted;
        log(
            "lock_acquired",
            &self.request,
            &lock,
            json!({ "wait_ms": self.ctx.waited_ms() }),
        );
        self.granted(&lock, LockStatus::Acquired)
    }

    /// Answers a repeated request with its existing lock, unless the key is cooling down: a
    /// caller that has not received the first answer would begin to use the key.
    fn granted_again(self, lock: &ServiceLock) -> Result<Step, Problem> {
        match cooling_ms(lock) {
            Some(left_ms) => Err(Problem::of(ApiError::NoKeyAvailable {
                retry_after: seconds(left_ms),
            })),
            None => self.granted(lock, LockStatus::Acquired),
        }
    }
}

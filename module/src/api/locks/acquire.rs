//! Locks taken.

use nginx_safe::Answer;
use openai_core::admin::{Acquire, LockStatus, Problem};
use openai_core::lease::{EntrustError, ServiceLock, Terms};
use openai_wire::ApiError;
use serde_json::json;

use super::{Acquiring, Call, cooling_ms, tell, unavailable};
use crate::api::{Decided, Here};
use crate::config::Store;
use crate::gateway::{Exchange, Step, Wishes, admit, lease, refusal};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::now;

impl<'a> Here<'a> {
    pub(in crate::api) fn acquire(self, mut asked: Acquire) -> Decided {
        let client = self.client()?.name.clone();
        let at = self.pool(asked.pool.as_deref())?;
        let (least, most) = self.location.api.ttl_ms();
        asked.duration_ms = asked.duration_ms.clamp(least, most);
        if let Some(request) = &asked.request {
            let known = in_zone(|zone| {
                zone.expire(now());
                zone.service_lock_for(&client, &asked.service, request)
            });
            if let Some(known) = known.ok_or_else(unavailable)? {
                return self.granted_again(&known).map(Some);
            }
        }
        admit::within_quota(self.ctx, self.main).map_err(Problem::of)?;
        let request = asked.request.clone().or_else(pool::request_id);
        self.ctx.wishes.set(Some(Wishes {
            priority: asked.priority,
            wait_ms: asked.wait_ms,
        }));
        let call = Acquiring {
            asked,
            request: request.ok_or_else(unavailable)?,
            client,
            locked_until_ms: None,
        };
        *self.service.call.borrow_mut() = Some(Call::Acquire(Box::new(call)));
        let pool = self.main.pools.get(at).ok_or_else(unavailable)?;
        self.ctx.choose_pool(at);
        match lease::seek(self.exchange(), at, pool) {
            Step::Next(_) => self.leased(),
            Step::Wait => Ok(None),
            Step::Refuse(refusal) => Err(Problem::of(refusal)),
            Step::Retry => Err(unavailable()),
        }
    }

    /// The request as one that asks for a lease.
    fn exchange(self) -> Exchange<'a> {
        Exchange {
            request: self.request,
            ctx: self.ctx,
            location: self.location,
            main: self.main,
        }
    }

    /// The position of the pool of this name, or of the first.
    fn pool(self, name: Option<&str>) -> Result<usize, Problem> {
        let pools = self.location.api.pools();
        let named = |at: &usize| {
            let pool = self.main.pools.get(*at).map(|pool| pool.name.as_str());
            name.is_none_or(|name| pool == Some(name))
        };
        let found = pools.iter().copied().find(named);
        found.ok_or_else(Problem::no_such_pool)
    }

    /// The request has a lease, and makes a lock of it; or its lock has been prolonged.
    pub(in crate::api) fn leased(self) -> Decided {
        match self.service.call.take() {
            Some(Call::Acquire(call)) => self.entrust(*call),
            Some(Call::Extend(call)) => self.extended(call.lock.handle, call.granted).map(Some),
            _ => Err(unavailable()),
        }
    }

    fn entrust(self, call: Acquiring) -> Decided {
        let lease = self.ctx.lease().ok_or_else(unavailable)?;
        let pool = self.main.pools.get(lease.pool).ok_or_else(unavailable)?;
        let is_shared = matches!(pool.store, Store::Redlock { .. });
        let until_ms = match call.locked_until_ms {
            Some(until_ms) => until_ms,
            None if is_shared => {
                let for_ms = call.asked.duration_ms;
                *self.service.call.borrow_mut() = Some(Call::Acquire(Box::new(call)));
                let within_ms = locks::prolong_lease(lease.grant.handle, for_ms, self.ctx.token);
                let Some(within_ms) = within_ms else {
                    self.ctx.let_go();
                    return Err(unavailable());
                };
                self.await_nodes(within_ms);
                return Ok(None);
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
            // Nodes have been asked before; they count from when they hear of it.
            asked_ms: asked_ms.unwrap_or_default(),
        };
        let lock = match pool::entrust(&lease, &terms) {
            Ok(lock) => lock,
            Err(problem) => {
                self.ctx.let_go();
                return match problem {
                    EntrustError::Known(lock) => self.granted_again(&lock).map(Some),
                    EntrustError::CoolingDown => {
                        let refusal = refusal::in_vain(self.exchange());
                        Err(Problem::of(refusal))
                    }
                    EntrustError::Full => Err(Problem::table_full()),
                    EntrustError::Lost => Err(unavailable()),
                };
            }
        };
        // From here on the lease is the service's.
        self.ctx.attempt.borrow_mut().holds = false;
        tell(
            "lock_acquired",
            &self.request,
            &lock,
            json!({ "wait_ms": self.ctx.waited_ms() }),
        );
        self.granted(&lock, LockStatus::Acquired).map(Some)
    }

    /// The request has the lock already. Its key is not told while it is cooling down: who
    /// has not heard of the lock would begin to use it.
    fn granted_again(self, lock: &ServiceLock) -> Result<Answer, Problem> {
        match cooling_ms(lock) {
            Some(left_ms) => Err(Problem::of(ApiError::NoKeyAvailable {
                retry_after: refusal::seconds(left_ms),
            })),
            None => self.granted(lock, LockStatus::Acquired),
        }
    }
}

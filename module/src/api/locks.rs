//! Locks taken, prolonged and given back.

use nginx_safe::{Answer, Level, Request, Timer, Token};
use openai_core::admin::{
    Acquire, AcquireResponse, CleanupResponse, Extend, ForceReleaseResponse, LockInfo, LockStatus,
    Outcome, Problem, Release, ReleaseResponse, Route, lock_id, parse_lock_id,
};
use openai_core::lease::{EntrustError, LeaseHandle, ServiceLock, ServiceState, Terms};
use openai_core::metrics::Report;
use openai_wire::ApiError;
use serde_json::json;

use super::reports::{self, Clock};
use super::{Decided, Here, Service, json};
use crate::config::Store;
use crate::gateway::{Context, Exchange, Stage, Step, Wishes, admit, events, lease, route};
use crate::pool::{self, in_zone, locks};
use crate::telemetry::{event, is_logged, metrics, now};

/// How many locks a line of the log names.
const MOST_TOLD: usize = 32;
/// For how much longer than the nodes have a request waits for their word.
const PATIENCE_MS: u64 = 1_000;

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

impl<'a> Here<'a> {
    pub(super) fn acquire(self, mut asked: Acquire) -> Decided {
        let client = self.client()?.name.clone();
        let at = self.pool(asked.pool.as_deref())?;
        let (least, most) = self.place.api.ttl_ms();
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
        route::choose_pool(self.ctx, at);
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
            place: self.place,
            main: self.main,
        }
    }

    /// The position of the pool of this name, or of the first.
    fn pool(self, name: Option<&str>) -> Result<usize, Problem> {
        let pools = self.place.api.pools();
        let named = |at: &usize| {
            let pool = self.main.pools.get(*at).map(|pool| pool.name.as_str());
            name.is_none_or(|name| pool == Some(name))
        };
        let found = pools.iter().copied().find(named);
        found.ok_or_else(Problem::no_such_pool)
    }

    /// The request has a lease, and makes a lock of it; or its lock has been prolonged.
    pub(super) fn leased(self) -> Decided {
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
                    EntrustError::Cooling => {
                        let refusal = route::in_vain(self.exchange());
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
                retry_after: route::seconds(left_ms),
            })),
            None => self.granted(lock, LockStatus::Acquired),
        }
    }

    fn granted(self, lock: &ServiceLock, status: LockStatus) -> Result<Answer, Problem> {
        let clock = Clock::now();
        let (pool, key) =
            reports::key_of(self.main, lock.pool, lock.key).ok_or_else(unavailable)?;
        let secret = || {
            let header = str::from_utf8(&key.authorization).ok()?;
            Some(header.strip_prefix("Bearer ")?.to_owned())
        };
        let tells = self.place.api.shows_key() && cooling_ms(lock).is_none();
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

    pub(super) fn extend(self, asked: &Extend) -> Decided {
        let lock = self.own(asked.id, &asked.service)?;
        if lock.state != ServiceState::Held {
            return Err(Problem::ended(lock.state));
        }
        let (least, most) = self.place.api.ttl_ms();
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
    fn await_nodes(&self, within_ms: u64) {
        self.ctx.stage.set(Stage::Prolonging);
        let unheard = |tag| {
            Token::of(tag).with(|request| prolonged(request, None));
        };
        let mut deadline = Timer::new(false, unheard, self.ctx.token.number());
        deadline.start(within_ms + PATIENCE_MS);
        *self.ctx.deadline.borrow_mut() = Some(deadline);
    }

    /// What is to be said of a lock that has been prolonged, or could not be.
    fn extended(self, handle: LeaseHandle, granted: bool) -> Result<Answer, Problem> {
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

    /// Counts what was done with a lock, once, whatever has become of it.
    fn count(self, lock: &ServiceLock, outcome: &Outcome) -> bool {
        let id = lock.handle.nonce();
        let is_news = || in_zone(|zone| zone.tell_service_lock(id)) == Some(true);
        if !outcome.is_told() || !is_news() {
            return false;
        }
        let place = reports::key_of(self.main, lock.pool, lock.key);
        let place = place.as_ref().map(|(pool, key)| (&*pool.name, &*key.id));
        let (pool, key) = place.unwrap_or_default();
        let report = Report {
            service: &lock.client,
            pool,
            key,
            tokens: outcome.tokens.unwrap_or_default(),
            failed: outcome.failed(),
        };
        metrics::report(self.main, &report);
        true
    }

    pub(super) fn release(self, asked: &Release) -> Result<Answer, Problem> {
        let mut lock = self.own(asked.id, &asked.service)?;
        let was_held = lock.state == ServiceState::Held;
        if was_held {
            lock = end(&lock, ServiceState::Released).ok_or_else(unavailable)?;
        }
        let counts = self.count(&lock, &asked.outcome);
        if was_held || counts {
            let outcome = &asked.outcome;
            let fields = json!({
                "status": status_of(lock.state),
                "success": outcome.success,
                "error_message": outcome.error,
                "actual_duration": outcome.duration_s,
                "tokens_used": outcome.tokens,
                "hold_ms": lock.until_ms.saturating_sub(lock.taken_ms),
            });
            tell("lock_released", &self.request, &lock, fields);
        }
        let key = reports::key_of(self.main, lock.pool, lock.key);
        let answer = ReleaseResponse {
            success: true,
            lock_id: lock_id(lock.handle.nonce()),
            status: status_of(lock.state),
            key_id: key.map(|(_, key)| key.id.clone()),
            slot: lock.ordinal,
            held_ms: lock.until_ms.saturating_sub(lock.taken_ms),
            timestamp: Clock::now().timestamp(),
        };
        json(200, &answer)
    }
}

/// For how much longer the key of a lock is cooling down, if it is.
fn cooling_ms(lock: &ServiceLock) -> Option<u64> {
    in_zone(|zone| zone.cooling_ms(lock.key, now())).flatten()
}

/// Ends a lock; what it is then.
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

pub(super) fn force_release(here: Here<'_>, id: &str) -> Result<Answer, Problem> {
    let id = parse_lock_id(id).ok_or_else(Problem::no_such_lock)?;
    let found = in_zone(|zone| {
        zone.expire(now());
        zone.service_lock(id)
    });
    let Some(mut lock) = found.ok_or_else(unavailable)? else {
        return Err(reports::none_but_a_request(here, id));
    };
    here.service.lock.set(Some(lock.handle));
    let released = lock.state == ServiceState::Held;
    if released {
        lock = end(&lock, ServiceState::Forced).ok_or_else(unavailable)?;
    }
    let clock = Clock::now();
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

pub(super) fn clean_up(here: Here<'_>) -> Result<Answer, Problem> {
    let gone = in_zone(|zone| zone.clean_service_locks(now())).ok_or_else(unavailable)?;
    let ids = gone.iter().map(|lock| lock_id(lock.handle.nonce()));
    let lock_ids: Vec<_> = ids.collect();
    // nginx cuts long lines of its error log off.
    let some = lock_ids.get(..MOST_TOLD).unwrap_or(&lock_ids);
    let fields = json!({ "cleaned": lock_ids.len(), "lock_ids": some });
    audit(here, "cleanup_expired", fields)?;
    let answer = CleanupResponse {
        success: true,
        cleaned: lock_ids.len(),
        lock_ids,
        timestamp: Clock::now().timestamp(),
    };
    json(200, &answer)
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

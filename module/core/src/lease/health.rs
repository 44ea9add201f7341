//! Health of keys: cool-downs and probation.
//!
//! A key that is *cooling down* is in a heap ordered by the end of the cool-down and is not
//! leased. [`Zone::expire`] ends the cool-down. A key whose cool-down was caused by a response is
//! then on *probation*: it may have one lease in addition to those it holds, and that number
//! doubles with each successful response.
//!
//! Responses can arrive in any order. Responses to requests sent before the cool-down began
//! neither end it nor count as further failures.

use openai_wire::limits::MOST_MS;
use openai_wire::verdict::Verdict;

use super::acquire::Grant;
use super::policy::{AttemptReport, Cause, KeyChange, KeyPolicy};
use super::record::{KeyRecord, presence};
use super::time::Now;
use super::zone::Zone;

/// Longest cool-down of an invalid key.
const INVALID_KEY_MAX_MS: u64 = 3_600_000;

/// Ends of cool-downs that differ by no more than this are taken as equal.
const SAME_MS: u64 = 500;

impl Zone<'_> {
    /// Applies the verdict of a response to the key of a lease. Returns the change of the key's
    /// state, if any.
    ///
    /// Call it once per attempt, when the head of the response is available, before or after the
    /// lease has ended. Call [`Zone::take_alarm`] afterwards.
    pub fn report(&mut self, grant: &Grant, report: &AttemptReport, now: Now) -> Option<KeyChange> {
        let key = grant.key as usize;
        let record = self.keys.get(key)?;
        if record.state == presence::UNUSED || record.made != grant.key_made {
            return None;
        }
        let health = &mut self.keys[key];
        let before = Before::of(health);
        let attempts = &mut health.attempts[report.verdict as usize];
        *attempts = attempts.wrapping_add(1);
        if report.verdict != Verdict::Ok && report.status != 0 {
            health.last_error = report.status.into();
        }
        self.learn(key, grant, &report.limits, now);
        let cause = match report.verdict {
            Verdict::InvalidKey => Some(Cause::InvalidKey),
            Verdict::QuotaExceeded => Some(Cause::QuotaExceeded),
            Verdict::RateLimited => Some(Cause::RateLimited),
            Verdict::Ok | Verdict::UpstreamError | Verdict::ClientError => None,
        };
        if let Some(cause) = cause {
            self.blame(key, grant, cause, report, now);
        } else if report.verdict == Verdict::Ok {
            self.clear(key, grant, now);
        }
        before.change(&self.keys[key])
    }

    /// Whether the key is cooling down.
    #[must_use]
    pub fn is_cooling_down(&self, key: u32, now: Now) -> bool {
        let health = self.keys.get(key as usize);
        health.is_some_and(|health| health.until_ms > now.mono_ms)
    }

    /// Remaining milliseconds of a cool-down that a response has caused; `None` without one.
    #[must_use]
    pub fn cooling_ms(&self, key: u32, now: Now) -> Option<u64> {
        let health = self.keys.get(key as usize)?;
        let left = health
            .until_ms
            .checked_sub(now.mono_ms)
            .filter(|&ms| ms > 0)?;
        Cause::from_word(health.cause)
            .is_by_response()
            .then_some(left)
    }

    /// Starts or extends a cool-down that another machine has reported.
    pub fn learn_cool_down(
        &mut self,
        key: u32,
        cause: Cause,
        failures: u32,
        until_ms: u64,
        now: Now,
    ) -> Option<KeyChange> {
        let key = key as usize;
        let record = self.keys.get(key)?;
        if record.state == presence::UNUSED || self.is_too_new(record) {
            return None;
        }
        let health = &self.keys[key];
        let before = Before::of(health);
        // Every node reports a cool-down to every worker, at slightly different times.
        let known = before.until_ms != 0 && Cause::from_word(before.cause) >= cause;
        if known && until_ms <= before.until_ms.saturating_add(SAME_MS) {
            return None;
        }
        let cancelled = health.cancelled_ms != 0 && health.cancelled_cause == cause as u32;
        if cancelled && until_ms <= health.cancelled_ms.saturating_add(SAME_MS) {
            return None;
        }
        self.keys[key].failures = before.failures.max(failures);
        self.cool_down(key, cause, until_ms, now);
        before.change(&self.keys[key])
    }

    /// Applies the result of a periodic probe with a key that is invalid or out of quota: extends
    /// its cool-down or ends it.
    pub fn probed_key(&mut self, key: u32, verdict: Verdict, now: Now) -> Option<KeyChange> {
        let key = key as usize;
        let record = self.keys.get(key)?;
        if record.state == presence::UNUSED || self.is_too_new(record) {
            return None;
        }
        let before = Before::of(&self.keys[key]);
        let cause = Cause::from_word(before.cause);
        if before.until_ms == 0 || cause < Cause::QuotaExceeded {
            return None;
        }
        let policy = KeyPolicy::of(&self.pools[self.keys[key].pool as usize]);
        let failures = before.failures.saturating_add(1);
        let (cause, wait) = match verdict {
            Verdict::InvalidKey => (Cause::InvalidKey, invalid_key_for(&policy, failures)),
            Verdict::QuotaExceeded => (Cause::QuotaExceeded, policy.quota_exceeded_ms),
            // A probe lists models, which needs no quota. It cannot show that a quota is restored.
            Verdict::Ok if cause == Cause::InvalidKey => {
                let health = &mut self.keys[key];
                health.failures = 0;
                health.note_cancelled();
                self.end_cool_down(key, now);
                return Some(KeyChange::Recovered);
            }
            _ => return None,
        };
        self.keys[key].failures = failures;
        self.cool_down(key, cause, now.mono_ms.saturating_add(wait), now);
        before.change(&self.keys[key])
    }

    fn blame(&mut self, key: usize, grant: &Grant, cause: Cause, report: &AttemptReport, now: Now) {
        let policy = KeyPolicy::of(&self.pools[self.keys[key].pool as usize]);
        let health = &mut self.keys[key];
        let news = grant.account.serial >= health.cool_down_serial;
        if news {
            health.failures = health.failures.saturating_add(1);
        }
        if !news && health.cancelled_ms != 0 && cause as u32 <= health.cancelled_cause {
            return;
        }
        let stated = report.limits.wait_ms();
        let known = health.until_ms != 0 && Cause::from_word(health.cause) >= cause;
        if !news && known && stated.is_none() {
            return;
        }
        let failures = health.failures.max(1);
        let wait = match cause {
            Cause::QuotaExceeded => policy.quota_exceeded_ms.max(stated.unwrap_or_default()),
            Cause::InvalidKey => invalid_key_for(&policy, failures),
            _ => stated.unwrap_or_else(|| {
                // Full jitter, so that clients that were limited together do not retry together.
                let most = doubled(policy.rate_limited_ms, failures, policy.rate_limited_max_ms);
                1 + report.random % most.max(1)
            }),
        };
        self.cool_down(key, cause, now.mono_ms.saturating_add(wait), now);
    }

    fn clear(&mut self, key: usize, grant: &Grant, now: Now) {
        let ramps = self.pools[self.keys[key].pool as usize].ramp != 0;
        let health = &mut self.keys[key];
        let slots = health.slots;
        let is_sound = health.failures | health.probation == 0;
        if is_sound || grant.account.serial < health.cool_down_serial {
            return;
        }
        health.failures = 0;
        if health.probation != 0 && grant.account.serial >= health.probation_serial {
            let more = health.probation.saturating_mul(2);
            let over = !ramps || more >= slots;
            health.probation = if over { 0 } else { more };
            self.set_cap(key);
            self.rank(key);
            self.offer(key, now);
        }
    }

    /// Starts or extends a cool-down; never shortens one.
    pub(crate) fn cool_down(&mut self, key: usize, cause: Cause, until_ms: u64, now: Now) {
        let until_ms = until_ms.min(now.mono_ms.saturating_add(MOST_MS));
        if until_ms <= now.mono_ms {
            return;
        }
        let health = &mut self.keys[key];
        if cause.is_by_response() {
            health.cool_down_serial = health.grants + 1;
            health.cancelled_ms = 0;
        }
        let was_cooling = health.until_ms != 0;
        if !was_cooling || cause > Cause::from_word(health.cause) {
            health.cause = cause as u32;
        }
        health.until_ms = health.until_ms.max(until_ms);
        if was_cooling {
            self.cooling_keys().update(key as u32);
        } else {
            self.cooling_keys().push(key as u32);
            self.count_cooling(key, 1);
        }
        self.ring(key);
    }

    /// Ends the cool-down of a key whose configuration line has changed, and puts the key on
    /// probation. The caller must rebuild the derived state.
    pub(crate) fn cancel_cool_down(&mut self, key: usize) {
        let health = &mut self.keys[key];
        if health.until_ms == 0 {
            return;
        }
        health.note_cancelled();
        health.until_ms = 0;
        health.failures = 0;
        health.requests = bytemuck::Zeroable::zeroed();
        health.tokens = bytemuck::Zeroable::zeroed();
        // Responses to requests sent before now neither count as failures nor end the probation.
        health.cool_down_serial = health.grants + 1;
        health.probation_serial = health.grants + 1;
        health.probation = 1;
    }

    /// Ends a cool-down. The key is then on probation if the cause or the pool's `ramp` requires
    /// it.
    pub(crate) fn end_cool_down(&mut self, key: usize, now: Now) {
        self.cooling_keys().remove(key as u32);
        let pool = self.keys[key].pool as usize;
        let ramps = self.pools[pool].ramp != 0;
        let health = &mut self.keys[key];
        health.until_ms = 0;
        let cause = Cause::from_word(health.cause);
        // A key that was invalid or out of quota is tested with one request.
        if cause >= Cause::QuotaExceeded || cause.is_by_response() && ramps {
            health.probation = 1;
            health.probation_serial = health.grants + 1;
            health.left_out = health.in_use;
        }
        self.count_cooling(key, -1);
        self.reckon(key, now);
        self.offer(key, now);
    }

    pub(crate) fn count_cooling(&mut self, key: usize, change: i32) {
        if self.keys[key].state == presence::CURRENT {
            let pool = &mut self.pools[self.keys[key].pool as usize];
            pool.cooling = pool.cooling.saturating_add_signed(change);
        }
        self.set_cap(key);
        self.rank(key);
    }

    /// Sets the alarm of [`Zone::take_alarm`] if requests wait for the key's pool.
    pub(crate) fn ring(&mut self, key: usize) {
        self.alarm |= self.pools[self.keys[key].pool as usize].waiting > 0;
    }

    /// Sets the number of leases that the key's health allows.
    pub(crate) fn set_cap(&mut self, key: usize) {
        let key = &mut self.keys[key];
        key.cap = match (key.until_ms, key.probation) {
            (1.., _) => 0,
            (0, 0) => key.slots,
            (0, probation) => key.slots.min(key.left_out.saturating_add(probation)),
        };
    }

    /// Adjusts the key's limit of leases when a lease ends that was granted before the probation.
    pub(crate) fn leave_probation(&mut self, slot: u32) {
        let slot = &self.slots[slot as usize];
        let key = slot.key as usize;
        let health = &mut self.keys[key];
        if health.left_out > 0 && slot.serial < health.probation_serial {
            health.left_out -= 1;
            self.set_cap(key);
        }
    }

    /// Excludes a slot that is held on another machine from the probation.
    pub(crate) fn leave_out_of_probation(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        let key = slot.key as usize;
        let health = &mut self.keys[key];
        if slot.serial >= health.probation_serial {
            slot.serial = 0;
            health.left_out += u32::from(health.probation_serial > 0);
            self.set_cap(key);
            self.rank(key);
        }
    }

    /// Whether the key is active, so that a slot may be handed from lease to lease.
    pub(crate) fn is_active(&self, key: usize) -> bool {
        self.keys[key].until_ms == 0 && self.keys[key].probation == 0
    }
}

fn invalid_key_for(policy: &KeyPolicy, failures: u32) -> u64 {
    let most = policy.invalid_key_ms.max(INVALID_KEY_MAX_MS);
    doubled(policy.invalid_key_ms, failures, most)
}

fn doubled(first_ms: u64, failures: u32, most_ms: u64) -> u64 {
    let factor = 1u64 << failures.saturating_sub(1).min(32);
    first_ms.saturating_mul(factor).min(most_ms)
}

/// A key's cool-down and failures before a change.
struct Before {
    until_ms: u64,
    cause: u32,
    failures: u32,
}

impl Before {
    fn of(key: &KeyRecord) -> Self {
        Self {
            until_ms: key.until_ms,
            cause: key.cause,
            failures: key.failures,
        }
    }

    /// The change from `self` to `after`, if any. Changes of a counted limit are not reported.
    fn change(&self, after: &KeyRecord) -> Option<KeyChange> {
        let cause = Cause::from_word(after.cause);
        let changed = (self.until_ms, self.cause) != (after.until_ms, after.cause);
        if after.until_ms != 0 && cause.is_by_response() && changed {
            return Some(KeyChange::CoolingDown {
                cause,
                until_ms: after.until_ms,
                failures: after.failures,
            });
        }
        (self.failures > 0 && after.failures == 0).then_some(KeyChange::Recovered)
    }
}

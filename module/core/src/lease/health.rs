//! Keys that are out for a while, and how they come back.
//!
//! A key is *out* until a moment, for a cause. It is then in the heap of keys that
//! are out, and may have no lease; [`Zone::expire`] brings it back. After a
//! cool-down that an answer brought about it is on trial: it may have one lease
//! more than it has, and twice as many with each good answer.
//!
//! Answers come in out of order. What a lease from before the key went out has to
//! tell is no news: it neither clears the key nor counts as another failure.

use openai_wire::limits::MOST_MS;
use openai_wire::verdict::Verdict;

use super::acquire::Grant;
use super::policy::{Cause, KeyPolicy, Report, Turn};
use super::record::{Health, presence};
use super::time::Now;
use super::zone::Zone;

/// The longest cool-down of a key that the provider does not take.
const REVOKED_MAX_MS: u64 = 3_600_000;

/// What is told to be later by no more than this is known already.
const SAME_MS: u64 = 500;

impl Zone<'_> {
    /// Takes notice of what an answer says of the key that a lease was for, and
    /// tells whether that changed how the key does.
    ///
    /// Once for each request that was sent, when its answer's head is there, before
    /// or after the lease has ended. Afterwards see [`Zone::take_alarm`].
    pub fn report(&mut self, grant: &Grant, report: &Report, now: Now) -> Option<Turn> {
        let key = grant.key as usize;
        if self.keys.get(key)?.state == presence::UNUSED {
            return None;
        }
        let before = self.health[key];
        let attempts = &mut self.health[key].attempts[report.verdict as usize];
        *attempts = attempts.wrapping_add(1);
        if report.verdict != Verdict::Sound && report.status != 0 {
            self.health[key].last_error = report.status.into();
        }
        self.learn(key, grant, &report.limits, now);
        let cause = match report.verdict {
            Verdict::Revoked => Some(Cause::Revoked),
            Verdict::Exhausted => Some(Cause::Quota),
            Verdict::Limited => Some(Cause::Rate),
            Verdict::Sound | Verdict::Faulty | Verdict::Refused => None,
        };
        if let Some(cause) = cause {
            self.blame(key, grant, cause, report, now);
        } else if report.verdict == Verdict::Sound {
            self.clear(key, grant, now);
        }
        turn(&before, &self.health[key])
    }

    /// Whether the key is out, so that nothing is to be sent with it.
    #[must_use]
    pub fn is_out(&self, key: u32, now: Now) -> bool {
        let health = self.health.get(key as usize);
        health.is_some_and(|health| health.until_ms > now.mono_ms)
    }

    /// For how many milliseconds more a key is left alone that an answer has put out; `None`
    /// when none has.
    #[must_use]
    pub fn cooling_ms(&self, key: u32, now: Now) -> Option<u64> {
        let health = self.health.get(key as usize)?;
        let left = health
            .until_ms
            .checked_sub(now.mono_ms)
            .filter(|&ms| ms > 0)?;
        Cause::from_word(health.cause).is_judged().then_some(left)
    }

    /// Puts a key out until then, or for longer, as another machine has learnt.
    pub fn put_out(
        &mut self,
        key: u32,
        cause: Cause,
        failures: u32,
        until_ms: u64,
        now: Now,
    ) -> Option<Turn> {
        let key = key as usize;
        if self.keys.get(key)?.state == presence::UNUSED {
            return None;
        }
        let before = self.health[key];
        // Every node tells every worker of it, each a little later.
        let known = before.until_ms != 0 && Cause::from_word(before.cause) >= cause;
        if known && until_ms <= before.until_ms.saturating_add(SAME_MS) {
            return None;
        }
        let pardoned = before.pardoned_ms != 0;
        if pardoned && until_ms <= before.pardoned_ms.saturating_add(SAME_MS) {
            return None;
        }
        self.health[key].failures = before.failures.max(failures);
        self.go_out(key, cause, until_ms, now);
        turn(&before, &self.health[key])
    }

    /// Notes what a probe off the path of requests has shown of a key that is revoked
    /// or out of quota: it is out for longer, or comes back.
    pub fn probed_key(&mut self, key: u32, verdict: Verdict, now: Now) -> Option<Turn> {
        let key = key as usize;
        if self.keys.get(key)?.state == presence::UNUSED {
            return None;
        }
        let before = self.health[key];
        let cause = Cause::from_word(before.cause);
        if before.until_ms == 0 || cause < Cause::Quota {
            return None;
        }
        let policy = KeyPolicy::of(&self.pools[self.keys[key].pool as usize]);
        let failures = before.failures.saturating_add(1);
        let (cause, wait) = match verdict {
            Verdict::Revoked => (Cause::Revoked, revoked_for(&policy, failures)),
            Verdict::Exhausted => (Cause::Quota, policy.quota_ms),
            // Lists of models are free: they tell nothing of quota.
            Verdict::Sound if cause == Cause::Revoked => {
                self.health[key].failures = 0;
                self.come_back(key, now);
                return Some(Turn::Sound);
            }
            _ => return None,
        };
        self.health[key].failures = failures;
        self.go_out(key, cause, now.mono_ms.saturating_add(wait), now);
        turn(&before, &self.health[key])
    }

    fn blame(&mut self, key: usize, grant: &Grant, cause: Cause, report: &Report, now: Now) {
        let policy = KeyPolicy::of(&self.pools[self.keys[key].pool as usize]);
        let health = &mut self.health[key];
        let news = grant.account.serial >= health.since;
        if news {
            health.failures = health.failures.saturating_add(1);
        }
        let stated = report.limits.wait_ms();
        let known = health.until_ms != 0 && Cause::from_word(health.cause) >= cause;
        if !news && known && stated.is_none() {
            return;
        }
        let failures = health.failures.max(1);
        let wait = match cause {
            Cause::Quota => policy.quota_ms.max(stated.unwrap_or_default()),
            Cause::Revoked => revoked_for(&policy, failures),
            _ => stated.unwrap_or_else(|| {
                // Full jitter: those who were refused together do not return together.
                let most = doubled(policy.rate_ms, failures, policy.rate_max_ms);
                1 + report.random % most.max(1)
            }),
        };
        self.go_out(key, cause, now.mono_ms.saturating_add(wait), now);
    }

    fn clear(&mut self, key: usize, grant: &Grant, now: Now) {
        let ramps = self.pools[self.keys[key].pool as usize].ramp != 0;
        let slots = self.keys[key].slots;
        let health = &mut self.health[key];
        if grant.account.serial < health.since {
            return;
        }
        health.failures = 0;
        if health.ramp != 0 && grant.account.serial >= health.back {
            let more = health.ramp.saturating_mul(2);
            let over = !ramps || more >= slots;
            health.ramp = if over { 0 } else { more };
            self.set_cap(key);
            self.rank(key);
            self.offer(key, now);
        }
    }

    /// Puts a key out until then; if it is out, then for longer at most.
    pub(crate) fn go_out(&mut self, key: usize, cause: Cause, until_ms: u64, now: Now) {
        let until_ms = until_ms.min(now.mono_ms.saturating_add(MOST_MS));
        if until_ms <= now.mono_ms {
            return;
        }
        let health = &mut self.health[key];
        if cause.is_judged() {
            health.since = health.grants + 1;
            health.pardoned_ms = 0;
        }
        let was_out = health.until_ms != 0;
        if !was_out || cause > Cause::from_word(health.cause) {
            health.cause = cause as u32;
        }
        health.until_ms = health.until_ms.max(until_ms);
        if was_out {
            self.keys_out().update(key as u32);
        } else {
            self.keys_out().push(key as u32);
            self.count_out(key, 1);
        }
        self.ring(key);
    }

    /// Ends what keeps a key out, since its line has been changed: it is on trial. The caller
    /// has to rebuild what is derived.
    pub(crate) fn pardon(&mut self, key: usize) {
        let health = &mut self.health[key];
        if health.until_ms == 0 {
            return;
        }
        health.pardoned_ms = health.until_ms;
        health.until_ms = 0;
        health.failures = 0;
        health.requests = bytemuck::Zeroable::zeroed();
        health.tokens = bytemuck::Zeroable::zeroed();
        // What requests from before have to tell is no news.
        health.since = health.grants + 1;
        health.back = health.grants + 1;
        health.ramp = 1;
    }

    /// Brings a key back whose time has come.
    pub(crate) fn come_back(&mut self, key: usize, now: Now) {
        self.keys_out().remove(key as u32);
        let pool = self.keys[key].pool as usize;
        let ramps = self.pools[pool].ramp != 0;
        let in_use = self.keys[key].in_use;
        let health = &mut self.health[key];
        health.until_ms = 0;
        let cause = Cause::from_word(health.cause);
        // Whether a key works again that was revoked or out of quota, one request shows.
        if cause >= Cause::Quota || cause.is_judged() && ramps {
            health.ramp = 1;
            health.back = health.grants + 1;
            health.aside = in_use;
        }
        self.count_out(key, -1);
        self.reckon(key, now);
        self.offer(key, now);
    }

    pub(crate) fn count_out(&mut self, key: usize, change: i32) {
        if self.keys[key].state == presence::ACTIVE {
            let pool = &mut self.pools[self.keys[key].pool as usize];
            pool.out = pool.out.saturating_add_signed(change);
        }
        self.set_cap(key);
        self.rank(key);
    }

    /// Has somebody look when a key returns for which others wait.
    pub(crate) fn ring(&mut self, key: usize) {
        self.alarm |= self.pools[self.keys[key].pool as usize].waiting > 0;
    }

    /// How many leases the key may have, by its health.
    pub(crate) fn set_cap(&mut self, key: usize) {
        let (health, record) = (&self.health[key], &mut self.keys[key]);
        record.cap = match health {
            Health { until_ms: 1.., .. } => 0,
            Health { ramp: 0, .. } => record.slots,
            Health { ramp, aside, .. } => record.slots.min(aside.saturating_add(*ramp)),
        };
    }

    /// A lease ends: if it was from before the trial, that has one less to leave out.
    pub(crate) fn leave_trial(&mut self, slot: u32) {
        let slot = &self.slots[slot as usize];
        let key = slot.key as usize;
        let health = &mut self.health[key];
        if slot.serial < health.back {
            health.aside = health.aside.saturating_sub(1);
            self.set_cap(key);
        }
    }

    /// A slot is held elsewhere: no trial counts that.
    pub(crate) fn set_aside(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        let key = slot.key as usize;
        let health = &mut self.health[key];
        if slot.serial >= health.back {
            slot.serial = 0;
            health.aside += u32::from(health.back > 0);
            self.set_cap(key);
            self.rank(key);
        }
    }

    /// Whether a slot of the key may pass from lease to lease.
    pub(crate) fn may_go_on(&self, key: usize) -> bool {
        self.health[key].until_ms == 0 && self.health[key].ramp == 0
    }
}

fn revoked_for(policy: &KeyPolicy, failures: u32) -> u64 {
    let most = policy.revoked_ms.max(REVOKED_MAX_MS);
    doubled(policy.revoked_ms, failures, most)
}

fn doubled(first_ms: u64, failures: u32, most_ms: u64) -> u64 {
    let factor = 1u64 << failures.saturating_sub(1).min(32);
    first_ms.saturating_mul(factor).min(most_ms)
}

fn turn(before: &Health, after: &Health) -> Option<Turn> {
    let cause = Cause::from_word(after.cause);
    let changed = (before.until_ms, before.cause) != (after.until_ms, after.cause);
    if after.until_ms != 0 && cause.is_judged() && changed {
        return Some(Turn::Out {
            cause,
            until_ms: after.until_ms,
            failures: after.failures,
        });
    }
    (before.failures > 0 && after.failures == 0).then_some(Turn::Sound)
}

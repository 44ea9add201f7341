//! Accounting of a key's leases against the provider's limits.
//!
//! A response states how much of the limits remains. Each lease is subtracted from that remainder
//! until the next response. The remainder in a response is reduced by the leases granted after the
//! lease of that response, because they may not be included in it.

use openai_wire::limits::{Limit, Limits};

use super::acquire::Grant;
use super::policy::Cause;
use super::record::{Left, SlotRecord};
use super::release::{LeaseHandle, Lost};
use super::time::Now;
use super::zone::Zone;

/// Assumed length of a limit's period in milliseconds, used when the stated period has ended and no
/// response has stated a new one.
const UNTOLD_MS: u64 = 1_000;

/// Position of a lease among the leases of its key, and its estimated tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) serial: u64,
    sent: u32,
    spent: u32,
    pub(crate) tokens: u32,
}

impl Account {
    pub(crate) fn of(slot: &SlotRecord) -> Self {
        Self {
            serial: slot.serial,
            sent: slot.sent,
            spent: slot.spent,
            tokens: slot.tokens,
        }
    }
}

impl Zone<'_> {
    /// Charges a lease to its key, before the request is sent.
    pub(crate) fn account(&mut self, slot: u32, tokens: u32, now: Now) {
        let slot = &mut self.slots[slot as usize];
        let key = slot.key as usize;
        let health = &mut self.keys[key];
        health.grants += 1;
        slot.serial = health.grants;
        slot.sent = health.sent;
        slot.spent = health.spent;
        slot.tokens = tokens;
        health.sent = health.sent.wrapping_add(1);
        health.spent = health.spent.wrapping_add(tokens);
        let pool = &self.pools[health.pool as usize];
        let told = health.requests.reset_ms | health.tokens.reset_ms != 0;
        if told || pool.rpm | pool.tpm != 0 {
            health.requests.take(1, now);
            health.tokens.take(tokens.into(), now);
            health.debit(pool, 1, tokens.into(), now);
            self.reckon(key, now);
        }
    }

    /// Reverses the charge of a lease with which no request is sent.
    pub(crate) fn take_back(&mut self, slot: u32, now: Now) {
        let slot = &mut self.slots[slot as usize];
        let key = slot.key as usize;
        let tokens = core::mem::take(&mut slot.tokens);
        let health = &mut self.keys[key];
        health.sent = health.sent.wrapping_sub(1);
        health.spent = health.spent.wrapping_sub(tokens);
        health.requests.left = health.requests.left.saturating_add(1);
        health.tokens.left = health.tokens.left.saturating_add(i64::from(tokens));
        let pool = &self.pools[health.pool as usize];
        health.debit(pool, -1, -i64::from(tokens), now);
        self.reckon(key, now);
    }

    /// Reverses the charge of a lease with which no request was or will be sent. The caller must
    /// still call [`Zone::release`] or [`Zone::taken_elsewhere`]. Fails if the lease is lost.
    pub fn unused(&mut self, handle: LeaseHandle, now: Now) -> Result<(), Lost> {
        self.holds(handle)?;
        self.take_back(handle.slot, now);
        Ok(())
    }

    /// Corrects the configured token limit of the key: replaces the request's estimated tokens by
    /// the tokens that it used.
    pub fn settle(&mut self, grant: &Grant, tokens: u64, now: Now) {
        let key = grant.key as usize;
        let record = self.keys.get(key);
        let Some(record) = record.filter(|record| record.made == grant.key_made) else {
            return;
        };
        let pool = &self.pools[record.pool as usize];
        let used = i64::try_from(tokens)
            .unwrap_or(i64::MAX >> 20)
            .min(i64::MAX >> 20);
        let more = used - i64::from(grant.account.tokens);
        if pool.tpm != 0 && more != 0 {
            self.keys[key].debit(pool, 0, more, now);
            self.reckon(key, now);
            self.offer(key, now);
        }
    }

    /// Stores the provider's limits as a response states them.
    pub(crate) fn learn(&mut self, key: usize, grant: &Grant, limits: &Limits, now: Now) {
        let health = &mut self.keys[key];
        let own = &grant.account;
        let sent = health.sent.wrapping_sub(own.sent).wrapping_sub(1) as i32;
        let spent = health
            .spent
            .wrapping_sub(own.spent)
            .wrapping_sub(own.tokens) as i32;
        let requests = health.requests.learn(&limits.requests, sent, now);
        let tokens = health.tokens.learn(&limits.tokens, spent, now);
        if requests || tokens {
            self.reckon(key, now);
            self.offer(key, now);
        }
    }

    /// Starts a cool-down when the key has used up a limit, moves its end when the limits change,
    /// and ends it when no limit is used up. A cool-down that a response caused is not changed.
    pub(crate) fn reckon(&mut self, key: usize, now: Now) {
        let health = &self.keys[key];
        let short = self.short(key, now);
        let counted = !Cause::from_word(health.cause).is_by_response();
        match short {
            Some((cause, until)) if health.until_ms == 0 => self.cool_down(key, cause, until, now),
            Some((cause, until)) if counted => {
                let health = &mut self.keys[key];
                health.cause = cause as u32;
                health.until_ms = until;
                self.cooling_keys().update(key as u32);
                self.ring(key);
            }
            None if counted && health.until_ms != 0 => {
                self.cooling_keys().remove(key as u32);
                self.keys[key].until_ms = 0;
                self.count_cooling(key, -1);
            }
            _ => {}
        }
    }

    /// The used-up limit that is restored last: the cause, and the time on the monotonic clock.
    fn short(&self, key: usize, now: Now) -> Option<(Cause, u64)> {
        let health = &self.keys[key];
        let pool = &self.pools[self.keys[key].pool as usize];
        let told = [health.requests, health.tokens].into_iter();
        let told = told.filter_map(|left| left.short_until(now)).max();
        let stated = health.wait_ms(pool, now).map(|ms| now.mono_ms + ms);
        let told = told.map(|until| (Cause::ProviderLimit, until));
        let stated = stated.map(|until| (Cause::ConfiguredLimit, until));
        told.into_iter()
            .chain(stated)
            .max_by_key(|&(_, until)| until)
    }

    /// Whether the key has that many tokens left, as far as known.
    pub(crate) fn has_enough(&self, key: u32, tokens: u32, now: Now) -> bool {
        if tokens == 0 {
            return true;
        }
        let health = &self.keys[key as usize];
        let pool = &self.pools[health.pool as usize];
        health.tokens.has(tokens.into(), now) && health.has_tokens(pool, tokens.into(), now)
    }
}

impl Left {
    /// Whether the stored limit is still valid.
    fn is_known(&self, now: Now) -> bool {
        self.reset_ms > now.mono_ms
    }

    fn take(&mut self, amount: i64, now: Now) {
        if self.reset_ms == 0 {
            return;
        }
        if !self.is_known(now) {
            // The period is over: the full limit is available again.
            if self.full == 0 {
                *self = bytemuck::Zeroable::zeroed();
                return;
            }
            self.left = self.full;
            self.reset_ms = now.mono_ms + UNTOLD_MS;
        }
        self.left = self.left.saturating_sub(amount);
    }

    /// Stores the stated remainder minus the leases granted since then. Returns `false` if the
    /// response states no remainder.
    fn learn(&mut self, told: &Limit, since: i32, now: Now) -> bool {
        let (Some(left), Some(reset_ms)) = (told.left, told.reset_ms) else {
            return false;
        };
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.left = signed(left).saturating_sub(since.max(0).into());
        self.full = signed(told.full.unwrap_or_default());
        self.reset_ms = now.mono_ms.saturating_add(reset_ms).max(1);
        true
    }

    fn short_until(&self, now: Now) -> Option<u64> {
        (self.is_known(now) && self.left <= 0).then_some(self.reset_ms)
    }

    /// The remainder, if known.
    pub(crate) fn known(&self, now: Now) -> Option<i64> {
        self.is_known(now).then_some(self.left.max(0))
    }

    fn has(&self, amount: i64, now: Now) -> bool {
        !self.is_known(now) || self.left >= amount
    }
}

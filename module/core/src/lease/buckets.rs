//! Configured limits of each key, as token buckets.
//!
//! A bucket holds the limit of one minute and refills continuously. Levels are counted in units of
//! 1/60,000 of a request or token, so that a limit of `n` per minute refills `n` units per
//! millisecond without rounding.

use super::record::{KeyRecord, PoolRecord};
use super::time::Now;

const UNITS: i64 = 60_000;

/// Bound of all levels, so that no sum overflows.
const MOST: i64 = i64::MAX / 4;

fn units(amount: i64) -> i64 {
    amount.saturating_mul(UNITS).clamp(-MOST, MOST)
}

impl KeyRecord {
    /// Takes an amount from the buckets. A negative amount is put back.
    pub(crate) fn debit(&mut self, pool: &PoolRecord, requests: i64, tokens: i64, now: Now) {
        if pool.rpm | pool.tpm == 0 {
            return;
        }
        let (r, t) = self.levels(pool, now);
        // A bucket without a limit does not refill, so nothing is taken from it.
        let left = |level: i64, amount: i64, rate: u32| match rate {
            0 => 0,
            rate => (level - units(amount)).clamp(-MOST, units(rate.into())),
        };
        self.request_level = left(r, requests, pool.rpm);
        self.token_level = left(t, tokens, pool.tpm);
        // Processes read the clock at different times: what has been filled is not filled again.
        self.filled_ms = self.filled_ms.max(now.mono_ms).max(1);
    }

    /// Milliseconds until both buckets are usable; `None` if they are usable now. The request
    /// bucket must contain one request. The token bucket only must not be empty, because a request
    /// may take more tokens than are left.
    pub(crate) fn wait_ms(&self, pool: &PoolRecord, now: Now) -> Option<u64> {
        if pool.rpm | pool.tpm == 0 {
            return None;
        }
        let (requests, tokens) = self.levels(pool, now);
        let wait = |lacks: i64, rate: u32| {
            let lacks = u64::try_from(lacks).ok().filter(|&lacks| lacks > 0)?;
            (rate > 0).then(|| lacks.div_ceil(rate.into()))
        };
        let requests = wait(UNITS - requests, pool.rpm);
        let tokens = wait(1 - tokens, pool.tpm);
        requests.max(tokens)
    }

    pub(crate) fn has_tokens(&self, pool: &PoolRecord, tokens: i64, now: Now) -> bool {
        pool.tpm == 0 || self.levels(pool, now).1 >= units(tokens)
    }

    fn levels(&self, pool: &PoolRecord, now: Now) -> (i64, i64) {
        let whole = |rate: u32| i64::from(rate) * UNITS;
        if self.filled_ms == 0 {
            return (whole(pool.rpm), whole(pool.tpm));
        }
        let elapsed = now.mono_ms.saturating_sub(self.filled_ms);
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let level = |level: i64, rate: u32| {
            let more = elapsed.saturating_mul(rate.into());
            level.saturating_add(more).min(whole(rate))
        };
        (
            level(self.request_level, pool.rpm),
            level(self.token_level, pool.tpm),
        )
    }
}

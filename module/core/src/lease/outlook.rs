//! What there is to say of a pool's keys: to who gets none, and to who looks after them.

use openai_wire::Verdict;

use super::policy::Cause;
use super::queue::Want;
use super::record::presence;
use super::time::Now;
use super::zone::{PoolId, Zone};

/// Why no key is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// There are keys in order: a slot is free, or will be.
    Busy,
    /// All keys are out, some of them for a while only: by their rates.
    Cooling {
        /// In how many milliseconds the first of those returns.
        soonest_ms: u64,
    },
    /// All keys are revoked or out of quota.
    Unhealthy {
        /// In how many milliseconds the first is tried again.
        soonest_ms: u64,
    },
    /// The request has tried them all, and wants none twice.
    Tried,
}

/// How a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its index in the zone.
    pub key: u32,
    /// Why it is out, if it is.
    pub cause: Option<Cause>,
    /// For how many milliseconds more.
    pub left_ms: u64,
    /// Whether it has to show that it works again before it has all its slots.
    pub on_trial: bool,
    /// Leases on it.
    pub in_use: u32,
    /// Its slots.
    pub slots: u32,
    /// How many leases it may have now.
    pub cap: u32,
    /// The requests that the provider has left for it, as far as is known.
    pub requests: Option<i64>,
    /// The tokens that the provider has left for it, as far as is known.
    pub tokens: Option<i64>,
    /// The status of its last answer that was not good; 0 before the first.
    pub last_error: u16,
    /// How often in a row an answer has put it out.
    pub failures: u32,
    /// What came of the requests that were sent with it, in the order of
    /// [`Verdict::ALL`]; modulo 2^32.
    pub attempts: [u32; Verdict::ALL.len()],
}

impl KeyView {
    /// Its state in a word.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self { cause: Some(_), .. } => "out",
            Self { on_trial: true, .. } => "trial",
            _ => "in",
        }
    }
}

impl Zone<'_> {
    /// Why [`Zone::acquire`] has nothing to give.
    #[must_use]
    pub fn outlook(&self, want: &Want, now: Now) -> Outlook {
        let Some(pool) = self.pool_for(want) else {
            return Outlook::Busy;
        };
        let record = &self.pools[pool];
        let newest = want.generation == self.header.generation;
        if newest && !want.avoid.is_strict() && record.out < record.keys {
            return Outlook::Busy;
        }
        let (mut passing, mut all) = (None::<u64>, None::<u64>);
        let mut knows_any = false;
        for (at, key) in self.keys.iter().enumerate() {
            if key.pool as usize != pool || !Self::knows(key, want.generation) {
                continue;
            }
            knows_any = true;
            if want.avoid.forbids(at as u32) {
                continue;
            }
            let health = &self.health[at];
            let left = health.until_ms.saturating_sub(now.mono_ms);
            if left == 0 {
                return Outlook::Busy;
            }
            let sooner = |other: Option<u64>| Some(other.map_or(left, |ms| ms.min(left)));
            all = sooner(all);
            if Cause::from_word(health.cause).is_passing() {
                passing = sooner(passing);
            }
        }
        match (passing, all) {
            (Some(soonest_ms), _) => Outlook::Cooling { soonest_ms },
            (None, Some(soonest_ms)) => Outlook::Unhealthy { soonest_ms },
            // Others have newer keys in place of all that it knows: it soon will, too.
            (None, None) if !knows_any && !newest => Outlook::Busy,
            (None, None) => Outlook::Tried,
        }
    }

    /// How many keys of a pool are out, and how many it has.
    #[must_use]
    pub fn out_of(&self, pool: PoolId) -> (u32, u32) {
        let pool = &self.pools[pool.0 as usize];
        (pool.out, pool.keys)
    }

    /// How each key of a pool does, as its newest configuration has them.
    #[must_use]
    pub fn listing(&self, pool: PoolId, now: Now) -> Vec<KeyView> {
        let keys = self.keys.iter().enumerate();
        let of_pool = keys.filter(|(_, key)| key.state == presence::ACTIVE && key.pool == pool.0);
        of_pool.map(|(at, _)| self.view(at, now)).collect()
    }

    /// How each key of all pools does, as the newest configuration has them.
    #[must_use]
    pub fn keys(&self, now: Now) -> Vec<(PoolId, KeyView)> {
        let keys = self.keys.iter().enumerate();
        let active = keys.filter(|(_, key)| key.state == presence::ACTIVE);
        active
            .map(|(at, key)| (PoolId(key.pool), self.view(at, now)))
            .collect()
    }

    fn view(&self, at: usize, now: Now) -> KeyView {
        let (key, health) = (&self.keys[at], &self.health[at]);
        let left_ms = health.until_ms.saturating_sub(now.mono_ms);
        KeyView {
            key: at as u32,
            cause: (left_ms > 0).then(|| Cause::from_word(health.cause)),
            left_ms,
            on_trial: left_ms == 0 && health.ramp != 0,
            in_use: key.in_use,
            slots: key.slots,
            cap: key.cap,
            requests: health.requests.known(now),
            tokens: health.tokens.known(now),
            last_error: health.last_error as u16,
            failures: health.failures,
            attempts: health.attempts,
        }
    }
}

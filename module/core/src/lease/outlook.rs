//! Availability and health of a pool's keys, for requests that get none and for listings.

use openai_wire::Verdict;

use super::policy::Cause;
use super::queue::Want;
use super::record::{KeyRecord, presence};
use super::time::Now;
use super::zone::{PoolId, Zone};

/// Why no key is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Some keys are not cooling down: a slot is free or will become free.
    Busy,
    /// All keys are cooling down, at least one of them because of a rate limit or a used-up limit.
    CoolingDown {
        /// Milliseconds until the first of those cool-downs ends.
        soonest_ms: u64,
    },
    /// All keys are invalid or out of quota.
    Unhealthy {
        /// Milliseconds until the first cool-down ends.
        soonest_ms: u64,
    },
    /// The request has tried all keys and must not get any of them again.
    Tried,
}

/// State and counts of a key, for listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyView {
    /// Its index in the zone.
    pub key: u32,
    /// Cause of the cool-down; `None` in other states.
    pub cause: Option<Cause>,
    /// Remaining cool-down in milliseconds.
    pub left_ms: u64,
    /// Whether the key is on probation.
    pub on_probation: bool,
    /// Held slots, including those that are held on other machines.
    pub in_use: u32,
    /// Number of slots.
    pub slots: u32,
    /// How many leases the key may have now.
    pub cap: u32,
    /// Requests left of the provider's limit, if known.
    pub requests: Option<i64>,
    /// Tokens left of the provider's limit, if known.
    pub tokens: Option<i64>,
    /// Status of the last unsuccessful response; 0 before the first.
    pub last_error: u16,
    /// Consecutive failures.
    pub failures: u32,
    /// Attempts with the key by verdict, in the order of [`Verdict::ALL`]; modulo 2^32.
    pub attempts: [u32; Verdict::ALL.len()],
}

impl KeyView {
    /// State of the key.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        match self {
            Self { cause: Some(_), .. } => KeyState::CoolingDown,
            Self {
                on_probation: true, ..
            } => KeyState::Probation,
            _ => KeyState::Active,
        }
    }
}

/// Whether a key may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// All of its slots may be leased.
    Active,
    /// None of its slots may be leased until the cool-down ends.
    CoolingDown,
    /// Its cool-down is over. Few of its slots may be leased until requests have succeeded.
    Probation,
}

impl KeyState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Active, Self::CoolingDown, Self::Probation];

    /// The name in logs, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::CoolingDown => "cooling_down",
            Self::Probation => "probation",
        }
    }
}

impl Zone<'_> {
    /// Why [`Zone::acquire`] granted nothing.
    #[must_use]
    pub fn outlook(&self, want: &Want, now: Now) -> Outlook {
        let Some(pool) = self.pool_for(want) else {
            return Outlook::Busy;
        };
        let record = &self.pools[pool];
        let newest = want.generation == self.header.generation;
        if newest && !want.avoid.is_strict() && record.cooling < record.keys {
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
            let left = key.until_ms.saturating_sub(now.mono_ms);
            if left == 0 {
                return Outlook::Busy;
            }
            let sooner = |other: Option<u64>| Some(other.map_or(left, |ms| ms.min(left)));
            all = sooner(all);
            if Cause::from_word(key.cause).is_passing() {
                passing = sooner(passing);
            }
        }
        match (passing, all) {
            (Some(soonest_ms), _) => Outlook::CoolingDown { soonest_ms },
            (None, Some(soonest_ms)) => Outlook::Unhealthy { soonest_ms },
            // The worker's keys have all been replaced by newer ones, which it will read soon.
            (None, None) if !knows_any && !newest => Outlook::Busy,
            (None, None) => Outlook::Tried,
        }
    }

    /// The keys of a pool of the newest configuration.
    #[must_use]
    pub fn listing(&self, pool: PoolId, now: Now) -> Vec<KeyView> {
        let keys = self.keys.iter().enumerate();
        let of_pool = keys.filter(|(_, key)| self.is_listed(key) && key.pool == pool.0);
        of_pool.map(|(at, _)| self.view(at, now)).collect()
    }

    /// The keys of all pools of the newest configuration.
    #[must_use]
    pub fn keys(&self, now: Now) -> Vec<(PoolId, KeyView)> {
        let keys = self.keys.iter().enumerate();
        let active = keys.filter(|(_, key)| self.is_listed(key));
        active
            .map(|(at, key)| (PoolId(key.pool), self.view(at, now)))
            .collect()
    }

    fn is_listed(&self, key: &KeyRecord) -> bool {
        key.state == presence::CURRENT && !self.is_too_new(key)
    }

    fn view(&self, at: usize, now: Now) -> KeyView {
        let key = &self.keys[at];
        let left_ms = key.until_ms.saturating_sub(now.mono_ms);
        KeyView {
            key: at as u32,
            cause: (left_ms > 0).then(|| Cause::from_word(key.cause)),
            left_ms,
            on_probation: left_ms == 0 && key.probation != 0,
            in_use: key.in_use,
            slots: key.slots,
            cap: key.cap,
            requests: key.requests.known(now),
            tokens: key.tokens.known(now),
            last_error: key.last_error as u16,
            failures: key.failures,
            attempts: key.attempts,
        }
    }
}

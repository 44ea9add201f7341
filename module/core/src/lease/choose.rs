//! Choosing the key of a lease.

use arrayvec::ArrayVec;

use super::avoid::MAX_AVOIDED;
use super::queue::Want;
use super::record::{Balance, KeyRank, KeyRecord};
use super::time::Now;
use super::zone::{Zone, ranks_before};

/// Number of keys that are examined for one with enough tokens left.
const LOOKED_AT: usize = 8;
const CANDIDATES: usize = LOOKED_AT + MAX_AVOIDED;

impl Zone<'_> {
    pub(crate) fn choose(&self, pool: usize, want: &Want, now: Now) -> Option<usize> {
        let record = &self.pools[pool];
        let from = record.available_at as usize;
        let listed = &self.available[from..from + record.available as usize];
        let balance = Balance::from_word(record.balance);
        let first = match balance {
            Balance::Random => want.nonce as u64 % listed.len().max(1) as u64,
            _ => 0,
        };
        // The common case.
        if let Some(&key) = listed.get(first as usize)
            && Self::knows(&self.keys[key as usize], want.generation)
            && want.avoid.is_empty()
            && self.has_enough(key, want.tokens, now)
        {
            return Some(key as usize);
        }
        let chosen = match balance {
            Balance::Random => self.first_fit(draws(listed, want.nonce), want, now),
            _ => self.first_fit(InOrder::new(self, listed, balance), want, now),
        };
        if chosen.is_some() || want.generation == self.header.generation {
            return chosen;
        }
        // A worker of an older configuration: its keys may be retired, and it may not know the
        // newer ones.
        let roomy = (0..self.keys.len() as u32).filter(|&k| {
            let key = &self.keys[k as usize];
            key.pool as usize == pool && Self::has_room(key)
        });
        self.first_fit(roomy, want, now)
    }

    /// The first key that the request has not tried and that has enough tokens left. Otherwise the
    /// first untried key, otherwise the first tried one unless the request excludes these. Examines
    /// at most [`LOOKED_AT`] untried keys.
    fn first_fit(
        &self,
        candidates: impl Iterator<Item = u32>,
        want: &Want,
        now: Now,
    ) -> Option<usize> {
        let (mut tried, mut scant) = (None, None);
        let mut looked_at = 0;
        for key in candidates {
            if !Self::knows(&self.keys[key as usize], want.generation) {
                continue;
            }
            if !want.avoid.is_empty() && want.avoid.contains(key) {
                tried = tried.or(Some(key));
                continue;
            }
            if self.has_enough(key, want.tokens, now) {
                return Some(key as usize);
            }
            scant = scant.or(Some(key));
            looked_at += 1;
            if looked_at == LOOKED_AT {
                break;
            }
        }
        let tried = tried.filter(|_| !want.avoid.is_strict());
        scant.or(tried).map(|key| key as usize)
    }
}

/// A few random keys, then the neighbours of the first.
fn draws(listed: &[u32], random: u128) -> impl Iterator<Item = u32> {
    let len = listed.len().max(1) as u128;
    let drawn = (0..LOOKED_AT).map(move |n| (random >> (n * 11)) % len);
    let first = random % len;
    let beside = (1..CANDIDATES as u128).map(move |n| (first + n) % len);
    drawn
        .chain(beside)
        .filter_map(|at| listed.get(at as usize).copied())
}

/// Iterator over the first keys of a heap, in order.
struct InOrder<'a> {
    keys: &'a [KeyRecord],
    ranks: &'a [KeyRank],
    listed: &'a [u32],
    balance: Balance,
    /// Heap positions that may come next: the children of those visited.
    next: ArrayVec<u32, { CANDIDATES + 1 }>,
}

impl<'a> InOrder<'a> {
    fn new(zone: &'a Zone<'_>, listed: &'a [u32], balance: Balance) -> Self {
        Self {
            keys: zone.keys,
            ranks: zone.ranks,
            listed,
            balance,
            next: [0].into_iter().collect(),
        }
    }
}

impl Iterator for InOrder<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let key = |at: &u32| self.listed.get(*at as usize).copied();
        let places = self.next.iter().enumerate();
        let known = places.filter_map(|(n, at)| Some((n, *at, key(at)?)));
        let (n, at, first) = known.reduce(|a, b| {
            let sooner = ranks_before(self.keys, self.ranks, self.balance, b.2, a.2);
            if sooner { b } else { a }
        })?;
        // Replaces a position with its two children. The array has room for the maximum number of
        // examined keys.
        self.next[n] = 2 * at + 1;
        let _ = self.next.try_push(2 * at + 2);
        Some(first)
    }
}

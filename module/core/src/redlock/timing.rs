//! How long leases last, and when to try again.

/// What is taken off a lease because clocks do not run alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Parts per million of the TTL.
    pub ppm: u32,
    /// Added to that: the granularity of clocks and of Redis's expiry.
    pub margin_ms: u64,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            ppm: 10_000,
            margin_ms: 2,
        }
    }
}

impl Drift {
    /// What is taken off a lease of `ttl_ms`, rounded up.
    #[must_use]
    pub fn of(self, ttl_ms: u64) -> u64 {
        let share = (u128::from(ttl_ms) * u128::from(self.ppm)).div_ceil(1_000_000);
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .saturating_add(self.margin_ms)
    }

    /// The shortest TTL, or one more, of which at least `valid_ms` are left.
    #[must_use]
    pub fn ttl_for(self, valid_ms: u64) -> u64 {
        let net = u128::from(valid_ms) + u128::from(self.margin_ms) + 1;
        let share = u128::from(1_000_000_u32.saturating_sub(self.ppm).max(1));
        u64::try_from((net * 1_000_000).div_ceil(share)).unwrap_or(u64::MAX)
    }
}

/// How long a lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a node keeps a lock that nobody renews.
    pub ttl_ms: u64,
    /// What is taken off that.
    pub drift: Drift,
}

impl Timing {
    /// How long a lease that was asked for at `start` is still valid.
    #[must_use]
    pub fn validity(&self, start: u64, now: u64) -> u64 {
        self.deadline(start).saturating_sub(now)
    }

    /// When a lease that was asked for at `start` ends.
    #[must_use]
    pub fn deadline(&self, start: u64) -> u64 {
        let net = self.ttl_ms.saturating_sub(self.drift.of(self.ttl_ms));
        start.saturating_add(net)
    }

    /// Whether a lease that was asked for at `start` is worth taking now: it must
    /// last longer than it took to get, or it could not be renewed in time.
    #[must_use]
    pub fn worthwhile(&self, start: u64, now: u64) -> bool {
        now.saturating_sub(start) < self.validity(start, now)
    }
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryDelay {
    /// The least, in milliseconds.
    pub min_ms: u64,
    /// The most that chance adds.
    pub jitter_ms: u64,
}

impl RetryDelay {
    /// The delay after an attempt that took `elapsed` milliseconds: longer than
    /// that, so that of two that split the votes one goes first.
    #[must_use]
    pub fn after(self, elapsed: u64, random: u64) -> u64 {
        let least = self.min_ms.max(elapsed.saturating_add(1));
        let chance = match self.jitter_ms.checked_add(1) {
            Some(span) => random % span,
            None => random,
        };
        least.saturating_add(chance)
    }
}

//! Validity of locks, and delays of retries.

/// Allowance for clocks that run at different speeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Parts per million of the TTL.
    pub ppm: u32,
    /// Constant part in milliseconds, for the granularity of clocks and of Redis's expiry.
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
    /// The allowance for a TTL of `ttl_ms`, rounded up.
    #[must_use]
    pub fn of(self, ttl_ms: u64) -> u64 {
        let share = (u128::from(ttl_ms) * u128::from(self.ppm)).div_ceil(1_000_000);
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .saturating_add(self.margin_ms)
    }

    /// The shortest TTL, or one millisecond more, that leaves at least `valid_ms` after the
    /// allowance.
    #[must_use]
    pub fn ttl_for(self, valid_ms: u64) -> u64 {
        let net = u128::from(valid_ms) + u128::from(self.margin_ms) + 1;
        let share = u128::from(1_000_000_u32.saturating_sub(self.ppm).max(1));
        u64::try_from((net * 1_000_000).div_ceil(share)).unwrap_or(u64::MAX)
    }
}

/// How long a lock is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// TTL of a lock on the nodes, in milliseconds.
    pub ttl_ms: u64,
    /// Allowance, subtracted from the TTL.
    pub drift: Drift,
}

impl Timing {
    /// Remaining validity in milliseconds of a lock requested at `start`.
    #[must_use]
    pub fn validity(&self, start: u64, now: u64) -> u64 {
        self.deadline(start).saturating_sub(now)
    }

    /// End of the validity of a lock requested at `start`.
    #[must_use]
    pub fn deadline(&self, start: u64) -> u64 {
        let net = self.ttl_ms.saturating_sub(self.drift.of(self.ttl_ms));
        start.saturating_add(net)
    }

    /// Whether a lock requested at `start` is worth taking now. It must last longer than it took to
    /// acquire, otherwise it could not be renewed in time.
    #[must_use]
    pub fn worthwhile(&self, start: u64, now: u64) -> bool {
        now.saturating_sub(start) < self.validity(start, now)
    }
}

/// Delay before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryDelay {
    /// Minimum in milliseconds.
    pub min_ms: u64,
    /// Maximum random addition in milliseconds.
    pub jitter_ms: u64,
}

impl RetryDelay {
    /// The delay in milliseconds after an attempt that took `elapsed` milliseconds. It is longer
    /// than the attempt, so that one of two clients that split the votes can finish before the
    /// other.
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

/// Why the times of a group do not fit the TTLs of its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimesError {
    /// A lock may expire before its renewal.
    RenewalTooLong {
        /// The renewal interval in milliseconds.
        ms: u64,
        /// The longest possible interval.
        most_ms: u64,
    },
    /// A node that has lost its data may vote while a lock that it granted is held.
    QuarantineTooShort {
        /// The quarantine in milliseconds.
        ms: u64,
        /// The shortest possible quarantine.
        least_ms: u64,
    },
}

/// Checks the configured renewal interval and quarantine of a group whose locks have these TTLs, in
/// milliseconds. Returns the quarantine: by default the longest TTL, `None` without locks.
///
/// # Errors
/// When the interval is longer than half of the shortest TTL, or the quarantine shorter than the
/// longest.
pub fn check_times(
    renewal_ms: Option<u64>,
    quarantine_ms: Option<u64>,
    ttls_ms: impl Iterator<Item = u64> + Clone,
) -> Result<Option<u64>, TimesError> {
    let Some((shortest, longest)) = ttls_ms.clone().min().zip(ttls_ms.max()) else {
        return Ok(quarantine_ms);
    };
    let most_ms = shortest / 2;
    if let Some(ms) = renewal_ms.filter(|&ms| ms > most_ms) {
        return Err(TimesError::RenewalTooLong { ms, most_ms });
    }
    let quarantine_ms = quarantine_ms.unwrap_or(longest);
    if quarantine_ms < longest {
        return Err(TimesError::QuarantineTooShort {
            ms: quarantine_ms,
            least_ms: longest,
        });
    }
    Ok(Some(quarantine_ms))
}

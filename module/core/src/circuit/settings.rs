//! When a circuit opens, and for how long.

/// A share, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// What the configuration says of an upstream's circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitSettings {
    /// The share of faulty outcomes that opens it, if any does.
    pub errors: Option<Share>,
    /// How many requests in a row have to be faulty to open it, if any number does.
    /// With neither it never opens.
    pub failures: Option<u32>,
    /// No share is judged of fewer outcomes in the window.
    pub requests: u32,
    /// How far back outcomes count.
    pub window_ms: u32,
    /// How long it is open the first time; twice as long after each probe that fails.
    pub open_ms: u32,
    /// The longest that it is open, but for the jitter of a quarter.
    pub open_max_ms: u32,
    /// How many probes go at once, and how many successes close it.
    pub probes: u32,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            errors: Some(Share(5_000)),
            failures: Some(5),
            requests: 20,
            window_ms: 10_000,
            open_ms: 5_000,
            open_max_ms: 60_000,
            probes: 1,
        }
    }
}

impl CircuitSettings {
    /// Whether it can open.
    pub(super) fn may_open(&self) -> bool {
        self.errors.is_some() || self.failures.is_some()
    }

    /// How long to be open when `trips` openings in a row went before. `random`
    /// spreads the probes of many machines over a quarter of it.
    pub(super) fn open_for(&self, trips: u32, random: u64) -> u64 {
        let factor = 1u64 << trips.min(31);
        let ms = u64::from(self.open_ms).saturating_mul(factor);
        let ms = ms.min(u64::from(self.open_max_ms)).max(1);
        ms + random % (ms / 4 + 1)
    }

    /// No opening lasts for longer.
    pub(super) fn longest_ms(&self) -> u64 {
        let longest = u64::from(self.open_max_ms.max(1));
        longest + longest / 4
    }
}

//! Settings of a circuit: when it opens, and for how long.

use bytemuck::{Pod, Zeroable};

/// A share, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Share(pub u32);

/// The circuit settings of an upstream. They are part of its record in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CircuitSettings {
    /// Share of failures in the window that opens the circuit; 0 to ignore the share.
    pub errors: Share,
    /// Number of consecutive failures that opens the circuit; 0 to ignore it. With neither
    /// limit the circuit never opens.
    pub failures: u32,
    /// Minimum number of requests in the window before the share of failures can open the
    /// circuit.
    pub requests: u32,
    /// Length of the window, in milliseconds.
    pub window_ms: u32,
    /// How long the circuit is open the first time, in milliseconds; doubled with each failed
    /// probe.
    pub open_ms: u32,
    /// Longest open time in milliseconds, without the jitter of up to a quarter.
    pub open_max_ms: u32,
    /// Number of concurrent probes, and of successes that close the circuit.
    pub probes: u32,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            errors: Share(5_000),
            failures: 5,
            requests: 20,
            window_ms: 10_000,
            open_ms: 5_000,
            open_max_ms: 60_000,
            probes: 1,
        }
    }
}

impl CircuitSettings {
    /// Whether the circuit can open at all.
    pub(super) fn may_open(&self) -> bool {
        self.errors > Share(0) || self.failures > 0
    }

    /// Time in milliseconds to stay open after `trips` consecutive openings. `random` adds up to a
    /// quarter, to spread the probes of many machines.
    pub(super) fn open_for(&self, trips: u32, random: u64) -> u64 {
        let factor = 1u64 << trips.min(31);
        let ms = u64::from(self.open_ms).saturating_mul(factor);
        let ms = ms.min(u64::from(self.open_max_ms)).max(1);
        ms + random % (ms / 4 + 1)
    }

    /// The longest time that the circuit can be open, in milliseconds.
    pub(super) fn longest_ms(&self) -> u64 {
        let longest = u64::from(self.open_max_ms.max(1));
        longest + longest / 4
    }
}

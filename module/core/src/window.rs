//! Counts of results in a sliding window.

use bytemuck::{Pod, Zeroable};

const BUCKETS: usize = 10;

/// Counts in ten buckets, each for a tenth of the window. The oldest bucket is dropped as a whole.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Window {
    /// Number of the newest bucket, counted from the zero of the clock.
    newest: u64,
    all: [u32; BUCKETS],
    failed: [u32; BUCKETS],
}

/// Counts of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests.
    pub all: u32,
    /// Failed requests.
    pub failed: u32,
}

impl Window {
    pub(crate) fn clear(&mut self) {
        *self = Self::zeroed();
    }

    pub(crate) fn note(&mut self, failed: bool, window_ms: u32, now_ms: u64) {
        self.slide(window_ms, now_ms);
        let at = (self.newest % BUCKETS as u64) as usize;
        self.all[at] = self.all[at].saturating_add(1);
        self.failed[at] = self.failed[at].saturating_add(failed.into());
    }

    pub(crate) fn counts(mut self, window_ms: u32, now_ms: u64) -> Counts {
        self.slide(window_ms, now_ms);
        let sum = |counts: [u32; BUCKETS]| counts.into_iter().fold(0, u32::saturating_add);
        Counts {
            all: sum(self.all),
            failed: sum(self.failed),
        }
    }

    /// Drops buckets that are too old.
    fn slide(&mut self, window_ms: u32, now_ms: u64) {
        let bucket = now_ms / u64::from(window_ms / BUCKETS as u32).max(1);
        // Processes read the clock at different times, so a time may be in an earlier bucket. The
        // newest bucket counts it.
        let is_late = bucket.saturating_add(BUCKETS as u64) > self.newest;
        if bucket <= self.newest && is_late {
            return;
        }
        match bucket.checked_sub(self.newest) {
            Some(passed) if passed < BUCKETS as u64 => {
                for bucket in self.newest + 1..=bucket {
                    let at = (bucket % BUCKETS as u64) as usize;
                    self.all[at] = 0;
                    self.failed[at] = 0;
                }
            }
            _ => self.clear(),
        }
        self.newest = bucket;
    }
}

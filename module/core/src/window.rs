//! Outcomes, counted over a sliding window.

use bytemuck::{Pod, Zeroable};

const BUCKETS: usize = 10;

/// Counts of outcomes, the oldest tenth of which is dropped at a time.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Window {
    /// The number of the newest bucket, since the clock's zero.
    newest: u64,
    all: [u32; BUCKETS],
    faulty: [u32; BUCKETS],
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Outcomes.
    pub all: u32,
    /// Those of failures.
    pub faulty: u32,
}

impl Window {
    pub(crate) fn clear(&mut self) {
        *self = Self::zeroed();
    }

    pub(crate) fn note(&mut self, faulty: bool, window_ms: u32, now_ms: u64) {
        self.slide(window_ms, now_ms);
        let at = (self.newest % BUCKETS as u64) as usize;
        self.all[at] = self.all[at].saturating_add(1);
        self.faulty[at] = self.faulty[at].saturating_add(faulty.into());
    }

    pub(crate) fn counts(mut self, window_ms: u32, now_ms: u64) -> Counts {
        self.slide(window_ms, now_ms);
        let sum = |counts: [u32; BUCKETS]| counts.into_iter().fold(0, u32::saturating_add);
        Counts {
            all: sum(self.all),
            faulty: sum(self.faulty),
        }
    }

    /// Drops what is too old.
    fn slide(&mut self, window_ms: u32, now_ms: u64) {
        let bucket = now_ms / u64::from(window_ms / BUCKETS as u32).max(1);
        // Processes read the clock at different moments: one may be a little behind.
        if bucket == self.newest || bucket.checked_add(1) == Some(self.newest) {
            return;
        }
        match bucket.checked_sub(self.newest) {
            Some(passed) if passed < BUCKETS as u64 => {
                for bucket in self.newest + 1..=bucket {
                    let at = (bucket % BUCKETS as u64) as usize;
                    self.all[at] = 0;
                    self.faulty[at] = 0;
                }
            }
            _ => self.clear(),
        }
        self.newest = bucket;
    }
}

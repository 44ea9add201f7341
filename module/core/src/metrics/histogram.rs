//! Histograms of durations.

use bytemuck::{Pod, Zeroable};

/// Upper bounds in milliseconds.
pub(super) const BOUNDS: [u64; 16] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
];

/// Counts of durations by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum_ms: u64,
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn note(&mut self, ms: u64) {
        let count = &mut self.counts[BOUNDS.partition_point(|&bound| bound < ms)];
        *count = count.saturating_add(1);
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// For each bound, the number of durations up to it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(sums)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum_ms(&self) -> u64 {
        self.sum_ms
    }
}

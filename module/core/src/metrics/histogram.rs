//! Histograms of durations.

use bytemuck::{Pod, Zeroable};

/// Upper bounds in milliseconds.
pub(super) const BOUNDS: [u64; 16] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
];

/// Counts of durations by bucket.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum_ms: u64,
}

impl Histogram {
    /// Number of words; the last one is the sum.
    pub(super) const WORDS: usize = size_of::<Self>() / size_of::<u64>();

    /// Index of the word that counts such a duration.
    pub(super) fn word(ms: u64) -> usize {
        BOUNDS.partition_point(|&bound| bound < ms)
    }

    /// For each bound, the number of durations up to it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(sums)
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum_ms(&self) -> u64 {
        self.sum_ms
    }
}

//! A level and the highest level ever, exact under concurrent use.

use std::sync::atomic::{AtomicU64, Ordering};

/// Both numbers live in one word, so that no thread ever sees one without the other: the level
/// in the lower half, its highest value in the upper half.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn rise(&self) {
        self.update(|level, highest| (level.wrapping_add(1), highest.max(level.wrapping_add(1))));
    }

    pub(crate) fn fall(&self) {
        self.update(|level, highest| (level.saturating_sub(1), highest));
    }

    /// Forgets the highest level; the level itself is a fact and stays.
    pub(crate) fn forget(&self) {
        self.update(|level, _| (level, level));
    }

    /// The level and its highest value, of one moment.
    pub(crate) fn read(&self) -> (u32, u32) {
        unpack(self.0.load(Ordering::Acquire))
    }

    fn update(&self, change: impl Fn(u32, u32) -> (u32, u32)) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (level, highest) = unpack(seen);
            let (level, highest) = change(level, highest);
            let next = u64::from(highest) << 32 | u64::from(level);
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(current) => seen = current,
            }
        }
    }
}

fn unpack(word: u64) -> (u32, u32) {
    // The halves are what was packed: nothing is lost.
    (word as u32, (word >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn keeps_the_highest_level_until_reset() {
        let gauge = Gauge::default();
        gauge.rise();
        gauge.rise();
        gauge.fall();
        assert_eq!(gauge.read(), (1, 2));
        gauge.forget();
        assert_eq!(gauge.read(), (1, 1));
        gauge.fall();
        assert_eq!(gauge.read(), (0, 1));
    }

    #[test]
    fn loses_nothing_between_threads() {
        const THREADS: usize = 4;
        let gauge = Gauge::default();
        let all_up = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        gauge.rise();
                        gauge.fall();
                    }
                    gauge.rise();
                    all_up.wait();
                    gauge.fall();
                });
            }
        });
        assert_eq!(gauge.read(), (0, THREADS as u32));
    }
}

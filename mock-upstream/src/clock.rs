//! The time by which limits are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that can be put forward, so that nobody has to wait a minute for a limit to recover.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None: time passes only by [`Clock::advance`].
    origin: Option<Instant>,
    ahead_nanos: AtomicU64,
}

impl Clock {
    /// A clock that goes as usual.
    pub fn real() -> Self {
        Self::starting(Some(Instant::now()))
    }

    /// A clock that stands still until it is advanced.
    pub fn manual() -> Self {
        Self::starting(None)
    }

    fn starting(origin: Option<Instant>) -> Self {
        let ahead_nanos = AtomicU64::new(0);
        Self(Arc::new(Inner {
            origin,
            ahead_nanos,
        }))
    }

    /// Puts the clock forward.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let add = |ahead: u64| Some(ahead.saturating_add(nanos));
        let _ = self
            .0
            .ahead_nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The time since the clock was made.
    pub fn now(&self) -> Duration {
        let ahead = Duration::from_nanos(self.0.ahead_nanos.load(Ordering::Relaxed));
        let elapsed = self.0.origin.map_or(Duration::ZERO, |at| at.elapsed());
        elapsed.saturating_add(ahead)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

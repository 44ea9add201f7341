//! Waiting for conditions, never for times.

use std::env;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

static PATIENCE: LazyLock<u32> = LazyLock::new(|| {
    env::var("E2E_PATIENCE").map_or(1, |factor| {
        factor.parse().expect("E2E_PATIENCE is a number")
    })
});

/// How long a condition may take: ample, since only a failing test ever waits so long.
pub fn patience() -> Duration {
    Duration::from_secs(15) * *PATIENCE
}

/// Waits until `condition` holds; fails the test when it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `look` sees something; fails the test when it never does.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

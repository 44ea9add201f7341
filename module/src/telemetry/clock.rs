//! The clocks.

use openai_core::lease::Now;

/// Monotonic clock and wall clock, as nginx last read them.
pub fn now() -> Now {
    let clocks = nginx_safe::clocks();
    Now {
        mono_ms: clocks.mono_ms,
        wall_us: clocks.wall_us,
    }
}

//! The two clocks, which callers read and pass in.

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds, the same clock in every process of the machine.
    pub mono_ms: u64,
    /// Wall-clock microseconds since the epoch; used for fences only.
    pub wall_us: u64,
}

//! What core leaves to its surroundings: shared memory and clocks.

pub mod redis;

use nginx_safe::SharedZone;
use openai_core::lease::{Now, WakeSet, Zone};

/// Both clocks, as nginx last read them.
pub fn now() -> Now {
    let clocks = nginx_safe::clocks();
    Now {
        mono_ms: clocks.mono_ms,
        wall_us: clocks.wall_us,
    }
}

/// Changes the zone, with its mutex held, and wakes whoever has something to
/// collect for it. `None` when there is no zone.
pub fn change<T>(shared: SharedZone, act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
    let (done, wakes) = change_quietly(shared, act)?;
    for worker in wakes.iter() {
        shared.signal(worker.index());
    }
    Some(done)
}

/// As [`change`], and leaves the waking to the caller.
pub fn change_quietly<T>(
    shared: SharedZone,
    act: impl FnOnce(&mut Zone<'_>) -> T,
) -> Option<(T, WakeSet)> {
    shared.with(|bytes, interrupted| {
        let mut zone = Zone::open(bytes).ok()?;
        if interrupted {
            // A process died while it changed the zone.
            zone.recover(now());
        }
        let done = act(&mut zone);
        Some((done, zone.take_wakes()))
    })?
}

//! Our own events in nginx's error log: a JSON object behind nginx's prefix.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

pub use crate::ffi::is_logged;
use crate::ffi::{self, Level};

/// Writes an event. Fields name leases, keys and services by id; no secret is
/// ever passed here.
pub fn event(level: Level, name: &str, fields: Value) {
    let mut line = Map::new();
    line.insert("timestamp".into(), rfc3339(ffi::clocks().wall_us).into());
    line.insert("level".into(), word(level).into());
    line.insert("event".into(), name.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    ffi::log(level, &json!(line).to_string());
}

/// A moment of the monotonic clock, as the wall clock will show it.
pub fn wall_time(mono_ms: u64) -> String {
    let clocks = ffi::clocks();
    let ahead = mono_ms.saturating_sub(clocks.mono_ms);
    rfc3339(clocks.wall_us.saturating_add(ahead.saturating_mul(1_000)))
}

fn rfc3339(wall_us: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(wall_us);
    humantime::format_rfc3339_millis(time).to_string()
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Emergency | Level::Alert => "critical",
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Notice | Level::Info => "info",
    }
}

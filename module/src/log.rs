//! Our own events in nginx's error log: a JSON object behind nginx's prefix.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

pub use crate::ffi::is_logged;
use crate::ffi::{self, Level};

/// Writes an event. Fields name leases, keys and services by id; no secret is
/// ever passed here.
pub fn event(level: Level, name: &str, fields: Value) {
    let mut line = Map::new();
    let now = UNIX_EPOCH + Duration::from_micros(ffi::clocks().wall_us);
    line.insert(
        "timestamp".into(),
        humantime::format_rfc3339_millis(now).to_string().into(),
    );
    line.insert("level".into(), word(level).into());
    line.insert("event".into(), name.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    ffi::log(level, &json!(line).to_string());
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Emergency | Level::Alert => "critical",
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
    }
}

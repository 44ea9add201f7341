//! Events of the module: one JSON object per line, behind nginx's prefix in its error log,
//! and in the log of `openai_event_log`.

use nginx_safe::Level;
use std::time::{Duration, UNIX_EPOCH};

use openai_core::events::{Severity, line};
use serde_json::Value;

/// Whether events of this level are written at all.
pub fn is_logged(level: Level) -> bool {
    nginx_safe::is_logged(level) || nginx_safe::takes_line(level)
}

/// Writes an event. Fields name leases, keys and services by id; no secret is ever passed here.
pub fn event(level: Level, name: &str, fields: Value) {
    let (in_error_log, in_own) = (nginx_safe::is_logged(level), nginx_safe::takes_line(level));
    if !in_error_log && !in_own {
        return;
    }
    let time = rfc3339(nginx_safe::clocks().wall_us);
    let line = line(time, severity(level), name, fields);
    if in_error_log {
        nginx_safe::log(level, &line);
    }
    if in_own {
        nginx_safe::log_line(level, &line);
    }
}

/// Wall-clock time of a future moment of the monotonic clock, in RFC 3339; a past one is
/// shown as now.
pub fn wall_time(mono_ms: u64) -> String {
    let clocks = nginx_safe::clocks();
    let ahead = mono_ms.saturating_sub(clocks.mono_ms);
    rfc3339(clocks.wall_us.saturating_add(ahead.saturating_mul(1_000)))
}

fn rfc3339(wall_us: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(wall_us);
    humantime::format_rfc3339_millis(time).to_string()
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Emergency | Level::Alert | Level::Error => Severity::Error,
        Level::Warn => Severity::Warn,
        Level::Notice => Severity::Notice,
        Level::Info => Severity::Info,
        Level::Debug => Severity::Debug,
    }
}

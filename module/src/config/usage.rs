//! `openai_usage` and related directives: usage in responses, prices, and the zone of the metrics.

use std::fs;

use nginx_safe::{Conf, ConfResult, Mistake, SharedZone};
use openai_core::metrics::MetricsZone;
use openai_core::prices::Prices;

use super::lines::{self, Placed, Read};
use super::values::{self, HOUR};
use super::zone::{self, ZoneSize};
use super::{Answers, Location, Main, source};

settings! {
    /// Settings of usage at one level.
    pub struct Usage {}
    inherited {
        /// Whether the usage is read from responses.
        is_read: bool = true,
        /// Whether streams are asked to report their usage, if it is read.
        include: bool = false,
    }
}

impl Usage {
    /// Whether streams are asked to report their usage.
    pub fn is_asked_for(&self) -> bool {
        self.is_read() && self.include()
    }
}

/// Content of the metrics zone.
pub struct MetricsContent;

/// Configuration of the metrics.
#[derive(Default)]
pub struct MetricsConfig {
    pub(super) zone: Option<Placed<ZoneSize>>,
    pub shared: Option<SharedZone>,
    /// File that keeps the metrics when nginx restarts.
    pub snapshot: Option<SnapshotSettings>,
}

/// Settings of the snapshot file.
pub struct SnapshotSettings {
    pub path: String,
    /// Interval between writes, in milliseconds.
    pub interval_ms: u64,
}

impl MetricsConfig {
    /// Declares the zone.
    pub fn declare(&mut self, conf: &Conf) -> Result<(), Mistake> {
        let default = ("openai_stats", 4 << 20);
        let shared = zone::declare(conf, self.zone.as_ref(), default, MetricsContent)?;
        self.shared = Some(shared);
        Ok(())
    }
}

/// Reads the name and the size of the zone.
pub fn zone(text: &str) -> ConfResult<ZoneSize> {
    ZoneSize::parse(text, MetricsZone::bytes_for(16))
}

/// Reads `openai_stats_file`.
pub fn stats_file(conf: &mut Conf, main: &mut Main) -> Read {
    lines::many(conf, &mut main.metrics.snapshot, |words| {
        snapshot(conf, words)
    })
}

fn snapshot(conf: &Conf, words: &[&str]) -> ConfResult<SnapshotSettings> {
    let [path, options @ ..] = words else {
        return Err("takes a path".into());
    };
    let mut interval_ms = 10_000;
    lines::parameters(options, |option| {
        option.one("interval", &mut interval_ms, values::time(100..=HOUR));
    })?;
    Ok(SnapshotSettings {
        path: conf.full_path(path)?,
        interval_ms,
    })
}

/// Reads `openai_prices`.
pub fn prices(conf: &mut Conf, main: &mut Main) -> Read {
    lines::one(conf, &mut main.prices, |path| {
        let text = fs::read_to_string(conf.full_path(path)?);
        let text = text.map_err(|e| format!("\"{path}\": {}", source::read_error(&e)))?;
        Prices::parse(&text).map_err(|e| format!("\"{path}\": {e}"))
    })
}

/// Reads `openai_metrics`.
pub fn metrics(conf: &mut Conf, location: &mut Location) -> Read {
    if location.answers == Some(Answers::Metrics) {
        return Err(Some("is a duplicate".into()));
    }
    location.answers = Some(Answers::Metrics);
    Ok(conf.serve_content()?)
}

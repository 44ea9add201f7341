//! `openai_usage` and its kin: what is read of answers, what it costs, and where the
//! totals are.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs;

use nginx_safe::{Args, Conf, ConfResult, Directive, LocationConf, Scope, SharedZone, argument};
use openai_core::metrics::{ByDay, MetricsZone};
use openai_core::prices::Prices;
use serde_json::Value;

use super::{Answers, Location, Main, values};

const DEFAULT_NAME: &str = "openai_stats";
const DEFAULT_SIZE: usize = 4 << 20;
/// How often the file is written.
const INTERVAL_MS: u64 = 10_000;
const LEAST_INTERVAL_MS: u64 = 100;
const MOST_INTERVAL_MS: u64 = 3_600_000;
/// nginx's slab allocator takes some pages for itself, and the zone a first one.
const PAGES: usize = 9 * 4096;

/// What a level says of usage; `None` is inherited.
#[derive(Default)]
pub struct Usage {
    read: Option<bool>,
    include: Option<bool>,
}

impl Usage {
    pub fn inherit(&mut self, above: &Self) {
        self.read = self.read.or(above.read);
        self.include = self.include.or(above.include);
    }

    /// Whether the usage is read from answers.
    pub fn is_read(&self) -> bool {
        self.read.unwrap_or(true)
    }

    /// Whether streams are asked to tell it.
    pub fn is_asked_for(&self) -> bool {
        self.is_read() && self.include.unwrap_or(false)
    }
}

/// The zone of the totals.
#[derive(Default)]
pub struct MetricsConfig {
    declared: Option<(String, usize)>,
    pub shared: Option<SharedZone>,
    /// Where they outlive nginx.
    pub snapshot: Option<SnapshotSettings>,
}

/// The file of the totals.
pub struct SnapshotSettings {
    pub path: String,
    /// How often it is written.
    pub interval_ms: u64,
    /// What is wrong with it, for the first worker to tell.
    pub mistake: RefCell<Option<Value>>,
    /// The instance that the file was made from, and what that had counted: where other
    /// machines know it, too.
    pub former: RefCell<Option<(u64, ByDay)>>,
}

impl MetricsConfig {
    pub fn name(&self) -> &str {
        self.declared
            .as_ref()
            .map_or(DEFAULT_NAME, |(name, _)| name)
    }

    /// Declares the zone. The totals must stay where they are from here on.
    pub fn declare(&mut self, conf: &Conf) -> ConfResult {
        let size = self
            .declared
            .as_ref()
            .map_or(DEFAULT_SIZE, |&(_, size)| size);
        let zone = SharedZone::declare(conf, self.name(), size, self);
        self.shared = Some(zone.map_err(|e| format!("openai_stats: {e}"))?);
        Ok(())
    }
}

pub struct StatsZone;

impl Directive for StatsZone {
    type Target = Main;
    const NAME: &'static CStr = c"openai_stats";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::One;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let value = argument(conf)?;
        let invalid = || format!("invalid value \"{value}\", it must be NAME:SIZE");
        let (name, size) = value.split_once(':').ok_or_else(invalid)?;
        let size = values::size(size).map_err(|_| invalid())?;
        let least = MetricsZone::bytes_for(16).next_multiple_of(4096) + PAGES;
        if name.is_empty() {
            return Err(Some(invalid()));
        }
        if size < least {
            return Err(Some(format!(
                "\"{value}\" is too small, it needs {least} bytes or more"
            )));
        }
        let said = Ok((name.to_string(), size));
        values::once(&mut main.metrics.declared, said).map_err(Some)
    }
}

pub struct StatsFile;

impl Directive for StatsFile {
    type Target = Main;
    const NAME: &'static CStr = c"openai_stats_file";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let words = conf.words()?;
        let (path, interval_ms) = match words.as_slice() {
            [_, path] => (*path, INTERVAL_MS),
            [_, path, option] => (*path, interval(option)?),
            _ => return Err(Some("needs a path, and may have interval=TIME".into())),
        };
        let kept = SnapshotSettings {
            path: conf.full_path(path)?,
            interval_ms,
            mistake: RefCell::default(),
            former: RefCell::default(),
        };
        values::once(&mut main.metrics.snapshot, Ok(kept)).map_err(Some)
    }
}

fn interval(option: &str) -> Result<u64, String> {
    let value = option.strip_prefix("interval=");
    let ms = value.and_then(|value| values::time_ms(value).ok());
    match ms {
        Some(ms @ LEAST_INTERVAL_MS..=MOST_INTERVAL_MS) => Ok(ms),
        _ => Err(format!(
            "invalid parameter \"{option}\", it must be interval=TIME, from 100ms to 1h"
        )),
    }
}

pub struct PricesFile;

impl Directive for PricesFile {
    type Target = Main;
    const NAME: &'static CStr = c"openai_prices";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::One;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let path = argument(conf)?;
        let text = fs::read_to_string(conf.full_path(&path)?);
        let text = text.map_err(|e| format!("\"{path}\": {e}"))?;
        let prices = Prices::parse(&text).map_err(|e| format!("\"{path}\": {e}"));
        values::once(&mut main.prices, prices).map_err(Some)
    }
}

pub struct Metrics;

impl Directive for Metrics {
    type Target = Location;
    const NAME: &'static CStr = c"openai_metrics";
    const SCOPE: Scope = Scope::Location;
    const ARGS: Args = Args::None;

    fn read(conf: &mut Conf, location: &mut Location) -> Result<(), Option<String>> {
        location.content().own.set(true);
        location.answers = Some(Answers::Metrics);
        conf.serve_content().map_err(Some)
    }
}

macro_rules! directive {
    ($type:ident, $name:literal, $field:ident) => {
        pub struct $type;
        impl Directive for $type {
            type Target = Location;
            const NAME: &'static CStr = $name;
            const SCOPE: Scope = Scope::Everywhere;
            const ARGS: Args = Args::Flag;
            fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
                let said = values::flag(&argument(conf)?);
                values::once(&mut target.usage.$field, said).map_err(Some)
            }
        }
    };
}

directive!(UsageOn, c"openai_usage", read);
directive!(IncludeUsage, c"openai_include_usage", include);

//! Bodies that services send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use super::context::Context;
use super::parse::parse;
use super::parse_lock_id;
use super::problem::Problem;
use crate::clients::PRIORITIES;
use crate::lease::{MAX_NAME, MAX_REQUEST};

/// The longest body, in bytes.
pub const MAX_BODY: u64 = 64 << 10;
/// A lock's time when the service says nothing, in seconds.
const DEFAULT_DURATION: u64 = 300;
const MAX_DURATION: u64 = 31_536_000;
const MAX_WAIT_MS: u64 = 3_600_000;
/// More tokens than any one lock is good for.
const MAX_TOKENS: u64 = 100_000_000;
/// How much is told of what went wrong, in bytes.
const MAX_ERROR: usize = 256;

/// What is to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
enum ResourceType {
    /// A slot of an API key.
    #[serde(rename = "openai_api")]
    OpenaiApi,
}

/// Asks for a lock. All further fields that are strings (`dimension`, `content_type`,
/// `template`, …) are context: kept with the lock, shortened if they must be, and shown
/// in listings. Other further fields are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct AcquireRequest {
    /// Who asks: together with the client of the token the owner of the lock.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// What is to be locked: a slot of an API key.
    #[schema(inline)]
    #[expect(dead_code, reason = "there is but one: to be read is to be checked")]
    resource_type: Option<ResourceType>,
    /// The key pool, one of those that the service is given; the first of them by default.
    #[schema(max_length = 64)]
    pool: Option<String>,
    /// How long the lock is to last, in whole seconds, within the gateway's bounds: the
    /// answer says until when it does. 300 by default.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 31_536_000, example = 300)]
    estimated_duration: Option<i64>,
    /// Names this request: sent again while the lock is held, it gets the same lock.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[ -~]+$",
        example = "uuid-here"
    )]
    request_id: Option<String>,
    /// Who waits with a higher one is served first; that of the client by default.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<i64>, minimum = -1000, maximum = 1000)]
    priority: Option<i64>,
    /// How long to wait for a free slot, in milliseconds, at most the pool's `wait`. By
    /// default not at all.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 3_600_000)]
    wait_ms: Option<i64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Gives a lock back.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct ReleaseRequest {
    /// The lock.
    #[schema(max_length = 128, example = "0123456789abcdef0123456789abcdef")]
    lock_id: String,
    /// Who has it.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// What the service did with it.
    usage_stats: Option<UsageStats>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// What a service did with a lock: counted once, and told in the log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
pub(super) struct UsageStats {
    /// Whether it went well.
    success: Option<bool>,
    /// How long it took, in seconds.
    #[schema(minimum = 0)]
    actual_duration: Option<f64>,
    /// How many tokens it took.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 100_000_000)]
    tokens_used: Option<i64>,
    /// What went wrong.
    error_message: Option<String>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// Prolongs a lock.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct ExtendRequest {
    /// The lock.
    #[schema(max_length = 128, example = "0123456789abcdef0123456789abcdef")]
    lock_id: String,
    /// Who has it.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// How long it is to last from now, in whole seconds; it never gets shorter. 300 by
    /// default.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 31_536_000, example = 300)]
    estimated_duration: Option<i64>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// A lock is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// Who asks, by its own word.
    pub service: String,
    /// Its name for the request, if it has one.
    pub request: Option<String>,
    /// The key pool, if it names one.
    pub pool: Option<String>,
    /// How long the lock is to last.
    pub duration_ms: u64,
    /// Its place among those who wait.
    pub priority: Option<i32>,
    /// How long to wait.
    pub wait_ms: u64,
    /// What it says of it.
    pub context: Context,
}

/// A lock is given back.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Which; `None` if there can be no lock of that name.
    pub id: Option<u128>,
    /// By whom.
    pub service: String,
    /// What was done with it.
    pub outcome: Outcome,
}

/// What a service did with a lock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether it went well.
    pub success: Option<bool>,
    /// How long it took, in seconds.
    pub duration_s: Option<f64>,
    /// How many tokens it took.
    pub tokens: Option<u64>,
    /// What went wrong, for the log: shortened, and without what may be a key.
    pub error: Option<String>,
}

impl Outcome {
    /// Whether it tells anything that is counted.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.success.is_some() || self.tokens.is_some() || self.error.is_some()
    }

    /// Whether it went wrong.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.success == Some(false)
    }
}

/// A text of a service's, as the log may have it: messages of OpenAI's name the key, in part.
fn told(text: &str) -> String {
    let mut parts = text.split("sk-");
    let mut safe = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.');
        safe.push_str("sk-\u{2026}");
        safe.push_str(part.trim_start_matches(is_key));
    }
    let end = (0..=MAX_ERROR.min(safe.len())).rev();
    safe.truncate(
        end.into_iter()
            .find(|&at| safe.is_char_boundary(at))
            .unwrap_or_default(),
    );
    safe
}

/// A lock is to last longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Which; `None` if there can be no lock of that name.
    pub id: Option<u128>,
    /// By whom.
    pub service: String,
    /// How long from now.
    pub duration_ms: u64,
}

impl Acquire {
    /// Reads a body.
    ///
    /// # Errors
    /// Which field is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let asked: AcquireRequest = parse(body)?;
        let service = printable("service_name", asked.service_name, MAX_NAME)?;
        let request = asked.request_id;
        let request = request.map(|id| printable("request_id", id, MAX_REQUEST));
        let wait_ms = within("wait_ms", asked.wait_ms.unwrap_or(0), 0, MAX_WAIT_MS)?;
        let (least, most) = (*PRIORITIES.start(), *PRIORITIES.end());
        let priority = asked.priority.map(|priority| {
            let fits = i32::try_from(priority)
                .ok()
                .filter(|p| PRIORITIES.contains(p));
            let wanted = || format!("expected a number from {least} to {most}");
            fits.ok_or_else(|| Problem::wrong_value("priority", &wanted()))
        });
        Ok(Self {
            service,
            request: request.transpose()?,
            pool: asked.pool,
            duration_ms: duration_ms(asked.estimated_duration)?,
            priority: priority.transpose()?,
            wait_ms,
            context: Context::of(&asked.rest),
        })
    }
}

impl Release {
    /// Reads a body.
    ///
    /// # Errors
    /// Which field is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let asked: ReleaseRequest = parse(body)?;
        let stats = asked.usage_stats.unwrap_or_default();
        let duration_s = stats.actual_duration;
        if duration_s.is_some_and(|seconds| seconds < 0.0) {
            let wanted = "expected a number that is not negative";
            return Err(Problem::wrong_value("usage_stats.actual_duration", wanted));
        }
        let tokens = stats.tokens_used;
        let tokens = tokens.map(|n| within("usage_stats.tokens_used", n, 0, MAX_TOKENS));
        Ok(Self {
            id: parse_lock_id(&asked.lock_id),
            service: printable("service_name", asked.service_name, MAX_NAME)?,
            outcome: Outcome {
                success: stats.success,
                duration_s,
                tokens: tokens.transpose()?,
                error: stats.error_message.as_deref().map(told),
            },
        })
    }
}

impl Extend {
    /// Reads a body.
    ///
    /// # Errors
    /// Which field is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let asked: ExtendRequest = parse(body)?;
        Ok(Self {
            id: parse_lock_id(&asked.lock_id),
            service: printable("service_name", asked.service_name, MAX_NAME)?,
            duration_ms: duration_ms(asked.estimated_duration)?,
        })
    }
}

fn duration_ms(seconds: Option<i64>) -> Result<u64, Problem> {
    let seconds = seconds.map(|s| within("estimated_duration", s, 1, MAX_DURATION));
    Ok(seconds.transpose()?.unwrap_or(DEFAULT_DURATION) * 1_000)
}

fn within(field: &str, value: i64, least: u64, most: u64) -> Result<u64, Problem> {
    let fits = u64::try_from(value)
        .ok()
        .filter(|v| (least..=most).contains(v));
    let wanted = || format!("expected a number from {least} to {most}");
    fits.ok_or_else(|| Problem::wrong_value(field, &wanted()))
}

/// A name that can be shown and compared everywhere.
fn printable(field: &str, text: String, most: usize) -> Result<String, Problem> {
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if text.is_empty() || text.len() > most || !plain {
        let wanted = format!("expected 1 to {most} printable ASCII characters");
        return Err(Problem::wrong_value(field, &wanted));
    }
    Ok(text)
}

/// A whole number, however it is written: `300.0` is one in JSON.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else {
        return Ok(None);
    };
    let rounded = || {
        let float = number.as_f64().filter(|f| f.fract() == 0.0)?;
        // As far as every whole number is exact.
        (float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    };
    match number.as_i64().or_else(rounded) {
        Some(whole) => Ok(Some(whole)),
        // Out of everybody's range.
        None if number.as_f64().is_some_and(|f| f.fract() == 0.0) => Ok(Some(i64::MAX)),
        None => Err(D::Error::custom("expected a whole number")),
    }
}

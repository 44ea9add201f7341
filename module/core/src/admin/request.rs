//! Request bodies.

use std::collections::BTreeMap;

use openai_wire::usage::MOST_TOKENS;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use super::context::LockContext;
use super::parse::parse;
use super::parse_lock_id;
use super::problem::Problem;
use crate::clients::PRIORITIES;
use crate::echo::without_secrets;
use crate::lease::{MAX_NAME, MAX_REQUEST};

/// Maximum length of a body, in bytes.
pub const MAX_BODY: u64 = 64 << 10;
/// Default duration of a lock, in seconds.
const DEFAULT_DURATION: u64 = 300;
const MAX_DURATION: u64 = 31_536_000;
const MAX_WAIT_MS: u64 = 3_600_000;
/// Maximum length of an error message in the log, in bytes.
const MAX_ERROR: usize = 256;

/// Kind of resource to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
enum ResourceType {
    /// A slot of an API key.
    #[serde(rename = "openai_api")]
    OpenaiApi,
}

/// Request for a lock. Additional string fields (`dimension`, `content_type`, `template`, …) are the
/// context of the lock. They are stored with it, shortened if necessary, and shown in listings.
/// Additional fields of other types are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct AcquireRequest {
    /// Name of the service. The lock belongs to this service of the client that sends the token.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// Kind of resource to lock: `openai_api`, a slot of an API key, is the only one.
    #[schema(inline)]
    #[expect(dead_code, reason = "there is only one value; parsing it is the check")]
    resource_type: Option<ResourceType>,
    /// The key pool: one of the pools of this location. Default: the first of them.
    #[schema(max_length = 64)]
    pool: Option<String>,
    /// Requested duration of the lock in whole seconds. The gateway can limit it: the response
    /// contains the result as `expires_at`. Default: 300.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 31_536_000, example = 300)]
    estimated_duration: Option<i64>,
    /// Identifier of this request. A repeated request gets the same lock while it is held.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[ -~]+$",
        example = "uuid-here"
    )]
    request_id: Option<String>,
    /// Priority in the queue; higher priorities are served first. Default: the client's priority.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<i64>, minimum = -1000, maximum = 1000)]
    priority: Option<i64>,
    /// How long to wait for a free slot, in milliseconds; at most the pool's `wait`. Default: 0.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 3_600_000)]
    wait_ms: Option<i64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Request to release a lock.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct ReleaseRequest {
    /// Id of the lock.
    #[schema(max_length = 128, example = "0123456789abcdef0123456789abcdef")]
    lock_id: String,
    /// The name of the service that holds the lock.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// Usage while the lock was held.
    usage_stats: Option<UsageStats>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// Usage while a lock was held. It is counted once and logged.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
pub(super) struct UsageStats {
    /// Whether the work succeeded.
    success: Option<bool>,
    /// Duration of the work in seconds.
    #[schema(minimum = 0)]
    actual_duration: Option<f64>,
    /// Number of tokens used.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 100_000_000)]
    tokens_used: Option<i64>,
    /// Error message for the log.
    error_message: Option<String>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// Request to extend a lock.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct ExtendRequest {
    /// Id of the lock.
    #[schema(max_length = 128, example = "0123456789abcdef0123456789abcdef")]
    lock_id: String,
    /// The name of the service that holds the lock.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[ -~]+$",
        example = "labeling-service"
    )]
    service_name: String,
    /// New duration from now, in whole seconds. It never shortens the lock. Default: 300.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 31_536_000, example = 300)]
    estimated_duration: Option<i64>,
    #[serde(flatten)]
    _rest: BTreeMap<String, Value>,
}

/// A parsed request for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// Name of the service.
    pub service: String,
    /// Identifier of the request, if stated.
    pub request: Option<String>,
    /// The key pool, if stated.
    pub pool: Option<String>,
    /// Requested duration in milliseconds.
    pub duration_ms: u64,
    /// Priority in the queue, if stated.
    pub priority: Option<i32>,
    /// How long to wait for a slot, in milliseconds.
    pub wait_ms: u64,
    /// Context of the lock, for listings.
    pub context: LockContext,
}

/// A parsed request to release a lock.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// The lock; `None` if the id is malformed.
    pub id: Option<u128>,
    /// Name of the service.
    pub service: String,
    /// The usage under the lock.
    pub outcome: ReportedUsage,
}

/// Usage reported with a release.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportedUsage {
    /// Whether the work succeeded.
    pub success: Option<bool>,
    /// Duration of the work in seconds.
    pub duration_s: Option<f64>,
    /// Number of tokens used.
    pub tokens: Option<u64>,
    /// Error message for the log: shortened, and without secrets.
    pub error: Option<String>,
}

impl ReportedUsage {
    /// Whether the service reported a result, tokens or an error.
    #[must_use]
    pub fn has_result(&self) -> bool {
        self.success.is_some() || self.tokens.is_some() || self.error.is_some()
    }

    /// Whether the work failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.success == Some(false)
    }
}

/// Removes secrets from a text for the log, since OpenAI's messages contain parts of keys, and
/// truncates it.
fn loggable(text: &str) -> String {
    let mut safe = without_secrets(text);
    let mut ends = (0..=MAX_ERROR.min(safe.len())).rev();
    let end = ends.find(|&at| safe.is_char_boundary(at));
    safe.truncate(end.unwrap_or_default());
    safe
}

/// A parsed request to extend a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// The lock; `None` if the id is malformed.
    pub id: Option<u128>,
    /// Name of the service.
    pub service: String,
    /// New duration from now, in milliseconds.
    pub duration_ms: u64,
}

impl Acquire {
    /// Parses a body.
    ///
    /// # Errors
    /// When the body is not valid JSON, or a field is missing or invalid.
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
            context: LockContext::of(&asked.rest),
        })
    }
}

impl Release {
    /// Parses a body.
    ///
    /// # Errors
    /// When the body is not valid JSON, or a field is missing or invalid.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let asked: ReleaseRequest = parse(body)?;
        let stats = asked.usage_stats.unwrap_or_default();
        let duration_s = stats.actual_duration;
        if duration_s.is_some_and(|seconds| seconds < 0.0) {
            let wanted = "expected a number that is not negative";
            return Err(Problem::wrong_value("usage_stats.actual_duration", wanted));
        }
        let tokens = stats.tokens_used;
        let tokens = tokens.map(|n| within("usage_stats.tokens_used", n, 0, MOST_TOKENS));
        Ok(Self {
            id: parse_lock_id(&asked.lock_id),
            service: printable("service_name", asked.service_name, MAX_NAME)?,
            outcome: ReportedUsage {
                success: stats.success,
                duration_s,
                tokens: tokens.transpose()?,
                error: stats.error_message.as_deref().map(loggable),
            },
        })
    }
}

impl Extend {
    /// Parses a body.
    ///
    /// # Errors
    /// When the body is not valid JSON, or a field is missing or invalid.
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

/// Checks that a text has 1 to `most` printable ASCII characters.
fn printable(field: &str, text: String, most: usize) -> Result<String, Problem> {
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if text.is_empty() || text.len() > most || !plain {
        let wanted = format!("expected 1 to {most} printable ASCII characters");
        return Err(Problem::wrong_value(field, &wanted));
    }
    Ok(text)
}

/// Parses a whole number in any notation: `300.0` is one in JSON.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else {
        return Ok(None);
    };
    let rounded = || {
        let float = number.as_f64().filter(|f| f.fract() == 0.0)?;
        // Up to this value, 2^53, every whole number is exact in an `f64`.
        (float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    };
    match number.as_i64().or_else(rounded) {
        Some(whole) => Ok(Some(whole)),
        // A whole number that is out of the range of every field.
        None if number.as_f64().is_some_and(|f| f.fract() == 0.0) => Ok(Some(i64::MAX)),
        None => Err(D::Error::custom("expected a whole number")),
    }
}

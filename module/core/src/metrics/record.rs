//! What a request adds to the metrics.

use openai_wire::Tokens;
use openai_wire::usage::Source;

use super::day::Day;
use super::http::Http;

/// Outcome of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's response was delivered, with a status below 400.
    #[default]
    Success,
    /// The upstream responded with 4xx other than 429.
    ClientError,
    /// The upstream responded with 429.
    RateLimited,
    /// The upstream responded with 5xx, or not at all.
    UpstreamError,
    /// The upstream's response broke off.
    Incomplete,
    /// The client left before the end.
    Aborted,
    /// No key was free within the wait.
    NoKey,
    /// No key could be leased: no quorum, or no usable key.
    Unavailable,
    /// The lease was lost during the request.
    LeaseLost,
    /// The gateway rejected the request: no token, invalid JSON, or quota used up.
    Refused,
}

/// All outcomes, in the order of their numbers.
pub const OUTCOMES: [Outcome; 10] = [
    Outcome::Success,
    Outcome::ClientError,
    Outcome::RateLimited,
    Outcome::UpstreamError,
    Outcome::Incomplete,
    Outcome::Aborted,
    Outcome::NoKey,
    Outcome::Unavailable,
    Outcome::LeaseLost,
    Outcome::Refused,
];

impl Outcome {
    /// Whether the request failed for a reason other than its client.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Success | Self::ClientError | Self::Aborted | Self::Refused => false,
            Self::RateLimited
            | Self::UpstreamError
            | Self::Incomplete
            | Self::NoKey
            | Self::Unavailable
            | Self::LeaseLost => true,
        }
    }

    /// The name in labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::RateLimited => "rate_limited",
            Self::UpstreamError => "upstream_error",
            Self::Incomplete => "incomplete",
            Self::Aborted => "aborted",
            Self::NoKey => "no_key",
            Self::Unavailable => "unavailable",
            Self::LeaseLost => "lease_lost",
            Self::Refused => "refused",
        }
    }
}

/// An ended request.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its HTTP properties, if it was a client's request.
    pub http: Option<Http>,
    /// The day on which it ended.
    pub day: Day,
    /// When it ended, in milliseconds of the monotonic clock.
    pub ended_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Its pool properties, if it was for a pool.
    pub request: Option<PoolRequest<'a>>,
}

/// A request for a pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolRequest<'a> {
    /// Name of the client; empty without one.
    pub service: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The key; empty when it had none.
    pub key: &'a str,
    /// The model; empty if unknown.
    pub model: &'a str,
    /// Whether the model is in the configuration. If so, it gets its own row even before the
    /// upstream has accepted it.
    pub known_model: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// Number of attempts.
    pub attempts: u32,
    /// Tokens used.
    pub tokens: Tokens,
    /// Source of the token counts.
    pub source: Source,
    /// Cost in units of [`crate::prices`].
    pub cost: Option<u64>,
    /// Waiting time for a lease.
    pub wait_ms: Option<u64>,
    /// How long the lease was held.
    pub hold_ms: Option<u64>,
    /// Time from sending the request to the first token of a stream.
    pub first_token_ms: Option<u64>,
}

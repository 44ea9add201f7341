//! What a request adds to the totals.

use openai_wire::Tokens;
use openai_wire::usage::Source;

use super::day::Day;
use super::http::Http;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's answer went through, with a status below 400.
    Success,
    /// The upstream answered 4xx other than 429.
    ClientError,
    /// The upstream answered 429.
    RateLimited,
    /// The upstream answered 5xx, or not at all.
    UpstreamError,
    /// The upstream's answer broke off.
    Incomplete,
    /// The client left before the end.
    Aborted,
    /// No key was free within the wait.
    NoKey,
    /// No key could be had: no quorum, none in order.
    Unavailable,
    /// The lease was lost while it was sent.
    LeaseLost,
    /// The gateway refused it: no token, not JSON, over quota.
    Refused,
}

/// All of them, in the order of their numbers.
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
    /// Whether it failed, and not by what its client did.
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

    /// Its name in labels and logs.
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

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What it was as an HTTP request, if it was one of a client.
    pub http: Option<Http>,
    /// The day on which it ended.
    pub day: Day,
    /// When it ended, in milliseconds of the monotonic clock.
    pub ended_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What it was for a pool, if it was for one.
    pub request: Option<Request<'a>>,
}

/// A request for a pool.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whose it was; empty without a client.
    pub service: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The key; empty when it had none.
    pub key: &'a str,
    /// What it was for; empty when that is not known.
    pub model: &'a str,
    /// Whether the model may have a row of its own although the upstream has not
    /// accepted it: the configuration knows it.
    pub known_model: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// How often it was sent.
    pub attempts: u32,
    /// What it used.
    pub tokens: Tokens,
    /// Where that is known from.
    pub source: Source,
    /// What it cost, in units of [`crate::prices`].
    pub cost: Option<u64>,
    /// How long it waited for a lease.
    pub wait_ms: Option<u64>,
    /// How long it held one.
    pub hold_ms: Option<u64>,
    /// From when it was sent to the first word of a stream.
    pub first_token_ms: Option<u64>,
}

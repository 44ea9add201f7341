//! Whether a request is retried after an attempt has failed.

use openai_wire::{ApiError, Verdict};

use super::Fault;

/// How an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The fault.
    pub fault: Fault,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the upstream closed a connection that was idle. Such a failure does not count.
    pub stale: bool,
    /// Whether the key is cooling down now.
    pub key_is_cooling: bool,
}

impl Failure {
    /// The failure of an attempt without a response, for which nginx would answer this status.
    /// `reused` is whether its connection had been used before. `None` if the upstream is not the
    /// cause.
    #[must_use]
    pub fn without_response(status: u16, reused: bool) -> Option<Self> {
        let fault = match status {
            502 => Fault::Error,
            504 => Fault::Timeout,
            _ => return None,
        };
        Some(Self {
            fault,
            verdict: Verdict::UpstreamError,
            stale: reused && fault == Fault::Error,
            key_is_cooling: false,
        })
    }

    /// Whether the key is unusable for other requests, too: it is invalid or out of quota, and
    /// cooling down. The attempt then does not count.
    #[must_use]
    pub fn excludes_key(&self) -> bool {
        is_unusable(self.verdict) && self.key_is_cooling
    }

    /// Whether the attempt counts towards the maximum number of attempts.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.stale && !self.excludes_key()
    }

    /// Whether the attempt failed because of the upstream.
    #[must_use]
    pub fn is_upstream_error(&self) -> bool {
        self.verdict == Verdict::UpstreamError && !self.stale
    }
}

/// Whether the key is invalid or out of quota.
fn is_unusable(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::InvalidKey | Verdict::QuotaExceeded)
}

/// Whether an attempt with another key may get a better response.
///
/// It may not if the body of the response shows an error of the client (`by_body`), which is the
/// same with any key. It may not if the response forbids retries (`is_final`), unless the response
/// rejects the key.
#[must_use]
pub fn may_be_retried(status: u16, verdict: Verdict, by_body: bool, is_final: bool) -> bool {
    let of_client = by_body && verdict == Verdict::ClientError;
    status >= 400 && !of_client && (!is_final || is_unusable(verdict))
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt, with the target at this position.
    Again(usize),
    /// The client gets the upstream's response.
    Keep,
    /// The client gets this error.
    Refuse(ApiError),
}

/// Decides what follows a failed attempt.
///
/// `used_up` is whether no other attempt may begin: see
/// [`Retries::are_used_up`](super::Retries::are_used_up). `next` chooses the target of another
/// attempt; it is called only if one may begin.
/// `no_healthy_key` returns the error if the key is not usable and no other attempt may begin.
/// `only_key` is whether the pool has no other key.
///
/// A response that the key is invalid or out of quota is not returned to the client, whose own
/// token is valid. A response that the key is rate limited is returned only if no other attempt may
/// begin or the pool has no other key: other keys may be free sooner.
pub fn after_failure(
    failure: &Failure,
    used_up: bool,
    only_key: bool,
    next: impl FnOnce() -> Result<usize, ApiError>,
    no_healthy_key: impl FnOnce() -> ApiError,
) -> AfterFailure {
    let unusable = is_unusable(failure.verdict);
    if used_up {
        return match unusable {
            true => AfterFailure::Refuse(no_healthy_key()),
            false => AfterFailure::Keep,
        };
    }
    match next() {
        Ok(at) => AfterFailure::Again(at),
        // A rate limit of the only key is an exception: that response states best when the key can
        // be used again.
        Err(refusal) if unusable || (failure.verdict == Verdict::RateLimited && !only_key) => {
            AfterFailure::Refuse(refusal)
        }
        Err(_) => AfterFailure::Keep,
    }
}

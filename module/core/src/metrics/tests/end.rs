//! Outcomes of requests.

use openai_wire::ApiError;

use crate::metrics::{Outcome, RequestEnd};

const ANSWERED: RequestEnd = RequestEnd {
    lease_lost: false,
    refusal: None,
    client_left: false,
    leased: true,
    is_lock: false,
    status: Some(200),
    is_complete: true,
};

#[test]
fn the_response_of_the_upstream_is_the_outcome() {
    let of = |status| Outcome::of(&RequestEnd { status, ..ANSWERED });
    assert_eq!(of(Some(200)), Outcome::Success);
    assert_eq!(of(Some(301)), Outcome::Success);
    assert_eq!(of(Some(400)), Outcome::ClientError);
    assert_eq!(of(Some(429)), Outcome::RateLimited);
    assert_eq!(of(Some(503)), Outcome::UpstreamError);
    assert_eq!(of(None), Outcome::UpstreamError);
    let broken = RequestEnd {
        is_complete: false,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&broken), Outcome::Incomplete);
}

#[test]
fn other_ends_come_before_the_response() {
    let refused = |refusal| {
        Outcome::of(&RequestEnd {
            refusal: Some(refusal),
            client_left: true,
            ..ANSWERED
        })
    };
    let retry_after = 1;
    for error in [
        ApiError::NoKeyAvailable { retry_after },
        ApiError::QueueFull { retry_after },
        ApiError::KeysRateLimited { retry_after },
    ] {
        assert_eq!(refused(error), Outcome::NoKey);
    }
    for error in [
        ApiError::LockUnavailable { retry_after },
        ApiError::NoHealthyKey { retry_after },
        ApiError::UpstreamsOpen { retry_after },
    ] {
        assert_eq!(refused(error), Outcome::Unavailable);
    }
    assert_eq!(refused(ApiError::QuotaPassed), Outcome::Refused);
    let lost = RequestEnd {
        lease_lost: true,
        refusal: Some(ApiError::LeaseLost),
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&lost), Outcome::LeaseLost);
    let left = RequestEnd {
        client_left: true,
        is_complete: false,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&left), Outcome::Aborted);
}

#[test]
fn a_request_without_an_upstream_succeeds_with_a_lock_only() {
    let lock = RequestEnd {
        is_lock: true,
        status: None,
        is_complete: false,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&lock), Outcome::Success);
    let none = RequestEnd {
        leased: false,
        ..lock
    };
    assert_eq!(Outcome::of(&none), Outcome::Refused);
}

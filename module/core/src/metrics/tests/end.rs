//! Outcomes of requests.

use openai_wire::ApiError;

use crate::attempts::AnswerState;
use crate::metrics::{CLIENT_LEFT, Outcome, RequestEnd};

const ANSWERED: RequestEnd = RequestEnd {
    lease_lost: false,
    refusal: None,
    left_queue: false,
    client_gone: false,
    leased: true,
    is_lock: false,
    answer: AnswerState::Complete(200),
    status: 200,
};

#[test]
fn the_response_of_the_upstream_is_the_outcome() {
    let of = |answer| Outcome::of(&RequestEnd { answer, ..ANSWERED });
    assert_eq!(of(AnswerState::Complete(200)), Outcome::Success);
    assert_eq!(of(AnswerState::Joined(301)), Outcome::Success);
    assert_eq!(of(AnswerState::Complete(400)), Outcome::ClientError);
    assert_eq!(of(AnswerState::Complete(429)), Outcome::RateLimited);
    assert_eq!(of(AnswerState::Complete(503)), Outcome::UpstreamError);
    assert_eq!(of(AnswerState::Awaited), Outcome::UpstreamError);
    assert_eq!(of(AnswerState::Sent(200)), Outcome::Incomplete);
    assert_eq!(
        of(AnswerState::Received(429)),
        Outcome::RateLimited,
        "nginx has sent another response instead, which is complete"
    );
}

#[test]
fn a_client_leaves_before_its_response_is_complete() {
    let gone = |answer| {
        Outcome::of(&RequestEnd {
            client_gone: true,
            answer,
            ..ANSWERED
        })
    };
    assert_eq!(gone(AnswerState::Sent(200)), Outcome::Aborted);
    assert_eq!(gone(AnswerState::Drained(200)), Outcome::Aborted);
    assert_eq!(gone(AnswerState::Complete(200)), Outcome::Success);
    assert_eq!(gone(AnswerState::Replaced(Some(200))), Outcome::Success);
    let closed = RequestEnd {
        status: CLIENT_LEFT,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&closed), Outcome::Aborted);
}

#[test]
fn other_ends_come_before_the_response() {
    let refused = |refusal| {
        Outcome::of(&RequestEnd {
            refusal: Some(refusal),
            left_queue: true,
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
        left_queue: true,
        answer: AnswerState::Unsent,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&left), Outcome::Aborted);
}

#[test]
fn a_request_without_an_upstream_succeeds_with_a_lock_only() {
    let lock = RequestEnd {
        is_lock: true,
        answer: AnswerState::Unsent,
        ..ANSWERED
    };
    assert_eq!(Outcome::of(&lock), Outcome::Success);
    let none = RequestEnd {
        leased: false,
        ..lock
    };
    assert_eq!(Outcome::of(&none), Outcome::Refused);
}

use proptest::prelude::*;

use crate::lease::Cause;
use crate::redlock::*;

fn cool_down() -> CoolDown {
    CoolDown {
        cause: Cause::InvalidKey,
        failures: 3,
        left_ms: 60_000,
    }
}

fn names() -> PoolNames {
    PoolNames::new("", "main").unwrap()
}

fn record(index: i64, text: &str, left: i64) -> Value {
    Value::Array(vec![
        Value::Int(index),
        Value::Bytes(text.into()),
        Value::Int(left),
    ])
}

#[test]
fn what_is_told_is_what_was_noted() {
    let call = cool_down().note("k-1", &names());
    let message = call.args.last().unwrap();
    assert_eq!(
        CoolDown::of_message(message.as_bytes()),
        Some(("k-1", cool_down()))
    );
    let answer = Value::Array(vec![record(1, &call.args[0], 59_000)]);
    let left = CoolDown {
        left_ms: 59_000,
        ..cool_down()
    };
    assert_eq!(CoolDown::recalled(&answer, 2), [(1, left)]);
}

#[test]
fn what_nobody_of_us_wrote_is_passed_over() {
    for message in [
        &b""[..],
        b"k-1",
        b"k-1 invalid_key",
        b"k-1 invalid_key 3",
        b"k-1 invalid_key 3 x",
        b"k-1 invalid_key -3 60000",
        b"k-1 configured_limit 3 60000",
        b"k-1 asleep 3 60000",
        b"k:1 invalid_key 3 60000",
        b" invalid_key 3 60000",
        b"k-1 invalid_key 3 99999999999999999999999",
        b"\xff invalid_key 3 60000",
    ] {
        assert_eq!(CoolDown::of_message(message), None, "{message:?}");
    }
    let answer = Value::Array(vec![
        record(0, "invalid_key", 1),
        record(1, "invalid_key 3", -1),
        record(2, "rate_limited 1", 7),
    ]);
    let known = CoolDown::recalled(&answer, 3);
    assert_eq!(known.len(), 1, "one without an end is none");
    assert_eq!((known[0].0, known[0].1.cause), (2, Cause::RateLimited));
    let beyond = Value::Array(vec![record(3, "rate_limited 1", 7)]);
    assert_eq!(CoolDown::recalled(&beyond, 3), []);
    assert_eq!(CoolDown::recalled(&Value::Nil, 3), []);
}

proptest! {
    #[test]
    fn no_message_is_too_strange(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some((key, _)) = CoolDown::of_message(&message) {
            prop_assert!(Slot::new(key, 0).is_ok());
        }
    }
}

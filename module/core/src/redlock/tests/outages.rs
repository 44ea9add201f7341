use proptest::prelude::*;

use crate::lease::Cause;
use crate::redlock::*;

fn outage() -> Outage {
    Outage {
        cause: Cause::Revoked,
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
    let call = outage().note("k-1", &names());
    let message = call.args.last().unwrap();
    assert_eq!(Outage::told(message.as_bytes()), Some(("k-1", outage())));
    let answer = Value::Array(vec![record(1, &call.args[0], 59_000)]);
    let left = Outage {
        left_ms: 59_000,
        ..outage()
    };
    assert_eq!(Outage::recalled(&answer, 2), [(1, left)]);
}

#[test]
fn what_nobody_of_us_wrote_is_passed_over() {
    for message in [
        &b""[..],
        b"k-1",
        b"k-1 revoked",
        b"k-1 revoked 3",
        b"k-1 revoked 3 x",
        b"k-1 revoked -3 60000",
        b"k-1 stated 3 60000",
        b"k-1 asleep 3 60000",
        b"k:1 revoked 3 60000",
        b" revoked 3 60000",
        b"k-1 revoked 3 99999999999999999999999",
        b"\xff revoked 3 60000",
    ] {
        assert_eq!(Outage::told(message), None, "{message:?}");
    }
    let answer = Value::Array(vec![
        record(0, "revoked", 1),
        record(1, "revoked 3", -1),
        record(2, "rate 1", 7),
    ]);
    let known = Outage::recalled(&answer, 3);
    assert_eq!(known.len(), 1, "one without an end is none");
    assert_eq!((known[0].0, known[0].1.cause), (2, Cause::Rate));
    let beyond = Value::Array(vec![record(3, "rate 1", 7)]);
    assert_eq!(Outage::recalled(&beyond, 3), []);
    assert_eq!(Outage::recalled(&Value::Nil, 3), []);
}

proptest! {
    #[test]
    fn no_message_is_too_strange(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some((key, _)) = Outage::told(&message) {
            prop_assert!(Slot::new(key, 0).is_ok());
        }
    }
}

use proptest::prelude::*;

use crate::redlock::reply::{self, Ballot, Held, Refusal, RefusalCause, Released, Renewed};
use crate::redlock::*;

fn candidates(count: u32) -> Candidates {
    let slots = (0..count).map(|n| Slot::new("k", n).unwrap()).collect();
    Candidates::in_order(slots).unwrap()
}

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.into())
}

#[test]
fn votes_on_a_proposal() {
    let two = candidates(2);
    let granted = ints(&[1, 1, 8_299_999_999_999]);
    assert_eq!(reply::acquire(&granted, &two), Ok(Ballot::Granted(1)));
    assert_eq!(reply::granted_at(&granted), Some(1_700_000_000_000));
    let refused = |cause, wait, fence: &str, free: &[i64]| {
        let mut values = vec![
            Value::Int(0),
            Value::Int(cause),
            Value::Int(wait),
            text(fence),
        ];
        values.extend(free.iter().map(|&index| Value::Int(index)));
        reply::acquire(&Value::Array(values), &two)
    };
    let refusal = Refusal {
        cause: RefusalCause::Fence,
        wait_ms: None,
        fence: Fence::new(12).unwrap(),
        free: [0, 1].into_iter().collect(),
    };
    assert_eq!(refused(1, -1, "12", &[0, 1]), Ok(Ballot::Refused(refusal)));
    let busy = Refusal {
        cause: RefusalCause::Busy,
        wait_ms: Some(40),
        fence: Fence::default(),
        free: SlotSet::default(),
    };
    assert_eq!(
        refused(0, 40, "99999999999999999", &[]),
        Ok(Ballot::Refused(busy))
    );
    for garbage in [
        refused(3, 0, "0", &[]),
        refused(0, 0, "0", &[2]),
        refused(0, 0, "0", &[-1]),
    ] {
        assert_eq!(garbage, Err(ErrorKind::Garbage));
    }
    for garbage in [
        &[][..],
        &[1],
        &[1, 2],
        &[1, -1],
        &[2, 0],
        &[1, 2, 0],
        &[1, 0, 0, 0],
        &[0, 0, 0],
    ] {
        assert_eq!(
            reply::acquire(&ints(garbage), &two),
            Err(ErrorKind::Garbage)
        );
    }
    let error = Value::Error(ErrorKind::Loading);
    assert_eq!(reply::acquire(&error, &two), Err(ErrorKind::Loading));
    assert_eq!(reply::acquire(&Value::Nil, &two), Err(ErrorKind::Garbage));
}

#[test]
fn votes_on_a_renewal() {
    use Renewed::{Failed, Prolonged, Restored, Superseded, Taken};
    let all = vec![Prolonged, Restored, Taken, Superseded, Failed];
    assert_eq!(reply::renew(&ints(&[1, 2, 0, -1, -2]), 5), Ok(all));
    assert_eq!(
        reply::renew(&ints(&[1, 2]), 3),
        Err(ErrorKind::Garbage),
        "one is missing"
    );
    assert_eq!(reply::renew(&ints(&[3]), 1), Err(ErrorKind::Garbage));
}

#[test]
fn the_other_answers() {
    let released = |count, next| reply::release(&Value::Array(vec![Value::Int(count), text(next)]));
    let of = |count, next| Ok(Released { count, next });
    assert_eq!(released(1, ""), of(1, None));
    assert_eq!(released(2, "h:1"), of(2, Some("h:1".into())));
    assert_eq!(released(-1, ""), Err(ErrorKind::Garbage));
    assert_eq!(reply::release(&Value::Int(1)), Err(ErrorKind::Garbage));
    assert_eq!(reply::enqueue(&Value::Int(4)), Ok(4));
    let row = |index, left| {
        let row = [Value::Int(index), text("n\n7"), Value::Int(left)];
        Value::Array(vec![Value::Array(row.into())])
    };
    let held = Held {
        index: 1,
        left_ms: None,
        meta: "n\n7".into(),
    };
    assert_eq!(reply::list(&row(1, -1), 2), Ok(vec![held]));
    assert_eq!(reply::list(&row(2, -1), 2), Err(ErrorKind::Garbage));
}

#[test]
fn errors_by_their_text() {
    let kinds = [
        (
            "-READONLY You can't write against a read only replica.",
            ErrorKind::ReadOnly,
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            ErrorKind::Loading,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            ErrorKind::OutOfMemory,
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots",
            ErrorKind::Misconfigured,
        ),
        ("BUSY Redis is busy running a script.", ErrorKind::Busy),
        ("NOSCRIPT No matching script.", ErrorKind::NoScript),
        ("NOAUTH Authentication required.", ErrorKind::Denied),
        (
            "WRONGPASS invalid username-password pair",
            ErrorKind::Denied,
        ),
        (
            "NOPERM this user has no permissions",
            ErrorKind::NoPermission,
        ),
        (
            "ERR Protocol error: unauthenticated multibulk length",
            ErrorKind::Denied,
        ),
        ("MASTERDOWN Link with MASTER is down", ErrorKind::MasterDown),
        (
            "NOREPLICAS Not enough good replicas to write.",
            ErrorKind::NoReplicas,
        ),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            ErrorKind::WrongType,
        ),
        ("ERR unknown command", ErrorKind::Other),
        ("BUSYGROUP", ErrorKind::Other),
        ("", ErrorKind::Other),
    ];
    for (message, kind) in kinds {
        assert_eq!(ErrorKind::classify(message), kind, "{message}");
        let may = matches!(kind, ErrorKind::Other | ErrorKind::WrongType);
        assert_eq!(kind.may_have_run(), may, "{message}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        (-3i64..20).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        "[0-9a-z]{0,4}".prop_map(|text| Value::Bytes(text.into())),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        Just(Value::Error(ErrorKind::Other)),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(Value::Array)
    })
}

proptest! {
    #[test]
    fn no_answer_leads_outside_of_what_was_asked(value in any_value(), count in 1u32..=16) {
        let asked = count as usize;
        match reply::acquire(&value, &candidates(count)) {
            Ok(Ballot::Granted(index)) => prop_assert!(index < asked),
            Ok(Ballot::Refused(refusal)) => {
                prop_assert!(refusal.free.iter().all(|index| index < asked));
            }
            Err(_) => {}
        }
        if let Ok(votes) = reply::renew(&value, asked) {
            prop_assert_eq!(votes.len(), asked);
        }
        for held in reply::list(&value, asked).unwrap_or_default() {
            prop_assert!(held.index < asked);
        }
    }
}

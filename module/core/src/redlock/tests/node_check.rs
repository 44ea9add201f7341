use crate::redlock::*;

fn errors(kind: ErrorKind) -> Value {
    let error = || Value::Error(kind);
    Value::Array(vec![error(), error(), Value::Nil, Value::Array(vec![])])
}

fn well() -> Value {
    Value::Array(vec![
        Value::Nil,
        Value::Int(0),
        Value::Bytes(b"0".to_vec()),
        Value::Int(8_299_999_999_999),
        Value::Error(ErrorKind::NoScript),
    ])
}

/// Runs one check and returns the change.
fn tried(check: &mut NodeCheck, reply: &Value, now: u64) -> Option<NodeCheckChange> {
    assert!(check.is_due(now));
    assert!(!check.is_due(now + 100_000), "one at a time");
    check.answered(reply, now)
}

#[test]
fn a_change_is_told_once() {
    let mut check = NodeCheck::default();
    let refuses = |kind| Some(NodeCheckChange::Failing(kind));
    assert_eq!(tried(&mut check, &well(), 0), None);
    let oom = errors(ErrorKind::OutOfMemory);
    assert_eq!(
        tried(&mut check, &oom, 5_000),
        refuses(ErrorKind::OutOfMemory)
    );
    assert_eq!(check.refuses(), Some(ErrorKind::OutOfMemory));
    assert_eq!(tried(&mut check, &oom, 5_500), None);
    let denied = errors(ErrorKind::NoPermission);
    assert_eq!(
        tried(&mut check, &denied, 6_000),
        refuses(ErrorKind::NoPermission)
    );
    assert_eq!(
        tried(&mut check, &well(), 6_500),
        Some(NodeCheckChange::Recovered)
    );
    assert_eq!(check.refuses(), None);
}

#[test]
fn it_is_rare_while_all_is_well_and_soon_after_an_error() {
    let mut check = NodeCheck::default();
    tried(&mut check, &well(), 0);
    assert!(!check.is_due(4_999));
    check.check_soon();
    assert!(!check.is_due(99), "not for every error");
    tried(&mut check, &errors(ErrorKind::ReadOnly), 100);
    assert!(!check.is_due(199));
    check.check_soon();
    tried(&mut check, &well(), 200);
    assert!(!check.is_due(5_199));
}

#[test]
fn it_shows_the_time_of_the_node() {
    assert_eq!(NodeCheck::time(&well()), Some(1_700_000_000_000));
    let nil = |_| Value::Nil;
    // The guard of the first pool is not open.
    let mut parts: Vec<_> = (0..3).map(nil).collect();
    parts.push(Value::Int(-1));
    let Value::Array(second) = well() else {
        panic!()
    };
    parts.extend(second);
    assert_eq!(
        NodeCheck::time(&Value::Array(parts)),
        Some(1_700_000_000_000)
    );
    assert_eq!(
        NodeCheck::time(&errors(ErrorKind::ReadOnly)),
        None,
        "nothing is known"
    );
}

/// The commands of a check use keys of the pool, the script call uses none.
#[test]
fn a_trial_touches_the_keys_of_its_pool() {
    let names = PoolNames::new("p:", "main").unwrap();
    for words in NodeCheck::commands(&names) {
        assert!(words[1].starts_with("p:{main}:"), "{words:?}");
    }
    assert!(NodeCheck::call(&names).keys.is_empty());
}

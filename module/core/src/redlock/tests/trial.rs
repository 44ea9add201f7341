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
        Value::Error(ErrorKind::NoScript),
    ])
}

/// Tries the node once; what is news of it.
fn tried(trial: &mut Trial, reply: &Value, now: u64) -> Option<TrialNews> {
    assert!(trial.is_due(now));
    assert!(!trial.is_due(now + 100_000), "one at a time");
    trial.answered(reply, now)
}

#[test]
fn a_change_is_told_once() {
    let mut trial = Trial::default();
    let refuses = |kind| Some(TrialNews::Refuses(kind));
    assert_eq!(tried(&mut trial, &well(), 0), None);
    let oom = errors(ErrorKind::OutOfMemory);
    assert_eq!(
        tried(&mut trial, &oom, 5_000),
        refuses(ErrorKind::OutOfMemory)
    );
    assert_eq!(trial.refuses(), Some(ErrorKind::OutOfMemory));
    assert_eq!(tried(&mut trial, &oom, 5_500), None);
    let denied = errors(ErrorKind::NoPermission);
    assert_eq!(
        tried(&mut trial, &denied, 6_000),
        refuses(ErrorKind::NoPermission)
    );
    assert_eq!(tried(&mut trial, &well(), 6_500), Some(TrialNews::Obeys));
    assert_eq!(trial.refuses(), None);
}

#[test]
fn it_is_rare_while_all_is_well_and_soon_after_an_error() {
    let mut trial = Trial::default();
    tried(&mut trial, &well(), 0);
    assert!(!trial.is_due(4_999));
    trial.hurry();
    assert!(!trial.is_due(99), "not for every error");
    tried(&mut trial, &errors(ErrorKind::ReadOnly), 100);
    assert!(!trial.is_due(199));
    trial.hurry();
    tried(&mut trial, &well(), 200);
    assert!(!trial.is_due(5_199));
}

/// As many as the connection is told to wait for.
#[test]
fn a_trial_touches_the_keys_of_its_pool() {
    let names = PoolNames::new("p:", "main").unwrap();
    for words in Trial::commands(&names) {
        assert!(words[1].starts_with("p:{main}:"), "{words:?}");
    }
    assert!(Trial::call(&names).keys.is_empty());
}

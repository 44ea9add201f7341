use super::*;

#[test]
fn the_same_fault_of_an_upstream_is_met_twice() {
    let mut errors = UpstreamErrors::default();
    assert!(!errors.note(0, Fault::Status(500)));
    assert!(!errors.note(0, Fault::Status(503)), "another fault");
    assert!(!errors.note(1, Fault::Status(500)), "another upstream");
    assert!(errors.note(0, Fault::Status(503)));
    assert!(!errors.note(0, Fault::Timeout));
    assert!(!errors.note(0, Fault::Error));
    assert!(errors.note(0, Fault::Timeout));
    errors.clear();
    assert!(!errors.note(0, Fault::Status(500)));
}

#[test]
fn the_bound_of_a_pause_doubles() {
    let mut errors = UpstreamErrors::default();
    let longest = |errors: &UpstreamErrors| {
        let pauses = (0..20_000).map(|random| errors.pause_ms(3, u64::MAX, random));
        pauses.max().unwrap()
    };
    assert_eq!(longest(&errors), 0, "nothing has failed");
    errors.note(4, Fault::Error);
    assert_eq!(longest(&errors), 0, "another upstream");
    for bound in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        errors.note(3, Fault::Error);
        assert_eq!(longest(&errors), bound);
        assert_eq!(errors.pause_ms(3, u64::MAX, 0), 0, "full jitter");
    }
    for _ in 0..100 {
        errors.note(3, Fault::Error);
    }
    assert_eq!(longest(&errors), 5_000);
}

#[test]
fn a_pause_ends_within_the_time_limit() {
    let mut errors = UpstreamErrors::default();
    errors.note(0, Fault::Timeout);
    for left_ms in [0, 1, 2, 50] {
        for random in 0..500 {
            let pause = errors.pause_ms(0, left_ms, random);
            assert!(pause < left_ms.max(1), "{pause} of {left_ms}");
        }
    }
}

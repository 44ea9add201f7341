use super::bed::Bed;
use crate::circuit::*;

/// The default settings, with the share of failures as the only limit.
fn settings() -> CircuitSettings {
    CircuitSettings {
        failures: 0,
        ..CircuitSettings::default()
    }
}

#[test]
fn it_opens_at_its_share_of_errors_and_not_before_its_number_of_requests() {
    let mut bed = Bed::new(&settings());
    assert_eq!(bed.send(19, CircuitOutcome::Failure), None);
    assert_eq!(bed.state(), CircuitState::Closed);
    let opened = bed.send(1, CircuitOutcome::Failure);
    let Some(CircuitChange::Opened {
        until_ms,
        all: 20,
        failed: 20,
        consecutive: 20,
    }) = opened
    else {
        panic!("{opened:?}");
    };
    assert_eq!(until_ms, bed.now + 5_000);
    assert_eq!(bed.admit(), None);

    let mut bed = Bed::new(&settings());
    assert_eq!(bed.send(51, CircuitOutcome::Success), None);
    assert_eq!(bed.send(50, CircuitOutcome::Failure), None, "49.5 %");
    assert!(bed.send(1, CircuitOutcome::Failure).is_some(), "50 %");
}

#[test]
fn what_nobody_can_tell_counts_for_nothing() {
    let mut bed = Bed::new(&settings());
    bed.send(100, CircuitOutcome::Unknown);
    assert_eq!(bed.circuit.status(bed.now).all, 0);
}

#[test]
fn errors_are_forgotten_when_the_window_has_passed_them() {
    let mut bed = Bed::new(&settings());
    bed.send(19, CircuitOutcome::Failure);
    bed.now += 8_999;
    assert_eq!(bed.circuit.status(bed.now).failed, 19);
    bed.now += 1_001;
    assert_eq!(bed.circuit.status(bed.now).failed, 0);
    assert_eq!(bed.send(19, CircuitOutcome::Failure), None);
}

#[test]
fn a_process_whose_clock_is_a_little_behind_clears_nothing() {
    let mut bed = Bed::new(&settings());
    bed.send(10, CircuitOutcome::Failure);
    bed.now -= 1;
    assert_eq!(bed.send(9, CircuitOutcome::Failure), None);
    assert_eq!(bed.circuit.status(bed.now).failed, 19);
    bed.now += 1;
    assert!(bed.send(1, CircuitOutcome::Failure).is_some());
}

#[test]
fn one_probe_goes_and_its_success_closes_the_circuit() {
    let mut bed = Bed::new(&settings());
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 4_999;
    assert_eq!(bed.admit(), None);
    assert_eq!(bed.state(), CircuitState::Open);
    bed.now += 1;
    assert_eq!(bed.state(), CircuitState::HalfOpen);
    let probe = bed.admit().unwrap();
    assert!(probe.probe);
    assert_eq!(bed.admit(), None, "one at a time");
    bed.now += 70;
    let closed = bed.report(probe, CircuitOutcome::Success);
    assert_eq!(closed, Some(CircuitChange::Closed { after_ms: 5_070 }));
    assert!(!bed.admit().unwrap().probe);
    assert_eq!(
        bed.send(19, CircuitOutcome::Failure),
        None,
        "it begins anew"
    );
}

#[test]
fn as_many_successes_close_it_as_probes_may_go() {
    let mut bed = Bed::new(&CircuitSettings {
        probes: 3,
        ..settings()
    });
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 5_000;
    let probes: Vec<_> = std::iter::from_fn(|| bed.admit()).collect();
    assert_eq!(probes.len(), 3);
    assert_eq!(bed.report(probes[0], CircuitOutcome::Success), None);
    let fourth = bed.admit().expect("a place became free");
    assert_eq!(bed.report(probes[1], CircuitOutcome::Success), None);
    assert!(bed.report(probes[2], CircuitOutcome::Success).is_some());
    assert_eq!(
        bed.report(fourth, CircuitOutcome::Failure),
        None,
        "of another state"
    );
    assert_eq!(bed.state(), CircuitState::Closed);
}

#[test]
fn each_probe_that_fails_doubles_the_time_up_to_a_bound() {
    let mut bed = Bed::new(&settings());
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 5_000;
    for expected in [10_000, 20_000, 40_000, 60_000, 60_000] {
        let probe = bed.admit().unwrap();
        let Some(CircuitChange::Opened { until_ms, .. }) =
            bed.report(probe, CircuitOutcome::Failure)
        else {
            panic!("it must open");
        };
        assert_eq!(until_ms - bed.now, expected);
        bed.now = until_ms;
    }
    let probe = bed.admit().unwrap();
    bed.report(probe, CircuitOutcome::Success);
    bed.send(19, CircuitOutcome::Failure);
    bed.random = u64::MAX;
    let Some(CircuitChange::Opened { until_ms, .. }) = bed.send(1, CircuitOutcome::Failure) else {
        panic!("it must open");
    };
    let (least, most) = (5_000, 6_250);
    assert!((least..=most).contains(&(until_ms - bed.now)), "anew");
}

#[test]
fn a_probe_that_told_nothing_makes_room_for_another() {
    let mut bed = Bed::new(&settings());
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 5_000;
    let probe = bed.admit().unwrap();
    assert_eq!(bed.report(probe, CircuitOutcome::Unknown), None);
    assert!(bed.admit().unwrap().probe);
}

#[test]
fn a_probe_that_is_never_heard_of_is_given_up() {
    let mut bed = Bed::new(&settings());
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 5_000;
    let lost = bed.admit().unwrap();
    bed.now += 59_999;
    assert_eq!(bed.admit(), None);
    bed.now += 1;
    let next = bed.admit().unwrap();
    assert_eq!(bed.admit(), None);
    assert!(
        bed.report(lost, CircuitOutcome::Success).is_some(),
        "it counts"
    );
    assert_eq!(bed.report(next, CircuitOutcome::Failure), None);
}

#[test]
fn what_was_sent_before_it_opened_tells_nothing_afterwards() {
    let mut bed = Bed::new(&settings());
    let early: Vec<_> = (0..40).map(|_| bed.admit().unwrap()).collect();
    bed.send(20, CircuitOutcome::Failure);
    let until = bed.circuit.closed_to_all(bed.now);
    for &permit in &early[..20] {
        assert_eq!(bed.report(permit, CircuitOutcome::Failure), None);
    }
    assert_eq!(bed.circuit.closed_to_all(bed.now), until);
    bed.now += 5_000;
    let probe = bed.admit().unwrap();
    assert_eq!(
        bed.report(early[20], CircuitOutcome::Success),
        None,
        "it is no probe"
    );
    assert_eq!(bed.report(early[21], CircuitOutcome::Failure), None);
    assert_eq!(bed.state(), CircuitState::HalfOpen);
    bed.report(probe, CircuitOutcome::Success);
    for &permit in &early[22..] {
        assert_eq!(bed.report(permit, CircuitOutcome::Failure), None);
    }
    assert_eq!(bed.circuit.status(bed.now).all, 0);
}

#[test]
fn a_circuit_that_is_turned_off_lets_everything_through() {
    let mut bed = Bed::new(&settings());
    bed.send(20, CircuitOutcome::Failure);
    let off = CircuitSettings {
        errors: Share(0),
        ..settings()
    };
    bed.circuit.set(&off, bed.now);
    assert_eq!(bed.send(1_000, CircuitOutcome::Failure), None);
    let status = bed.circuit.status(bed.now);
    assert_eq!(
        (status.state, status.share()),
        (CircuitState::Closed, Share(10_000))
    );
}

#[test]
fn a_reload_goes_on_with_the_circuit_and_judges_by_its_own_settings() {
    let mut bed = Bed::new(&settings());
    bed.send(10, CircuitOutcome::Failure);
    let stricter = CircuitSettings {
        requests: 11,
        ..settings()
    };
    bed.circuit.set(&stricter, bed.now);
    assert!(bed.send(1, CircuitOutcome::Failure).is_some());
    let shorter = CircuitSettings {
        open_max_ms: 1_000,
        ..settings()
    };
    bed.circuit.set(&shorter, bed.now);
    assert!(
        bed.admit().is_some(),
        "it would not be open for so long now"
    );
}

#[test]
fn a_probe_aside_closes_it_at_once_or_keeps_it_open() {
    let mut bed = Bed::new(&settings());
    assert_eq!(bed.circuit.probed_aside(false, bed.now, 0), None);
    assert_eq!(bed.state(), CircuitState::Closed, "requests say enough");
    bed.send(20, CircuitOutcome::Failure);
    bed.now += 4_000;
    assert_eq!(bed.circuit.probed_aside(false, bed.now, 0), None);
    assert_eq!(bed.circuit.closed_to_all(bed.now), Some(bed.now + 10_000));
    bed.now += 1_000;
    let closed = bed.circuit.probed_aside(true, bed.now, 0);
    assert_eq!(closed, Some(CircuitChange::Closed { after_ms: 5_000 }));
    assert!(!bed.admit().unwrap().probe);
}

#[test]
fn one_process_probes_in_every_interval() {
    let mut bed = Bed::new(&settings());
    let claim = |bed: &mut Bed| bed.circuit.claim_probe(1_000, bed.now);
    assert!(claim(&mut bed));
    bed.now += 2;
    assert!(!claim(&mut bed));
    bed.now -= 3;
    assert!(!claim(&mut bed), "its clock is a little behind");
    bed.now += 900;
    assert!(claim(&mut bed));
}

/// Asserts that the circuit opened after that many consecutive failures, regardless of the window's
/// contents.
#[track_caller]
fn assert_opened(change: Option<CircuitChange>, consecutive: u32) {
    let Some(CircuitChange::Opened {
        consecutive: reached,
        ..
    }) = change
    else {
        panic!("{change:?}");
    };
    assert_eq!(reached, consecutive);
}

#[test]
fn so_many_failures_in_a_row_open_it_however_rare_they_are() {
    let mut bed = Bed::new(&CircuitSettings::default());
    for _ in 0..4 {
        assert_eq!(bed.send(1, CircuitOutcome::Failure), None);
        bed.now += 3_600_000;
    }
    bed.send(1, CircuitOutcome::Success);
    assert_eq!(bed.send(4, CircuitOutcome::Failure), None, "it begins anew");
    bed.send(3, CircuitOutcome::Unknown);
    assert_opened(bed.send(1, CircuitOutcome::Failure), 5);
    assert_eq!(bed.state(), CircuitState::Open);
    bed.now += 5_000;
    assert_eq!(
        bed.send(1, CircuitOutcome::Success).map(|_| bed.state()),
        Some(CircuitState::Closed)
    );
    assert_eq!(
        bed.send(4, CircuitOutcome::Failure),
        None,
        "those before are over"
    );
}

/// A request that no upstream can serve is retried by the gateway and by its client.
#[test]
fn one_request_counts_once() {
    let mut bed = Bed::new(&CircuitSettings::default());
    for _ in 0..4 {
        assert_eq!(bed.send(1, CircuitOutcome::Failure), None);
        assert_eq!(bed.send(3, CircuitOutcome::RepeatedFailure), None);
    }
    let status = bed.circuit.status(bed.now);
    assert_eq!((status.failed, status.recent.failed), (4, 16));
    assert_opened(bed.send(1, CircuitOutcome::Failure), 5);
}

#[test]
fn a_number_in_a_row_opens_it_where_no_share_does() {
    let row = |failures| CircuitSettings {
        errors: Share(0),
        failures,
        ..settings()
    };
    let mut bed = Bed::new(&row(2));
    assert_opened(bed.send(2, CircuitOutcome::Failure), 2);
    bed.circuit.set(&row(0), bed.now);
    assert_eq!(
        bed.send(100, CircuitOutcome::Failure),
        None,
        "it is turned off"
    );
}

#[test]
fn the_last_minute_is_known_in_every_phase() {
    let mut bed = Bed::new(&CircuitSettings::default());
    let recent = |bed: &Bed| {
        let Counts { all, failed } = bed.circuit.status(bed.now).recent;
        (all, failed)
    };
    let early = bed.admit().unwrap();
    bed.send(3, CircuitOutcome::Success);
    bed.send(5, CircuitOutcome::Failure);
    assert_eq!((bed.state(), recent(&bed)), (CircuitState::Open, (8, 5)));
    bed.report(early, CircuitOutcome::Failure);
    assert_eq!(
        recent(&bed),
        (9, 6),
        "of an earlier state, but of this minute"
    );
    bed.now += 5_000;
    bed.send(1, CircuitOutcome::Success);
    assert_eq!((bed.state(), recent(&bed)), (CircuitState::Closed, (10, 6)));
    bed.now += 60_000;
    assert_eq!(recent(&bed), (0, 0));
}

#[test]
fn only_errors_of_the_upstream_are_failures() {
    use openai_wire::Verdict;
    for verdict in Verdict::ALL {
        let outcomes = [false, true].map(|again| CircuitOutcome::of(verdict, again));
        let wanted = match verdict {
            Verdict::UpstreamError => [CircuitOutcome::Failure, CircuitOutcome::RepeatedFailure],
            _ => [CircuitOutcome::Success; 2],
        };
        assert_eq!(outcomes, wanted);
    }
}

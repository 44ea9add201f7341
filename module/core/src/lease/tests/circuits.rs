use super::bed::{Bed, pool};
use crate::circuit::*;
use crate::lease::*;

fn bed() -> Bed {
    Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin))
}

fn enter(bed: &mut Bed, upstream: &str) -> Option<CircuitId> {
    let now = bed.clock();
    bed.zone()
        .circuit(upstream, &CircuitSettings::default(), now)
}

fn reload(bed: &mut Bed) {
    bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
}

/// Sends failing requests until the circuit is open; returns when probes may begin.
fn break_it(bed: &mut Bed, id: CircuitId) -> u64 {
    let now = bed.clock();
    let mut zone = bed.zone();
    for _ in 0..5 {
        let Admission::Permitted(permit) = zone.admit(id, now) else {
            panic!("it is open already");
        };
        zone.outcome(permit, CircuitOutcome::Failure, now, 0);
    }
    zone.circuit_open(id, now).expect("it must be open")
}

#[test]
fn a_circuit_outlives_a_reload_and_a_crash() {
    let mut bed = bed();
    let one = enter(&mut bed, "one").unwrap();
    let until = break_it(&mut bed, one);
    reload(&mut bed);
    assert_eq!(enter(&mut bed, "one"), Some(one));
    let two = enter(&mut bed, "two").unwrap();
    let now = bed.clock();
    bed.zone().recover(now);
    assert_eq!(bed.zone().circuit_open(one, now), Some(until));
    assert_eq!(bed.zone().circuit_open(two, now), None);
    let status = bed.zone().circuit_status(one, now).unwrap();
    assert_eq!(status.state, CircuitState::Open);
}

#[test]
fn places_are_taken_over_from_upstreams_that_are_out_of_use() {
    let mut bed = bed();
    let name = |n: usize| format!("upstream-{n}");
    let first: Vec<_> = (0..MAX_CIRCUITS)
        .map(|n| enter(&mut bed, &name(n)).unwrap())
        .collect();
    assert_eq!(enter(&mut bed, "one too many"), None);
    reload(&mut bed);
    for (n, &id) in first.iter().enumerate().skip(1) {
        assert_eq!(enter(&mut bed, &name(n)), Some(id));
    }
    let other = enter(&mut bed, "other").unwrap();
    break_it(&mut bed, other);
    // An old worker still uses the id of upstream-0, which is no longer configured.
    let now = bed.clock();
    let mut zone = bed.zone();
    assert_eq!(zone.circuit_open(first[0], now), None);
    let Admission::Permitted(permit) = zone.admit(first[0], now) else {
        panic!("it is not the other's");
    };
    assert_eq!(zone.outcome(permit, CircuitOutcome::Success, now, 0), None);
    assert_eq!(zone.circuit_status(first[0], now), None);
    assert!(zone.circuit_open(other, now).is_some());
}

use proptest::prelude::*;

use crate::redlock::*;

const SECOND: u64 = 1_000_000;
/// 1 %.
const DRIFT: Drift = Drift {
    ppm: 10_000,
    margin_ms: 2,
};
/// The node's time at 0 of the client's clock, in milliseconds.
const WALL: u64 = 1_700_000_000_000;

fn clock() -> NodeClock {
    NodeClock::new(DRIFT, 1_000)
}

#[test]
fn the_expiry_of_an_open_guard_shows_the_time() {
    assert_eq!(node_time((GUARD_EXPIRY_MS - WALL) as i64), Some(WALL));
    for none in [-2, -1, 0, i64::MAX] {
        assert_eq!(node_time(none), None);
    }
}

#[test]
fn a_step_forward_is_reported_once() {
    let mut clock = clock();
    assert_eq!(clock.read(WALL, 0, 200), None, "nothing to compare with");
    let step = clock.read(WALL + 1_000 + 3_600_000, SECOND, SECOND + 200);
    // 10 ms are the drift in one second, 1 ms is the resolution.
    assert_eq!(step, Some(3_600_000 - 10 - 2));
    assert_eq!(
        clock.read(WALL + 3_602_000, 2 * SECOND, 2 * SECOND + 200),
        None
    );
}

#[test]
fn a_step_within_a_quarter_of_the_allowance_is_tolerated() {
    // The allowance is 302 ms.
    let mut clock = NodeClock::new(DRIFT, 30_000);
    clock.read(WALL, 0, 0);
    assert_eq!(clock.read(WALL + 1_000 + 75 + 10, SECOND, SECOND), None);
    let mut clock = NodeClock::new(DRIFT, 30_000);
    clock.read(WALL, 0, 0);
    let step = clock.read(WALL + 1_000 + 75 + 12, SECOND, SECOND);
    assert!(
        step.is_some(),
        "75 ms, 10 ms of drift, and 1 ms of resolution"
    );
}

#[test]
fn a_small_step_a_slow_reply_and_a_step_back_are_not_reported() {
    let mut clock = clock();
    clock.read(WALL, 0, 200);
    assert_eq!(clock.read(WALL + 10 + 5, 10_000, 10_200), None);
    // The reply was read late: the node may have answered at once.
    assert_eq!(clock.read(WALL + 20, 20_000, 5 * SECOND), None);
    // And so may the next one, after the first was sent.
    assert_eq!(clock.read(WALL + 5_050, 5 * SECOND, 5 * SECOND + 200), None);
    assert_eq!(clock.read(WALL, 6 * SECOND, 6 * SECOND + 200), None);
    let step = clock.read(WALL + 7_000, 7 * SECOND, 7 * SECOND + 200);
    assert!(step.is_some_and(|by_ms| by_ms > 5_900), "{step:?}");
}

proptest! {
    /// Replies with any delays show no step of a clock that has none, and show each large one.
    #[test]
    fn steps_are_told_apart_from_delays(
        readings in prop::collection::vec((1..5 * SECOND, 0..SECOND, 0..SECOND), 1..40),
        ppm in -5_000i64..5_000,
        (at, by_ms) in (0usize..40, 3_000u64..10_000_000),
    ) {
        let mut clock = clock();
        let (mut now, mut step) = (0, 0);
        for (number, (pause, there, back)) in readings.into_iter().enumerate() {
            let sent = now + pause;
            let read = sent + there;
            let is_step = number == at && number > 0;
            step += if is_step { by_ms } else { 0 };
            let wall_us = read as i64 + read as i64 * ppm / 1_000_000;
            let shown = WALL + wall_us as u64 / 1_000 + step;
            now = read + back;
            prop_assert_eq!(clock.read(shown, sent, now).is_some(), is_step);
        }
    }
}

//! The circuit against a model that keeps plain lists, in simulated time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::bed::Bed;
use crate::circuit::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Send,
    /// One of the requests under way ends.
    End(usize, CircuitOutcome),
    /// Several requests are sent and end at once.
    Burst(u32, CircuitOutcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = || {
        prop_oneof![
            4 => Just(CircuitOutcome::Failure),
            3 => Just(CircuitOutcome::Success),
            1 => Just(CircuitOutcome::RepeatedFailure),
            1 => Just(CircuitOutcome::Unknown),
        ]
    };
    let step = prop_oneof![
        3 => prop_oneof![0u64..300, 0u64..3_000, 0u64..70_000].prop_map(Step::Pass),
        4 => Just(Step::Send),
        4 => (any::<usize>(), outcome()).prop_map(|(at, outcome)| Step::End(at, outcome)),
        2 => (1u32..12, outcome()).prop_map(|(times, outcome)| Step::Burst(times, outcome)),
    ];
    proptest::collection::vec(step, 1..150)
}

fn settings() -> impl Strategy<Value = CircuitSettings> {
    let failures = prop_oneof![Just(0), 1u32..8];
    let numbers = (1u32..=100, 1u32..15, 100u32..20_000, 1u32..8_000, 1u32..4);
    (numbers, failures).prop_map(
        |((percent, requests, window_ms, open_ms, probes), failures)| CircuitSettings {
            errors: Share(percent * 100),
            failures,
            requests,
            window_ms: window_ms / 10 * 10,
            open_ms,
            open_max_ms: open_ms * 5,
            probes,
        },
    )
}

enum State {
    /// Results by tenth of a window, and all results since the circuit closed.
    Closed(Vec<(u64, bool)>, Vec<bool>),
    Open {
        until: u64,
    },
    HalfOpen {
        /// Numbers of the probes under way, and when they are given up together.
        probes: BTreeSet<usize>,
        lost_at: u64,
        succeeded: u32,
    },
}

struct Model {
    settings: CircuitSettings,
    state: State,
    trips: u32,
    /// Number of the current state; each state change increases it.
    phases: usize,
}

impl Model {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.phases += 1;
    }

    /// Whether a request is permitted; if so, it becomes number `number`.
    fn send(&mut self, number: usize, now: u64) -> bool {
        if matches!(self.state, State::Open { until } if until <= now) {
            self.enter(State::HalfOpen {
                probes: BTreeSet::new(),
                lost_at: u64::MAX,
                succeeded: 0,
            });
        }
        match &mut self.state {
            State::Closed(..) => true,
            State::Open { .. } => false,
            State::HalfOpen {
                probes, lost_at, ..
            } => {
                if probes.len() >= self.settings.probes as usize {
                    if *lost_at > now {
                        return false;
                    }
                    probes.clear();
                }
                probes.insert(number);
                *lost_at = now + 60_000;
                true
            }
        }
    }

    /// The state change that must follow: `true` for opened, `false` for closed.
    fn end(
        &mut self,
        number: usize,
        state: usize,
        outcome: CircuitOutcome,
        now: u64,
    ) -> Option<bool> {
        if state != self.phases {
            return None;
        }
        match &mut self.state {
            State::Closed(results, requests) => {
                if matches!(
                    outcome,
                    CircuitOutcome::Unknown | CircuitOutcome::RepeatedFailure
                ) {
                    return None;
                }
                let failed = outcome == CircuitOutcome::Failure;
                requests.push(failed);
                let tenth = u64::from(self.settings.window_ms / 10);
                results.push((now / tenth, failed));
                results.retain(|(at, _)| at + 10 > now / tenth);
                let failures = results.iter().filter(|(_, failed)| *failed).count() as u32;
                let Share(limit) = self.settings.errors;
                let row = requests.iter().rev().take_while(|failed| **failed).count();
                let most = match self.settings.failures {
                    0 => u32::MAX,
                    most => most,
                };
                let opens = failed
                    && (row as u32 >= most
                        || results.len() as u32 >= self.settings.requests
                            && failures * 10_000 / results.len() as u32 >= limit);
                if opens {
                    self.trips = 0;
                }
                opens.then_some(true)
            }
            State::HalfOpen {
                probes, succeeded, ..
            } => {
                if !probes.remove(&number) {
                    // A result of a probe that was given up also reduces the number of probes under
                    // way.
                    probes.pop_first();
                }
                match outcome {
                    CircuitOutcome::Unknown => None,
                    CircuitOutcome::Failure | CircuitOutcome::RepeatedFailure => Some(true),
                    CircuitOutcome::Success => {
                        *succeeded += 1;
                        (*succeeded == self.settings.probes).then_some(false)
                    }
                }
            }
            State::Open { .. } => None,
        }
    }

    fn check(&mut self, change: Option<CircuitChange>, expected: Option<bool>, now: u64) {
        match (change, expected) {
            (None, None) => {}
            (Some(CircuitChange::Opened { until_ms, .. }), Some(true)) => {
                let least = u64::from(self.settings.open_ms) << self.trips.min(3);
                let least = least.min(self.settings.open_max_ms.into());
                let length = until_ms - now;
                assert!((least..=least + least / 4).contains(&length), "{length}");
                self.trips += 1;
                self.enter(State::Open { until: until_ms });
            }
            (Some(CircuitChange::Closed { .. }), Some(false)) => {
                self.enter(State::Closed(vec![], vec![]));
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(
        settings in settings(),
        steps in steps(),
        random in any::<u64>(),
    ) {
        let mut bed = Bed::new(&settings);
        bed.random = random;
        let mut model = Model {
            settings,
            state: State::Closed(vec![], vec![]),
            trips: 0,
            phases: 0,
        };
        let mut under_way = vec![];
        let mut sent = 0;
        for step in steps {
            let (times, ends) = match step {
                Step::Pass(ms) => {
                    bed.now += ms;
                    (0, None)
                }
                Step::Send => (1, None),
                Step::Burst(times, outcome) => (times, Some(outcome)),
                Step::End(at, outcome) => {
                    if !under_way.is_empty() {
                        let at = at % under_way.len();
                        let (number, state, permit) = under_way.swap_remove(at);
                        let change = bed.report(permit, outcome);
                        let expected = model.end(number, state, outcome, bed.now);
                        model.check(change, expected, bed.now);
                    }
                    (0, None)
                }
            };
            for _ in 0..times {
                sent += 1;
                let permit = bed.admit();
                prop_assert_eq!(permit.is_some(), model.send(sent, bed.now));
                let Some(permit) = permit else { continue };
                prop_assert_eq!(permit.probe, matches!(model.state, State::HalfOpen { .. }));
                let Some(outcome) = ends else {
                    under_way.push((sent, model.phases, permit));
                    continue;
                };
                let change = bed.report(permit, outcome);
                let expected = model.end(sent, model.phases, outcome, bed.now);
                model.check(change, expected, bed.now);
            }
        }
    }
}

//! The circuit against a model that keeps plain lists, in simulated time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::bed::Bed;
use crate::circuit::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Send,
    /// One of those under way ends.
    End(usize, Outcome),
    /// So many go and end at once.
    Burst(u32, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = || {
        prop_oneof![
            4 => Just(Outcome::Faulty),
            3 => Just(Outcome::Good),
            1 => Just(Outcome::FaultyAgain),
            1 => Just(Outcome::Unknown),
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
    let failures = prop_oneof![Just(None), (1u32..8).prop_map(Some)];
    let numbers = (1u32..=100, 1u32..15, 100u32..20_000, 1u32..8_000, 1u32..4);
    (numbers, failures).prop_map(
        |((percent, requests, window_ms, open_ms, probes), failures)| CircuitSettings {
            errors: Some(Share(percent * 100)),
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
    /// Outcomes by the tenth of a window in which they were told, and all since it closed.
    Closed(Vec<(u64, bool)>, Vec<bool>),
    Open {
        until: u64,
    },
    HalfOpen {
        /// Probes under way by number, and when they are given up together.
        probes: BTreeSet<usize>,
        lost_at: u64,
        succeeded: u32,
    },
}

struct Model {
    settings: CircuitSettings,
    state: State,
    trips: u32,
    /// Each phase has its own.
    phases: usize,
}

impl Model {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.phases += 1;
    }

    /// Whether a request may go; if so, it is number `number`.
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

    /// Whether the circuit must have opened (until about when) or closed by this.
    fn end(&mut self, number: usize, phase: usize, outcome: Outcome, now: u64) -> Option<bool> {
        if phase != self.phases {
            return None;
        }
        match &mut self.state {
            State::Closed(told, requests) => {
                if matches!(outcome, Outcome::Unknown | Outcome::FaultyAgain) {
                    return None;
                }
                let failed = outcome == Outcome::Faulty;
                requests.push(failed);
                let tenth = u64::from(self.settings.window_ms / 10);
                told.push((now / tenth, failed));
                told.retain(|(at, _)| at + 10 > now / tenth);
                let faulty = told.iter().filter(|(_, faulty)| *faulty).count() as u32;
                let Share(limit) = self.settings.errors?;
                let row = requests.iter().rev().take_while(|failed| **failed).count();
                let most = self.settings.failures.unwrap_or(u32::MAX);
                let opens = failed
                    && (row as u32 >= most
                        || told.len() as u32 >= self.settings.requests
                            && faulty * 10_000 / told.len() as u32 >= limit);
                if opens {
                    self.trips = 0;
                }
                opens.then_some(true)
            }
            State::HalfOpen {
                probes, succeeded, ..
            } => {
                if !probes.remove(&number) {
                    // One that was given up: it makes room all the same.
                    probes.pop_first();
                }
                match outcome {
                    Outcome::Unknown => None,
                    Outcome::Faulty | Outcome::FaultyAgain => Some(true),
                    Outcome::Good => {
                        *succeeded += 1;
                        (*succeeded == self.settings.probes).then_some(false)
                    }
                }
            }
            State::Open { .. } => None,
        }
    }

    fn check(&mut self, change: Option<Change>, expected: Option<bool>, now: u64) {
        match (change, expected) {
            (None, None) => {}
            (Some(Change::Opened { until_ms, .. }), Some(true)) => {
                let least = u64::from(self.settings.open_ms) << self.trips.min(3);
                let least = least.min(self.settings.open_max_ms.into());
                let length = until_ms - now;
                assert!((least..=least + least / 4).contains(&length), "{length}");
                self.trips += 1;
                self.enter(State::Open { until: until_ms });
            }
            (Some(Change::Closed { .. }), Some(false)) => {
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
                        let (number, phase, pass) = under_way.swap_remove(at);
                        let change = bed.tell(pass, outcome);
                        let expected = model.end(number, phase, outcome, bed.now);
                        model.check(change, expected, bed.now);
                    }
                    (0, None)
                }
            };
            for _ in 0..times {
                sent += 1;
                let pass = bed.admit();
                prop_assert_eq!(pass.is_some(), model.send(sent, bed.now));
                let Some(pass) = pass else { continue };
                prop_assert_eq!(pass.probe, matches!(model.state, State::HalfOpen { .. }));
                let Some(outcome) = ends else {
                    under_way.push((sent, model.phases, pass));
                    continue;
                };
                let change = bed.tell(pass, outcome);
                let expected = model.end(sent, model.phases, outcome, bed.now);
                model.check(change, expected, bed.now);
            }
        }
    }
}

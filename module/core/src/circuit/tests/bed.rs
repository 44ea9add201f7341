//! A circuit in simulated time.

use crate::circuit::*;

pub(super) const ID: CircuitId = CircuitId { at: 0, serial: 1 };

pub(super) struct Bed {
    pub(super) circuit: Circuit,
    pub(super) now: u64,
    pub(super) random: u64,
}

impl Bed {
    pub(super) fn new(settings: &CircuitSettings) -> Self {
        let mut circuit = Circuit::new("one", 1);
        circuit.set(settings, 0);
        Self {
            circuit,
            now: 1_000_000,
            random: 0,
        }
    }

    pub(super) fn admit(&mut self) -> Option<Permit> {
        match self.circuit.admit(ID, self.now) {
            Admission::Permitted(permit) => Some(permit),
            Admission::Open { until_ms } => {
                assert_eq!(self.circuit.closed_to_all(self.now), Some(until_ms));
                assert!(until_ms > self.now);
                None
            }
        }
    }

    pub(super) fn report(
        &mut self,
        permit: Permit,
        outcome: CircuitOutcome,
    ) -> Option<CircuitChange> {
        self.circuit.note(permit, outcome, self.now, self.random)
    }

    /// Sends some requests one after another, all with the same result.
    pub(super) fn send(&mut self, times: u32, outcome: CircuitOutcome) -> Option<CircuitChange> {
        let mut change = None;
        for _ in 0..times {
            let permit = self.admit().expect("it may go");
            change = change.or(self.report(permit, outcome));
        }
        change
    }

    pub(super) fn state(&self) -> CircuitState {
        self.circuit.status(self.now).state
    }
}

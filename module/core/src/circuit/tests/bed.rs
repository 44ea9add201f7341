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

    pub(super) fn admit(&mut self) -> Option<Pass> {
        match self.circuit.admit(ID, self.now) {
            Admit::Go(pass) => Some(pass),
            Admit::Open { until_ms } => {
                assert_eq!(self.circuit.closed_to_all(self.now), Some(until_ms));
                assert!(until_ms > self.now);
                None
            }
        }
    }

    pub(super) fn tell(&mut self, pass: Pass, outcome: Outcome) -> Option<Change> {
        self.circuit.note(pass, outcome, self.now, self.random)
    }

    /// Sends so many requests, which all end so.
    pub(super) fn send(&mut self, times: u32, outcome: Outcome) -> Option<Change> {
        let mut change = None;
        for _ in 0..times {
            let pass = self.admit().expect("it may go");
            change = change.or(self.tell(pass, outcome));
        }
        change
    }

    pub(super) fn phase(&self) -> Phase {
        self.circuit.status(self.now).phase
    }
}

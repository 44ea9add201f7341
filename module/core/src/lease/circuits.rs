//! The circuits of upstreams, which all workers share.

use crate::circuit::{
    Admission, Circuit, CircuitChange, CircuitId, CircuitOutcome, CircuitSettings, CircuitView,
    Permit,
};

use super::time::Now;
use super::zone::Zone;

impl Zone<'_> {
    /// Registers an upstream of the newest configuration. An existing circuit keeps its state, a
    /// new one is closed. `None` when there are too many upstreams.
    pub fn circuit(
        &mut self,
        upstream: &str,
        settings: &CircuitSettings,
        now: Now,
    ) -> Option<CircuitId> {
        let generation = self.header.generation;
        let known = self.circuits.iter().position(|c| c.is_named(upstream));
        let at = known.or_else(|| self.place_for_circuit())?;
        let circuit = &mut self.circuits[at];
        if known.is_none() {
            let serial = circuit.serial.wrapping_add(1).max(1);
            *circuit = Circuit::new(upstream, serial);
        }
        circuit.generation = generation;
        circuit.set(settings, now.mono_ms);
        Some(CircuitId {
            at: at as u32,
            serial: circuit.serial,
        })
    }

    /// An unused entry, or the one that has been out of use for longest.
    fn place_for_circuit(&self) -> Option<usize> {
        let newest = self.header.generation;
        let places = self.circuits.iter().enumerate();
        let (at, _) = places
            .filter(|(_, c)| c.serial == 0 || c.generation < newest)
            .min_by_key(|(_, c)| (c.serial != 0, c.generation))?;
        Some(at)
    }

    fn circuit_of(&self, id: CircuitId) -> Option<&Circuit> {
        let circuit = self.circuits.get(id.at as usize)?;
        (circuit.serial == id.serial).then_some(circuit)
    }

    pub(super) fn circuit_mut(&mut self, id: CircuitId) -> Option<&mut Circuit> {
        let circuit = self.circuits.get_mut(id.at as usize)?;
        (circuit.serial == id.serial).then_some(circuit)
    }

    /// Gives a permit if a request may be sent to the upstream now.
    pub fn admit(&mut self, id: CircuitId, now: Now) -> Admission {
        match self.circuit_mut(id) {
            Some(circuit) => circuit.admit(id, now.mono_ms),
            // The entry belongs to another upstream. Only workers that are shutting down get
            // here.
            None => Admission::Permitted(Permit::stray(id)),
        }
    }

    /// Time on the monotonic clock before which no request may be sent; `None` if one may be sent
    /// now.
    #[must_use]
    pub fn circuit_open(&self, id: CircuitId, now: Now) -> Option<u64> {
        self.circuit_of(id)?.closed_to_all(now.mono_ms)
    }

    /// Whether the circuit is closed or no longer exists, so that a permit reserves no probe.
    #[must_use]
    pub fn circuit_is_closed(&self, id: CircuitId) -> bool {
        self.circuit_of(id).is_none_or(Circuit::is_closed)
    }

    /// Counts the result of a permitted request. `random` adds jitter to the time of the next
    /// probe.
    pub fn outcome(
        &mut self,
        permit: Permit,
        outcome: CircuitOutcome,
        now: Now,
        random: u64,
    ) -> Option<CircuitChange> {
        let circuit = self.circuit_mut(permit.circuit)?;
        circuit.note(permit, outcome, now.mono_ms, random)
    }

    /// State and counts of the circuit.
    #[must_use]
    pub fn circuit_status(&self, id: CircuitId, now: Now) -> Option<CircuitView> {
        Some(self.circuit_of(id)?.status(now.mono_ms))
    }
}

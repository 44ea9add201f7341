//! The circuits of upstreams, which all workers share.

use crate::circuit::{Admit, Change, Circuit, CircuitId, CircuitSettings, Outcome, Pass, Status};

use super::time::Now;
use super::zone::Zone;

impl Zone<'_> {
    /// Enters an upstream of the newest configuration: its circuit goes on as it stands,
    /// or begins closed. `None` when that configuration has too many.
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

    /// An unused place, or that of the upstream which has been out of use for longest.
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

    fn circuit_mut(&mut self, id: CircuitId) -> Option<&mut Circuit> {
        let circuit = self.circuits.get_mut(id.at as usize)?;
        (circuit.serial == id.serial).then_some(circuit)
    }

    /// Whether a request may go to the upstream now; if so, it counts as sent.
    pub fn admit(&mut self, id: CircuitId, now: Now) -> Admit {
        match self.circuit_mut(id) {
            Some(circuit) => circuit.admit(id, now.mono_ms),
            // Another upstream's by now, which only workers that leave can find.
            None => Admit::Go(Pass::stray(id)),
        }
    }

    /// Until when no request may go to the upstream; `None`: one may now.
    #[must_use]
    pub fn circuit_open(&self, id: CircuitId, now: Now) -> Option<u64> {
        self.circuit_of(id)?.closed_to_all(now.mono_ms)
    }

    /// Whether all requests may go, so that one more reserves nothing.
    #[must_use]
    pub fn circuit_is_closed(&self, id: CircuitId) -> bool {
        self.circuit_of(id).is_none_or(Circuit::is_closed)
    }

    /// Notes what became of a request that was let through. `random` spreads the
    /// probes of many machines.
    pub fn outcome(
        &mut self,
        pass: Pass,
        outcome: Outcome,
        now: Now,
        random: u64,
    ) -> Option<Change> {
        let circuit = self.circuit_mut(pass.circuit)?;
        circuit.note(pass, outcome, now.mono_ms, random)
    }

    /// Whether this process is to probe the upstream now, off the path of requests.
    pub fn claim_probe(&mut self, id: CircuitId, interval_ms: u64, now: Now) -> bool {
        let circuit = self.circuit_mut(id);
        circuit.is_some_and(|circuit| circuit.claim_probe(interval_ms, now.mono_ms))
    }

    /// Notes what such a probe has shown of the upstream.
    pub fn probed_upstream(
        &mut self,
        id: CircuitId,
        good: bool,
        now: Now,
        random: u64,
    ) -> Option<Change> {
        let circuit = self.circuit_mut(id)?;
        circuit.probed_aside(good, now.mono_ms, random)
    }

    /// How the circuit stands.
    #[must_use]
    pub fn circuit_status(&self, id: CircuitId, now: Now) -> Option<Status> {
        Some(self.circuit_of(id)?.status(now.mono_ms))
    }
}

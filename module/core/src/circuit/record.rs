//! A circuit's record in shared memory.

use bytemuck::{Pod, Zeroable};

use super::breaker::CircuitState;
use super::settings::CircuitSettings;
use crate::routes::MAX_UPSTREAM;
use crate::window::Window;

/// Identifies a circuit: an index in the table and a serial number. An id from an older
/// configuration never refers to another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CircuitId {
    pub(crate) at: u32,
    pub(crate) serial: u32,
}

/// The shared-memory record of a circuit.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Circuit {
    name: [u8; MAX_UPSTREAM],
    name_len: u32,
    /// Serial number of the circuit in this table entry; 0 for an unused entry.
    pub(crate) serial: u32,
    /// Newest generation whose configuration contains the upstream.
    pub(crate) generation: u64,

    pub(super) settings: CircuitSettings,

    pub(super) state: u32,
    /// Incremented with each change of the state. Results of requests sent in an earlier state are
    /// ignored.
    pub(super) round: u32,
    /// How often the circuit has opened since it was last closed.
    pub(super) trips: u32,
    /// Probes under way, and successful probes.
    pub(super) probing: u32,
    pub(super) succeeded: u32,
    /// Consecutive failures.
    pub(super) streak: u32,
    spare: u32,
    /// Time of the last periodic probe.
    pub(super) probed_ms: u64,
    /// When the circuit entered its state.
    pub(super) since_ms: u64,
    /// While open: when probes may begin. While half-open: when probes under way are given up.
    pub(super) until_ms: u64,
    pub(super) window: Window,
    /// Results of the last minute, independent of state and settings.
    pub(super) recent: Window,
}

impl Circuit {
    /// A closed circuit.
    pub(crate) fn new(name: &str, serial: u32) -> Self {
        let mut circuit = Self::zeroed();
        let len = name.len().min(MAX_UPSTREAM);
        circuit.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        circuit.name_len = len as u32;
        circuit.serial = serial;
        circuit
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.serial != 0
            && self.name[..(self.name_len as usize).min(MAX_UPSTREAM)] == *name.as_bytes()
    }

    /// Applies the settings of the newest configuration.
    pub(crate) fn set(&mut self, settings: &CircuitSettings, now_ms: u64) {
        if !settings.may_open() {
            self.enter(CircuitState::Closed, now_ms);
        }
        if self.settings.window_ms != settings.window_ms {
            self.window.clear();
        }
        self.settings = *settings;
    }
}

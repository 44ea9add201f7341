//! A circuit as it lies in shared memory.

use bytemuck::{Pod, Zeroable};

use super::breaker::Phase;
use super::settings::{CircuitSettings, Share};
use crate::routes::MAX_UPSTREAM;
use crate::window::Window;

/// A circuit's place in its table, and whose it was: an id from an older
/// configuration never means another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CircuitId {
    pub(crate) at: u32,
    pub(crate) serial: u32,
}

/// The record of a circuit.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Circuit {
    name: [u8; MAX_UPSTREAM],
    name_len: u32,
    /// Which of those that have been in this place; 0: none yet.
    pub(crate) serial: u32,
    /// The newest configuration that knows it.
    pub(crate) generation: u64,

    /// 0 for each: it does not open by these.
    errors: u32,
    failures: u32,
    requests: u32,
    window_ms: u32,
    open_ms: u32,
    open_max_ms: u32,
    probes: u32,

    pub(super) phase: u32,
    /// Changes with each phase: what was sent in an earlier one tells nothing.
    pub(super) round: u32,
    /// How often it has opened in a row.
    pub(super) trips: u32,
    /// Probes under way, and those that succeeded.
    pub(super) probing: u32,
    pub(super) succeeded: u32,
    /// Faulty requests since the last good one.
    pub(super) streak: u32,
    spare: u32,
    /// When it was last probed off the path of requests.
    pub(super) probed_ms: u64,
    /// Since when it is in its phase.
    pub(super) since_ms: u64,
    /// Until when it is open; half-open: until when probes are waited for.
    pub(super) until_ms: u64,
    pub(super) window: Window,
    /// The outcomes of the last minute, whatever its phases and settings were.
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

    /// Takes over what the configuration says by now.
    pub(crate) fn set(&mut self, settings: &CircuitSettings, now_ms: u64) {
        if !settings.may_open() {
            self.enter(Phase::Closed, now_ms);
        }
        if self.window_ms != settings.window_ms {
            self.window.clear();
        }
        self.errors = settings.errors.map_or(0, |Share(share)| share.max(1));
        self.failures = settings.failures.map_or(0, |failures| failures.max(1));
        self.requests = settings.requests;
        self.window_ms = settings.window_ms;
        self.open_ms = settings.open_ms;
        self.open_max_ms = settings.open_max_ms;
        self.probes = settings.probes;
    }

    pub(super) fn settings(&self) -> CircuitSettings {
        CircuitSettings {
            errors: (self.errors > 0).then_some(Share(self.errors)),
            failures: (self.failures > 0).then_some(self.failures),
            requests: self.requests,
            window_ms: self.window_ms,
            open_ms: self.open_ms,
            open_max_ms: self.open_max_ms,
            probes: self.probes.max(1),
        }
    }
}

//! Changes of the zone that wait for this worker's next change, so that a request locks the
//! mutex once less.

use openai_core::circuit::{CircuitOutcome, Permit};
use openai_core::lease::{AttemptReport, Grant, Now, Zone};
use openai_wire::Verdict;

use super::zone::with;
use crate::telemetry::now;

/// A result that does not change the state of a key or a circuit.
pub(super) enum Note {
    /// An attempt that succeeded.
    Success {
        grant: Grant,
        report: AttemptReport,
        permit: Option<Permit>,
        at: Now,
    },
    /// The tokens that a request used.
    Tokens { grant: Grant, used: u64 },
}

impl Note {
    pub(super) fn apply(self, zone: &mut Zone<'_>) {
        match self {
            Self::Success {
                grant,
                report,
                permit,
                at,
            } => {
                if let Some(permit) = permit {
                    zone.outcome(permit, CircuitOutcome::Success, at, 0);
                }
                zone.report(&grant, &report, at);
            }
            Self::Tokens { grant, used } => zone.settle(&grant, used, now()),
        }
    }
}

/// Notes a successful attempt. `false` if its report can change the state of the key or of the
/// circuit: the caller must report it at once.
pub fn success(grant: &Grant, report: &AttemptReport, permit: Option<Permit>) -> bool {
    let is_probe = permit.is_some_and(|permit| permit.probe);
    if report.verdict != Verdict::Ok || grant.can_recover || is_probe {
        return false;
    }
    add(Note::Success {
        grant: *grant,
        report: *report,
        permit,
        at: now(),
    });
    true
}

/// Notes the tokens that a request used. Call it before the lease is released.
pub fn tokens(grant: &Grant, used: u64) {
    add(Note::Tokens {
        grant: *grant,
        used,
    });
}

fn add(note: Note) {
    with(|worker| {
        // If no other change applies the notes, this timer does so at the end of this turn
        // of the event loop.
        worker.noting.soon();
        worker.notes.push(note);
    });
}

/// Applies the notes if no other change has.
pub(super) fn apply() {
    with(|worker| {
        if !worker.notes.is_empty() {
            worker.change(|_| ());
        }
    });
}

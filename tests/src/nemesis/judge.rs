//! What the witness saw, and whether it may be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mock_upstream::{Overlap, Party};

use super::arena::Standstill;
use crate::log_line::LogLine;

/// How long a worker that goes on may take until it has let go of the keys that are others' now.
pub(crate) const CUT_OFF: Duration = Duration::from_millis(500);

/// The overlaps, judged.
#[derive(Debug, Default)]
pub(crate) struct Overlaps {
    /// With a holder whose worker stood still.
    pub(crate) stale: usize,
    /// The longest time from when a worker went on until its stale requests were gone.
    pub(crate) cut_off: Duration,
    /// The others.
    pub(crate) violations: Vec<String>,
}

/// Judges them. A lease lasts at least `valid` from the moment at which its worker is stopped.
pub(crate) fn judge(
    overlaps: &[Overlap],
    standstills: &[Standstill],
    start: Instant,
    valid: Duration,
) -> Overlaps {
    let mut judged = Overlaps::default();
    for overlap in overlaps {
        let ended = overlap.ended.unwrap_or_else(Instant::now);
        // Each party but one must be stale.
        let excuses: Vec<_> = overlap
            .parties
            .iter()
            .filter_map(|party| excuse(standstills, overlap, party, ended, valid))
            .collect();
        if excuses.len() + 1 < overlap.parties.len() {
            judged.violations.push(format!(
                "{} requests at once under key {}, {:.3} s after the start, for {:.1} ms; \
                 {} of them stale",
                overlap.parties.len(),
                overlap.key,
                overlap.began.duration_since(start).as_secs_f64(),
                ended.duration_since(overlap.began).as_secs_f64() * 1e3,
                excuses.len(),
            ));
            continue;
        }
        judged.stale += 1;
        for standstill in excuses {
            let after = ended.saturating_duration_since(standstill.to);
            judged.cut_off = judged.cut_off.max(after);
        }
    }
    judged
}

/// The standstill in which this request, whose worker stood still, and the overlap lay.
fn excuse<'a>(
    standstills: &'a [Standstill],
    overlap: &Overlap,
    party: &Party,
    ended: Instant,
    valid: Duration,
) -> Option<&'a Standstill> {
    let port = party.peer?.port();
    standstills.iter().find(|standstill| {
        standstill.ports.contains(&port)
            && party.since < standstill.to + CUT_OFF
            && overlap.began >= standstill.from + valid
            && ended <= standstill.to + CUT_OFF
    })
}

/// Leases of one slot that have the same fence.
pub(crate) fn same_fences(lines: &[LogLine]) -> usize {
    let mut seen = BTreeSet::new();
    let leases = lines.iter().filter(|line| !line.fence.is_empty());
    leases
        .filter(|line| !seen.insert((&line.key_id, &line.slot, &line.fence)))
        .count()
}

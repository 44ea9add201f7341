//! Keys in use twice, as the witness saw it, and whether a worker that stood still explains it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mock_upstream::{Overlap, Party};

use super::arena::Standstill;

/// How long a worker that goes on may take until it has let go of the keys that are others' now.
const CUT_OFF: Duration = Duration::from_millis(500);
/// A worker may be stopped just before it sends a request: it then sends it when it goes on.
const SENT: Duration = Duration::from_millis(100);

/// The overlaps, judged.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Requests whose worker stood still, and whose key was used by others meanwhile.
    pub(crate) stale: usize,
    /// The longest time from when a worker went on until its stale requests were gone.
    pub(crate) cut_off: Duration,
    /// Overlaps that no standstill explains.
    pub(crate) violations: Vec<String>,
}

/// Judges overlaps. A lease lasts at least `valid` from the moment at which its worker is stopped.
pub(crate) fn judge(
    overlaps: &[Overlap],
    standstills: &[Standstill],
    start: Instant,
    valid: Duration,
) -> Judgement {
    let mut judgement = Judgement::default();
    let mut stale = BTreeSet::new();
    for overlap in overlaps {
        let ended = overlap.ended.unwrap_or_else(Instant::now);
        let excuses = |after: Duration| -> Vec<(&Party, &Standstill)> {
            let excuse = |party| {
                let of = |s: &&Standstill| s.explains(overlap.began, ended, party, valid, after);
                Some((party, standstills.iter().find(of)?))
            };
            overlap.parties.iter().filter_map(excuse).collect()
        };
        // Each party but one must be stale.
        let needed = overlap.parties.len() - 1;
        let mut found = excuses(Duration::ZERO);
        if found.len() < needed {
            found = excuses(SENT);
        }
        if found.len() < needed {
            judgement.violations.push(format!(
                "{} requests at once under key {}, {:.3} s after the start, for {:.1} ms; \
                 {} of them of workers that stood still",
                overlap.parties.len(),
                overlap.key,
                overlap.began.duration_since(start).as_secs_f64(),
                ended.duration_since(overlap.began).as_secs_f64() * 1e3,
                found.len(),
            ));
            continue;
        }
        for (party, standstill) in found {
            stale.insert((party.peer, party.since));
            let after = ended.saturating_duration_since(standstill.to);
            judgement.cut_off = judgement.cut_off.max(after);
        }
    }
    judgement.stale = stale.len();
    judgement
}

impl Standstill {
    /// Whether this request, begun up to `after` the end of the standstill, was its worker's, and
    /// the overlap lay in it.
    fn explains(
        &self,
        began: Instant,
        ended: Instant,
        party: &Party,
        valid: Duration,
        after: Duration,
    ) -> bool {
        party
            .peer
            .is_some_and(|peer| self.ports.contains(&peer.port()))
            && party.since < self.to + after
            && began >= self.from + valid
            && ended <= self.to + CUT_OFF
    }
}

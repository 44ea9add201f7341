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
                 {} of them of workers that stood still ({})",
                overlap.parties.len(),
                overlap.key,
                seconds(start, overlap.began),
                seconds(overlap.began, ended) * 1e3,
                found.len(),
                list(&overlap.parties, start),
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

/// Who was in flight, and since when.
fn list(parties: &[Party], start: Instant) -> String {
    let one = |party: &Party| {
        let worker = party.peer.map_or("?".to_owned(), |p| p.ip().to_string());
        format!("{worker} since {:.3} s", seconds(start, party.since))
    };
    parties.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
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
        party.peer.is_some_and(|peer| peer.ip() == self.address)
            && party.since < self.to + after
            && began >= self.from + valid
            && ended <= self.to + CUT_OFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const STALE: u8 = 1;
    const OTHER: u8 = 2;

    /// The worker with the address `STALE` stood still from 10 s to 12 s.
    fn judged(parties: &[(u8, f64)], began: f64, ended: f64) -> Judgement {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let standstill = Standstill {
            address: [127, 0, 0, STALE].into(),
            from: at(10.0),
            to: at(12.0),
        };
        let party = |&(worker, since)| Party {
            peer: Some(SocketAddr::from(([127, 0, 0, worker], 1_000))),
            since: at(since),
        };
        let overlap = Overlap {
            key: "a".to_owned(),
            began: at(began),
            ended: Some(at(ended)),
            parties: parties.iter().map(party).collect(),
        };
        judge(&[overlap], &[standstill], start, Duration::from_secs(1))
    }

    #[track_caller]
    fn is_violation(parties: &[(u8, f64)], began: f64, ended: f64) {
        let judgement = judged(parties, began, ended);
        assert_eq!((judgement.stale, judgement.violations.len()), (0, 1));
    }

    #[test]
    fn two_requests_of_workers_that_run_are_a_violation() {
        is_violation(&[(OTHER, 9.0), (OTHER + 1, 11.5)], 11.5, 11.6);
    }

    #[test]
    fn one_of_a_worker_that_stood_still_is_stale() {
        let judgement = judged(&[(STALE, 9.9), (OTHER, 11.5)], 11.5, 12.1);
        assert_eq!((judgement.stale, judgement.violations.len()), (1, 0));
        assert_eq!(judgement.cut_off.as_millis().div_ceil(10), 10);
    }

    #[test]
    fn two_others_beside_it_are_a_violation() {
        let parties = [(STALE, 9.9), (OTHER, 11.4), (OTHER + 1, 11.5)];
        is_violation(&parties, 11.5, 11.6);
    }

    #[test]
    fn one_whose_lock_cannot_have_ended_is_a_violation() {
        is_violation(&[(STALE, 9.9), (OTHER, 10.5)], 10.5, 10.6);
    }

    #[test]
    fn one_that_is_not_cut_off_is_a_violation() {
        is_violation(&[(STALE, 9.9), (OTHER, 11.5)], 11.5, 12.6);
    }

    #[test]
    fn one_that_began_after_the_standstill_is_a_violation() {
        is_violation(&[(STALE, 12.2), (OTHER, 12.1)], 12.2, 12.3);
    }
}

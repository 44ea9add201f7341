//! Which upstreams and keys are probed, and when.

use openai_wire::Verdict;

use super::bed::{Bed, pool};
use crate::circuit::*;
use crate::lease::*;

const INTERVAL: u64 = 10_000;
const MINUTE: u64 = 60_000;

struct Upstream {
    bed: Bed,
    worker: WorkerId,
    circuit: CircuitId,
}

/// An upstream, and a pool with this number of keys.
fn upstream(keys: u8) -> Upstream {
    let keys: Vec<_> = (1..=keys).map(|key| (key, 1, 1)).collect();
    let mut bed = Bed::new(&pool("p", &keys, Balance::RoundRobin));
    let (worker, now) = (bed.worker(7), bed.clock());
    let settings = CircuitSettings::default();
    let circuit = bed.zone().circuit("up", &settings, now).unwrap();
    // The first probe is due an interval after the clock of the machine has started.
    bed.now += INTERVAL;
    Upstream {
        bed,
        worker,
        circuit,
    }
}

impl Upstream {
    fn due(&mut self) -> Vec<Probed> {
        let (pool, now) = (self.bed.pool, self.bed.clock());
        let (circuit, worker) = (self.circuit, self.worker);
        let mut zone = self.bed.zone();
        zone.due_probes(circuit, &[pool], worker, INTERVAL, now)
    }

    fn fail(&mut self) {
        let now = self.bed.clock();
        let mut zone = self.bed.zone();
        for _ in 0..5 {
            if let Admission::Permitted(permit) = zone.admit(self.circuit, now) {
                zone.outcome(permit, CircuitOutcome::Failure, now, 0);
            }
        }
    }

    fn probed(&mut self, verdict: Verdict) -> Option<CircuitChange> {
        let now = self.bed.clock();
        let mut zone = self.bed.zone();
        zone.probed_upstream(self.circuit, verdict, now, 0)
    }
}

#[test]
fn an_upstream_is_probed_once_per_interval_unless_its_circuit_is_closed() {
    let mut up = upstream(1);
    assert_eq!(up.due(), [], "closed");
    up.fail();
    assert_eq!(up.due(), [], "the interval is claimed");
    up.bed.now += INTERVAL;
    assert_eq!(up.due(), [Probed::Upstream]);
    assert_eq!(up.due(), [], "another worker");
    up.bed.now += INTERVAL;
    up.worker = {
        let old = up.worker;
        up.bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
        old
    };
    assert_eq!(up.due(), [], "a worker of an older configuration");
    up.worker = up.bed.worker(8);
    assert_eq!(up.due(), [Probed::Upstream]);
}

#[test]
fn a_response_that_rejects_the_key_closes_the_circuit() {
    for verdict in Verdict::ALL {
        let mut up = upstream(1);
        up.fail();
        let closed = verdict != Verdict::UpstreamError;
        assert_eq!(up.probed(verdict).is_some(), closed, "{verdict:?}");
        up.bed.now += INTERVAL;
        assert_eq!(up.due().is_empty(), closed, "{verdict:?}");
    }
}

#[test]
fn a_key_is_probed_shortly_before_its_cool_down_ends() {
    let mut up = upstream(2);
    let lease = up.bed.acquire(up.worker).unwrap();
    up.bed.answer(&lease, Verdict::InvalidKey, &[]);
    assert_eq!(up.due(), [], "too early");
    up.bed.now += MINUTE - 2 * INTERVAL - 1;
    assert_eq!(up.due(), [], "still too early");
    up.bed.now += INTERVAL;
    assert_eq!(up.due(), [Probed::Key(lease.key)]);
    let other = up.bed.acquire(up.worker).unwrap();
    up.bed
        .answer(&other, Verdict::RateLimited, &[("retry-after", "1")]);
    up.bed.now += INTERVAL;
    assert_eq!(
        up.due(),
        [Probed::Key(lease.key)],
        "not the one that is rate limited"
    );
}

#[test]
fn few_keys_are_probed_at_once() {
    let mut up = upstream(20);
    for _ in 0..20 {
        let lease = up.bed.acquire(up.worker).unwrap();
        up.bed.answer(&lease, Verdict::InvalidKey, &[]);
    }
    up.bed.now += MINUTE - INTERVAL;
    assert_eq!(up.due().len(), 16);
}

#[test]
fn an_upstream_is_probed_with_a_key_that_works() {
    let mut up = upstream(3);
    let lease = up.bed.acquire(up.worker).unwrap();
    up.bed.answer(&lease, Verdict::InvalidKey, &[]);
    let (pool, now) = (up.bed.pool, up.bed.clock());
    let keys = up.bed.zone().keys_for_probe(&[pool], now);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[2], lease.key);
}

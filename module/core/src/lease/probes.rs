//! Periodic probes of upstreams and keys, which are independent of client requests.

use openai_wire::Verdict;

use super::policy::Cause;
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone};
use crate::circuit::{CircuitChange, CircuitId, CircuitState};

/// Maximum number of keys that are probed per upstream and interval.
const MAX_KEYS: usize = 16;

/// What a probe tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The upstream, with any key.
    Upstream,
    /// The key with this index.
    Key(u32),
}

impl Zone<'_> {
    /// Claims the probes of an upstream and returns what to probe: the upstream unless its circuit
    /// is closed, and the keys of these pools whose cool-down for `invalid_key` or `quota_exceeded`
    /// ends soon. They are returned to one worker per interval. A worker of an older configuration
    /// never probes: the upstream's address and the keys may have changed since.
    pub fn due_probes(
        &mut self,
        id: CircuitId,
        pools: &[PoolId],
        worker: WorkerId,
        interval_ms: u64,
        now: Now,
    ) -> Vec<Probed> {
        let is_current = self.generation_of(worker).is_some();
        let circuit = self.circuit_mut(id).filter(|_| is_current);
        if !circuit.is_some_and(|circuit| circuit.claim_probe(interval_ms, now.mono_ms)) {
            return vec![];
        }
        let status = self.circuit_status(id, now);
        let is_open = status.is_some_and(|status| status.state != CircuitState::Closed);
        let keys = pools.iter().flat_map(|&pool| self.listing(pool, now));
        let returning = keys.filter(|key| {
            let probed = matches!(key.cause, Some(Cause::QuotaExceeded | Cause::InvalidKey));
            probed && key.left_ms <= 2 * interval_ms
        });
        let returning = returning.map(|key| Probed::Key(key.key)).take(MAX_KEYS);
        let upstream = is_open.then_some(Probed::Upstream);
        upstream.into_iter().chain(returning).collect()
    }

    /// The indexes of the keys of these pools with which an upstream can be probed, the best first:
    /// those that are not cooling down.
    #[must_use]
    pub fn keys_for_probe(&self, pools: &[PoolId], now: Now) -> Vec<u32> {
        let keys = pools.iter().flat_map(|&pool| self.listing(pool, now));
        let mut keys: Vec<_> = keys.collect();
        keys.sort_by_key(|key| key.cause.is_some());
        keys.iter().map(|key| key.key).collect()
    }

    /// Applies the result of a periodic probe of the upstream. `random` adds jitter to the time of
    /// the next probe.
    pub fn probed_upstream(
        &mut self,
        id: CircuitId,
        verdict: Verdict,
        now: Now,
        random: u64,
    ) -> Option<CircuitChange> {
        // Any other verdict is about the key: the upstream has responded.
        let good = verdict != Verdict::UpstreamError;
        self.circuit_mut(id)?
            .probed_aside(good, now.mono_ms, random)
    }
}

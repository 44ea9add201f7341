//! Probes that are not part of requests: of upstreams whose circuit is not closed, and of
//! keys whose cool-down for `invalid_key` or `quota_exceeded` is about to end.
//!
//! In each interval one of the workers probes an upstream: see
//! [`openai_core::lease::Zone::due_probes`].

use std::cell::RefCell;
use std::io::{ErrorKind, Read};
use std::rc::Rc;

use nginx_safe::{Level, Peer, Timer};
use openai_core::circuit::CircuitId;
use openai_core::lease::{KeyChange, PoolId, Probed};
use openai_wire::{Verdict, probe::judge};
use rustc_hash::FxHashMap;
use serde_json::json;
use zeroize::Zeroizing;

use super::keys::KeyTable;
use super::taken_over::{KnownPool, taken_over};
use super::zone::as_worker;
use crate::config::{Main, PoolKey, ProbeSettings};
use crate::pool::{self, circuits, in_zone};
use crate::telemetry::{event, now};

/// Timeout of a probe, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// Maximum size of a probe's response, in bytes.
const MOST_OF_ANSWER: usize = 64 << 10;

/// An upstream to be probed.
struct ProbedUpstream {
    name: String,
    circuit: CircuitId,
    settings: Rc<ProbeSettings>,
    pools: Vec<PoolId>,
    /// Names and keys of these pools.
    keys: Vec<(String, Rc<KeyTable>)>,
    timer: Timer,
}

/// A running probe.
struct Probe {
    upstream: usize,
    probed: Probed,
    peer: Peer,
    request: Zeroizing<Vec<u8>>,
    sent: usize,
    received: Vec<u8>,
    _deadline: Timer,
}

#[derive(Default)]
struct Prober {
    upstreams: Vec<ProbedUpstream>,
    probes: FxHashMap<u64, Probe>,
    last: u64,
}

thread_local! {
    static PROBER: RefCell<Prober> = RefCell::default();
}

/// Starts probing the upstreams that have probes in the configuration.
pub fn start(main: &Main) {
    let Some(known) = taken_over() else {
        return;
    };
    let (upstreams, served) = (main.upstreams.borrow(), main.served.borrow());
    let mut probed = vec![];
    for (at, (upstream, &circuit)) in upstreams.iter().zip(&known.circuits).enumerate() {
        let (Some(settings), Some(circuit)) = (&upstream.probe, circuit) else {
            continue;
        };
        let pools = served.iter().filter(|(upstream, _)| *upstream == at);
        let pools = pools.filter_map(|&(_, pool)| known.pools.get(pool));
        let pools: Vec<_> = pools.collect();
        let mut timer = Timer::new(true, tick, probed.len() as u64);
        timer.start(settings.interval_ms);
        probed.push(ProbedUpstream {
            name: upstream.name.clone(),
            circuit,
            settings: Rc::clone(settings),
            keys: keys(&pools),
            pools: pools.iter().map(|pool| pool.id).collect(),
            timer,
        });
    }
    PROBER.with_borrow_mut(|prober| prober.upstreams = probed);
}

fn keys(pools: &[&KnownPool]) -> Vec<(String, Rc<KeyTable>)> {
    let pools = pools.iter();
    pools
        .map(|pool| (pool.name.clone(), Rc::clone(&pool.keys)))
        .collect()
}

/// Ends all probes when the worker exits.
pub fn stop() {
    PROBER.take();
}

fn tick(at: u64) {
    let at = at as usize;
    let due = PROBER.with_borrow_mut(|prober| {
        let upstream = prober.upstreams.get_mut(at)?;
        upstream.timer.start(upstream.settings.interval_ms);
        Some(upstream.due())
    });
    for probed in due.unwrap_or_default() {
        PROBER.with_borrow_mut(|prober| prober.send(at, probed));
    }
}

impl ProbedUpstream {
    /// What this worker must probe now.
    fn due(&self) -> Vec<Probed> {
        let interval_ms = self.settings.interval_ms;
        let due = as_worker(|zone, id| {
            zone.due_probes(self.circuit, &self.pools, id, interval_ms, now())
        });
        due.unwrap_or_default()
    }

    /// The name of a key's pool, and the key.
    fn key(&self, index: u32) -> Option<(&str, Rc<PoolKey>)> {
        let mut pools = self.keys.iter();
        pools.find_map(|(pool, keys)| Some((pool.as_str(), keys.get(index)?)))
    }

    /// The key for a probe.
    fn key_for(&self, probed: Probed) -> Option<Rc<PoolKey>> {
        let indexes = match probed {
            Probed::Key(index) => vec![index],
            // The key tables may contain removed keys; the zone lists current ones.
            Probed::Upstream => in_zone(|zone| zone.keys_for_probe(&self.pools, now()))?,
        };
        let mut keys = indexes.into_iter().filter_map(|index| self.key(index));
        keys.next().map(|(_, key)| key)
    }
}

impl Prober {
    fn send(&mut self, at: usize, probed: Probed) {
        let Some(upstream) = self.upstreams.get(at) else {
            return;
        };
        let Some(key) = upstream.key_for(probed) else {
            return;
        };
        let settings = &upstream.settings;
        let mut request = Zeroizing::new(Vec::with_capacity(512));
        request.extend_from_slice(settings.head.as_bytes());
        request.extend_from_slice(&key.authorization);
        request.extend_from_slice(b"\r\n\r\n");
        self.last += 1;
        let number = self.last;
        let peer = Peer::connect(&settings.address, settings.tls.as_ref(), on_event, number);
        let Ok(peer) = peer else {
            return upstream.conclude(probed, Verdict::UpstreamError);
        };
        let mut deadline = Timer::new(true, late, number);
        deadline.start(PATIENCE_MS);
        let probe = Probe {
            upstream: at,
            probed,
            peer,
            request,
            sent: 0,
            received: vec![],
            _deadline: deadline,
        };
        self.probes.insert(number, probe);
    }

    fn conclude(&mut self, number: u64, verdict: Verdict) {
        if let Some(probe) = self.probes.remove(&number)
            && let Some(upstream) = self.upstreams.get(probe.upstream)
        {
            upstream.conclude(probe.probed, verdict);
        }
    }
}

/// Handles an event of a probe's connection.
fn on_event(number: u64) {
    PROBER.with_borrow_mut(|prober| {
        let Some(probe) = prober.probes.get_mut(&number) else {
            return;
        };
        if let Some(verdict) = probe.go_on() {
            prober.conclude(number, verdict);
        }
    });
}

fn late(number: u64) {
    PROBER.with_borrow_mut(|prober| prober.conclude(number, Verdict::UpstreamError));
}

impl Probe {
    /// Sends and reads as much as possible. Returns the verdict as soon as it is known.
    fn go_on(&mut self) -> Option<Verdict> {
        match self.peer.connected() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_) => return Some(Verdict::UpstreamError),
        }
        while self.sent < self.request.len() {
            match self.peer.send(&self.request[self.sent..]) {
                Ok(0) => return None,
                Ok(sent) => self.sent += sent,
                Err(_) => return Some(Verdict::UpstreamError),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            let ended = match self.peer.read(&mut buffer) {
                Ok(0) => true,
                Ok(read) => {
                    self.received.extend_from_slice(&buffer[..read]);
                    false
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => true,
            };
            let ended = ended || self.received.len() > MOST_OF_ANSWER;
            let verdict = judge(&self.received, ended);
            if ended || verdict.is_some() {
                return verdict.or(Some(Verdict::UpstreamError));
            }
        }
    }
}

impl ProbedUpstream {
    /// Reports the result of a probe to the zone, and logs a change of state.
    fn conclude(&self, probed: Probed, verdict: Verdict) {
        let Probed::Key(index) = probed else {
            let random = pool::random();
            let change = in_zone(|zone| zone.probed_upstream(self.circuit, verdict, now(), random));
            if let Some(change) = change.flatten() {
                circuits::log_change_of(Some(&self.name), change);
            }
            return;
        };
        let turn = in_zone(|zone| zone.probed_key(index, verdict, now())).flatten();
        let Some((turn, (pool, key))) = turn.zip(self.key(index)) else {
            return;
        };
        let mut fields = json!({ "pool": pool, "key_id": key.id, "probe": true });
        match turn {
            KeyChange::CoolingDown {
                cause,
                until_ms,
                failures,
            } => {
                fields["cause"] = cause.as_str().into();
                fields["for_ms"] = until_ms.saturating_sub(now().mono_ms).into();
                fields["failures"] = failures.into();
                event(Level::Warn, "key_cooling_down", fields);
                crate::pool::locks::announce_cool_down(index, cause, failures, until_ms);
            }
            KeyChange::Recovered => event(Level::Notice, "key_recovered", fields),
        }
    }
}

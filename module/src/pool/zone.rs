//! The shared zone, and a worker's part in it.

use std::cell::RefCell;

use nginx_safe::{ConfResult, Cycle, Level, SharedZone, Timer, Token, ZoneContent};
use openai_core::lease::{ChangeError, Changed, LeaseHandle, PoolConfig, WakeSet, WorkerId, Zone};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;
use slotmap::SlotMap;

use super::leases::{self, LeaseKey};
use super::{key_files, locks, probes, waiters};
use crate::config::Main;
use crate::telemetry::{event, now, snapshot};

/// The longest that waiters of a worker without a channel go unseen.
const UNSIGNALLED_MS: u64 = 100;

pub(super) struct Worker {
    pub(super) shared: SharedZone,
    pub(super) id: WorkerId,
    pub(super) generation: u64,
    pub(super) random: StdRng,
    pub(super) leases: SlotMap<LeaseKey, (LeaseHandle, Token)>,
    pub(super) renewal: Timer,
    pub(super) renewal_ms: u64,
    /// Due when the next lease ends that waiters may be served from.
    pub(super) expiry: Timer,
    pub(super) mail: Timer,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

pub(super) fn with<T>(act: impl FnOnce(&mut Worker) -> T) -> Option<T> {
    WORKER.with_borrow_mut(|worker| worker.as_mut().map(act))
}

/// Changes the zone while holding its mutex, then wakes the workers whose waiters have been
/// served. `None` when there is no zone.
pub fn change<T>(shared: SharedZone, act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
    let (done, wakes) = change_quietly(shared, act)?;
    for worker in wakes.iter() {
        shared.signal(worker.index());
    }
    Some(done)
}

/// As [`change`], and leaves the waking to the caller.
pub fn change_quietly<T>(
    shared: SharedZone,
    act: impl FnOnce(&mut Zone<'_>) -> T,
) -> Option<(T, WakeSet)> {
    shared.with(|bytes, interrupted| {
        let mut zone = Zone::open(bytes).ok()?;
        if interrupted {
            // A process died while it changed the zone.
            zone.recover(now());
        }
        let done = act(&mut zone);
        Some((done, zone.take_wakes()))
    })?
}

/// Takes a place in the zone, if there is a zone: `Some(false)` when it is full.
pub fn enter(main: &Main, cycle: Cycle) -> Option<bool> {
    let (shared, known) = main.shared.zip(main.taken_over())?;
    let (pid, generation) = (nginx_safe::process_id(), known.generation);
    let dead = |pid| !nginx_safe::alive(pid);
    let id = change(shared, |zone| zone.enroll(pid, generation, now(), dead)).flatten();
    let Some(id) = id else {
        return Some(false);
    };
    let shortest = main
        .pools
        .iter()
        .map(|pool| pool.ttl_ms)
        .min()
        .unwrap_or(30_000);
    let mut renewal_ms = shortest / 3;
    let watched = shared
        .channel(id.index())
        .is_some_and(|fd| nginx_safe::watch::<waiters::Mail>(cycle, fd));
    if !watched {
        renewal_ms = renewal_ms.min(UNSIGNALLED_MS);
        let recheck = json!({ "recheck_ms": renewal_ms });
        event(Level::Warn, "worker_without_channel", recheck);
    }
    let mut renewal = Timer::new(true, |_| leases::renew_all(), 0);
    renewal.start(renewal_ms);
    let worker = Worker {
        shared,
        id,
        generation,
        random: StdRng::from_os_rng(),
        leases: SlotMap::with_key(),
        renewal,
        renewal_ms,
        expiry: Timer::new(true, |_| waiters::expire(), 0),
        mail: Timer::new(true, |_| waiters::collect(), 0),
    };
    WORKER.with_borrow_mut(|place| *place = Some(worker));
    locks::start(main);
    probes::start(main);
    key_files::start(main);
    snapshot::start(main);
    Some(true)
}

/// Strikes the worker off; what it still holds is free at once.
pub fn leave_zone() {
    if let Some(worker) = WORKER.take() {
        change(worker.shared, |zone| zone.dismiss(worker.id, now()));
    }
}

/// Chance.
pub fn random() -> u64 {
    with(|worker| worker.random.next_u64()).unwrap_or_default()
}

/// A name for a request that has none.
pub fn request_id() -> Option<String> {
    with(|worker| format!("{:032x}", worker.nonce()))
}

/// Changes the zone as this worker.
pub fn in_zone<T>(act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
    with(|worker| worker.change(act)).flatten()
}

/// Brings keys that have been read anew to the zone.
pub fn change_keys(pools: &[PoolConfig]) -> Option<Result<Changed, ChangeError>> {
    with(|worker| {
        let id = worker.id;
        let changed = worker.change(|zone| zone.change_keys(id, pools, now()))?;
        if let Ok(changed) = &changed {
            worker.generation = changed.accepted.generation;
        }
        Some(changed)
    })
    .flatten()
}

/// The generation of keys that other workers have, and this one has not.
pub fn newer_keys() -> Option<u64> {
    with(|worker| {
        let id = worker.id;
        worker.change(|zone| zone.newer_keys(id)).flatten()
    })
    .flatten()
}

impl Worker {
    pub(super) fn nonce(&mut self) -> u128 {
        (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64())
    }

    /// Changes the zone. Own waiters are seen to later in this turn of the event
    /// loop, without a system call.
    pub(super) fn change<T>(&mut self, act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
        let watched = |zone: &mut Zone<'_>| (act(zone), zone.take_alarm());
        let ((done, alarm), wakes) = change_quietly(self.shared, watched)?;
        if let Some(at) = alarm {
            self.expiry.start(at.saturating_sub(now().mono_ms).max(1));
        }
        for worker in wakes.iter() {
            if worker == self.id {
                self.mail.soon();
            } else {
                self.shared.signal(worker.index());
            }
        }
        Some(done)
    }
}

impl ZoneContent for Main {
    const DIRECTIVE: &'static str = "openai_zone";
    const KIND: usize = 0;

    fn channels(&self) -> usize {
        Main::channels(self)
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let zone = Zone::format(bytes).map_err(|e| misfit(self, &e))?;
        zone.check(&self.for_zone()).map_err(|e| misfit(self, &e))
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let mut zone = Zone::open(bytes).map_err(|e| misfit(self, &e))?;
        if interrupted {
            zone.recover(now());
        }
        zone.check(&self.for_zone()).map_err(|e| misfit(self, &e))
    }
}

fn misfit(main: &Main, error: &dyn std::error::Error) -> String {
    format!("openai_zone \"{}\": {error}", main.zone.name())
}

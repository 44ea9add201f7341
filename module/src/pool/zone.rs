//! The shared zone, and this worker's access to it.

use std::cell::RefCell;

use nginx_safe::{ConfResult, Level, SharedZone, Timer, Token, ZoneContent};
use openai_core::lease::{ChangeError, Changed, LeaseHandle, PoolConfig, WakeSet, WorkerId, Zone};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;
use slotmap::SlotMap;

use super::keys::KeyTable;
use super::leases::{self, LeaseKey};
use super::notes::{self, Note};
use super::taken_over::taken_over;
use super::{key_files, locks, probes, waiters};
use crate::config::{Main, Needs};
use crate::telemetry::{event, now, snapshot};

/// Longest time until a worker without an eventfd notices that its waiters were served, in
/// milliseconds.
const UNSIGNALLED_MS: u64 = 100;

pub(super) struct Worker {
    pub(super) shared: SharedZone,
    pub(super) id: WorkerId,
    pub(super) generation: u64,
    pub(super) random: StdRng,
    pub(super) leases: SlotMap<LeaseKey, (LeaseHandle, Token)>,
    pub(super) renewal: Timer,
    pub(super) renewal_ms: u64,
    /// Due at the next deadline of a slot, while requests wait.
    pub(super) expiry: Timer,
    pub(super) mail: Timer,
    /// Changes that are applied with the next change of the zone, and the timer that
    /// applies them otherwise.
    pub(super) notes: Vec<Note>,
    pub(super) noting: Timer,
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

/// Like [`change`], but the caller must wake the workers.
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

/// Registers this worker in the zone and starts its timers. `None` without a zone;
/// `Some(false)` if the zone has no free worker entry.
pub fn enter(main: &Main) -> Option<bool> {
    let (shared, known) = main.shared.zip(taken_over())?;
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
    if !shared.watch::<waiters::ServedWatcher>(id.index()) {
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
        notes: vec![],
        noting: Timer::new(true, |_| notes::apply(), 0),
    };
    WORKER.with_borrow_mut(|place| *place = Some(worker));
    // Here, since a worker can get its entry later than it starts.
    locks::start(main);
    probes::start(main);
    key_files::start(main);
    snapshot::start(main);
    Some(true)
}

/// Removes this worker from the zone, which releases its leases and queue entries.
pub fn leave_zone() {
    if let Some(mut worker) = WORKER.take() {
        let id = worker.id;
        worker.change(|zone| zone.dismiss(id, now()));
    }
}

/// A random number; 0 if this worker is not in a zone.
pub fn random() -> u64 {
    with(|worker| worker.random.next_u64()).unwrap_or_default()
}

/// A new id for a request, as 32 hexadecimal digits.
pub fn request_id() -> Option<String> {
    with(|worker| format!("{:032x}", worker.nonce()))
}

/// Changes the zone as this worker; `None` if it is not in one.
pub fn in_zone<T>(act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
    as_worker(|zone, _| act(zone))
}

/// Like [`in_zone`], with the id of this worker.
pub(super) fn as_worker<T>(act: impl FnOnce(&mut Zone<'_>, WorkerId) -> T) -> Option<T> {
    with(|worker| {
        let id = worker.id;
        worker.change(|zone| act(zone, id))
    })
    .flatten()
}

/// Passes the pools with newly read keys to the zone.
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

/// Forgets the keys that have no lease and that this worker cannot get.
pub fn forget_keys<'a>(tables: impl Iterator<Item = &'a KeyTable>) {
    as_worker(|zone, id| tables.for_each(|keys| keys.retain(|key| zone.is_in_use(key, id))));
}

/// The newest generation of keys, if other workers have it and this one does not.
pub fn newer_keys() -> Option<u64> {
    as_worker(|zone, id| zone.newer_keys(id)).flatten()
}

impl Worker {
    pub(super) fn nonce(&mut self) -> u128 {
        (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64())
    }

    /// Applies the notes, changes the zone, and wakes the workers whose waiters were
    /// served. This worker serves its own later in this turn of the event loop, without a
    /// system call.
    pub(super) fn change<T>(&mut self, act: impl FnOnce(&mut Zone<'_>) -> T) -> Option<T> {
        let (id, notes) = (self.id, &mut self.notes);
        let watched = |zone: &mut Zone<'_>| {
            zone.act_for(id);
            notes.drain(..).for_each(|note| note.apply(zone));
            (act(zone), zone.take_alarm())
        };
        let ((done, alarm), wakes) = change_quietly(self.shared, watched)?;
        if let Some(at) = alarm {
            self.watch(at);
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

impl Worker {
    /// Starts the timer that serves waiters at a time on the monotonic clock.
    pub(super) fn watch(&mut self, deadline_ms: u64) {
        let left_ms = deadline_ms.saturating_sub(now().mono_ms);
        self.expiry.start(left_ms.max(1));
    }
}

impl ZoneContent for Needs {
    const DIRECTIVE: &'static str = "openai_zone";
    const TAG: [u8; 8] = *b"oalease\x00";

    fn channels(&self) -> usize {
        self.channels
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let zone = Zone::format(bytes).map_err(|e| e.to_string())?;
        self.check(&zone)
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let mut zone = Zone::open(bytes).map_err(|e| e.to_string())?;
        if interrupted {
            zone.recover(now());
        }
        self.check(&zone)
    }
}

impl Needs {
    /// Fails if the zone is too small for the pools.
    fn check(&self, zone: &Zone<'_>) -> ConfResult {
        zone.check(&self.pools).map_err(|e| match &self.at {
            Some(at) => format!("{e} in {at}"),
            None => format!("{e}; set it by \"openai_zone NAME:SIZE;\" in http"),
        })
    }
}

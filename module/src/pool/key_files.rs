//! Key files that change while the worker runs.
//!
//! Each worker checks the files at an interval, reads them again when they have changed,
//! and passes the keys to the zone: see [`openai_core::lease::Zone::change_keys`]. The keys
//! depend on the files alone, so all workers come to the same result. If one file has an
//! error, no key changes.

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use nginx_safe::{Background, ConfResult, Level, Timer, is_first_worker};
use openai_core::echo;
use openai_core::keys::{FileWatch, KeySpec, NextLook};
use openai_core::lease::{ChangeError, PoolConfig};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::json;

use super::keys::KeyTable;
use super::taken_over::taken_over;
use crate::config::{Main, PoolKey, Sources, Stamp, Store};
use crate::pool::{self, locks};
use crate::telemetry::event;

/// Interval for checking whether the background thread has finished reading.
const POLL_MS: u64 = 10;
/// Maximum number of ids in one log event.
const NAMED: usize = 8;

type Stamps = Vec<Option<Stamp>>;

/// Keys read from the files, and the files' stamps before and after reading.
struct Look {
    before: Stamps,
    after: Stamps,
    keys: ConfResult<Vec<Vec<KeySpec>>>,
}

fn look(sources: &Sources) -> Look {
    let before = sources.stamps();
    let keys = sources.read();
    let after = sources.stamps();
    Look {
        before,
        after,
        keys,
    }
}

struct Watched {
    /// Settings passed to the zone; the keys are replaced at every change.
    config: PoolConfig,
    keys: Rc<KeyTable>,
    /// Whether locks on the nodes, which other machines use too, are named by the ids of the keys.
    is_locked: bool,
}

struct Watch {
    sources: Arc<Sources>,
    pools: Vec<Watched>,
    timer: Timer,
    files: FileWatch<Stamps>,
    reading: Option<Background<Look>>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Starts to watch the key files, if the configuration says so.
pub fn start(main: &Main) {
    let Some((sources, interval_ms)) = main.sources.clone().zip(main.key_watch_ms()) else {
        return;
    };
    let Some(known) = taken_over() else {
        return;
    };
    let pools = main.pools.iter().zip(&known.pools);
    let pools = pools.map(|(pool, known)| Watched {
        config: pool.for_zone(),
        keys: Rc::clone(&known.keys),
        is_locked: !matches!(pool.store, Store::Shm),
    });
    let seen = sources.stamps();
    let read = match all_readable(&sources) {
        true => sources.files().map(|(_, read)| read).collect(),
        false => seen.clone(),
    };
    let mut watch = Watch {
        pools: pools.collect(),
        sources,
        timer: Timer::new(true, |_| tick(), 0),
        files: FileWatch::new(interval_ms, read, seen),
        reading: None,
    };
    // The master may have read the files long ago, if this worker replaces one that died.
    let late = watch.files.has_changed() || pool::newer_keys().is_some();
    let next = if late {
        let found = look(&watch.sources);
        watch.take(found)
    } else {
        Some(interval_ms)
    };
    if let Some(ms) = next {
        watch.timer.start(ms);
        WATCH.set(Some(watch));
    }
}

pub fn stop() {
    WATCH.take();
}

/// Reads the files soon, because another worker has brought keys of a newer generation.
pub fn read_soon(generation: u64) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch
            && watch.files.announce(generation)
        {
            watch.timer.start(1);
        }
    });
}

fn all_readable(sources: &Sources) -> bool {
    let mut all = true;
    for (path, _) in sources.files() {
        if let Err(e) = File::open(path)
            && e.kind() == std::io::ErrorKind::PermissionDenied
        {
            all = false;
            if is_first_worker() {
                let fields = json!({
                    "file": path,
                    "error": e.to_string(),
                    "hint": "workers cannot read it: changes take effect at reload only",
                });
                event(Level::Warn, "keys_not_watched", fields);
            }
        }
    }
    all
}

/// Whether this worker has found an error in changed key files.
pub fn are_refused() -> bool {
    WATCH.with_borrow(|watch| watch.as_ref().is_some_and(|watch| watch.files.has_error()))
}

fn tick() {
    WATCH.with_borrow_mut(|place| {
        let next = place.as_mut().and_then(Watch::tick);
        match (place.as_mut(), next) {
            (Some(watch), Some(ms)) => watch.timer.start(ms),
            // A newer configuration is in force: stop watching.
            _ => *place = None,
        }
    });
}

impl Watch {
    /// Milliseconds until the next check; `None` to stop watching.
    fn tick(&mut self) -> Option<u64> {
        let interval_ms = self.files.interval_ms();
        if let Some(reading) = self.reading.take() {
            if !reading.is_over() {
                self.reading = Some(reading);
                return Some(POLL_MS);
            }
            return match reading.result() {
                Some(found) => self.take(found),
                None => Some(interval_ms),
            };
        }
        let is_behind = pool::newer_keys().is_some();
        if let NextLook::Check(ms) = self.files.check(self.sources.stamps(), is_behind) {
            return Some(ms);
        }
        let sources = Arc::clone(&self.sources);
        self.reading = Background::start(move || look(&sources)).ok();
        Some(self.reading.as_ref().map_or(interval_ms, |_| POLL_MS))
    }

    fn take(&mut self, found: Look) -> Option<u64> {
        if let Some(ms) = self.files.finish(&found.before, found.after) {
            return Some(ms);
        }
        let error = match found.keys.and_then(|keys| self.change(keys)) {
            Ok(true) => None,
            Ok(false) => return None,
            Err(error) => Some(error),
        };
        if self.files.note(error.as_deref()) && is_first_worker() {
            let shown = echo::without_secrets(&error.unwrap_or_default());
            let fields = json!({ "error": shown, "hint": "the keys stay as they are" });
            event(Level::Error, "keys_refused", fields);
        }
        Some(self.files.interval_ms())
    }

    /// Replaces the keys; `Ok(false)` if a newer configuration is in force and this worker
    /// must not change keys any more.
    fn change(&mut self, found: Vec<Vec<KeySpec>>) -> ConfResult<bool> {
        pool::forget_keys(self.pools.iter().map(|pool| &*pool.keys));
        let mut fresh = Vec::with_capacity(found.len());
        for (pool, keys) in self.pools.iter().zip(found) {
            fresh.push(pool.adopt(keys)?);
        }
        let configs: Vec<_> = self.pools.iter().zip(&fresh).map(Watched::with).collect();
        let Some(changed) = pool::change_keys(&configs) else {
            // This worker is not in the zone.
            return Ok(true);
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(ChangeError::Superseded) => return Ok(false),
            Err(ChangeError::Misfit(e)) => return Err(format!("openai_zone: {e}")),
            Err(e @ ChangeError::Renamed(_)) => return Err(e.to_string()),
        };
        let indexes: Vec<_> = changed.accepted.pools.iter().map(|(_, k)| &k[..]).collect();
        // The index of a removed key may already belong to a key of another pool.
        let taken: FxHashSet<_> = indexes.iter().copied().flatten().copied().collect();
        for ((pool, fresh), indexes) in self.pools.iter().zip(fresh).zip(indexes) {
            if changed.first {
                pool.log_changes(&fresh);
            }
            pool.keys.retain(|index| !taken.contains(&index));
            pool.keys.replace(fresh, indexes);
        }
        locks::keys_changed(changed.accepted.generation);
        Ok(true)
    }
}

impl Watched {
    /// The keys that were read; unchanged keys keep their existing object.
    ///
    /// A key of a Redlock pool must keep its id until the next reload. The zone checks this for
    /// all workers; here the message can name both ids.
    fn adopt(&self, found: Vec<KeySpec>) -> ConfResult<Vec<Rc<PoolKey>>> {
        let known = self.keys.indexed().into_iter();
        let known: FxHashMap<_, _> = known.map(|(_, key)| (key.fingerprint, key)).collect();
        let says = |e: String| format!("openai_pool \"{}\": key: {e}", self.config.name);
        let keys = found.into_iter().map(|found| {
            let key = PoolKey::new(found);
            let old = known.get(&key.fingerprint);
            if self.is_locked {
                key.slots().map_err(|e| says(e.to_string()))?;
                if let Some(old) = old.filter(|old| old.id != key.id) {
                    return Err(says(format!(
                        "\"{}\" would be \"{}\" now, but other machines know it by its id",
                        old.id, key.id
                    )));
                }
            }
            let same = old.filter(|old| old.is_same(&key)).map(Rc::clone);
            Ok(same.unwrap_or_else(|| Rc::new(key)))
        });
        keys.collect()
    }

    fn with((pool, keys): (&Self, &Vec<Rc<PoolKey>>)) -> PoolConfig {
        let keys = keys.iter().map(|key| key.for_zone(pool.is_locked));
        PoolConfig {
            keys: keys.collect(),
            ..pool.config.clone()
        }
    }

    /// Logs which keys were added, removed and changed.
    fn log_changes(&self, fresh: &[Rc<PoolKey>]) {
        let old = self.keys.newest();
        let [was, is] = [&old[..], fresh].map(|keys| {
            let keys = keys.iter().map(|key| (key.fingerprint, key));
            keys.collect::<FxHashMap<_, _>>()
        });
        let ids = |keys: &[Rc<PoolKey>], which: &dyn Fn(&PoolKey) -> bool| {
            let keys = keys.iter().filter(|key| which(key));
            keys.map(|key| key.id.clone()).collect::<Vec<_>>()
        };
        let added = ids(fresh, &|key| !was.contains_key(&key.fingerprint));
        let removed = ids(&old, &|key| !is.contains_key(&key.fingerprint));
        let changed = ids(fresh, &|key| {
            let old = was.get(&key.fingerprint);
            old.is_some_and(|old| !old.is_same(key))
        });
        if added.is_empty() && removed.is_empty() && changed.is_empty() {
            return;
        }
        let some = |ids: &[String]| json!(ids.iter().take(NAMED).collect::<Vec<_>>());
        let fields = json!({
            "pool": self.config.name,
            "keys": fresh.len(),
            "added": added.len(),
            "added_ids": some(&added),
            "removed": removed.len(),
            "removed_ids": some(&removed),
            "changed": changed.len(),
            "changed_ids": some(&changed),
        });
        event(Level::Notice, "keys_changed", fields);
    }
}

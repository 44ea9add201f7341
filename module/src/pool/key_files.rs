//! Key files that change while the worker runs.
//!
//! Each worker looks at them for itself, reads them anew when they have changed, and
//! brings what it read to the zone: see [`openai_core::lease::Zone::change_keys`]. What
//! it brings depends on the files alone, so that workers come to agree; a mistake in
//! one of them keeps all keys as they are.

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use nginx_safe::{Background, ConfResult, Level, Timer, is_first_worker};
use openai_core::echo;
use openai_core::keys::KeySpec;
use openai_core::lease::{ChangeError, PoolConfig};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::json;

use crate::config::{KeyTable, Main, PoolKey, Sources, Stamp, Store};
use crate::pool::{self, locks};
use crate::telemetry::event;

/// How long files must stay as they are before they are read: whoever writes in place
/// may not have finished.
const SETTLE_MS: u64 = 100;
/// How often to see whether they have been read.
const POLL_MS: u64 = 10;
/// After so many looks at files that could not be taken, they are read again: it may
/// not have been their fault.
const RETRY: u32 = 10;
/// How many ids a line of the log names.
const NAMED: usize = 8;

type Stamps = Vec<Option<Stamp>>;

/// What was found in the files.
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
    /// As the zone is told of it.
    config: PoolConfig,
    keys: Rc<KeyTable>,
    /// Whether ids name locks on other machines.
    is_locked: bool,
}

struct Watch {
    sources: Arc<Sources>,
    pools: Vec<Watched>,
    interval_ms: u64,
    timer: Timer,
    /// What the files were like when they were last read, and when last looked at.
    read: Stamps,
    seen: Stamps,
    reading: Option<Background<Look>>,
    /// What is wrong with them, and how often they have been looked at since.
    mistake: Option<(String, u32)>,
    /// The newest generation that other workers brought.
    newer: u64,
    /// Whether requests may have keys of this worker.
    begun: bool,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Begins to watch, if the configuration says so.
pub fn start(main: &Main) {
    let Some((sources, interval_ms)) = main.sources.clone().zip(main.key_watch_ms()) else {
        return;
    };
    let pools = main.pools.iter().zip(main.for_zone());
    let pools = pools.map(|(pool, config)| Watched {
        config,
        keys: Rc::clone(&pool.keys),
        is_locked: !matches!(pool.store, Store::Shm),
    });
    let readable = all_readable(&sources);
    let mut watch = Watch {
        read: sources.files().map(|(_, read)| read).collect(),
        seen: sources.stamps(),
        pools: pools.collect(),
        sources,
        interval_ms,
        timer: Timer::new(true, |_| tick(), 0),
        reading: None,
        mistake: None,
        newer: 0,
        begun: false,
    };
    if !readable {
        watch.read.clone_from(&watch.seen);
    }
    // The master may have read them long ago: this worker takes the place of another.
    let late = watch.read != watch.seen || pool::newer_keys().is_some();
    let next = if late {
        let found = look(&watch.sources);
        watch.take(found)
    } else {
        Some(interval_ms)
    };
    if let Some(ms) = next {
        watch.begun = true;
        watch.timer.start(ms);
        WATCH.set(Some(watch));
    }
}

pub fn stop() {
    WATCH.take();
}

/// Another worker has found other keys.
pub fn hurry(generation: u64) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch
            && watch.newer < generation
        {
            watch.newer = generation;
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
                    "hint": "workers cannot read it: changed keys are taken by nginx -s reload only",
                });
                event(Level::Warn, "keys_not_watched", fields);
            }
        }
    }
    all
}

fn tick() {
    WATCH.with_borrow_mut(|place| {
        let next = place.as_mut().and_then(Watch::tick);
        match (place.as_mut(), next) {
            (Some(watch), Some(ms)) => watch.timer.start(ms),
            // There is a newer configuration.
            _ => *place = None,
        }
    });
}

impl Watch {
    /// When to look again, if at all.
    fn tick(&mut self) -> Option<u64> {
        if let Some(reading) = self.reading.take() {
            if !reading.is_over() {
                self.reading = Some(reading);
                return Some(POLL_MS);
            }
            return match reading.result() {
                Some(found) => self.take(found),
                None => Some(self.interval_ms),
            };
        }
        let now = self.sources.stamps();
        let behind = pool::newer_keys().is_some();
        let again = self.mistake.as_mut().is_some_and(|(_, looks)| {
            *looks += 1;
            *looks % RETRY == 0
        });
        if now == self.read && !behind && !again {
            self.seen = now;
            return Some(self.interval_ms);
        }
        if now != self.seen && !behind {
            self.seen = now;
            return Some(SETTLE_MS.min(self.interval_ms));
        }
        let sources = Arc::clone(&self.sources);
        match Background::start(move || look(&sources)) {
            Ok(reading) => {
                self.reading = Some(reading);
                Some(POLL_MS)
            }
            Err(_) => Some(self.interval_ms),
        }
    }

    fn take(&mut self, found: Look) -> Option<u64> {
        self.seen = found.after;
        if found.before != self.seen {
            return Some(SETTLE_MS.min(self.interval_ms));
        }
        self.read.clone_from(&self.seen);
        match found.keys.and_then(|keys| self.change(keys)) {
            Ok(true) => self.mistake = None,
            Ok(false) => return None,
            Err(mistake) => self.note(mistake),
        }
        Some(self.interval_ms)
    }

    fn note(&mut self, mistake: String) {
        let known = self.mistake.as_ref().map(|(known, _)| known);
        if known != Some(&mistake) {
            if is_first_worker() {
                let shown = echo::without_secrets(&mistake);
                let fields = json!({ "error": shown, "hint": "the keys stay as they are" });
                event(Level::Error, "keys_refused", fields);
            }
            self.mistake = Some((mistake, 0));
        }
    }

    /// Puts other keys in the place of the old ones; `false` if that is not for this
    /// worker to do any more.
    fn change(&mut self, found: Vec<Vec<KeySpec>>) -> ConfResult<bool> {
        pool::in_zone(|zone| {
            for pool in &self.pools {
                pool.keys.retain(|key| zone.is_in_use(key));
            }
        });
        let mut fresh = Vec::with_capacity(found.len());
        for (pool, keys) in self.pools.iter().zip(found) {
            fresh.push(pool.adopt(keys, self.begun)?);
        }
        let configs: Vec<_> = self.pools.iter().zip(&fresh).map(Watched::with).collect();
        let Some(changed) = pool::change_keys(&configs) else {
            // The worker has no part in the zone.
            return Ok(true);
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(ChangeError::Superseded) => return Ok(false),
            Err(ChangeError::Misfit(e)) => return Err(format!("openai_zone: {e}")),
        };
        let indexes: Vec<_> = changed.accepted.pools.iter().map(|(_, k)| &k[..]).collect();
        // The place in the zone of a key that is gone may be another pool's by now.
        let taken: FxHashSet<_> = indexes.iter().copied().flatten().copied().collect();
        for ((pool, fresh), indexes) in self.pools.iter().zip(fresh).zip(indexes) {
            if changed.first {
                pool.tell(&fresh);
            }
            pool.keys.retain(|index| !taken.contains(&index));
            pool.keys.replace(fresh, indexes);
        }
        locks::keys_changed(changed.accepted.generation);
        Ok(true)
    }
}

impl Watched {
    /// The keys that were found; those that are known already as they are.
    ///
    /// Once it has `begun`, keys whose ids name locks keep their ids.
    fn adopt(&self, found: Vec<KeySpec>, begun: bool) -> ConfResult<Vec<Rc<PoolKey>>> {
        let known = self.keys.indexed().into_iter();
        let known: FxHashMap<_, _> = known.map(|(_, key)| (key.fingerprint, key)).collect();
        let says = |e: String| format!("openai_pool \"{}\": key: {e}", self.config.name);
        let keys = found.into_iter().map(|found| {
            let key = PoolKey::new(found);
            let old = known.get(&key.fingerprint);
            if self.is_locked {
                key.slots().map_err(|e| says(e.to_string()))?;
                if let Some(old) = old.filter(|old| begun && old.id != key.id) {
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
        PoolConfig {
            keys: keys.iter().map(|key| key.for_zone()).collect(),
            ..pool.config.clone()
        }
    }

    /// Says which keys are others.
    fn tell(&self, fresh: &[Rc<PoolKey>]) {
        let old = self.keys.newest();
        let [was, is] = [&old[..], fresh].map(|keys| {
            let keys = keys.iter().map(|key| (key.fingerprint, key));
            keys.collect::<FxHashMap<_, _>>()
        });
        let ids = |keys: &[Rc<PoolKey>], tells: &dyn Fn(&PoolKey) -> bool| {
            let keys = keys.iter().filter(|key| tells(key));
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

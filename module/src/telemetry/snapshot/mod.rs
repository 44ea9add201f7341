//! `openai_stats_file`: totals that outlive nginx.
//!
//! The master reads the file when it starts, the first worker writes it every now and
//! then, in a thread of its own, and the master once more when all workers have ended.

mod file;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use openai_core::metrics::{Board, Day, Extract, Owner, Saved};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use self::file::{Put, StatsFile};
use nginx_safe::{
    Background, Level, SharedZone, Timer, is_first_worker, is_testing, master_id, process_id,
};

use crate::config::{KeptIn, Main};
use crate::telemetry::metrics::change;
use crate::telemetry::{event, now};

/// How often to see whether it is written.
const POLL_MS: u64 = 20;

/// What has come of the work of a thread.
struct Written {
    put: io::Result<Put>,
    leftover: Result<Option<Saved>, ()>,
}

struct Keeper {
    shared: SharedZone,
    file: Arc<StatsFile>,
    path: String,
    interval_ms: u64,
    is_shared: bool,
    timer: Timer,
    /// What had been counted when it was last written.
    progress: Option<u64>,
    writing: Option<(Background<Written>, u64)>,
    /// Whether the log has told that it cannot be written.
    failed: bool,
}

thread_local! {
    static KEEPER: RefCell<Option<Keeper>> = const { RefCell::new(None) };
}

/// A new configuration is about to be used: has its zone begin with what the file holds,
/// if it has not yet.
pub fn claim(main: &Main) {
    let (Some(kept), Some(shared)) = (main.totals.kept.as_ref(), main.totals.shared) else {
        return;
    };
    if is_testing() {
        return;
    }
    let path = openai_core::metrics::hash(&kept.path);
    let mine = change(shared, |board| {
        let identity = board.identity();
        if identity.instance == 0 {
            identity.instance = StdRng::from_os_rng().next_u64();
        }
        *identity
    });
    let Some(mine) = mine.filter(|mine| mine.path != path) else {
        return;
    };
    let owner = Owner {
        instance: mine.instance,
        pid: process_id(),
        ..Owner::default()
    };
    let is_shared = main.shares_totals();
    let mistake = match StatsFile::new(&kept.path).claim(&owner, is_shared) {
        Ok(found) => {
            change(shared, |board| {
                if let Some(saved) = found.saved {
                    if is_shared {
                        *kept.former.borrow_mut() = Some((found.instance, saved.by_day(false)));
                    }
                    take_in(board, saved, is_shared);
                }
                let identity = board.identity();
                identity.path = path;
                if let Some((parent, pid)) = found.parent {
                    (identity.parent, identity.parent_pid) = (parent, pid.into());
                }
            });
            found.rejected.map(|(why, aside)| {
                let aside = aside.display().to_string();
                json!({ "file": kept.path, "error": why, "kept_as": aside,
                        "hint": "totals begin at zero" })
            })
        }
        Err(e) => Some(json!({ "file": kept.path, "error": e.to_string(),
                               "hint": "totals are not kept before the next reload" })),
    };
    // The log of the new configuration is not in use yet.
    change(shared, |board| {
        board.identity().is_rejected = mistake.is_some().into()
    });
    *kept.mistake.borrow_mut() = mistake;
}

/// Adds what a file holds. Other machines know by day what its block has counted, where
/// they tell each other.
fn take_in(board: &mut Board<'_>, saved: Saved, is_shared: bool) {
    let today = Day::of(now().wall_us);
    match is_shared {
        true => board.merge_shared(saved, today),
        false => board.merge(&saved, today),
    }
}

/// A copy of the block, as the next to be written.
fn copy(board: &mut Board<'_>, pid: u32) -> (Owner, Extract) {
    let identity = board.identity();
    identity.turn += 1;
    let owner = Owner {
        instance: identity.instance,
        pid,
        turn: identity.turn,
        parent: identity.parent,
        parent_pid: identity.parent_pid as u32,
        leftover: false,
    };
    (owner, board.extract())
}

/// Begins to write it, in the first worker.
pub fn start(main: &Main) {
    let (Some(kept), Some(shared)) = (main.totals.kept.as_ref(), main.totals.shared) else {
        return;
    };
    if !is_first_worker() {
        return;
    }
    // Not again by who takes the place of a worker.
    let is_news = change(shared, |board| {
        std::mem::take(&mut board.identity().is_rejected)
    });
    if let Some(mistake) = kept.mistake.borrow_mut().take()
        && is_news == Some(1)
    {
        event(Level::Warn, "stats_file_rejected", mistake);
    }
    if !is_taken(shared, &kept.path) {
        return;
    }
    let mut timer = Timer::new(true, |_| tick(), 0);
    timer.start(1);
    KEEPER.set(Some(Keeper {
        shared,
        file: Arc::new(StatsFile::new(&kept.path)),
        path: kept.path.clone(),
        interval_ms: kept.interval_ms,
        is_shared: main.shares_totals(),
        timer,
        progress: None,
        writing: None,
        failed: false,
    }));
}

/// Whether what the file held has been looked at: who writes over it before loses it.
fn is_taken(shared: SharedZone, path: &str) -> bool {
    let path = openai_core::metrics::hash(path);
    change(shared, |board| board.identity().path == path) == Some(true)
}

/// What is being written is written to its end; the rest is the master's.
pub fn stop() {
    if let Some(mut keeper) = KEEPER.take()
        && let Some((writing, _)) = keeper.writing.take()
        && let Some(written) = writing.result()
    {
        keeper.take(written, 0);
    }
}

fn tick() {
    KEEPER.with_borrow_mut(|keeper| {
        if let Some(keeper) = keeper {
            let next = keeper.tick();
            keeper.timer.start(next);
        }
    });
}

impl Keeper {
    /// When to look again.
    fn tick(&mut self) -> u64 {
        if let Some((writing, progress)) = self.writing.take() {
            if !writing.is_over() {
                self.writing = Some((writing, progress));
                return POLL_MS.min(self.interval_ms);
            }
            if let Some(written) = writing.result() {
                self.take(written, progress);
            }
            return self.interval_ms;
        }
        let before = self.progress;
        let taken = change(self.shared, |board| {
            let progress = board.progress();
            let due = before != Some(progress) || board.identity().parent != 0;
            due.then(|| (progress, copy(board, master_id())))
        });
        let Some((progress, (owner, copy))) = taken.flatten() else {
            return self.interval_ms;
        };
        let file = Arc::clone(&self.file);
        let work = move || Written {
            put: file.put(copy.into(), &owner, false),
            leftover: match owner.parent {
                0 => Ok(None),
                parent => file.leftover(parent, owner.parent_pid),
            },
        };
        match Background::start(work) {
            Ok(writing) => {
                self.writing = Some((writing, progress));
                POLL_MS.min(self.interval_ms)
            }
            Err(_) => self.interval_ms,
        }
    }

    fn take(&mut self, written: Written, progress: u64) {
        match written.put {
            Ok(put) => {
                self.failed = false;
                self.progress = Some(progress);
                if let Put::Returned(saved) = put {
                    add(self.shared, saved, self.is_shared);
                }
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tell_failure(&self.path, &e);
                }
            }
        }
        match written.leftover {
            Ok(None) => return,
            Ok(Some(saved)) => add(self.shared, saved, self.is_shared),
            Err(()) => {}
        }
        change(self.shared, |board| {
            let identity = board.identity();
            (identity.parent, identity.parent_pid) = (0, 0);
        });
    }
}

fn add(shared: SharedZone, saved: Saved, is_shared: bool) {
    change(shared, |board| take_in(board, saved, is_shared));
}

fn tell_failure(path: &str, error: &io::Error) {
    let fields = json!({ "file": path, "error": error.to_string() });
    event(Level::Error, "stats_file_failed", fields);
}

/// All workers have ended: what they have counted is written; in the master.
pub fn finish(main: &Main) {
    let (Some(KeptIn { path, .. }), Some(shared)) = (main.totals.kept.as_ref(), main.totals.shared)
    else {
        return;
    };
    if !is_taken(shared, path) {
        return;
    }
    let file = StatsFile::new(path);
    // Once more if another had it, and has ended.
    for _ in 0..2 {
        let Some((owner, copy)) = change(shared, |board| copy(board, process_id())) else {
            return;
        };
        match file.put(copy.into(), &owner, true) {
            Ok(Put::Done | Put::Succeeded) => return,
            Ok(Put::Returned(saved)) => add(shared, saved, main.shares_totals()),
            Err(e) => return tell_failure(path, &e),
        }
    }
}

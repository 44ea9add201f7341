//! `openai_stats_file`: keeps the metrics when nginx restarts.
//!
//! The master reads the file at start. The first worker writes it at an interval, in a
//! background thread. The master writes it once more when all workers have ended.

mod file;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use openai_core::metrics::{ByDay, Day, MetricsZone, Snapshot, SnapshotOwner, UsedRows};
use serde_json::{Value, json};

use self::file::SnapshotFile;
use nginx_safe::{
    Background, Level, SharedZone, Timer, is_first_worker, is_testing, master_id, process_id,
};

use crate::config::{Main, SnapshotSettings};
use crate::telemetry::metrics::change;
use crate::telemetry::{event, now};

/// Interval for checking whether the background thread has finished, in milliseconds.
const POLL_MS: u64 = 20;

/// Result of the background thread.
struct Written {
    /// Progress of the written metrics.
    progress: u64,
    put: io::Result<Option<Snapshot>>,
    leftover: Option<Snapshot>,
}

struct SnapshotWriter {
    shared: SharedZone,
    file: Arc<SnapshotFile>,
    path: String,
    interval_ms: u64,
    is_shared: bool,
    timer: Timer,
    /// Progress of the metrics that were last written.
    progress: Option<u64>,
    writing: Option<Background<Written>>,
    /// Whether a failure to write has been logged.
    failed: bool,
}

/// What claiming the snapshot file found.
#[derive(Default)]
struct Claimed {
    /// Why the file was rejected; logged by the first worker.
    mistake: Option<Value>,
    /// The instance that wrote the file, and what it had counted per day. Set only where
    /// machines share their stats.
    former: Option<(u64, ByDay)>,
}

thread_local! {
    static SNAPSHOT_WRITER: RefCell<Option<SnapshotWriter>> = const { RefCell::new(None) };
    /// Set by the master; each worker has a copy of it.
    static CLAIMED: RefCell<Claimed> = RefCell::default();
}

/// The instance that wrote the snapshot file, and what it had counted per day.
pub(super) fn take_former() -> Option<(u64, ByDay)> {
    CLAIMED.with_borrow_mut(|claimed| claimed.former.take())
}

/// Reads the file into the zone of a configuration that is about to be used, unless that
/// has been done.
pub fn claim(main: &Main) {
    if is_testing() {
        return;
    }
    CLAIMED.take();
    let (Some(kept), Some(shared)) = (main.metrics.snapshot.as_ref(), main.metrics.shared) else {
        return;
    };
    let path = openai_core::metrics::hash(&kept.path);
    let mine = change(shared, |metrics| *metrics.identity());
    let Some(mine) = mine.filter(|mine| mine.path != path) else {
        return;
    };
    let owner = SnapshotOwner {
        instance: mine.instance,
        pid: process_id(),
        ..SnapshotOwner::default()
    };
    let is_shared = main.shares_stats();
    let mut former = None;
    let mistake = match SnapshotFile::new(&kept.path).claim(&owner, is_shared) {
        Ok(found) => {
            if let Some((instance, saved)) = found.saved {
                former = is_shared.then(|| (instance, saved.by_day(false)));
                add(shared, saved, is_shared);
            }
            change(shared, |metrics| {
                let identity = metrics.identity();
                identity.path = path;
                (identity.parent, identity.parent_pid) = (found.parent.0, found.parent.1.into());
            });
            found.rejected.map(|(why, aside)| {
                let aside = aside.display().to_string();
                json!({ "file": kept.path, "error": why, "kept_as": aside,
                        "hint": "metrics and stats start at zero" })
            })
        }
        Err(e) => Some(json!({ "file": kept.path, "error": e.to_string(),
                               "hint": "metrics and stats are not saved until the next reload" })),
    };
    // The log of the new configuration is not in use yet.
    change(shared, |metrics| {
        metrics.identity().is_rejected = mistake.is_some().into()
    });
    CLAIMED.set(Claimed { mistake, former });
}

/// Adds a snapshot. If machines share their stats, its counts per day count as another
/// machine's: other machines know them by the instance of the snapshot.
fn add(shared: SharedZone, saved: Snapshot, is_shared: bool) {
    let today = Day::of(now().wall_us);
    change(shared, |metrics| match is_shared {
        true => metrics.merge_shared(saved, today),
        false => metrics.merge(&saved, today),
    });
}

/// A copy of the metrics for the next write.
fn copy(metrics: &mut MetricsZone<'_>, pid: u32) -> (SnapshotOwner, UsedRows) {
    let identity = metrics.identity();
    identity.turn += 1;
    let owner = SnapshotOwner {
        instance: identity.instance,
        pid,
        turn: identity.turn,
        parent: identity.parent,
        parent_pid: identity.parent_pid as u32,
        leftover: false,
    };
    (owner, metrics.used_rows())
}

/// Starts to write the file, in the first worker.
pub fn start(main: &Main) {
    let (Some(kept), Some(shared)) = (main.metrics.snapshot.as_ref(), main.metrics.shared) else {
        return;
    };
    if !is_first_worker() {
        return;
    }
    // Not again in a worker that replaces one that died.
    let is_rejected = change(shared, |metrics| {
        std::mem::take(&mut metrics.identity().is_rejected)
    });
    if let Some(mistake) = CLAIMED.with_borrow_mut(|claimed| claimed.mistake.take())
        && is_rejected == Some(1)
    {
        event(Level::Warn, "stats_file_rejected", mistake);
    }
    if !is_taken(shared, &kept.path) {
        return;
    }
    let mut timer = Timer::new(true, |_| tick(), 0);
    timer.start(1);
    SNAPSHOT_WRITER.set(Some(SnapshotWriter {
        shared,
        file: Arc::new(SnapshotFile::new(&kept.path)),
        path: kept.path.clone(),
        interval_ms: kept.interval_ms,
        is_shared: main.shares_stats(),
        timer,
        progress: None,
        writing: None,
        failed: false,
    }));
}

/// Whether the file has been read into the zone. Writing it before would lose its content.
fn is_taken(shared: SharedZone, path: &str) -> bool {
    let path = openai_core::metrics::hash(path);
    change(shared, |metrics| metrics.identity().path == path) == Some(true)
}

/// Completes a write in progress; the master makes the last one.
pub fn stop() {
    if let Some(mut writer) = SNAPSHOT_WRITER.take()
        && let Some(writing) = writer.writing.take()
        && let Some(written) = writing.result()
    {
        writer.take(written);
    }
}

fn tick() {
    SNAPSHOT_WRITER.with_borrow_mut(|writer| {
        if let Some(writer) = writer {
            let next = writer.tick();
            writer.timer.start(next);
        }
    });
}

impl SnapshotWriter {
    /// Milliseconds until the next check.
    fn tick(&mut self) -> u64 {
        if let Some(writing) = self.writing.take_if(|writing| writing.is_over()) {
            if let Some(written) = writing.result() {
                self.take(written);
            }
            return self.interval_ms;
        }
        if self.writing.is_none() {
            self.write();
        }
        match self.writing {
            Some(_) => POLL_MS.min(self.interval_ms),
            None => self.interval_ms,
        }
    }

    /// Starts to write the metrics if they have changed.
    fn write(&mut self) {
        let before = self.progress;
        let taken = change(self.shared, |metrics| {
            let progress = metrics.progress();
            let due = before != Some(progress) || metrics.identity().parent != 0;
            due.then(|| (progress, copy(metrics, master_id())))
        });
        let Some((progress, (owner, copy))) = taken.flatten() else {
            return;
        };
        let file = Arc::clone(&self.file);
        let work = move || Written {
            progress,
            put: file.put(copy.into(), &owner, false),
            leftover: match owner.parent {
                0 => None,
                parent => file.leftover(parent, owner.parent_pid),
            },
        };
        self.writing = Background::start(work).ok();
    }

    fn take(&mut self, written: Written) {
        match written.put {
            Ok(returned) => {
                self.failed = false;
                self.progress = Some(written.progress);
                if let Some(saved) = returned {
                    add(self.shared, saved, self.is_shared);
                }
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failed, true) {
                    log_failure(&self.path, &e);
                }
            }
        }
        if let Some(saved) = written.leftover {
            add(self.shared, saved, self.is_shared);
            change(self.shared, |metrics| {
                let identity = metrics.identity();
                (identity.parent, identity.parent_pid) = (0, 0);
            });
        }
    }
}

fn log_failure(path: &str, error: &io::Error) {
    let fields = json!({ "file": path, "error": error.to_string() });
    event(Level::Error, "stats_file_failed", fields);
}

/// Writes the metrics after all workers have ended; in the master.
pub fn finish(main: &Main) {
    let (Some(SnapshotSettings { path, .. }), Some(shared)) =
        (main.metrics.snapshot.as_ref(), main.metrics.shared)
    else {
        return;
    };
    if !is_taken(shared, path) {
        return;
    }
    let file = SnapshotFile::new(path);
    // Twice, if another nginx had taken the file over and has ended.
    for _ in 0..2 {
        let Some((owner, copy)) = change(shared, |metrics| copy(metrics, process_id())) else {
            return;
        };
        match file.put(copy.into(), &owner, true) {
            Ok(None) => return,
            Ok(Some(saved)) => add(shared, saved, main.shares_stats()),
            Err(e) => return log_failure(path, &e),
        }
    }
}

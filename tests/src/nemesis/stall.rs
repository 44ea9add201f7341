//! How long the machine kept the system's processes waiting for a CPU. What is promised rests on
//! their running: a worker that does not is no better than one that was stopped.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::arena::NODE_TIMEOUT;

const PERIOD: Duration = Duration::from_millis(10);
/// Waits add up over so many periods, a node timeout: on a busy machine a process that has to
/// answer in time waits often, and not for long each time.
const PERIODS: usize = (NODE_TIMEOUT.as_millis() / PERIOD.as_millis()) as usize;
/// After so many periods, new processes are looked for.
const LOOK: usize = 10;

#[derive(Default)]
struct Seen {
    longest_ms: AtomicU64,
    over: AtomicBool,
}

/// Watches this process's descendants until it is dropped.
pub(crate) struct Stalls(Arc<Seen>);

impl Stalls {
    pub(crate) fn watch() -> Self {
        let seen = Arc::new(Seen::default());
        let watcher = Arc::clone(&seen);
        thread::spawn(move || watch(&watcher));
        Self(seen)
    }

    /// The longest wait so far, of one process within a node timeout.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_millis(self.0.longest_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

fn watch(seen: &Seen) {
    let mut waits: HashMap<u32, Waits> = HashMap::new();
    let mut own = Waits::default();
    let mut period = 0;
    while !seen.over.load(Ordering::Relaxed) {
        if period % LOOK == 0 {
            let mut found = HashMap::new();
            for pid in descendants(process::id()) {
                let known = waits.remove(&pid);
                found.extend(known.or_else(|| Waits::of(pid)).map(|waits| (pid, waits)));
            }
            waits = found;
        }
        period += 1;
        let before = Instant::now();
        thread::sleep(PERIOD);
        let late = before.elapsed().saturating_sub(PERIOD);
        let mut longest = own.add(late.as_nanos() as u64);
        for (&pid, waits) in &mut waits {
            if let Some(now) = wait_ns(pid) {
                longest = longest.max(waits.add(now.saturating_sub(waits.counted)));
                waits.counted = now;
            }
        }
        seen.longest_ms
            .fetch_max(longest / 1_000_000, Ordering::Relaxed);
    }
}

/// How long a process has waited.
#[derive(Default)]
struct Waits {
    /// So far, in nanoseconds.
    counted: u64,
    /// In the last periods.
    recent: VecDeque<u64>,
}

impl Waits {
    fn of(pid: u32) -> Option<Self> {
        Some(Self {
            counted: wait_ns(pid)?,
            recent: VecDeque::new(),
        })
    }

    /// Adds a wait; the sum of the last periods.
    fn add(&mut self, ns: u64) -> u64 {
        self.recent.push_back(ns);
        if self.recent.len() > PERIODS {
            self.recent.pop_front();
        }
        self.recent.iter().sum()
    }
}

/// How long a process has been runnable and not run: counted when it runs again.
fn wait_ns(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

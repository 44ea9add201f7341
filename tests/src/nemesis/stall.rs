//! How long the machine kept the system's processes waiting for a CPU. What is promised rests on
//! their running: a worker that does not is no better than one that was stopped.

use std::collections::HashMap;
use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(10);
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

    /// The longest wait so far.
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
    let mut waited: HashMap<u32, u64> = HashMap::new();
    let mut period = 0;
    while !seen.over.load(Ordering::Relaxed) {
        if period % LOOK == 0 {
            let mut found = HashMap::new();
            for pid in descendants(process::id()) {
                if let Some(now) = waited.get(&pid).copied().or_else(|| wait_ns(pid)) {
                    found.insert(pid, now);
                }
            }
            waited = found;
        }
        period += 1;
        let before = Instant::now();
        thread::sleep(PERIOD);
        let own = before.elapsed().saturating_sub(PERIOD).as_nanos() as u64;
        let mut longest = own;
        for (&pid, before) in &mut waited {
            if let Some(now) = wait_ns(pid) {
                longest = longest.max(now.saturating_sub(*before));
                *before = now;
            }
        }
        seen.longest_ms
            .fetch_max(longest / 1_000_000, Ordering::Relaxed);
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

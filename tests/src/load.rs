//! Many clients at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::wait::wait_until;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadOutcome {
    /// The whole stream arrived, up to `[DONE]`.
    Complete,
    /// An answer of another kind, by its status.
    Answered(u16),
    /// The connection broke.
    Broken,
    /// The client left.
    Left,
}

/// How many requests ended in which way.
pub type Outcomes<O = LoadOutcome> = BTreeMap<O, usize>;

/// Clients that send requests one after the other, each from a thread of its own.
pub struct Load<O = LoadOutcome> {
    clients: Vec<JoinHandle<()>>,
    shared: Arc<Shared<O>>,
}

struct Shared<O> {
    begun: AtomicUsize,
    stop: AtomicBool,
    outcomes: Mutex<Outcomes<O>>,
}

impl<O: Clone + Ord + Send + 'static> Load<O> {
    /// Starts clients that stop by themselves after so many requests in all. Every client makes
    /// its own way of sending with `client`; the number distinguishes requests.
    pub fn start<C, R>(clients: usize, requests: usize, client: C) -> Self
    where
        C: Fn() -> R,
        R: FnMut(usize) -> O + Send + 'static,
    {
        let shared = Arc::new(Shared {
            begun: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            outcomes: Mutex::new(Outcomes::new()),
        });
        let run = |_| {
            let (shared, mut request) = (Arc::clone(&shared), client());
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    let number = shared.begun.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    shared.count(request(number));
                }
            })
        };
        Self {
            clients: (0..clients).map(run).collect(),
            shared,
        }
    }

    /// How many requests have ended.
    pub fn ended(&self) -> usize {
        self.shared.outcomes().values().sum()
    }

    /// Waits until so many more requests have ended.
    #[track_caller]
    pub fn wait_more(&self, requests: usize) {
        let wanted = self.ended() + requests;
        wait_until(&format!("{requests} more requests have ended"), || {
            self.ended() >= wanted
        });
    }

    /// Does something, so many times, each time after so many more requests have ended.
    #[track_caller]
    pub fn disturb(&self, times: usize, requests: usize, mut act: impl FnMut()) {
        for _ in 0..times {
            self.wait_more(requests);
            act();
        }
    }

    /// Lets the clients finish their last requests.
    pub fn stop(self) -> Outcomes<O> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all requests have ended.
    pub fn finish(self) -> Outcomes<O> {
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        self.shared.outcomes().clone()
    }
}

impl<O: Ord> Shared<O> {
    fn count(&self, outcome: O) {
        *self.outcomes().entry(outcome).or_default() += 1;
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes<O>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

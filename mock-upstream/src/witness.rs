//! The witness: which key had how many requests in flight.
//!
//! It is the independent proof that a gateway lends a key to one request at a time, so it must
//! neither miss an overlap nor invent one:
//! - a request is over *before* its last bytes are handed to the socket. Whoever has read the
//!   whole answer and uses the key again is never counted twice;
//! - a client that leaves early may use the key again at once, on another connection and perhaps
//!   in another thread, before the server has read the end of the first connection. So before
//!   the highest number of a key rises, the witness asks the kernel which of the clients have
//!   left already ([`Peer::has_left`]). It asks while up to [`VERIFIED`] requests of the key are
//!   in flight, far more than any key has slots.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::connection::Peer;
use crate::gauge::Gauge;
use crate::journal;
use crate::overlap::{Overlap, Overlaps, Party};
use crate::stats::{Counters, KeyName, Spending, Stats};

/// Up to so many requests of one key are checked for clients that have left.
const VERIFIED: usize = 64;

/// Counts the requests of every key.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    accounts: RwLock<FxHashMap<KeyName, Arc<Account>>>,
    total: Gauge,
    forbidden: AtomicU64,
    /// Events of streams that were sent; never counted anew.
    chunks: AtomicU64,
    /// How many requests of a key may be in flight at once, if more are to be recorded.
    slots: Option<usize>,
}

/// One key's requests.
#[derive(Debug, Default)]
struct Account(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    requests: u64,
    aborted: u64,
    spending: Spending,
    max_in_flight: usize,
    next_entry: u64,
    in_flight: FxHashMap<u64, Entry>,
    overlaps: Overlaps,
}

#[derive(Debug)]
struct Entry {
    peer: Option<Peer>,
    since: Instant,
}

/// A request in flight. It is over when it says so, and aborted when dropped before.
#[derive(Debug)]
pub(crate) struct InFlight {
    witness: Arc<Witness>,
    account: Arc<Account>,
    pub(crate) key: KeyName,
    entry: u64,
    over: bool,
    /// What it has spent so far; booked when it is over.
    pub(crate) spending: Spending,
    pub(crate) journal: Option<Arc<journal::Entry>>,
}

impl Witness {
    pub(crate) fn new(slots: Option<usize>) -> Self {
        Self {
            slots,
            ..Self::default()
        }
    }

    /// Counts a request's arrival under the value of its `Authorization` header.
    pub(crate) fn enter(
        self: &Arc<Self>,
        authorization: Option<&[u8]>,
        peer: Option<Peer>,
        since: Instant,
    ) -> InFlight {
        let name = KeyName::of(authorization);
        loop {
            // Entered under the map's lock, so that a reset cannot drop the account meanwhile.
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(account) = accounts.get(&name) {
                let entry = account
                    .ledger()
                    .open(Entry { peer, since }, self.slots, &self.total);
                let account = Arc::clone(account);
                return InFlight {
                    witness: Arc::clone(self),
                    account,
                    key: name,
                    entry,
                    over: false,
                    spending: Spending::default(),
                    journal: None,
                };
            }
            drop(accounts);
            let mut accounts = self
                .accounts
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            accounts.entry(name).or_default();
        }
    }

    pub(crate) fn count_forbidden_token(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> Stats {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut stats = Stats {
            forbidden_tokens: self.forbidden.load(Ordering::Relaxed),
            ..Stats::default()
        };
        for (name, account) in accounts.iter() {
            let counters = account.ledger().counters();
            stats.totals.requests += counters.requests;
            stats.totals.aborted += counters.aborted;
            stats.keys.insert(name.to_string(), counters);
        }
        let (in_flight, max_in_flight) = self.total.read();
        stats.totals.in_flight = in_flight.into();
        stats.totals.max_in_flight = max_in_flight.into();
        stats
    }

    pub(crate) fn overlaps(&self) -> Vec<Overlap> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut overlaps = Vec::new();
        for (name, account) in accounts.iter() {
            overlaps.extend(account.ledger().overlaps.named(*name));
        }
        overlaps.sort_by_key(|overlap| overlap.began);
        overlaps
    }

    /// What every key has spent.
    pub(crate) fn ledger(&self) -> BTreeMap<String, Spending> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let spending = |(name, account): (&KeyName, &Arc<Account>)| {
            (name.to_string(), account.ledger().spending)
        };
        accounts.iter().map(spending).collect()
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.total.read().0
    }

    /// Starts all counts anew. Requests in flight still are, and count as arrived before.
    pub(crate) fn reset(&self) {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| {
            let mut ledger = account.ledger();
            ledger.requests = 0;
            ledger.aborted = 0;
            ledger.spending = Spending::default();
            ledger.max_in_flight = ledger.in_flight.len();
            ledger.overlaps.forget();
            !ledger.in_flight.is_empty()
        });
        self.total.forget();
        self.forbidden.store(0, Ordering::Relaxed);
    }
}

impl Account {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn open(&mut self, arrived: Entry, slots: Option<usize>, total: &Gauge) -> u64 {
        let entry = self.next_entry;
        self.next_entry += 1;
        self.requests += 1;
        self.in_flight.insert(entry, arrived);
        total.rise();
        let in_flight = self.in_flight.len();
        let crowded = |in_flight| slots.is_some_and(|slots| in_flight > slots);
        if in_flight > self.max_in_flight || crowded(in_flight) {
            if (2..=VERIFIED).contains(&in_flight) {
                self.close_those_who_left(total);
            }
            self.max_in_flight = self.max_in_flight.max(self.in_flight.len());
        }
        if crowded(self.in_flight.len()) {
            self.overlaps
                .begin(self.in_flight.values().map(Entry::party).collect());
        } else {
            self.overlaps.end();
        }
        entry
    }

    fn close_those_who_left(&mut self, total: &Gauge) {
        let before = self.in_flight.len();
        self.in_flight
            .retain(|_, entry| !entry.peer.as_ref().is_some_and(Peer::has_left));
        for _ in self.in_flight.len()..before {
            self.aborted += 1;
            total.fall();
        }
    }

    fn close(
        &mut self,
        entry: u64,
        (aborted, spending): (bool, Spending),
        slots: Option<usize>,
        total: &Gauge,
    ) {
        self.spending.add(spending);
        // An entry that is gone was closed when its client was seen to have left.
        if self.in_flight.remove(&entry).is_some() {
            self.aborted += u64::from(aborted);
            total.fall();
        }
        if slots.is_some_and(|slots| self.in_flight.len() <= slots) {
            self.overlaps.end();
        }
    }

    fn counters(&self) -> Counters {
        Counters {
            requests: self.requests,
            in_flight: self.in_flight.len() as u64,
            max_in_flight: self.max_in_flight as u64,
            aborted: self.aborted,
        }
    }
}

impl Entry {
    fn party(&self) -> Party {
        Party {
            peer: self.peer.as_ref().and_then(Peer::address),
            since: self.since,
        }
    }
}

impl InFlight {
    pub(crate) fn count_chunks(&self, chunks: u64) {
        if chunks > 0 {
            self.witness.chunks.fetch_add(chunks, Ordering::Relaxed);
        }
    }

    /// The request is over; to be called before the last bytes of the answer are given away.
    pub(crate) fn finish(&mut self) {
        self.end(false);
    }

    fn end(&mut self, aborted: bool) {
        if !std::mem::replace(&mut self.over, true) {
            let Witness { slots, total, .. } = &*self.witness;
            let mut ledger = self.account.ledger();
            ledger.close(self.entry, (aborted, self.spending), *slots, total);
            drop(ledger);
            if let Some(journal) = &self.journal {
                journal.end(aborted, self.spending);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.end(true);
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;

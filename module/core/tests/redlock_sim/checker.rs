//! Invariants of every history.

use std::collections::BTreeMap;

use openai_core::redlock::Lease;

use crate::model::Store;

/// Counts that show whether the histories are worth checking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub won: u64,
    pub extended: u64,
    pub lost: u64,
    pub busy: u64,
    pub retries: u64,
    pub no_quorum: u64,
    pub quarantine: u64,
    pub too_late: u64,
    pub abandoned: u64,
    pub strays: u64,
    pub restored: u64,
    pub restarts: u64,
    pub handed_over: u64,
    pub entrusted: u64,
    pub prolonged: u64,
    pub refused: u64,
    pub given_back: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.won += other.won;
        self.extended += other.extended;
        self.lost += other.lost;
        self.busy += other.busy;
        self.retries += other.retries;
        self.no_quorum += other.no_quorum;
        self.quarantine += other.quarantine;
        self.too_late += other.too_late;
        self.abandoned += other.abandoned;
        self.strays += other.strays;
        self.restored += other.restored;
        self.restarts += other.restarts;
        self.handed_over += other.handed_over;
        self.entrusted += other.entrusted;
        self.prolonged += other.prolonged;
        self.refused += other.refused;
        self.given_back += other.given_back;
    }
}

#[derive(Debug)]
struct Tenure {
    client: usize,
    fence: u64,
    /// When the holder stops using the lease, in real time.
    until: u64,
}

/// Checks grants as they happen, in real time.
#[derive(Debug, Default)]
pub struct Checker {
    tenures: BTreeMap<String, Tenure>,
    fences: BTreeMap<String, u64>,
    /// From when a lock, by slot and nonce, must not be on any node.
    gone: BTreeMap<(String, String), u64>,
    pub counts: Counts,
    pub violation: Option<String>,
}

impl Checker {
    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn won(&mut self, now: u64, client: usize, slot: &str, fence: u64, until: u64) {
        self.counts.won += 1;
        if let Some(other) = self.tenures.get(slot)
            && other.until > now
        {
            let what = format!(
                "at {now} client {client} won {slot} with fence {fence}, \
                 while client {} held it with fence {} until {}",
                other.client, other.fence, other.until
            );
            self.violated(what);
        }
        let last = self.fences.get(slot).copied().unwrap_or(0);
        if fence <= last {
            self.violated(format!(
                "at {now} client {client} won {slot} with fence {fence} after fence {last}"
            ));
        }
        self.fences.insert(slot.into(), fence.max(last));
        let tenure = Tenure {
            client,
            fence,
            until,
        };
        if until > now {
            self.tenures.insert(slot.into(), tenure);
        }
    }

    /// A lease is handed over with this fence.
    pub fn passed(&mut self, from: (usize, u64), to: (usize, u64), slot: &str) {
        let last = self.fences.get(slot).copied().unwrap_or(0);
        let (client, fence) = to;
        if fence < last {
            self.violated(format!(
                "{slot} was handed to {client} with {fence} after {last}"
            ));
        }
        self.fences.insert(slot.into(), fence.max(last));
        let own = |tenure: &&mut Tenure| (tenure.client, tenure.fence) == from;
        if let Some(tenure) = self.tenures.get_mut(slot).filter(own) {
            (tenure.client, tenure.fence) = to;
        }
    }

    pub fn extended(&mut self, now: u64, client: usize, slot: &str, fence: u64, until: u64) {
        self.counts.extended += 1;
        match self.tenures.get_mut(slot) {
            Some(own) if own.client == client && own.fence == fence && own.until > now => {
                own.until = own.until.max(until);
            }
            other => {
                let what = format!(
                    "at {now} client {client} prolonged {slot} with fence {fence}, held by {other:?}"
                );
                self.violated(what);
            }
        }
    }

    /// The holder stops using the lease.
    pub fn ended(&mut self, client: usize, slot: &str, fence: u64) {
        let own = |tenure: &Tenure| tenure.client == client && tenure.fence == fence;
        if self.tenures.get(slot).is_some_and(own) {
            self.tenures.remove(slot);
        }
    }

    /// The lock must not be on any node from then on.
    pub fn gone(&mut self, lease: &Lease, from: u64) {
        let slot = lease.slot.field().to_owned();
        let lock = (slot, lease.nonce.to_string());
        self.gone.entry(lock).or_insert(from);
    }

    /// Checks that a node has no lock that must be gone.
    pub fn check_gone(&mut self, now: u64, store: &Store) {
        for (slot, lock) in &store.locks {
            let from = self.gone.get(&(slot.clone(), lock.nonce.clone()));
            if let Some(from) = from.filter(|&&from| from <= now) {
                let what = format!("at {now} {slot} is under {}, gone since {from}", lock.nonce);
                self.violation.get_or_insert(what);
            }
        }
    }

    pub fn stuck(&mut self, what: String) {
        self.violated(what);
    }
}

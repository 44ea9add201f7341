//! Invariants that each history must satisfy.

use std::collections::{BTreeMap, BTreeSet};

use openai_core::lease::Lock;
use openai_core::redlock::Nonce;

use crate::model::Store;

/// Defines the counters that show whether histories are worth checking.
macro_rules! counts {
    ($($name:ident)*) => {
        /// How often something has happened in histories.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counts {
            $(pub $name: u64,)*
            /// Retained locks, and leases that got one; 0 in histories without retention.
            pub retained: u64,
            pub reused: u64,
        }

        impl Counts {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                self.retained += other.retained;
                self.reused += other.reused;
            }

            pub fn least(&self) -> u64 {
                [$(self.$name),*].into_iter().min().unwrap_or_default()
            }
        }
    };
}

counts! {
    won extended lost busy unsure no_quorum quarantine too_late abandoned strays restored
    restarts opened broken freed handed_over entrusted prolonged refused given_back
}

#[derive(Debug)]
struct Tenure {
    client: usize,
    fence: u64,
    /// When the holder stops using the lease, in real time.
    until: u64,
}

/// Checks grants when they happen, in real time.
#[derive(Debug, Default)]
pub struct Checker {
    tenures: BTreeMap<String, Tenure>,
    fences: BTreeMap<String, u64>,
    /// The nonces of all acquired locks.
    nonces: BTreeSet<String>,
    /// The time from which a lock, identified by slot and nonce, must not be on any node.
    gone: BTreeMap<(String, String), u64>,
    pub counts: Counts,
    pub violation: Option<String>,
}

impl Checker {
    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn won(&mut self, now: u64, client: usize, slot: &str, lock: &Lock, until: u64) {
        self.counts.won += 1;
        let fence = lock.fence;
        self.nonces.insert(Nonce(lock.nonce()).to_string());
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

    /// A lease has been handed over with this fence.
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

    /// A retained lock has a new lease with this fence.
    pub fn reused(&mut self, slot: &str, fence: u64) {
        self.counts.reused += 1;
        let last = self.fences.get(slot).copied().unwrap_or(0);
        if fence <= last {
            self.violated(format!("{slot} was reused with {fence} after {last}"));
        }
    }

    /// A lease is used at this time.
    pub fn used(&mut self, now: u64, slot: &str, fence: u64) {
        let valid = self
            .tenures
            .get(slot)
            .is_some_and(|own| own.fence == fence && own.until > now);
        if !valid {
            self.violated(format!(
                "at {now} {slot} is used with {fence} after its end"
            ));
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

    /// The holder has stopped using the lease.
    pub fn ended(&mut self, client: usize, slot: &str, fence: u64) {
        let own = |tenure: &Tenure| tenure.client == client && tenure.fence == fence;
        if self.tenures.get(slot).is_some_and(own) {
            self.tenures.remove(slot);
        }
    }

    /// A lock must not be on any node from this time on.
    pub fn gone(&mut self, slot: &str, lock: &Lock, from: u64) {
        let lock = (slot.to_owned(), Nonce(lock.nonce()).to_string());
        self.gone.entry(lock).or_insert(from);
    }

    /// A node has been asked to release the locks with this nonce.
    pub fn released(&mut self, nonce: &str) {
        self.counts.strays += u64::from(!self.nonces.contains(nonce));
    }

    /// Checks that a node has no lock that must not be on any node.
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

//! Changes of keys: by another configuration, or within the same one.

use std::collections::BTreeMap;

use super::keys::{Health, Key};
use super::{Model, config};
use crate::lease::*;

impl Model {
    /// Forgets the health of keys that no worker knows and no lease holds.
    pub(super) fn drop_departed(&mut self) {
        let oldest = self.workers.iter().map(|w| w.1).min().unwrap();
        let held: Vec<_> = self
            .held
            .iter()
            .map(|h| self.index_of[&h.grant.key])
            .collect();
        for (fingerprint, key) in &mut self.keys {
            if key.retired <= oldest && !held.contains(fingerprint) {
                key.health = Health::default();
            }
        }
    }

    pub(super) fn reload(&mut self, keys: &[(u8, u32, u32)]) {
        self.drop_departed();
        let accepted = self.bed.reload(&config(keys, Balance::Weighted));
        let generation = accepted.generation;
        self.replace(keys, &accepted, generation);
    }

    /// A worker reads the keys of a file.
    pub(super) fn read(&mut self, at: usize, keys: &[(u8, u32, u32)]) {
        let (id, generation) = self.workers[at];
        let config = config(keys, Balance::Weighted);
        let now = self.bed.clock();
        let changed = self.bed.zone().change_keys(id, &[config], now);
        if generation < self.bed.generation {
            assert_eq!(changed.err(), Some(ChangeError::Superseded));
            return;
        }
        let Changed { accepted, first } = changed.expect("there is room");
        assert_eq!(
            first,
            keys != self.listed,
            "the same keys make no generation"
        );
        if first {
            assert!(accepted.generation > self.newest);
            self.drop_departed();
            self.replace(keys, &accepted, 0);
        }
        assert_eq!(accepted.generation, self.newest);
        assert!(self.bed.zone().newer_keys(id).is_none());
        for (&(fingerprint, ..), index) in keys.iter().zip(&accepted.pools[0].1) {
            assert_eq!(self.index_of[index], fingerprint);
        }
        self.workers[at].1 = self.newest;
        for waiter in self.waiting.iter_mut().filter(|w| w.worker == at) {
            waiter.generation = self.newest;
        }
    }

    /// Replaces the keys; removed ones are known until `last`.
    pub(super) fn replace(&mut self, keys: &[(u8, u32, u32)], accepted: &Accepted, last: u64) {
        let generation = accepted.generation;
        (self.newest, self.listed) = (generation, keys.to_vec());
        let mut listed = BTreeMap::new();
        for (&(fingerprint, slots, _), &index) in keys.iter().zip(&accepted.pools[0].1) {
            listed.insert(fingerprint, slots);
            self.index_of.retain(|_, key| *key != fingerprint);
            self.index_of.insert(index, fingerprint);
        }
        for (fingerprint, key) in &mut self.keys {
            if key.retired == u64::MAX && !listed.contains_key(fingerprint) {
                key.retired = last;
            }
        }
        for (fingerprint, slots) in listed {
            let key = self
                .keys
                .entry(fingerprint)
                .or_insert_with(|| Key::new(generation, slots));
            if key.retired != u64::MAX {
                (key.born, key.retired) = (generation, u64::MAX);
            }
            key.slots = slots;
        }
    }
}

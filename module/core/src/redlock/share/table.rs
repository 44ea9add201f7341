//! All instances' rows, and which nodes are known to have them.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Instance, RowId, RowSums};

/// A row of an instance.
pub(super) type Key = (RowId, Instance);

#[derive(Debug, Default)]
struct Entry {
    sums: RowSums,
    /// Set of nodes known to have these sums, one bit each. Nodes beyond the 128th have no bit: the
    /// rows are written to them repeatedly.
    nodes: u128,
}

fn bit(node: usize) -> u128 {
    u32::try_from(node).map_or(0, |node| 1_u128.checked_shl(node).unwrap_or_default())
}

#[derive(Debug)]
pub(super) struct RowTable {
    own: Instance,
    rows: BTreeMap<RowId, Vec<(Instance, Entry)>>,
    /// Rows of other machines that have risen since the last call of `take_risen`.
    risen: BTreeSet<RowId>,
}

impl RowTable {
    pub(super) fn new(own: Instance) -> Self {
        Self {
            own,
            rows: BTreeMap::new(),
            risen: BTreeSet::new(),
        }
    }

    fn entry(&mut self, (row, instance): &Key) -> &mut Entry {
        let of_row = self.rows.entry(row.clone()).or_default();
        let known = of_row.iter().position(|(known, _)| known == instance);
        let at = known.unwrap_or_else(|| {
            of_row.push((*instance, Entry::default()));
            of_row.len() - 1
        });
        &mut of_row[at].1
    }

    /// Sets what this machine has counted; returns the row if it has changed.
    pub(super) fn count(&mut self, row: RowId, sums: &RowSums) -> Option<Key> {
        let key = (row, self.own);
        let entry = self.entry(&key);
        if !entry.sums.raise(sums) {
            return None;
        }
        entry.nodes = 0;
        Some(key)
    }

    /// Merges a row read from a node. Order and repetition do not matter.
    pub(super) fn merge_from(&mut self, node: usize, key: Key, read: &RowSums) {
        let entry = self.entry(&key);
        let is_higher = entry.sums.raise(read);
        if is_higher {
            entry.nodes = 0;
        }
        if entry.sums == *read {
            entry.nodes |= bit(node);
        }
        let (row, instance) = key;
        if is_higher && instance != self.own {
            self.risen.insert(row);
        }
    }

    /// Merges a row of another instance that did not come from a node.
    pub(super) fn know(&mut self, key: Key, sums: &RowSums) {
        let entry = self.entry(&key);
        if entry.sums.raise(sums) {
            entry.nodes = 0;
            self.risen.insert(key.0);
        }
    }

    /// Records that a node has stored these sums.
    pub(super) fn kept(&mut self, node: usize, key: &Key, sums: &RowSums) {
        let entry = self.entry(key);
        if entry.sums == *sums {
            entry.nodes |= bit(node);
        }
    }

    /// Discards what is known about a node's rows.
    pub(super) fn doubt(&mut self, node: usize) {
        for (_, entry) in self.rows.values_mut().flatten() {
            entry.nodes &= !bit(node);
        }
    }

    /// The rows that a node may lack.
    pub(super) fn lacking(&self, node: usize) -> impl Iterator<Item = Key> {
        let entries = self.rows.iter().flat_map(|(row, of_row)| {
            let of_row = of_row.iter();
            of_row.map(move |(instance, entry)| ((row, *instance), entry))
        });
        let lacking = entries.filter(move |(_, entry)| entry.nodes & bit(node) == 0);
        lacking.map(|((row, instance), _)| (row.clone(), instance))
    }

    pub(super) fn sums(&self, (row, instance): &Key) -> Option<&RowSums> {
        let mut of_row = self.rows.get(row)?.iter();
        let (_, entry) = of_row.find(|(known, _)| known == instance)?;
        Some(&entry.sums)
    }

    /// The sums of the other instances.
    pub(super) fn others(&self, row: &RowId) -> RowSums {
        let mut total = RowSums::default();
        for (instance, entry) in self.rows.get(row).into_iter().flatten() {
            if *instance != self.own {
                total.add(&entry.sums);
            }
        }
        total
    }

    pub(super) fn take_risen(&mut self) -> Vec<(RowId, RowSums)> {
        let risen = std::mem::take(&mut self.risen).into_iter();
        risen
            .map(|row| (self.others(&row), row))
            .map(|(sums, row)| (row, sums))
            .collect()
    }

    pub(super) fn forget_before(&mut self, day: u32) {
        let first = RowId::first_of(day);
        self.rows = self.rows.split_off(&first);
        self.risen = self.risen.split_off(&first);
    }
}

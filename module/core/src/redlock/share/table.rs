//! What is known of all instances' rows, and which nodes are known to have it.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Instance, RowId, Sums};

/// A row of an instance.
pub(super) type Key = (RowId, Instance);

#[derive(Debug, Default)]
struct Entry {
    sums: Sums,
    /// The nodes that are known to have these sums. One beyond the bits is never
    /// known to, and told now and then.
    nodes: u128,
}

fn bit(node: usize) -> u128 {
    u32::try_from(node).map_or(0, |node| 1_u128.checked_shl(node).unwrap_or_default())
}

#[derive(Debug)]
pub(super) struct Table {
    own: Instance,
    rows: BTreeMap<RowId, Vec<(Instance, Entry)>>,
    /// Rows of which others have counted more since this was last asked.
    risen: BTreeSet<RowId>,
}

impl Table {
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

    /// Takes in what is counted here; its row, if that is news.
    pub(super) fn count(&mut self, row: RowId, sums: &Sums) -> Option<Key> {
        let key = (row, self.own);
        let entry = self.entry(&key);
        if !entry.sums.raise(sums) {
            return None;
        }
        entry.nodes = 0;
        Some(key)
    }

    /// Takes in what a node has told. In whatever order and however often, it comes to
    /// the same.
    pub(super) fn hear(&mut self, node: usize, key: Key, told: &Sums) {
        let entry = self.entry(&key);
        let is_news = entry.sums.raise(told);
        if is_news {
            entry.nodes = 0;
        }
        if entry.sums == *told {
            entry.nodes |= bit(node);
        }
        let (row, instance) = key;
        if is_news && instance != self.own {
            self.risen.insert(row);
        }
    }

    /// Takes in what another instance is known to have counted, whatever nodes know.
    pub(super) fn know(&mut self, key: Key, sums: &Sums) {
        let entry = self.entry(&key);
        if entry.sums.raise(sums) {
            entry.nodes = 0;
            self.risen.insert(key.0);
        }
    }

    /// A node has what it was sent.
    pub(super) fn kept(&mut self, node: usize, key: &Key, sums: &Sums) {
        let entry = self.entry(key);
        if entry.sums == *sums {
            entry.nodes |= bit(node);
        }
    }

    /// It is not known any more what a node has.
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

    pub(super) fn sums(&self, (row, instance): &Key) -> Option<&Sums> {
        let mut of_row = self.rows.get(row)?.iter();
        let (_, entry) = of_row.find(|(known, _)| known == instance)?;
        Some(&entry.sums)
    }

    /// What others have counted in a row.
    pub(super) fn others(&self, row: &RowId) -> Sums {
        let mut total = Sums::default();
        for (instance, entry) in self.rows.get(row).into_iter().flatten() {
            if *instance != self.own {
                total.add(&entry.sums);
            }
        }
        total
    }

    pub(super) fn take_risen(&mut self) -> Vec<(RowId, Sums)> {
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

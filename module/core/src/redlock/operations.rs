//! Pending operations on nodes whose result somebody waits for.

use std::collections::BTreeMap;

/// Id of an operation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(u64);

/// Pending operations.
///
/// Each has its own id: there can be several on one lock, and the answers to one must not
/// complete another. Each is completed once, by an answer or by its timeout.
#[derive(Debug)]
pub struct Operations<T> {
    next: u64,
    open: BTreeMap<Operation, Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    due_ms: u64,
    what: T,
}

impl<T> Default for Operations<T> {
    fn default() -> Self {
        Self {
            next: 0,
            open: BTreeMap::new(),
        }
    }
}

impl<T> Operations<T> {
    /// Adds an operation with a deadline.
    pub fn begin(&mut self, what: T, due_ms: u64) -> Operation {
        let name = Operation(self.next);
        self.next += 1;
        self.open.insert(name, Open { due_ms, what });
        name
    }

    /// Removes an operation; `None` if it is no longer pending.
    pub fn conclude(&mut self, name: Operation) -> Option<T> {
        self.open.remove(&name).map(|open| open.what)
    }

    /// Removes the operations whose deadline has passed.
    pub fn overdue(&mut self, now: u64) -> Vec<T> {
        let late = |open: &Open<T>| open.due_ms <= now;
        let names = self.open.iter().filter(|(_, open)| late(open));
        let names: Vec<_> = names.map(|(&name, _)| name).collect();
        names
            .into_iter()
            .filter_map(|name| self.conclude(name))
            .collect()
    }

    /// The data of a pending operation.
    #[must_use]
    pub fn get(&self, name: Operation) -> Option<&T> {
        self.open.get(&name).map(|open| &open.what)
    }

    /// The pending operations.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.open.values().map(|open| &open.what)
    }
}

//! What nodes have been asked for somebody who waits for the outcome.

use std::collections::BTreeMap;

/// Names an operation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(u64);

/// Operations that are under way.
///
/// Each has a name of its own: there may be several on one lock, and what nodes answer
/// to one of them concludes no other. Each is concluded once, by an answer or when its
/// time is over.
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
    /// Begins one, which is to be concluded by then.
    pub fn begin(&mut self, what: T, due_ms: u64) -> Operation {
        let name = Operation(self.next);
        self.next += 1;
        self.open.insert(name, Open { due_ms, what });
        name
    }

    /// Ends one; `None` if it has ended.
    pub fn conclude(&mut self, name: Operation) -> Option<T> {
        self.open.remove(&name).map(|open| open.what)
    }

    /// Ends those whose time is over.
    pub fn overdue(&mut self, now: u64) -> Vec<T> {
        let late = |open: &Open<T>| open.due_ms <= now;
        let names = self.open.iter().filter(|(_, open)| late(open));
        let names: Vec<_> = names.map(|(&name, _)| name).collect();
        names
            .into_iter()
            .filter_map(|name| self.conclude(name))
            .collect()
    }

    /// What one is about, while it is under way.
    #[must_use]
    pub fn get(&self, name: Operation) -> Option<&T> {
        self.open.get(&name).map(|open| &open.what)
    }

    /// What is under way.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.open.values().map(|open| &open.what)
    }
}

//! Totals of several machines, by way of the nodes of their group.
//!
//! A machine writes what it has counted to every node, row by row, and reads from every
//! node what the others have. Rows hold sums since the row began, and nodes and readers
//! keep the highest that they have seen of each sum: so it does not matter how often, in
//! which order or by which node a row is told, and a row that one node has is not lost.
//! What all machines have counted is the sum over instances.
//!
//! Of a new connection, and of a node that calls its memory by another id than before,
//! all is read anew. What a node then lacks, or ever turns out to lack, is written to
//! it, be it of this machine or of one that is no more.

mod node;
mod row;
mod table;

pub use row::{Instance, RowId, Sums};

use super::call::ScriptCall;
use super::names::ShareNames;
use super::value::{ErrorKind, Value};
use node::Node;
use table::Table;

/// How many rows are written by one call: a node does nothing else meanwhile.
pub const MOST_WRITTEN: usize = 16;
/// How many rows one answer holds.
pub const MOST_READ: usize = 128;
/// In each of so many rounds a node is given what it lacks of others' rows, too.
const REPAIR_ROUNDS: u32 = 12;

/// A machine's part in the sharing of totals, and what it knows of the others'.
#[derive(Debug)]
pub struct Sharing {
    own: Instance,
    /// For how many days back nodes keep rows.
    days: u32,
    table: Table,
    nodes: Vec<Node>,
    filter: Filter,
}

/// Which rows are taken from nodes.
type Accepts = dyn Fn(&RowId, &Sums) -> bool;

struct Filter(Box<Accepts>);

impl core::fmt::Debug for Filter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Filter")
    }
}

impl Sharing {
    /// Of an instance, with so many nodes.
    #[must_use]
    pub fn new(own: Instance, days: u32, nodes: usize) -> Self {
        Self {
            own,
            days,
            table: Table::new(own),
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            filter: Filter(Box::new(|_, _| true)),
        }
    }

    /// Takes only such rows from nodes: others are neither kept nor told on.
    #[must_use]
    pub fn accepting(self, accepts: impl Fn(&RowId, &Sums) -> bool + 'static) -> Self {
        let filter = Filter(Box::new(accepts));
        Self { filter, ..self }
    }

    /// What this machine has counted in a row, all in all.
    pub fn count(&mut self, row: RowId, sums: &Sums) {
        if let Some(key) = self.table.count(row, sums) {
            for node in &mut self.nodes {
                node.owe(key.clone());
            }
        }
    }

    /// What another instance, which is no more, has counted in a row, by what it has left.
    /// Nodes that lack it are told when they have been read.
    pub fn know(&mut self, of: Instance, row: RowId, sums: &Sums) {
        if of != self.own {
            self.table.know((row, of), sums);
        }
    }

    /// Forgets the days before this one.
    pub fn forget_before(&mut self, day: u32) {
        self.table.forget_before(day);
    }

    /// What all other machines have counted in rows that have risen since this was asked.
    pub fn take_risen(&mut self) -> Vec<(RowId, Sums)> {
        self.table.take_risen()
    }

    /// What all other machines have counted in a row.
    #[must_use]
    pub fn others(&self, row: &RowId) -> Sums {
        self.table.others(row)
    }

    /// There is a new connection to a node, which may have forgotten what it knew.
    pub fn opened(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            *node = Node::default();
            node.begin_round();
            self.table.doubt(at);
        }
    }

    /// It is time to tell a node what is new, and to ask it.
    pub fn begin_round(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            let round = node.begin_round();
            if round % REPAIR_ROUNDS == 0 && node.is_known() {
                node.owe_all(self.table.lacking(at));
            }
        }
    }

    /// What is to be asked of a node now, if anything; nothing until it has answered.
    /// `id` is what it may call its memory if that has no id.
    pub fn next(&mut self, at: usize, names: &ShareNames, id: u64) -> Option<ScriptCall> {
        let node = self.nodes.get_mut(at)?;
        if let Some(rows) = node.next_rows(&self.table) {
            let row = |((row, instance), sums): &(table::Key, Sums)| {
                [row.field(*instance), sums.to_string()]
            };
            return Some(names.share(id, self.days, rows.iter().flat_map(row)));
        }
        let own = node.is_known().then_some(self.own);
        let (known, upto) = node.next_question()?;
        Some(names.shared(known, upto, own))
    }

    /// What a node has answered to [`Self::next`].
    ///
    /// # Errors
    /// When it has not done it. It is asked again in the next round.
    pub fn answered(&mut self, at: usize, value: &Value) -> Result<(), ErrorKind> {
        match self.nodes.get_mut(at) {
            Some(node) => node.answered(value, at, &mut self.table, &*self.filter.0),
            None => Ok(()),
        }
    }

    /// The calls that write own rows to a node that it may lack, when there will be no
    /// time to wait for answers.
    pub fn last_words(&mut self, at: usize, names: &ShareNames, id: u64) -> Vec<ScriptCall> {
        let own = self.table.lacking(at).filter(|(_, from)| *from == self.own);
        let rows = own.filter_map(|key| {
            let sums = self.table.sums(&key)?.to_string();
            Some([key.0.field(key.1), sums])
        });
        let rows: Vec<_> = rows.collect();
        let chunks = rows.chunks(MOST_WRITTEN);
        chunks
            .map(|rows| names.share(id, self.days, rows.iter().flatten().cloned()))
            .collect()
    }

    /// Whether a node is known to have all that was counted, and has told all it had.
    #[must_use]
    pub fn is_even(&self, at: usize) -> bool {
        self.nodes.get(at).is_some_and(Node::is_even)
    }
}

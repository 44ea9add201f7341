//! Sharing of stats between machines through the nodes of their group.
//!
//! A machine writes its counts row by row to every node, and reads the rows of other machines
//! from every node. Rows contain sums since the row began; nodes and readers keep the highest
//! value seen of each sum. So repetition, order and the node that delivers a row do not matter,
//! and a row that one node has is not lost. The total is the sum over all instances.
//!
//! On a new connection, and when the id of a node's data set has changed, everything is read
//! again. Rows that a node lacks are written to it, also those of machines that no longer exist.

mod node;
mod row;
mod table;

pub use row::{Instance, RowId, RowSums};

use super::call::ScriptCall;
use super::names::ShareNames;
use super::value::{ErrorKind, Value};
use node::NodeSync;
use table::RowTable;

/// Maximum number of rows per write call. A node executes nothing else meanwhile.
pub const MOST_WRITTEN: usize = 16;
/// Maximum number of rows per read call.
pub const MOST_READ: usize = 128;
/// Interval, in rounds, at which a node also gets the rows of other machines that it lacks.
const REPAIR_ROUNDS: u32 = 12;

/// The rows of one machine and of the others, and the state of their synchronization with the
/// nodes.
#[derive(Debug)]
pub struct Sharing {
    own: Instance,
    /// How many days back nodes keep rows.
    days: u32,
    table: RowTable,
    nodes: Vec<NodeSync>,
    filter: Filter,
}

/// Filter for rows read from nodes.
type Accepts = dyn Fn(&RowId, &RowSums) -> bool;

struct Filter(Box<Accepts>);

impl core::fmt::Debug for Filter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Filter")
    }
}

impl Sharing {
    /// The state of an instance whose group has `nodes` nodes, which keep rows for `days` days.
    #[must_use]
    pub fn new(own: Instance, days: u32, nodes: usize) -> Self {
        Self {
            own,
            days,
            table: RowTable::new(own),
            nodes: (0..nodes).map(|_| NodeSync::default()).collect(),
            filter: Filter(Box::new(|_, _| true)),
        }
    }

    /// Sets the filter for rows read from nodes. Other rows are neither stored nor forwarded.
    #[must_use]
    pub fn accepting(self, accepts: impl Fn(&RowId, &RowSums) -> bool + 'static) -> Self {
        let filter = Filter(Box::new(accepts));
        Self { filter, ..self }
    }

    /// Sets the sums that this machine has counted in a row.
    pub fn count(&mut self, row: RowId, sums: &RowSums) {
        if let Some(key) = self.table.count(row, sums) {
            for node in &mut self.nodes {
                node.owe(key.clone());
            }
        }
    }

    /// Sets the sums of another instance that no longer exists, from its snapshot. Nodes that
    /// lack the row get it after they have been read.
    pub fn know(&mut self, of: Instance, row: RowId, sums: &RowSums) {
        if of != self.own {
            self.table.know((row, of), sums);
        }
    }

    /// Removes the rows of all days before this one.
    pub fn forget_before(&mut self, day: u32) {
        self.table.forget_before(day);
    }

    /// The sums of all other machines in rows that have risen since the last call.
    pub fn take_risen(&mut self) -> Vec<(RowId, RowSums)> {
        self.table.take_risen()
    }

    /// The sums of all other machines in a row.
    #[must_use]
    pub fn others(&self, row: &RowId) -> RowSums {
        self.table.others(row)
    }

    /// Starts a round with a node after a new connection. The node may have lost its data.
    pub fn opened(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            *node = NodeSync::default();
            node.begin_round();
            self.table.doubt(at);
        }
    }

    /// Starts a round: new rows are written to the node, and its changes are read.
    pub fn begin_round(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            let round = node.begin_round();
            if round % REPAIR_ROUNDS == 0 && node.is_known() {
                node.owe_all(self.table.lacking(at));
            }
        }
    }

    /// The next command for a node, if any; none while an answer is pending. `id` names the
    /// node's data set if it has no id yet.
    pub fn next(&mut self, at: usize, names: &ShareNames, id: u64) -> Option<ScriptCall> {
        let node = self.nodes.get_mut(at)?;
        if let Some(rows) = node.next_rows(&self.table) {
            let row = |((row, instance), sums): &(table::Key, RowSums)| {
                [row.field(*instance), sums.to_string()]
            };
            return Some(names.share(id, self.days, rows.iter().flat_map(row)));
        }
        let own = node.is_known().then_some(self.own);
        let (known, upto) = node.next_question()?;
        Some(names.shared(known, upto, own))
    }

    /// Processes a node's answer to [`Self::next`].
    ///
    /// # Errors
    /// When the node has not executed the command, which is repeated in the next round.
    pub fn answered(&mut self, at: usize, value: &Value) -> Result<(), ErrorKind> {
        match self.nodes.get_mut(at) {
            Some(node) => node.answered(value, at, &mut self.table, &*self.filter.0),
            None => Ok(()),
        }
    }

    /// The calls that write own rows that a node may lack, for a shutdown without time for
    /// answers.
    pub fn last_calls(&mut self, at: usize, names: &ShareNames, id: u64) -> Vec<ScriptCall> {
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

    /// Whether the node is known to have all rows, and all of its rows have been read.
    #[must_use]
    pub fn is_even(&self, at: usize) -> bool {
        self.nodes.get(at).is_some_and(NodeSync::is_even)
    }
}

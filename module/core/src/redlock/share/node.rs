//! Synchronization state of one node.

use std::collections::BTreeSet;

use super::super::reply::array;
use super::super::value::{ErrorKind, Value};
use super::MOST_WRITTEN;
use super::row::{RowId, RowSums};
use super::table::{Key, RowTable};

#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    ToKeep(Vec<(Key, RowSums)>),
    ToTell,
}

#[derive(Debug, Default)]
pub(super) struct NodeSync {
    /// Rows that the node may lack.
    owed: BTreeSet<Key>,
    /// Id of the node's data set in its last answer; empty while it has no rows.
    id: String,
    /// Number of the last change that was read.
    upto: u64,
    /// Whether all rows of the node have been read.
    known: bool,
    asked: Asked,
    round: u32,
    /// Whether the node may be written to in this round, and read from.
    may_write: bool,
    may_ask: bool,
}

impl NodeSync {
    pub(super) fn owe(&mut self, key: Key) {
        self.owed.insert(key);
    }

    pub(super) fn owe_all(&mut self, keys: impl Iterator<Item = Key>) {
        self.owed.extend(keys);
    }

    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    pub(super) fn is_even(&self) -> bool {
        self.known && self.owed.is_empty() && matches!(self.asked, Asked::Nothing) && !self.may_ask
    }

    pub(super) fn begin_round(&mut self) -> u32 {
        self.may_write = true;
        self.may_ask = true;
        self.round = self.round.wrapping_add(1);
        self.round
    }

    /// The next rows to be written, if any.
    pub(super) fn next_rows(&mut self, table: &RowTable) -> Option<&[(Key, RowSums)]> {
        let is_free = matches!(self.asked, Asked::Nothing) && self.may_write && self.known;
        if !is_free {
            return None;
        }
        let owed = std::iter::from_fn(|| self.owed.pop_first());
        // Rows of old days may have been removed.
        let rows = owed.filter_map(|key| {
            let sums = table.sums(&key)?.clone();
            Some((key, sums))
        });
        let rows: Vec<_> = rows.take(MOST_WRITTEN).collect();
        if rows.is_empty() {
            return None;
        }
        self.asked = Asked::ToKeep(rows);
        match &self.asked {
            Asked::ToKeep(rows) => Some(rows),
            _ => None,
        }
    }

    /// The next read, if any: the data set's id and the change to start from.
    pub(super) fn next_question(&mut self) -> Option<(&str, u64)> {
        if !matches!(self.asked, Asked::Nothing) || !self.may_ask {
            return None;
        }
        self.may_ask = false;
        self.asked = Asked::ToTell;
        Some((&self.id, self.upto))
    }

    /// Processes an answer.
    pub(super) fn answered(
        &mut self,
        value: &Value,
        at: usize,
        table: &mut RowTable,
        accepts: &super::Accepts,
    ) -> Result<(), ErrorKind> {
        let done = match std::mem::take(&mut self.asked) {
            Asked::Nothing => Ok(()),
            Asked::ToKeep(rows) => match kept(value) {
                Ok(id) => {
                    self.see(id, at, table);
                    rows.iter()
                        .for_each(|(key, sums)| table.kept(at, key, sums));
                    Ok(())
                }
                Err(kind) => {
                    self.owed.extend(rows.into_iter().map(|(key, _)| key));
                    Err(kind)
                }
            },
            Asked::ToTell => read_rows(value, accepts).map(|read| self.merge(read, at, table)),
        };
        if done.is_err() {
            self.may_write = false;
            self.may_ask = false;
        }
        done
    }

    fn merge(&mut self, read: ReadRows, at: usize, table: &mut RowTable) {
        self.see(read.id, at, table);
        for (key, sums) in read.rows {
            table.merge_from(at, key, &sums);
        }
        let more = read.more && read.upto > self.upto;
        self.upto = read.upto;
        self.may_ask |= more;
        if !more && !self.known {
            self.known = true;
            self.owe_all(table.lacking(at));
        }
    }

    /// Starts over if the data set's id has changed.
    fn see(&mut self, id: String, at: usize, table: &mut RowTable) {
        if self.id == id {
            return;
        }
        // The data set was empty and has got its id from one of the machines.
        let is_named = self.id.is_empty();
        self.id = id;
        if !is_named {
            self.upto = 0;
            self.known = false;
            self.may_ask = true;
            table.doubt(at);
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, ErrorKind> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ErrorKind::Garbage)
}

/// The id of the data set that was written to.
fn kept(value: &Value) -> Result<String, ErrorKind> {
    match array(value)? {
        [Value::Bytes(id), Value::Int(_)] => text(id),
        _ => Err(ErrorKind::Garbage),
    }
}

struct ReadRows {
    id: String,
    upto: u64,
    more: bool,
    rows: Vec<(Key, RowSums)>,
}

fn read_rows(value: &Value, accepts: &super::Accepts) -> Result<ReadRows, ErrorKind> {
    let [
        Value::Bytes(id),
        Value::Bytes(upto),
        Value::Int(more),
        rows @ ..,
    ] = array(value)?
    else {
        return Err(ErrorKind::Garbage);
    };
    // Skips data that cannot be parsed: no machine of the group wrote it.
    let row = |pair: &[Value]| match pair {
        [Value::Bytes(field), Value::Bytes(sums)] => {
            Some((RowId::of_field(field)?, RowSums::of_text(sums)?))
        }
        _ => None,
    };
    Ok(ReadRows {
        id: text(id)?,
        upto: text(upto)?.parse().map_err(|_| ErrorKind::Garbage)?,
        more: *more == 1,
        rows: rows
            .chunks(2)
            .filter_map(row)
            .filter(|((row, _), sums)| accepts(row, sums))
            .collect(),
    })
}

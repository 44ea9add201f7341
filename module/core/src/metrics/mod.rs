//! Totals of what the gateway has done, in a block of shared memory of their own, and
//! their text for Prometheus.
//!
//! There are four tables of rows, by service, model, pool and key, and every request
//! adds to one row of each: sums over services, over models, over pools and over keys are
//! the same. A table has room for so many names; what comes after that adds to its row
//! `other`, so that no client can make it grow.
//!
//! A ledger keeps what was counted by day, for as long as there is room.
//!
//! Whoever holds the mutex of the block opens a [`Board`] over the bytes. What a request
//! adds is done wholly or not at all: the rows as they were are noted before they are
//! changed, and put back by [`Board::recover`] when a process died in between.

mod board;
mod day;
mod figures;
mod histogram;
mod http;
mod journal;
mod ledger;
mod live;
mod recent;
mod record;
mod report;
mod row;
mod saved;
mod shared;
mod sheet;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use board::{Board, BoardError, Snapshot};
pub use day::Day;
pub use figures::{Figures, Line};
pub use http::{Endpoint, Http};
pub use ledger::{KEPT_DAYS, Passed, Use};
pub use live::{ACTIVE_SECONDS, Live, LiveCircuit, LiveKey, LivePool, LiveQuota};
pub use record::{OUTCOMES, Outcome, Record, Request};
pub use report::Report;
pub use row::{Counters, hash};
pub use saved::{ByDay, Extract, Identity, Owner, Saved, SavedError};
pub use shared::SharedNames;
pub use sheet::CONTENT_TYPE;
pub use text::render;

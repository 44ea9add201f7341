//! Answers to commands as typed values.
//!
//! A node that answers with an error or with invalid data has failed; the [`ErrorKind`] is the
//! reason.

use super::fence::Fence;
use super::node_clock::node_time;
use super::slots::{Candidates, SlotSet};
use super::value::{ErrorKind, Value};

/// A node's vote on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// The candidate with this index is granted.
    Granted(usize),
    /// No candidate is granted.
    Refused(Refusal),
}

/// Why a node granted nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub cause: RefusalCause,
    /// Remaining time in milliseconds, if known: of the quarantine, or of the lock that ends first.
    pub wait_ms: Option<u64>,
    /// The highest fence recorded for the free candidates; 0 if unknown.
    pub fence: Fence,
    /// Candidates that are free on the node.
    pub free: SlotSet,
}

/// Cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// Every candidate is held.
    Busy,
    /// Candidates are free, but the fences recorded for them are not lower.
    Fence,
    /// The node has recently come back empty.
    Quarantine,
}

/// A node's vote on the renewal of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Extended.
    Prolonged,
    /// The node had lost the lock and has restored it.
    Restored,
    /// Another client holds the slot.
    Taken,
    /// The node has restored the lock, but a higher fence has been recorded for the slot. This is
    /// not a vote for the lock; the node votes again from the next renewal on.
    Superseded,
    /// The lock was released on this node before, and has not been restored.
    Ended,
    /// The node could not write.
    Failed,
}

/// Result of a release on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Number of released slots.
    pub count: u64,
    /// The waiter that the node has notified, see [`super::Enlist::waiter`].
    pub next: Option<String>,
}

/// A slot that is held according to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The slot's index in the command.
    pub index: usize,
    /// Remaining time in milliseconds; `None` without expiry.
    pub left_ms: Option<u64>,
    /// The value of the lock.
    pub meta: String,
}

/// Parses the vote on a proposal of one slot, sent by [`super::TakeCall`].
fn taken(set: &Value, fenced: &Value, guard: &Value) -> Result<Ballot, ErrorKind> {
    let open = matches!(guard, Value::Int(ttl) if *ttl > 0);
    match (set, fenced) {
        (Value::Error(kind), _) => Err(*kind),
        (Value::Nil, _) => Ok(Ballot::Refused(Refusal {
            cause: RefusalCause::Busy,
            wait_ms: None,
            fence: Fence::default(),
            free: SlotSet::default(),
        })),
        (Value::Okay, Value::Int(1)) if open => Ok(Ballot::Granted(0)),
        // The node has the lock, but the vote must not count.
        (Value::Okay, _) => Err(ErrorKind::Unsure),
        _ => Err(ErrorKind::Garbage),
    }
}

/// Parses the vote on a proposal.
pub fn acquire(value: &Value, candidates: &Candidates) -> Result<Ballot, ErrorKind> {
    let count = candidates.slots().len();
    let index = |value: &Value| match value {
        Value::Int(index) => usize::try_from(*index).ok().filter(|&index| index < count),
        _ => None,
    };
    match array(value)? {
        [
            set @ (Value::Nil | Value::Okay | Value::Error(_)),
            fenced,
            guard,
        ] => return taken(set, fenced, guard),
        [Value::Int(1), granted, Value::Int(_)] => index(granted).map(Ballot::Granted),
        [
            Value::Int(0),
            Value::Int(cause),
            Value::Int(wait),
            fence,
            free @ ..,
        ] => {
            let cause = match cause {
                0 => RefusalCause::Busy,
                1 => RefusalCause::Fence,
                2 => RefusalCause::Quarantine,
                _ => return Err(ErrorKind::Garbage),
            };
            let free: Option<SlotSet> = free.iter().map(index).collect();
            free.map(|free| {
                Ballot::Refused(Refusal {
                    cause,
                    wait_ms: u64::try_from(*wait).ok(),
                    // A fence above the maximum was not proposed by this module.
                    fence: number(fence).and_then(Fence::new).unwrap_or_default(),
                    free,
                })
            })
        }
        _ => None,
    }
    .ok_or(ErrorKind::Garbage)
}

/// The node's time in a vote that grants a slot, in milliseconds.
#[must_use]
pub fn granted_at(value: &Value) -> Option<u64> {
    match array(value).ok()? {
        [Value::Okay | Value::Int(1), _, Value::Int(guard_ttl)] => node_time(*guard_ttl),
        _ => None,
    }
}

/// Parses the answer to a release.
pub fn release(value: &Value) -> Result<Released, ErrorKind> {
    let [given_up, next] = array(value)? else {
        return Err(ErrorKind::Garbage);
    };
    Ok(Released {
        count: count(given_up)?,
        next: Some(text(next)?).filter(|waiter| !waiter.is_empty()),
    })
}

/// Parses the votes on the renewal of `leases` locks, in order.
pub fn renew(value: &Value, leases: usize) -> Result<Vec<Renewed>, ErrorKind> {
    let votes = array(value)?;
    if votes.len() != leases {
        return Err(ErrorKind::Garbage);
    }
    let vote = |vote: &Value| match vote {
        Value::Int(1) => Ok(Renewed::Prolonged),
        Value::Int(2) => Ok(Renewed::Restored),
        Value::Int(0) => Ok(Renewed::Taken),
        Value::Int(-1) => Ok(Renewed::Superseded),
        Value::Int(-2) => Ok(Renewed::Failed),
        Value::Int(-3) => Ok(Renewed::Ended),
        _ => Err(ErrorKind::Garbage),
    };
    votes.iter().map(vote).collect()
}

/// Parses the answer to [`super::Command::Enqueue`]: the number of other waiters.
pub fn enqueue(value: &Value) -> Result<u64, ErrorKind> {
    count(value)
}

/// Parses the answer to [`super::Command::List`] for `slots` slots: those that are held.
pub fn list(value: &Value, slots: usize) -> Result<Vec<Held>, ErrorKind> {
    let held = |value: &Value| match array(value)? {
        [Value::Int(index), holder, Value::Int(left)] => {
            let index = usize::try_from(*index).ok().filter(|&index| index < slots);
            Ok(Held {
                index: index.ok_or(ErrorKind::Garbage)?,
                left_ms: u64::try_from(*left).ok(),
                meta: text(holder)?,
            })
        }
        _ => Err(ErrorKind::Garbage),
    };
    array(value)?.iter().map(held).collect()
}

pub(super) fn array(value: &Value) -> Result<&[Value], ErrorKind> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Error(kind) => Err(*kind),
        _ => Err(ErrorKind::Garbage),
    }
}

fn count(value: &Value) -> Result<u64, ErrorKind> {
    match value {
        Value::Int(count) => u64::try_from(*count).map_err(|_| ErrorKind::Garbage),
        Value::Error(kind) => Err(*kind),
        _ => Err(ErrorKind::Garbage),
    }
}

fn text(value: &Value) -> Result<String, ErrorKind> {
    match value {
        Value::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Value::Error(kind) => Err(*kind),
        _ => Err(ErrorKind::Garbage),
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Bytes(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

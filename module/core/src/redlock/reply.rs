//! Answers to commands as typed values.
//!
//! A node that answers with an error or with invalid data has failed; the [`ErrorKind`] is its
//! vote.

use super::fence::Fence;
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
    /// Remaining time in milliseconds, if known: of the quarantine, or of the lease that ends
    /// first.
    pub wait_ms: Option<u64>,
    /// The highest conflicting fence.
    pub fence: Fence,
    /// Candidates that are free nevertheless.
    pub free: SlotSet,
}

/// Cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// Every candidate is held.
    Busy,
    /// Candidates are free, but were granted with a higher fence before.
    Fence,
    /// The node has recently come back empty.
    Quarantine,
}

/// A node's vote on the renewal of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Extended.
    Prolonged,
    /// The node had lost the lease and has restored it.
    Restored,
    /// Another client holds the slot.
    Taken,
    /// The node has restored the lease, but had granted the slot with a higher fence in between.
    /// This does not matter if a quorum has extended it. Counts from the next renewal on.
    Superseded,
    /// The lease was released on this node and has not been restored.
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
    /// The holder's nonce. Other Redlock clients may use any text.
    pub nonce: String,
    /// Remaining time in milliseconds; `None` without expiry.
    pub left_ms: Option<u64>,
    /// The value of the lock; our clients store the holder in it, too.
    pub meta: String,
}

/// The vote on a proposal of one slot, sent by [`super::TakeCall`].
fn taken(set: &Value, fenced: &Value, guard: &Value) -> Result<Ballot, ErrorKind> {
    let open = matches!(guard, Value::Bytes(born) if born == b"0");
    match (set, fenced) {
        (Value::Error(kind), _) => Err(*kind),
        (Value::Nil, _) => Ok(Ballot::Refused(Refusal {
            cause: RefusalCause::Busy,
            wait_ms: None,
            fence: Fence::default(),
            free: SlotSet::default(),
        })),
        (Value::Bytes(_), Value::Int(1)) if open => Ok(Ballot::Granted(0)),
        // The node has the lock, but the vote must not count.
        (Value::Bytes(_), _) => Err(ErrorKind::Unsure),
        _ => Err(ErrorKind::Garbage),
    }
}

/// The vote on a proposal.
pub fn acquire(value: &Value, candidates: &Candidates) -> Result<Ballot, ErrorKind> {
    let count = candidates.slots().len();
    let index = |value: &Value| match value {
        Value::Int(index) => usize::try_from(*index).ok().filter(|&index| index < count),
        _ => None,
    };
    match array(value)? {
        [
            set @ (Value::Nil | Value::Bytes(_) | Value::Error(_)),
            fenced,
            guard,
        ] => return taken(set, fenced, guard),
        [Value::Int(1), granted] => index(granted).map(Ballot::Granted),
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
                    // Ignores a fence that none of our clients can have made.
                    fence: number(fence).and_then(Fence::new).unwrap_or_default(),
                    free,
                })
            })
        }
        _ => None,
    }
    .ok_or(ErrorKind::Garbage)
}

/// Number of released slots, and the notified waiter.
pub fn release(value: &Value) -> Result<Released, ErrorKind> {
    let [given_up, next] = array(value)? else {
        return Err(ErrorKind::Garbage);
    };
    Ok(Released {
        count: count(given_up)?,
        next: Some(text(next)?).filter(|waiter| !waiter.is_empty()),
    })
}

/// The votes on the renewal of `leases` leases, in order.
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

/// Number of waiters beside the new one.
pub fn enqueue(value: &Value) -> Result<u64, ErrorKind> {
    count(value)
}

/// Whether the waiter was in the queue.
pub fn leave(value: &Value) -> Result<bool, ErrorKind> {
    Ok(count(value)? > 0)
}

/// The head of the queue.
pub fn head(value: &Value) -> Result<Option<String>, ErrorKind> {
    match value {
        Value::Nil => Ok(None),
        value => text(value).map(Some),
    }
}

/// Which of `slots` slots are held.
pub fn list(value: &Value, slots: usize) -> Result<Vec<Held>, ErrorKind> {
    let held = |value: &Value| match array(value)? {
        [Value::Int(index), holder, Value::Int(left)] => {
            let meta = text(holder)?;
            Ok(Held {
                index: usize::try_from(*index)
                    .ok()
                    .filter(|&index| index < slots)
                    .ok_or(ErrorKind::Garbage)?,
                nonce: meta.split('\n').next().unwrap_or_default().to_owned(),
                left_ms: u64::try_from(*left).ok(),
                meta,
            })
        }
        _ => Err(ErrorKind::Garbage),
    };
    array(value)?.iter().map(held).collect()
}

fn array(value: &Value) -> Result<&[Value], ErrorKind> {
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

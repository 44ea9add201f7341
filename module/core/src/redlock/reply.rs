//! Answers to commands, as typed values.
//!
//! A node that answers an error, or something that is no answer to the command,
//! has failed: the [`ErrorKind`] is its vote.

use super::fence::Fence;
use super::slots::{Candidates, SlotSet};
use super::value::{ErrorKind, Value};

/// A node's vote on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// It granted the candidate with this index.
    Granted(usize),
    /// It granted none.
    Refused(Refusal),
}

/// Why a node granted nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub cause: Cause,
    /// Until when, in milliseconds from now, if the node knows: the end of its
    /// quarantine, or of the first lease to end.
    pub wait_ms: Option<u64>,
    /// The highest fence that stood in the way.
    pub fence: Fence,
    /// The candidates that are free nevertheless.
    pub free: SlotSet,
}

/// What a refusal rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Every candidate is held.
    Busy,
    /// Candidates are free, but were granted with a higher fence before.
    Fence,
    /// The node came back empty not long ago.
    Quarantine,
}

/// A node's vote on the renewal of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Prolonged.
    Prolonged,
    /// The node had forgotten it and has it again.
    Restored,
    /// The slot is under another nonce.
    Taken,
    /// The node has it again, but had granted the slot with a higher fence in
    /// between: to no avail, if a quorum has prolonged it. Counts from the next
    /// renewal on.
    Superseded,
    /// It has been given back on the node, which has not put it back.
    Ended,
    /// The node would not write.
    Failed,
}

/// What a node gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// How many slots.
    pub count: u64,
    /// The waiter that the node has woken, as [`super::Enlist::waiter`] has it.
    pub next: Option<String>,
}

/// A slot that a node shows as held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The slot's index in the command.
    pub index: usize,
    /// By whom. Other Redlock clients may use any text.
    pub nonce: String,
    /// Until when, in milliseconds from now; `None` if without end.
    pub left_ms: Option<u64>,
    /// All that the lock holds: with our clients, what the holder noted, too.
    pub meta: String,
}

/// The vote on a proposal of one slot that was made by [`super::TakeCall`].
fn taken(set: &Value, fenced: &Value, guard: &Value) -> Result<Ballot, ErrorKind> {
    let open = matches!(guard, Value::Bytes(born) if born == b"0");
    match (set, fenced) {
        (Value::Error(kind), _) => Err(*kind),
        (Value::Nil, _) => Ok(Ballot::Refused(Refusal {
            cause: Cause::Busy,
            wait_ms: None,
            fence: Fence::default(),
            free: SlotSet::default(),
        })),
        (Value::Bytes(_), Value::Int(1)) if open => Ok(Ballot::Granted(0)),
        // It has the lock, and it must not count.
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
                0 => Cause::Busy,
                1 => Cause::Fence,
                2 => Cause::Quarantine,
                _ => return Err(ErrorKind::Garbage),
            };
            let free: Option<SlotSet> = free.iter().map(index).collect();
            free.map(|free| {
                Ballot::Refused(Refusal {
                    cause,
                    wait_ms: u64::try_from(*wait).ok(),
                    // A fence that no client of ours made is none to exceed.
                    fence: number(fence).and_then(Fence::new).unwrap_or_default(),
                    free,
                })
            })
        }
        _ => None,
    }
    .ok_or(ErrorKind::Garbage)
}

/// How many slots were given up, and to whom it falls to try.
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

/// How many wait beside the one that was enlisted.
pub fn enqueue(value: &Value) -> Result<u64, ErrorKind> {
    count(value)
}

/// Whether the waiter had a place.
pub fn leave(value: &Value) -> Result<bool, ErrorKind> {
    Ok(count(value)? > 0)
}

/// Whose turn it is.
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

//! Periodic checks that a node executes commands.
//!
//! A node can answer in time and still be unusable: it is out of memory, has too few replicas, may
//! not write, or a key of the pool has a wrong type. Attempts to acquire locks show that, too, but
//! only while there are requests and only if the node is asked. The check consists of a few
//! commands that change nothing and that a node rejects for the same reasons.

use super::call::ScriptCall;
use super::command::Command;
use super::names::PoolNames;
use super::node_clock::node_time;
use super::value::{ErrorKind, Value};

/// Interval of the checks while they succeed.
const CALM_MS: u64 = 5_000;
/// Interval of the checks while they fail.
const REFUSED_MS: u64 = 500;
/// Minimum time between two checks when another command has been answered with an error.
const SOON_MS: u64 = 100;
/// Name of a lock and of a set member that do not exist.
const NOTHING: &str = "check";

/// A change shown by a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCheckChange {
    /// The node fails, with this error.
    Failing(ErrorKind),
    /// The node executes commands again.
    Recovered,
}

/// The checks of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCheck {
    refuses: Option<ErrorKind>,
    next_at: u64,
    last_at: u64,
    under_way: bool,
}

impl NodeCheck {
    /// The error with which the node fails the check, if it does.
    #[must_use]
    pub fn refuses(&self) -> Option<ErrorKind> {
        self.refuses
    }

    /// Whether to send a check now. If so, its answer must be passed to [`NodeCheck::answered`].
    #[must_use]
    pub fn is_due(&mut self, now: u64) -> bool {
        let due = !self.under_way && self.next_at <= now;
        if due {
            self.under_way = true;
            self.last_at = now;
        }
        due
    }

    /// Makes the next check due soon, because another command was answered with an error.
    pub fn check_soon(&mut self) {
        let soon = self.last_at.saturating_add(SOON_MS);
        self.next_at = self.next_at.min(soon);
    }

    /// Processes the answer to a check and returns the change, if any.
    pub fn answered(&mut self, reply: &Value, now: u64) -> Option<NodeCheckChange> {
        self.under_way = false;
        let refuses = first_error(reply);
        let wait = refuses.map_or(CALM_MS, |_| REFUSED_MS);
        self.next_at = now.saturating_add(wait);
        let before = std::mem::replace(&mut self.refuses, refuses);
        match (before, refuses) {
            (before, Some(why)) if before != Some(why) => Some(NodeCheckChange::Failing(why)),
            (Some(_), None) => Some(NodeCheckChange::Recovered),
            _ => None,
        }
    }

    /// The commands of a check. They write nothing, since neither the key nor the member exists.
    #[must_use]
    pub fn commands(names: &PoolNames) -> [Vec<String>; 4] {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let lock = [names.base(), NOTHING].concat();
        [
            words(&["SET", &lock, NOTHING, "XX", "PX", "1"]),
            words(&["ZADD", &names.fences(), "XX", "CH", "0", NOTHING]),
            words(&["GET", &names.guard()]),
            words(&["PTTL", &names.guard()]),
        ]
    }

    /// The node's time in the answer to a check of one or more pools, in milliseconds. `None` if
    /// none of their guards is open.
    #[must_use]
    pub fn time(reply: &Value) -> Option<u64> {
        let Value::Array(parts) = reply else {
            return None;
        };
        // The answers to the commands of each pool, and then to the script call.
        let guards = parts.iter().skip(3).step_by(4);
        guards.into_iter().find_map(|guard| match guard {
            Value::Int(ttl) => node_time(*ttl),
            _ => None,
        })
    }

    /// A script call without keys. It fails on a node that does not execute scripts.
    #[must_use]
    pub fn call(names: &PoolNames) -> ScriptCall {
        let slots = [].into();
        ScriptCall::new(&Command::List { slots }, names)
    }
}

/// The first error in an answer. A missing script is not an error: the caller sends its text.
#[must_use]
pub fn first_error(reply: &Value) -> Option<ErrorKind> {
    match reply {
        Value::Error(ErrorKind::NoScript) => None,
        Value::Error(kind) => Some(*kind),
        Value::Array(parts) => parts.iter().find_map(first_error),
        _ => None,
    }
}

//! Whether a node does what it is asked: it is tried now and then.
//!
//! A node may answer in time and be of no use all the same: it is out of memory, has too
//! few replicas, may not write, or a key of the pool is of a wrong type. An attempt to
//! take a lock learns that, but only while somebody wants one, and only where the node is
//! asked. The trial is a few commands that change nothing, and that a node refuses for
//! the same reasons.

use super::call::ScriptCall;
use super::command::Command;
use super::names::PoolNames;
use super::value::{ErrorKind, Value};

/// How often a node is tried.
const CALM_MS: u64 = 5_000;
/// How often while it refuses.
const REFUSED_MS: u64 = 500;
/// How soon after a trial an error of another command brings the next.
const HURRY_MS: u64 = 100;
/// A member of no set, and a value that is never written.
const NOTHING: &str = "trial";

/// What a trial has shown that was not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialNews {
    /// The node refuses, for this reason.
    Refuses(ErrorKind),
    /// It does what it is asked again.
    Obeys,
}

/// The trials of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    refuses: Option<ErrorKind>,
    next_at: u64,
    last_at: u64,
    under_way: bool,
}

impl Trial {
    /// Why the node refuses what it is asked, if it does.
    #[must_use]
    pub fn refuses(&self) -> Option<ErrorKind> {
        self.refuses
    }

    /// Whether to send a trial now. Its answer must be told.
    #[must_use]
    pub fn is_due(&mut self, now: u64) -> bool {
        let due = !self.under_way && self.next_at <= now;
        if due {
            self.under_way = true;
            self.last_at = now;
        }
        due
    }

    /// Another command was answered by an error: the next trial is soon.
    pub fn hurry(&mut self) {
        let soon = self.last_at.saturating_add(HURRY_MS);
        self.next_at = self.next_at.min(soon);
    }

    /// The answer to a trial.
    pub fn answered(&mut self, reply: &Value, now: u64) -> Option<TrialNews> {
        self.under_way = false;
        let refuses = first_error(reply);
        let wait = refuses.map_or(CALM_MS, |_| REFUSED_MS);
        self.next_at = now.saturating_add(wait);
        let before = std::mem::replace(&mut self.refuses, refuses);
        match (before, refuses) {
            (before, Some(why)) if before != Some(why) => Some(TrialNews::Refuses(why)),
            (Some(_), None) => Some(TrialNews::Obeys),
            _ => None,
        }
    }

    /// The commands, each as its words, and a call: nothing is written, as neither the
    /// key nor the member is there.
    #[must_use]
    pub fn commands(names: &PoolNames) -> [Vec<String>; 3] {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let lock = [names.base(), NOTHING].concat();
        [
            words(&["SET", &lock, NOTHING, "XX", "PX", "1"]),
            words(&["ZADD", &names.fences(), "XX", "CH", "0", NOTHING]),
            words(&["GET", &names.guard()]),
        ]
    }

    /// A script that reads nothing.
    #[must_use]
    pub fn call(names: &PoolNames) -> ScriptCall {
        let slots = [].into();
        ScriptCall::new(&Command::List { slots }, names)
    }
}

/// Why a node did not do all that it was asked. That it has forgotten a script is no
/// reason: it is sent the text.
#[must_use]
pub fn first_error(reply: &Value) -> Option<ErrorKind> {
    match reply {
        Value::Error(ErrorKind::NoScript) => None,
        Value::Error(kind) => Some(*kind),
        Value::Array(parts) => parts.iter().find_map(first_error),
        _ => None,
    }
}

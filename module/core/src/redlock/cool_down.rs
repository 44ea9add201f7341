//! Cool-downs, exchanged between machines.
//!
//! A record is advice, not a lock: the report of one node suffices to start a cool-down. Machines
//! exchange durations instead of times, so that differences between their clocks do not matter.

use super::call::ScriptCall;
use super::names::PoolNames;
use super::reply;
use super::script::Script;
use super::value::Value;
use crate::keys::is_name;
use crate::lease::Cause;

/// Maximum number of keys in one query to a node.
pub const MAX_RECALLED: usize = 256;

/// A cool-down of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDown {
    /// The cause; one of those that a response can have.
    pub cause: Cause,
    /// Consecutive failures.
    pub failures: u32,
    /// Remaining time in milliseconds.
    pub left_ms: u64,
}

impl CoolDown {
    /// The call that stores the cool-down of a key and notifies other machines.
    #[must_use]
    pub fn note(&self, key: &str, names: &PoolNames) -> ScriptCall {
        let Self {
            cause,
            failures,
            left_ms,
        } = self;
        let record = format!("{} {failures}", cause.as_str());
        let message = format!("{key} {record} {left_ms}");
        ScriptCall {
            script: Script::NoteCoolDown,
            keys: vec![names.cool_down(key)],
            args: vec![record, left_ms.to_string(), names.cool_downs(), message],
        }
    }

    /// The query for the cool-downs of some keys, at most [`MAX_RECALLED`].
    #[must_use]
    pub fn recall(keys: &[String], names: &PoolNames) -> ScriptCall {
        ScriptCall {
            script: Script::List,
            keys: keys.iter().map(|key| names.cool_down(key)).collect(),
            args: Vec::new(),
        }
    }

    /// The cool-downs in the answer to [`CoolDown::recall`], with the index of their key. Invalid
    /// records are skipped.
    #[must_use]
    pub fn recalled(value: &Value, keys: usize) -> Vec<(usize, Self)> {
        let records = reply::list(value, keys).unwrap_or_default();
        let records = records.into_iter();
        let cool_down =
            |held: reply::Held| Some((held.index, Self::of(&held.meta, held.left_ms?)?));
        records.filter_map(cool_down).collect()
    }

    /// Parses a message of the channel [`PoolNames::cool_downs`]: the key and its cool-down.
    #[must_use]
    pub fn of_message(message: &[u8]) -> Option<(&str, Self)> {
        let (key, cool_down) = str::from_utf8(message).ok()?.split_once(' ')?;
        let (record, left_ms) = cool_down.rsplit_once(' ')?;
        let cool_down = Self::of(record, left_ms.parse().ok()?)?;
        is_name(key).then_some((key, cool_down))
    }

    fn of(record: &str, left_ms: u64) -> Option<Self> {
        let (cause, failures) = record.split_once(' ')?;
        let known = [Cause::RateLimited, Cause::QuotaExceeded, Cause::InvalidKey];
        let cause = known.into_iter().find(|known| known.as_str() == cause)?;
        Some(Self {
            cause,
            failures: failures.parse().ok()?,
            left_ms,
        })
    }
}

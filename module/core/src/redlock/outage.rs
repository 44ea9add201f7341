//! Keys that are out, as machines tell one another.
//!
//! That is advice and no lock: the word of a single node is enough to leave a key
//! alone for a while. Times are told as what is left of them, so nobody's clock
//! matters.

use super::call::ScriptCall;
use super::names::PoolNames;
use super::reply;
use super::script::Script;
use super::value::Value;
use crate::keys::is_name;
use crate::lease::Cause;

/// How many keys a node is asked about at once.
pub const MAX_RECALLED: usize = 256;

/// Why a key is out, and for how much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The cause: one that an answer of the provider has shown.
    pub cause: Cause,
    /// How often in a row it has been put out.
    pub failures: u32,
    /// For how much longer, in milliseconds.
    pub left_ms: u64,
}

impl Outage {
    /// The call that notes it of a key, and tells others.
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
            script: Script::PutOut,
            keys: vec![names.outage(key)],
            args: vec![record, left_ms.to_string(), names.outages(), message],
        }
    }

    /// The call that asks which of some keys are out, at most [`MAX_RECALLED`].
    #[must_use]
    pub fn recall(keys: &[String], names: &PoolNames) -> ScriptCall {
        ScriptCall {
            script: Script::List,
            keys: keys.iter().map(|key| names.outage(key)).collect(),
            args: Vec::new(),
        }
    }

    /// Those that the answer to [`Outage::recall`] tells of, by their index. What is
    /// no record is passed over.
    #[must_use]
    pub fn recalled(value: &Value, keys: usize) -> Vec<(usize, Self)> {
        let records = reply::list(value, keys).unwrap_or_default();
        let records = records.into_iter();
        let outage = |held: reply::Held| Some((held.index, Self::of(&held.meta, held.left_ms?)?));
        records.filter_map(outage).collect()
    }

    /// What a message on the channel tells, and of which key.
    #[must_use]
    pub fn told(message: &[u8]) -> Option<(&str, Self)> {
        let (key, outage) = str::from_utf8(message).ok()?.split_once(' ')?;
        let (record, left_ms) = outage.rsplit_once(' ')?;
        let outage = Self::of(record, left_ms.parse().ok()?)?;
        is_name(key).then_some((key, outage))
    }

    fn of(record: &str, left_ms: u64) -> Option<Self> {
        let (cause, failures) = record.split_once(' ')?;
        let known = [Cause::Rate, Cause::Quota, Cause::Revoked];
        let cause = known.into_iter().find(|known| known.as_str() == cause)?;
        Some(Self {
            cause,
            failures: failures.parse().ok()?,
            left_ms,
        })
    }
}

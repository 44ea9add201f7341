//! Names of the Redis keys of a pool.

use std::sync::Arc;

use thiserror::Error;

use super::call::ScriptCall;
use super::script::Script;
use super::share::{Instance, MOST_READ};
use super::slots::Slot;
use crate::keys::is_name;

const MAX_PREFIX: usize = 64;

/// A name that cannot be part of a Redis key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// A prefix that is too long, or has characters other than visible ASCII, or braces. Braces
    /// would change the hash tag; blanks would break logs and `redis-cli`.
    #[error(
        "\"{0}\" is not a valid key prefix: up to {MAX_PREFIX} visible ASCII characters without braces"
    )]
    Prefix(String),
    /// A name that is empty or too long, or has characters other than letters, digits, `.`, `_` and
    /// `-`.
    #[error("\"{0}\" is not a valid name: up to 64 letters, digits, '.', '_' and '-'")]
    Name(String),
}

pub(crate) fn checked(name: &str) -> Result<&str, NameError> {
    if is_name(name) {
        return Ok(name);
    }
    Err(NameError::Name(name.into()))
}

fn checked_prefix(prefix: &str) -> Result<&str, NameError> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    if prefix.len() > MAX_PREFIX || !prefix.bytes().all(fits) {
        return Err(NameError::Prefix(prefix.into()));
    }
    Ok(prefix)
}

/// The Redis keys of one pool. All have the pool's name as hash tag, so that a script can use any
/// of them in one call, also on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolNames {
    base: Arc<str>,
}

impl PoolNames {
    /// The names of the keys of `pool`. All begin with `prefix`, which may be empty.
    pub fn new(prefix: &str, pool: &str) -> Result<Self, NameError> {
        let prefix = checked_prefix(prefix)?;
        let base = format!("{prefix}{{{}}}:", checked(pool)?).into();
        Ok(Self { base })
    }

    /// The lock of a slot: a string that expires. It contains the holder's nonce and the fence, and
    /// for listings the owner, its request and the start time. Every Redlock client that uses the
    /// same name competes for the same slot.
    #[must_use]
    pub fn lock(&self, slot: &Slot) -> String {
        [&self.base, "l:", slot.field()].concat()
    }

    /// Sorted set of slots by the highest proposed fence.
    #[must_use]
    pub fn fences(&self) -> String {
        self.suffixed("f")
    }

    /// Sorted set of slots by the highest fence of a released lock for which renewals may still
    /// arrive.
    #[must_use]
    pub fn ends(&self) -> String {
        self.suffixed("e")
    }

    /// The guard: the time in milliseconds when the node was first seen without this key, or 0
    /// after the quarantine.
    #[must_use]
    pub fn guard(&self) -> String {
        self.suffixed("g")
    }

    /// Sorted set of waiters, by priority and arrival.
    #[must_use]
    pub fn queue(&self) -> String {
        self.suffixed("q")
    }

    /// Sorted set of waiters, by deadline.
    #[must_use]
    pub fn deadlines(&self) -> String {
        self.suffixed("qd")
    }

    /// The channel on which an instance is notified that one of its waiters may try to lock a slot.
    pub fn wake_channel(&self, instance: &str) -> Result<String, NameError> {
        Ok([&self.wake_prefix(), checked(instance)?].concat())
    }

    /// The record of a key's cool-down; it expires with the cool-down.
    #[must_use]
    pub fn cool_down(&self, key: &str) -> String {
        [&self.base, "c:", key].concat()
    }

    /// The channel for notifications of cool-downs.
    #[must_use]
    pub fn cool_downs(&self) -> String {
        self.suffixed("c")
    }

    pub(crate) fn wake_prefix(&self) -> String {
        self.suffixed("w:")
    }

    /// The pool's name.
    #[must_use]
    pub fn pool(&self) -> &str {
        let name = self.base.split_once('{').map_or("", |(_, name)| name);
        name.trim_end_matches("}:")
    }

    /// Common prefix of the pool's keys.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn suffixed(&self, suffix: &str) -> String {
        [&self.base, suffix].concat()
    }
}

/// The Redis keys of the stats that machines share. Their hash tag differs from that of every
/// pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareNames([String; 3]);

impl ShareNames {
    /// The names of the keys of a group. All begin with `prefix`, which may be empty.
    pub fn new(prefix: &str) -> Result<Self, NameError> {
        let prefix = checked_prefix(prefix)?;
        Ok(Self(
            ["i", "u", "o"].map(|key| format!("{prefix}{{@stats}}:{key}")),
        ))
    }

    /// The keys: id and change counter of the node's data set; the rows; the rows in the order of
    /// their last change.
    #[must_use]
    pub fn keys(&self) -> &[String; 3] {
        &self.0
    }

    /// The call that writes rows.
    pub(super) fn share(
        &self,
        id: u64,
        days: u32,
        names_and_sums: impl Iterator<Item = String>,
    ) -> ScriptCall {
        let mut args = vec![format!("{id:016x}"), days.to_string()];
        args.extend(names_and_sums);
        ScriptCall {
            script: Script::Share,
            keys: self.0.to_vec(),
            args,
        }
    }

    /// The call that reads the rows raised since a change, except those of one instance.
    pub(super) fn shared(&self, id: &str, upto: u64, but: Option<Instance>) -> ScriptCall {
        let args = [
            id.to_owned(),
            upto.to_string(),
            MOST_READ.to_string(),
            but.map_or(String::new(), |but| format!("{but}:")),
        ];
        ScriptCall {
            script: Script::Shared,
            keys: self.0.to_vec(),
            args: args.to_vec(),
        }
    }
}

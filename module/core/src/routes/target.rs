//! Targets as the configuration names them.

use std::fmt;

use super::RouteError;

/// The longest name of an upstream, in bytes.
pub const MAX_UPSTREAM: usize = 64;

/// `pool` or `pool@upstream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// The pool that gives the key.
    pub pool: String,
    /// The upstream that the key is sent to, where there is more than one.
    pub upstream: Option<String>,
}

impl TargetName {
    /// Reads a target.
    ///
    /// # Errors
    /// When a part of it is empty, or no name of an upstream.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let (pool, upstream) = match text.split_once('@') {
            Some((pool, upstream)) => (pool, Some(upstream)),
            None => (text, None),
        };
        if pool.is_empty() || !upstream.is_none_or(is_upstream) {
            return Err(RouteError::Target(text.to_owned()));
        }
        Ok(Self {
            pool: pool.to_owned(),
            upstream: upstream.map(ToOwned::to_owned),
        })
    }

    /// Reads a list of targets.
    ///
    /// # Errors
    /// When there is none, one is malformed, or stands twice.
    pub fn parse_list<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, RouteError> {
        let mut list = Vec::new();
        for text in texts {
            let target = Self::parse(text)?;
            if list.contains(&target) {
                return Err(RouteError::Duplicate(text.to_owned()));
            }
            list.push(target);
        }
        if list.is_empty() {
            return Err(RouteError::NoTarget);
        }
        Ok(list)
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pool)?;
        self.upstream
            .as_ref()
            .map_or(Ok(()), |upstream| write!(f, "@{upstream}"))
    }
}

/// A name, or an address with a port: what may stand after `http://`.
fn is_upstream(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:[]".contains(&byte);
    (1..=MAX_UPSTREAM).contains(&name.len()) && name.bytes().all(plain)
}

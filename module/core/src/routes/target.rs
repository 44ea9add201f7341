//! Targets in the configuration.

use std::fmt;

use super::RouteError;

/// Maximum length of an upstream's name, in bytes.
pub const MAX_UPSTREAM: usize = 64;

/// `pool` or `pool@upstream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// The pool that provides the key.
    pub pool: String,
    /// The upstream, if the pool has more than one.
    pub upstream: Option<String>,
}

impl TargetName {
    /// Parses a target.
    ///
    /// # Errors
    /// When a part is empty, or the upstream's name is invalid.
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

    /// Parses a list of targets.
    ///
    /// # Errors
    /// When it is empty, or a target is malformed or repeated.
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

/// Whether the name may be that of an upstream: a name or an address with a port, as may follow
/// `http://`.
fn is_upstream(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:[]".contains(&byte);
    (1..=MAX_UPSTREAM).contains(&name.len()) && name.bytes().all(plain)
}

//! `openai_api`, and the limits of the locks that it gives.

use nginx_safe::{Conf, ConfResult, Mistake};

use super::lines::{self, Placed, Read};
use super::values::{self, DAY, SECOND};
use super::{Answers, Location, Main};

settings! {
    /// Settings of the lock service at one level.
    pub struct Api {
        /// Names of the pools, or `on` for all.
        pub(super) pools: Option<Placed<Vec<String>>>,
        /// Positions of the pools, once all are known.
        pub(super) known: Option<Vec<usize>>,
    }
    inherited {
        /// Shortest and longest duration of a lock, in milliseconds.
        ttl_ms: (u64, u64) = (1_000, 3_600_000),
        /// Whether the owner of a lock receives the key.
        shows_key: bool = false,
    }
}

impl Api {
    /// Whether the lock service answers requests of the location.
    pub fn is_served(&self) -> bool {
        self.pools.is_some()
    }

    /// Positions of the pools whose keys it locks. The first is the default.
    pub fn pools(&self) -> &[usize] {
        self.known.as_deref().unwrap_or_default()
    }

    /// Looks up the pools by their names.
    pub(super) fn resolve(&mut self, main: &Main) -> Result<(), Mistake> {
        let Some(placed) = self.pools.as_ref().filter(|_| self.known.is_none()) else {
            return Ok(());
        };
        let known: ConfResult<Vec<_>> = match placed.value.as_slice() {
            [all] if all == "on" => Ok((0..main.pools.len()).collect()),
            names => names.iter().map(|name| main.known_pool(name)).collect(),
        };
        let known = known.map_err(|e| placed.mistake(format!("openai_api: {e}")))?;
        if known.is_empty() {
            return Err(placed.mistake("openai_api: needs an \"openai_pool\" block in http"));
        }
        if main.clients.is_none() {
            return Err(placed.mistake("openai_api: needs an \"openai_clients\" block in http"));
        }
        self.known = Some(known);
        Ok(())
    }
}

/// Reads `openai_api`.
pub fn read(conf: &mut Conf, location: &mut Location) -> Read {
    lines::many(conf, &mut location.api.pools, |names| {
        pools(names).map(|pools| Placed::new(conf, pools))
    })?;
    location.answers = Some(Answers::Api);
    Ok(conf.serve_content()?)
}

fn pools(names: &[&str]) -> ConfResult<Vec<String>> {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(format!("\"{name}\" is a duplicate, remove one of them"));
        }
    }
    Ok(names.iter().map(ToString::to_string).collect())
}

/// Reads the shortest and the longest duration of a lock.
pub fn ttl(words: &[&str]) -> ConfResult<(u64, u64)> {
    let [least, most] = words else {
        return Err("takes two arguments".into());
    };
    let time = values::time(SECOND..=7 * DAY);
    match (time(least)?, time(most)?) {
        (least, most) if least <= most => Ok((least, most)),
        _ => Err(format!(
            "\"{least} {most}\" is out of range, the shortest time comes first: \"{most} {least}\""
        )),
    }
}

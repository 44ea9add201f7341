//! `openai_api` and what bounds the locks that it gives.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, ConfResult, Directive, Scope};

use super::{Answers, Location, Main, values};

/// How long locks last, unless `openai_lock_ttl` says else.
const TTL_MS: (u64, u64) = (1_000, 3_600_000);

/// What the levels say of locks; `None` is inherited.
#[derive(Default)]
pub struct Api {
    pools: Option<Pools>,
    ttl_ms: Option<(u64, u64)>,
    shows_key: Option<bool>,
}

enum Pools {
    All,
    Named(Vec<String>),
    /// Their positions.
    Known(Vec<usize>),
}

impl Api {
    /// Whether the location is answered by the lock service.
    pub fn is_served(&self) -> bool {
        self.pools.is_some()
    }

    /// The positions of the pools that it gives locks of; the first by default.
    pub fn pools(&self) -> &[usize] {
        match &self.pools {
            Some(Pools::Known(pools)) => pools,
            _ => &[],
        }
    }

    /// The bounds of how long a lock lasts.
    pub fn ttl_ms(&self) -> (u64, u64) {
        self.ttl_ms.unwrap_or(TTL_MS)
    }

    /// Whether a lock's owner is told the key.
    pub fn shows_key(&self) -> bool {
        self.shows_key.unwrap_or(false)
    }

    pub(super) fn inherit(&mut self, above: &Self, main: &Main) -> ConfResult {
        self.ttl_ms = self.ttl_ms.or(above.ttl_ms);
        self.shows_key = self.shows_key.or(above.shows_key);
        let known = match &self.pools {
            None | Some(Pools::Known(_)) => return Ok(()),
            Some(Pools::All) => (0..main.pools.len()).collect(),
            Some(Pools::Named(names)) => {
                let known = |name: &String| {
                    let at = main.pool_named(name);
                    at.ok_or_else(|| format!("openai_api: no pool \"{name}\""))
                };
                names.iter().map(known).collect::<ConfResult<Vec<_>>>()?
            }
        };
        if known.is_empty() {
            return Err("openai_api: there is no pool".into());
        }
        if main.clients.is_none() {
            return Err("openai_api: needs an \"openai_clients\" block".into());
        }
        self.pools = Some(Pools::Known(known));
        Ok(())
    }
}

pub struct OpenaiApi;

impl Directive for OpenaiApi {
    type Target = Location;
    const NAME: &'static CStr = c"openai_api";
    const SCOPE: Scope = Scope::Location;
    const ARGS: Args = Args::Many;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        let words = conf.words()?;
        let names: Vec<String> = words.iter().skip(1).map(ToString::to_string).collect();
        if target.api.pools.is_some() {
            return Err(Some("is a duplicate".into()));
        }
        let twice = |(at, name): (usize, &String)| names[..at].contains(name);
        if let Some((_, name)) = names.iter().enumerate().find(|&pair| twice(pair)) {
            return Err(Some(format!("\"{name}\" is a duplicate")));
        }
        target.api.pools = Some(match names.as_slice() {
            [all] if all == "on" => Pools::All,
            _ => Pools::Named(names),
        });
        target.answers = Some(Answers::Api);
        Ok(conf.serve_content()?)
    }
}

pub struct LockTtl;

impl Directive for LockTtl {
    type Target = Location;
    const NAME: &'static CStr = c"openai_lock_ttl";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::Two;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        if target.api.ttl_ms.is_some() {
            return Err(Some("is a duplicate".into()));
        }
        let words = conf.words()?;
        let time = |at: usize| values::time_ms(words.get(at).copied().unwrap_or_default());
        let (least, most) = (time(1)?, time(2)?);
        if least < 1_000 || most > 7 * 86_400_000 || least > most {
            return Err(Some(format!(
                "\"{} {}\" is out of range, it must be from 1s to 7d, the shortest first",
                words[1], words[2]
            )));
        }
        target.api.ttl_ms = Some((least, most));
        Ok(())
    }
}

pub struct LockKey;

impl Directive for LockKey {
    type Target = Location;
    const NAME: &'static CStr = c"openai_lock_key";
    const SCOPE: Scope = Scope::Everywhere;
    const ARGS: Args = Args::Flag;

    fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
        super::location::once(conf, &mut target.api.shows_key, values::flag)
    }
}

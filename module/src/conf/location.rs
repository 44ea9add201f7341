//! The directives that may stand in `http`, `server` and `location`.

use std::ffi::CStr;

use super::next_key::NextKey;
use super::usage::Usage;
use super::{Main, Pool, values};
use crate::ffi::{
    Args, Conf, ConfResult, ContentHandler, Directive, LocationConf, Scope, argument,
};

/// What to do with a body that cannot be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    #[default]
    Pass,
    Reject,
}

/// What a level says; `None` is inherited.
#[derive(Default)]
pub struct Location {
    pool: Option<Choice>,
    auth: Option<bool>,
    inspect: Option<bool>,
    inspect_max: Option<usize>,
    oversize: Option<Otherwise>,
    invalid: Option<Otherwise>,
    /// Whether a client token is asked for here.
    asks_token: bool,
    pub(super) next_key: NextKey,
    pub(super) usage: Usage,
    content: ContentHandler,
}

/// What `openai` says.
#[derive(Clone)]
enum Choice {
    Off,
    Named(String),
    /// The pool's position.
    Pool(usize),
}

impl Location {
    /// The pool that requests get their key from here, and its position.
    pub fn pool<'a>(&self, main: &'a Main) -> Option<(usize, &'a Pool)> {
        match self.pool {
            Some(Choice::Pool(at)) => main.pools.get(at).map(|pool| (at, pool)),
            _ => None,
        }
    }

    /// Whether a client token is asked for here.
    pub fn asks_token(&self) -> bool {
        self.asks_token
    }

    /// Whether requests here are the gateway's, so that errors have its form.
    pub fn is_gateway(&self) -> bool {
        self.asks_token || matches!(self.pool, Some(Choice::Pool(_)))
    }

    /// Whether requests here go to an upstream, to which a key can be sent.
    pub fn sends(&self) -> bool {
        self.content.sends()
    }

    pub fn inspects(&self) -> bool {
        self.inspect.unwrap_or(true)
    }

    pub fn inspect_max(&self) -> u64 {
        self.inspect_max.unwrap_or(32 << 20) as u64
    }

    pub fn oversize(&self) -> Otherwise {
        self.oversize.unwrap_or_default()
    }

    pub fn invalid(&self) -> Otherwise {
        self.invalid.unwrap_or_default()
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    pub fn next_key(&self) -> &NextKey {
        &self.next_key
    }

    fn resolve(&mut self, main: &Main) -> ConfResult {
        if let Some(Choice::Named(name)) = &self.pool {
            let at = main
                .pool_named(name)
                .ok_or_else(|| format!("openai: no pool \"{name}\""))?;
            self.pool = Some(Choice::Pool(at));
        }
        let serves = matches!(self.pool, Some(Choice::Pool(_)));
        if self.auth == Some(true) && main.clients.is_none() {
            return Err("openai_auth: \"on\" needs an \"openai_clients\" block".into());
        }
        self.asks_token = self.auth.unwrap_or(serves && main.clients.is_some());
        Ok(())
    }
}

impl LocationConf for Location {
    type Main = Main;

    fn inherit(&mut self, above: &Self, main: &Main) -> ConfResult {
        self.pool = self.pool.take().or_else(|| above.pool.clone());
        self.auth = self.auth.or(above.auth);
        self.inspect = self.inspect.or(above.inspect);
        self.inspect_max = self.inspect_max.or(above.inspect_max);
        self.oversize = self.oversize.or(above.oversize);
        self.invalid = self.invalid.or(above.invalid);
        self.next_key.inherit(&above.next_key);
        self.usage.inherit(&above.usage);
        self.resolve(main)
    }

    fn content(&self) -> &ContentHandler {
        &self.content
    }

    fn plain_answers(&self) -> bool {
        self.usage.is_read()
    }

    fn wraps_content(&self) -> bool {
        matches!(self.pool, Some(Choice::Pool(_)))
    }
}

fn once<T>(
    conf: &Conf,
    place: &mut Option<T>,
    parse: impl FnOnce(&str) -> ConfResult<T>,
) -> Result<(), Option<String>> {
    let value = argument(conf)?;
    if place.is_some() {
        return Err(Some(format!("\"{value}\" is a duplicate")));
    }
    *place = Some(parse(&value)?);
    Ok(())
}

fn otherwise(text: &str) -> ConfResult<Otherwise> {
    match text {
        "pass" => Ok(Otherwise::Pass),
        "reject" => Ok(Otherwise::Reject),
        _ => Err(format!(
            "invalid value \"{text}\", it must be \"pass\" or \"reject\""
        )),
    }
}

fn choice(name: &str) -> ConfResult<Choice> {
    Ok(if name == "off" {
        Choice::Off
    } else {
        Choice::Named(name.to_string())
    })
}

macro_rules! directive {
    ($type:ident, $name:literal, $args:ident, $field:ident, $parse:expr) => {
        pub struct $type;
        impl Directive for $type {
            type Target = Location;
            const NAME: &'static CStr = $name;
            const SCOPE: Scope = Scope::Everywhere;
            const ARGS: Args = Args::$args;
            fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
                once(conf, &mut target.$field, $parse)
            }
        }
    };
}

directive!(OpenaiPool, c"openai", One, pool, choice);
directive!(Auth, c"openai_auth", Flag, auth, values::flag);
directive!(Inspect, c"openai_inspect", Flag, inspect, values::flag);
directive!(
    InspectMaxSize,
    c"openai_inspect_max_size",
    One,
    inspect_max,
    values::size
);
directive!(
    InspectOversize,
    c"openai_inspect_oversize",
    One,
    oversize,
    otherwise
);
directive!(
    InspectInvalid,
    c"openai_inspect_invalid",
    One,
    invalid,
    otherwise
);

//! Directives of the levels `http`, `server` and `location`.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult, LocationConf, Mistake, missing_semicolon};
use openai_core::routes::TargetName;

use super::abort::ClientAbort;
use super::api::Api;
use super::lines::{self, Placed, Read};
use super::next_key::NextKey;
use super::trace::Trace;
use super::usage::Usage;
use super::{Main, Target, values};

/// What to do with a body that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    #[default]
    Pass,
    Reject,
}

/// The part of the module that answers the requests of a location, without an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Api,
    Metrics,
}

/// Settings at one level; `None` is inherited.
#[derive(Default)]
pub struct Location {
    /// An `if` or `limit_except` block without a handler inherits that of its location.
    pub answers: Option<Answers>,
    choice: Option<Placed<Choice>>,
    pub(super) auth: Option<Placed<bool>>,
    pub(super) inspect: Option<bool>,
    pub(super) inspect_max: Option<usize>,
    pub(super) oversize: Option<Otherwise>,
    pub(super) invalid: Option<Otherwise>,
    /// Whether requests need a client token.
    asks_token: bool,
    pub(super) next_key: NextKey,
    pub api: Api,
    pub(super) usage: Usage,
    pub(super) trace: Trace,
    pub(super) client_abort: Option<ClientAbort>,
    sends: bool,
    /// Position of the upstream for targets that name none, if it has a circuit.
    upstream: Option<usize>,
}

/// Source of keys: the value of `openai` or `openai_route`.
#[derive(Clone)]
enum Choice {
    Off,
    /// Names that have not been looked up yet.
    NamedTargets(Vec<TargetName>),
    NamedRoutes(String),
    Targets(Rc<[Target]>),
    /// Position of the `openai_routes` block.
    Routes(usize),
}

impl Location {
    /// Whether requests get a key here.
    pub fn serves(&self) -> bool {
        self.has_pool() && self.answers.is_none()
    }

    fn has_pool(&self) -> bool {
        matches!(self.choice(), Some(Choice::Targets(_) | Choice::Routes(_)))
    }

    fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref().map(|placed| &placed.value)
    }

    /// The targets of all requests; `None` if requests are routed by model or get no key.
    pub fn targets(&self) -> Option<Rc<[Target]>> {
        match self.choice() {
            Some(Choice::Targets(targets)) => Some(targets.clone()),
            _ => None,
        }
    }

    /// Position of the `openai_routes` block that routes the requests.
    pub fn routes(&self) -> Option<usize> {
        match self.choice() {
            Some(Choice::Routes(at)) => Some(*at),
            _ => None,
        }
    }

    /// Position of the upstream to which requests with this target go.
    pub fn upstream_of(&self, target: &Target) -> Option<usize> {
        target.circuit.or(self.upstream)
    }

    /// Whether requests need a client token.
    pub fn asks_token(&self) -> bool {
        self.asks_token
    }

    /// Whether the location belongs to the gateway, so that its errors have OpenAI's form.
    pub fn is_gateway(&self) -> bool {
        self.asks_token || self.serves() || self.api.is_served()
    }

    /// Whether a handler sends the requests upstream and can add a key.
    pub fn sends(&self) -> bool {
        self.sends
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

    /// What to do with the upstream's response when the client has left.
    pub fn client_abort(&self) -> ClientAbort {
        self.client_abort.unwrap_or_default()
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn next_key(&self) -> &NextKey {
        &self.next_key
    }

    fn resolve(&mut self, main: &Main, conf: &Conf) -> Result<(), Mistake> {
        if let Some(placed) = &self.choice {
            let found = match &placed.value {
                Choice::NamedTargets(names) => targets(main, names, conf)
                    .map(Choice::Targets)
                    .map_err(|e| format!("openai: {e}")),
                Choice::NamedRoutes(name) => main
                    .known_routes(name)
                    .map(Choice::Routes)
                    .map_err(|e| format!("openai_route: {e}")),
                known => Ok(known.clone()),
            };
            let found = found.map_err(|e| placed.mistake(e))?;
            if matches!(found, Choice::Routes(_)) && !self.inspects() {
                return Err(placed
                    .mistake("openai_route: \"openai_inspect off\" hides the model, remove it"));
            }
            self.choice = Some(placed.with(found));
        }
        let auth = self.auth.as_ref().filter(|auth| auth.value);
        if let Some(auth) = auth.filter(|_| main.clients.is_none()) {
            let needs = "openai_auth: \"on\" needs an \"openai_clients\" block in http";
            return Err(auth.mistake(needs));
        }
        // The lock service always needs a token. Other locations with a pool need one by
        // default, also if the module answers their requests.
        let auth = self.auth.as_ref().map(|auth| auth.value);
        let asks = auth.unwrap_or(self.has_pool() && main.clients.is_some());
        self.asks_token = self.api.is_served() || asks;
        Ok(())
    }
}

/// Looks up the pools that `openai` names.
fn targets(main: &Main, names: &[TargetName], conf: &Conf) -> ConfResult<Rc<[Target]>> {
    main.targets(names).map_err(|e| {
        let unknown = |name: &&TargetName| main.pool_named(&name.pool).is_none();
        let unknown = names.iter().skip(1).find(unknown);
        // If this directive lacks its semicolon, the name of the next one is among its targets.
        let next = unknown.filter(|name| conf.has_directive(&name.pool));
        next.map_or(e, |next| missing_semicolon(&next.pool))
    })
}

/// Copies each field that is not set from the level above.
macro_rules! inherit {
    ($own:ident, $above:ident: $($($field:ident).+),+ $(,)?) => {
        $(inherit_field(&mut $own.$($field).+, &$above.$($field).+);)+
    };
}

fn inherit_field<T: Clone>(own: &mut Option<T>, above: &Option<T>) {
    if own.is_none() {
        own.clone_from(above);
    }
}

impl LocationConf for Location {
    type Main = Main;

    fn inherit(&mut self, above: &Self, main: &Main, conf: &Conf) -> Result<(), Mistake> {
        inherit!(
            self, above:
            choice, auth, inspect, inspect_max, oversize, invalid, client_abort,
            api.ttl_ms, api.shows_key,
            next_key.conditions, next_key.tries, next_key.timeout_ms, next_key.header,
            trace.on, trace.process_time,
            usage.read, usage.include,
        );
        // Set here once, because it is read for each response.
        self.next_key.conditions.get_or_insert_default();
        self.api.resolve(main)?;
        self.resolve(main, conf)
    }

    fn continues(&mut self, above: &Self) {
        inherit!(self, above: answers, api.pools);
    }

    fn found_upstream(&mut self, name: &str, main: &Main) {
        let lists = match self.choice.as_ref().map(|placed| &placed.value) {
            Some(Choice::Targets(targets)) => std::slice::from_ref(targets),
            Some(Choice::Routes(at)) => main.routes.get(*at).map_or(&[][..], |r| &r.targets),
            _ => return,
        };
        let targets = lists.iter().flat_map(|targets| targets.iter());
        let unnamed: Vec<_> = targets.filter(|target| target.circuit.is_none()).collect();
        if unnamed.is_empty() {
            return;
        }
        self.upstream = main.implied_upstream(name);
        for (upstream, target) in self.upstream.into_iter().cycle().zip(unnamed) {
            main.note_served(upstream, target.pool);
        }
    }

    fn found_handler(&mut self) {
        self.sends = true;
    }

    fn is_own(&self) -> bool {
        self.answers.is_some()
    }

    fn is_wrapped(&self) -> bool {
        self.serves()
    }

    fn drains(&self) -> bool {
        self.client_abort() != ClientAbort::Close
    }
}

/// Reads `pass` or `reject`.
pub fn otherwise(text: &str) -> ConfResult<Otherwise> {
    let words = [("pass", Otherwise::Pass), ("reject", Otherwise::Reject)];
    values::one_of(&words)(text)
}

/// Reads `openai`.
pub fn openai(conf: &mut Conf, location: &mut Location) -> Read {
    choose(conf, location, |names| {
        let targets = TargetName::parse_list(names.iter().copied());
        targets.map(Choice::NamedTargets).map_err(|e| e.to_string())
    })
}

/// Reads `openai_route`.
pub fn route(conf: &mut Conf, location: &mut Location) -> Read {
    choose(conf, location, |names| {
        Ok(Choice::NamedRoutes(names.concat()))
    })
}

/// Stores the source of keys. `openai` and `openai_route` exclude each other.
fn choose(
    conf: &Conf,
    location: &mut Location,
    read: impl FnOnce(&[&str]) -> ConfResult<Choice>,
) -> Read {
    lines::directive(conf, |line| {
        if location.choice.is_some() {
            let said = line.values.join(" ");
            return Err(format!(
                "\"{said}\" is a duplicate: a block can have one \"openai\" or \"openai_route\""
            ));
        }
        line.many(&mut location.choice, |names| {
            let choice = match names {
                ["off"] => Choice::Off,
                _ => read(names)?,
            };
            Ok(Placed::new(conf, choice))
        })
    })
}
